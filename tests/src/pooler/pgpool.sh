# Runs a pgpool-II. Arguments: the folder for its socket, the program, and the folder of the
# server's socket. Version 4.4 has renamed `socket_dir`, and an unknown setting is ignored.
dir=$1 program=$2 server=$3
: >"$dir/pcp.conf"
: >"$dir/pool_hba.conf"
cat >"$dir/pgpool.conf" <<CONF
backend_clustering_mode = 'streaming_replication'
listen_addresses = ''
pcp_listen_addresses = ''
port = 5432
pcp_port = 5433
socket_dir = '$dir'
unix_socket_directories = '$dir'
pcp_socket_dir = '$dir'
pid_file_name = '$dir/pid'
logdir = '$dir'
work_dir = '$dir'
pool_passwd = ''
backend_hostname0 = '$server'
backend_port0 = 5432
backend_flag0 = 'ALLOW_TO_FAILOVER'
num_init_children = 16
sr_check_period = 0
sr_check_user = 'postgres'
sr_check_database = 'postgres'
health_check_period = 0
load_balance_mode = off
memqcache_total_size = 1MB
memqcache_max_num_cache = 100
use_watchdog = off
CONF
exec "$program" -n -f "$dir/pgpool.conf" -F "$dir/pcp.conf" -a "$dir/pool_hba.conf"
