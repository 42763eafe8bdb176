# What the cluster tests share. Each runs in a LEGO_HOME of its own and leaves nothing, also when it fails.
# Usage: . lib.sh  with $1 = the lego binary.
set -u
LEGO=$(realpath "$1")
LEGO_HOME=$(mktemp -d /tmp/lego-test-XXXXXX)
export LEGO_HOME
unset XDG_RUNTIME_DIR
checks=0

cleanup() {
	for dir in "$LEGO_HOME"/*/; do
		[ -f "$dir/cluster.json" ] && "$LEGO" down "$(basename "$dir")" >/dev/null 2>&1
	done
	rm -rf "$LEGO_HOME"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

fail() {
	echo "FAILED: $*" >&2
	for log in "$LEGO_HOME"/*/*.log; do
		[ -s "$log" ] && { echo "--- $log" >&2; tail -n 5 "$log" >&2; }
	done
	exit 1
}

# check WHAT COMMAND...: the command must succeed.
check() {
	what=$1
	shift
	checks=$((checks + 1))
	"$@" || fail "$what"
}

# refuses STATUS TEXT COMMAND...: must exit with STATUS and say TEXT in exactly one line on stderr.
refuses() {
	want=$1 text=$2
	shift 2
	checks=$((checks + 1))
	"$@" >/dev/null 2>"$LEGO_HOME/.err"
	got=$?
	[ "$got" = "$want" ] || fail "$*: exit status $got, not $want: $(cat "$LEGO_HOME/.err")"
	grep -qF -- "$text" "$LEGO_HOME/.err" || fail "$*: says '$(cat "$LEGO_HOME/.err")', not '$text'"
	[ "$(wc -l <"$LEGO_HOME/.err")" = 1 ] || fail "$*: says more than one line: $(cat "$LEGO_HOME/.err")"
}

# soon SECONDS WHAT COMMAND...: the command must succeed within so many seconds.
soon() {
	tries=$(($1 * 20)) what=$2
	shift 2
	checks=$((checks + 1))
	while ! "$@"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || fail "$what"
		sleep 0.05
	done
}

# The pid of component ID of cluster NAME: pid_of NAME ID
pid_of() {
	python3 -c 'import json, sys
for k in json.load(open(sys.argv[1]))["components"]:
    if k["id"] == sys.argv[2]: print(k["pid"])' "$LEGO_HOME/$1/cluster.json" "$2"
}

pids_of() {
	python3 -c 'import json, sys
print(*[k["pid"] for k in json.load(open(sys.argv[1]))["components"]])' "$LEGO_HOME/$1/cluster.json"
}

# state_is NAME ID STATE
state_is() {
	"$LEGO" status --json --cluster "$1" | python3 -c 'import json, sys
sys.exit(0 if [k["state"] for k in json.load(sys.stdin)["components"] if k["id"] == sys.argv[1]] == [sys.argv[2]] else 1)' "$2" "$3"
}

alive() {
	[ -d "/proc/$1" ] && ! grep -q '^State:.*[ZX]' "/proc/$1/status" 2>/dev/null
}

none_alive() {
	for pid in "$@"; do
		alive "$pid" && return 1
	done
	return 0
}

# no_daemon_of DIR: no daemon whose arguments name it
no_daemon_of() {
	! ps -eo args | grep -F "$1" | grep -q '^lego '
}

finish() {
	echo "$(basename "$0"): $checks checks passed"
	exit 0
}
