# Seven daemons on five hosts (network namespaces joined by a bridge): one lego.conf, one command a node. The programs of two vNodes run at once;
# each vNode's ps, /proc/meminfo, hostname, address and files are its own, on every host; kill and sockets cross hosts. All that the daemons say is
# encrypted.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
[ "$(id -u)" = 0 ] && ip netns list >/dev/null 2>&1 || {
	echo "skipped: hosts of its own need root and ip netns"
	exit 77
}
cluster=rack
tag=lh$$
switch=${tag}sw
export LEGO_CONF=$TMP/lego.conf
etcd=
end_all() {
	local pids h
	pids=$(on 1 status --json 2>/dev/null | jq '.components[].pid')
	[ -z "$pids" ] || kill $pids 2>/dev/null
	trap - EXIT
	pkill -f "$TMP/h2.con[f] --name gm1"
	[ -z "$etcd" ] || { sleep 0.5; kill "$etcd"; wait "$etcd"; } 2>/dev/null
	LEGO_CONF= nothing_left
	for h in 1 2 3 4 5; do
		ip netns del "$tag$h" 2>/dev/null
	done
	ip link del "$switch" 2>/dev/null
	[ $failures = 0 ] || exit 1
}
trap end_all EXIT
# A host: a namespace with a bridge of its own that its wire and the vNodes' networks join.
make_host() {
	local h=$1
	ip netns add "$tag$h" &&
		ip link add "$tag-$h" type veth peer name wire netns "$tag$h" &&
		ip link set "$tag-$h" master "$switch" up &&
		ip -n "$tag$h" link set lo up &&
		ip -n "$tag$h" link add br0 type bridge &&
		ip -n "$tag$h" link set wire master br0 up &&
		ip -n "$tag$h" addr add 10.77.0.$h/24 dev br0 &&
		ip -n "$tag$h" link set br0 up
}
ip link add "$switch" type bridge && ip link set "$switch" up && for h in 1 2 3 4 5; do make_host $h; done || {
	echo "skipped: this machine makes no network namespaces"
	exit 77
}
# on HOST lego's words: with that host's run directory, as on a host of its own. A script, for `timeout`.
cat >"$TMP/on" <<-SH
	#!/bin/sh
	h=\$1
	shift
	LEGO_CONF=$TMP/h\$h.conf exec ip netns exec "$tag\$h" "$LEGO" "\$@"
SH
chmod +x "$TMP/on"
on() {
	"$TMP/on" "$@"
}
managers=tcp:10.77.0.1:7700 store=sqlite
if command -v etcd >/dev/null; then # two managers, on hosts 1 and 2, with etcd on host 1
	managers="tcp:10.77.0.1:7700, tcp:10.77.0.2:7700" store=etcd://10.77.0.1:2379/rack
	ip netns exec "${tag}1" etcd --data-dir "$TMP/etcd" --listen-client-urls http://10.77.0.1:2379 --advertise-client-urls http://10.77.0.1:2379 \
		--listen-peer-urls http://10.77.0.1:2380 --initial-advertise-peer-urls http://10.77.0.1:2380 --initial-cluster default=http://10.77.0.1:2380 >"$TMP/etcd.log" 2>&1 </dev/null &
	etcd=$!
fi
head -c 32 /dev/urandom >"$TMP/key"
chmod 600 "$TMP/key"
mkdir "$TMP/d"
for h in 1 2 3 4 5; do # the file is the same but for what the namespaces share: the file system
	cat >"$TMP/h$h.conf" <<-CONF
		[cluster]
		name = rack
		manager = $managers
		key = $TMP/key
		data = $TMP/d
		run = $TMP/r$h
		encrypt = yes
		[manager]
		store = $store
		beat-ms = 200
		lease-ms = 2000
		gmm = round-robin
		[memory]
		memory = 256M
		[processor]
		excache = 8M
		bridge = br0
	CONF
done
add() {
	local h=$1
	shift
	try 20 "$TMP/on" "$h" node add "$@"
	expect_status 0
	[ $status = 0 ] || exit 1
}
add 1 manager gm0
add 1 storage
add 2 storage
add 2 memory
add 3 memory
add 3 processor
add 4 memory
add 5 processor
[ -z "$etcd" ] || add 2 manager gm1
[ "$(on 4 node list | grep -c ' up ')" = 8 ] || fail "nodes: $(on 4 node list)"
on 1 node list | grep -q '^m1 .*tcp:10.77.0.3:' || fail "m1 is not at its host's address: $(on 1 node list)"
# --- an image: from a host that has no storage node to both that have one, and a program over it on a third
if [ -x "$(dirname "$LEGO")/lego-image-reader" ]; then
	mkdir -p tree/bin
	cp "$(command -v busybox)" tree/bin/
	echo "from host 4" >tree/word
	on 4 image import little "$PWD/tree" >image.out 2>&1 && grep -q "on s0 s1" image.out || fail "no image: $(cat image.out)"
	on 5 vnode create pict --image little --storage s1 --net host || fail "no vNode over the image"
	[ "$(timeout 60 "$TMP/on" 5 run --vnode pict -w / -- /bin/busybox cat /word 2>&1 </dev/null)" = "from host 4" ] || fail "a program over the image does not see it"
