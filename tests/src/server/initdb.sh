# Creates the data of a server, if there are none. Arguments: the folder for them, and the folder of
# the binaries.
[ -e "$1/data" ] ||
    "$2/initdb" -D "$1/data" -U postgres -A trust -E UTF8 --no-locale -N --wal-segsize=1 || exit
