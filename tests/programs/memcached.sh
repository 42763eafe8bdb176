# Four threads, asked over the text protocol by eight connections; more values than the cache holds.
# packages: memcached
# excache: 8M
. "$(dirname "$0")/lib.sh"
port=$(free_port)
memcached -u root -l 127.0.0.1 -p $port -t 4 -m 256 &
server=$!
wait_port $port
/usr/bin/python3 - $port <<'PY'
import socket, sys, threading
wrong = []
def client(who):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    f = s.makefile("rb")
    value = lambda i: (b"%d.%d." % (who, i)) * 400
    for i in range(800):
        v = value(i)
        s.sendall(b"set k%d.%d 0 0 %d\r\n%s\r\n" % (who, i, len(v), v))
        if f.readline() != b"STORED\r\n":
            wrong.append("set")
    for i in range(800):
        s.sendall(b"get k%d.%d\r\n" % (who, i))
        head = f.readline().split()
        if len(head) < 4 or f.read(int(head[3])) != value(i) or f.readline() + f.readline() != b"\r\nEND\r\n":
            wrong.append("get")
    s.sendall(b"incr n%d 1\r\n" % who)
    if f.readline() != b"NOT_FOUND\r\n":
        wrong.append("incr")
ts = [threading.Thread(target=client, args=(i,)) for i in range(8)]
[t.start() for t in ts]
[t.join() for t in ts]
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"stats\r\n")
f = s.makefile("r")
for line in f:
    if line.startswith("END"):
        break
    if line.split()[1] in ("curr_items", "evictions", "get_hits", "get_misses", "cmd_set", "threads"):
        print(line.strip())
print("wrong", len(wrong))
PY
kill $server
wait $server
echo "ended $?"
