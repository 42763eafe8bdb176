# lego strace shows the calls of a program; LEGO_DEBUG=1 names an unknown call once.
. "$TOP/tests/cluster/lib.sh"
up
try 20 "$LEGO" strace --cluster "$cluster" -o trace -- "$SYS/hello_static"
expect_status 0
grep -q 'write(1, "hello from a static program\\n", 28)  *= 28' trace || fail "no write in the trace: $(head -c 500 trace)"
grep -q 'exit_group(0)' trace || fail "no exit_group in the trace: $(tail -c 300 trace)"
try 20 "$LEGO" strace --cluster "$cluster" -o trace -- cat /no/such/file
expect_status 1
grep -q 'openat(AT_FDCWD, "/no/such/file", O_RDONLY.*) *= -1 ENOENT' trace || fail "no failed openat in the trace: $(tail -c 500 trace)"
LEGO_DEBUG=1 try 20 "$LEGO" run --cluster "$cluster" -- "$SYS/misc" unknown
expect_status 0
[ "$(grep -c 100000 "$err")" = 1 ] || fail "an unknown call is not named once: $(head -c 500 "$err")"
