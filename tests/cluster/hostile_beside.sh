# An honest program goes on beside floods of requests, raw frames, layout changes, files, forks, descriptors and silent connections, and comes to the
# right end. What it waits for a miss, alone and beside each, is printed; LEGO_TEST_SECONDS says how long each flood lasts; with more
# than the one second that it has here there are all of them (docs/security.md has the figures).
# timeout: 170
. "$TOP/tests/cluster/lib.sh"
seconds=${LEGO_TEST_SECONDS:-1}
beside=$BUILD/tests/hostile/beside
door=$(nm "$BUILD/processor/monitor/lego-monitor" | awk '$3 == "host_raw" {print $1}')
# The honest one has a core. The nodes, which would be other machines, have another and come first there; the floods have what they leave.
mine= theirs= nodes=
cpus=$(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep=",")') # not always from 0 on
first=${cpus%%,*} rest=${cpus#*,}
[ "$first" = "$cpus" ] || { mine="taskset -c $first" theirs="nice -n 15 taskset -c $rest" nodes="taskset -c ${rest%%,*}"; }
[ "$(id -u)" != 0 ] || nodes="$nodes nice -n -15"
floods="requests files forks frames connections"
[ "$seconds" = 1 ] || floods="requests layout files forks fds frames connections"
$nodes "$LEGO" up "$cluster" --memory 1G --transport tcp >"$TMP/up.log" 2>&1 </dev/null || fail "no cluster: $(cat "$TMP/up.log")"
ports=$("$LEGO" status --cluster "$cluster" --json | jq -r '.components[].addr' | sed -n 's/^tcp:.*://p')
for kind in $floods; do : >$kind.out; done
mkfifo phases
$mine "$LEGO" run --cluster "$cluster" --excache 4M -- "$beside" honest <phases >honest.out 2>honest.err &
runner=$!
exec 3>phases
soon 20 grep -q ready honest.out || fail "the honest program does not start: $(cat honest.err)"
echo alone >&3
sleep "$seconds"
for kind in $floods; do
	echo >&3
	$theirs timeout $((seconds + 40)) "$LEGO" run --cluster "$cluster" --excache 2M -- "$beside" $kind "$seconds" "$door" $ports >"$kind.out" 2>"$kind.err" </dev/null &
	flood=$!
	soon 30 grep -q flooding "$kind.out" || fail "$kind does not start: $(tail -3 "$kind.err")"
	echo $kind >&3
	sleep "$seconds"
	echo >&3
	wait $flood || fail "$kind: $(tail -3 "$kind.err")"
done
echo alone >&3
sleep "$seconds"
exec 3>&-
wait $runner || fail "the honest program failed: $(tail -3 honest.out honest.err)"
for kind in alone $floods; do
	grep -q "^$kind [1-9]" honest.out || fail "it did not get on beside $kind: $(cat honest.out)"
done
echo "beside COUNT P50 P99 us"
grep -v -e ready -e '^ ' honest.out
run 20 -- sh -c 'echo well'
grep -q well "$out" || fail "the cluster does not run a program any more: $(cat "$err")"
soon 15 runs_exactly 0 || fail "$(processes) processes are left"
