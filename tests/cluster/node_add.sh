# A cluster made by lego.conf and `lego node add`, one command a node; drain, remove, and what a mistake in the file says.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
rack <<CONF
[manager]
beat-ms = 200
lease-ms = 1000
[memory]
memory = 64M
lease-ms = 300
[memory m1]
memory = 96M      # the larger one
[processor]
excache = 8M
CONF
nodes() {
	"$LEGO" node list | awk 'NR > 1 {print $1 ":" $3}' | tr '\n' ' '
}
has() {
	nodes | grep -qw "$1"
}
hasnt() {
	! has "$1"
}
# --- mistakes
cp "$LEGO_CONF" good.conf
echo "memroy = 3" >>"$LEGO_CONF"
try 5 "$LEGO" status
expect 1 "lego.conf:17: \[processor\] has no setting 'memroy'; it has .*excache"
try 5 "$LEGO" md --conf "$LEGO_CONF" --name m0
expect 2 "lego.conf:17: "
cp good.conf "$LEGO_CONF"
try 5 "$LEGO" md --conf "$LEGO_CONF"
expect 2 "needs --name"
sed '0,/^lease-ms/s/^lease-ms.*/region = 3M/' good.conf >"$LEGO_CONF" # what only the daemon can tell
try 5 "$LEGO" gm --conf "$LEGO_CONF" --name gm0
expect 2 "lego.conf:9: region: bad value '3M'"
cp good.conf "$LEGO_CONF"
try 5 "$LEGO" status
expect 1 "cannot reach gm0 of cluster 'rack' at tcp:127.0.0.1:$port"
try 5 "$LEGO" node add disk
expect 2 "add what"
# --- one command a node
rack_add manager
rack_add memory
rack_add memory m1
rack_add storage
try 5 "$LEGO" run -- true
expect 125 "no processor node"
rack_add processor
rack_add processor p7 -- --excache 4M
has p7:up || fail "nodes: $(nodes)"
[ "$("$LEGO" status --json | jq -c '[.components[] | select(.kind == "memory") | .total_bytes / 1048576]')" = "[64,96]" ] || fail "the sizes in lego.conf are not the nodes': $(cat "$out")"
for o in "" "--cluster rack" "--node p7"; do
	try 20 "$LEGO" run $o -- sh -c 'echo $((6 * 7))'
	grep -qx 42 "$out" || fail "run $o: status $status, $(cat "$out" "$err")"
done
try 5 "$LEGO" run --cluster other -- true
expect 125 "cluster 'other' is not up"
# the name is taken while its owner lives
try 20 "$LEGO" node add memory m1
expect 1 "m1 is up already, at tcp:127.0.0.1:"
# --- drain: nothing new; remove: gone, and not by itself back
try 30 "$LEGO" node drain m1
expect_status 0
has m1:draining || fail "m1 is not draining: $(nodes)"
try 20 "$LEGO" run -- true
expect_status 0
try 5 "$LEGO" node undrain m1
has m1:up || fail "m1 is not up again: $(nodes)"
soon 10 runs_exactly 0 || fail "programs that ended are still shown"
"$LEGO" run --node p7 -- sleep 1000 >/dev/null 2>&1 </dev/null &
sleeper=$!
soon 10 runs_exactly 1 || fail "the program is not seen"
try 5 "$LEGO" node remove p7
expect 1 "'p7' is in use"
try 20 "$LEGO" node remove --force p7
expect_status 0
hasnt p7:up || fail "p7 is still there: $(nodes)"
wait $sleeper
[ $? != 0 ] || fail "a program outlives its node"
pid=$(component_pid m1)
removed() {
	try 20 "$LEGO" node remove "$1"
	[ $status = 0 ]
}
soon 10 removed m1 || fail "m1 stays in use: $(cat "$err")"
gone() {
	[ ! -d "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status"
}
soon 5 gone "$pid" || fail "m1 still runs"
try 5 "$LEGO" node remove m1
expect 1 "no 'm1'"
try 5 "$LEGO" node remove s0
expect 1 "in use"
rack_add memory m1
try 20 "$LEGO" run -- true
expect_status 0
# one that was killed is forgotten
kill -9 "$(component_pid m1)"
soon 5 has m1:down || fail "m1 is not down: $(nodes)"
try 5 "$LEGO" node remove m1
expect_status 0
hasnt m1:down || fail "m1 is not forgotten: $(nodes)"
