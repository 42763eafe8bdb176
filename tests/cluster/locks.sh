# flock and record locks exclude processes of different processor nodes, are passed on by fork and exec, and end with their holder however it
# ends; workers on two nodes count under them. LEGO_TEST_SECONDS=60 is the long run.
# timeout: 400
. "$TOP/tests/cluster/lib.sh"
long=${LEGO_TEST_SECONDS:-3}
up -p 2
dir=/var/tmp/lego-locks-$$
run 30 -- sh -c "mkdir -p $dir && exec $SYS/lockers prepare $dir"
expect_status 0

on() { # NODE CMD...: in the cluster
	local node=$1
	shift
	"$LEGO" run --cluster "$cluster" --node "$node" -- "$@"
}

# The lock is taken by a child on the shell's descriptor, which stays when the child has gone; the shell's own child holds it on.
holder='exec 9>'$dir/held'; flock 9; echo held; read x'
for end in goes killed; do
	mkfifo in.$end
	on p0 sh -c "$holder" <in.$end >held.$end 2>"$err" &
	runner=$!
	exec 5>in.$end
	soon 30 grep -q held held.$end || fail "no lock: $(cat "$err")"
	run 30 --node p1 -- flock -n $dir/held true
	[ "$status" = 1 ] || fail "another node has the lock too ($status)"
	on p1 flock $dir/held echo mine >mine.$end 2>"$err" </dev/null &
	waiter=$!
	run 30 --node p0 -- flock -n $dir/held true
	[ "$status" = 1 ] || fail "another process of the node has the lock too ($status)"
	[ ! -s mine.$end ] || fail "the one that waits has it too"
	if [ $end = goes ]; then
		echo >&5
	else
		kill -9 $("$LEGO" status --cluster "$cluster" --json | jq '.processes[] | select(.node == "p0") | .host_pid')
	fi
	exec 5>&-
	wait $waiter || fail "the one that waits fails: $(cat "$err")"
	grep -q mine mine.$end || fail "the lock is not passed on"
	wait $runner
done

workers=
for id in 0 1 2 3; do
	timeout $((long * 3 + 60)) "$LEGO" run --cluster "$cluster" --node p$((id % 2)) -- "$SYS/lockers" work "$dir" $((id + 1)) "$long" >did.$id 2>err.$id </dev/null &
	workers="$workers $!"
done
for w in $workers; do
	wait "$w" || fail "a worker ends with $?: $(head -c 300 err.0 err.1 err.2 err.3)"
done
cat did.* >did
timeout 60 "$LEGO" run --cluster "$cluster" -- "$SYS/lockers" check "$dir" <did >"$out" 2>"$err" || fail "$(cat "$out" "$err" did)"
cat "$out"
exit 0
