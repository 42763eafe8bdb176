# A second copy of memory: memory nodes are killed or stopped under a program that checks every byte, which goes on and ends well, with either
# node's copy; a new standby is filled each time. Without one the program ends with a message. LEGO_TEST_ROUNDS=200 is the long run,
# LEGO_TEST_FAULT=owner|standby|stop|both|lag|manager makes every round of one kind (the last is of the long run only); the stalls seen are
# printed at the end, and added to the file LEGO_TEST_REPORT.
# timeout: 7200
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"
rounds=${LEGO_TEST_ROUNDS:-5}
declare -A again=()
faults=(owner standby stop both lag)

start_again() { # COMPONENT: as it was started
	restart "$1"
	again[$1]=1
}
home() { "$LEGO" status --cluster "$cluster" --json 2>/dev/null | jq -r '[.processes[].home][0] // empty'; }
has_home() { [ -n "$(home)" ]; }
states() { "$LEGO" status --cluster "$cluster" --json | jq -r '[.components[] | select(.kind == "memory") | .state] | join(" ")'; }
in_sync() { [ "$(states)" = "up up up" ]; }
# The node that holds as much as the owner does.
standby_of() {
	"$LEGO" status --cluster "$cluster" --json |
		jq -r --arg o "$1" '[.components[] | select(.kind == "memory" and .id != $o)] | max_by(.used_bytes) | .id'
}
kill_one() { # COMPONENT [PID]
	local pid=${2:-$(component_pid "$1")}
	[ -n "$pid" ] || { fail "round $round: no node to kill"; return; }
	remember "$1" "$pid"
	killed+=("$1")
	kill -9 "$pid"
}
moment() { sleep "0.$((RANDOM % 800 + 100))"; }

left_out() { [ "$(grep -c "standby none" "$LEGO_HOME/$cluster/gm0.log")" -gt "$1" ]; }

fault() { # KIND
	local owner
	owner=$(home)
	case $1 in
	owner) kill_one "$owner" ;;
	standby) kill_one "$(standby_of "$owner")" ;;
	stop) # longer than the lease: it comes back believing that it is the owner
		local pid
		pid=$(component_pid "$owner")
		kill -STOP "$pid"
		sleep 2.5
		kill -CONT "$pid"
		;;
	lag) # shorter than the lease: only who does not want to wait for it leaves it out
		local pid epochs
		pid=$(component_pid "$(standby_of "$owner")")
		epochs=$(grep -c "standby none" "$LEGO_HOME/$cluster/gm0.log")
		kill -STOP "$pid"
		soon 1 left_out "$epochs" || fail "round $round: a standby that lags is not left out"
		kill -CONT "$pid"
		;;
	both)
		kill_one "$owner"
		start_again "$owner"
		soon 20 in_sync || fail "no new standby is filled"
		soon 5 has_home || fail "the process has no home"
		kill_one "$(home)"
		;;
	manager) # with the manager, which may have said who goes on or not: who forks, too, waits until it is back and knows
		local gm pid away=$((RANDOM % 9)).5
		gm=$(component_pid gm0) pid=$(component_pid "$owner")
		remember gm0 "$gm"
		grep -zvx -e --fresh "$TMP/gm0.args" >"$TMP/kept" && mv "$TMP/kept" "$TMP/gm0.args"
		if [ $program = forks ] || [ $((RANDOM % 2)) = 0 ]; then
			kill -STOP "$gm"
			away=6.5
		fi
		kill_one "$owner" "$pid"
		[ $away = 6.5 ] || moment
		end_at_once "$gm"
		sleep $away
		start_again gm0
		[ $((RANDOM % 2)) = 0 ] || { start_again "$owner"; killed=(); }
		;;
	esac
}

round() { # KIND
	local length=3 mode=strict program=failover says="all right" how
	killed=()
	if [ "$1" = manager ] && [ $((round % 2)) = 0 ]; then
		program=mix says=$'forks 1 maps 1 files 1 signals 1\nwrong 0'
	elif [ "$1" = manager ]; then
		program=forks
	fi
	[ "$1" != lag ] || mode=best-effort
	[ "$1" = stop ] || [ "$1" = both ] && length=6
	case $program in
	forks) how=(sh -c 'i=0; while [ $i -lt 300 ]; do (exit 0) || exit 9; i=$((i + 1)); done; echo all right') ;; # nothing else asks for memory then
	*) how=("$SYS/$program" $length 12 stall) ;;
	esac
	timeout 90 "$LEGO" run --cluster "$cluster" --replicas 1 --replica-mode $mode --excache 1M -- "${how[@]}" >"$out" 2>"$err" </dev/null &
	local runner=$!
	soon 10 has_home || fail "the program has no home"
	moment
	fault "$1"
	wait $runner
	status=$?
	[ "$status" = 0 ] && [ "$(cat "$out")" = "$says" ] ||
		fail "round $round, $1: exit status $status: $(head -c 300 "$out") $(head -c 300 "$err"); $(tail -qn 4 "$LEGO_HOME/$cluster/gm0.log" "$TMP/gm0.log" 2>/dev/null)"
	[ ! -s "stall" ] || echo "$1 $(cat stall)" >>"$TMP/stalls"
	rm -f "stall"
	local id
	for id in ${killed[@]+"${killed[@]}"}; do
		state_is "$cluster" "$id" up || start_again "$id"
	done
	soon 30 in_sync || fail "round $round, $1: the nodes do not come to be in sync: $(states)"
	soon 15 holds_at_most 0 || fail "round $round, $1: memory is held when no program runs"
}

if [ -z "${LEGO_TEST_FAULT:-}" ]; then
	up -m 2
	refuses 2 "second memory node" "$LEGO" up other --replicas 1 -m 1
	run 20 --replicas 2 -- /bin/true
	[ "$status" != 0 ] || fail "two replicas were promised"
	# no replica: the process says which node, and which of its regions
	"$LEGO" run --cluster "$cluster" --excache 1M -- "$SYS/failover" 20 12 >"$out" 2>"$err" </dev/null &
	runner=$!
	soon 10 has_home || fail "the program has no home"
	node=$(home)
	kill -9 "$(component_pid "$node")"
	wait $runner
	[ $? != 0 ] || fail "a program outlived its only memory node"
	grep -qE "memory node $node is gone, and with it (the region at [0-9a-f]+ of this process|this process's address space)" "$err" ||
		fail "the message does not name node and region: $(head -c 300 "$err")"
	"$LEGO" down "$cluster" >/dev/null 2>&1
fi

room=96M
[ "${LEGO_TEST_FAULT:-}" != manager ] || room=512M # the stacks of mix's threads are promised, and its children's
up -m 3 --memory $room
soon 5 in_sync || fail "the nodes are not up"
for ((round = 1; round <= rounds && failures == 0; round++)); do
	round "${LEGO_TEST_FAULT:-${faults[(round - 1) % 5]}}"
done
for kind in "${faults[@]}"; do
	[ -s "$TMP/stalls" ] || break
	sort -n -k2 "$TMP/stalls" | awk -v kind=$kind '$1 == kind {s[n++] = $2}
		END {if (n) printf "%s: %d rounds, longest stall of a step: p50 %.0f ms, p99 %.0f ms, most %.0f ms\n", kind, n, s[int(n / 2)] / 1000, s[int(n * 0.99)] / 1000, s[n - 1] / 1000}'
done | tee -a "${LEGO_TEST_REPORT:-/dev/null}"
for id in ${!again[@]}; do # `lego down` knows only those that it started
	kill "$(component_pid $id)"
done
[ $failures = 0 ]
