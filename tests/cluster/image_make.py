#!/usr/bin/env python3
"""Makes what tests/cluster/images.sh imports. usage: image_make.py BUSYBOX DIR

DIR/root        a small tree, as debootstrap leaves a large one      DIR/root.tar.xz   the same as a tar
DIR/oci         an OCI layout of three layers                        DIR/bad/*         archives that must be refused, and what for
"""
import gzip, hashlib, io, json, os, subprocess, sys, tarfile

busybox, top = sys.argv[1:]
WORDS = ["sh", "cat", "ls", "echo", "rm", "stat", "sleep", "mkdir", "mkfifo", "find", "sort", "readlink", "tr"]


def tree(root):
    for d in ["bin", "etc", "tmp", "var/empty", "locked"]:
        os.makedirs(f"{root}/{d}")
    subprocess.run(["cp", busybox, f"{root}/bin/busybox"], check=True)
    for w in WORDS:
        os.symlink("busybox", f"{root}/bin/{w}")
    open(f"{root}/etc/motd", "w").write("from the image\n")
    os.link(f"{root}/etc/motd", f"{root}/etc/motd.too")
    open(f"{root}/locked/in", "w").write("in\n")
    with open(f"{root}/etc/sparse", "wb") as f:
        f.truncate(3 << 20)
        f.seek(2 << 20)
        f.write(b"middle")
    os.mkfifo(f"{root}/tmp/fifo")
    os.chmod(f"{root}/etc/motd", 0o640)
    os.chmod(f"{root}/tmp", 0o1777)
    os.utime(f"{root}/etc/motd", (1000000000, 1000000000))
    os.chmod(f"{root}/locked", 0o555)
    os.utime(f"{root}/locked", (1100000000, 1100000000))


def member(name, kind=tarfile.REGTYPE, data=b"", link="", mode=0o644):
    t = tarfile.TarInfo(name)
    t.type, t.linkname, t.mode, t.size = kind, link, mode, len(data)
    return t, io.BytesIO(data)


