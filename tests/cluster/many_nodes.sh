# A program's memory over four memory nodes: results as natively, the spread seen, nodes that are full, and nothing left afterwards.
# timeout: 170
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"

spread() { # every node holds 8 MiB or more
	[ "$("$LEGO" status --cluster "$cluster" --json | jq '[.components[] | select(.kind == "memory") | .used_bytes] | min')" -ge $((8 << 20)) ]
}
empty() {
	[ "$("$LEGO" status --cluster "$cluster" --json | jq '[.components[] | select(.kind == "memory") | .used_bytes] | add')" = 0 ]
}
same() { # same WHAT ARGS...: a test program prints the same natively
	local what=$1
	shift
	"$SYS/$what" "$@" >native 2>&1 </dev/null
	local code=$?
	run 60 --excache 1M -- "$SYS/$what" "$@"
	[ "$status" = "$code" ] || fail "$what $*: exit status $status, natively $code: $(head -c 300 "$err")"
	cmp -s native "$out" || fail "$what $* prints otherwise: $(diff native "$out" | head -5)"
}

# every vRegion of 2 MiB on the next node: layout operations, moves and forks cross borders all the time
up -m 4 --memory 64M --spread round-robin --near 0 --region 2M
same mmap
same processes tree

# three times the memory of one node: right, and (of one that goes on until it was seen) on every node
hammer="$BUILD/tests/unit/excache/hammer"
run 100 --excache 4M -- "$hammer" -m 192 -t 1 -s 3 -a -p
expect_status 0
timeout 100 "$LEGO" run --cluster "$cluster" --excache 4M -- "$hammer" -m 192 -t 1 -s 1000 -a -p >hammer.out 2>&1 </dev/null &
runner=$!
soon 60 spread || fail "a program of three times a node's size is not on every node: $("$LEGO" status --cluster "$cluster")"
kill $runner
wait $runner
soon 5 empty || fail "memory of a program that ended is still held"

# more than all have: refused, and the nodes live
run 60 --excache 4M -- "$BUILD/tests/unit/excache/hammer" -m 400 -t 1 -s 1
[ "$status" != 0 ] || fail "400 MiB over 4 nodes of 64 MiB were promised"
for id in m0 m1 m2 m3; do
	check "$id is up" state_is "$cluster" $id up
done
soon 5 empty || fail "memory is held when no program runs"
