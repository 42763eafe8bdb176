# Users of their own: a vNode's processes are neither root nor the daemon's user on the host, nor those of another vNode, and reach none of its
# processes; what was handed to the program (terminal, pipes, files) goes on working.
# timeout: 60
. "$TOP/tests/cluster/lib.sh"
[ "$(id -u)" = 0 ] || {
	echo "skipped: host users of their own need root"
	exit 77
}
up -m 1 --memory 512M
for v in red blue; do
	try 10 "$LEGO" vnode --cluster "$cluster" create $v --net host
	expect_status 0
	"$LEGO" run --cluster "$cluster" --vnode $v --excache 4M -- sleep 300 >/dev/null 2>&1 </dev/null &
done
# The host's number of a vNode's program.
host_pid() {
	"$LEGO" status --cluster "$cluster" --json | jq -r --arg v "$1" '.processes[] | select(.vnode == $v and .command == "sleep") | .host_pid'
}
is_there() {
	[ "$(host_pid "$1")" -gt 1 ] 2>/dev/null
}
ids() { # FIELD PID: the four of Uid or Gid
	awk -v f="$1:" '$1 == f {print $2, $3, $4, $5}' "/proc/$2/status"
}
soon 10 is_there red && soon 10 is_there blue || fail "the programs do not appear: $("$LEGO" status --cluster "$cluster" --json)"
red=$(host_pid red) blue=$(host_pid blue)
daemon=$(ids Uid "$(component_pid p0)")
red_user=$(ids Uid "$red" | cut -d' ' -f1) blue_user=$(ids Uid "$blue" | cut -d' ' -f1)
for p in $red $blue; do
	u=$(ids Uid "$p") g=$(ids Gid "$p")
	[ "$(echo "$u" | tr ' ' '\n' | sort -u | wc -l)" = 1 ] && [ "${u%% *}" -ge 1000 ] && [ "$u" != "$daemon" ] || fail "users of $p: $u (the daemon's: $daemon)"
	[ "$(echo "$g" | tr ' ' '\n' | sort -u | wc -l)" = 1 ] && [ "${g%% *}" -ge 1000 ] || fail "groups of $p: $g"
	grep -q '^Groups:[[:space:]]*$' "/proc/$p/status" || fail "$p has groups of the host: $(grep Groups "/proc/$p/status")"
	grep -qE '^Cap(Inh|Prm|Eff|Bnd|Amb):[[:space:]]*0*[1-9a-f]' "/proc/$p/status" && fail "$p has capabilities: $(grep Cap "/proc/$p/status")"
done
[ "$red_user" != "$blue_user" ] || fail "two vNodes have the same user $red_user"
# who is red's user, with the pid in his hands, reaches red's and not blue's
as_red() {
	setpriv --reuid="$red_user" --regid="$red_user" --clear-groups -- "$@" >>as_red.out 2>&1
}
as_red kill -0 "$red" || fail "red's user cannot signal red's process: $(cat as_red.out)"
! as_red kill -0 "$blue" || fail "red's user may signal blue's process"
! as_red cat "/proc/$blue/environ" || fail "red's user reads blue's environment"
! as_red ls "/proc/$blue/fd/" || fail "red's user sees blue's descriptors"
# from inside nothing of the other has a number, whatever the call
try 10 "$LEGO" vnode --cluster "$cluster" create green --net host
door=$(nm "$BUILD/processor/monitor/lego-monitor" | awk '$3 == "host_raw" {print $1}')
run 30 --vnode green -- "$BUILD/tests/hostile/hostile" "$door" neighbours
grep -q done "$out" && ! grep -q REACHED "$out" || fail "neighbours: $(head -5 "$out" "$err")"
kill -0 "$red" && kill -0 "$blue" || fail "a neighbour ended"
# the program sees itself as before, and has again by name what was handed to it, though the file is root's alone
printf 'secret\n' >mine
chmod 600 mine
inside='id -u; cat /dev/stdin; echo again >/dev/stdout; echo said >/dev/stderr; cat <&0 /proc/self/fd/0; stat -Lc "%u %g" /proc/self/fd/0 /dev/null'
timeout 20 "$LEGO" run --cluster "$cluster" -- sh -c "$inside" <mine >handed.out 2>handed.err
[ "$(tr '\n' ' ' <handed.out)" = "0 secret again 0 0 0 0 " ] && [ "$(cat handed.err)" = said ] || fail "handed files: $(cat handed.out handed.err)"
echo through | timeout 20 "$LEGO" run --cluster "$cluster" -- sh -c 'cat /dev/stdin | tee /dev/stderr' 2>&1 | sort -u >piped.out
[ "$(cat piped.out)" = through ] || fail "pipes: $(cat piped.out)"
timeout 20 script -qec "'$LEGO' run --cluster '$cluster' -- sh -c 'echo one >/dev/tty; echo two >/dev/stdout; cat /dev/stdin'" /dev/null <<<typed >tty.out 2>&1
for w in one two typed; do
	grep -q "$w" tty.out || fail "the terminal: no $w in $(cat tty.out)"
done
