# One budget, two programs: ExCache goes to the one that misses, comes back from the one that is idle, and its sum never exceeds the budget.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
budget=$((80 << 20))
up --excache 16M --excache-max 64M --excache-budget 80M
cat >touch.py <<'END'
import os, random, sys, time
a = bytearray(56 << 20)
lines, turns, r = len(a) // 4096, 0, random.Random(1)
count = [0] * lines
while not os.path.exists("enough"):
    if os.path.exists(sys.argv[1]):
        time.sleep(0.05)
        continue
    for _ in range(5000):
        i = r.randrange(lines)
        a[i * 4096] = count[i] = (count[i] + 1) % 256
print("same", all(a[i * 4096] == count[i] for i in range(lines)))
END

# share NAME: bytes that the program with that argument may have now; every look checks the sum.
look() {
	"$LEGO" status --cluster "$cluster" --json >status.json || return 1
	[ "$(jq '[.processes[].excache_bytes] | add // 0' status.json)" -le $budget ] ||
		fail "more than the budget is given away: $(jq -c '[.processes[].excache_bytes]' status.json)"
	jq -e '[.processes[] | .excache_bytes <= .excache_max_bytes] | all' status.json >/dev/null || fail "more than --excache-max: $(jq -c .processes status.json)"
}

share() {
	jq --argjson pid "$1" '.processes[] | select(.host_pid == $pid) | .excache_bytes' status.json
}

share_at_least() { # PID MIB
	look && [ "$(share "$1")" -ge $(($2 << 20)) ]
}

share_at_most() {
	look && [ "$(share "$1")" -le $(($2 << 20)) ]
}

started() {
	look && jq -e --argjson n "$1" '[.processes[] | select(.host_pid > 0)] | length == $n' status.json >/dev/null
}

resident_at_most() { # PID MIB: what the host says, with the monitor's own
	[ "$(awk '/^RssAnon/ {print $2}' "/proc/$1/status")" -le $(($2 << 10)) ]
}

: >second.idle
"$LEGO" run --cluster "$cluster" -- /usr/bin/python3 touch.py first.idle >first.out 2>first.err </dev/null &
one=$!
soon 30 started 1 || fail "the first does not start: $(cat first.err)"
first=$(jq '.processes[0].host_pid' status.json)
"$LEGO" run --cluster "$cluster" -- /usr/bin/python3 touch.py second.idle >second.out 2>second.err </dev/null &
two=$!
soon 30 started 2 || fail "the second does not start: $(cat second.err)"
second=$(jq --argjson first "$first" '.processes[] | select(.host_pid != $first) | .host_pid' status.json)

soon 40 share_at_least "$first" 48 || fail "the one that misses does not grow: $(jq -c .processes status.json)"
: >first.idle
rm second.idle
soon 40 share_at_least "$second" 36 || fail "the other does not grow: $(jq -c .processes status.json)"
share_at_most "$first" 44 || fail "the idle one gives nothing back: $(jq -c .processes status.json)"
soon 20 resident_at_most "$first" $((44 + 8)) || fail "the idle one says it gave back, and did not: $(grep Rss "/proc/$first/status")"

: >enough
wait $one
code=$?
[ $code = 0 ] && grep -qx "same True" first.out || fail "the first lost something: $code, $(cat first.out first.err)"
wait $two
code=$?
[ $code = 0 ] && grep -qx "same True" second.out || fail "the second lost something: $code, $(cat second.out second.err)"

# What ended has given its share back at once: a program that wants the whole budget gets it.
soon 10 runs_exactly 0 || fail "programs do not end"
run 20 --excache 80M --stats whole.json -- /bin/true
expect_status 0
[ "$(jq .excache_now_bytes whole.json)" = $budget ] || fail "a part of the budget is lost: $(jq .excache_now_bytes whole.json)"
run 20 --excache 4M --excache-max 1M -- /bin/true
expect 125 "excache-max must be at least"
exit $((failures > 0))
