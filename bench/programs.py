#!/usr/bin/python3
"""Real programs with less local memory than they use, side by side in one run: natively, under swap to zram in a cgroup of the same size, and
under LegoOS. Local memory is a per cent (--local) of the largest resident set that the program has natively. Inputs are those of the demo,
smaller. Medians of several rounds, interleaved. Writes BUILD/bench/programs.json; prints a table in Markdown. zram needs root.
--set NAME=VALUE,... adds a system: LegoOS with these settings in its environment or (--…) options of `lego run`, to compare;
BUILD=DIR is another build of LegoOS."""
import argparse, json, math, os, platform, shutil, signal, statistics, subprocess, sys, tempfile, time

import demo, paging, results

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MIB = 1 << 20
ZRAM_TRIES = 3


def workloads(args):
    def put(path, text):
        with open(path, "w") as f:
            f.write(text)

    def sqlite(d):
        demo.make_csv(d + "/data.csv", 2000 * args.size)
        put(d + "/load.sql", demo.SQL)

    def python(d):
        demo.make_json(d + "/data.json", args.size * MIB // 8)
        put(d + "/work.py", demo.PYTHON)
    sort = ["sort", "-S", "1G", "text.txt", "-o", "/dev/null"]
    made = {"sort": (sort + ["--parallel=1"], lambda d: demo.make_text(d + "/text.txt", args.size * 300000)),
            "sort2": (sort + ["--parallel=2"], lambda d: demo.make_text(d + "/text.txt", args.size * 300000)),
            "sqlite": (["sqlite3", ":memory:", "-init", "load.sql", ".quit"], sqlite),
            "python": (["/usr/bin/python3", "work.py"], python)}
    return {name: made[name] for name in args.programs.split(",")}


def timed(argv, d, env):
    """Seconds and the largest resident set of argv and its children."""
    with open(d + "/err", "w") as err:
        start = time.perf_counter()
        p = subprocess.Popen(argv, cwd=d, env=env, stdin=subprocess.DEVNULL, stdout=open(d + "/out", "w"), stderr=err)
        _, status, usage = os.wait4(p.pid, 0)
        taken = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{' '.join(argv)}: wait status {status}: {open(d + '/err').read()[-400:]}")
    return taken, usage.ru_maxrss * 1024


class Native:
    name = "all local"

    def run(self, argv, d, local):
        taken, rss = timed(argv, d, demo.environment())
        return {"s": taken, "rss": rss}

    def close(self):
        pass


class Zram(Native):
    """2 MiB more than LegoOS has, for page tables; pages of programs and libraries that others use already are not counted either."""
    name = "zram swap"

    def __init__(self, args):
        self.zram = paging.Zram(argparse.Namespace(mib=512, local=25, build=args.build))

    def run(self, argv, d, local):
        paging.text(self.zram.cgroup + "/memory.limit_in_bytes", local + 2 * MIB)
        for _ in range(ZRAM_TRIES):
            try:
                return {"s": timed([*self.zram.prefix(), *argv], d, demo.environment())[0]}
            except RuntimeError:  # killed: the kernel found nothing to reclaim, all pages having been used lately
                pass
        return None

    def close(self):
        self.zram.close()


class Lego(Native):
    def __init__(self, args, transport, settings=""):
        pairs = [w for w in settings.split(",") if w]
        self.name = f"LegoOS {transport}" + (f" {settings}" if settings else "")
        self.options = [w for w in pairs if w.startswith("--")]
        self.home = tempfile.mkdtemp(prefix="lego-bench.")
        env = dict(w.split("=", 1) for w in pairs if not w.startswith("--"))
        self.lego = env.pop("BUILD", args.build) + "/cli/lego"
        self.env = dict(demo.environment(), LEGO_HOME=self.home, **env)
        r = self.call("up", "bench", "--memory", "2G", "--transport", transport)
        if r.returncode:
            raise OSError("lego up failed: " + (r.stderr or r.stdout).strip())

    def call(self, *words):
        return subprocess.run([self.lego, *words], env=self.env, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def run(self, argv, d, local):
        stats = d + "/stats"
        if os.path.exists(stats):
            os.unlink(stats)
        taken, _ = timed([self.lego, "run", "--cluster", "bench", "--excache", str(local), *self.options, "--stats", stats, "--", *argv], d, self.env)
        return dict(largest(stats), s=taken)

    def close(self):
        self.call("down", "bench")
        shutil.rmtree(self.home, ignore_errors=True)


def largest(path):
    """The figures of the process with most misses."""
    text, at, best = open(path).read(), 0, {"misses": -1}
    while (at := text.find("{", at)) >= 0:
        one, at = json.JSONDecoder().raw_decode(text, at)
        best = max(best, one, key=lambda o: o.get("misses", 0))
    return best


def systems(args):
    made = []
    for name in args.systems.split(",") + ["shm:" + s for s in args.set]:
        try:
            kind, _, settings = name.partition(":")
            made.append(Native() if kind == "native" else Zram(args) if kind == "zram" else Lego(args, kind, settings))
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"bench: no {name} here: {e}", file=sys.stderr)
    return made


def measure(args, tmp):
    got, made = {}, systems(args)
    try:
        for name, (argv, prepare) in workloads(args).items():
            d = f"{tmp}/{name}"
            os.mkdir(d)
            prepare(d)
            local = int(Native().run(argv, d, 0)["rss"] * args.local / 100)
            want = open(d + "/out").read()
            for _ in range(args.rounds):
                for s in made:
                    one = s.run(argv, d, local)
                    if not one:
                        print(f"bench: {name} under {s.name}: killed", file=sys.stderr)
                        continue
                    if open(d + "/out").read() != want:
                        sys.exit(f"bench: {name} under {s.name}: another output than natively")
                    got.setdefault(name, {}).setdefault(s.name, []).append(dict(one, local=local))
                    if args.verbose:
                        print(name, s.name, json.dumps({k: v for k, v in one.items() if not isinstance(v, dict) or k == "fault_ns"}), flush=True)
            shutil.rmtree(d)
    finally:
        for s in made:
            s.close()
    return got


def seconds(runs):
    return statistics.median(r["s"] for r in runs)


def report(args, got):
    names = list(dict.fromkeys(n for by in got.values() for n in by))
    base = names[0]
    lines = [f"Linux {platform.release()}, {os.cpu_count()} cores. Local memory: {args.local} % of the resident memory natively. Seconds, median of {args.rounds} rounds "
             f"(least, most), times {base}, misses.", "", "| | local MiB | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    ratios = {n: [] for n in names}
    for program, by in got.items():
        cells = [f"{by[base][0]['local'] / MIB:.1f}"]
        for n in names:
            if n not in by:
                cells.append("killed")
                continue
            runs, ratio = by[n], seconds(by[n]) / seconds(by[base])
            ratios[n].append(ratio)
            misses = f", {statistics.median(r['misses'] for r in runs) / 1000:.0f}k misses" if "misses" in runs[0] else ""
            cells.append(f"{seconds(runs):.2f} ({min(r['s'] for r in runs):.2f}, {max(r['s'] for r in runs):.2f}), {ratio:.2f}{misses}")
        lines.append(f"| {program} | " + " | ".join(cells) + " |")
    lines.append("| geometric mean | | " + " | ".join(f"{math.exp(statistics.mean(map(math.log, ratios[n] or [1]))):.2f}" for n in names) + " |")
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=TOP + "/build")
    p.add_argument("--size", type=int, default=100, help="of the inputs: 100 is 30 MB to sort, 200,000 rows, 12 MiB of JSON")
    p.add_argument("--local", type=float, default=25, help="per cent")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--programs", default="sort,sort2,sqlite,python")
    p.add_argument("--systems", default="native,zram,shm,tcp")
    p.add_argument("--set", action="append", default=[])
    p.add_argument("--verbose", action="store_true")
    p.add_argument("--write", help="a Markdown file to make")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through the ends of `finally`
    tmp = tempfile.mkdtemp(prefix="lego-bench.", dir=os.environ.get("TMPDIR", "/var/tmp"))
    try:
        got = measure(args, tmp)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    results.keep(args.build, "programs", got, report(args, got), args.write)


if __name__ == "__main__":
    main()
