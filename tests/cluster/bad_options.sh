# Wrong options: `lego run` ends with 125, other commands with 2; one line that names the option. No cluster is started for them.
. "$TOP/tests/cluster/lib.sh"
try 10 "$LEGO" run --no-such-option -- /bin/true
expect 125 no-such-option
try 10 "$LEGO" run --excache lots -- /bin/true
expect 125 'lots|excache'
try 10 "$LEGO" run --excache -- /bin/true
expect_status 125
try 10 "$LEGO" run
expect 125 'command|program|CMD'
try 10 "$LEGO" run --cluster no-such-cluster -- /bin/true
expect 125 no-such-cluster
try 10 "$LEGO" up --memory -5 x
expect_status 2
try 10 "$LEGO" up --transport pigeon x
expect_status 2
grep -q pigeon "$err" || fail "does not name the transport: $(cat "$err")"
try 10 "$LEGO" up --encrypt x
expect 2 "--encrypt is for --transport tcp"
try 10 "$LEGO" nonsense
expect_status 2
grep -q nonsense "$err" || fail "does not name the command: $(cat "$err")"
try 10 "$LEGO" down no-such-cluster
[ "$status" != 0 ] || fail "down of a cluster that is not there succeeded"
try 10 "$LEGO" status --cluster no-such-cluster
[ "$status" != 0 ] || fail "status of a cluster that is not there succeeded"
for c in $("$LEGO" --help | sed -n "s/^  \([a-z]*\)  *[a-z].*/\1/p"); do
	try 10 "$LEGO" "$c" --help
	expect_status 0
	[ -s "$out" ] || fail "lego $c --help says nothing"
done
nothing_left
