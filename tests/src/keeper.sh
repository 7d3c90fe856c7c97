# Keeps a folder, and a program in it, for as long as the process that started us lives: its end of our standard input
# closes however it ends. Arguments: the folder to make ours in, the script that runs the program (empty: none), and more
# arguments of that script, whose first is our folder.
#
# A line on standard input is a command: `run` runs the script again once it has ended; `append FILE TEXT` adds a line to a
# file in the folder.
exec 2>&1
base=$1 script=$2
shift 2
PATH=$PATH:/usr/bin:/bin
umask 077
trap '' PIPE # the process may be gone before it reads the line below
dir=$(mktemp -d "$base/advisory-XXXXXX" 2>/dev/null) || dir=$(mktemp -d /tmp/advisory-XXXXXX) || exit
cd "$dir" || exit
echo "$dir"
exec >/dev/null 2>&1 # the output of the process must end when it does

running=
run() {
    (
        trap '' TERM # for the shells; servers listen to it all the same
        # Every process of the program has the pipe open, and `cat` ends with the last of them.
        /bin/sh -c "$script" advisory-keeper "$dir" "$@" 3>&1 >&2 | cat
        : >exit
    ) >>log 2>&1 </dev/null &
    running=$!
}

[ -n "$script" ] && run "$@"

while read -r command file text; do
    case $command in
    run) run "$@" ;;
    append) printf '%s\n' "$text" >>"$file" ;;
    esac
done

if [ -n "$running" ]; then
    trap '' QUIT TERM
    # `QUIT` is the quicker end, and old PgBouncers only know `TERM`. Again and again: there are moments at which nobody
    # listens, as between `initdb` and the server's own set-up.
    while kill -QUIT 0 && kill -TERM 0; do sleep 0.1; done &
    nudge=$!
    wait "$running"
    kill -KILL "$nudge"
fi
# A server that was killed has left a segment of shared memory, the last word of line 7. What else it shared is in its data.
[ -e data/postmaster.pid ] && ipcrm -m "$(sed -n '7s/.* //p' data/postmaster.pid)"
cd / && rm -rf "$dir"
