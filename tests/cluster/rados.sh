# Private layers in a Ceph pool: a one-node Ceph is started, and over it run the POSIX suite and the tests of restarted and killed storage
# nodes, the same as over the local file system. Then the OSD goes away: requests fail with EIO in time, nothing hangs, and all is well when it comes
# back. And a second storage node takes a store over: the first one ends, the files are there. Skipped where Ceph is not installed
# (scripts/deps rados), and where nobody asks for it: LEGO_TEST_RADOS=1: a few cases; LEGO_TEST_RADOS=all: all of both.
# timeout: 600
. "$TOP/tests/cluster/lib.sh"
[ -n "${LEGO_TEST_RADOS:-}" ] || {
	echo "skipped: asked for by LEGO_TEST_RADOS=1 or all"
	exit 77
}
ceph=$TMP/ceph
one_node_ceph() { env -u LEGO_HOME "$TOP/scripts/one-node-ceph" "$1" "$ceph"; }
end_ceph() { one_node_ceph stop || true; }
trap 'finish_code=$?; end_ceph; (exit $finish_code); finish' EXIT

head -c 32 /dev/urandom >key2
chmod 600 key2
timeout 30 "$LEGO" sd --key key2 --listen "unix:$TMP/none.sock" --data "$TMP/none" --store "rados:none,conf=$TMP/none.conf" 2>&1 </dev/null | grep -q 'built without RADOS' && {
	echo "skipped: built without librados-dev"
	exit 77
}
one_node_ceph start >start.out 2>&1
case $? in
0) ;;
77) cat start.out && echo "skipped: Ceph's packages are not installed" && exit 77 ;;
*) cat start.out && exit 1 ;;
esac

pool=rados:lego,conf=$ceph/ceph.conf
suite() { # LIMIT SECTION FILTER
	env -u TMP LEGO_TEST_FILES="$pool" timeout "$1" "$TOP/tests/run" --build "$BUILD" "$2" --filter "$3" >suite.out 2>&1 ||
		fail "over RADOS: $(grep -v '^ok ' suite.out | head -n 40)"
	grep -q '^[1-9][0-9]* passed, 0 failed' suite.out || fail "over RADOS nothing of $3 ran: $(tail -n 2 suite.out)"
}
if [ "$LEGO_TEST_RADOS" = all ]; then
	suite 300 sys 'sys/posix.*_lower$'
	suite 400 cluster 'cluster/(storage_restart|durability|storage_quota|two_processors)$'
else
	suite 100 sys 'sys/posix/(rename_open|sizes|lower_rename_dir|links)_lower$|sys/posix_attr/(setgid|xattr_copied).*_lower$'
fi

# Away. The time-out is what is said; a program's file call fails after it, one that needs nothing of the pool does not wait.
up --files "$pool,name=away,timeout=2"
sd=$(component_pid s0)
run 20 -- sh -c 'echo before >/var/tmp/away'
expect_status 0
one_node_ceph pause
run 30 -- sh -c 'echo $(date) >/var/tmp/away2'
[ "$status" != 0 ] || fail "a write succeeded while the pool was away"
awk "BEGIN {exit !($seconds < 12)}" || fail "the write took $seconds s to fail"
[ "$(component_pid s0)" = "$sd" ] || fail "the storage node did not live through it"
soon 10 grep -q 'has not answered for 2 s' "$LEGO_HOME/$cluster/s0.log" || fail "nobody was told: $(tail -n 3 "$LEGO_HOME/$cluster/s0.log")"
one_node_ceph resume
back() { "$LEGO" run --cluster "$cluster" -- cat /var/tmp/away >back.out 2>&1 </dev/null && grep -qx before back.out; }
soon 30 back || fail "does not come back: $(cat back.out)"
soon 10 grep -q 'answers again' "$LEGO_HOME/$cluster/s0.log" || fail "nobody was told that it is back"

# Taken over: the same part of the pool, another data directory.
"$LEGO" sd --name s9 --data "$TMP/second" --key key2 --listen "unix:$TMP/s9.sock" --store "$pool,name=away,timeout=10" >s9.log 2>&1 </dev/null &
second=$!
gone() { ! kill -0 "$sd" 2>/dev/null; }
soon 30 gone || fail "two storage nodes have one store: $(cat s9.log)"
grep -q 'taken it over' "$LEGO_HOME/$cluster/s0.log" || fail "it ended without a word: $(tail -n 3 "$LEGO_HOME/$cluster/s0.log")"
kill -0 $second || fail "the second one ended too: $(cat s9.log)"
kill $second
wait $second

try 20 "$LEGO" sd --name s9 --data "$TMP/third" --key key2 --listen "unix:$TMP/s8.sock" --store "rados:nopool,conf=$ceph/ceph.conf"
expect 1 'there is no pool nopool \(make it: ceph osd pool create nopool\)'
exit 0
