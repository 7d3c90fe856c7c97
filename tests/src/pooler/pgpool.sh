# Runs a pgpool-II. Arguments: the folder for its sockets, the program, the folder of the server's
# socket, and the number of clients.
dir=$1 program=$2 server=$3 clients=$4
# The setting was renamed in version 4.4.
case $("$program" --version 2>&1) in
*' '[123].* | *' '4.[0123].*) sockets=socket_dir pcp_sockets=pcp_socket_dir ;;
*) sockets=unix_socket_directories pcp_sockets=pcp_socket_dir ;;
esac
cat >"$dir/pgpool.conf" <<END
backend_clustering_mode = 'raw'
listen_addresses = ''
port = 5432
$sockets = '$dir'
pcp_listen_addresses = ''
$pcp_sockets = '$dir'
pid_file_name = '$dir/pid'
logdir = '$dir'
work_dir = '$dir'
backend_hostname0 = '$server'
backend_port0 = 5432
num_init_children = $clients
max_pool = 1
health_check_period = 0
pool_passwd = ''
END
: >"$dir/pcp.conf"
: >"$dir/pool_hba.conf"
exec "$program" -n -f "$dir/pgpool.conf" -F "$dir/pcp.conf" -a "$dir/pool_hba.conf"
