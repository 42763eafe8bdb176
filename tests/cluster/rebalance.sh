# A memory node that has promised more than the watermark is relieved while its programs run: pieces of vRegions, with the lines in them, go to other
# nodes until it is too full no more; those do not become so, nothing comes back, and the programs find every byte as they wrote it. They do not fork:
# what a program has is promised a second time by that, and its node has no room for it.
# timeout: 170
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"
said() { # WHAT: the nodes of which it was said
	"$LEGO" events --cluster "$cluster" --json | jq -r --arg what "$1" 'select(.what == $what) | .name'
}
relieved() { [ -n "$(said "is relieved")" ]; }
least() { # MIB: the emptiest node holds as much
	[ "$("$LEGO" status --cluster "$cluster" --json | jq '[.components[] | select(.kind == "memory") | .used_bytes] | min')" -ge $(($1 << 20)) ]
}
cat >program.py <<'E2'
import hashlib, select, sys, time
a = bytearray(12 << 20)
for i in range(12):
    a[i << 20 : (i + 1) << 20] = hashlib.shake_128(bytes([i])).digest(1 << 20)
want = [None, None]
rounds = 0
while True:  # every page is written and every byte read, until a line comes
    got = hashlib.sha256(a).digest()
    if want[rounds % 2] not in (None, got):
        sys.exit("wrong bytes")
    want[rounds % 2] = got
    if rounds > 1 and select.select([sys.stdin], [], [], 0)[0]:
        break
    for i in range(0, len(a), 4096):
        a[i] ^= 1
    rounds += 1
    time.sleep(0.05)
E2
start() { # NAME
	mkfifo "$1.in"
	"$LEGO" run --cluster "$cluster" --excache 2M -- python3 -S program.py <"$1.in" >"$1.out" 2>&1 &
}
ends_well() { # NAME PID
	wait "$2"
	local code=$?
	[ $code = 0 ] || fail "$1: exit status $code: $(head -c 300 "$1.out")"
}

up -m 3 --memory 64M --spread pack --near 0 --region 2M --rebalance-above 65%
start first
first=$!
exec 8>first.in
soon 30 holds_more $((12 << 20)) || fail "the first program does not write its memory back"
[ -z "$(said "is too full")" ] || fail "a node is too full before it should be"
start second
second=$!
exec 9>second.in
soon 30 relieved || fail "no node was relieved: $("$LEGO" events --cluster "$cluster" | tail -3)"
soon 10 least 2 || fail "what moved had no lines in it: $("$LEGO" status --cluster "$cluster")"
echo >&8
echo >&9
ends_well first $first
ends_well second $second
full=$(said "is too full")
[ "$(echo "$full" | sort -u | wc -l)" = 1 ] || fail "a node that was given something became too full: $full"
soon 10 holds_at_most 0 || fail "memory is held when no program runs"
