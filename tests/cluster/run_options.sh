# What `lego run` promises: exit statuses, streams, environment, directories, the private layer over the host's files.
# timeout: 180
. "$TOP/tests/cluster/lib.sh"
up
said() { [ "$(cat "$out")" = "$1" ] || fail "said '$(head -c 300 "$out")', not '$1'; stderr: $(head -c 300 "$err")"; }

run 20 -- sh -c 'exit 42'
expect_status 42
run 20 -- sh -c 'kill -TERM $$'
expect_status 143
run 20 -- sh -c 'echo out; echo err >&2'
said out
grep -qx err "$err" || fail "stderr: $(cat "$err")"
echo "from stdin" | timeout 20 "$LEGO" run --cluster "$cluster" -- cat >in.out 2>"$err"
[ "$(cat in.out)" = "from stdin" ] || fail "stdin did not come through: $(cat in.out "$err")"
seq 1 100000 | timeout 20 "$LEGO" run --cluster "$cluster" -- tail -1 >in.out 2>"$err"
[ "$(cat in.out)" = 100000 ] || fail "a long stdin did not come through: $(cat in.out "$err")"
timeout 20 "$LEGO" run --cluster "$cluster" -- yes 2>"$err" </dev/null | head -2 >in.out
[ "$(tr -d '\n' <in.out)" = yy ] || fail "yes | head: $(head -c 100 in.out)"
run 20 -e GREETING=hello -e EMPTY= -- sh -c 'echo "$GREETING[$EMPTY]"'
said 'hello[]'
mkdir -p deep/er shared
run 20 -- pwd
said "$TMP"
run 20 -w "$TMP/deep" -- sh -c 'pwd; cd er; pwd'
said "$TMP/deep
$TMP/deep/er"
echo bound >shared/file
run 20 -v "$TMP/shared:/data" -- sh -c 'cat /data/file; echo written >/data/new; mkdir /data/d'
said bound
[ "$(cat shared/new)" = written ] && [ -d shared/d ] || fail "a bound directory was not written"
run 20 -v "$TMP/shared:/data:ro" -- sh -c 'cat /data/new; echo x >/data/no' 
[ "$status" != 0 ] && [ ! -e shared/no ] || fail "a read-only directory was written"
# a directory that another run was given, and that is no more, is nothing to this one
mkdir gone other
timeout 20 "$LEGO" run --cluster "$cluster" -v "$TMP/gone:/gone" -- sh -c 'echo up; read x; ls /gone' >gone.out 2>&1 < <(soon 15 test -e go; echo) &
gone=$!
soon 15 grep -q up gone.out || fail "no program with a directory: $(cat gone.out)"
rmdir gone
run 20 -v "$TMP/other:/other" -- sh -c 'echo fine'
said fine
touch go
wait $gone || fail "its own program: $(cat gone.out)"
# the current directory is the host's; the rest of / is read-only below a private layer
run 20 -- sh -c 'echo here >cwd-file; mkdir -p made; mv cwd-file made/'
[ "$(cat made/cwd-file)" = here ] || fail "the current directory was not written"
before=$(md5sum </etc/debian_version)
run 20 -- sh -c 'echo changed >/etc/debian_version; cat /etc/debian_version; echo new >/etc/lego-test-new; rm /etc/hostname; ls /etc/hostname 2>/dev/null; cat /etc/lego-test-new; mv /etc/passwd /etc/passwd.moved; head -c 4 /etc/passwd.moved'
[ "$(md5sum </etc/debian_version)" = "$before" ] && [ -e /etc/hostname ] && [ -e /etc/passwd ] && [ ! -e /etc/lego-test-new ] || fail "the host's files were changed"
said 'changed
new
root'
# nothing of the sandbox leads out
run 20 -- sh -c 'cat /../../../../../../../../etc/debian_version >/dev/null; ls -d /proc/1/root/../.. 2>/dev/null; test -r '"$LEGO_HOME"'/'"$cluster"'/key && cat '"$LEGO_HOME"'/'"$cluster"'/key | wc -c'
run 20 --stats "$TMP/stats.json" -- "$SYS/hello"
jq -es 'length >= 1 and (.[0].misses >= 0) and (.[0].syscalls > 0)' stats.json >/dev/null || fail "--stats: $(head -c 500 stats.json)"
run 20 --excache 64M -- "$SYS/hello"
expect_status 0