fi
# --- two vNodes, each on both processor nodes
on 2 vnode create red --ip 10.77.1.0 --memory 128M --storage s0 || fail "no red"
on 2 vnode create blue --ip 10.77.2.0 --memory 192M --storage s1 || fail "no blue"
cat >see.py <<'PY'
import fcntl, os, socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ip = socket.inet_ntoa(fcntl.ioctl(s, 0x8915, struct.pack("256s", b"eth0"))[20:24])
mem = [l.split()[1] for l in open("/proc/meminfo") if l.startswith("MemTotal")][0]
name, mine, other = socket.gethostname(), sys.argv[1], sys.argv[2]
open(f"/root/{mine}", "w").write(name)
print(name, ip, mem, os.getpid(), flush=True)
deadline = time.monotonic() + 30
def theirs():
    return os.path.exists(f"/root/{other}") and open(f"/root/{other}").read()  # made first, then written
while not theirs():  # both hosts' programs of the vNode run at once, and see one tree
    if time.monotonic() > deadline:
        sys.exit(f"{mine} never saw {other}")
    time.sleep(0.05)
# what the other vNode's sibling wrote under the same name is not ours
assert theirs() == name
PY
there() { # there HOST VNODE OUT CMD...: in the background
	local h=$1 v=$2 to=$3
	shift 3
	on "$h" run --vnode "$v" -v "$PWD:/w:ro" -w /w -- "$@" >"$to" 2>&1 </dev/null &
	last=$!
}
jobs=
for v in red blue; do
	there 3 $v $v.3 python3 see.py a b
	jobs="$jobs $last"
	there 5 $v $v.5 python3 see.py b a
	jobs="$jobs $last"
done
for j in $jobs; do
	wait "$j" || fail "a program of two vNodes on two hosts failed: $(tail -n 3 red.3 red.5 blue.3 blue.5)"
done
check() { # check VNODE FIRST-IP MEMORY
	local seen
	seen=$(cat "$1.3" "$1.5" | awk '{print $1, $2, $3}' | sort | tr '\n' ' ')
	[ "$seen" = "$1 ${2}0 $3 $1 ${2}1 $3 " ] || fail "$1 sees: $seen"
	[ "$(cat "$1.3" "$1.5" | awk '{print int($4 / 65536)}' | sort -u | wc -l)" = 2 ] || fail "$1: pids are not of two shares: $(cat "$1.3" "$1.5")"
}
check red 10.77.1. 131072
check blue 10.77.2. 196608
# --- ps and kill cross hosts, and stay in the vNode
there 3 red sleeper sh -c 'echo $$; exec sleep 1234'
sleeper=$last
soon 15 grep -q '^[0-9]' sleeper || fail "no sleeper"
pid=$(cat sleeper)
listed() {
	on 5 run --vnode "$1" -- ps ax 2>/dev/null </dev/null | grep -q "^ *$pid .*sleep"
}
soon 15 listed red || fail "ps on host 5 does not show pid $pid of host 3"
listed blue && fail "blue's ps shows red's process"
try 20 "$TMP/on" 5 run --vnode blue -- sh -c "kill $pid"
[ "$status" != 0 ] || fail "blue kills red's process"
kill -0 $sleeper || fail "the sleeper is gone"
try 20 "$TMP/on" 5 run --vnode red -- sh -c "kill -TERM $pid"
expect_status 0
wait $sleeper
[ $? = 143 ] || fail "the sleeper did not end by SIGTERM from another host"
# --- sockets between the hosts, over the vNode's network
cat >server.py <<'PY'
import socket
s = socket.socket()
s.bind(("0.0.0.0", 7000))
s.listen()
print("listening", flush=True)
c, who = s.accept()
c.sendall(b"hello " + who[0].encode())
PY
there 3 red server python3 server.py
server=$last
soon 15 grep -q listening server || fail "no server: $(cat server)"
try 20 "$TMP/on" 5 run --vnode red -- python3 -c 'import socket
for ip in "10.77.1.0", "10.77.1.1":
    try:
        print(socket.create_connection((ip, 7000), 5).recv(100).decode())
    except OSError as e:
        pass'
grep -q 'hello 10.77.1' "$out" || fail "no socket from host to host: $(cat "$out" "$err" server)"
wait $server || fail "server: $(cat server)"
# --- a host's wire is cut: what is there is down, the rest goes on
ip link set "$tag-4" down
is_down() {
	on 1 node list | grep -q '^m2 .* down '
}
soon 10 is_down || fail "m2 behind a cut wire is not down: $(on 1 node list)"
ip link set "$tag-4" up
is_up() {
	on 1 node list | grep -q '^m2 .* up '
}
soon 15 is_up || fail "m2 does not come back: $(on 1 node list)"
try 20 "$TMP/on" 5 run --vnode blue -- sh -c 'cat /root/a'
[ "$(cat "$out")" = blue ] || fail "blue's file on host 5: $(cat "$out" "$err")"
# --- the manager that leads is killed: the one on the other host goes on with what it knew
if [ -n "$etcd" ]; then
	kill -9 "$(on 1 status --json | jq '.components[] | select(.id == "gm0") | .pid')"
	leads() {
		on 4 node list | grep -q '^gm1 .* up '
	}
	soon 15 leads || fail "gm1 does not lead: $(on 4 node list)"
	try 30 "$TMP/on" 3 run --vnode red -- sh -c 'hostname; cat /root/a'
	[ "$(xargs <"$out")" = "red red" ] || fail "under the other manager: $(cat "$out" "$err")"
	all_up() {
		[ "$(on 4 node list | grep -c ' up ')" = 8 ]
	}
	soon 15 all_up || fail "nodes under the other manager: $(on 4 node list)"
fi
