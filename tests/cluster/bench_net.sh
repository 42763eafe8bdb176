# lego bench net: every size, number of threads and way is measured, and nothing stays behind.
. "$TOP/tests/cluster/lib.sh"
try 50 "$LEGO" bench --ms 10 net
expect_status 0
[ "$(awk 'NR > 1 && NF >= 16' "$out" | wc -l)" = 18 ] || fail "not 18 rows of figures: $(cat "$out" "$err")"
grep -q '^ *1.0 MiB *16 ' "$out" || fail "no row of 1 MiB by 16 threads: $(cat "$out")"
try 5 "$LEGO" bench disk
expect 2 "'net' is all there is"
