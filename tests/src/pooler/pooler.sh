# Runs a PgBouncer. Arguments: the folder for its socket, the program, the folder of the server's
# socket, the pooling mode, and the number of backends.
dir=$1 program=$2 server=$3 mode=$4 backends=$5
cat >"$dir/pgbouncer.ini" <<END
[databases]
* = host='$server' port=5432 user=postgres

[pgbouncer]
unix_socket_dir = $dir
listen_port = 5432
pidfile = $dir/pid
auth_type = any
pool_mode = $mode
default_pool_size = $backends
max_client_conn = 500
admin_users = postgres
ignore_startup_parameters = extra_float_digits
END
# A killed PgBouncer is started again, because a test restarts it so. Any other exit ends the loop.
while
    "$program" "$dir/pgbouncer.ini"
    [ "$?" -eq 137 ]
do :; done
