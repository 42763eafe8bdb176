#!/usr/bin/python3
"""The table of docs/security.md from spec/host_calls.def. `--check`: exit status 1 when the committed file is not what would be written, or when
the monitor makes a host call that has no row."""
import glob, os, re, sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = "<!-- made from spec/host_calls.def by tools/gen_security.py: begin -->", "<!-- end -->"
# Numbers that the monitor names without calling them.
ONLY_NAMED = {"fork", "vfork", "clone3", "name"}


def read(path):
    return open(os.path.join(TOP, path)).read()


def rows():
    return re.findall(r'^HOST_CALL\((\w+), (\w+), "((?:[^"\\]|\\.)*)"\)', read("spec/host_calls.def"), re.M)


def made_by_monitor():
    """Calls that the monitor makes: by name, and those that the host does for the program as they are."""
    used = set()
    for path in glob.glob(TOP + "/processor/monitor/**/*.[chS]", recursive=True):
        used |= set(re.findall(r"SYSNR\((\w+)\)", open(path).read()))
    for m in re.finditer(r"^SYS\(\d+, (\w+), \w+, (PASS|PASS_FD|WAIT|WAIT_EINTR),", read("spec/syscalls.def"), re.M):
        used.add(m[1])
    return used - ONLY_NAMED


def page(old):
    free = [r for r in rows() if r[1] == "FREE" and not r[2]]
    said = [r for r in rows() if r not in free]
    table = ["| host call | arguments | why, and what it cannot reach |", "|---|---|---|"]
    table += [f"| `{name}` | {'any' if rule == 'FREE' else 'checked'} | {why} |" for name, rule, why in said]
    text = "\n".join(table) + "\n\nAnd, touching nothing but the caller and its own descriptors: " + ", ".join(f"`{r[0]}`" for r in free) + ".\n"
    head, rest = old.split(BEGIN)
    return head + BEGIN + "\n" + text + END + rest.split(END)[1]


def main():
    path = TOP + "/docs/security.md"
    old = open(path).read()
    missing = made_by_monitor() - {r[0] for r in rows()}
    if missing:
        print("no row in spec/host_calls.def: " + " ".join(sorted(missing)))
    if "--check" not in sys.argv:
        open(path, "w").write(page(old))
    elif page(old) != old:
        print("docs/security.md is not what spec/host_calls.def gives: run tools/gen_security.py")
        return 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
