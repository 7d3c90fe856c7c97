# Runs a server, whose data it makes first if there are none. Arguments: the folder for its data and its socket, the folder of
# its binaries, the data of the server to be a standby of (empty: a server of its own), and more of its own arguments.
dir=$1 binaries=$2 primary=$3
shift 3
if [ ! -e "$dir/data" ]; then
    if [ -n "$primary" ]; then
        # The primary runs: what changes under our hands is in the log of changes, which is streamed. Its lock file and its
        # replication slots are its own. The label of the backup is to come, and the standby runs next time.
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
