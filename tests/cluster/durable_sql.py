"""sqlite commits that must outlast kill -9 of the storage and the memory daemon. Run inside LegoOS by tests/cluster/durability.sh.

  write DB FIRST MODE   commits transactions FIRST, FIRST + 1, ... of three rows each and says each number when its commit was acknowledged;
                        ends at the first error. MODE: sqlite's journal_mode
  check DB LAST         integrity_check is ok; every transaction up to LAST is there, none is there in part, none is wrong; says the next number
"""
import hashlib, sqlite3, sys

ROWS = 3


def body(n, i):
    h = hashlib.sha256(f"{n}.{i}".encode()).digest()
    return h * (1 + (n * 7 + i) % 60)


def write(path, first, mode):
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=5)
        db.execute("PRAGMA locking_mode=EXCLUSIVE")  # the write-ahead log's index is then not in shared memory, which dies with the memory node
        db.execute(f"PRAGMA journal_mode={mode}")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER, i INTEGER, body BLOB, PRIMARY KEY (n, i))")
        n = first
        while True:
            db.execute("BEGIN IMMEDIATE")
            for i in range(ROWS):
                db.execute("INSERT INTO t VALUES (?, ?, ?)", (n, i, body(n, i)))
            if n % 5 == 0:  # pages that are free are used again
                db.execute("DELETE FROM t WHERE n <= ?", (n - 200,))
            db.execute("COMMIT")
            print(n, flush=True)
            n += 1
    except sqlite3.Error as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)


def check(path, last):
    db = sqlite3.connect(path, timeout=5)
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    said = db.execute("PRAGMA integrity_check").fetchall()
    if said != [("ok",)]:
        sys.exit(f"integrity_check: {said[:3]}")
    seen = {}
    for n, i, b in db.execute("SELECT n, i, body FROM t"):
        if b != body(n, i):
            sys.exit(f"transaction {n}: row {i} is wrong")
        seen[n] = seen.get(n, 0) + 1
    torn = [n for n, k in seen.items() if k != ROWS]
    newest = max(seen, default=0)
    lost = [n for n in range(max(1, newest - 190), max(newest, last) + 1) if n not in seen]
    if torn or lost:
        sys.exit(f"half-done: {torn[:5]}, lost: {lost[:5]} ({last} acknowledged, newest {newest})")
    print("next", newest + 1)


if sys.argv[1] == "write":
    write(sys.argv[2], int(sys.argv[3]), sys.argv[4])
else:
    check(sys.argv[2], int(sys.argv[3]))
