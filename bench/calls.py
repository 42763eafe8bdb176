#!/usr/bin/python3
"""System calls and start-up, natively and under LegoOS with sites rewritten and with --no-rewrite, interleaved in one run. Writes
BUILD/bench/calls.json and prints a table in Markdown (--write FILE: also into a file, as docs/calls.md is made)."""
import argparse, json, os, platform, subprocess, sys, tempfile, time

import results

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = {"/bin/true": ["/bin/true"], "python3 -c pass": ["/usr/bin/python3", "-c", "pass"], "ls -lR /usr/share/doc": ["/bin/ls", "-lR", "/usr/share/doc"],
            "find /usr/share/doc -name x": ["/usr/bin/find", "/usr/share/doc", "-name", "x"], "git status": ["/usr/bin/git", "-C", TOP, "status", "--short"]}


def median(xs):
    xs = sorted(xs)
    return {"median": xs[len(xs) // 2], "min": xs[0], "max": xs[-1], "count": len(xs)} if xs else None


def calls(prefix, env, build, count, directory):
    r = subprocess.run([*prefix, build + "/bench/calls", str(count), directory], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, cwd="/")
    if r.returncode:
        print("bench: calls: " + r.stderr.strip()[-300:], file=sys.stderr)
        return {}
    return json.loads(r.stdout)


def seconds(prefix, env, argv):
    t = time.perf_counter()
    r = subprocess.run([*prefix, *argv], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, cwd="/")
    return time.perf_counter() - t if r.returncode in (0, 1) else None


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=TOP + "/build")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--rounds", type=int, default=0, help="of each measurement (5; with --quick 3)")
    p.add_argument("--only", choices=["calls", "programs"])
    p.add_argument("--write", help="a Markdown file to make")
    args = p.parse_args()
    build, rounds = os.path.abspath(args.build), args.rounds or (3 if args.quick else 5)
    tmp = tempfile.mkdtemp(prefix="lego-bench.")
    env = dict(os.environ, LEGO_HOME=tmp)
    with results.cluster(build, env, "--memory", "1G") as lego:
        ways = {"native": [], "rewritten": [*lego, "--"], "trapped": [*lego, "--no-rewrite", "--"]}
        got_calls, got_programs = {w: {} for w in ways}, {w: {} for w in ways}
        for i in range(0 if args.only == "programs" else rounds):
            for way, prefix in ways.items():
                for name, us in calls(prefix, env, build, 1000 if args.quick else 4000, "/tmp").items():
                    got_calls[way].setdefault(name, []).append(us)
        for name, argv in {} if args.only == "calls" else PROGRAMS.items():
            if not os.path.exists(argv[0]):
                continue
            for i in range(rounds * (4 if len(argv) < 4 else 1) + 1):
                for way, prefix in ways.items():
                    s = seconds(prefix, env, argv)
                    if s is not None and i:  # the first fills the file caches
                        got_programs[way].setdefault(name, []).append(s * 1000)
    got = {"calls_us": {w: {n: median(v) for n, v in d.items()} for w, d in got_calls.items()},
           "programs_ms": {w: {n: median(v) for n, v in d.items()} for w, d in got_programs.items()}}
    results.keep(build, "calls", got, report(got, rounds), args.write)


def table(what, unit, got):
    cell = lambda x: "–" if not x else f"{x['median']:.2f} ({x['min']:.2f}–{x['max']:.2f})"
    lines = [f"| {what}, {unit} | native | LegoOS, sites rewritten | LegoOS, all trapped |", "|---|---|---|---|"]
    return lines + [f"| {n} | {cell(got['native'].get(n))} | {cell(got['rewritten'].get(n))} | {cell(got['trapped'].get(n))} |" for n in got["native"]]


def report(got, rounds):
    lines = ["# System calls and start-up", "",
             f"Made by `make bench` (`bench/calls.py`) on Linux {platform.release()}, {os.cpu_count()} cores, over shared memory: median (least–greatest) of {rounds} or more runs,",
             "the three ways in turn. `syscall()` and `read()` have no `mov` of their number before the instruction and always trap.", ""]
    return "\n".join(lines + table("call", "µs", got["calls_us"]) + [""] + table("program from start to end, warm", "ms", got["programs_ms"])) + "\n"


if __name__ == "__main__":
    main()
