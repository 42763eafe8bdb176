"""What is kept of a program that should have ended: what each thread of each of its processes is at on this host and in its monitor, what the
flight recorders hold (processor/flight.h: only with LEGO_DEBUG), what the manager shows and has written down. Nothing here may fail the caller."""
import glob, os, shutil, sqlite3, struct, subprocess

EVENTS, SLOTS, PAGE = 126, 1023, 4096
WAITS = ["runs", "lock", "reply"]


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read().replace("\0", " ").strip()
    except OSError as e:
        return f"({e.strerror})"


def processes(top):
    """top and what descends from it, and every program whose parent is gone."""
    parent = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        stat = read(f"/proc/{p}/stat")
        if stat[:1].isdigit(): # else it is gone
            parent[int(p)] = int(stat.rpartition(")")[2].split()[1])
    found = [top]
    for p in found:
        found += [c for c, of in parent.items() if of == p]
    return found


def threads(pid):
    lines = [f"process {pid}: {read(f'/proc/{pid}/cmdline')[:120]}; pid in its vNode {read(f'/proc/{pid}/status').partition('NSpid:')[2].split(chr(10))[0].split()[-1:]}"]
    for t in sorted(glob.glob(f"/proc/{pid}/task/*"), key=lambda p: int(os.path.basename(p))):
        lines.append(f"  thread {os.path.basename(t)}: state {read(t + '/stat').rpartition(')')[2].split()[:1]} call {read(t + '/syscall')}")
        lines += ["    " + line for line in read(t + "/stack").split("\n")[:8]]
    return "\n".join(lines) + "\n"


def backtrace(pid):
    monitor = f"{os.environ['BUILD']}/processor/monitor/lego-monitor"  # it lies in a memfd, which gdb cannot open
    symbols = ["-ex", f"symbol-file {monitor}"] if "lego-monitor" in os.readlink(f"/proc/{pid}/exe") else []
    try:
        return f"process {pid}\n" + subprocess.run(["gdb", "-batch", "-nx", "-p", str(pid), *symbols, "-ex", "thread apply all bt 14"], stdin=subprocess.DEVNULL,
                                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20).stdout
    except (OSError, subprocess.SubprocessError) as e:
        return f"no backtrace of {pid}: {e}\n"


def flight(path):
    """One recorder, as pd prints it, but for all threads, whether they make progress or not."""
    with open(path, "rb") as f:
        _, used = struct.unpack_from("<QI", f.read(PAGE))
        out = []
        for _ in range(min(used, SLOTS)):
            s = f.read(PAGE)
            owner, pid, wait, waits, on, held_by, n = struct.unpack_from("<IIIIQII", s)
            if not owner:
                continue
            out.append(f"  process {pid} thread {owner} {WAITS[wait] if wait < 3 else wait} ({waits}) on {on:x} held by {held_by}")
            for i in range(max(0, n - 40), n):
                when, what, a, b = struct.unpack_from("<Q8sQQ", s, PAGE - EVENTS * 32 + i % EVENTS * 32)
                out.append(f"    {when} {what.rstrip(bytes(1)).decode(errors='replace')} {a:x} {b:x}")
        return "\n".join(out) + "\n"


def flights(pd):
    out = ""
    for fd in glob.glob(f"/proc/{pd}/fd/*"):
        try:
            if "memfd:lego-flight" in os.readlink(fd):
                out += f"recorder {fd}\n" + flight(fd)
        except (OSError, struct.error) as e:
            out += f"recorder {fd}: {e}\n"
    return out


def chains(data):
    """From a copy of the manager's database."""
    out = ""
    for db in glob.glob(f"{data}/**/manager.db", recursive=True):
        for f in glob.glob(db + "*"):
            shutil.copy(f, f"{data}/../copy{f.rpartition('manager')[2]}")
        with sqlite3.connect(f"{data}/../copy.db") as c:
            for table in "pair", "component":
                out += "".join(f"{table} {row}\n" for row in c.execute(f"select * from {table}"))
    return out


def keep(to, top, pds, data, status):
    """Writes all into the file `to`. top: pid of `lego run`; pds: pids of the processor nodes."""
    with open(to, "w") as f:
        found = processes(top)
        for what in ([lambda p=p: threads(p) for p in found] + [lambda p=p: flights(p) for p in pds] + [lambda: chains(data), lambda: str(status()) + "\n"]
                     + [lambda p=p: backtrace(p) for p in found + pds]):
            try:
                f.write(what())
            except Exception as e:  # each part on its own
                f.write(f"({type(e).__name__}: {e})\n")
            f.flush()
