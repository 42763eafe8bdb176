# A file system that is full says so to the writer: natively and under LegoOS the same.
# timeout: 60
[ -n "${LEGO_FULL_NS:-}" ] || { unshare -m true 2>/dev/null || exit 77; LEGO_FULL_NS=1 exec unshare -m bash "$0"; }
. "$TOP/tests/cluster/lib.sh"
mkdir small
mount -t tmpfs -o size=2M,mode=755 none small || exit 77
up
LEGO_TEST_FULL=$TMP/small "$SYS/posix" full >native 2>&1
run 20 -e "LEGO_TEST_FULL=$TMP/small" -- "$SYS/posix" full
expect_status 0
cmp -s native "$out" || fail "under LegoOS: $(diff native "$out")"
grep -q ENOSPC native || fail "the native run was never full: $(cat native)"
exit 0
