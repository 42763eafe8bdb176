"""The driver of chaos.sh: a cluster of 1 gm, 2 p, 3 m, 2 s, on hosts of its own (network namespaces) where that may be made, eight programs at a
time that check every byte they see, and faults drawn from a seed: kill -9, SIGSTOP and SIGCONT, a cut wire, each healed a little later.

What must hold
  - a program ends right, or, where docs/managers.md allows it, with LegoOS's own message or an error it was given; never with a wrong byte, never not at all
  - what is allowed depends on the faults that its life met: see Program.excuse
  - when all is healed: every node is up, and holds no page, space, channel, open file or process; after the end no namespace, mount,
    interface or process is left, and no removed file is kept
"""
import glob, json, os, random, re, resource, signal, subprocess, sys, time

sys.dont_write_bytecode = True
import evidence

LEGO, SYS, TMP, HOME = (os.environ[k] for k in ("LEGO", "SYS", "TMP", "LEGO_HOME"))
SECONDS = float(os.environ.get("LEGO_TEST_SECONDS", "5"))
SEED = int(os.environ.get("LEGO_TEST_SEED", "0")) or int.from_bytes(os.urandom(3), "little") + 1
FAULTS = [f for f in os.environ.get("LEGO_TEST_FAULT", "kill,stop,cut").split(",") if f in ("kill", "stop", "cut")]
GENTLE = "LEGO_TEST_SECONDS" not in os.environ  # in every test run: what no program may notice, but that it waits
AT_ONCE = 8
LEASE = 2.0
MEMORY_LEASE = 1.0  # of a processor node's spaces at memory nodes, which is 10 s by default
rnd = random.Random(SEED)
start = time.monotonic()
failures = []


def now():
    return time.monotonic() - start


def log(text):
    with open(f"{TMP}/chaos.log", "a") as f:
        f.write(f"{now():7.2f} {text}\n")


def fail(text):
    log("FAIL " + text)
    failures.append(text)
    print(f"{now():.1f} s: {text}", flush=True)


def soon(seconds, test):
    end = time.monotonic() + seconds
    while True:
        got = test()
        if got or time.monotonic() > end:
            return got
        time.sleep(0.1)


def output(*argv, **kw):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **kw).stdout


# ---- hosts

