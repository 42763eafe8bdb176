# A thread that waits for a memory node that stands still: pd prints the flight recorders of its run, and the program goes on after.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
export LEGO_DEBUG=1
up
pid=$(component_pid m0)
"$LEGO" run --cluster "$cluster" --excache 3M -- /usr/bin/python3 -c '
import os
a = bytearray(6 << 20)
turns = 0
while not os.path.exists("enough"):
    for i in range(0, len(a), 4096): a[i] = (a[i] + 1) % 256
    turns += 1
    print("turn", flush=True)
print("same", set(a[::4096]) == {turns % 256})' >run.out 2>run.err </dev/null &
runner=$!
soon 40 grep -q turn run.out || fail "the program does not start: $(cat run.err)"
kill -STOP "$pid"
soon 8 grep -q "makes no progress" "$LEGO_HOME/$cluster/p0.log" || fail "pd says nothing of a thread that waits: $(tail -5 "$LEGO_HOME/$cluster/p0.log")"
kill -CONT "$pid"
: >enough
wait $runner
code=$?
[ $code = 0 ] && tail -1 run.out | grep -qx "same True" || fail "the program did not go on: $code, $(tail -1 run.out) $(cat run.err)"
grep -q "waits for a reply about [0-9a-f]*; last events" "$LEGO_HOME/$cluster/p0.log" || fail "no thread waits for a reply: $(head -20 "$LEGO_HOME/$cluster/p0.log")"
grep -qE "[0-9]+ miss " "$LEGO_HOME/$cluster/p0.log" || fail "no miss among the events"
