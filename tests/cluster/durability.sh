# kill -9 of the storage and the memory daemon together, in the middle of a load that writes, renames, appends and syncs numbered records,
# and of another that commits transactions with sqlite (its rollback journal and its write-ahead log by turns): everything acknowledged is
# there afterwards, nothing half-done is to be seen. LEGO_TEST_ROUNDS=200 is the long run.
# timeout: 3600
. "$TOP/tests/cluster/lib.sh"
rounds=${LEGO_TEST_ROUNDS:-3}
up
dir=/var/tmp/lego-durable-$$ # in the private layer
first=1 commits=0
modes=(DELETE WAL TRUNCATE) next=(1 1 1) # of sqlite: a database each

in_cluster() { "$LEGO" run --cluster "$cluster" -- "$@"; }
sql() { in_cluster /usr/bin/python3 "$TOP/tests/cluster/durable_sql.py" "$@"; }
comes_back() { soon 30 sh -c "timeout 20 '$LEGO' run --cluster '$cluster' -- '$SYS/hello_static' >/dev/null 2>&1"; }

last_of() { grep -x '[0-9]*' "$1" | tail -n 1; } # acknowledged

with_sql=yes
[ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import sqlite3' 2>/dev/null || with_sql=
[ -n "$with_sql" ] || echo "no python3 with sqlite3: without its commits"

run 30 -- mkdir -p "$dir"
for ((round = 1; round <= rounds && failures == 0; round++)); do
	k=$((round % 3)) mode=${modes[round % 3]}
	sd=$(component_pid s0) md=$(component_pid m0)
	remember s0 "$sd"
	remember m0 "$md"
	in_cluster "$SYS/durable" write "$dir" $first >acks 2>"$err" </dev/null &
	runner=$!
	: >acks.sql
	sqler=
	if [ -n "$with_sql" ]; then
		sql write "$dir/db.$mode" "${next[k]}" "$mode" >acks.sql 2>err.sql </dev/null &
		sqler=$!
		soon 30 grep -q . acks.sql || fail "round $round: nothing was committed: $(head -c 300 err.sql)"
	fi
	soon 30 grep -q . acks || fail "round $round: nothing was written: $(head -c 300 "$err")"
	sleep 0.$((RANDOM % 9))
	kill -9 "$sd" "$md"
	wait $runner $sqler
	restart s0
	restart m0
	comes_back || fail "round $round: the cluster does not come back: $(tail -n 3 "$TMP/s0.log" "$TMP/m0.log")"
	last=$(last_of acks)
	run 60 -- "$SYS/durable" check "$dir" "$last"
	[ "$status" = 0 ] || fail "round $round, $last acknowledged: $(head -c 600 "$out") $(head -c 300 "$err")"
	first=$(sed -n 's/^next //p' "$out")
	[ -n "$with_sql" ] || continue
	last=$(last_of acks.sql)
	run 60 -- /usr/bin/python3 "$TOP/tests/cluster/durable_sql.py" check "$dir/db.$mode" "${last:-0}"
	[ "$status" = 0 ] || fail "round $round, sqlite ($mode), ${last:-nothing} acknowledged: $(head -c 600 "$out") $(head -c 600 "$err")"
	commits=$((commits - next[k]))
	next[k]=$(sed -n 's/^next //p' "$out")
	commits=$((commits + next[k]))
done
[ -n "$first" ] && [ "$first" -gt "$rounds" ] || fail "only ${first:-no} records were written"
echo "$rounds rounds: $first records, $commits transactions"
kill $(component_pid s0) $(component_pid m0) # `lego down` knows only those it started
exit 0
