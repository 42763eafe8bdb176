# Memory leaves a node that is too full, under programs that check every byte: once pieces of vRegions, once whole programs. The node comes below
# the watermark and stays there; what happened is in `lego events`.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
promised() { "$LEGO" status --cluster "$cluster" --json | jq --arg id "$1" '.components[] | select(.id == $id) | .promised_bytes'; }
below() { [ "$(promised "$1")" -le "$2" ]; }
event() { "$LEGO" events --cluster "$cluster" 2>/dev/null | grep -q "$1"; }
program() { # SECONDS MIB: in the background, of ours
	n=$((n + 1))
	"$LEGO" run --cluster "$cluster" --excache 1M -- "$SYS/failover" "$1" "$2" >prog.$n.out 2>prog.$n.err </dev/null &
	jobs="$jobs $!"
}
all_end_well() {
	local i=0 j
	for j in $jobs; do
		i=$((i + 1))
		wait "$j"
		status=$?
		[ "$status" = 0 ] && [ "$(cat prog.$i.out)" = "all right" ] || fail "$1: program $i: exit status $status: $(head -c 300 prog.$i.out) $(head -c 300 prog.$i.err)"
	done
	n=0 jobs=
}
n=0 jobs=
# --- vRegions: all 40 MiB go to the first node while it has room
up -m 3 --memory 64M --spread pack --near 0 --region 2M --rebalance-above 50%
program 4 40
soon 15 event "is too full" || fail "no node is too full: $("$LEGO" events --cluster "$cluster" | tail -3)"
soon 20 event "is relieved" || fail "no node is relieved: $("$LEGO" events --cluster "$cluster" | tail -3)"
for m in m0 m1 m2; do
	soon 10 below $m $((36 << 20)) || fail "$m still promises $(promised $m) bytes"
done
all_end_well "vRegions"
soon 15 holds_at_most 0 || fail "memory is held when no program runs"
"$LEGO" down "$cluster" >/dev/null 2>&1
# --- whole programs: both on the first of two nodes; the smaller one fits below the mean on the other
up -m 2 --memory 96M --spread pack --rebalance-above 20%
program 8 16
soon 15 holds_more $((12 << 20)) || fail "the first program holds nothing"
program 5 8
soon 20 event "owner m1" || fail "no program moved: $("$LEGO" events --cluster "$cluster" | tail -5)"
soon 20 event "is relieved" || fail "no node is relieved: $("$LEGO" events --cluster "$cluster" | tail -5)"
all_end_well "whole programs"
soon 15 holds_at_most 0 || fail "memory is held when no program runs"
# --- the chain on which the program moved went with it
no_chains() {
	python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
sys.exit("\nlego_chains 0\n" not in s.makefile().read())' "$LEGO_HOME/$cluster/gm0.http"
}
soon 15 no_chains || fail "the manager still has chains"
[ $failures = 0 ]
