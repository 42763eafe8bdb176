# Two managers with their state in etcd: one leads. It is killed, stopped and started again while a program runs that checks every byte, and while
# others are started: another leads within 3 s, the program does not notice, no node is declared down, an old leader that comes back is fenced.
# timeout: 120
# Another must lead within LEGO_TEST_LEAD_MS: 3000 is what is promised, twice that for a machine that is busy with something else.
. "$TOP/tests/cluster/lib.sh"
command -v etcd >/dev/null || {
	echo "skipped: no etcd (Debian: etcd-server)"
	exit 77
}
read -r p1 p2 pe pp < <(python3 -c 'import socket
s = [socket.socket() for i in range(4)]
for x in s: x.bind(("127.0.0.1", 0))
print(*[x.getsockname()[1] for x in s])')
etcd --data-dir "$TMP/etcd" --listen-client-urls http://127.0.0.1:$pe --advertise-client-urls http://127.0.0.1:$pe --initial-advertise-peer-urls http://127.0.0.1:$pp \
	--initial-cluster default=http://127.0.0.1:$pp --listen-peer-urls http://127.0.0.1:$pp >"$TMP/etcd.log" 2>&1 </dev/null &
etcd=$!
end_all() {
	local code=$?
	kill -CONT $(cat "$TMP"/gm?.pid) 2>/dev/null
	rack_end
	kill $(cat "$TMP"/gm?.pid) 2>/dev/null
	soon 5 none_of_us # they give the lead up before etcd goes
	kill $etcd 2>/dev/null
	wait $etcd 2>/dev/null
	(exit $code)
	finish
}
none_of_us() { ! pgrep -f "$TMP/lego.con[f] --name" >/dev/null; }
rack "tcp:127.0.0.1:$p1, tcp:127.0.0.1:$p2" <<CONF
[manager]
store = etcd://127.0.0.1:$pe/rack
beat-ms = 200
lease-ms = 2000
[memory]
memory = 128M
[processor]
excache = 8M
CONF
trap end_all EXIT
answers() { "$LEGO" status --json 2>/dev/null >"$TMP/status"; }
leader() { answers && jq -r '.components[] | select(.kind == "manager" and .state == "up") | .id' "$TMP/status"; }
manager_is() { answers && jq -e --arg id "$1" --arg state "$2" '.components[] | select(.id == $id) | .state == $state' "$TMP/status" >/dev/null; }
leader_is() { [ "$(leader)" = "$1" ]; }
leader_is_not() { answers && ! leader_is "$1"; }
manager() { # NAME: starts it
	(cd "$TMP" && exec setsid "$LEGO" gm --conf "$LEGO_CONF" --name "$1" >>"$TMP/$1.log" 2>&1 </dev/null) &
	echo $! >"$TMP/$1.pid"
	disown
}
other() { [ "$1" = gm0 ] && echo gm1 || echo gm0; }
all_up() { answers && [ "$(jq -r '[.components[] | select(.kind != "manager") | .state] | join(" ")' "$TMP/status")" = "up up up" ]; }
manager gm0
soon 20 leader_is gm0 || fail "gm0 does not lead: $(tail -3 "$TMP/gm0.log" "$TMP/etcd.log")"
manager gm1
rack_add memory
rack_add storage
rack_add processor
[ $failures = 0 ] || { cat "$TMP"/gm?.log; exit 1; }
soon 10 manager_is gm1 standby || fail "status does not show that gm1 stands by: $(cat "$TMP/status")"
soon 10 grep -q 'stands by' "$TMP/gm1.log" || fail "gm1 does not stand by: $(cat "$TMP/gm1.log")"
"$LEGO" vnode create red || fail "no vNode"
# --- a program that runs all the time, and others that start
"$LEGO" run --excache 1M -- "$SYS/failover" 10 8 >"$TMP/long.out" 2>"$TMP/long.err" </dev/null &
long=$!
(
	n=0
	while [ ! -e "$TMP/enough" ]; do
		n=$((n + 1))
		timeout 20 "$LEGO" run -- sh -c "echo \$(($n * 7))" >"$TMP/short.out" 2>&1 </dev/null
		[ "$(cat "$TMP/short.out")" = $((n * 7)) ] || echo "program $n: $(head -c 300 "$TMP/short.out")" >>"$TMP/short.bad"
		echo $n >"$TMP/short.n"
	done
) &
shorts=$!
# change_hands HOW: how long it takes
change_hands() {
	local start=$EPOCHREALTIME old now
	old=$(leader)
	kill "-$1" "$(cat "$TMP/$old.pid")"
	soon 15 leader_is_not "$old" || fail "$1 of $old: nobody else leads: $(tail -n 3 "$TMP"/gm?.log)"
	now=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {printf "%d", (b - a) * 1000}')
	echo "$1 $old: another leads after $now ms" | tee -a "${LEGO_TEST_REPORT:-/dev/null}"
	[ "$now" -le "${LEGO_TEST_LEAD_MS:-6000}" ] || fail "$1 of $old: another leads after $now ms"
}
change_hands KILL
manager gm0
change_hands STOP
stopped=$(other "$(leader)")
sleep 1
kill -CONT "$(cat "$TMP/$stopped.pid")"
soon 10 grep -q 'leads no more' "$TMP/$stopped.log" || fail "$stopped came back and still believes that it leads: $(cat "$TMP/$stopped.log")"
change_hands TERM
soon 10 all_up || fail "not all nodes are up: $(cat "$TMP/status")"
touch "$TMP/enough"
wait $shorts
[ ! -s "$TMP/short.bad" ] || fail "programs that were started meanwhile: $(cat "$TMP/short.bad")"
[ "$(cat "$TMP/short.n")" -gt 3 ] || fail "only $(cat "$TMP/short.n") programs were started"
wait $long
code=$?
[ $code = 0 ] && [ "$(cat "$TMP/long.out")" = "all right" ] || fail "the program noticed: $code $(cat "$TMP/long.out" "$TMP/long.err")"
grep -h ' is down' "$TMP"/gm?.log && fail "a node was declared down"
"$LEGO" vnode ls | grep -q '^red ' || fail "the vNode is forgotten: $("$LEGO" vnode ls)"
terms=$(cat "$TMP"/gm?.log | sed -n 's/.*term \([0-9]*\) at.*/\1/p')
[ "$(echo "$terms" | sort -nu | wc -l)" = "$(echo "$terms" | wc -l)" ] && [ "$(echo "$terms" | wc -l)" -ge 4 ] || fail "terms repeat: $terms"
[ $failures = 0 ]
