# Makes a new server and runs it. Arguments: the folder for its data and its socket, the folder of its binaries, and more of
# its own arguments.
dir=$1 binaries=$2
shift 2
"$binaries/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale -N --wal-segsize=1 &&
    exec "$binaries/postgres" -D "$dir/data" -p 5432 -c "unix_socket_directories=\"$dir\"" -c listen_addresses= \
        -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 "$@"
