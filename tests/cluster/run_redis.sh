# redis-server under load over TCP on loopback, and its snapshot by fork. Skipped where it is not installed.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
command -v redis-server redis-benchmark redis-cli >/dev/null || exit 77
up
port=$((20000 + $$ % 10000))
timeout 100 "$LEGO" run --cluster "$cluster" --excache 8M -- redis-server --port $port --save "" --dir "$TMP" --protected-mode no >redis.log 2>&1 </dev/null &
runner=$!
for i in $(seq 100); do
	[ "$(redis-cli -p $port ping 2>/dev/null)" = PONG ] && break
	sleep 0.1
done
[ "$(redis-cli -p $port ping 2>/dev/null)" = PONG ] || fail "no answer: $(tail -5 redis.log)"
try 60 redis-benchmark -p $port -n 20000 -r 20000 -d 500 -q -t set,get,lpush
expect_status 0
redis-cli -p $port debug digest >before 2>&1
redis-cli -p $port save >/dev/null
redis-cli -p $port bgsave >/dev/null
for i in $(seq 100); do
	redis-cli -p $port info persistence | grep -q 'rdb_bgsave_in_progress:0' && break
	sleep 0.1
done
redis-cli -p $port info persistence | grep -q 'rdb_last_bgsave_status:ok' || fail "bgsave: $(redis-cli -p $port info persistence | grep rdb_last; tail -3 redis.log)"
redis-cli -p $port debug digest >after 2>&1
cmp -s before after || fail "the data changed: $(cat before after)"
keys=$(redis-cli -p $port dbsize)
redis-cli -p $port shutdown nosave 2>/dev/null
wait $runner
[ -s dump.rdb ] || fail "no snapshot"
timeout 30 redis-server --port $port --save "" --dir "$TMP" >native.log 2>&1 </dev/null &
native=$!
for i in $(seq 100); do
	[ "$(redis-cli -p $port ping 2>/dev/null)" = PONG ] && break
	sleep 0.1
done
[ "$(redis-cli -p $port dbsize)" = "$keys" ] || fail "a native redis reads $(redis-cli -p $port dbsize) keys from the snapshot, not $keys"
[ "$(redis-cli -p $port debug digest 2>&1)" = "$(cat before)" ] || fail "a native redis reads other data from the snapshot"
redis-cli -p $port shutdown nosave 2>/dev/null
wait $native
