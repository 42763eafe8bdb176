#!/usr/bin/python3
"""Storage, side by side in one run: fio (psync, one thread) natively on the host's file system and under LegoOS on the same directory, bound,
over shared memory and TCP; 4 KiB random and 128 KiB sequential, read and written, cached and with an fsync after each write; and `tar x` of
20,000 small files. Native and LegoOS take turns job group by job group. The network's share is the round trip of a message of the job's size
(rpc_latency, same run) over the job's median time. Writes BUILD/bench/storage.json and prints a table (--write DIR: docs/storage-figures.md
and .svg are made there). --dir: where the files lie (default: /var/tmp). --rados: instead, the same jobs in a vNode's private layer, kept in
the storage node's data directory and in a pool of scripts/one-node-ceph (--write DIR: docs/rados-figures.md)."""
import argparse, json, os, platform, shutil, subprocess, sys, tarfile, tempfile, time, io

import results

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# name, words for fio, block, must (what, figure)
GROUPS = [
    ("read", [("first sequential read", "--rw=read --bs=128k", "seq"),
              ("sequential read", "--rw=read --bs=128k {time}", "seq"),
              ("random read", "--rw=randread --bs=4k --norandommap {time}", "rand")]),
    ("write", [("sequential write", "--rw=write --bs=128k {time}", "seq"),
               ("random write", "--rw=randwrite --bs=4k --norandommap {time}", "rand")]),
    ("fsync", [("sequential write, fsync each", "--rw=write --bs=128k --fsync=1 {time}", "seq"),
               ("random write, fsync each", "--rw=randwrite --bs=4k --norandommap --fsync=1 {time}", "rand")]),
]


class Mode:
    def __init__(self, name, args, up=None, run=(), private=None):
        self.name, self.args, self.env, self.prefix, self.tmp, self.run_words = name, args, dict(os.environ), [], None, run
        self.where = private or args.work  # of the files
        if up is None:
            return
        self.tmp = tempfile.mkdtemp(prefix="lego-bench.")
        self.env["LEGO_HOME"] = self.tmp
        self.lego = args.build + "/cli/lego"
        r = subprocess.run([self.lego, "up", "bench", "--memory", "2G", *up], env=self.env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if r.returncode:
            sys.exit("bench: lego up failed: " + (r.stderr or r.stdout).strip())
        bind = () if private else ("-v", f"{args.work}:{args.work}")
        self.prefix = [self.lego, "run", "--cluster", "bench", *bind, *run, "--"]
        if private:
            self.call(["mkdir", "-p", private])

    def call(self, words, **kw):
        return subprocess.run([*self.prefix, *words], env=self.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600, cwd=self.args.work, **kw)

    def close(self):
        if self.tmp:
            subprocess.run([self.lego, "down", "bench"], env=self.env, capture_output=True, stdin=subprocess.DEVNULL)
            shutil.rmtree(self.tmp, ignore_errors=True)


def fio(mode, jobs, seconds, size, out):
    words = ["fio", "--output-format=json", "--ioengine=psync", f"--directory={mode.where}", "--filename=fio.data", f"--size={size}", "--thread",
             "--invalidate=0", "--stonewall"]
    for name, job, _ in jobs:
        words += ["--name=" + name, "--stonewall", *job.format(time=f"--runtime={seconds} --time_based").split()]
    r = mode.call(words)
    try:
        got = json.loads(r.stdout[r.stdout.index("{"):])
    except ValueError:
        sys.exit(f"bench: fio, {mode.name}: exit status {r.returncode}: {(r.stderr or r.stdout).strip()[-400:]}")
    for job in got["jobs"]:
        d = job["read"] if job["read"]["total_ios"] else job["write"]
        us = 1e6 / d["iops"] if d["iops"] else 0
        out.setdefault(job["jobname"], {})[mode.name] = {"mean_us": us, "p50_us": d["clat_ns"]["percentile"]["50.000000"] / 1000,
                                                         "p99_us": d["clat_ns"]["percentile"]["99.000000"] / 1000, "gb_s": d["bw_bytes"] / 1e9}


def make_tar(path, files):
    with tarfile.open(path, "w") as t:
        for i in range(files):
            data = (b"%d line\n" % i) * (20 + i % 100 * 3)
            info = tarfile.TarInfo(f"tree/d{i // 100:03}/f{i % 100:03}.c")
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))


def untar(mode, out):
    d = f"{mode.where}/t.{mode.name.replace(' ', '')}.{time.monotonic_ns()}"
    mode.call(["mkdir", d])
    start = time.perf_counter()
    r = mode.call(["tar", "xf", f"{mode.args.work}/t.tar", "-C", d])
    if r.returncode:
        sys.exit(f"bench: tar, {mode.name}: {r.stderr.strip()[-300:]}")
    out.setdefault("tar x", {})[mode.name] = {"s": time.perf_counter() - start}


def fio_version():
    return subprocess.run(["fio", "--version"], capture_output=True, text=True).stdout.strip().replace("fio-", "")


