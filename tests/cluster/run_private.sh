# With no cluster up, `lego run` starts a private one and ends it after, also when the program or `lego run` is killed.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
try 30 "$LEGO" run -- sh -c 'echo private; exit 3'
expect_status 3
[ "$(cat "$out")" = private ] || fail "said $(cat "$out" "$err")"
nothing_left
try 30 "$LEGO" run --transport tcp --excache 1M --memory 256M -- /usr/bin/python3 -c 'print(sum(range(100000)))'
expect_status 0
[ "$(cat "$out")" = 4999950000 ] || fail "said $(cat "$out" "$err")"
nothing_left
"$LEGO" run -- sh -c "echo ready; exec sleep 1000" >private.out 2>&1 </dev/null &
runner=$!
soon 20 grep -q ready private.out || fail "the program does not start"
kill -9 $runner
wait $runner 2>/dev/null
nothing_left
"$LEGO" run -- sh -c "echo ready; exec sleep 1000" >private2.out 2>&1 </dev/null &
runner=$!
soon 20 grep -q ready private2.out || fail "the program does not start"
kill -TERM $runner
wait $runner
code=$?
[ $code = 143 ] || fail "exit status $code after TERM, not 143"
nothing_left
