# multiprocessing: four processes write one block of shared memory and count under a lock; a pool.
# packages: python3
# excache: 4M
# timeout: 120
from multiprocessing import Lock, Pool, Process, Value, shared_memory


def work(name, lock, lo, hi, v):
    s = shared_memory.SharedMemory(name=name)
    for i in range(lo, hi):
        s.buf[i * 4096:i * 4096 + 8] = (i * i).to_bytes(8, "little")
        with lock:
            v.value += 1
    s.close()


if __name__ == "__main__":
    s = shared_memory.SharedMemory(create=True, size=8 << 20)
    lock, v = Lock(), Value("q", 0)
    ps = [Process(target=work, args=(s.name, lock, k * 512, (k + 1) * 512, v)) for k in range(4)]
    for p in ps:
        p.start()
    for p in ps:
        p.join()
    print([p.exitcode for p in ps], v.value, sum(int.from_bytes(s.buf[i * 4096:i * 4096 + 8], "little") for i in range(2048)))
    s.close()
    s.unlink()
    with Pool(3) as p:
        print(sum(p.map(abs, range(-1000, 0))))
