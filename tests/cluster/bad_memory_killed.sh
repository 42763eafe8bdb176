# The memory node is killed in the middle of a run: the program ends at once with a line that names the node; nothing hangs or stays.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
up
pid=$(component_pid m0)
[ -n "$pid" ] || fail "no pid of m0 in the status"
# Beside it one that has all it touches in its ExCache, but forks.
timeout -k 3 40 "$LEGO" run --cluster "$cluster" -- /bin/bash -c 'while :; do (:); done' >forks.out 2>forks.err </dev/null &
forks=$!
( soon 20 holds_more 6000000; echo "$EPOCHREALTIME" >killed.at; kill -9 "$pid" ) &
run 60 --excache 1M -- /usr/bin/python3 -c '
import random
a = [random.random() for i in range(300000)]
while True: random.shuffle(a)'
[ "$status" = 137 ] || [ "$status" = 125 ] || [ "$status" = 135 ] || [ "$status" = 139 ] || fail "exit status $status"
grep -q m0 "$err" || fail "the message does not name m0: $(head -c 500 "$err")"
[ "$(grep -c . "$err")" -le 2 ] || fail "more than a clear line: $(head -c 800 "$err")"
awk -v a="$(cat killed.at)" -v b="$EPOCHREALTIME" 'BEGIN {exit !(b - a > 15)}' && fail "took more than 15 s to end"
wait $forks
status=$?
[ "$status" = 125 ] || fail "a program that forks ended with $status: $(head -c 300 forks.err)"
grep -q m0 forks.err || fail "the message to a program that forks does not name m0: $(head -c 300 forks.err)"
run 20 -- "$SYS/hello_static"
expect 125 'm0|memory'
try 10 "$LEGO" status --cluster "$cluster" --json
jq -e '.components[] | select(.id == "m0") | .state == "down"' "$out" >/dev/null || fail "status does not say that m0 is down: $(jq -c .components "$out" 2>&1 | head -c 600)"
