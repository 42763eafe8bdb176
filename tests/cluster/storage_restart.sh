# A storage node that is killed and started again in the middle of a program's work: the program goes on, with every channel it has (threads,
# forked children), and nothing is done twice or lost.
# timeout: 120
. "$TOP/tests/cluster/lib.sh"
up
sd=$(component_pid s0)
remember s0 "$sd"
dir=/var/tmp/lego-restart-$$ # in the private layer
cat >work.sh <<'EOF'
cd "$1" || exit 9
sub() { # a process of its own, begun before the restart, asks after it
	n=0
	while [ ! -e stop ]; do
		n=$((n + 1))
		echo "$n" >>log.$1 || echo "append failed"
		mkdir d.$1 && mv d.$1 e.$1 && rmdir e.$1 || echo "names failed"
	done
	echo $n >count.$1
}
sub 1 &
sub 2 &
exec 5<>open
rm open
echo kept >&5
echo ready
while [ ! -e /go/on ]; do sleep 0.05; done
for i in 1 2 3 4 5 6 7 8 9; do echo "$i"; done >after || exit 8
printf 'and on' >&5
touch stop
wait
for i in 1 2; do [ "$(cat log.$i)" = "$(seq $(cat count.$i))" ] || echo "log $i is not what was appended"; done
exec 6</dev/fd/5
cat <&6
echo
tail -n 1 after
EOF
mkdir go
timeout 90 "$LEGO" run --cluster "$cluster" -v "$TMP/go:/go" -v "$TMP:/t" -- sh -c "mkdir $dir; exec bash /t/work.sh $dir" >work.out 2>work.err </dev/null &
runner=$!
soon 30 grep -q ready work.out || fail "the program does not start: $(cat work.out work.err)"
for round in 1 2 3; do
	sleep 0.$((RANDOM % 5))
	end_at_once "$sd"
	restart s0
	soon 30 sh -c "timeout 20 '$LEGO' run --cluster '$cluster' -- '$SYS/hello_static' >/dev/null 2>&1" || fail "s0 does not come back: $(tail -n 3 "$TMP/s0.log")"
	sd=$(component_pid s0)
done
touch go/on
wait $runner
code=$?
[ $code = 0 ] && [ "$(tail -n +2 work.out)" = "kept
and on
9" ] || fail "exit status $code: $(head -c 600 work.out) $(head -c 600 work.err)"
kill "$(component_pid s0)"
exit 0
