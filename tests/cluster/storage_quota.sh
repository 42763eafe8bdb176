# A vNode's storage quota: its private files take so much and no more (EDQUOT), what is removed can be used again once nobody has it open
# (which the processor nodes report by and by); another vNode does not notice.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
up
vn() { try 20 "$LEGO" vnode --cluster "$cluster" "$@"; }

vn create small --net host --storage-quota 4M
expect_status 0
run 30 --vnode small -- sh -c 'mkdir -p /var/q && cd /var/q && dd if=/dev/zero of=big bs=64K count=100; ls -s big; rm big; i=0; until dd if=/dev/zero of=fits bs=64K count=40; do sleep 0.2; i=$((i + 1)); [ $i -lt 100 ] || exit 1; done; echo again'
grep -q 'Disk quota exceeded' "$err" || fail "no quota: $(cat "$err" "$out")"
grep -q again "$out" || fail "what was removed is not free: $(cat "$err" "$out")"
[ "$(awk '/big/ {print $1}' "$out")" -le 4096 ] || fail "more than the quota: $(cat "$out")"
run 30 --vnode small -v "$TMP:/host" -- dd if=/dev/zero of=/host/bound bs=64K count=100
expect_status 0
run 30 -- sh -c 'mkdir -p /var/q && dd if=/dev/zero of=/var/q/big bs=64K count=100'
expect_status 0
vn inspect small
grep -q 4194304 "$out" || fail "inspect does not tell the quota: $(cat "$out")"
exit 0