class Hosts:
    """Network namespaces, a wire each into one switch. Without the right to make them all daemons are on this host and no wire is cut."""
    def __init__(self, n):
        self.tag, self.n, self.real = f"lc{os.getpid()}", n, False
        self.switch = f"{self.tag}s"
        if os.getuid():
            return
        self.real = self.ip("link", "add", self.switch, "type", "bridge") and self.ip("link", "set", self.switch, "up")
        for h in range(1, n + 1):
            self.real = self.real and self.make(h)
        if not self.real:
            self.end()

    def ip(self, *words):
        return subprocess.run(("ip",) + words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def make(self, h):
        ns = f"{self.tag}{h}"
        return (self.ip("netns", "add", ns) and self.ip("link", "add", f"{self.tag}-{h}", "type", "veth", "peer", "name", "wire", "netns", ns)
                and self.ip("link", "set", f"{self.tag}-{h}", "master", self.switch, "up") and self.ip("-n", ns, "link", "set", "lo", "up")
                and self.ip("-n", ns, "link", "add", "br0", "type", "bridge") and self.ip("-n", ns, "link", "set", "wire", "master", "br0", "up")
                and self.ip("-n", ns, "addr", "add", f"10.78.0.{h}/24", "dev", "br0") and self.ip("-n", ns, "link", "set", "br0", "up"))

    def on(self, h):
        return ["ip", "netns", "exec", f"{self.tag}{h}"] if self.real else []

    def addr(self, h):
        return f"10.78.0.{h}" if self.real else "127.0.0.1"

    def cut(self, h, on):
        self.ip("link", "set", f"{self.tag}-{h}", "down" if on else "up")

    def end(self):
        for h in range(1, self.n + 1):
            self.ip("netns", "del", f"{self.tag}{h}")
        self.ip("link", "del", self.switch)


# ---- daemons

class Daemon:
    def __init__(self, cluster, name, host):
        self.cluster, self.name, self.host, self.proc = cluster, name, host, None
        self.kind = {"g": "gm", "p": "pd", "m": "md", "s": "sd"}[name[0]]
        self.faults = []  # [what, from, to or None, all that was to have a standby had one]

    def start(self):
        c = self.cluster
        r, w = os.pipe()
        self.proc = subprocess.Popen(c.hosts.on(self.host) + [LEGO, self.kind, "--conf", c.conf(self.host), "--name", self.name, "--ready-fd", str(w)],
                                     stdin=subprocess.DEVNULL, stdout=open(f"{TMP}/{self.name}.log", "a"), stderr=subprocess.STDOUT, pass_fds=(w,), cwd=TMP,
                                     env=dict(os.environ, LEGO_CONF=c.conf(self.host)), start_new_session=True)
        os.close(w)
        os.set_blocking(r, False)
        self.ready = r

    def is_ready(self):
        if self.ready is None:
            return True
        try:
            said = os.read(self.ready, 200)
        except BlockingIOError:
            return False
        os.close(self.ready)
        self.ready = None
        return bool(said)

    def died(self):
        return self.proc is not None and self.proc.poll() is not None

    def kill(self):
        self.proc.kill()
        self.proc.wait()
        self.proc = None
        if self.ready is not None:
            os.close(self.ready)
            self.ready = None


class Cluster:
    LAYOUT = {"gm0": 1, "s0": 1, "p0": 2, "m0": 2, "p1": 3, "m1": 3, "m2": 4, "s1": 5}

    def __init__(self):
        self.hosts = Hosts(5)
        self.daemons = {n: Daemon(self, n, h) for n, h in self.LAYOUT.items()}
        with open(f"{TMP}/key", "wb") as f:
            f.write(os.urandom(32))
        os.chmod(f"{TMP}/key", 0o600)
        os.mkdir(f"{TMP}/d")
        self.port = 7700 if self.hosts.real else free_port()
        for h in range(1, 6):
            with open(self.conf(h), "w") as f:
                f.write(f"""[cluster]
name = rack
manager = tcp:{self.hosts.addr(1)}:{self.port}
key = {TMP}/key
data = {TMP}/d
run = {TMP}/r{h if self.hosts.real else ''}
[manager]
log-format = json
beat-ms = 200
lease-ms = {int(LEASE * 1000)}
gmm = round-robin
[memory]
log-format = json
memory = 1G
lease-ms = {int(MEMORY_LEASE * 1000)}
[storage]
log-format = json
[processor]
log-format = json
excache = 4M
""" + ("bridge = br0\n" if self.hosts.real else ""))
            os.makedirs(f"{TMP}/r{h if self.hosts.real else ''}", exist_ok=True)

    def conf(self, h):
        return f"{TMP}/h{h}.conf"

    def lego(self, h, *words, limit=20):
        try:
            return subprocess.run(self.hosts.on(h) + [LEGO] + list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, env=dict(os.environ, LEGO_CONF=self.conf(h)), timeout=limit)
        except subprocess.TimeoutExpired as e:
            return subprocess.CompletedProcess(words, 124, "", f"no end within {limit} s")

    def status(self):
        r = self.lego(1, "status", "--json")
        return json.loads(r.stdout) if r.returncode == 0 else None

    def up(self):
        for d in self.daemons.values():
            d.start()
            if d.name in ("gm0", "s1") and not soon(10, d.is_ready):
                fail(f"{d.name} does not start")
        if not soon(15, lambda: all(d.is_ready() for d in self.daemons.values())) or not soon(10, self.all_up):
            fail(f"the cluster does not start: {self.states()}")
        for name, s in ("red", "s0"), ("blue", "s1"):
            words = ["vnode", "create", name, "--storage", s] + (["--net", "host"] if not self.hosts.real else ["--ip", "10.78.1.0" if name == "red" else "10.78.2.0"])
            r = self.lego(1, *words)
            if r.returncode:
                fail(f"vnode create {name}: {r.stderr}")

    def states(self):
        s = self.status()
        return s and {c["id"]: c["state"] for c in s["components"]}

    def all_up(self):
        s = self.states()
        return s is not None and len(s) == len(self.daemons) and all(v == "up" for v in s.values())

    def end(self):
        for d in self.daemons.values():
            if d.proc:
                d.proc.terminate()
        for d in self.daemons.values():
            if not d.proc:
                continue
            try:
                if d.proc.wait(10) and d.proc.returncode != 0:
                    fail(f"{d.name} ended with status {d.proc.returncode}")
            except subprocess.TimeoutExpired:
                fail(f"{d.name} does not end at SIGTERM")
                d.proc.kill()


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- programs

SQLITE = """
import sqlite3, sys, time
end = time.monotonic() + float(sys.argv[1])
db = sqlite3.connect('t.db')
db.execute('create table if not exists t(k integer primary key, v integer, s text)')
n = db.execute('select count(*) from t').fetchone()[0]
while time.monotonic() < end:
    with db:
        for i in range(20):
            db.execute('insert into t values(?, ?, ?)', (n, n * n, 'x' * (n % 300)))
            n += 1
    assert db.execute('select count(*), coalesce(sum(v), 0) from t').fetchone() == (n, sum(i * i for i in range(n))), 'WRONG'
assert db.execute('pragma integrity_check').fetchone() == ('ok',), 'WRONG'
print('sqlite ok')
"""
SOCKETS = """
import hashlib, os, socket, sys, threading, time
end = time.monotonic() + float(sys.argv[1])
s = socket.socket()
s.bind(('127.0.0.1', 0))
s.listen(8)
def serve():
    while True:
        c, _ = s.accept()
        threading.Thread(target=echo, args=(c,), daemon=True).start()
def echo(c):
    while (b := c.recv(65536)):
        c.sendall(b)
threading.Thread(target=serve, daemon=True).start()
n = 0
while time.monotonic() < end:
    c = socket.create_connection(s.getsockname())
    for k in range(20):
        body = hashlib.sha256(str(n).encode()).digest() * (1 + n % 200)
        n += 1
        c.sendall(body)
        got = b''
        while len(got) < len(body):
            got += c.recv(65536)
        assert got == body, 'WRONG'
    c.close()
print('sockets ok')
"""
SHARED = """
import mmap, os, struct, sys, time
end = time.monotonic() + float(sys.argv[1])
m = mmap.mmap(-1, 4 << 20)
n = 0
while time.monotonic() < end:
    pids = []
    for k in range(3):
        pid = os.fork()
        if not pid:
            for at in range(k * 4096, len(m), 3 * 4096):
                v, = struct.unpack_from('<Q', m, at)
                if v != n * 77 + (k if n else 0):
                    os.write(2, b'WRONG at %d: %d in round %d' % (at, v, n))
                    os._exit(9)
                struct.pack_into('<Q', m, at, (n + 1) * 77 + k)
            os._exit(0)
        pids.append(pid)
    for p in pids:
        assert os.waitpid(p, 0)[1] == 0, 'a child ended badly'
    n += 1
print('shared ok')
"""
TREE = """
set -o pipefail # a child that ended with LegoOS's message is no wrong byte
end=$(($(date +%s) + $1)); n=0
while [ $(date +%s) -lt $end ]; do
  n=$((n + 1)); mkdir d.$n || exit 3
  for i in 1 2 3; do seq $((n * i)) >d.$n/f.$i || exit 4; done
  mv d.$n e.$n && cp -r e.$n c.$n || exit 5
  s=$(cat c.$n/f.* | cksum) || exit 8
  t=$( (for i in 1 2 3; do seq $((n * i)) || exit 1; done) | cksum) || exit 9
  [ "$s" = "$t" ] || { echo "WRONG: $s, not $t"; exit 6; }
  (rm -r e.$n c.$n) & wait $! || exit 7
done
echo tree ok
"""

KINDS = {  # what to run in a directory of its own, what it says in the end
    "memory": (lambda s: [f"{SYS}/failover", str(s), "8"], "all right"),
    "big": (lambda s: [f"{SYS}/failover", str(s), "24"], "all right"),
    "mix": (lambda s: [f"{SYS}/mix", str(s), "8"], "wrong 0"),
    "sqlite": (lambda s: ["python3", "-c", SQLITE, str(s)], "sqlite ok"),
    "sockets": (lambda s: ["python3", "-c", SOCKETS, str(s)], "sockets ok"),
    "shared": (lambda s: ["python3", "-c", SHARED, str(s)], "shared ok"),
    "tree": (lambda s: ["bash", "-c", TREE, "tree", str(s)], "tree ok"),
    "durable": (lambda s: ["timeout", str(s), f"{SYS}/durable", "write", "records", "1"], None),
}


class Program:
    count = 0

    def __init__(self, cluster, kind):
        Program.count += 1
        self.n, self.kind, self.cluster = Program.count, kind, cluster
        self.node = rnd.choice(["p0", "p1"])
        self.vnode = rnd.choice(["red", "blue"])
        self.replicas = 0 if GENTLE else rnd.randrange(2)
        self.seconds = rnd.choice([2, 3, 5])
        self.base = f"{TMP}/prog.{self.n}"
        self.began, self.ended = now(), None
        self.dir = f"/var/tmp/chaos/{self.n}"
        h = cluster.daemons[self.node].host
        argv, self.says = KINDS[kind][0](self.seconds), KINDS[kind][1]
        words = ["run", "--vnode", self.vnode, "--node", self.node, "--excache", rnd.choice(["1M", "2M"]) if argv[0][0] == "/" else "24M"]
        words += ["--replicas", "1"] if self.replicas else []
        words += ["--", "bash", "-c", 'mkdir -p "$1" && cd "$1" || exit 99; echo begun >&2; shift; exec "$@"', "chaos", self.dir] + argv
        self.out, self.err = open(self.base + ".out", "w+"), open(self.base + ".err", "w+")
        self.proc = subprocess.Popen(cluster.hosts.on(h) + [LEGO] + words, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err,
                                     env=dict(os.environ, LEGO_CONF=cluster.conf(h), **({} if GENTLE else {"LEGO_DEBUG": "1"})), cwd="/", start_new_session=True)
        log(f"program {self.n} {kind} on {self.node}, vNode {self.vnode}, {self.replicas} replicas, {self.seconds} s")

    def limit(self):
        return self.seconds + 60

    def done(self):
        if self.proc.poll() is None and now() - self.began > self.limit():
            fail(f"{self} has not ended after {self.limit():.0f} s; it says: {self.text()}")
            log(output("ps", "-eo", "pid,ppid,stat,wchan:20,etimes,args"))
            pds = [d.proc.pid for d in self.cluster.daemons.values() if d.kind == "pd" and d.proc]
            evidence.keep(f"{TMP}/stuck.{self.n}", self.proc.pid, pds, f"{TMP}/d", lambda: json.dumps(self.cluster.status(), indent=1))
            if os.environ.get("LEGO_CHAOS_HOLD"):
                time.sleep(float(os.environ["LEGO_CHAOS_HOLD"]))
            os.killpg(self.proc.pid, signal.SIGKILL)
            self.proc.wait()
            self.ended = now()
            return True
        if self.proc.poll() is None:
            return False
        self.ended = now()
        self.judge()
        return True

    def __str__(self):
        return f"program {self.n} ({self.kind} on {self.node}, vNode {self.vnode}, replicas {self.replicas}, from {self.began:.1f} s)"

    def text(self):
        self.out.seek(0), self.err.seek(0)
        return f"stdout '{self.out.read()[-300:].strip()}', stderr '{self.err.read()[-700:].strip()}'"

    def judge(self):
        code = self.proc.returncode
        self.out.seek(0), self.err.seek(0)
        out, err = self.out.read(), self.err.read()
        lines = out.split()
        if self.says:
            right = code == 0 and out.strip().endswith(self.says)
        else:  # ended by timeout(1), after some records unless it was kept waiting
            right = code == 124 and (lines or any(self.met(n) for n in self.cluster.daemons))
        log(f"program {self.n} {self.kind} ended: {code} {'right' if right else self.text()}")
        if right:
            return
        if re.search(r"WRONG|is wrong|wrong [1-9]|LEGO_CHECK|monitor fault|is not whole|lacks the line|lost the mapping", out + err):
            fail(f"{self} saw what it must not: status {code}, {self.text()}")
            return
        why = self.excuse(code, err)
        if why:
            log(f"program {self.n}: {why}")
        else:
            fail(f"{self} ended with status {code} after {self.ended - self.began:.1f} s; nothing allows that: {self.text()}")

    def met(self, name, what=None, back=0.5):
        """Faults of the daemon, or of its host's wire, that this life met."""
        return [f for f in self.cluster.daemons[name].faults
                if (what is None or f[0] in what) and f[1] < self.ended and (f[2] is None or f[2] + back > self.began)]

    def excuse(self, code, err):
        """Why such an end is allowed, or None."""
        if code == 0:
            return None
        begun = "begun" in err
        said = re.search("lego: (?!system call)", err) # what LEGO_DEBUG adds says nothing
        names = list(self.cluster.daemons)
        if not begun:  # LegoOS says in one line why a program was not started
            return "was not started" if said and any(self.met(n, back=LEASE + 3) for n in names) else None
        if self.met(self.node, ("kill",)):
            return "its processor node died"
        if any((f[2] or now()) - f[1] >= 1.5 for f in self.met(self.node, ("cut",))):  # until lines break, and its memory is freed after a lease
            return "its processor node was cut off"
        memory = [f for n in names if n[0] == "m" for f in self.met(n, ("kill", "cut"), back=0)]
        if said and memory:  # those with a standby survive one failure at a time; the pagers of shared memory have one copy
            if not self.replicas or self.kind == "shared" or any(not f[3] for f in self.all_memory()):
                return "its memory node died"
        if said and memory and any((f[2] or now()) - f[1] >= MEMORY_LEASE for f in self.met(self.node, ("stop",))):
            return "its processor node stood still, and did not come to the new owner of its memory within a lease"
        storage = "s0" if self.vnode == "red" else "s1"
        if self.met(storage, ("cut",), back=3) or (self.kind == "shared" and self.met(storage, ("kill",), back=3)):
            return "its storage node was away"
        return None

    def all_memory(self):
        return [f for n in self.cluster.daemons if n[0] == "m" for f in self.met(n, back=LEASE + 1)]


# ---- faults

class Chaos:
    def __init__(self, cluster):
        self.cluster, self.open, self.next = cluster, [], 0.5  # open: [heal at, daemon, what, record]
        kinds = [k for k in FAULTS if k != "cut" or cluster.hosts.real]
        self.kinds = kinds

    def victims(self, d, what):
        """Who suffers: a wire takes all on the host."""
        return [x for x in self.cluster.daemons.values() if x.host == d.host] if what == "cut" else [d]

    def strike(self):
        what = rnd.choice(self.kinds) if self.kinds else None
        d = rnd.choice(list(self.cluster.daemons.values()))
        if not what or any(o[1] is d or d in self.victims(o[1], o[2]) for o in self.open) or len(self.open) >= 2 or d.proc is None:
            return
        whole = not self.open and self.cluster.all_up()
        if any(v.name[0] == "m" for v in self.victims(d, what)) and not whole and rnd.random() < 0.8:
            return
        if GENTLE and (what == "cut" or what == "kill" and d.name[0] in "mp"):
            return
        length = rnd.choice([0.1, 0.3] if GENTLE else [0.1, 0.3, 1, 2, 3.5])
        record = [what, now(), None, whole]
        log(f"{what} {d.name}{' and all on its host' if what == 'cut' else ''} for {length} s")
        for v in self.victims(d, what):
            v.faults.append(record)
        if what == "kill":
            d.kill()
        elif what == "stop":
            d.proc.send_signal(signal.SIGSTOP)
        else:
            self.cluster.hosts.cut(d.host, True)
        self.open.append([now() + length, d, what, record])

    def heal(self, one):
        _, d, what, record = one
        log(f"heal {what} {d.name}")
        if what == "kill":
            d.start()
        elif what == "stop":
            d.proc.send_signal(signal.SIGCONT)
        else:
            self.cluster.hosts.cut(d.host, False)
        record[2] = now()

    def step(self, last=False):
        for one in [o for o in self.open if last or o[0] <= now()]:
            self.open.remove(one)
            self.heal(one)
        if not last and now() >= self.next:
            self.strike()
            self.next = now() + rnd.uniform(0.2, 2.0)
        for d in self.cluster.daemons.values():
            if d.died():
                fail(f"{d.name} ended by itself with status {d.proc.returncode}: {tail(f'{TMP}/{d.name}.log')}\n{cores()}")
                d.start()
            d.is_ready() if d.proc else None


def cores():
    """Where it was when it crashed, with gdb and a core in the working directory."""
    return "".join(output("gdb", "-batch", "-nx", "-ex", "bt 12", LEGO, c)[-3000:] for c in glob.glob(f"{TMP}/core*")) if os.path.exists("/usr/bin/gdb") else ""


def tail(path, n=6):
    with open(path, errors="replace") as f:
        return " | ".join(f.read().splitlines()[-n:])


# ---- the end

def held(status):
    """What nodes still hold, in words; empty: nothing."""
    said = [f"{c['id']} {k} {c[k]}" for c in status["components"] if c["kind"] != "manager"
            for k in ("channels", "spaces", "open_files") + (("used_bytes",) if c["kind"] == "memory" else ()) if c[k]]
    return said + [f"process {p['pid']} {p['command']} on {p['node']}" for p in status["processes"]]


def settled(cluster):
    s = cluster.status()
    return s is not None and cluster.all_up() and not held(s)


def kept_files():
    """Of the private layers: what programs or removals left."""
    found = []
    for d, dirs, files in os.walk(f"{TMP}/d"):
        if re.search(r"/(orphan|orphans|tmp|work)$", d):
            found += [os.path.join(d, f) for f in files + dirs]
        if "/var/tmp/chaos/" in d:
            found += [d]
    return found


def of_this_test():
    """Processes with our LEGO_HOME in their environment, but for ourselves."""
    found = []
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/environ", "rb") as f:
                ours = f"LEGO_HOME={HOME}".encode() in f.read().split(b"\0")
            with open(f"/proc/{p}/cmdline", "rb") as f:
                words = f.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if ours and int(p) not in (os.getpid(), os.getppid()) and "chaos.sh" not in words:
            found.append(f"{p} {words[:100]}")
    return found


def host_things():
    """Interfaces and mounts of this host."""
    links = [l.split()[1].rstrip(":").split("@")[0] for l in output("ip", "-o", "link").splitlines()]
    with open("/proc/self/mounts") as f:
        mounts = [l.split()[1] for l in f]
    return {("interface", l) for l in links if l.startswith(f"lc{os.getpid()}")} | {("mount", m) for m in mounts if HOME in m or TMP in m}


def play(cluster):
    chaos, running, order = Chaos(cluster), [], list(KINDS)
    rnd.shuffle(order)
    first = now()
    chaos.next += first
    while now() - first < SECONDS and len(failures) < 5:
        while len(running) < AT_ONCE:
            running.append(Program(cluster, order[Program.count % len(order)]))
        running = [p for p in running if not p.done()]
        chaos.step()
        time.sleep(0.02)
    chaos.step(last=True)
    log("healed; the last programs end")
    while running:
        running = [p for p in running if not p.done()]
        chaos.step(last=True)
        time.sleep(0.05)
    return Program.count


def look_around(cluster):
    if not soon(30, cluster.all_up):
        fail(f"not all nodes are up again: {cluster.states()}")
    for v in "red", "blue":
        r = cluster.lego(2, "run", "--vnode", v, "--node", "p0", "--", "rm", "-rf", "/var/tmp/chaos", limit=40)
        if r.returncode:
            fail(f"vNode {v} is not usable in the end: {r.returncode} {r.stderr}")
    if not soon(20, lambda: settled(cluster)):
        s = cluster.status()
        fail(f"something is held when no program runs: {s and held(s)}")


def main():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    before = host_things()
    cluster = Cluster()
    log(f"seed {SEED}")
    programs = 0
    try:
        cluster.up()
        if not failures:
            programs = play(cluster)
            look_around(cluster)
    finally:
        for d in cluster.daemons.values():
            if d.proc:
                d.proc.send_signal(signal.SIGCONT)
        cluster.end()
        soon(5, lambda: not of_this_test())
        left = of_this_test()
        cluster.hosts.end()
    if left:
        fail(f"left running: {left}")
        for p in left:
            os.kill(int(p.split()[0]), signal.SIGKILL)
    if kept_files():
        fail(f"files are left: {kept_files()[:5]}")
    soon(15, lambda: not host_things() - before)
    if host_things() - before:
        fail(f"left on the host: {sorted(host_things() - before)}")
    faults = sum(len(d.faults) for d in cluster.daemons.values())
    print(f"seed {SEED}: {programs} programs, {faults} faults met by daemons, {len(failures)} failures")
    if failures:
        keep = os.environ.get("LEGO_TEST_KEEP")
        if keep:
            subprocess.run(["cp", "-r", TMP, keep])
        print(tail(f"{TMP}/chaos.log", 40).replace(" | ", "\n"))
    return 1 if failures else 0


sys.exit(main())
