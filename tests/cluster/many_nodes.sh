# A program's memory over four memory nodes: results as natively, the spread seen, nodes that are full, and nothing left afterwards.
# timeout: 170
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"

used() { # bytes that a memory node holds
	"$LEGO" status --cluster "$cluster" --json | jq -r --arg id "$1" '.components[] | select(.id == $id) | .used_bytes'
}
holds() { # holds ID BYTES: at least so many
	[ "$(used "$1")" -ge "$2" ]
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
for part in anonymous protect holes remap cow; do
	same mmap $part
done
same processes tree

# three times the memory of one node
timeout 100 "$LEGO" run --cluster "$cluster" --excache 4M -- "$BUILD/tests/unit/excache/hammer" -m 192 -t 1 -s 3 -a -p >hammer.out 2>&1 </dev/null &
runner=$!
for id in m0 m1 m2 m3; do
	soon 60 "$id holds nothing of a program of three times its size" holds $id $((8 << 20))
done
wait $runner || fail "the program of 192 MiB over four nodes of 64 MiB: $(tail -c 500 hammer.out)"
soon 5 "memory of a program that ended is still held" empty

# more than all have: refused, and the nodes live
run 60 --excache 4M -- "$BUILD/tests/unit/excache/hammer" -m 400 -t 1 -s 1
[ "$status" != 0 ] || fail "400 MiB over 4 nodes of 64 MiB were promised"
for id in m0 m1 m2 m3; do
	check "$id is up" state_is "$cluster" $id up
done
soon 5 "memory is held when no program runs" empty
