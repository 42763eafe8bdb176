# 32 small programs at once on one cluster; each right, memory freed after.
# timeout: 180
. "$TOP/tests/cluster/lib.sh"
up
for i in $(seq 32); do
	(
		got=$(timeout 90 "$LEGO" run --cluster "$cluster" --excache 1M -- sh -c "echo $i; seq $i 200 | sort -n | tail -1; exit $i" 2>"err.$i" </dev/null)
		code=$?
		[ $code = "$i" ] && [ "$got" = "$i
200" ] && : >"good.$i"
	) &
	children="${children:-} $!"
done
wait $children
good=$(ls good.* 2>/dev/null | wc -l)
[ "$good" = 32 ] || fail "only $good of 32 were right: $(cat err.* | sort | uniq -c | head -5)"
soon 10 runs_exactly 0 || fail "processes are left in the status"
soon 10 holds_at_most 0 || fail "memory is not freed: $(held) bytes"
