# Runs a server, and creates its data first if there are none. Arguments: the folder for the data
# and the socket, the folder of the binaries, the data folder of the primary (empty: not a standby),
# and more arguments for the server.
dir=$1 binaries=$2 primary=$3
shift 3
if [ ! -e "$dir/data" ]; then
    if [ -n "$primary" ]; then
        # The primary is running. Files that change during the copy are repaired by the WAL, which
        # the standby streams. The lock file and the replication slots belong to the primary. The
        # harness adds the backup label and then starts the standby.
        cp -R "$primary" "$dir/data" 2>/dev/null
        rm -rf "$dir"/data/postmaster.* "$dir"/data/pg_replslot/* "$dir"/data/pg_wal/[0-9A-F]*
        : >"$dir/data/standby.signal"
        exit
    fi
    "$binaries/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale -N --wal-segsize=1 || exit
fi
exec "$binaries/postgres" -D "$dir/data" -p 5432 -c "unix_socket_directories=\"$dir\"" -c listen_addresses= \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 \
    -c dynamic_shared_memory_type=mmap "$@"
