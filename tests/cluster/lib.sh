# Sourced by the cluster tests. Each runs in a private directory with LEGO (the binary), SYS (test programs), TMP and LEGO_HOME set;
# exit 0: passed, 77: skipped. At the end, however it comes, the cluster is taken down and nothing may be left running.
set -u
cluster=c$$
failures=0
out=$TMP/out err=$TMP/err

fail() {
	echo "$*"
	failures=$((failures + 1))
}

# Runs a command with a time limit; sets status, seconds; stdout and stderr in $out and $err.
try() {
	local limit=$1 start=$EPOCHREALTIME
	shift
	timeout -k 3 "$limit" "$@" >"$out" 2>"$err" </dev/null
	status=$?
	seconds=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.1f", b - a}')
	[ $status != 124 ] && [ $status != 137 ] || fail "no end within $limit s: $*"
}

# expect STATUS 'TEXT': the last `try` must have ended so, with exactly one line on stderr, which names TEXT (a grep -E pattern).
expect() {
	[ "$status" = "$1" ] || fail "exit status $status, not $1; stderr: $(head -c 500 "$err")"
	[ "$(grep -c . "$err")" = 1 ] || fail "not one line on stderr: $(head -c 800 "$err")"
	grep -qE -e "$2" "$err" || fail "the message does not name '$2': $(head -c 500 "$err")"
}

expect_status() {
	[ "$status" = "$1" ] || fail "exit status $status, not $1; stderr: $(head -c 500 "$err")"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# rack [MANAGERS] <<CONF: a cluster by lego.conf with what it says below [cluster]; directories and a key; by default one manager, at $port.
rack() {
	cluster=rack
	export LEGO_CONF=$TMP/lego.conf
	port=$(free_port)
	mkdir "$TMP/r" "$TMP/d"
	head -c 32 /dev/urandom >"$TMP/key"
	chmod 600 "$TMP/key"
	cat >"$LEGO_CONF" <<-CLUSTER
		[cluster]
		name = rack
		manager = ${1:-tcp:127.0.0.1:$port}
		key = $TMP/key
		data = $TMP/d
		run = $TMP/r
	CLUSTER
	cat >>"$LEGO_CONF"
	trap 'rack_end; finish' EXIT
}

rack_add() { # KIND [NAME]
	try 40 "$LEGO" node add "$@"
	expect_status 0
}

rack_end() { # keeps the exit status
	local code=$? pids
	pids=$("$LEGO" status --json 2>/dev/null | jq '.components[].pid')
	[ -z "$pids" ] || kill $pids 2>/dev/null
	return $code
}

up() {
	"$LEGO" up "$cluster" ${LEGO_TEST_FILES:+--files "$LEGO_TEST_FILES"} "$@" >"$TMP/up.log" 2>&1 </dev/null || {
		cat "$TMP/up.log"
		echo "lego up failed"
		exit 1
	}
}

# The host pid of a component (p0, m0, s0, gm0).
component_pid() {
	"$LEGO" status --cluster "$cluster" --json | jq -r --arg id "$1" '.components[] | select(.id == $id) | .pid'
}

run() { # run LIMIT [OPTION...] -- CMD...
	local limit=$1
	shift
	try "$limit" "$LEGO" run --cluster "$cluster" "$@"
}

# soon SECONDS CMD...: true as soon as CMD is, false after SECONDS of trying. What nodes report travels by heartbeat: ask, never guess a time.
soon() {
	local tries=$(($1 * 10))
	shift
	while ! "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.1
	done
}

# Bytes that the memory nodes hold, and the number of programs that run, as the manager knows them.
held() {
	"$LEGO" status --cluster "$cluster" --json | jq '[.components[] | select(.kind == "memory") | .used_bytes] | add'
}

processes() {
	"$LEGO" status --cluster "$cluster" --json | jq '.processes | length'
}

holds_more() {
	[ "$(held)" -gt "$1" ]
}

holds_at_most() {
	[ "$(held)" -le "$1" ]
}

runs_exactly() {
	[ "$(processes)" = "$1" ]
}

# Starts a daemon that was killed again as it was started and remembered (fd 3: whom it tells that it is ready). `lego down` does not know it.
restart() { # COMPONENT
	local dir args
	mapfile -d '' args <"$TMP/$1.args"
	dir=$(cat "$TMP/$1.cwd")
	(cd "$dir" && exec setsid "$LEGO" "${args[@]:1}" >>"$TMP/$1.log" 2>&1 </dev/null 3>/dev/null) &
	disown
}

remember() { # COMPONENT PID
	cat "/proc/$2/cmdline" >"$TMP/$1.args"
	readlink "/proc/$2/cwd" >"$TMP/$1.cwd"
}

# kill -9, and until it holds nothing any more: a lock of its data directory would keep the next one out.
end_at_once() { # PID
	kill -9 "$1"
	soon 10 has_ended "$1" || fail "process $1 does not die"
}

has_ended() {
	! cat "/proc/$1"/task/*/status 2>/dev/null | grep -q '^State:[[:space:]]*[^ZX[:space:]]' # every thread of it
}

# Processes of this test that still run: daemons and programs have our LEGO_HOME in their environment.
leftovers() {
	local p
	for p in /proc/[0-9]*; do
		[ "${p#/proc/}" != $$ ] && [ "${p#/proc/}" != "$BASHPID" ] || continue
		# not our own shells
		[ "$(readlink "$p/exe" 2>/dev/null)" != "$(readlink /proc/$$/exe)" ] || continue
		if tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -qxF "LEGO_HOME=$LEGO_HOME"; then
			echo "${p#/proc/} $(tr '\0' ' ' <"$p/cmdline" 2>/dev/null | head -c 100)"
		fi
	done 2>/dev/null
}

# No process may be left (waits up to 3 s for them to go).
nothing_left() {
	local i left
	for i in 1 2 3 4 5 6; do
		left=$(leftovers)
		[ -n "$left" ] || return 0
		sleep 0.5
	done
	fail "left running: $left"
	echo "$left" | while read -r pid _; do kill -9 "$pid"; done
}

finish() {
	local code=$?
	"$LEGO" down "$cluster" >/dev/null 2>&1 </dev/null
	nothing_left
	[ $failures = 0 ] || exit 1
	exit $code
}
trap finish EXIT
