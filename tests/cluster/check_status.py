"""Checks on standard input the JSON of `lego status --json`: exactly the promised keys and types. Arguments: KIND=COUNT..."""
import json
import sys

SHAPE = {
    "components": {"kind": str, "id": str, "pid": int, "address": str, "state": str, "used_bytes": int, "total_bytes": int,
                   "heartbeat_age_ms": int, "channels": int, "spaces": int, "open_files": int, "bytes_in": int, "bytes_out": int,
                   "misses": int, "fetches": int, "miss_ns": int, "store": str, "store_bytes": int, "labels": str, "promised_bytes": int},
    "vnodes": {"name": str, "id": int, "ip": str, "storage": str, "image": str, "memory_bytes": int, "excache_bytes": int, "cpus": int,
               "replicas": int, "storage_quota_bytes": int, "network": str, "processes": int, "used_bytes": int, "labels": dict},
    "processes": {"pid": int, "host_pid": int, "vnode": str, "node": str, "home": str, "command": str, "excache_bytes": int, "excache_max_bytes": int,
                  "resident_bytes": int, "remote_bytes": int, "misses": int, "fetches": int},
}

status = json.load(sys.stdin)
assert set(status) == set(SHAPE), set(status)
for part, keys in SHAPE.items():
    for item in status[part]:
        assert {k: type(v) for k, v in item.items()} == keys, (part, item)
for k in status["components"]:
    assert k["kind"] in ("processor", "memory", "storage", "manager"), k
    assert k["state"] in ("up", "down", "draining", "degraded"), k
for want in sys.argv[1:]:
    kind, count = want.split("=")
    got = sum(k["kind"] == kind for k in status["components"])
    assert got == int(count), f"{got} {kind} components, not {count}"
