#!/usr/bin/python3
"""Sweeps of ExCache: how often real programs miss by replacement policy, by associativity and by its size (per cent of the program's native
peak). Misses hardly depend on what else the machine does, so one run of each will do; seconds are not told. Writes BUILD/bench/sweep.json;
prints tables in Markdown (--write FILE: puts them there between the marks `<!-- sweep -->` and `<!-- end of sweep -->`, or at its end)."""
import argparse, os, tempfile

import programs, results

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
POLICIES = ["fifo", "sfifo", "clock", "lru", "random"]
ASSOC = {"1": 1, "4": 4, "16": 16, "64": 64, "256": 256, "1024": 1024, "all": 65536}  # more than there are lines: one set
MARKS = "<!-- sweep -->\n", "<!-- end of sweep -->\n"


def sweep(args, lego, argv, d):
    peak = programs.Native().run(argv, d, 0)["rss"]

    def misses(percent, *options):
        lego.options = list(options)
        return lego.run(argv, d, int(peak * percent / 100))["misses"]
    sizes = [int(p) for p in args.sizes.split(",")]
    return {"peak": peak, "policy": {p: [misses(s, "--policy", p) for s in sizes] for p in POLICIES},
            "assoc": {a: misses(args.local, "--assoc", str(n)) for a, n in ASSOC.items()}}


def report(args, got):
    sizes, names = args.sizes.split(","), list(got)
    lines = ["Misses by policy (lines) and by ExCache in per cent of the program's native peak (columns).", ""]
    lines += ["| | " + " | ".join(f"{n} {s} %" for n in names for s in sizes) + " |", "|---" * (1 + len(names) * len(sizes)) + "|"]
    lines += [f"| {p} | " + " | ".join(f"{m:,}" for n in names for m in got[n]["policy"][p]) + " |" for p in POLICIES]
    lines += ["", f"Misses by associativity, at {args.local} % of the peak, policy sfifo.", ""]
    lines += ["| | " + " | ".join(a + (" lines" if a != "1" else " line") + " a set" for a in ASSOC) + " |", "|---" * (1 + len(ASSOC)) + "|"]
    lines += [f"| {n} | " + " | ".join(f"{got[n]['assoc'][a]:,}" for a in ASSOC) + " |" for n in names]
    return "\n".join(lines) + "\n"


def put(path, table):
    text = open(path).read()
    head, mark, rest = text.partition(MARKS[0])
    if not mark:
        head += "\n## Sweeps of ExCache\n\nMade by `bench/sweep.py --write docs/figures.md`.\n\n"
    with open(path, "w") as f:
        f.write(head + MARKS[0] + "\n" + table + "\n" + MARKS[1] + rest.partition(MARKS[1])[2])


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=TOP + "/build")
    p.add_argument("--programs", default="sort,sqlite,python")
    p.add_argument("--size", type=int, default=20, help="of the inputs, as in programs.py")
    p.add_argument("--sizes", default="10,25,50")
    p.add_argument("--local", type=float, default=25, help="per cent, for associativity")
    p.add_argument("--write", help="a Markdown file to put the tables in")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    got, lego = {}, programs.Lego(args, "shm")
    try:
        with tempfile.TemporaryDirectory(prefix="lego-sweep.") as tmp:
            os.chmod(tmp, 0o755)
            for name, (argv, prepare) in programs.workloads(args).items():
                os.mkdir(f"{tmp}/{name}")
                prepare(f"{tmp}/{name}")
                got[name] = sweep(args, lego, argv, f"{tmp}/{name}")
    finally:
        lego.close()
    results.keep(args.build, "sweep", got, report(args, got))
    if args.write:
        put(args.write, report(args, got))


if __name__ == "__main__":
    main()
