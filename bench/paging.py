#!/usr/bin/python3
"""Paging, side by side in one run: random and sequential reads and writes of more memory than is local, natively with all of it local, under
swap to zram and to memory served over TCP (nbdkit, nbdfuse) in a memory-limited cgroup, and under LegoOS over shared memory and TCP. Medians of several rounds, interleaved, with their spread.
Writes BUILD/bench/paging.json; prints a table in Markdown (--write FILE: also there). Root is needed for swap; without it those columns are left out."""
import argparse, json, os, platform, shutil, socket, statistics, subprocess, sys, tempfile, time

import results

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODES = {"rr": "random read", "rw": "random write", "sr": "sequential read", "sw": "sequential write"}


def text(path, value=None):
    if value is None:
        return open(path).read()
    with open(path, "w") as f:
        f.write(str(value))


class Native:
    name = "all local"

    def __init__(self, args):
        self.args = args

    def run(self, words):
        return subprocess.run([*self.prefix(), self.args.build + "/bench/paging", *words], env=self.env(), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=240, cwd="/")

    def prefix(self):
        return []

    def env(self):
        return dict(os.environ)

    def close(self):
        pass


class Swap(Native):
    """Swap to a device, on only while this system runs; a cgroup (version 1) of the local size, plus 2 MiB for page tables and the program itself."""
    cgroup = "/sys/fs/cgroup/memory/lego-bench"

    def __init__(self, args):
        super().__init__(args)
        os.makedirs(self.cgroup, exist_ok=True)
        text(self.cgroup + "/memory.limit_in_bytes", int(args.mib * args.local / 100 + 2) << 20)
        text(self.cgroup + "/memory.swappiness", 100)

    def run(self, words):
        subprocess.run(["swapon", "-p", "100", self.dev], check=True, capture_output=True)
        try:
            return super().run(words)
        finally:
            subprocess.run(["swapoff", self.dev], capture_output=True)

    def prefix(self):
        return ["sh", "-c", f'echo $$ > {self.cgroup}/cgroup.procs && exec "$@"', "sh"]

    def close(self):
        for _ in range(50):
            try:
                os.rmdir(self.cgroup)
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.1)


class Zram(Swap):
    """Compressed memory of this host."""
    name = "zram swap"
    dev = "/dev/zram0"

    def __init__(self, args):
        text("/sys/block/zram0/reset", 1)
        text("/sys/block/zram0/disksize", f"{2 * args.mib}M")
        subprocess.run(["mkswap", self.dev], check=True, capture_output=True)
        super().__init__(args)

    def close(self):
        text("/sys/block/zram0/reset", 1)
        super().close()


class Remote(Swap):
    """Swap over TCP, as one can have it from Debian's packages: nbdkit keeps the bytes in memory and serves them, nbdfuse shows them as a file, a loop
    device makes that a block device; direct I/O, so that they are not cached a second time on this side."""
    name = "swap over TCP"

    def __init__(self, args):
        self.dir = tempfile.mkdtemp(prefix="lego-bench.")
        self.parts, self.dev = [], None
        try:
            self.make(args)
            super().__init__(args)
        except (OSError, subprocess.CalledProcessError):
            self.close()
            raise

    def make(self, args):
        for tool in ("nbdkit", "nbdfuse", "fusermount3", "losetup"):
            if not shutil.which(tool):
                raise OSError(f"no {tool} (Debian: nbdkit, libnbd-bin, fuse3)")
        if not os.path.exists("/dev/fuse"):
            raise OSError("no /dev/fuse")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.parts.append(subprocess.Popen(["nbdkit", "-f", "--exit-with-parent", "-i", "127.0.0.1", "-p", str(port), "memory", f"size={2 * args.mib}M"],
                                           stderr=subprocess.DEVNULL))
        self.reachable(port)
        self.parts.append(subprocess.Popen(["nbdfuse", self.dir, f"nbd://127.0.0.1:{port}"]))
        for _ in range(100):
            if os.path.exists(self.dir + "/nbd"):
                break
            time.sleep(0.1)
        r = subprocess.run(["losetup", "--direct-io=on", "--show", "-f", self.dir + "/nbd"], check=True, capture_output=True, text=True)
        self.dev = r.stdout.strip()
        subprocess.run(["mkswap", self.dev], check=True, capture_output=True)

    @staticmethod
    def reachable(port):
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise OSError("nbdkit does not listen")

    def close(self):
        if self.dev:
            subprocess.run(["losetup", "-d", self.dev], capture_output=True)
        subprocess.run(["fusermount3", "-u", self.dir], capture_output=True)
        for p in self.parts[::-1]:
            p.terminate()
            p.wait()
        if os.path.isdir(self.dir) and not os.path.ismount(self.dir):
            os.rmdir(self.dir)
        super().close()