def network(args):
    r = subprocess.run([args.build + "/bench/rpc_latency", "--rounds", "4000"], capture_output=True, text=True)
    return json.loads(r.stdout)


def share(got, job, kind, mode):
    net = {"shm": "ring", "tcp": "tcp"}.get(mode)
    cell = got["jobs"][job].get(mode)
    if not net or not cell:
        return None
    return min(1.0, got["network"][f"{net}_{'4k' if kind == 'rand' else '128k'}"]["p50_us"] / cell["p50_us"])


def cell(kind, c):
    if not c:
        return "–"
    return f"{c['mean_us']:.1f} ({c['p50_us']:.1f} / {c['p99_us']:.0f})" if kind == "rand" else f"{c['gb_s']:.2f}"


def rows(got, modes):
    for _, jobs in GROUPS:
        for name, _, kind in jobs:
            c = got["jobs"].get(name, {})
            if c:
                yield f"{name}, {'4 KiB, us: mean (p50 / p99)' if kind == 'rand' else '128 KiB, GB/s'}", [cell(kind, c.get(m)) for m in modes]
    c = got["jobs"].get("tar x", {})
    if c:
        yield f"tar x, {got['files']} files, s", [f"{c[m]['s']:.1f}" if m in c else "–" for m in modes]


def rados_table(got, modes):
    lines = ["| job | " + " | ".join(modes) + " |", "|---" * (len(modes) + 1) + "|"]
    return "\n".join(lines + [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows(got, modes)]) + "\n"


def rados_report(got, modes):
    return (f"# Private layers in a Ceph pool: figures\n\nMade by `bench/storage.py --rados` on Linux {platform.release()}, {os.cpu_count()} cores shared by program, memory node, storage "
            f"node, and Ceph's monitor and OSD (`scripts/one-node-ceph`: one OSD that keeps its objects in memory, over loopback); fio {got['fio']}, psync, one thread, over shm, a file of "
            f"{got['size']} in the vNode's private layer. In the pool what a write acknowledged is durable, synced or not; in the data directory only what was synced is.\n\n" + rados_table(got, modes))


