# A large file is cached once, by extents over the memory nodes, whoever reads it: programs on two processor nodes with different homes share one copy,
# see at once what a third writes, and read on when a memory node dies and when it is back. Small files, one memory node, --file-cache off: none of it.
# timeout: 180
. "$TOP/tests/cluster/lib.sh"
. "$TOP/tests/cluster/checks.bash"
size=64 # MiB
value() { # value NODE NAME
	timeout 5 curl -s --unix-socket "$LEGO_HOME/$cluster/$1.http" http://x/metrics | awk -v n="$2" '$1 == n {printf "%.0f", $2}'
}
sum() { # sum NAME NODE...
	local name=$1 n all=0
	shift
	for n in "$@"; do all=$((all + $(value "$n" "$name"))); done
	echo $all
}
cached() { sum lego_file_cache_bytes "$@"; }
all_cached() { [ "$(cached m0 m1 m2)" -ge $((before + (size << 20) - (1 << 20))) ]; }
homes() { "$LEGO" status --cluster "$cluster" --json | jq -r '[.processes[].home] | sort | unique | join(" ")'; }
two_homes() { [ "$(homes | wc -w)" = 2 ]; }
rounds() { cat round.a round.b 2>/dev/null | awk '{n = NR == 1 || $1 < n ? $1 : n} END {print NR == 2 ? n : 0}'; }
rounds_from() { [ "$(rounds)" -ge "$1" ]; }
goes_on() { # both readers make N more whole rounds, begun after now
	soon 60 rounds_from $(($(rounds) + 1 + $1)) || fail "the readers stand still: $2; $(cat err.a err.b)"
}
reader() { # reader NAME NODE
	timeout 150 "$LEGO" run --cluster "$cluster" --node "$2" --stats "stats.$1" -- "$SYS/extents" read big "round.$1" >"out.$1" 2>"err.$1" </dev/null &
}
extent_reads() { tr ',{' '\n\n' <"$1" | awk -F: '/"file_extent_reads"/ {n += $2} END {print n + 0}'; }

"$SYS/extents" make big $size || exit 1
up -p 2 -m 3 --memory 512M --spread round-robin # homes by turns
before=$(cached m0 m1 m2)
reader a p0
first=$!
reader b p1
second=$!
soon 20 two_homes || fail "the readers' homes: $(homes)"
at=$(homes)
soon 60 all_cached || fail "cached: $(cached m0) $(cached m1) $(cached m2)"
goes_on 1 "at the beginning"
# once: two copies would be twice the file, less what home keeps of the other
now=$(($(cached m0 m1 m2) - before))
[ $now -le $(((size + 6) << 20)) ] || fail "of $size MiB $((now >> 10)) KiB are cached: $(cached m0) $(cached m1) $(cached m2)"
for m in m0 m1 m2; do
	[ "$(cached $m)" -ge $((2 << 20)) ] || fail "$m keeps only $(cached $m) bytes"
done
for m in m0 m1 m2; do
	case " $at " in *" $m "*) ;; *) other=$m ;; esac
done
check "there is a node that is nobody's home" [ -n "$other" ]
[ "$(value "$other" lego_readers)" = 2 ] || fail "$other has $(value "$other" lego_readers) readers"
# a third program writes; what the readers check is in tests/sys/extents.c
run 60 --node p0 -- "$SYS/extents" write big 600 7
expect_status 0
goes_on 1 "after the writes"
# a node dies that has nothing of them but cached extents; it comes back
remember "$other" "$(component_pid "$other")"
end_at_once "$(component_pid "$other")"
goes_on 2 "without $other"
run 60 --node p1 -- "$SYS/extents" write big 200 8
expect_status 0
restart "$other"
takes_part() { [ "$(cached "$other" 2>/dev/null)" -ge $((1 << 20)) ]; }
soon 30 takes_part || fail "$other came back, and keeps $(cached "$other") bytes"
goes_on 1 "with $other again"
run 60 -- "$SYS/extents" write big 200 9
expect_status 0
goes_on 1 "at the end"
: >stop
wait $first || fail "reader a ends with $?"
wait $second || fail "reader b ends with $?"
for r in a b; do
	[ "$(cat out.$r)" = right ] && [ ! -s err.$r ] || fail "reader $r: $(cat out.$r) $(head -c 600 err.$r)"
	[ "$(extent_reads stats.$r)" -gt 500 ] || fail "reader $r read $(extent_reads stats.$r) times elsewhere"
done
no_readers() { [ "$(sum lego_readers m0 m1 m2)" = 0 ]; }
soon 10 no_readers || fail "readers are left when no program runs: $(value m0 lego_readers) $(value m1 lego_readers) $(value m2 lego_readers)"
# the storage node, where that is wanted; home, for small files, and when there is no other node
served() { sum 'lego_memory_events_total{event="file_reads"}' m0 m1 m2; }
nothing_by_extents() { # OPTION... FILE
	local file=${*: -1}
	run 30 "${@:1:$#-1}" --stats stats.none -- "$SYS/extents" read "$file" round.c
	expect_status 0
	[ "$(extent_reads stats.none)" = 0 ] || fail "$*: $(extent_reads stats.none) reads by extents"
}
was=$(served)
nothing_by_extents --file-cache off big
[ "$(served)" = "$was" ] || fail "--file-cache off reads at memory nodes"
"$SYS/extents" make small 3
nothing_by_extents small
[ "$(served)" != "$was" ] || fail "a small file is not read at home"
kill "$(component_pid "$other")" # which `lego down` does not know
"$LEGO" down "$cluster" >/dev/null 2>&1
up
nothing_by_extents big
[ "$(value m0 lego_readers)" = 0 ] || fail "with one memory node there is a reader"
[ $failures = 0 ]
