# A PostgreSQL server as another user: shared_buffers in anonymous shared memory, a System V segment as its interlock, POSIX segments for
# parallel workers, semaphores between processes; every transaction is counted at the end.
# packages: postgresql-15
# excache: 16M
# timeout: 300
set -e
bin=/usr/lib/postgresql/15/bin
dir=$(mktemp -d /tmp/pg.XXXXXX)
chmod 777 "$dir"
cat >"$dir/run" <<'EOF'
set -e
cd "$1"
$2/initdb -D data -A trust --no-sync -U me >log 2>&1 || { tail -5 log; exit 1; }
$2/pg_ctl -D data -w -t 120 -l log -o "-k $1 -c listen_addresses= -c shared_buffers=16MB" start >ctl 2>&1 || { tail -5 log ctl; exit 1; }
q() { $2/psql -h "$1" -U me -At -c "$3" postgres; }
$2/pgbench -h "$1" -U me -i -s 1 -q postgres >bench 2>&1 || cat bench
$2/pgbench -h "$1" -U me -c 4 -j 2 -t 25 -n postgres 2>&1 | grep -E 'processed|failed'
q "$1" "$2" 'select count(*), sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts'
q "$1" "$2" 'set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set min_parallel_table_scan_size = 0; select sum(aid) from pgbench_accounts'
$2/pg_ctl -D data -w -m immediate stop >ctl 2>&1 # as killed: what was committed is there after recovery
$2/pg_ctl -D data -w -t 120 -l log -o "-k $1 -c listen_addresses=" start >ctl 2>&1 || { tail -5 log ctl; exit 1; }
q "$1" "$2" 'select count(*) from pgbench_history'
$2/pg_ctl -D data -w -m fast stop >ctl 2>&1
echo stopped
EOF
if [ "$(id -u)" = 0 ]; then # it refuses to run as root
	perl -e '$) = "65534 65534"; $( = 65534; $< = 65534; $> = 65534; exec @ARGV' sh "$dir/run" "$dir" "$bin"
else
	sh "$dir/run" "$dir" "$bin"
fi
rm -rf "$dir"
