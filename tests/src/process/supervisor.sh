# Creates a folder, runs a program in it, and removes both when the parent process ends. The end of
# the parent closes our standard input, however the parent ends. Arguments: the folder in which to
# create ours, the script that runs the program (empty: no program), and more arguments for the
# script. The first argument of the script is our folder.
#
# Each line on standard input is a command: `run` runs the script again after it has ended;
# `append FILE TEXT` appends a line to a file in the folder.
exec 2>&1
base=$1 script=$2
shift 2
PATH=$PATH:/usr/bin:/bin
umask 077
trap '' PIPE # the parent may have ended before it reads the line below
dir=$(mktemp -d "$base/advisory-XXXXXX" 2>/dev/null) || dir=$(mktemp -d /tmp/advisory-XXXXXX) || exit
cd "$dir" || exit
echo "$dir"
exec >/dev/null 2>&1 # the output of the parent must end when the parent does

running=
run() {
    (
        trap '' TERM # for the shells only: servers install handlers of their own
        # Every process of the program keeps the pipe open, so `cat` ends with the last one.
        /bin/sh -c "$script" advisory-supervisor "$dir" "$@" 3>&1 >&2 | cat
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
    # `QUIT` is faster, and old versions of PgBouncer handle `TERM` only. The signals are repeated,
    # because no handler is installed at times, for instance between `initdb` and the server.
    while kill -QUIT 0 && kill -TERM 0; do sleep 0.1; done &
    signals=$!
    wait "$running"
    kill -KILL "$signals"
fi
# A killed server leaves a shared memory segment, whose id is the last word of line 7. All its other
# shared memory is in its data folder.
[ -e data/postmaster.pid ] && ipcrm -m "$(sed -n '7s/.* //p' data/postmaster.pid)"
cd / && rm -rf "$dir"
