# Processes on two processor nodes append, rename and lock in one directory: a checker finds no lost or repeated record, in the private layer
# and in a bound directory. LEGO_TEST_SECONDS=60 is the long run.
# timeout: 400
. "$TOP/tests/cluster/lib.sh"
long=${LEGO_TEST_SECONDS:-3}
up -p 2
mkdir bound
for dir in /var/tmp/lego-two-$$ /bound; do
	run 30 -v "$TMP/bound:/bound" -- sh -c "mkdir -p $dir/c && exec $SYS/contend prepare $dir/c"
	expect_status 0
	workers=
	for id in 0 1 2; do
		timeout $((long * 3 + 60)) "$LEGO" run --cluster "$cluster" --node p$((id % 2)) -v "$TMP/bound:/bound" -- "$SYS/contend" work "$dir/c" $id "$long" \
			>did.$id 2>err.$id </dev/null &
		workers="$workers $!"
	done
	for w in $workers; do
		wait "$w" || fail "a worker ends with $?: $(head -c 300 err.0 err.1 err.2)"
	done
	cat did.0 did.1 did.2 >bound/did
	run 60 -v "$TMP/bound:/bound" -- sh -c "exec $SYS/contend check $dir/c </bound/did"
	[ "$status" = 0 ] && grep -q '^good: [1-9][0-9]* moves, [1-9]' "$out" || fail "$dir: $(cat "$out" did.0 did.1 did.2) $(head -c 300 "$err")"
	grep good "$out"
done
