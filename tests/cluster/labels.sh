# Labels of lego.conf: what a node has is shown, programs and memory go where it is asked for, what nobody has is named. A processor node whose
# ExCache is promised takes nothing more, with a word on what is short, and takes more again when there is some.
# timeout: 60
. "$TOP/tests/cluster/lib.sh"
rack <<CONF
[manager]
beat-ms = 200
lease-ms = 2000
[memory]
memory = 64M
[memory m1]
labels = big,rack=b
[processor]
excache = 4M
excache-max = 4M
excache-budget = 16M
labels = rack=a
[processor p1]
labels = rack=b,fast
CONF
for n in "manager gm0" "storage s0" "memory m0" "memory m1" "processor p0" "processor p1"; do
	rack_add $n
done
"$LEGO" node list | grep -q '^p1 .* rack=b,fast ' || fail "p1's labels: $("$LEGO" node list)"
"$LEGO" status --json | jq -e '.components[] | select(.id == "m1") | .labels == "big,rack=b"' >/dev/null || fail "m1's labels in status"
# --- a program that says where it is: its node and its home
where() { "$LEGO" status --json | jq -r '[.processes[] | select(.command == "sleep") | .node + " " + .home] | sort | unique | join(",")'; }
is_at() { [ "$(where)" = "$1" ]; }
sleeper() { # OPTION...
	"$LEGO" run "$@" -- sleep 1000 >/dev/null 2>"$TMP/sleeper.err" </dev/null &
	last=$!
}
ends() {
	kill "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	soon 10 runs_exactly 0 || fail "a program is left: $("$LEGO" ps)"
}
at_node() { [ "$(where | cut -d' ' -f1)" = "$1" ]; }
sleeper --on fast
soon 10 at_node p1 || fail "--on fast is at '$(where)': $(cat "$TMP/sleeper.err")"
ends $last
"$LEGO" vnode create v --net host --label p=rack=a --label m=big || fail "no vNode"
sleeper --vnode v
soon 10 is_at "p0 m1" || fail "vNode v is at '$(where)': $(cat "$TMP/sleeper.err")"
ends $last
try 10 "$LEGO" run --on tape -- true
expect 125 "no processor node has the label tape"
try 10 "$LEGO" run --vnode v --on fast -- true
expect 125 "no processor node has all of the labels fast,rack=a"
try 10 "$LEGO" run --vnode v --node p1 -- true
expect 125 "p1 has not all of the labels rack=a"
try 10 "$LEGO" vnode create w --label s=tape
expect 1 "no storage node has the label tape"
try 10 "$LEGO" vnode create w --label x=tape
expect 2 "bad value 'x=tape' for --label"
# --- where the manager is: said here, not in lego.conf
sed "s/^manager = .*/manager = tcp:127.0.0.1:1/" "$LEGO_CONF" >"$TMP/elsewhere.conf"
try 20 env LEGO_CONF="$TMP/elsewhere.conf" "$LEGO" run --manager tcp:127.0.0.1:1,tcp:127.0.0.1:$port --node p0 -- true
expect_status 0
try 10 "$LEGO" run --manager nowhere -- true
expect 125 "'nowhere' is no address"
# --- ExCache: four programs of 4 MiB on each node, and no ninth
jobs=
for i in 1 2 3 4 5 6 7 8; do
	sleeper --excache 4M --excache-max 4M
	jobs="$jobs $last"
	soon 10 runs_exactly $i || fail "program $i does not run: $(cat "$TMP/sleeper.err")"
done
[ "$("$LEGO" status --json | jq '[.processes[] | select(.node == "p0")] | length')" = 4 ] || fail "not four on each node: $("$LEGO" ps)"
promised() { [ "$("$LEGO" status --json | jq '[.components[] | select(.kind == "processor") | .promised_bytes] | add')" = $((32 << 20)) ]; }
soon 10 promised || fail "not all is promised: $("$LEGO" status --json | jq -c '[.components[].promised_bytes]')"
try 20 "$LEGO" run -- true
expect 125 "p0 has promised 16 of its 16 MiB of ExCache; p1 has promised"
kill $last
wait $last 2>/dev/null
try 20 "$LEGO" run -- true
expect_status 0
kill $jobs 2>/dev/null
wait $jobs 2>/dev/null
[ $failures = 0 ]
