# Images: a tree, a tar and an OCI layout become ones; vNodes over one image do not see each other's writes; archives made to escape, or damaged,
# leave nothing; what is in use stays; which of several storage nodes has one is minded. Over TCP, as from another host.
# timeout: 150
. "$TOP/tests/cluster/lib.sh"
[ -x "$(dirname "$LEGO")/lego-image-reader" ] || {
	echo "skipped: built without libarchive"
	exit 77
}
umask 022
mkdir made
python3 "$TOP/tests/cluster/image_make.py" "$(command -v busybox)" "$TMP/made" || fail "image_make.py"
up -s 2 --transport tcp
image() { try 30 "$LEGO" image --cluster "$cluster" "$@"; }
vn() { try 10 "$LEGO" vnode --cluster "$cluster" "$@"; }
over() { # over VNODE SCRIPT
	run 30 --vnode "$1" -w / -- /bin/sh -c "$2"
}
says() { # says TEXT: what the last `over` printed
	expect_status 0
	[ "$(cat "$out")" = "$1" ] || fail "not '$1' but: $(head -c 600 "$out" "$err")"
}
has() { # has NODE: names of the images that are whole there, as the manager's node tells
	"$LEGO" image --cluster "$cluster" ls | awk -v n="$1" '$2 == n {print $1}' | sort | tr '\n' ' '
}
on_disk() { # what is there at all, finished or not
	ls "$LEGO_HOME/$cluster/$1/images" | tr '\n' ' '
}
only() { # only NODE NAMES: nothing half-made either
	[ "$(on_disk "$1")" = "$2" ]
}

# ---- three sources of the same small system
image import tree made/root
expect_status 0
grep -q "image tree: .* 1 layer, on s0 s1" "$out" || fail "import said: $(cat "$out" "$err")"
image import --storage s1 tarred - <made/root.tar.xz
[ $status != 0 ] || fail "an empty standard input became an image"
try 30 sh -c "'$LEGO' image --cluster $cluster import --storage s1 tarred - <made/root.tar.xz"
expect_status 0
image import --storage s1 ociimg made/oci
expect 1 "2 images .*--ref: latest other"
image import --storage s1 --ref nope ociimg made/oci
expect 1 "no image 'nope'.*latest other"
image import --storage s1 --ref latest ociimg made/oci
expect_status 0
grep -q "3 layers, on s1" "$out" || fail "import said: $(cat "$out" "$err")"
grep -q "left out: 1 device nodes" "$err" || fail "nothing said of the device: $(cat "$err")"
[ "$(has s0)" = "tree " ] && [ "$(has s1)" = "ociimg tarred tree " ] || fail "ls: $("$LEGO" image --cluster "$cluster" ls)"
image import tree made/root
expect_status 1
[ "$(grep -c "has an image 'tree' already" "$err")" = 2 ] || fail "twice: $(cat "$err")"

[ "$(stat -c %b "$LEGO_HOME/$cluster/s0/images/tree/root/etc/sparse")" -lt 1000 ] || fail "the holes of a sparse file were filled"

# ---- two vNodes over one image
vn create red --image tarred --net host
expect_status 0
vn create blue --image tarred --storage s1 --net host
expect_status 0
vn create green --image tarred --storage s0 --net host
expect 1 "'tarred' is not on storage node s0, but on: s1"
vn create green --image nowhere --net host
expect 1 "no image 'nowhere'"
over red 'cat /etc/motd; stat -c "%a %Y %h" /etc/motd /locked; stat -c "%a %F" /tmp /tmp/fifo; readlink /bin/cat; cat /locked/in
	echo red >/etc/motd; rm /etc/motd.too; mkdir /etc/new; echo x >/locked/more; cat /etc/motd; ls /etc'
says 'from the image
640 1000000000 2
555 1100000000 2
1777 directory
644 fifo
busybox
in
red
motd
new
sparse'
over blue 'cat /etc/motd /etc/motd.too; ls /etc /locked; stat -c %s /etc/sparse'
says 'from the image
from the image
/etc:
motd
motd.too
sparse

/locked:
in
3145728'
over red 'cat /etc/motd; ls /locked'
says 'red
in
more'

# ---- the layers of an OCI image
vn create oci --image ociimg --net host
over oci 'cat /etc/changed /etc/linked /was-dir /été; ls /etc /opaque /was-file; stat -c "%h %a" /etc/base /was-file; rm /été; ls / | tr "\n" " "'
says 'new, and longer
base
now a file
ça
/etc:
base
changed
linked

/opaque:
new

/was-file:
in
2 644
2 700
bin dev etc opaque proc sys was-dir was-file '

# ---- what is in use stays; what is not goes, and comes again
image rm tarred
expect 1 "'tarred' on s1 has vNodes over it: red blue"
unmade() { # refused while the manager counts a program that has just ended
	vn rm "$1" && [ "$status" = 0 ]
}
for v in red blue; do
	soon 20 unmade $v || fail "vNode $v is not removed: $(cat "$err")"
done
timeout 60 "$LEGO" run --cluster "$cluster" --vnode oci -w / -- /bin/sh -c 'echo up; while [ ! -e /stop ]; do sleep 0.1; done' >up.out 2>&1 </dev/null &
soon 20 grep -q up up.out || fail "no program over the image: $(cat up.out)"
image rm ociimg
expect 1 "ociimg' on s1 has vNodes over it: oci"
over oci 'echo >/stop'
wait
image rm tarred
expect_status 0
image rm tarred
expect 1 "no 'tarred'"
soon 10 only s1 "ociimg tree " || fail "on s1: $(on_disk s1)"

# ---- special files
image import --storage s0 special made/special.tar
expect_status 0
mode=$(stat -c %a "$LEGO_HOME/$cluster/s0/images/special/root/bin/su")
[ "$mode" = "$([ "$(id -u)" = 0 ] && echo 4755 || echo 755)" ] || fail "set-id file has mode $mode"
[ ! -e "$LEGO_HOME/$cluster/s0/images/special/root/dev/null" ] || fail "a device node was made"
[ "$(stat -c %a "$LEGO_HOME/$cluster/s0/images")" = 700 ] || fail "images can be reached by others"
image rm special
expect_status 0

# ---- archives that are to be refused
for f in made/bad/*.tar; do
	name=$(basename "$f" .tar)
	ref=
	[ ! -d "$f" ] || ref="--ref latest"
	image import --storage s0 $ref "bad-$name" "$f"
	text=$(cat "${f%.tar}.says")
	if [ "$text" = - ]; then
		expect_status 0
		image rm "bad-$name"
	else
		expect 1 "$text"
	fi
	[ ! -e made/escaped ] && [ ! -e "$LEGO_HOME/escaped" ] || fail "$name: escaped"
done
for name in '' .. '#x' 01234567890123456789012345678901; do
	image import "$name" made/root
	[ "$status" = 2 ] || fail "name '$name': exit status $status"
done
image import --storage s7 x made/root
expect 1 "no storage node 's7'"
image import x made/nothing
expect 1 "made/nothing: No such file"
soon 10 only s0 "tree " || fail "left on s0: $(on_disk s0)"
exit 0
