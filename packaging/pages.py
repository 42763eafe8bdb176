#!/usr/bin/env python3
"""Writes lego.1, lego.conf.5 and bash completion from what the program says of itself: the help of every command, and the rows of spec/conf.def.
Usage: pages.py LEGO CONF.DEF man1|man5|bash >OUT"""
import os
import re
import subprocess
import sys

MORE = {"node": ["add", "remove"], "vnode": ["create"], "image": ["import", "rm"]}  # words of a command that have a help of their own
WORDS = {"node": ["list", "add", "drain", "undrain", "remove"], "vnode": ["create", "ls", "inspect", "rm"], "bench": ["net"],
         "image": ["import", "ls", "rm"],
         "node add": ["processor", "memory", "storage", "manager"]}


def said(lego, *words):
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # what a help leaves behind ends with it
    return subprocess.run([lego, *words, "--help"], env=env, check=True, text=True, stdout=subprocess.PIPE).stdout


def commands(lego):
    return re.findall(r"^  ([a-z]+) +(\S.*)$", said(lego), re.M)


def parts(text):
    """Synopsis, paragraph and rows (names, explanation) of a command's help."""
    head, _, rest = text.partition("\n")
    about, _, rows = rest.partition("\n\n")
    found = []
    for line in rows.splitlines():
        m = re.match(r"^ +((?:-\w, +)?--\S+(?: [^ -]\S*)?) +(.*)$", line)
        if m:
            found.append([m[1], m[2]])
        elif found and line.strip():
            found[-1][1] += " " + line.strip()
    return head.removeprefix("usage: "), about, found


def roff(text):
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"), flags=re.M)


def rows_of(rows):
    return "".join(f".TP\n.B {roff(name)}\n{roff(text)}\n" for name, text in rows)


def man1(lego, _):
    out = ['.TH LEGO 1', '.SH NAME', "lego \\- run programs over pools of processors, memory and storage", ".SH SYNOPSIS", ".B lego", ".I COMMAND", "[OPTION...]",
           ".SH DESCRIPTION", "An unmodified Linux program runs on a processor node, with its memory on memory nodes and its files on a storage node.", ".SH COMMANDS"]
    for word, _ in commands(lego):
        for page in [[word]] + [[word, more] for more in MORE.get(word, [])]:
            synopsis, about, rows = parts(said(lego, *page))
            out += [f".SS {roff(synopsis)}", roff(about), rows_of(rows).rstrip()]
    out += [".SH FILES", ".TP", ".I /etc/lego/lego.conf", "a cluster over many hosts; see", ".BR lego.conf (5)", ".TP", ".I /run/lego", "local clusters of root; another user's are in", ".IR $XDG_RUNTIME_DIR/lego ,", "anybody's in $LEGO_HOME where that is set"]
    return "\n".join(line for line in out if line) + "\n"


def man5(_, conf):
    rows = re.findall(r'^CONF\((\w+), "([^"]+)", (\w+), .*?"([^"]*)", "((?:[^"\\]|\\.)*)"\)$', open(conf).read(), re.M)
    out = [".TH LEGO.CONF 5", ".SH NAME", "lego.conf \\- a cluster over many hosts", ".SH DESCRIPTION",
           "One file, the same on every host. Lines are", ".I key = value", "below a section in brackets:", ".BR [cluster] ,",
           "a kind of node such as", ".BR [memory] ,", "or one node of it, such as", ".BR \"[memory m3]\" .", "A # starts a comment."]
    for section in dict.fromkeys(row[0] for row in rows):
        out.append(".SH " + ("EVERY NODE" if section == "EVERY" else f"[{section.lower()}]"))
        for kind, key, of, words, text in rows:
            if kind == section:
                what = "|".join(words.split()) if of == "WORD" else of
                out.append(f".TP\n.B {roff(key)} \\fR=\\fP \\fI{roff(what)}\\fP\n{roff(text)}")
    return "\n".join(out) + "\n.SH SEE ALSO\n.BR lego (1)\n"


def bash(lego, _):
    """Words by position, options by command; a program's own arguments (after --) are completed as commands and files."""
    words = [word for word, _ in commands(lego)]
    table = [f'\t["lego"]="{" ".join(words)} --help --version"']
    for word in words:
        for page in [[word]] + [[word, more] for more in MORE.get(word, [])]:
            options = re.findall(r"--[a-z][a-z-]*", "\n".join(row[0] for row in parts(said(lego, *page))[2]))
            name = " ".join(page)
            table.append(f'\t["lego {name}"]="{" ".join(WORDS.get(name, []) + options)}"')
    return """# bash completion of lego
_lego()
{
	local -A after=(
%s
	)
	local cur=${COMP_WORDS[COMP_CWORD]} at=lego i
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == -- ]]; then
			mapfile -t COMPREPLY < <(((i + 1 == COMP_CWORD)) && compgen -c -- "$cur" || compgen -f -- "$cur")
			return
		fi
		[[ -z ${after["$at ${COMP_WORDS[i]}"]-} ]] || at+=" ${COMP_WORDS[i]}"
	done
	mapfile -t COMPREPLY < <(compgen -W "${after[$at]}" -- "$cur")
}
complete -o default -F _lego lego
""" % "\n".join(table)


if __name__ == "__main__":
    sys.stdout.write({"man1": man1, "man5": man5, "bash": bash}[sys.argv[3]](sys.argv[1], sys.argv[2]))
