# Hostile programs reach nothing and end no daemon; an honest program beside them goes on as if they were not there.
# timeout: 170
. "$TOP/tests/cluster/lib.sh"
up -m 1 --memory 1G ${HOSTILE_TRANSPORT:+--transport $HOSTILE_TRANSPORT}
hostile=$BUILD/tests/hostile/hostile
door=$(nm "$BUILD/processor/monitor/lego-monitor" | awk '$3 == "host_raw" {print $1}')
[ -n "$door" ] || fail "no host_raw in the monitor's image"
before=
for c in gm0 p0 m0 s0; do
	before="$before $(component_pid $c)"
done
# the honest one: checks what it reads back, more of it than its cache holds, until told to stop
honest='import os, sys
a = bytearray(8 << 20)
n = 0
while not os.path.exists("stop"):
    for i in range(0, len(a), 4096): a[i] = (i >> 12) + n & 255
    for i in range(0, len(a), 4096):
        if a[i] != (i >> 12) + n & 255: sys.exit("wrong byte at %d" % i)
    open("round", "w").write(str(n)); n += 1
print("honest to the end")'
"$LEGO" run --cluster "$cluster" --excache 4M -- /usr/bin/python3 -c "$honest" >honest.out 2>&1 </dev/null &
runner=$!
for case in $("$hostile" -l); do
	run 40 -- "$hostile" "$door" "$case"
	grep -q REACHED "$out" && fail "$case: $(grep REACHED "$out" | head -5)"
	[ "$case" != rings ] || grep -qE "[2-9] rings|0 rings" "$out" || fail "rings: $(cat "$out" "$err")"
	grep -q done "$out" || fail "$case: did not come to its end: status $status, $(head -c 300 "$err")"
done
touch stop
wait $runner || fail "the honest program: $(tail -3 honest.out)"
grep -q "honest to the end" honest.out || fail "the honest program: $(tail -3 honest.out)"
after=
for c in gm0 p0 m0 s0; do
	after="$after $(component_pid $c)"
done
[ "$before" = "$after" ] || fail "a daemon was started anew: $before, now $after"
for p in $before; do
	kill -0 "$p" || fail "daemon $p is gone"
done
run 20 -- sh -c 'echo well'
grep -q well "$out" || fail "the cluster does not run a program any more: $(cat "$err")"
# what they held is freed
soon 10 runs_exactly 0 || fail "$(processes) processes are left"
