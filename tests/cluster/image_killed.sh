# kill -9 in the middle of an import, of the command, of its reader and of the storage node: nothing of the image is there after, nothing is left on
# the disk, and the same import then works.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
[ -x "$(dirname "$LEGO")/lego-image-reader" ] || {
	echo "skipped: built without libarchive"
	exit 77
}
up
mkdir root
for i in $(seq 300); do echo "$i" >"root/$i"; done
tar cf root.tar root
images="$LEGO_HOME/$cluster/s0/images"
image() { try 30 "$LEGO" image --cluster "$cluster" "$@"; }
begun() { # some of it has been written
	[ "$(find "$images" -path '*/root/root/*' 2>/dev/null | wc -l)" -gt 20 ]
}
clean() {
	[ -z "$(ls "$images")" ]
}
listed() {
	image ls && [ "$status" = 0 ] && [ "$(grep -c big "$out")" = "$1" ]
}
start() { # an import that has got half of the tar, and waits
	mkfifo pipe.$1
	"$LEGO" image --cluster "$cluster" import big - <pipe.$1 >start.out 2>&1 &
	importer=$!
	exec 7>pipe.$1
	head -c 150000 root.tar >&7
	soon 20 begun || fail "round $1: nothing is written: $(cat start.out)"
	listed 0 || fail "round $1: seen before its end: $(cat "$out")"
}
end() {
	wait $importer
	[ $? != 0 ] || fail "an import that was cut ended well"
	exec 7>&-
	soon 20 listed 0 || fail "half an image is there: $(cat "$out")"
	soon 20 clean || fail "left on the disk: $(ls "$images")"
}
start 1
kill -9 $importer
end 2>/dev/null
start 2
kill -9 "$(pgrep -P $importer)"
end
grep -q "ended by signal 9" start.out || fail "the reader's end is not said: $(cat start.out)"
start 3
sd=$(component_pid s0)
remember s0 "$sd"
kill -9 "$sd"
dead() {
	! kill -0 "$1" 2>/dev/null
}
soon 10 dead "$sd" || fail "s0 outlives kill -9"
rest() { # the command hears of it at its next request
	tail -c +150001 root.tar >&7
	exec 7>&-
}
rest 2>/dev/null
wait $importer
[ $? != 0 ] || fail "an import ended well without its storage node"
restart s0
soon 30 listed 0 || fail "after the restart: $(cat "$out" "$err")"
soon 20 clean || fail "left after the restart: $(ls "$images")"
image import big root.tar
expect_status 0
listed 1 || fail "the import after is not there: $(cat "$out")"
[ "$(ls "$images/big/root/root" | wc -l)" = 300 ] || fail "not all of it is there"
# and it outlasts the next one
sd=$(component_pid s0)
kill -9 "$sd"
soon 10 dead "$sd" || fail "s0 outlives kill -9" # it holds the lock of its data directory till then
restart s0
soon 30 listed 1 || fail "gone with the restart: $(cat "$out")"
kill "$(component_pid s0)"
exit 0
