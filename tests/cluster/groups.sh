# A cgroup for each vNode: memory, processes and cores beyond what is its own are not to be had, whatever its monitors say; who shares nothing with it
# does not notice; and nothing is left, also not of nodes that were killed.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
[ "$(id -u)" = 0 ] || {
	echo "skipped: cgroups need root"
	exit 77
}
up -m 1 --memory 512M --excache-budget 256M --excache 8M
door=$(nm "$BUILD/processor/monitor/lego-monitor" | awk '$3 == "host_raw" {print $1}')
vn() {
	try 10 "$LEGO" vnode --cluster "$cluster" "$@"
	expect_status 0
}
vn create red --net host --cpus 1
vn create blue --net host
hog() { # CASE
	run 40 --vnode red -- "$BUILD/tests/hostile/hostile" "$door" "$1"
	! grep -q REACHED "$out" || fail "$1: $(tail -3 "$out")"
}
host_pid() { # of the sleep that runs in vNode $1
	"$LEGO" status --cluster "$cluster" --json | jq -r --arg v "$1" '[.processes[] | select(.vnode == $v and .command == "sleep") | .host_pid][0]'
}
is_there() {
	[ "$(host_pid "$1")" -gt 1 ] 2>/dev/null
}
"$LEGO" run --cluster "$cluster" --vnode red --excache 4M -- sleep 300 >/dev/null 2>&1 </dev/null &
soon 10 is_there red || fail "no program: $("$LEGO" status --cluster "$cluster" --json)"
pid=$(host_pid red)
# where its group of a controller is; empty: there is none
group() { # CONTROLLER
	local at mount
	at=$(awk -F: -v c="$1" '$2 == c {print $3}' "/proc/$pid/cgroup") mount=$(awk -v c="$1" '/ - cgroup / && $NF ~ "(^|,)" c "(,|$)" {print $5; exit}' /proc/self/mountinfo)
	[ -n "$at" ] || at=$(awk -F: '$1 == 0 {print $3}' "/proc/$pid/cgroup") mount=$(awk '/ - cgroup2 / {print $5; exit}' /proc/self/mountinfo)
	case $at in /lego/*) echo "$mount$at" ;; esac
}
memory=$(group memory) pids=$(group pids) cpu=$(group cpu)
if [ -z "$memory" ] || [ -z "$pids" ] || [ -z "$cpu" ]; then
	grep -q "no cgroup bounds" "$LEGO_HOME/$cluster/p0.log" || fail "no cgroup, and p0 does not say so: $(cat "/proc/$pid/cgroup")"
	echo "this host has not every controller: $(grep 'no cgroup' "$LEGO_HOME/$cluster/p0.log" | tail -1)"
fi
# an honest one in another vNode checks what it reads back
honest='import os, sys
a = bytearray(4 << 20)
n = 0
while not os.path.exists("stop"):
    for i in range(0, len(a), 4096): a[i] = (i >> 12) + n & 255
    for i in range(0, len(a), 4096):
        if a[i] != (i >> 12) + n & 255: sys.exit("wrong byte at %d" % i)
    n += 1
print("honest to the end")'
"$LEGO" run --cluster "$cluster" --vnode blue --excache 4M -v "$PWD:/w" -w /w -- /usr/bin/python3 -c "$honest" >honest.out 2>&1 </dev/null &
runner=$!
if [ -n "$memory" ]; then
	limit=$(cat "$memory/memory.limit_in_bytes" "$memory/memory.max" 2>/dev/null)
	[ "$limit" -lt $((3 << 30)) ] || fail "limit $limit of a vNode with one small program"
	hog memory_hog
	grep -q done "$out" || fail "memory_hog: status $status: $(tail -2 "$out" "$err")"
	took=$(awk '/took/ {n = $2} END {print n + 0}' "$out")
	[ "$took" -gt 100 ] && [ $((took << 20)) -lt $((4 << 30)) ] || fail "memory_hog took $took MiB of $limit bytes"
fi
if [ -n "$pids" ]; then
	grep -qE '^[0-9]+$' "$pids/pids.max" || fail "pids.max: $(cat "$pids/pids.max")"
	echo 200 >"$pids/pids.max" # the real one takes a while to fill
	hog process_hog
	made=$(awk '/^made/ {print $2}' "$out")
	[ "$made" -gt 50 ] && [ "$made" -lt 200 ] || fail "process_hog made $made of 200: $(cat "$err")"
	echo max >"$pids/pids.max"
fi
if [ -n "$cpu" ]; then
	grep -q 105000 "$cpu/cpu.cfs_quota_us" "$cpu/cpu.max" 2>/dev/null || fail "no quota of one core: $(cat "$cpu"/cpu.cfs_quota_us "$cpu"/cpu.max 2>&1)"
	hog core_hog # two that run for a second of the clock, and may have what one core does in that, and what the start costs
	[ "$(awk '/^used/ {print $2}' "$out")" -lt 150 ] || fail "two hogs had more than a core: $(cat "$out")"
fi
touch stop
wait $runner
grep -q "honest to the end" honest.out || fail "the honest program: $(tail -3 honest.out)"
# nothing is left of it: when pd is killed its helper removes the groups, and when that is killed too, the next one that starts
gone() {
	[ ! -e "$1" ]
}
p0=$(component_pid p0)
helper=$(pgrep -P "$p0" -x lego-helper)
[ -n "$helper" ] || fail "no helper of p0"
if [ -n "$pids" ]; then
	kill -STOP "$helper"
	kill -9 "$p0" "$helper"
	soon 10 has_ended "$pid" || fail "a program survives its node"
	[ -e "$pids" ] || fail "the group of a killed helper is gone by itself: the rest of this test shows nothing"
	first=$cluster
	"$LEGO" down "$cluster" >/dev/null 2>&1 </dev/null
	cluster=$first-b
	up -m 1 --memory 64M
	for g in "$memory" "$pids" "$cpu"; do
		[ -z "$g" ] || soon 10 gone "$g" || fail "$g is left after the next start"
	done
	run 20 -- true
	"$LEGO" run --cluster "$cluster" -- sleep 300 >/dev/null 2>&1 </dev/null &
	soon 10 is_there default || fail "no program in the second cluster"
	pid=$(host_pid default)
	pids=$(group pids) memory=$(group memory)
	kill -9 "$(component_pid p0)"
	soon 10 gone "$pids" && soon 10 gone "$memory" || fail "the groups of a killed node are left"
fi
