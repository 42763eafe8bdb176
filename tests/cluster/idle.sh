# An idle cluster burns less than 2 % of a core.
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"

burnt() { # processor time of the pids, ns
	local pid
	for pid in "$@"; do
		cat /proc/"$pid"/task/*/schedstat
	done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

up -p 1 -m 1 -s 1 --memory 64M
pids=$(pids_of "$cluster")
sleep 2 # start-up is over
before=$(burnt $pids)
sleep 5
used=$(($(burnt $pids) - before))
awk -v ns="$used" 'BEGIN { printf "idle cluster: %.2f %% of a core\n", ns / 5e7 }'
[ "$used" -lt 100000000 ] || fail "not less than 2 % of a core"
