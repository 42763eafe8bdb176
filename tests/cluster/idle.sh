#!/bin/sh
# An idle cluster burns less than 2 % of a core.
. "$(dirname "$(realpath "$0")")/lib.sh"

# Processor time of the pids, ns
burnt() {
	total=0
	for pid in "$@"; do
		ran=$(cat /proc/"$pid"/task/*/schedstat | cut -d" " -f1 | paste -sd+)
		total=$((total + $ran))
	done
	echo "$total"
}

check "lego up" "$LEGO" up -p 1 -m 1 -s 1 --memory 64M >/dev/null
pids=$(pids_of default)
sleep 2 # start-up is over
before=$(burnt $pids)
sleep 5
used=$(($(burnt $pids) - before))
awk -v ns="$used" 'BEGIN { printf "idle cluster: %.2f %% of a core\n", ns / 5e7 }'
check "less than 2 % of a core" [ "$used" -lt 100000000 ]
check "lego down" "$LEGO" down
check "no process is left" none_alive $pids
finish
