# A memory node of several threads: each is a node to the cluster, a crash of one is its own and it comes back, a second copy is never kept by
# the same node's other thread, and the node is drained, removed and stopped as a whole.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"
memories() { "$LEGO" status --cluster "$cluster" --json | jq -r '[.components[] | select(.kind == "memory" and .state == "up") | .id] | sort | join(" ")'; }
are() { [ "$(memories)" = "$1" ]; }
pid_is_new() { local now; now=$(component_pid m0.1) && [ -n "$now" ] && [ "$now" != "$1" ] && are "m0 m0.1 m0.2"; }
homes() { "$LEGO" status --cluster "$cluster" --json | jq -r '[.processes[].home] | unique | length'; }
several_homes() { [ "$(homes)" -gt 1 ]; }

up -m 1 --memory 192M --memory-threads 3 --spread round-robin
check "three nodes serve when up returns" are "m0 m0.1 m0.2"
pids=
for i in 1 2 3; do
	"$LEGO" run --cluster "$cluster" --excache 1M -- "$SYS/failover" 3 8 >prog$i.out 2>prog$i.err </dev/null &
	pids="$pids $!"
done
check "programs are at several of them" soon 10 several_homes
i=0
for p in $pids; do
	i=$((i + 1))
	wait "$p" || fail "program $i: exit status $?: $(head -c 300 prog$i.err)"
done
before=$(component_pid m0.1)
kill -9 "$before"
check "a thread that was killed is there again" soon 15 pid_is_new "$before"
run 10 -- /bin/echo on
expect_status 0
run 10 --replicas 1 -- /bin/echo two
expect 125 "needs a second memory node"
try 20 "$LEGO" node --cluster "$cluster" drain m0
expect_status 0
draining() { [ "$("$LEGO" status --cluster "$cluster" --json | jq '[.components[] | select(.kind == "memory" and .state == "draining")] | length')" = 3 ]; }
check "all threads drain" soon 5 draining
try 20 "$LEGO" node --cluster "$cluster" undrain m0
expect_status 0
check "all serve again" soon 5 are "m0 m0.1 m0.2"
third=$(component_pid m0.2)
end_at_once "$(component_pid m0)"
check "threads end with their node" soon 5 has_ended "$third"
[ $failures = 0 ]
