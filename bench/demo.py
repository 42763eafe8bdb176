#!/usr/bin/python3
"""Real programs, unmodified, on one processor, one memory and one storage component, next to the same programs run natively.

Each gets an ExCache of at most a quarter of the resident memory of its largest process natively. Checked: output byte by byte, exit
status, and the bound: the peak resident memory of each process, read from outside, is at most ExCache + 8 MiB.
LEGO_DEMO_SCALE (per cent, default 100) shrinks the inputs for a quick look. Exit status 1 when an output differs or the bound is broken.
"""
import argparse, filecmp, json, os, random, shutil, subprocess, sys, tempfile, threading, time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BOUND_CONSTANT = 8 << 20
MIB = 1 << 20
SCALE = max(1, int(os.environ.get("LEGO_DEMO_SCALE", "100"))) / 100


# ---- inputs: the same bytes every time

def make_text(path, size):
    r = random.Random(1)
    with open(path, "wb") as f:
        while f.tell() < size:
            h = r.randbytes(1 << 19).hex().encode()
            f.write(b"\n".join(h[i:i + 40 + i // 7 % 60] for i in range(0, len(h), 100)) + b"\n")


def make_json(path, size):
    r = random.Random(2)
    names = ["alpha", "beta", "gamma", "delta", "epsilon"]
    with open(path, "w") as f:
        f.write("[")
        i = 0
        while f.tell() < size:
            rows = [{"id": i + k, "name": r.choice(names), "value": r.randrange(10**9), "ratio": r.random(), "tags": [r.choice(names), str(r.randrange(1000))],
                     "nested": {"x": r.randrange(100), "y": [1, 2, 3], "text": "%030x" % r.getrandbits(120)}} for k in range(1000)]
            f.write(("," if i else "") + json.dumps(rows)[1:-1])
            i += 1000
        f.write("]")


def make_csv(path, rows):
    r = random.Random(3)
    with open(path, "w") as f:
        for base in range(0, rows, 10000):
            f.write("".join(f"{i},{r.randrange(1000)},{r.randrange(10**6)},item-{r.randrange(10**9)}\n" for i in range(base, min(base + 10000, rows))))


def make_c_program(path, functions):
    os.makedirs(path)
    r = random.Random(4)
    units = ["hash", "matrix", "text", "tree", "sieve", "queue"]
    for u in units:
        with open(f"{path}/{u}.c", "w") as f:
            f.write('#include "all.h"\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n')
            for i in range(functions):
                a, b, c = r.randrange(3, 99), r.randrange(3, 99), r.randrange(1, 30)
                f.write(f"""
static unsigned long {u}_{i}(unsigned long x, const unsigned char *s, unsigned n)
{{
	unsigned long h = x ^ {a}ul, t[{c + 3}];
	for (unsigned k = 0; k < {c + 3}; k++)
		t[k] = h * {b} + k;
	for (unsigned k = 0; k < n; k++) {{
		switch ((s[k] + k) % 5) {{
		case 0: h = h * {a} + s[k]; break;
		case 1: h ^= t[k % {c + 3}] >> {c % 13}; break;
		case 2: t[(k * {b}) % {c + 3}] += h; break;
		case 3: h += (h << {c % 7 + 1}) - s[n - 1 - k]; break;
		default: h = (h >> 3) | (h << 61);
		}}
	}}
	for (unsigned k = 0; k < {c + 3}; k++)
		h = h * 31 + t[k];
	return h;
}}
""")
            f.write(f"unsigned long {u}(unsigned long x)\n{{\n\tunsigned char s[256];\n\tfor (int i = 0; i < 256; i++)\n\t\ts[i] = (unsigned char)(i * 7 + x);\n")
            f.write("".join(f"\tx = {u}_{i}(x, s, {20 + i % 200});\n" for i in range(functions)) + "\treturn x;\n}\n")
    with open(f"{path}/all.h", "w") as f:
        f.write("".join(f"unsigned long {u}(unsigned long x);\n" for u in units))
    with open(f"{path}/main.c", "w") as f:
        calls = "".join(f'\tx = {u}(x);\n\tprintf("{u} %016lx\\n", x);\n' for u in units)
        f.write(f'#include "all.h"\n#include <stdio.h>\nint main(void)\n{{\n\tunsigned long x = 1;\n{calls}\treturn 0;\n}}\n')
    with open(f"{path}/Makefile", "w") as f:
        f.write(f"CFLAGS = -O2\nprogram: main.o {' '.join(u + '.o' for u in units)}\n\tgcc -o $@ $^\n%.o: %.c all.h\n\tgcc $(CFLAGS) -c -o $@ $<\n")


SQL = """.mode csv
pragma cache_size = -400000;
pragma journal_mode = memory;
create table item(id integer primary key, grp integer, price integer, name text);
.import data.csv item
create table grp(id integer primary key, label text);
with recursive c(x) as (select 0 union all select x + 1 from c where x < 999) insert into grp select x, 'group ' || x from c;
create index item_name on item(name);
create index item_grp on item(grp, price);
select count(*), sum(price), min(name), max(name) from item;
select g.label, count(*), sum(i.price) from item i join grp g on g.id = i.grp group by g.id order by 3 desc limit 20;
select a.id, b.id from item a join item b on a.name = b.name and a.id < b.id order by 1, 2 limit 50;
select name from item order by name limit 5 offset 1000;
pragma integrity_check;
"""

PYTHON = r'''
import collections, hashlib, json, subprocess, threading
rows = json.load(open("data.json"))
parts = [rows[k::4] for k in range(4)]
results = [None] * 4
def work(k):
    c = collections.Counter(); total = 0; h = hashlib.sha256()
    for row in parts[k]:
        c[row["name"], row["tags"][0]] += 1
        total += row["value"] * row["nested"]["x"]
        h.update(row["nested"]["text"].encode())
    results[k] = c, total, h.hexdigest()
threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
for t in threads: t.start()
for t in threads: t.join()
counter = sum((r[0] for r in results), collections.Counter())
for key in sorted(counter): print(*key, counter[key])
print(len(rows), sum(r[1] for r in results), *[r[2] for r in results])
top = "\n".join(sorted(row["nested"]["text"] for row in rows))
p = subprocess.run(["sort", "-r"], input=top, capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
print(p.returncode, hashlib.sha256(p.stdout.encode()).hexdigest(), p.stdout.split("\n")[0])
'''

BASH = r'''
set -u
trap 'echo "trapped USR1"' USR1
trap 'echo "bye with $?"' EXIT
for i in $(seq 1 %(n)d); do printf '%%d %%d\n' $i $((i * i %% 9973)); done >numbers
sort -k2,2n -k1,1n numbers | awk '{s += $2; if (NR %% 100 == 0) print NR, $1, $2, s}' | tail -5
count() { local k; for k in $(seq 1 "$1"); do echo "$k"; done | grep -c "$2"; }
count 500 7 >c1 & count 700 3 >c2 & count 300 1 >c3 &
wait
paste -d' ' c1 c2 c3
(sleep 0.1; kill -USR1 $$) &
wait $!; wait
kill -USR1 $$
while read -r a b; do sum=$((${sum:-0} + a * b %% 1000)); done <numbers
echo "sum $sum"
declare -A seen
while read -r _ b; do seen[$((b %% 50))]=$((${seen[$((b %% 50))]:-0} + 1)); done < <(head -2000 numbers)
for k in "${!seen[@]}"; do echo "$k ${seen[$k]}"; done | sort -n | md5sum
for f in $(seq 1 40); do /bin/echo "process $f" | cat | tr a-z A-Z; done | tail -2
sleep 30 & p=$!
until [ "${name:-}" = sleep ]; do read -r name </proc/$p/comm; done # bash loses a signal between fork and exec
kill $p; wait $p; echo "killed: $?"
cat <<END | rev
here $(echo document)
END
exit 3
'''


class Program:
    def __init__(self, name, command, prepare, products=()):
        self.name, self.command, self.prepare, self.products = name, command, prepare, products


def programs():
    def put(text, name):
        return lambda d: open(os.path.join(d, name), "w").write(text)

    def sqlite(d):
        make_csv(d + "/data.csv", int(1_000_000 * SCALE))
        put(SQL, "load.sql")(d)

    def python(d):
        make_json(d + "/data.json", int(50 * MIB * SCALE))
        put(PYTHON, "work.py")(d)
    return [
        Program("sort 100 MB", ["sort", "-S", "1G", "--parallel=2", "text.txt", "-o", "sorted.txt"], lambda d: make_text(d + "/text.txt", int(100e6 * SCALE)), ["sorted.txt"]),
        Program("sqlite3 1M rows", ["sh", "-c", "sqlite3 t.db <load.sql"], sqlite, ["t.db"]),
        Program("python3 50 MB JSON", ["/usr/bin/python3", "work.py"], python),
        Program("make -j2, gcc -O2", ["sh", "-c", "make -s -j2 -C src && src/program"], lambda d: make_c_program(d + "/src", max(4, int(40 * SCALE))), ["src/program"]),
        Program("bash script", ["bash", "script.sh"], put(BASH % {"n": max(300, int(3000 * SCALE))}, "script.sh")),
    ]


# ---- running

def environment():
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": "/tmp", "TERM": "dumb", "PYTHONHASHSEED": "0"}


class Runner:
    def __init__(self, args, tmp):
        self.build, self.tmp, self.args = os.path.abspath(args.build), tmp, args
        self.lego, self.peak = self.build + "/cli/lego", self.build + "/bench/peak"
        self.env = dict(environment(), LEGO_HOME=tmp + "/home", **{k: v for k, v in os.environ.items() if k in ("LEGO_DEBUG", "LEGO_CHECK", "LEGO_EXIT")})
        os.makedirs(tmp + "/home")

    def copy(self, program, kind):
        d = f"{self.tmp}/{kind}"
        shutil.rmtree(d, ignore_errors=True)
        shutil.copytree(f"{self.tmp}/input-{program.name}", d)
        return d

    def run(self, argv, d, env, out, exclude=()):
        result = f"{self.tmp}/result.json"
        cmd = [self.peak, "-i", "20", *[x for e in exclude for x in ("-x", e)], "-o", result, "--", *argv]
        with open(out, "wb") as o, open(out + ".err", "wb") as e:
            p = subprocess.Popen(cmd, cwd=d, env=env, stdin=subprocess.DEVNULL, stdout=o, stderr=e, start_new_session=True)
            try:
                p.wait(self.args.timeout)
            except subprocess.TimeoutExpired:
                for sig in (15, 9):
                    try:
                        os.killpg(p.pid, sig)
                        time.sleep(1)
                    except ProcessLookupError:
                        pass
                p.wait()
                return {"status": "no end in %d s" % self.args.timeout, "seconds": float(self.args.timeout), "worst_kb": 0, "maxrss_kb": 0, "worst_name": "", "sum_kb": 0}
        return json.load(open(result))

    def cluster(self, transport):
        r = subprocess.run([self.lego, "up", "demo", "-p", "1", "-m", "1", "-s", "1", "--memory", self.args.memory, "--transport", transport],
                           env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if r.returncode:
            sys.exit("demo: lego up failed: " + (r.stderr or r.stdout).strip())

    def down(self):
        subprocess.run([self.lego, "down", "demo"], env=self.env, stdin=subprocess.DEVNULL, capture_output=True)

    def held(self):
        r = subprocess.run([self.lego, "status", "--cluster", "demo", "--json"], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        try:
            return sum(c["used_bytes"] for c in json.loads(r.stdout)["components"] if c["kind"] == "memory")
        except (ValueError, KeyError):
            return 0

    def under_lego(self, program, excache, out):
        stats, peak_held, stop = f"{self.tmp}/stats.json", [0], threading.Event()
        if os.path.exists(stats):
            os.unlink(stats)

        def watch():
            while not stop.wait(0.25):
                peak_held[0] = max(peak_held[0], self.held())
        t = threading.Thread(target=watch)
        t.start()
        d = self.copy(program, "run")
        try:
            argv = [self.lego, "run", "--cluster", "demo", "--excache", str(excache), "--stats", stats, "--", *program.command]
            r = self.run(argv, d, self.env, out, exclude=["lego"])
        finally:
            stop.set()
            t.join()
        r.update(held=peak_held[0], **read_stats(stats))
        return r


def read_stats(path):
    """Sums the JSON objects in a --stats file: one a process."""
    got, decoder = {"misses": 0, "bytes": 0, "stats": 0}, json.JSONDecoder()
    text = open(path, errors="replace").read() if os.path.exists(path) else ""
    at = 0
    while at < len(text):
        if text[at] != "{":
            at += 1
            continue
        try:
            o, at = decoder.raw_decode(text, at)
        except ValueError:
            break
        got["stats"] += 1
        got["misses"] += o.get("misses", 0)
        got["bytes"] += o.get("bytes_in", 0) + o.get("bytes_out", 0)
    return got


def mib(n):
    return f"{n / MIB:.1f}"


def compare(program, tmp, native, lego, native_out, lego_out):
    wrong = []
    if native["status"] != lego["status"]:
        err = open(lego_out + ".err", errors="replace").read().strip()
        wrong.append(f"exit status {lego['status']}, natively {native['status']}" + (f" ({err[-400:]})" if err else ""))
    if not filecmp.cmp(native_out, lego_out, shallow=False):
        wrong.append("standard output differs")
    for p in program.products:
        a, b = f"{tmp}/native/{p}", f"{tmp}/run/{p}"
        if not (os.path.exists(a) and os.path.exists(b) and filecmp.cmp(a, b, shallow=False)):
            wrong.append(f"{p} differs")
    return wrong


HEAD = ("program", "native s", "LegoOS s", "ratio", "ExCache MiB", "peak MiB", "of", "bound", "native MiB", "md held MiB", "misses", "moved MiB", "output")


def row(program, native, lego, excache, wrong):
    over = lego["worst_kb"] * 1024 > excache + BOUND_CONSTANT
    return (program.name, f"{native['seconds']:.2f}", f"{lego['seconds']:.2f}", f"{lego['seconds'] / max(native['seconds'], 0.001):.1f}", mib(excache),
            f"{lego['worst_kb'] / 1024:.1f}", lego["worst_name"], "VIOLATED" if over else "ok", f"{native['maxrss_kb'] / 1024:.1f}", mib(lego["held"]),
            str(lego["misses"]), mib(lego["bytes"]), "DIFFERS" if wrong else "same"), over


def table(title, rows):
    widths = [max(len(r[i]) for r in [HEAD] + rows) for i in range(len(HEAD))]
    print(f"\n{title}")
    for r in [HEAD] + rows:
        print("  ".join(c.ljust(w) if i in (0, 6, 7, 12) else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=TOP + "/build")
    p.add_argument("--transport", nargs="+", default=["shm", "tcp"], choices=["shm", "tcp"])
    p.add_argument("--memory", default="4G", help="of the memory node")
    p.add_argument("--only", help="programs whose name contains this")
    p.add_argument("--timeout", type=int, default=900, help="seconds for one program")
    p.add_argument("--json", help="also write the figures here")
    args = p.parse_args()
    tmp = tempfile.mkdtemp(prefix="lego-demo.", dir=os.environ.get("TMPDIR", "/var/tmp"))
    r = Runner(args, tmp)
    chosen = [x for x in programs() if not args.only or args.only in x.name]
    bad, figures = 0, []
    try:
        for x in chosen:
            print(f"preparing: {x.name}")
            os.makedirs(f"{tmp}/input-{x.name}")
            x.prepare(f"{tmp}/input-{x.name}")
        for transport in args.transport:
            rows = []
            r.cluster(transport)
            for x in chosen:
                native_out, lego_out = f"{tmp}/native.out", f"{tmp}/lego.out"
                native = r.run(x.command, r.copy(x, "native"), environment(), native_out)
                excache = native["maxrss_kb"] * 1024 // 4 // 65536 * 65536
                print(f"running over {transport}: {x.name} (ExCache {mib(excache)} MiB of {native['maxrss_kb'] / 1024:.1f} MiB)")
                lego = r.under_lego(x, excache, lego_out)
                wrong = compare(x, tmp, native, lego, native_out, lego_out)
                line, over = row(x, native, lego, excache, wrong)
                rows.append(line)
                bad += bool(wrong) + over
                for w in wrong:
                    print(f"  {x.name}: {w}")
                figures.append({"program": x.name, "transport": transport, "excache_bytes": excache, "native": native, "lego": lego, "wrong": wrong, "over": over})
            r.down()
            table(f"1 processor, 1 memory, 1 storage component as separate processes, transport {transport}; bound: peak resident memory of a process <= ExCache + 8 MiB", rows)
        if args.json:
            json.dump(figures, open(args.json, "w"), indent=1)
    finally:
        r.down()
        if not os.environ.get("LEGO_DEMO_KEEP"):
            shutil.rmtree(tmp, ignore_errors=True)
    print("\n" + (f"{bad} problems: see above" if bad else "every output is the same as natively, and the bound holds"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
