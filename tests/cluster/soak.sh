# Memory nodes come, go and die at random under eight programs that check every byte, with two copies of their memory: every output is right, and
# every page is accounted for when they have ended. LEGO_TEST_SECONDS=900 is the long run; what was done goes to LEGO_TEST_REPORT too.
# timeout: 3600
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"
length=${LEGO_TEST_SECONDS:-5}
programs=${LEGO_TEST_PROGRAMS:-8}
rack <<CONF
[memory]
memory = 192M
CONF
end_all() {
	local code=$?
	[ -z "${workers:-}" ] || kill $workers 2>/dev/null
	(exit $code)
	rack_end
	finish
}
trap end_all EXIT
memories() { "$LEGO" status --json | jq -r '[.components[] | select(.kind == "memory" and .state != "down") | .id] | join(" ")'; }
in_sync() { "$LEGO" status --json | jq -e '[.components[] | select(.kind == "memory") | .state] | all(. == "up")' >/dev/null; }
empty() { "$LEGO" status --json | jq -e '[.components[] | select(.kind == "memory") | .used_bytes + .spaces] | add == 0' >/dev/null; }
removed() {
	"$LEGO" node remove "$1" >/dev/null 2>"$err"
}
pick() { # one of the words
	local words=("$@")
	echo "${words[RANDOM % ${#words[@]}]}"
}

worker() { # N: programs one after another until the end
	local n=$1 run=0
	until [ -e "$TMP/stop" ]; do
		run=$((run + 1))
		timeout 300 "$LEGO" run --replicas 1 --excache 1M -- "$SYS/failover" $((RANDOM % 5 + 2)) 8 >"$TMP/w$n.out" 2>"$TMP/w$n.err" </dev/null
		local code=$?
		[ $code = 0 ] && [ "$(cat "$TMP/w$n.out")" = "all right" ] ||
			echo "worker $n, run $run: exit status $code: $(head -c 300 "$TMP/w$n.out") $(head -c 300 "$TMP/w$n.err")" >>"$TMP/wrong"
	done
	echo "$run" >"$TMP/w$n.runs"
}

rack_add manager
rack_add storage
for id in m0 m1 m2; do rack_add memory $id; done
rack_add processor
workers=
for ((n = 0; n < programs; n++)); do
	worker $n 3>&- &
	workers+=" $!"
done

next=3 drains=0 kills=0 adds=0
bring() { # a node more, or the one named
	local id=${1:-m$((next++))}
	rack_add memory "$id"
	adds=$((adds + 1))
}
leave() { # drained, then removed
	try 120 "$LEGO" node drain "$1"
	[ "$status" = 0 ] || fail "drain $1: $(cat "$err")"
	soon 20 removed "$1" || fail "$1 was drained and cannot be removed: $(cat "$err")"
	drains=$((drains + 1))
}
killed() {
	kill -9 "$(component_pid "$1")"
	soon 20 "$LEGO" node remove "$1" 2>/dev/null || fail "$1 was killed and cannot be removed"
	kills=$((kills + 1))
	bring "$1"
}
end=$((SECONDS + length))
for ((turn = 0; failures == 0 && (SECONDS < end || turn < 3); turn++)); do
	soon 60 in_sync || fail "the nodes do not come to be in sync: $("$LEGO" node list)"
	[ ! -s "$TMP/wrong" ] || break
	read -ra up <<<"$(memories)"
	what=$((turn < 3 ? turn : RANDOM % 3)) # each at least once
	sleep "0.$((RANDOM % 900 + 100))"
	if [ $what = 0 ] || [ ${#up[@]} -lt 3 ]; then
		[ ${#up[@]} -ge 5 ] || bring
	elif [ $what = 1 ]; then
		leave "$(pick "${up[@]}")"
	else
		killed "$(pick "${up[@]}")"
	fi
done
touch "$TMP/stop"
wait $workers
workers=
[ ! -s "$TMP/wrong" ] || fail "$(head -5 "$TMP/wrong")"
soon 30 empty || fail "memory is held when no program runs: $("$LEGO" status)"
soon 15 runs_exactly 0 || fail "programs that ended are still shown"
echo "soak: $length s, $(cat "$TMP"/w*.runs 2>/dev/null | awk "{n += \$1} END {print n + 0}") programs, $adds nodes added, $drains drained and removed, $kills killed" |
	tee -a "${LEGO_TEST_REPORT:-/dev/null}"
[ $failures = 0 ]
