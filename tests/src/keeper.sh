# Keeps a folder, and the server in it, for as long as the program that started us lives: its end of our standard input
# closes however it ends. Arguments: the folder to make ours in, the folder of the server's binaries (empty: no server), and
# more of the server's own arguments.
exec 2>&1
base=$1 binaries=$2
shift 2
PATH=$PATH:/usr/bin:/bin
umask 077
trap '' PIPE # the program may be gone before it reads the line below
dir=$(mktemp -d "$base/advisory-XXXXXX" 2>/dev/null) || dir=$(mktemp -d /tmp/advisory-XXXXXX) || exit
cd "$dir" || exit
echo "$dir"
exec >/dev/null 2>&1 # the program's own output must end when the program does

server=
if [ -n "$binaries" ]; then
    (
        "$binaries/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale -N --wal-segsize=1 &&
            "$binaries/postgres" -D "$dir/data" -p 5432 -c "unix_socket_directories=\"$dir\"" -c listen_addresses= \
                -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 "$@"
        echo "$?" >exit
    ) >log 2>&1 </dev/null &
    server=$!
fi

while read -r _; do :; done

if [ -n "$server" ]; then
    trap '' QUIT
    # Again and again: between `initdb` and the server's own set-up nobody listens.
    while kill -QUIT 0; do sleep 0.1; done &
    nudge=$!
    wait "$server"
    kill -KILL "$nudge"
fi
cd / && rm -rf "$dir"
