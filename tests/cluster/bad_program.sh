# What cannot be run: the right status (127 not found, 126 not executable) and one line that names it.
. "$TOP/tests/cluster/lib.sh"
up
run 20 -- /no/such/program
expect 127 /no/such/program
run 20 -- no-such-command
expect 127 no-such-command
run 20 -- "$TMP"
expect 126 "$TMP"
printf 'not a program' >plain
run 20 -- ./plain
expect 126 plain
head -c 300 "$SYS/hello_static" >short
chmod +x short
run 20 -- ./short
expect 126 short
# a sound header, then program headers that point nowhere
cp "$SYS/hello_static" broken
printf '\377\377\377\377\377\377\377\177' | dd of=broken bs=1 seek=32 conv=notrunc 2>/dev/null
run 20 -- ./broken
expect 126 broken
# a segment that would lie in the kernel's half
cp "$SYS/hello_static" kernel
printf '\000\000\000\000\000\200\377\377' | dd of=kernel bs=1 seek=$((64 + 16)) conv=notrunc 2>/dev/null
run 20 -- ./kernel
expect 126 kernel
printf '#!/no/such/interpreter\n' >script
chmod +x script
run 20 -- ./script
expect 127 script
# of another machine
cp "$SYS/hello_static" arm
printf '\267\000' | dd of=arm bs=1 seek=18 conv=notrunc 2>/dev/null
run 20 -- ./arm
expect 126 arm
run 20 -- "$SYS/hello_static"
expect_status 0
