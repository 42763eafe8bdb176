#!/usr/bin/python3
"""docs/syscalls.md from spec/syscalls.def. `--check`: exit status 1 when the committed file is not what would be written."""
import os, re, sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def rows():
    text = re.sub(r"/\*.*?\*/", "", open(TOP + "/spec/syscalls.def").read(), flags=re.S)
    for m in re.finditer(r'^SYS\((\d+), (\w+), (\w+), (\w+)(?:\((\w+)\))?, "((?:[^"\\]|\\.)*)"', text, re.M):
        yield int(m[1]), m[2], m[3], m[4], m[5], m[6]


def page():
    table = sorted(rows())
    count = {k: sum(r[2] == k for r in table) for k in ("FULL", "PARTIAL", "REFUSED")}
    out = ["# System calls", "", "Made from `spec/syscalls.def` by `tools/gen_syscalls.py`; do not edit.", "",
           f"{count['FULL']} full, {count['PARTIAL']} partial, {count['REFUSED']} refused. A number that is not here gives `ENOSYS`, is counted, and is named once on stderr with `LEGO_DEBUG=1`.",
           "*Full* means as on Linux as far as tests and known programs show. *By the host*: the call is passed on, with its pointers bounced.", "",
           "| number | name | support | done | remarks |", "|---|---|---|---|---|"]
    for number, name, support, how, error, note in table:
        done = {"BODY": "by the monitor", "REFUSE": f"`{error}`" if error else "refused"}.get(how, "by the host")
        out.append(f"| {number} | {name} | {support.lower()} | {done} | {note} |")
    return "\n".join(out) + "\n"


def main():
    path, text = TOP + "/docs/syscalls.md", page()
    if "--check" not in sys.argv:
        open(path, "w").write(text)
    elif not os.path.exists(path) or open(path).read() != text:
        print("docs/syscalls.md is not what spec/syscalls.def gives: run tools/gen_syscalls.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
