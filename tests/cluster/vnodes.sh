# vNodes: each with its own name, address, pids, memory, cores and files, over two pComponents; what is not allowed is refused with a reason.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
[ "$(id -u)" = 0 ] || {
	echo "skipped: a network of its own needs root"
	exit 77
}
up -p 2 -m 1 --memory 1G
vn() {
	try 10 "$LEGO" vnode --cluster "$cluster" "$@"
}
on() { # on VNODE [--node P] CMD...
	local v=$1 node=
	shift
	[ "$1" != --node ] || {
		node="--node $2"
		shift 2
	}
	run 30 --vnode "$v" $node -- "$@"
}
vn create red --memory 256M --cpus 1 --excache 32M
expect_status 0
mkdir "$TMP/image"
mkdir -p "$TMP/image/only-here"
for d in bin sbin lib lib64 usr etc; do
	[ -e "/$d" ] || continue
	if [ -L "/$d" ]; then ln -s "$(readlink "/$d")" "$TMP/image/$d"; else mkdir "$TMP/image/$d"; fi
done
vn create blue --ip 10.9.8.0
expect_status 0
vn create blue
expect 1 "exists already"
vn create green --ip 10.9.8.63
expect 1 "10.9.8.63.* another vNode"
vn create green --ip 10.9.8
expect 1 "green.*four numbers"
vn create green --storage s9
expect 1 "no storage node 's9'"
vn create green --image here
expect 1 "absolute path"
vn create pict --image "$TMP/image" --net host
expect_status 0
vn ls
grep -q red "$out" && grep -q 10.9.8.0 "$out" || fail "ls: $(cat "$out")"
vn inspect red
[ "$(jq -r '.memory_bytes, .cpus, .network' "$out" | tr '\n' ' ')" = "268435456 1 own " ] || fail "inspect: $(cat "$out")"
# what its programs see
red_ip=$(jq -r .ip "$out")
on red sh -c 'hostname; nproc; grep MemTotal /proc/meminfo; cat /proc/sys/kernel/hostname'
[ "$(tr -s ' \n' ' ' <"$out")" = "red 1 MemTotal: 262144 kB red " ] || fail "red sees: $(cat "$out" "$err")"
addresses='import socket, fcntl, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(socket.inet_ntoa(fcntl.ioctl(s, 0x8915, struct.pack("256s", b"eth0"))[20:24]), end=" ")'
for p in p0 p1; do
	on red --node $p python3 -c "$addresses"
	cat "$out" >>red.ips
	on blue --node $p python3 -c "$addresses"
	cat "$out" >>blue.ips
done
second=${red_ip%.*}.$((${red_ip##*.} + 1))
grep -q "$red_ip" red.ips && grep -q "$second" red.ips || fail "red's addresses: $(cat red.ips), not $red_ip and $second"
grep -q "10.9.8.0" blue.ips && grep -q "10.9.8.1" blue.ips || fail "blue's addresses: $(cat blue.ips)"
# files: one tree a vNode, seen from both pComponents, not by the other
on red sh -c 'echo mine >/root/red-file && mkdir /red-dir'
expect_status 0
for p in p0 p1; do
	on red --node $p cat /root/red-file
	grep -q mine "$out" || fail "red's file is not there: $(cat "$err")"
done
on blue sh -c 'cat /root/red-file || ls -d /red-dir'
[ "$status" != 0 ] || fail "blue sees red's files"
on pict /only-here
grep -q "not executable" "$err" || fail "the image is not the root: $(cat "$err")"
# sockets between the pComponents, and pids of one space
cat >server.py <<'PY'
import os, socket, sys
s = socket.socket()
s.bind(("0.0.0.0", 7000))
s.listen()
print("pid", os.getpid(), flush=True)
c, who = s.accept()
c.sendall(b"hello " + who[0].encode())
c.close()
PY
cat >client.py <<'PY'
import os, socket, sys, time
for i in range(100):
    for ip in sys.argv[1:]:
        try:
            print(socket.create_connection((ip, 7000), 0.5).recv(100).decode(), "pid", os.getpid())
            sys.exit(0)
        except OSError:
            time.sleep(0.05)
sys.exit("no answer")
PY
timeout 40 "$LEGO" run --cluster "$cluster" --vnode red --node p0 --excache 8M -v "$PWD:/w" -w /w -- python3 server.py >server.out 2>&1 </dev/null &
server=$!
soon 10 grep -q pid server.out
run 30 --vnode red --node p1 --excache 8M -v "$PWD:/w" -w /w -- python3 client.py "$red_ip" "$second"
grep -q "hello $red_ip\|hello $second" "$out" || fail "no socket between the pComponents: $(cat "$out" "$err" server.out)"
wait $server
a=$(awk '{print $2}' server.out) b=$(awk '{print $4}' "$out")
[ $((a / 65536)) != $((b / 65536)) ] || fail "pids $a and $b are of one pComponent's share"
# ps and kill reach over to the other pComponent
"$LEGO" run --cluster "$cluster" --vnode red --node p0 --excache 8M -- sh -c 'echo $$; exec sleep 1234' >sleeper.out 2>&1 </dev/null &
sleeper=$!
soon 10 grep -q '^[0-9]' sleeper.out
pid=$(cat sleeper.out)
for i in $(seq 30); do
	on red --node p1 ps ax
	grep -q "^ *$pid .*sleep" "$out" && break
	sleep 0.1
done
grep -q "^ *$pid .*sleep" "$out" || fail "ps on p1 does not show pid $pid of p0: $(cat "$out" "$err")"
on blue --node p1 sh -c "ps ax | grep -v grep | grep sleep; kill $pid"
[ "$status" != 0 ] && ! grep -q "sleep" "$out" || fail "blue sees or kills red's process: $(cat "$out" "$err")"
on red --node p1 sh -c "kill -0 $pid && cat /proc/$pid/comm && kill -TERM $pid"
grep -q sleep "$out" && [ "$status" = 0 ] || fail "kill from p1: status $status, $(cat "$out" "$err")"
wait $sleeper
[ $? = 143 ] || fail "the sleeper did not end by SIGTERM"
on red --node p1 sh -c "kill -0 $pid"
[ "$status" != 0 ] || fail "a dead process of p0 can be signalled"
on red --node p9 true
expect 125 "no processor node.*p9"
# quotas
run 20 --vnode red --excache 64M -- true
expect 125 "vNode red may have 32 MiB of ExCache"
on red python3 -c 'bytearray(400 << 20)'
grep -q MemoryError "$err" || fail "400 MiB in a vNode of 256 MiB: status $status, $(tail -2 "$err")"
# removal
"$LEGO" run --cluster "$cluster" --vnode red --excache 8M -- sleep 100 >/dev/null 2>&1 </dev/null &
runner=$!
for i in $(seq 50); do
	[ "$("$LEGO" vnode --cluster "$cluster" inspect red | jq .processes)" = 1 ] && break
	sleep 0.1
done
vn rm red
expect 1 "running processes"
kill $runner
wait $runner 2>/dev/null
for i in $(seq 50); do
	vn rm red
	[ $status = 0 ] && break
	sleep 0.1
done
expect_status 0
vn inspect red
expect 1 "there is no 'red'"
vn rm default
[ $status != 0 ] || fail "the default vNode was removed"
vn create red
on red sh -c 'test ! -e /root/red-file'
expect_status 0
"$LEGO" down "$cluster" >/dev/null 2>&1
for i in $(seq 60); do
	ip -br link | grep -q '^lego' || break
	sleep 0.1
done
! ip -br link | grep '^lego' || fail "an interface is left"
