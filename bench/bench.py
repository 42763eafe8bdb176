#!/usr/bin/python3
"""First figures: a remote miss, a null system call, a file read, the start of /bin/true; natively, over shared memory and over TCP.
Writes BUILD/bench/first.json, prints a table in Markdown (with --write FILE also into a file, as docs/figures.md is made)."""
import argparse, json, os, platform, subprocess, sys, tempfile, time

import results

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def probe(prefix, env, build, *words):
    r = subprocess.run([*prefix, build + "/bench/probe", *words], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, cwd="/")
    if r.returncode:
        print(f"bench: probe {' '.join(words)}: exit status {r.returncode}: {r.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return json.loads(r.stdout)


def start_time(prefix, env, times):
    ms = []
    for _ in range(times):
        t = time.perf_counter()
        if subprocess.run([*prefix, "/bin/true"], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, cwd="/").returncode:
            return None
        ms.append((time.perf_counter() - t) * 1000)
    ms.sort()
    return {"what": "start", "count": times, "p50_us": ms[times // 2] * 1000, "p99_us": ms[min(times - 1, times * 99 // 100)] * 1000, "mean_us": sum(ms) / times * 1000}


def measure(prefix, env, build, quick):
    n = 4000 if quick else 40000
    return {"remote miss, read": probe([*prefix], env, build, "miss", "64", str(n)),
            "remote miss, write": probe([*prefix], env, build, "write", "64", str(n)),
            "first touch": probe([*prefix], env, build, "first", "16"),
            "null system call": probe([*prefix], env, build, "null", "100000"),
            "read of 4 KiB, file in cache": probe([*prefix], env, build, "read", "5000"),
            "start of /bin/true": start_time(prefix, env, 10 if quick else 40)}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=TOP + "/build")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--excache", default="16M")
    p.add_argument("--write", help="a Markdown file to make")
    args = p.parse_args()
    build = os.path.abspath(args.build)
    tmp = tempfile.mkdtemp(prefix="lego-bench.")
    env = dict(os.environ, LEGO_HOME=tmp)
    got = {"native": measure([], env, build, args.quick)}
    for transport in ("shm", "tcp"):
        with results.cluster(build, env, "--memory", "1G", "--transport", transport) as lego:
            got[transport] = measure([*lego, "--excache", args.excache, "--"], env, build, args.quick)
    r = subprocess.run([build + "/bench/rpc_latency", "--rounds", "5000" if args.quick else "20000"], capture_output=True, text=True)
    try:
        got["rpc"] = json.loads(r.stdout)
    except ValueError:
        got["rpc"] = None
    results.keep(build, "first", got, report(got, args.excache), args.write)


def report(got, excache):
    cell = lambda x: "–" if not x or not x.get("count") or ("counted" in x and not x["counted"]) else f"{x['p50_us']:.1f} / {x['p99_us']:.1f}"
    lines = ["# First figures", "", f"Made by `make bench` on Linux {platform.release()}, {os.cpu_count()} cores; microseconds, p50 / p99. Misses: random pages of 64 MiB with an ExCache of {excache},",
             "those touches that took over 1.5 us. The machine is a virtual one with two cores shared by program and memory node: read the ratios.", "",
             "| operation | native | LegoOS, shm | LegoOS, tcp |", "|---|---|---|---|"]
    for what in got["native"]:
        lines.append(f"| {what} | {cell(got['native'][what])} | {cell(got['shm'][what])} | {cell(got['tcp'][what])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
