# kill -9 of the storage and the memory daemon together, in the middle of a load that writes, renames, appends and syncs numbered records:
# everything acknowledged is there afterwards, nothing half-done is to be seen. LEGO_TEST_ROUNDS=200 is the long run.
# timeout: 3600
. "$TOP/tests/cluster/lib.sh"
rounds=${LEGO_TEST_ROUNDS:-3}
up
dir=/var/tmp/lego-durable-$$ # in the private layer
first=1

comes_back() { soon 30 sh -c "timeout 20 '$LEGO' run --cluster '$cluster' -- '$SYS/hello_static' >/dev/null 2>&1"; }

for ((round = 1; round <= rounds && failures == 0; round++)); do
	sd=$(component_pid s0) md=$(component_pid m0)
	remember s0 "$sd"
	remember m0 "$md"
	"$LEGO" run --cluster "$cluster" -- "$SYS/durable" write "$dir" $first >acks 2>"$err" </dev/null &
	runner=$!
	soon 30 grep -q . acks || fail "round $round: nothing was written: $(head -c 300 "$err")"
	sleep 0.$((RANDOM % 9))
	kill -9 "$sd" "$md"
	wait $runner
	restart s0
	restart m0
	comes_back || fail "round $round: the cluster does not come back: $(tail -n 3 "$TMP/s0.log" "$TMP/m0.log")"
	last=$(tail -n 1 acks | grep -x '[0-9]*')
	[ -n "$last" ] || last=$(tail -n 2 acks | head -n 1)
	run 60 -- "$SYS/durable" check "$dir" "$last"
	[ "$status" = 0 ] || fail "round $round, $last acknowledged: $(head -c 600 "$out") $(head -c 300 "$err")"
	first=$(sed -n 's/^next //p' "$out")
done
[ -n "$first" ] && [ "$first" -gt "$rounds" ] || fail "only ${first:-no} records were written"
kill $(component_pid s0) $(component_pid m0) # `lego down` knows only those it started
exit 0
