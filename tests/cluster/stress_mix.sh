# A mix of threads, forks, signals, mappings and files, again and again (LEGO_MIX times, 3 without); at the end memory, storage and
# processor node are asked and hold nothing, and no daemon has kept a descriptor.
# timeout: 3600
. "$TOP/tests/cluster/lib.sh"
times=${LEGO_MIX:-3}
up

# What the components hold, one number: channels, address spaces, open files, pages, processes; then the daemons' descriptors on the host.
holds() {
	"$LEGO" status --cluster "$cluster" --json >"$TMP/status" || fail "no status"
	jq '([.components[] | select(.kind != "manager") | .channels + .spaces + .open_files, (select(.kind == "memory") | .used_bytes)] | add) + (.processes | length)' "$TMP/status"
	descriptors | wc -l
}

descriptors() { # of the daemons that the last status named: id, and what it is
	jq -r '.components[] | select(.kind != "manager") | "\(.id) \(.pid)"' "$TMP/status" | while read -r id pid; do
		find "/proc/$pid/fd" -type l -printf "$id %l\n"
	done | sed -E 's/\[[0-9]+\]//' | sort
}

settled() { # until they hold nothing, and no more descriptors than $before
	local i held
	for i in $(seq 100); do
		held=$(holds | xargs)
		[ "${held% *}" = 0 ] && [ "${held#* }" -le "$before" ] && return 0
		sleep 0.1
	done
	descriptors | diff descriptors.before - || true
	fail "held at the end, in all and as descriptors (of $before before): $held; $(jq -c '[.components[] | {id, used_bytes, channels, spaces, open_files}], .processes' "$TMP/status")"
}

run 60 --excache 8M -- "$SYS/mix" 0 # so that what the daemons keep for good is there
expect_status 0
before=1000000
settled
before=$(holds | tail -1)
descriptors >descriptors.before
said=$("$SYS/mix" 0)
for k in $(seq "$times"); do
	run 150 --excache 8M -- "$SYS/mix" "${LEGO_MIX_SECONDS:-1}"
	[ "$status" = 0 ] && [ "$(cat "$out")" = "$said" ] || {
		fail "run $k of $times: status $status after $seconds s: $(head -c 1000 "$out" "$err")"
		break
	}
	[ $((k % 20)) != 0 ] || settled
done
settled
[ -z "$(find "$TMP" -maxdepth 1 -name 'mix.*')" ] || fail "files are left: $(ls "$TMP" | head)"