class Lego(Native):
    """system: shm, tcp, or twice (shm, a second copy of all memory on another node)."""

    def __init__(self, args, system):
        super().__init__(args)
        transport, self.copies = ("shm", ["--replicas", "1"]) if system == "twice" else (system, [])
        self.name = "LegoOS " + ("shm, second copy" if system == "twice" else system)
        self.home = tempfile.mkdtemp(prefix="lego-bench.")
        r = self.lego("up", "bench", "--memory", f"{args.mib * 2 + 256}M", "--transport", transport, "-m", "2" if self.copies else "1")
        if r.returncode:
            raise OSError("lego up failed: " + (r.stderr or r.stdout).strip())

    def lego(self, *words):
        return subprocess.run([self.args.build + "/cli/lego", *words], env=self.env(), capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def prefix(self):
        return [self.args.build + "/cli/lego", "run", "--cluster", "bench", "--excache", f"{int(self.args.mib * self.args.local / 100)}M",
                *self.copies, *self.args.lego_args.split(), "--"]

    def env(self):
        return dict(os.environ, LEGO_HOME=self.home)

    def close(self):
        self.lego("down", "bench")


def systems(args):
    made = []
    for name in args.systems.split(","):
        try:
            made.append({"native": Native, "zram": Zram, "remote": Remote}[name](args) if name in ("native", "zram", "remote") else Lego(args, name))
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"bench: no {name} here: {e}", file=sys.stderr)
    return made


def measure(args):
    got = {}
    made = systems(args)
    try:
        for _ in range(args.rounds):
            for s in made:
                r = s.run([str(args.mib), str(args.count), *args.modes.split(",")])
                if r.returncode:
                    sys.exit(f"bench: paging under {s.name}: exit status {r.returncode}: {r.stderr.strip()[-400:]}")
                for line in r.stdout.splitlines():
                    one = json.loads(line)
                    got.setdefault(s.name, {}).setdefault(one["mode"], []).append(one)
    finally:
        for s in made:
            s.close()
    return got


def median(runs, what):
    return statistics.median(r[what] for r in runs)


def report(args, got):
    names = list(got)
    lines = [f"Linux {platform.release()}, {os.cpu_count()} cores. {args.mib} MiB touched, {args.local} % of it local, one word a page; microseconds per touch, hits "
             f"included: median of {args.rounds} rounds (least, most), p99.", "", "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for mode in args.modes.split(","):
        cells = []
        for name in names:
            runs = got[name][mode]
            means = [r["mean_us"] for r in runs]
            cells.append(f"{median(runs, 'mean_us'):.2f} ({min(means):.2f}, {max(means):.2f}), {median(runs, 'p99_us'):.0f}")
        lines.append(f"| {MODES[mode]} | " + " | ".join(cells) + " |")
    base = got.get("zram swap")
    for name in names if base else []:
        if name.startswith("LegoOS"):
            ratios = [f"{MODES[m]} {median(base[m], 'mean_us') / median(got[name][m], 'mean_us'):.2f}" for m in args.modes.split(",")]
            lines += ["", f"zram swap's time over {name}'s: " + ", ".join(ratios) + "."]
    remote, tcp = got.get(Remote.name), got.get("LegoOS tcp")
    if remote and tcp:
        lines += ["", "Swap over TCP's time over LegoOS tcp's: " + ", ".join(
            f"{MODES[m]} {median(remote[m], 'mean_us') / median(tcp[m], 'mean_us'):.1f}" for m in args.modes.split(",")) + "."]
    once, twice = got.get("LegoOS shm"), got.get("LegoOS shm, second copy")
    if once and twice:
        more = [f"{MODES[m]} {median(twice[m], 'mean_us') / median(once[m], 'mean_us'):.2f}" for m in args.modes.split(",")]
        lines += ["", "Time with a second copy over the time with one: " + ", ".join(more) + "."]
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=TOP + "/build")
    p.add_argument("--mib", type=int, default=256)
    p.add_argument("--local", type=float, default=25, help="percent")
    p.add_argument("--count", type=int, default=100000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--modes", default="rr,rw,sr,sw")
    p.add_argument("--systems", default="native,zram,remote,shm,twice,tcp")
    p.add_argument("--lego-args", default="")
    p.add_argument("--write", help="a Markdown file to make")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    got = measure(args)
    results.keep(args.build, "paging", got, report(args, got), args.write)


if __name__ == "__main__":
    main()
