# Sourced after lib.sh by tests of the cluster itself: checks with a name, waiting for a state, what a failed command must say.

check() { # check WHAT COMMAND...: must succeed
	local what=$1
	shift
	"$@" || fail "$what"
}

refuses() { # refuses STATUS TEXT COMMAND...: must exit with STATUS and one line on stderr that has TEXT
	local want=$1 said=$2
	shift 2
	try 20 "$@"
	expect "$want" "$said"
}

pid_of() { # pid_of CLUSTER ID, also when the manager is down
	jq -r --arg id "$2" '.components[] | select(.id == $id) | .pid' "$LEGO_HOME/$1/cluster.json"
}

pids_of() {
	jq -r '.components[].pid' "$LEGO_HOME/$1/cluster.json"
}

state_is() { # state_is CLUSTER ID STATE
	[ "$("$LEGO" status --json --cluster "$1" 2>/dev/null | jq -r --arg id "$2" '.components[] | select(.id == $id) | .state')" = "$3" ]
}

alive() {
	[ -d "/proc/$1" ] && ! grep -q '^State:.*[ZX]' "/proc/$1/status" 2>/dev/null
}

none_alive() {
	local pid
	for pid in "$@"; do
		alive "$pid" && return 1
	done
	return 0
}
