# Over UCX: libucx is in the daemons that speak it and in nothing else; a node that is killed is noticed within 3 s.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
if [ ! -e "$(dirname "$LEGO")/lego-ucx.so" ]; then
	echo "built without UCX (Debian: libucx-dev)"
	exit 77
fi
export UCX_TLS=tcp,self
up --transport ucx --memory 256M
[[ $("$LEGO" status --cluster "$cluster" --json | jq -r '.components[] | select(.id == "m0") | .address') == ucx:127.0.0.1:* ]] || fail "m0 is not at an address of UCX"
has_ucx() {
	grep -q libucp "/proc/$1/maps"
}
host_pid() {
	"$LEGO" status --cluster "$cluster" --json | jq -r '.processes[0].host_pid // empty'
}
"$LEGO" run --cluster "$cluster" -- /bin/bash -c 'while :; do (:); done' >"$out" 2>"$err" </dev/null &
client=$!
some_run() {
	! runs_exactly 0
}
soon 20 some_run || fail "the program does not run"
for id in p0 m0 s0; do
	has_ucx "$(component_pid $id)" || fail "$id does not speak UCX"
done
! has_ucx "$(component_pid gm0)" || fail "libucx is in the manager"
! has_ucx "$client" || fail "libucx is in the command line"
pid=$(host_pid)
if [ -s "/proc/$pid/maps" ] && has_ucx "$pid"; then
	fail "libucx is in the program's process"
fi
log=$LEGO_HOME/$cluster/p0.log
kill -9 "$(component_pid m0)"
soon 3 grep -q "memory node m0 is down" "$log" || fail "p0 does not say within 3 s that m0 is down: $(tail -n 3 "$log")"
soon 15 has_ended $client || fail "the program does not end"
kill -9 $client 2>/dev/null
wait $client
[ $? = 125 ] || fail "the program ended with $?: $(head -c 300 "$err")"
grep -q m0 "$err" || fail "the message does not name m0: $(head -c 300 "$err")"
