#!/usr/bin/python3
"""Every instruction of some libraries of the distribution, as objdump sees them, against insn_length(). usage: insn_test.py CHECKER"""
import glob, re, subprocess, sys

FILES = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
LINE = re.compile(r"^ *([0-9a-f]+):\t((?:[0-9a-f]{2} )+) *\t(\S+.*)$")

checker = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, text=True)
for path in FILES + sys.argv[2:]:
    for real in glob.glob(path):
        dump = subprocess.Popen(["objdump", "-d", "-w", real], stdout=subprocess.PIPE, text=True)
        lines = []
        for line in dump.stdout:
            m = LINE.match(line)
            if not m or "(bad)" in m.group(3) or m.group(3).startswith((".byte", "rex")):
                continue
            if m.group(2).startswith("9b "):  # fwait, which objdump joins with what follows
                continue
            # objdump shows a lone prefix as an instruction of its own where the processor would go on
            if m.group(3).strip() in ("data16", "cs", "ds", "es", "ss", "fs", "gs", "repz", "repnz", "lock", "addr32"):
                continue
            lines.append(m.group(1) + ":" + m.group(2) + "\n")
        checker.stdin.write("".join(lines))
checker.stdin.close()
sys.exit(checker.wait())