def start_ceph(args):
    ceph = args.work + "/ceph"
    r = subprocess.run([TOP + "/scripts/one-node-ceph", "start", ceph], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    if r.returncode:
        sys.exit("bench: " + r.stderr.strip())
    return ceph


def rados(args, seconds, size, files):
    got = {"jobs": {}, "size": size, "files": files, "fio": fio_version()}
    modes, ceph = [], start_ceph(args)
    try:
        for name, up in (("data directory", ()), ("Ceph pool", ("--files", f"rados:lego,conf={ceph}/ceph.conf"))):
            modes.append(Mode(name, args, up, private="/var/tmp/lego-bench"))
        make_tar(args.work + "/t.tar", files)
        for m in modes:
            m.call(["dd", "if=/dev/urandom", f"of={m.where}/fio.data", "bs=1M", "count=" + size[:-1], "conv=fsync"])
        for group, jobs in GROUPS:
            for m in modes if group in args.groups.split(",") else []:
                fio(m, jobs, seconds, size, got["jobs"])
        for m in modes if "tar" in args.groups.split(",") else []:
            untar(m, got["jobs"])
    finally:
        for m in modes:
            m.close()
        subprocess.run([TOP + "/scripts/one-node-ceph", "stop", ceph], stdin=subprocess.DEVNULL)
        shutil.rmtree(args.work, ignore_errors=True)
    names = [m.name for m in modes]
    print(rados_table(got, names))
    if args.write:
        open(args.write + "/rados-figures.md", "w").write(rados_report(got, names))


def table(got, modes):
    lines = ["| job | " + " | ".join(modes) + " | shm / native | network's share, shm | tcp |", "|---" * (len(modes) + 4) + "|"]
    for _, jobs in GROUPS:
        for name, _, kind in jobs:
            c = got["jobs"].get(name)
            if not c:
                continue
            ratio = c["shm"]["gb_s"] / c["native"]["gb_s"] if "shm" in c and c["native"]["gb_s"] else None
            pct = [f"{share(got, name, kind, m):.0%}" if share(got, name, kind, m) is not None and "fsync" not in name else "" for m in ("shm", "tcp")]
            lines.append(f"| {name}, {'4 KiB, us: mean (p50 / p99)' if kind == 'rand' else '128 KiB, GB/s'} | " + " | ".join(cell(kind, c.get(m)) for m in modes) +
                         f" | {f'{ratio:.2f}' if ratio else ''} | {pct[0]} | {pct[1]} |")
    c = got["jobs"].get("tar x")
    if c:
        lines.append(f"| tar x, {got['files']} files, s | " + " | ".join(f"{c[m]['s']:.1f}" if m in c else "–" for m in modes) +
                     f" | {c['native']['s'] / c['shm']['s']:.2f} | | |" if "shm" in c else "")
    return "\n".join(lines) + "\n"


COLOURS = {"native": "#777777", "shm": "#2166ac", "shm, no file cache": "#67a9cf", "tcp": "#ef8a62"}


def svg(got, modes):
    """The paper's storage experiment: throughput of sequential and random reads and writes, one thread."""
    jobs = [("sequential read", "seq. read"), ("random read", "rand. read"), ("sequential write", "seq. write"), ("random write", "rand. write")]
    w, h, left, base = 760, 330, 60, 270
    top = max(got["jobs"][j][m]["gb_s"] for j, _ in jobs for m in modes if m in got["jobs"][j])
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" font-family="sans-serif" font-size="12">',
           f'<rect width="{w}" height="{h}" fill="white"/>', f'<text x="8" y="16">GB/s, one thread, cached; the paler part of a bar is the network\'s share of its time</text>']
    for i in range(5):
        y = base - i * 220 / 4
        out += [f'<line x1="{left}" x2="{w - 10}" y1="{y}" y2="{y}" stroke="#ddd"/>', f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{top * i / 4:.1f}</text>']
    for g, (job, label) in enumerate(jobs):
        x0 = left + 15 + g * 172
        for k, m in enumerate(modes):
            c = got["jobs"][job].get(m)
            if not c:
                continue
            bar = c["gb_s"] / top * 220
            x = x0 + k * 38
            net = share(got, job, "rand" if "random" in job else "seq", m) or 0
            out.append(f'<rect x="{x}" y="{base - bar:.1f}" width="34" height="{bar:.1f}" fill="{COLOURS[m]}"/>')
            if net:
                out.append(f'<rect x="{x}" y="{base - bar:.1f}" width="34" height="{bar * net:.1f}" fill="white" fill-opacity="0.45"/>')
            out.append(f'<text x="{x + 17}" y="{base - bar - 4:.1f}" text-anchor="middle" font-size="10">{c["gb_s"]:.2f}</text>')
        out.append(f'<text x="{x0 + 74}" y="{base + 18}" text-anchor="middle">{label}</text>')
    for k, m in enumerate(modes):
        out += [f'<rect x="{left + k * 170}" y="{h - 28}" width="12" height="12" fill="{COLOURS[m]}"/>', f'<text x="{left + 18 + k * 170}" y="{h - 18}">{m}</text>']
    return "\n".join(out) + "\n</svg>\n"


def report(got, modes):
    return (f"# Storage figures\n\nMade by `bench/storage.py` (in `make bench`) on Linux {platform.release()}, {os.cpu_count()} cores shared by program, memory node and storage "
            f"node; fio {got['fio']}, psync, one thread, a file of {got['size']} in a bound directory on the host's file system; native and LegoOS by turns in one run.\n\n" +
            table(got, modes) + "\n![throughput](storage-figures.svg)\n")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=TOP + "/build")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--seconds", type=float, help="of each job (default: 3)")
    p.add_argument("--dir", default="/var/tmp")
    p.add_argument("--modes", default="native,shm,shm0,tcp", help="of native, shm, shm0 (--file-cache off), tcp")
    p.add_argument("--groups", default="read,write,fsync,tar")
    p.add_argument("--add", action="store_true", help="to what earlier runs left in BUILD/bench/storage.json: so that the groups can be run one by one")
    p.add_argument("--rados", action="store_true", help="private layers in a data directory and in a Ceph pool")
    p.add_argument("--write", help="a directory for storage-figures.md and .svg")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    args.work = tempfile.mkdtemp(prefix="lego-storage.", dir=args.dir)
    seconds, size, files = (1, "64M", 4000) if args.quick else (3, "256M", 20000)
    seconds = args.seconds or seconds
    if args.rados:
        rados(args, seconds, "64M", files // 10)
        return
    got = {"jobs": {}, "size": size, "files": files, "fio": fio_version()}
    wanted, groups = args.modes.split(","), args.groups.split(",")
    modes = []
    try:
        for word, name, up, run in (("native", "native", None, ()), ("shm", "shm", (), ()), ("shm0", "shm, no file cache", (), ("--file-cache", "off")),
                                    ("tcp", "tcp", ("--transport", "tcp"), ())):
            if word in wanted:
                modes.append(Mode(name, args, up, run))
        with open(args.work + "/fio.data", "wb") as f:
            for _ in range(int(size[:-1])):
                f.write(os.urandom(1 << 20))
            os.fsync(f.fileno())
        got["network"] = network(args)
        for group, jobs in GROUPS:
            for m in modes if group in groups else []:
                fio(m, jobs, seconds, size, got["jobs"])
        if "tar" in groups:
            make_tar(args.work + "/t.tar", files)
            os.sync()
            for m in modes:
                untar(m, got["jobs"])
    finally:
        for m in modes:
            m.close()
        shutil.rmtree(args.work, ignore_errors=True)
    names = [m.name for m in modes]
    if args.add:
        got["jobs"] = {**json.load(open(args.build + "/bench/storage.json"))["jobs"], **got["jobs"]}
    results.keep(args.build, "storage", got, table(got, names))
    if args.write:
        open(args.write + "/storage-figures.md", "w").write(report(got, names))
        open(args.write + "/storage-figures.svg", "w").write(svg(got, names))


main()