def tar(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        for m in members:
            m[1].seek(0)
            t.addfile(*m)
    return out.getvalue()


DIR, SYM, LNK, DEV = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE


def layers():
    exe = open(busybox, "rb").read()
    return [
        tar(member("./", DIR, mode=0o755), member("bin/", DIR, mode=0o755), member("bin/busybox", data=exe, mode=0o755),
            *[member(f"bin/{w}", SYM, link="busybox") for w in WORDS],
            member("etc/", DIR, mode=0o755), member("etc/base", data=b"base\n"), member("etc/going", data=b"x"),
            member("etc/changed", data=b"old\n"), member("opaque/", DIR), member("opaque/old", data=b"x"),
            member("opaque/sub/deep", data=b"x"), member("was-dir/in", data=b"x"), member("was-file", data=b"x"),
            member("gone-dir/a/b", data=b"x"), member("dev/null", DEV)),
        tar(member("etc/.wh.going"), member("etc/changed", data=b"new, and longer\n"), member("opaque/new", data=b"n\n"),
            member("opaque/.wh..wh..opq"), member(".wh.gone-dir"), member("was-dir", data=b"now a file\n"),
            member("was-file/", DIR, mode=0o700), member("was-file/in", data=b"y")),
        tar(member("etc/linked", LNK, link="etc/base"), member("etc/.wh.never-was"), member("été", data="ça\n".encode()),
            member("etc/.wh..wh.aufs", data=b"ignored")),
    ]


def blob(d, data):
    digest = hashlib.sha256(data).hexdigest()
    open(f"{d}/blobs/sha256/{digest}", "wb").write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def pack(data, how):
    if how == "gzip":
        return gzip.compress(data)
    return data if how == "none" else subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def oci(d, contents, damage=None):
    os.makedirs(f"{d}/blobs/sha256")
    open(f"{d}/oci-layout", "w").write('{"imageLayoutVersion":"1.0.0"}')
    listed = []
    for data, how in zip(contents, ["gzip", "zstd", "none"]):
        one = blob(d, pack(data, how))
        listed.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+" + how, **one})
    manifest = blob(d, json.dumps({"schemaVersion": 2, "config": blob(d, b"{}"), "layers": listed}).encode())
    here = {"os": "linux", "architecture": "amd64"}
    index = blob(d, json.dumps({"schemaVersion": 2, "manifests": [
        {**manifest, "platform": {"os": "linux", "architecture": "arm64"}}, {**manifest, "platform": here}]}).encode())
    json.dump({"schemaVersion": 2, "manifests": [{**index, "annotations": {"org.opencontainers.image.ref.name": "latest"}},
               {**blob(d, b'{"manifests":[]}'), "annotations": {"org.opencontainers.image.ref.name": "other"}}]}, open(f"{d}/index.json", "w"))
    if damage:
        path = f"{d}/blobs/sha256/{listed[1]['digest'][7:]}"
        damage(path, open(path, "rb").read())


def bad(d):
    """name: (what the message must say, the archive)"""
    inside = member("etc/fine", data=b"x")
    cases = {
        "absolute": ("absolute path", tar(inside, member("/etc/escaped", data=b"x"))),
        "dotdot": ("with '\\.\\.'", tar(inside, member("etc/../../escaped", data=b"x"))),
        "through-link": ("through a link", tar(member("out", SYM, link=os.path.abspath(top)), member("out/escaped", data=b"x"))),
        "through-deep-link": ("through a link", tar(member("a/out", SYM, link="../.."), member("a/out/b/escaped", data=b"x"))),
        "dir-over-link": (None, tar(member("out", SYM, link=os.path.abspath(top)), member("out", DIR), member("out/escaped", data=b"x"))),
        "link-to-absolute": ("absolute path", tar(member("pw", LNK, link="/etc/passwd"))),
        "link-to-dotdot": ("with '\\.\\.'", tar(member("pw", LNK, link="../../../etc/passwd"))),
        "link-through-link": ("through a link", tar(member("e", SYM, link="/etc"), member("pw", LNK, link="e/passwd"))),
        "link-to-nothing": ("does not have", tar(member("pw", LNK, link="not/there"))),
        "file-as-directory": ("through a link or a file", tar(member("f", data=b"x"), member("f/g", data=b"x"))),
        "no-tar": ("format", b"this is no tar at all\n" * 100),
        "empty": ("", b""),
        "cut": ("[Tt]runcated", gzip.compress(tar(member("big", data=os.urandom(300000))))[:200000]),
        "long-name": ("too long", tar(member("x" * 256, data=b"x"))),
        "root-is-file": ("named as the root", tar(member(".", data=b"x"))),
    }
    os.makedirs(d)
    for name, (says, data) in cases.items():
        open(f"{d}/{name}.tar", "wb").write(data)
        open(f"{d}/{name}.says", "w").write("-" if says is None else says)
    for name, says, damage in [
            ("oci-flipped", "digest", lambda p, b: open(p, "wb").write(b[:50] + bytes([b[50] ^ 1]) + b[51:])),
            ("oci-longer", "not the size", lambda p, b: open(p, "ab").write(b"x")),
            ("oci-missing", "incomplete", lambda p, b: os.unlink(p))]:
        oci(f"{d}/{name}.tar", layers(), damage)
        open(f"{d}/{name}.says", "w").write(says)
    oci(f"{d}/oci-escapes.tar", [layers()[0], tar(member("etc/.wh..."))])
    open(f"{d}/oci-escapes.says", "w").write("no name")


tree(f"{top}/root")
with tarfile.open(f"{top}/root.tar.xz", "w:xz") as t:
    t.add(f"{top}/root", arcname=".")
with tarfile.open(f"{top}/special.tar", "w") as t:
    for m in [member("dev/null", DEV), member("bin/su", data=b"x", mode=0o4755), member("d", DIR, mode=0o2775)]:
        t.addfile(*m)
oci(f"{top}/oci", layers())
bad(f"{top}/bad")
