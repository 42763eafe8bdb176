# Signals and the terminal: what is sent to `lego run` reaches the program; Ctrl-C on a terminal; job control.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
up
"$LEGO" run --cluster "$cluster" -- sh -c 'trap "echo got; exit 7" USR1; echo ready; while :; do sleep 0.05; done' >sig.out 2>sig.err </dev/null &
runner=$!
soon 10 grep -q ready sig.out || fail "the program does not start: $(cat sig.err)"
kill -USR1 $runner
wait $runner
code=$?
[ $code = 7 ] && grep -qx got sig.out || fail "USR1 to lego run: status $code, said $(cat sig.out sig.err)"
cat >terminal.py <<'END'
import os, pty, select, sys, time
lego, cluster = sys.argv[1:3]
pid, fd = pty.fork()
if pid == 0:
    os.execv(lego, [lego, "run", "--cluster", cluster, "--", "bash", "--norc", "-i"])
seen = b""
def until(text, limit=15):
    global seen
    end = time.monotonic() + limit
    while text not in seen:
        left = end - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            sys.exit("no %r in %r" % (text, seen[-500:]))
        try:
            seen += os.read(fd, 4096)
        except OSError:
            sys.exit("ended before %r: %r" % (text, seen[-500:]))
    seen = seen[seen.index(text) + len(text):]
os.write(fd, b"PS1=; test -t 0 && echo is-a-tty$((1+1))\n")
until(b"is-a-tty2")
os.write(fd, b"stty size >/dev/null && echo size$((2+2))\n")
until(b"size4")
os.write(fd, b"echo go$((1+1)); sleep 100\n")
until(b"go2")
time.sleep(0.5)
os.write(fd, b"\x03")
os.write(fd, b"echo status-$?-end\n")
until(b"status-130-end")
os.write(fd, b"echo stop$((1+1)); sleep 100\n")
until(b"stop2")
time.sleep(0.5)
os.write(fd, b"\x1a")
until(b"Stopped")
os.write(fd, b"jobs | wc -l; bg; kill %1; wait %1; echo killed-$?-end\n")
until(b"killed-143-end")
os.write(fd, b"exit 5\n")
end = time.monotonic() + 10
while time.monotonic() < end:
    got, st = os.waitpid(pid, os.WNOHANG)
    if got:
        sys.exit(0 if os.waitstatus_to_exitcode(st) == 5 else "exit status %d" % st)
    try:
        if select.select([fd], [], [], 0.1)[0]:
            os.read(fd, 4096)
    except OSError:
        time.sleep(0.05)
sys.exit("no end after exit")
END
try 60 /usr/bin/python3 terminal.py "$LEGO" "$cluster"
expect_status 0
