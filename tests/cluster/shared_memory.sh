# Shared memory keeps its bound, outlives its processes only where Linux says so, and leaves nothing at the memory node.
# timeout: 150
. "$TOP/tests/cluster/lib.sh"
up -p 1 -m 1 -s 1
pd=$(component_pid p0)

# Pages of shared memory in place, as pd's own descriptors of the objects show them, in KiB.
in_place() {
	local f sum=0 k
	for f in /proc/"$pd"/fd/*; do
		case $(readlink "$f") in /memfd:lego-shared*) ;; *) continue ;; esac
		k=$(stat -Lc %b "$f" 2>/dev/null) || continue
		sum=$((sum + k / 2))
	done
	echo $sum
}

before=$(held)
timeout 60 "$LEGO" run --cluster "$cluster" --excache 1M -- "$SYS/shared" anonymous >"$out" 2>"$err" </dev/null &
runner=$!
peak=0
while kill -0 $runner 2>/dev/null; do
	now=$(in_place)
	[ "$now" -le $peak ] || peak=$now
	sleep 0.05
done
wait $runner || fail "the program failed: $(cat "$out" "$err")"
[ $peak -gt 0 ] || fail "no shared memory was seen"
[ $peak -le $((1024 + 128)) ] || fail "$peak KiB of shared memory were in place, 1024 are allowed"
soon 10 holds_at_most "$before" || fail "the memory node holds $(held) bytes, $before before"

# A segment outlives its program, with its contents; removed, it is gone from everywhere.
cat >seg.py <<'EOF'
import ctypes, sys
c = ctypes.CDLL(None, use_errno=True)
c.shmat.restype = ctypes.c_void_p
size = 10 << 20
seg = c.shmget(4711, size, 0o1600)
at = c.shmat(seg, None, 0)
if sys.argv[1] == "write":
    for i in range(0, size, 4096):
        ctypes.memmove(at + i, i.to_bytes(8, "little"), 8)
else:
    print(all(int.from_bytes(ctypes.string_at(at + i, 8), "little") == i for i in range(0, size, 4096)))
    c.shmctl(seg, 0, None)
EOF
run 60 --excache 4M -- /usr/bin/python3 seg.py write
expect_status 0
soon 10 runs_exactly 0 || fail "still running"
run 60 --excache 4M -- /usr/bin/python3 seg.py read
expect_status 0
[ "$(cat "$out")" = True ] || fail "the segment's contents: $(cat "$out" "$err")"
soon 10 holds_at_most "$before" || fail "the memory node holds $(held) bytes after the segment was removed, $before before"

# Killed in the middle, all at once.
timeout 60 "$LEGO" run --cluster "$cluster" --excache 1M -- "$SYS/shared" races >"$out" 2>"$err" </dev/null &
runner=$!
soon 20 runs_exactly 3 || true
kill -9 $runner
wait $runner 2>/dev/null
soon 10 runs_exactly 0 || fail "processes outlive their launcher"
soon 10 holds_at_most "$before" || fail "the memory node holds $(held) bytes of killed processes, $before before"
run 30 --excache 1M -- "$SYS/shared" pass
expect_status 0
