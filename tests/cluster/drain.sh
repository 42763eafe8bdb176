# Memory nodes are drained under a program that checks every byte: it goes on and ends well, the node is empty and can be removed, and a drain that
# was broken off is taken up again. Once with all memory at one node, which moves home and all, once with vRegions on three nodes.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"
node() { "$LEGO" node --cluster "$cluster" "$@"; }
home() { "$LEGO" status --cluster "$cluster" --json | jq -r '[.processes[].home][0] // empty'; }
used() { "$LEGO" status --cluster "$cluster" --json | jq --arg id "$1" '.components[] | select(.id == $id) | .used_bytes'; }
holds() { [ "$(used "$1")" -gt "$2" ]; }
start() { # a program of 24 MiB, for so many seconds
	"$LEGO" run --cluster "$cluster" --excache 1M -- "$SYS/failover" "$1" 24 >prog.out 2>prog.err </dev/null &
	runner=$!
}
ends_well() {
	wait $runner
	status=$?
	[ "$status" = 0 ] && [ "$(cat prog.out)" = "all right" ] || fail "$1: exit status $status: $(head -c 300 prog.out) $(head -c 300 prog.err)"
}
removed() { node remove "$1" 2>/dev/null; }

up -m 3 --memory 192M
start 8
soon 10 holds m0 $((1 << 20)) || soon 1 holds_more 0 || fail "the program writes nothing back"
from=$(home)
check "the program has a home" [ -n "$from" ]
try 5 "$LEGO" node --cluster "$cluster" drain --no-wait "$from"
expect_status 0
try 60 "$LEGO" node --cluster "$cluster" drain "$from"
expect_status 0
grep -q "$from is empty" "$out" || fail "drain says: $(cat "$out")"
check "$from can be removed while the program runs" soon 10 removed "$from"
[ "$from" != "$(home)" ] || soon 5 holds_more 0 || fail "the program has lost its memory"
ends_well "home and all"
soon 15 holds_at_most 0 || fail "memory is held when no program runs"
"$LEGO" down "$cluster" >/dev/null 2>&1

up -m 3 --memory 192M --spread round-robin --near 0 --region 2M
start 6
soon 15 holds m1 $((1 << 20)) || fail "the program is not spread"
at=$(home)
other=m1
[ "$at" != m1 ] || other=m2
node drain --no-wait $other
is_empty() { [ "$(used $other)" = 0 ]; }
soon 30 is_empty || fail "$other still holds $(used $other) bytes"
node undrain $other
ends_well "vRegions"
soon 15 holds_at_most 0 || fail "memory is held when no program runs"
[ $failures = 0 ]
