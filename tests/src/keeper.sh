# Keeps a folder, and a program in it, for as long as the process that started us lives: its end of our standard input
# closes however it ends. Arguments: the folder to make ours in, the script that runs the program (empty: none), and more
# arguments of that script, whose first is our folder.
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
if [ -n "$script" ]; then
    (
        trap '' TERM # for the shells; servers listen to it all the same
        /bin/sh -c "$script" advisory-keeper "$dir" "$@"
        echo "$?" >exit
    ) >log 2>&1 </dev/null &
    running=$!
fi

while read -r _; do :; done

if [ -n "$running" ]; then
    trap '' QUIT TERM
    # `QUIT` is the quicker end, and old PgBouncers only know `TERM`. Again and again: there are moments at which nobody
    # listens, as between `initdb` and the server's own set-up.
    while kill -QUIT 0 && kill -TERM 0; do sleep 0.1; done &
    nudge=$!
    wait "$running"
    kill -KILL "$nudge"
fi
cd / && rm -rf "$dir"
