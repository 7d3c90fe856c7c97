# A network namespace that ends with this shell, which ends with its standard input. Arguments: the
# name of the interface in it, its address, and a program with its arguments, which runs in it.
interface=$1 address=$2
shift 2
trap 'kill "$program" 2>/dev/null' EXIT
echo ready
read -r _ || exit
ip address add "$address" dev "$interface" && ip link set "$interface" up && ip link set lo up || exit
"$@" </dev/null >/dev/null &
program=$!
echo started
read -r _ || exit
ip link set "$interface" down || exit
echo cut
read -r _
