# What an operator sees: /metrics and /healthz of every daemon, lego events, lego top, logs as JSON.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
up -p 1 -m 2
dir=$LEGO_HOME/$cluster
cat >get.py <<'PY'
import socket, sys, time
def connected(path):
    end = time.monotonic() + 5
    while True:
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        try:
            s.connect(path)
            return s
        except BlockingIOError: # so many wait already
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
def get(path, raw):
    s = connected(path)
    s.sendall(raw)
    got = b""
    while True:
        b = s.recv(65536)
        if not b:
            return got.decode()
        got += b
if __name__ == "__main__":
    got = get(sys.argv[1], f"GET {sys.argv[2]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, body = got.split("\r\n\r\n", 1)
    assert f"Content-Length: {len(body)}\r\n" in head + "\r\n", head
    print(head.split()[1])
    print(body, end="")
PY
cat >promcheck.py <<'PY'
import re, sys
types, seen, last = {}, set(), None
for line in sys.stdin.read().splitlines()[1:]:
    if m := re.fullmatch(r"# HELP ([a-z_]+) (\S.*)", line):
        assert m[1] not in types, f"twice: {m[1]}"
        last = m[1]
    elif m := re.fullmatch(r"# TYPE ([a-z_]+) (counter|gauge)", line):
        assert m[1] == last
        types[last] = m[2]
    else:
        m = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? ([0-9.e+-]+)', line)
        assert m, line
        assert m[1] == last and m[1] in types, line
        assert (types[m[1]] == "counter") == m[1].endswith("_total"), line
        assert (m[1], m[2]) not in seen, line
        seen.add((m[1], m[2]))
        float(m[4])
for want in sys.argv[1:]:
    assert want in types, f"no {want}"
PY
run 30 --excache 4M -- /usr/bin/python3 -c 'b = bytearray(24 << 20)
for i in range(3):
    for j in range(0, len(b), 4096):
        b[j] = i'
expect_status 0
for k in gm0 p0 m0 m1 s0; do
	try 10 python3 get.py "$dir/$k.http" /healthz
	[ "$(tr '\n' ' ' <"$out")" = "200 ok " ] || fail "$k is not well: $(cat "$out" "$err")"
	try 10 python3 get.py "$dir/$k.http" /metrics
	more=lego_manager_connected
	[ $k != gm0 ] || more=lego_components
	python3 promcheck.py lego_info process_cpu_seconds_total process_resident_memory_bytes lego_messages_total lego_received_bytes_total $more <"$out" ||
		fail "$k: $(head -c 600 "$out")"
done
value() { # value NODE 'NAME{LABELS}'
	python3 get.py "$dir/$1.http" /metrics | awk -v n="$2" '$1 == n {printf "%.0f", $2}'
}
some_fetches() {
	[ "$(value p0 lego_fetches_total)" -gt 1000 ] && [ "$(value p0 lego_misses_total)" -ge "$(value p0 lego_fetches_total)" ]
}
soon 10 some_fetches || fail "p0 counts $(value p0 lego_misses_total) misses, $(value p0 lego_fetches_total) fetches"
[ "$(($(value m0 'lego_messages_total{op="MEM_FETCH"}') + 0$(value m1 'lego_messages_total{op="MEM_FETCH"}')))" -gt 300 ] || fail "m0 counts no fetches"
[ "$(value gm0 'lego_components{kind="memory",state="up"}')" = 2 ] || fail "gm0 counts other memory nodes than 2"
try 10 python3 get.py "$dir/m0.http" /other
head -1 "$out" | grep -qx 404 || fail "/other: $(cat "$out")"
# what is no request, or none that ends, keeps nobody out
timeout 30 python3 - "$dir/m0.http" <<'PY' || fail "/metrics under fire"
import socket, sys
from get import get
def expect(raw, code):
    got = get(sys.argv[1], raw)
    assert got.split()[1:2] == [code], (raw[:30], got[:80])
expect(b"POST /metrics HTTP/1.1\r\n\r\n", "405")
expect(b"x" * 8000, "400")
expect(b"GET /me\0trics HTTP/1.1\r\n", "400")
silent = []
for i in range(40):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.send(b"GET /met")
    silent.append(s)
expect(b"GET /healthz HTTP/1.1\r\n\r\n", "200")
expect(b"HEAD /metrics HTTP/1.1\r\n\r\n", "200")
silent[-1].settimeout(8)
assert silent[-1].recv(10) == b"", "a caller who says nothing is never dropped"
PY
# events: what was, and with -f what comes
"$LEGO" events -f --cluster "$cluster" >events 2>&1 </dev/null &
follower=$!
soon 10 grep -q 'm1 joined: at unix:' events || fail "events: $(cat events)"
"$LEGO" vnode --cluster "$cluster" create red >/dev/null
soon 10 grep -q 'red vNode made' events || fail "no event of the vNode: $(cat events)"
kill -9 "$(component_pid m1)"
soon 10 grep -q 'm1 is down: its connection broke' events || fail "no event of m1's end: $(cat events)"
kill $follower
"$LEGO" events --json --cluster "$cluster" | jq -es 'map(.what) | index("joined") != null and index("is down") != null' >/dev/null || fail "events --json: $("$LEGO" events --json --cluster "$cluster" | head -c 600)"
python3 get.py "$dir/gm0.http" /metrics | grep -q '^lego_components{kind="memory",state="down"} 1$' || fail "gm0 does not count m1 as down"
# top: rates between two looks
"$LEGO" run --cluster "$cluster" --excache 6M -- /usr/bin/python3 -c 'b = bytearray(16 << 20)
while True:
    for j in range(0, len(b), 4096):
        b[j] = 1' >/dev/null 2>&1 </dev/null &
burner=$!
misses_shown() {
	"$LEGO" top -b -n 2 --cluster "$cluster" >page 2>&1 && grep -q python3 page && awk '$1 == "p0" && $3 == "up" && $7 > 100 {found = 1} END {exit !found}' <(sed 's/ [KMG]iB//g; s/ B / /g' page)
}
soon 2 misses_shown || fail "top shows no misses: $(cat page)" # a try takes a second and more
grep -q "^red " page || fail "top does not show the vNode: $(cat page)"
TERM=xterm timeout 20 script -qec "$LEGO top -n 2 --cluster $cluster" /dev/null </dev/null >screen || fail "top on a terminal: $(tail -c 300 screen)"
grep -q "lego top" screen || fail "top draws nothing: $(head -c 300 screen)"
kill $burner
wait $burner 2>/dev/null
# a node that the manager does not hear says so
kill -9 "$(component_pid gm0)"
unheard() {
	python3 get.py "$dir/m0.http" /healthz | head -1 | grep -qx 503
}
soon 10 unheard || fail "m0 is well without a manager"
# logs
timeout 5 "$LEGO" md --name 'm"9' --listen "unix:$dir/m9.sock" --gm "unix:$dir/nobody.sock" --key "$dir/key" --memory 8M --log-format json 2>json.log &
soon 5 grep -q message json.log
kill $!
jq -e '.level == "warning" and .node == "m\"9" and (.message | test("no manager")) and (.time | test("^20.*Z$"))' json.log >/dev/null || fail "log: $(cat json.log)"
