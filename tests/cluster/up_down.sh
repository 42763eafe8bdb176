#!/bin/sh
# A cluster comes up, says what it is, notices what dies, and goes down without leaving anything.
here=$(dirname "$(realpath "$0")")
. "$here/lib.sh"

status_has() {
	"$LEGO" status --json | python3 "$here/check_status.py" "$@"
}

# --- nothing is up
refuses 1 "no cluster 'default' is up" "$LEGO" status
refuses 1 "no cluster 'default' is up" "$LEGO" down
refuses 2 "unknown command 'frobnicate'" "$LEGO" frobnicate
refuses 2 "--frobnicate" "$LEGO" up --frobnicate
refuses 2 "'lots'" "$LEGO" up --memory lots
refuses 1 "ucx" "$LEGO" up --transport ucx
refuses 1 "is no cluster name" "$LEGO" up ../x

# --- up
check "lego up" "$LEGO" up -p 2 -m 2 -s 1 --memory 64M >/dev/null
check "status --json has the promised shape" status_has processor=2 memory=2 storage=1 manager=1
for id in gm0 p0 p1 m0 m1 s0; do
	check "$id is up" state_is default $id up
done
check "lego status" "$LEGO" status >/dev/null
check "lego ps" "$LEGO" ps >/dev/null
check "lego node list" "$LEGO" node list >/dev/null
check "lego vnode create" "$LEGO" vnode create mine
check "the vNode is listed" sh -c '"$0" vnode list | grep -q "^mine "' "$LEGO"
refuses 1 "is up already" "$LEGO" up
refuses 1 "no process 4711" "$LEGO" kill 4711
refuses 2 "unknown signal" "$LEGO" kill -s FOO 1

# --- what dies is down, the rest stays
for id in m1 p1 s0; do
	kill -9 "$(pid_of default $id)"
	soon 2 "$id is down soon after kill -9" state_is default $id down
done
for id in gm0 p0 m0; do
	check "$id is still up" state_is default $id up
done
refuses 1 "no storage node is up" "$LEGO" vnode create other
refuses 1 "already" "$LEGO" up

# --- the manager dies and comes back: the others stay, and find it
kill -9 "$(pid_of default gm0)"
soon 2 "gm0 is gone" none_alive "$(pid_of default gm0)"
refuses 1 "gm0" "$LEGO" status
check "m0 and p0 do not mind" alive "$(pid_of default m0)"
"$LEGO" gm --name gm0 --listen "unix:$LEGO_HOME/default/gm0.sock" --key "$LEGO_HOME/default/key" --data "$LEGO_HOME/default/gm0" \
	2>"$LEGO_HOME/default/gm0.log" &
manager=$!
soon 5 "the manager is back" "$LEGO" status >/dev/null 2>&1
soon 5 "m0 is back" "$LEGO" status --json >/dev/null
sleep 3.5 # a lease: who was not heard of is declared down now
check "m0 is up in the new term" state_is default m0 up
check "p0 is up in the new term" state_is default p0 up
check "m1 is down in the new term" state_is default m1 down
check "vNodes survive the manager" sh -c '"$0" vnode list | grep -q "^mine "' "$LEGO"
check "asks the manager to stop" kill "$manager"
wait "$manager"
check "the manager stops cleanly" [ $? = 0 ]

# --- down leaves nothing
pids=$(pids_of default)
check "lego down" "$LEGO" down
check "no process is left" none_alive $pids
check "no socket is left" sh -c '! ls "$0"/default/*.sock "$0"/default/cluster.json 2>/dev/null' "$LEGO_HOME"
refuses 1 "no cluster 'default' is up" "$LEGO" status
refuses 1 "no cluster 'default' is up" "$LEGO" down

# --- up again, over TCP; vNodes are still there
check "lego up over TCP" "$LEGO" up --memory 64M --transport tcp >/dev/null
check "only the new components are known" status_has processor=1 memory=1 storage=1 manager=1
check "m0 is reached by TCP" sh -c '"$0" node list | grep -q "^m0 .* tcp:127.0.0.1:[1-9]"' "$LEGO"
check "vNodes survive down and up" sh -c '"$0" vnode list | grep -q "^mine "' "$LEGO"
pids=$(pids_of default)

# --- a component that hangs is killed at the end
kill -STOP "$(pid_of default m0)"
"$LEGO" down 2>"$LEGO_HOME/.err"
check "lego down says what it had to kill" grep -q "memory node does not stop" "$LEGO_HOME/.err"
check "no process is left after a hang" none_alive $pids

# --- an up that fails says why and leaves nothing
"$LEGO" up tiny --memory 1K >/dev/null 2>"$LEGO_HOME/.err"
check "a memory node too small is refused" [ $? != 0 ]
check "and named" grep -q "memory node m0 did not start" "$LEGO_HOME/.err"
check "nothing is left of it" no_daemon_of "$LEGO_HOME/tiny"

# --- only one of several ups at once wins
for i in 1 2 3; do
	"$LEGO" up race --memory 64M >/dev/null 2>"$LEGO_HOME/.race$i" && echo won >"$LEGO_HOME/.won$i" &
done
wait
check "exactly one up wins" [ "$(cat "$LEGO_HOME"/.won* | wc -l)" = 1 ]
pids=$(pids_of race)
check "lego down --purge" "$LEGO" down --purge race
check "purge removes the directory" [ ! -e "$LEGO_HOME/race" ]
check "no process is left after the race" none_alive $pids
finish
