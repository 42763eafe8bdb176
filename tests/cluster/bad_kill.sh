# kill -9 of programs, of `lego run`, of the processor node: memory is freed and nothing stays.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
up
busy='a = bytearray(50000000); import os
for i in range(0, len(a), 4096): a[i] = 1
os.write(1, b"ready\n")
while True: a[5] = 6'
timeout 60 "$LEGO" run --cluster "$cluster" --excache 2M -- /usr/bin/python3 -c "$busy" >busy.out 2>busy.err </dev/null &
runner=$!
soon 20 grep -q ready busy.out || fail "the program did not start: $(cat busy.err)"
try 10 "$LEGO" ps --cluster "$cluster"
grep -q python3 "$out" || fail "lego ps does not show it: $(cat "$out")"
soon 10 holds_more 40000000 || fail "the memory node holds nothing for it"
host_pid=$("$LEGO" status --cluster "$cluster" --json | jq '.processes[] | select(.command | test("python3")) | .host_pid')
kill -9 "$host_pid" || fail "no host pid in the status"
wait $runner
code=$?
[ $code = 137 ] || fail "exit status $code after kill -9, not 137"
soon 10 holds_at_most 0 || fail "memory of a killed program is not freed: $(held) bytes"
soon 10 runs_exactly 0 || fail "the status still shows a process"
# the launcher dies: the program must not stay
"$LEGO" run --cluster "$cluster" -- sh -c 'sleep 1000 & exec sleep 1000' >/dev/null 2>&1 </dev/null &
runner=$!
soon 20 runs_exactly 2 || fail "the shell and its child do not run"
kill -9 $runner
wait $runner 2>/dev/null
soon 10 runs_exactly 0 || fail "programs outlive a killed lego run"
# the processor node dies: its programs end
timeout 60 "$LEGO" run --cluster "$cluster" -- sleep 1000 >/dev/null 2>p.err </dev/null &
runner=$!
soon 20 runs_exactly 1 || fail "the program does not run"
kill -9 "$(component_pid p0)"
start=$SECONDS
wait $runner
code=$?
[ $code != 0 ] && [ $code != 124 ] || fail "exit status $code after the processor node died"
[ $((SECONDS - start)) -lt 15 ] || fail "took $((SECONDS - start)) s to end after the processor node died"
