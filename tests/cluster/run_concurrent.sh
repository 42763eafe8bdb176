# 32 small programs at once on one cluster; each right, memory freed after.
# timeout: 180
. "$TOP/tests/cluster/lib.sh"
up
held() {
	"$LEGO" status --cluster "$cluster" --json | jq '[.components[] | select(.kind == "memory") | .used_bytes] | add'
}
run 20 -- "$SYS/hello_static"
sleep 1
before=$(held)
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
for i in $(seq 60); do
	[ "$(held)" -le "$before" ] && break
	sleep 0.1
done
[ "$(held)" -le "$before" ] || fail "memory is not freed: $(held) bytes, $before before"
for i in $(seq 50); do
	[ "$("$LEGO" status --cluster "$cluster" --json | jq '.processes | length')" = 0 ] && break
	sleep 0.1
done
[ "$i" -lt 50 ] || fail "processes are left in the status"
