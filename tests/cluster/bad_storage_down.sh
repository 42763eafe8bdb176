# A storage node that is down: starting ends with 125 and a line that names it; a running program gets EIO (or ends), nothing hangs.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
up
pid=$(component_pid s0)
[ -n "$pid" ] || fail "no pid of s0 in the status"
timeout 60 "$LEGO" run --cluster "$cluster" -- sh -c 'echo ready; sleep 3; cat /etc/debian_version; echo status $?' >run.out 2>run.err </dev/null &
runner=$!
soon 20 grep -q ready run.out || fail "the program does not start"
kill -9 "$pid"
wait $runner
code=$?
[ $code != 124 ] || fail "a running program hangs when the storage node dies"
run 20 -- "$SYS/hello_static"
expect 125 s0
