# The append-only file, its rewrite and a background save under load; then what a second server reads from the file.
# packages: redis-server redis-tools
# excache: 4M
. "$(dirname "$0")/lib.sh"
port=$(free_port)
serve() { redis-server --port $port --save "" --appendonly yes --dir "$PWD" --protected-mode no >>redis.log 2>&1 & }
ask() { redis-cli -p $port "$@"; }
idle() { for i in $(seq 200); do ask info persistence | grep -qE '(aof_rewrite|rdb_bgsave)_in_progress:1' || return; sleep 0.1; done; echo "still saving"; }
serve
wait_port $port
/usr/bin/python3 - <<'PY' | redis-cli -p $port --pipe | grep -E 'errors'
for i in range(12000):
    k, v = "key:%d" % (i * 7919 % 9000), ("%d," % i) * 120
    print("SET %s %s\r" % (k, v))
for i in range(3000):
    print("RPUSH list:%d %d\r\nZADD z %d m%d\r\nHINCRBY h f%d 3\r" % (i % 50, i, i % 77, i, i % 100))
PY
ask bgrewriteaof
ask incrby n 5
redis-benchmark -p $port -n 3000 -r 100 -q -t incr >/dev/null && echo loaded
idle
ask del "$(ask --scan --pattern 'counter*' | head -1)" >/dev/null
ask --scan --pattern 'counter*' | xargs -r redis-cli -p $port del >/dev/null
ask bgsave
idle
ask info persistence | tr -d '\r' | grep -E 'last_bgsave_status|last_bgrewrite_status|last_write_status'
ask config resetstat
ask debug digest
ask shutdown nosave
wait
serve
wait_port $port
while ask ping | grep -q LOADING; do sleep 0.1; done
ask dbsize
ask debug digest
ask shutdown nosave
wait
