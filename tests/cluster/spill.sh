# Pages spilled to a storage node that is killed and started again: nothing is lost, and nothing is left there; that stays away: the program ends
# with a word, and the next one runs when it is back.
# timeout: 90
. "$TOP/tests/cluster/lib.sh"
node() { # FIELD of m0
	"$LEGO" status --cluster "$cluster" --json | jq -r '.components[] | select(.id == "m0") | .'"$1"
}
holds() { # FIELD at least BYTES
	[ "$(node "$1")" -ge "$2" ]
}
gone() {
	[ "$(node used_bytes)" = 0 ]
}
begin() { # SECONDS: a program that checks what it has, and is well under way
	"$LEGO" run --cluster "$cluster" --excache 1M -- "$SYS/failover" "$1" 16 >printed 2>stderr </dev/null &
	runner=$!
	soon 20 holds used_bytes 4000000 || fail "$(node used_bytes) bytes are used; $(cat stderr)"
	storage_pid=$(component_pid s0)
}
M=1048576
up --store spill --memory 64M --store-front 2M --replicas 1 -m 2
begin 5
remember s0 "$storage_pid"
[ "$(node store_bytes)" -le $((3 * M)) ] || fail "m0 has $(node store_bytes) bytes in memory"
for round in 1 2; do
	end_at_once "$(component_pid s0)"
	restart s0
	sleep 0.7 # of the program's time, not of anybody's wait
done
wait $runner || fail "storage node killed: exit status $?: $(cat stderr)"
[ "$(cat printed)" = "all right" ] || fail "storage node killed: $(cat printed)"
soon 10 gone || fail "$(node used_bytes) bytes are used when no program runs"
storage=$LEGO_HOME/$cluster/s0/spill
[ "$(ls "$storage" | wc -l)" = 2 ] || fail "two nodes have spilled to $(ls "$storage" | wc -l) files"

begin 60
end_at_once "$(component_pid s0)"
start=$SECONDS
soon 40 has_ended $runner || fail "a program runs on without its storage node: $(cat stderr)"
wait $runner
code=$?
[ $code -ge 125 ] || fail "storage node gone: exit status $code"
grep -q "m[01]" stderr || fail "no word of a memory node: $(cat stderr)"
grep -q "storage node .*: no answer" "$LEGO_HOME/$cluster"/m?.log || fail "no word in the log: $(tail -n 2 "$LEGO_HOME/$cluster"/m?.log)"
soon 10 gone || fail "$(node used_bytes) bytes are used when no program runs"
restart s0
works() {
	"$LEGO" run --cluster "$cluster" --excache 1M -- "$SYS/failover" 1 16 >printed 2>stderr </dev/null && [ "$(cat printed)" = "all right" ]
}
soon 20 works || fail "the storage node is back, and no program runs: $(cat printed stderr)"
kill "$(component_pid s0)" # which `lego down` does not know
