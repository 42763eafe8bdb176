# vim edits a file on a terminal, tmux runs two windows with shells.
# packages: python3 vim tmux
# excache: 4M
import os, pty, re, select, subprocess, sys, time


def vim():
    with open("f", "w") as f:
        f.write("".join(f"line {i}\n" for i in range(2000)))
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="vt100", HOME=os.getcwd())
        os.execvp("vim", ["vim", "-u", "NONE", "-n", "f"])
    seen = b""

    def until(text):
        nonlocal seen
        end = time.monotonic() + 60
        while text not in seen:
            if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
                print("no", text, "in", seen[-300:])
                sys.exit(1)
            seen += os.read(fd, 4096)
        seen = b""

    until(b"line 10")
    os.write(fd, b":%s/line/LINE/g\r")
    until(b"2000")
    os.write(fd, b"ggOfirst\x1bGolast\x1b:w\r")
    until(b"written")
    os.write(fd, b":wq\r")
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        pass
    print("vim", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    t = open("f").read().split("\n")
    print(len(t), t[0], t[1], t[2000], t[2001])


def tmux():
    def t(*args):
        return subprocess.run(["tmux", "-S", os.path.join(os.getcwd(), "s"), "-f", "/dev/null", *args], capture_output=True, text=True)

    def shows(window, text):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if re.search(text, t("capture-pane", "-p", "-t", window).stdout, re.M):
                return True
            time.sleep(0.1)
        print("window shows", t("capture-pane", "-p", "-t", window).stdout.strip())
        return False

    os.environ.update(TERM="vt100", HOME=os.getcwd(), SHELL="/bin/sh", ENV="")
    print("new", t("new-session", "-d", "-s", "a", "-x", "80", "-y", "24", "sh").returncode)
    t("send-keys", "-t", "a:0", "echo sum-$((40 + 2))", "Enter")
    print(shows("a:0", r"^(\S? ?)sum-42"))
    print("window", t("new-window", "-t", "a", "sh").returncode, t("split-window", "-t", "a:1", "sh").returncode)
    t("send-keys", "-t", "a:1", "seq 1 300 | tail -1; stty size", "Enter")
    print(shows("a:1", r"^(\S? ?)300"))
    print(t("list-windows", "-t", "a", "-F", "#{window_index} #{window_panes}").stdout.split())
    t("kill-server")
    end = time.monotonic() + 20
    while t("has-session", "-t", "a").returncode == 0 and time.monotonic() < end:
        time.sleep(0.1)
    print("ended", t("has-session", "-t", "a").returncode)


vim()
tmux()
