# An interactive bash on a terminal of its own: stop, bg, fg, interrupt, a background job that reads, tcgetattr, window size.
# packages: python3 bash
# excache: 2M
import fcntl, os, pty, re, select, struct, sys, termios, time

pid, fd = pty.fork()
if pid == 0:
    os.environ.update(PS1="READY> ", TERM="dumb", HOME=os.getcwd())
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
seen = b""


def until(pattern, what, limit=60):
    """Reads until the pattern; what lay before it is dropped. Ends the test with what was there instead."""
    global seen
    end = time.monotonic() + limit
    while not (m := re.search(pattern, seen)):
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            print(f"no {what}; there is {seen[-300:]!r}")
            sys.exit(1)
        try:
            seen += os.read(fd, 4096)
        except OSError:
            print(f"the terminal closed before {what}")
            sys.exit(1)
    got, seen = m.group(0), seen[m.end():]
    print(what, re.sub(rb"\[(\d)\] \d+", rb"[\1] PID", got).decode().strip().replace("\r", ""))


def do(line, pattern, what):
    os.write(fd, line)
    until(pattern, what)


until(rb"READY> ", "prompt")
do(b"stty size\n", rb"33 99", "size")
do(b"sleep 100\n", rb"sleep 100\r\n", "started")
time.sleep(0.5)  # not a race: a ^Z that comes early stops nothing and the next step says so
do(b"\x1a", rb"\[1\]\+  Stopped +sleep 100", "stopped")
do(b"jobs\n", rb"\[1\]\+  Stopped +sleep 100", "listed")
do(b"bg\n", rb"\[1\]\+ sleep 100 &", "background")
do(b"cat &\n", rb"\[2\] \d+", "reader")
do(b"sleep 0.3; jobs %2\n", rb"\[2\]\+  Stopped +cat", "reader stopped")
do(b"fg %1\n", rb"fg %1\r\nsleep 100", "foreground")
time.sleep(0.5)
do(b"\x03", rb"READY> ", "interrupted")
do(b"echo status=$?\n", rb"status=130", "status")
do(b"kill %2; fg %2; wait; jobs; echo jobs-end\n", rb"\njobs-end", "no jobs")
do(b"trap 'echo got-winch' WINCH; sleep 0.1\n", rb"READY> ", "trap")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
do(b"sleep 0.2\n", rb"got-winch", "winch")
do(b"(trap '' TSTP; exec tty) | tr -d 0-9; ps -o tty= -p $$ | tr -d 0-9\n", rb"/dev/pts/\r\npts/", "tty")
do(b"echo a''sks; read -t 30 x; echo got=$x\n", rb"\nasks\r\n", "reading")
do(b"typed\n", rb"got=typed", "read")
do(b"echo st''art; cat | cat\n", rb"\nstart\r\n", "pipeline")  # from here on the terminal is no longer the shell's
do(b"line\n", rb"line\r\nline\r\n", "a line")
do(b"\x04", rb"READY> ", "end of file")
do(b"exit 9\n", rb"exit", "leaving")
print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
