# Runs a server, and copies its data first if there are none. Arguments: the folder for the data and
# the socket, the folder of the binaries, the data to copy, whether they are those of a primary that
# runs (`primary`) or of a server that was never started (`new`), and more arguments for the server.
dir=$1 binaries=$2 source=$3 kind=$4
shift 4
if [ ! -e "$dir/data" ]; then
    cp -R "$source" "$dir/data" 2>/dev/null
    if [ "$kind" = primary ]; then
        # Files that change during the copy are repaired by the WAL, which the standby streams. The
        # lock file and the replication slots belong to the primary. The harness adds the backup
        # label and then starts the standby.
        rm -rf "$dir"/data/postmaster.* "$dir"/data/pg_replslot/* "$dir"/data/pg_wal/[0-9A-F]*
        : >"$dir/data/standby.signal"
        exit
    fi
fi
exec "$binaries/postgres" -D "$dir/data" -p 5432 -c "unix_socket_directories=\"$dir\"" -c listen_addresses= \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=300 \
    -c dynamic_shared_memory_type=mmap "$@"
