# A cluster comes up, says what it is, notices what dies, and goes down without leaving anything.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"
cluster=default

status_has() {
	"$LEGO" status --json | /usr/bin/python3 "$TOP/tests/cluster/check_status.py" "$@"
}

# --- nothing is up
refuses 1 "no cluster 'default' is up" "$LEGO" status
refuses 1 "no cluster 'default' is up" "$LEGO" down
refuses 1 "no /none, which LEGO_UCX says is lego-ucx.so" env LEGO_UCX=/none "$LEGO" up --transport ucx
refuses 1 "is no cluster name" "$LEGO" up ../x
long=$LEGO_HOME/$(printf 'x%.0s' $(seq 90))
mkdir -p "$long"
refuses 1 "too long" env LEGO_HOME="$long" "$LEGO" up

# --- up
try 20 "$LEGO" up -p 2 -m 2 -s 1 --memory 64M
expect_status 0
check "status --json has the promised shape" status_has processor=2 memory=2 storage=1 manager=1
for id in gm0 p0 p1 m0 m1 s0; do
	check "$id is up" state_is default $id up
done
for words in status ps "node list" "vnode list"; do
	try 5 "$LEGO" $words
	expect_status 0
done
check "lego vnode create" "$LEGO" vnode create mine
mine=$("$LEGO" vnode list | grep '^mine ')
[ -n "$mine" ] || fail "the vNode is not listed"
refuses 1 "is up already" "$LEGO" up
refuses 1 "no process 4711" "$LEGO" kill 4711
refuses 2 "unknown signal" "$LEGO" kill -s FOO 1

# --- what dies is down, the rest stays
for id in m1 p1 s0; do
	kill -9 "$(pid_of default $id)"
	soon 2 state_is default $id down || fail "$id is not shown as down after kill -9"
done
for id in gm0 p0 m0; do
	check "$id is still up" state_is default $id up
done
refuses 1 "its storage node is not up" "$LEGO" vnode create other
refuses 1 "up already" "$LEGO" up

# --- the manager dies and comes back: the others stay, and find it
kill -9 "$(pid_of default gm0)"
soon 2 none_alive "$(pid_of default gm0)" || fail "gm0 does not end"
refuses 1 "gm0" "$LEGO" status
check "m0 minds the manager's end" alive "$(pid_of default m0)"
"$LEGO" gm --name gm0 --listen "unix:$LEGO_HOME/default/gm0.sock" --key "$LEGO_HOME/default/key" --data "$LEGO_HOME/default/gm0" \
	2>"$TMP/gm0.log" &
manager=$!
soon 5 grep -q "m0 is back" "$TMP/gm0.log" || fail "m0 does not find the manager that is back"
soon 5 grep -q "p0 is back" "$TMP/gm0.log" || fail "p0 does not find the manager that is back"
check "the silent are presumed up for a lease" state_is default m1 up
soon 5 state_is default m1 down || fail "m1 is not down after the first lease"
check "m0 is up in the new term" state_is default m0 up
check "p0 is up in the new term" state_is default p0 up
[ "$("$LEGO" vnode list | grep '^mine ')" = "$mine" ] || fail "the vNode is not what it was before the manager's restart"
kill $manager
wait $manager
[ $? = 0 ] || fail "the manager does not stop cleanly"

# --- down leaves nothing
pids=$(pids_of default)
try 20 "$LEGO" down
expect_status 0
check "a process is left after down" none_alive $pids
[ -z "$(ls "$LEGO_HOME"/default/*.sock "$LEGO_HOME/default/cluster.json" 2>/dev/null)" ] || fail "down leaves sockets"
refuses 1 "no cluster 'default' is up" "$LEGO" status
refuses 1 "no cluster 'default' is up" "$LEGO" down

# --- up again, over TCP; vNodes are still there
try 20 "$LEGO" up --memory 64M --transport tcp
expect_status 0
check "only the new components are known" status_has processor=1 memory=1 storage=1 manager=1
"$LEGO" node list | grep -q '^m0 .* tcp:127.0.0.1:[1-9]' || fail "m0 is not reached by TCP"
[ "$("$LEGO" vnode list | grep '^mine ')" = "$mine" ] || fail "the vNode is not what it was before down and up"

# --- a component that hangs is killed at the end
pids=$(pids_of default)
kill -STOP "$(pid_of default m0)"
try 20 "$LEGO" down
expect 0 "memory node does not stop"
check "a process is left after a hang" none_alive $pids

# --- an up that fails says why and leaves nothing
try 20 "$LEGO" up tiny --memory 1K
expect_status 1
grep -q "memory node m0 did not start" "$err" || fail "the failing component is not named: $(cat "$err")"
[ -z "$(leftovers)" ] || fail "a failed up leaves $(leftovers)"

# --- only one of several ups at once wins
for i in 1 2 3; do
	"$LEGO" up race --memory 64M >/dev/null 2>"$TMP/race$i" && echo won >"$TMP/won$i" &
done
wait
[ "$(cat "$TMP"/won* | wc -l)" = 1 ] || fail "$(cat "$TMP"/won* | wc -l) of three ups win"
pids=$(pids_of race)
try 20 "$LEGO" down --purge race
expect_status 0
[ ! -e "$LEGO_HOME/race" ] || fail "purge leaves the directory"
check "a process is left after the race" none_alive $pids
