#!/usr/bin/python3
"""Programs beside themselves: sort, SQLite, numpy and Redis natively and under LegoOS with all, half and a quarter of what they touch natively as
ExCache. What is timed is the work after a warm-up, by the program itself (sort: all of it). Medians of some rounds, in turn; ratios to native.
Writes BUILD/bench/apps.json and prints a table in Markdown. A program that is not installed is left out and named."""
import argparse, math, os, platform, random, resource, shutil, socket, statistics, subprocess, sys, tempfile, time

import results

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SORT = """
import subprocess, sys, time
t = time.perf_counter()
subprocess.run(["sort", "-S", "96M", "--parallel=1", "-o", "/dev/null", sys.argv[1]], check=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
print(time.perf_counter() - t)
"""
SQLITE = """
import random, sqlite3, time
r = random.Random(1)
db = sqlite3.connect(":memory:")
db.execute("create table t (id integer primary key, k integer, v text)")
db.executemany("insert into t values (?, ?, ?)", ((i, r.randrange(1 << 30), "x" * 100) for i in range(200000)))
db.execute("create index by_k on t (k)")
def work():
    db.execute("select count(*), sum(k) from t where v like '%y'").fetchall()
    for _ in range(20000):
        db.execute("select v from t where id = ?", (r.randrange(200000),)).fetchone()
        db.execute("select id from t where k >= ? limit 1", (r.randrange(1 << 30),)).fetchone()
    for _ in range(5000):
        db.execute("update t set k = ? where id = ?", (r.randrange(1 << 30), r.randrange(200000)))
work()
t = time.perf_counter()
work()
print(time.perf_counter() - t)
"""
NUMPY = """
import time
import numpy as np
rng = np.random.default_rng(1)
a, b = rng.random(3000000), rng.random(3000000)
m = rng.random((600, 600))
def work():
    for _ in range(4):
        c = a * b + a
        c.sum(), np.sqrt(c).max()
    np.sort(a)
    m @ m
work()
t = time.perf_counter()
work()
print(time.perf_counter() - t)
"""



class Program:
    def __init__(self, name, script, *more):
        self.name, self.script, self.more = name, script, more

    def missing(self):
        if self.name == "numpy" and subprocess.run(["/usr/bin/python3", "-c", "import numpy"], capture_output=True).returncode:
            return "python3-numpy"
        return None

    def run(self, prefix, env, cwd):
        """Seconds."""
        r = subprocess.run([*prefix, "/usr/bin/python3", "-c", self.script, *self.more], env=dict(env, OPENBLAS_NUM_THREADS="1"), cwd=cwd,
                           capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
        if r.returncode:
            raise OSError(f"{self.name}: exit status {r.returncode}: {r.stderr.strip()[-300:]}")
        return float(r.stdout)


class Redis(Program):
    """The server is what is compared; its client runs natively beside it."""

    def missing(self):
        return None if shutil.which("redis-server") and shutil.which("redis-benchmark") else "redis-server redis-tools"

    def run(self, prefix, env, cwd):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = str(s.getsockname()[1])
        server = subprocess.Popen([*prefix, shutil.which("redis-server"), "--port", port, "--save", "", "--appendonly", "no"], env=env, cwd=cwd,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            self.up(port)
            self.load(port, "set", 150000)
            t = time.perf_counter()
            self.load(port, "set", 100000)
            self.load(port, "get", 100000)
            return time.perf_counter() - t
        finally:
            subprocess.run(["redis-cli", "-p", port, "shutdown", "nosave"], capture_output=True)
            server.wait(timeout=60)

    @staticmethod
    def load(port, what, n):
        subprocess.run(["redis-benchmark", "-p", port, "-q", "-t", what, "-n", str(n), "-r", "100000", "-d", "400", "-c", "8", "-P", "16"], check=True,
                       capture_output=True, timeout=300)

    @staticmethod
    def up(port):
        for _ in range(300):
            if subprocess.run(["redis-cli", "-p", port, "ping"], capture_output=True, text=True).stdout.strip() == "PONG":
                return
            time.sleep(0.1)
        raise OSError("redis-server does not answer")


def peak_of(program, cwd):
    """Bytes that it has resident at most, natively: in a child of its own, so that nobody else's are counted."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        program.run([], dict(os.environ), cwd)
        os.write(write, str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        kib = f.read()
    os.waitpid(pid, 0)
    if not kib:
        raise OSError(f"{program.name} does not run natively")
    return int(kib) << 10


def measure(args, programs, lego, env, cwd):
    got = {}
    for p in programs:
        peak = peak_of(p, cwd)
        ways = {"native": []}
        for percent in args.percent:
            room = int(peak * percent / 100 * (1.15 if percent == 100 else 1)) + ((8 << 20) if percent == 100 else 0)
            ways[str(percent)] = [*lego, "--excache", str(room), "--"]
        got[p.name] = {"peak_mib": peak >> 20}
        for _ in range(args.rounds):
            for way, prefix in ways.items():
                got[p.name].setdefault(way, []).append(p.run(prefix, env, cwd))
        print(f"bench: {p.name} done", file=sys.stderr)
    return got


def report(args, got):
    percents = [str(p) for p in args.percent]
    lines = [f"Linux {platform.release()}, {os.cpu_count()} cores, shared memory. Seconds of work after a warm-up: median of {args.rounds} (least, most), and its ratio to "
             "native; percent of the program's native peak as ExCache.", "", "| | peak MiB | native | " + " | ".join(p + " %" for p in percents) + " |",
             "|---" * (3 + len(percents)) + "|"]
    for name, runs in got.items():
        base = statistics.median(runs["native"])
        cells = [f"{base:.2f} ({min(runs['native']):.2f}, {max(runs['native']):.2f})"]
        for p in percents:
            m = statistics.median(runs[p])
            cells.append(f"{m:.2f} ({min(runs[p]):.2f}, {max(runs[p]):.2f}), {m / base:.2f} x")
        lines.append(f"| {name} | {runs['peak_mib']} | " + " | ".join(cells) + " |")
    for p in percents:
        ratios = [statistics.median(r[p]) / statistics.median(r["native"]) for r in got.values()]
        lines += ["", f"Geometric mean at {p} %: {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}."]
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=TOP + "/build")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--percent", type=lambda s: [int(x) for x in s.split(",")], default=[100, 50, 25])
    p.add_argument("--programs", default="sort,sqlite,numpy,redis")
    args = p.parse_args()
    build = os.path.abspath(args.build)
    with tempfile.TemporaryDirectory(prefix="lego-bench.") as home:
        env = dict(os.environ, LEGO_HOME=home)
        lines = home + "/lines"
        r = random.Random(1)
        with open(lines, "w") as f:
            f.writelines(f"{r.getrandbits(80):020x} {i}\n" for i in range(700000))
        known = {"sort": Program("sort", SORT, lines), "sqlite": Program("sqlite", SQLITE), "numpy": Program("numpy", NUMPY), "redis": Redis("redis", "")}
        programs = []
        for name in args.programs.split(","):
            missing = known[name].missing()
            if missing:
                print(f"bench: no {name} here (Debian: {missing})", file=sys.stderr)
            else:
                programs.append(known[name])
        with results.cluster(build, env, "--memory", "2G") as lego:
            got = measure(args, programs, lego, env, home)
    results.keep(build, "apps", got, report(args, got))


if __name__ == "__main__":
    main()
