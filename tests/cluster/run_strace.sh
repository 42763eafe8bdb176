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
# The summary counts the calls of all processes, also of an image that exec replaced; its total is the sum.
try 30 "$LEGO" strace -c --cluster "$cluster" -o counts -- sh -c 'true & wait; cat /no/such/file; exec env -i sh -c "exit 6"'
expect_status 6
awk '$NF == "openat" && $5 > 0 {o = 1} $NF == "execve" {e = $4} $NF == "total" {t = $4} $1 ~ /^[0-9.]+$/ && $NF != "total" {s += $4}
	END {exit !(o && e >= 3 && t == s && t > 100)}' counts || fail "the summary: $(head -c 2000 counts)"
# What is partial or refused is listed with its reason, what is full is not.
try 30 "$LEGO" check --cluster "$cluster" -o list -- /usr/bin/python3 -c 'import os, ctypes; ctypes.CDLL(None).syscall(425, 1, 0); os._exit(9)'
expect_status 9
grep -q '^refused  io_uring_setup .*1 errors  ENOSYS' list || fail "a refused call is not listed: $(head -c 2000 list)"
grep -q '^partial  mmap  ' list || fail "a partial call is not listed: $(head -c 2000 list)"
! grep -q 'openat\|\bread\b  ' list || fail "a full call is listed: $(head -c 2000 list)"
