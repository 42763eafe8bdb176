# multiprocessing by spawn, fork and shared memory; asyncio; subprocess; ssl over a socket pair; threads that share a lock.
# packages: python3
# excache: 12M
import asyncio, hashlib, multiprocessing as mp, os, socket, ssl, subprocess, sys, threading
from multiprocessing import shared_memory


def square(n):
    return n * n, hashlib.sha256(bytes(n * 1000)).hexdigest()[:8]


def fill(name, start):
    m = shared_memory.SharedMemory(name)
    for i in range(start, start + 50000):
        m.buf[i] = i % 251
    m.close()


def add(value, lock, queue):
    for _ in range(500):
        with lock:
            value.value += 1
    queue.put(os.getpid() != os.getppid())


def pools():
    for how in ("fork", "spawn", "forkserver"):
        c = mp.get_context(how)
        with c.Pool(3) as p:
            print(how, p.map(square, range(30))[-2:], sum(x for x, _ in p.imap_unordered(square, range(200), 10)))
        v, l, q = c.Value("i", 0), c.Lock(), c.Queue()
        ps = [c.Process(target=add, args=(v, l, q)) for _ in range(4)]
        [p.start() for p in ps]
        print([q.get() for _ in ps], [p.join() or p.exitcode for p in ps], v.value)
        m = shared_memory.SharedMemory(create=True, size=200000)
        ps = [c.Process(target=fill, args=(m.name, i * 50000)) for i in range(4)]
        [p.start() for p in ps]
        [p.join() for p in ps]
        print(hashlib.sha256(bytes(m.buf[:200000])).hexdigest()[:16])
        m.close(), m.unlink()


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()


async def client(port, i):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for k in range(10):
        writer.write(b"message %d %d\n" % (i, k))
        if await reader.readline() != b"MESSAGE %d %d\n" % (i, k):
            print("wrong")
    writer.close()
    return i


async def aio():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print("clients", sum(await asyncio.gather(*(client(port, i) for i in range(50)))))
    p = await asyncio.create_subprocess_exec("sort", "-r", stdin=-1, stdout=-1)
    print((await p.communicate(b"a\nc\nb\n"))[0])
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.05)
    except asyncio.TimeoutError:
        print("timed out")
    server.close()


def tls():
    subprocess.run("openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -subj /CN=localhost -addext subjectAltName=DNS:localhost".split(),
                   check=True, capture_output=True)
    s = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    s.load_cert_chain("c", "k")
    c = ssl.create_default_context(cafile="c")
    l = socket.create_server(("127.0.0.1", 0))
    def serve():
        with s.wrap_socket(l.accept()[0], server_side=True) as a:
            n = 0
            while d := a.recv(65536):
                n += len(d)
                if n == 1000000:
                    a.sendall(b"got %d" % n)
    t = threading.Thread(target=serve)
    t.start()
    with c.wrap_socket(socket.create_connection(l.getsockname()), server_hostname="localhost") as k:
        k.sendall(b"x" * 1000000)
        print(k.recv(100), k.version(), k.getpeercert()["subject"])
        k.shutdown(socket.SHUT_RDWR)
    t.join()


if __name__ == "__main__":
    pools()
    asyncio.run(aio())
    tls()
    r = subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('e'); sys.exit(5)"], capture_output=True)
    print(r.returncode, r.stderr)
