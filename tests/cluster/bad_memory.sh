# A memory node that is too small: a program gets ENOMEM and says so itself; one that does not fit at all is not started.
. "$TOP/tests/cluster/lib.sh"
up --memory 64M
run 20 -- /usr/bin/python3 -c 'b = bytearray(1 << 30)'
[ "$status" = 1 ] || fail "python3 that asks for too much ended with $status: $(tail -c 300 "$err")"
grep -q MemoryError "$err" || fail "no MemoryError: $(tail -c 500 "$err")"
run 20 -- "$SYS/hello_static"
expect_status 0
run 30 -- sh -c 'for i in 1 2 3; do /bin/true || exit 9; done; echo alive'
expect_status 0
[ "$(cat "$out")" = alive ] || fail "small programs no longer run: $(cat "$err")"
"$LEGO" down "$cluster" >/dev/null 2>&1
try 20 "$LEGO" up "$cluster" --memory 64K
if [ "$status" = 0 ]; then
	run 20 -- /usr/bin/python3 -c 'print(1)'
	expect 125 'memory|m0'
fi
