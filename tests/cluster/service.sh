# Daemons under a service manager: they say when they are ready, alive and stopping; one that hangs is not said to be alive; and a daemon
# that is told to stop leaves the cluster at once instead of being missed for a lease.
# timeout: 60
. "$TOP/tests/cluster/lib.sh"
up -m 1
cat >watch.py <<'PY'
import os, signal, socket, subprocess, sys, time
lego, home, cluster = sys.argv[1:]
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind(home + "/notify")
sock.settimeout(10)
env = dict(os.environ, NOTIFY_SOCKET=home + "/notify", WATCHDOG_USEC="300000")
d = f"{home}/{cluster}"
p = subprocess.Popen([lego, "md", "--name", "m7", "--listen", f"unix:{d}/m7.sock", "--gm", f"unix:{d}/gm0.sock", "--key", f"{d}/key", "--memory", "64M"], env=env)
said = []
while not any(s.startswith("READY=1\n") for s in said) or said.count("WATCHDOG=1") < 3:
    said.append(sock.recv(200).decode())
def components():
    import json
    return [c["id"] for c in json.loads(subprocess.check_output([lego, "status", "--cluster", cluster, "--json"]))["components"]]
assert "m7" in components(), components()
p.send_signal(signal.SIGSTOP)
while open(f"/proc/{p.pid}/stat").read().rsplit(")", 1)[1].split()[0] != "T":
    time.sleep(0.01)
sock.setblocking(False)
try:
    while True:
        sock.recv(200)
except BlockingIOError:
    pass
time.sleep(0.5)
try:
    sys.exit("a stopped daemon says " + sock.recv(200).decode())
except BlockingIOError:
    pass
p.send_signal(signal.SIGCONT)
sock.setblocking(True)
sock.settimeout(10)
p.send_signal(signal.SIGTERM)
if p.wait(10):
    sys.exit(f"exit status {p.returncode}")
while sock.recv(200) != b"STOPPING=1":
    pass
deadline = time.monotonic() + 5
while "m7" in components():
    if time.monotonic() > deadline:
        sys.exit("m7 stays in the cluster after it left")
    time.sleep(0.05)
PY
try 50 python3 watch.py "$LEGO" "$LEGO_HOME" "$cluster"
expect_status 0
# a program's process does not inherit what speaks for its node
try 20 env NOTIFY_SOCKET="$LEGO_HOME/notify" "$LEGO" run --cluster "$cluster" -- true
expect_status 0
# the units are what systemd understands
if command -v systemd-analyze >/dev/null; then
	mkdir units
	for d in gm pd md sd; do
		sed "s|@LEGO@|$LEGO|" "$TOP/packaging/lego-$d@.service" >"units/lego-$d@.service"
		try 20 systemd-analyze verify --man=no "$PWD/units/lego-$d@.service"
		[ "$status" = 0 ] && ! grep "lego-$d" "$err" || fail "lego-$d@.service: $(cat "$err")"
	done
fi
