# Every applet of busybox that works in a container, natively and here. What is left out needs the host's hardware, mounts, boot or a network
# outside, or starts a machine's services; the list is at the end, and an applet that is neither run nor named there is said.
# packages: busybox-static
# excache: 1M
# timeout: 300
. "$(dirname "$0")/lib.sh"
export TZ=UTC
umask 022
have=" $(busybox --list | tr '\n' ' ') "

# b APPLET ARGUMENTS…: what it says and how it ends. Directories, pids and times must not be in it.
b() {
	[[ $have == *" $1 "* ]] || return # another build of it
	echo "$1" >>applets
	echo "== $1 ${2-}"
	busybox "$@" 2>&1
	local s=$?
	[ $s = 0 ] || echo "status $s"
}
# q APPLET …: only how it ends.
q() {
	echo "$1" >>applets
	busybox "$@" >q.out 2>&1
	echo "== $1: status $?, $(wc -l <q.out | sed 's/[1-9][0-9]*/some/') lines"
}
seen() { printf '%s\n' "$@" >>applets; }

busybox seq 1 300 >n
busybox seq 300 -1 200 >m
printf 'b 2\na 10\nc 1\n' >t

# ---- text
b seq 3
b cat t
b tac t
b sort t
b sort -n -k2 t
b uniq -c t
b wc n
b head -2 n
b tail -2 n
b cut -d' ' -f2 t
b tr a-c A-C <t
b sed -n 's/^a/x/p' t
b awk '{s += $2} END {print s}' t
b grep -c 1 n
b egrep '^(1|2)$' n
b fgrep 299 n
b fold -w 3 t
b expand -t 4 t
b unexpand -a t
b nl t
b od -c t
b hexdump -C t
b hd t
b xxd t
b xxd -p t
b strings t
b paste t t
b diff t n
b cmp t n
b rev t
b shuf -e one
b split -l 100 n part.
b cat part.ab
b printf '%05d %s\n' 7 seven
b echo -e 'a\tb'
b ascii
b factor 360
b expr 6 '*' 7
b bc <<<'2^70'
b dc -e '3 4 + p'
b cal 7 2024
b date -u -d '2024-02-29 12:00:00' +%s
b dos2unix t
b unix2dos t
b dos2unix t
b truncate -s 5 m
b tee copy <t
b more t
b less t </dev/null
b ed -s t </dev/null
b ts </dev/null
b yes </dev/null | busybox head -2
b xargs echo <t
b basename /a/b.c .c
b dirname /a/b.c
b test 1 -lt 2
b [ 1 -lt 2 ]
b [[ a = a ]]
b true
b false
b getopt ab: -a -b x y
b crc32 n
b cksum n
b sum n
b md5sum n
b sha1sum n
b sha256sum n
b sha3sum n
b sha512sum n
b md5sum -c <<<"$(busybox md5sum n)"
b base64 t
b uuencode t t.uu
b uuencode t named >uu
b uudecode -o undone uu
b cat undone
b ipcalc -n 10.1.2.3/16

# ---- files
b mkdir -p dir/in
b touch -d '2020-01-02 03:04:05' dir/f
b ls -l --full-time dir/f
b stat -c '%n %s %F %a' dir/f
b ln -s f dir/l
b link dir/f dir/hard
b readlink dir/l
b realpath dir/../t | sed 's,.*/,,'
b cp -a dir copied
b mv copied moved
b find moved
b chmod 600 dir/f
b chown 12:34 dir/f
b chgrp 56 dir/f
b stat -c '%u:%g %a' dir/f
b mkfifo pipe
b mknod pipe2 p
b du -s dir
b install -m 700 t dir/installed
b mktemp -u | sed 's,.*/,,;s/\..*//'
b unlink dir/hard
b shred -u m
b rm -r moved
b rmdir dir/in
b fallocate -l 1000 space
b sync
b fsync n
b which busybox
b dd if=n of=o bs=10 count=3
b df . | busybox head -1
b flock n echo locked
b setsid -w echo own session
b fstrim -h | busybox head -1
b run-parts --test dir
b nuke dir
b tree dir
b pwd | sed 's,.*/,,'
mkdir rp
printf '#!/bin/sh\necho ran\n' >rp/one
chmod +x rp/one
b run-parts rp
b mim
b deallocvt -h

printf 'a\nb\n' >old
printf 'a\nc\n' >new
busybox diff -u old new >change
b patch old change
b cmp old new
q mkswap space
q mkdosfs space
q mke2fs space
b fdisk -l t
q findfs LABEL=none
b fatattr t
b blkdiscard t
q losetup t

# ---- archives
b gzip -k n
b zcat n.gz | busybox md5sum
b gunzip -c n.gz | busybox wc
b bzip2 -k n
b bzcat n.bz2 | busybox md5sum
b bunzip2 -c n.bz2 | busybox wc -l
b lzop -k n
b lzop -dc n.lzo | busybox wc -l
xz -k n && xz --format=lzma -k n
b xzcat n.xz | busybox wc -l
b unxz -c n.xz | busybox wc -l
b xz -dc n.xz | busybox wc -l
b lzcat n.lzma | busybox wc -l
b unlzma -c n.lzma | busybox wc -l
b lzma -dc n.lzma | busybox wc -l
b tar cf a.tar n t
b tar tf a.tar
b tar xOf a.tar t
b ar -t /dev/null
printf 'n\nt\n' | b cpio -o -H newc >a.cpio
b cpio -t <a.cpio
printf '\037\235\220\141\024\0\0' >z.Z
b uncompress z.Z
b unzip -l nothing.zip
b rpm2cpio t
b rpm -q nothing
q dpkg -l
q dpkg-deb -c nothing.deb

# ---- processes and users
b sh -c 'echo $((6 * 7)); for i in 1 2; do echo $i; done | cat; exit 3'
b ash -c 'f() { echo "in $1"; }; f ash'
b env -i A=1 busybox env
b time -f '' true
b timeout 1 busybox sleep 5
b sleep 0
b usleep 10
b nice -n 5 busybox nice
b nohup echo nohup </dev/null
b nproc >/dev/null
b id -u
b whoami
b logname >/dev/null
b groups >/dev/null
b hostid
b uname -s
b arch
b linux64 busybox uname -m
b linux32 busybox uname -s
b setarch x86_64 true
b hostname >/dev/null
b dnsdomainname
b tty </dev/null
b ps -o pid,comm >ps.out
b pidof no-such-program
b kill -l 15
b killall -q no-such-program
busybox sleep 100 &
disown
b kill -15 $!

b renice -n 1 $$ >/dev/null
b chrt -p $$ >/dev/null
b taskset -p $$ >/dev/null
b ionice -c 3 true
b setpriv true
b chroot / /bin/busybox echo chrooted
b start-stop-daemon -S -x /bin/true
q timeout 2 busybox watch -t -n 1 echo tick
seen watch
b watchdog -h | busybox head -1
b xargs -n 2 echo <<<'1 2 3'
b env true
b su -c 'echo as root' root </dev/null
b mkpasswd -m sha256 -S 12345678 word
b cryptpw -m md5 -S 12345678 word
b nologin </dev/null
b last >/dev/null
b w >/dev/null
b who >/dev/null
b uptime >/dev/null
b free >/dev/null
b top -b -n 1 >/dev/null
b svok nothing
b svc nothing
b crontab -l -c none
b mesg </dev/null
b openvt -h | busybox head -1
b pmap $$ >/dev/null
b unshare -h | busybox head -1
b nsenter -h | busybox head -1
b busybox | busybox head -0
printf ':s/b/B/\n:wq\n' | b vi t >/dev/null
b cat t
b script -q -c 'echo typed' /dev/null </dev/null
b stty -a </dev/null
b clear
b reset >/dev/null
b resume nothing
b ubirename nothing
b logger -s said
b syslogd -h | busybox head -1
b sysctl -n kernel.ostype
b dmesg -h | busybox head -1
b lsmod >/dev/null
b ipneigh show >/dev/null
q logread
b modprobe nothing
q hwclock -u
q lsscsi
b mt status

# ---- the network of this machine
q ip link show lo
q ip -4 addr show lo
q ifconfig lo
q netstat -ln
q route -n
q arp -n
q nameif -h
port=$((20000 + RANDOM % 12000))
printf 'served\n' >served
busybox httpd -f -p 127.0.0.1:$port -h . &
server=$!
disown
wait_port $port
b wget -q -O - http://127.0.0.1:$port/served
(printf 'GET /served HTTP/1.0\r\n\r\n'; busybox sleep 0.3) | b nc 127.0.0.1 $port | busybox tail -1
seen httpd
busybox kill $server
b nslookup -h | busybox head -1
b ping -h | busybox head -1
port=$((20000 + RANDOM % 12000))
busybox nc -l -p $port -e busybox cat &
server=$!
disown
wait_port $port
busybox kill $server 2>/dev/null
b ftpget 127.0.0.1 a b
b ftpput 127.0.0.1 a b
b rdate 127.0.0.1
b ssl_client -h | busybox head -1
b telnet 127.0.0.1 1 </dev/null

# ---- left out: hardware, mounts, modules, boot, consoles, disks, other hosts, services
seen acpid adjtimex arping cttyhack blockdev brctl chvt crond depmod devmem dumpkmap dumpleases freeramdisk fsfreeze \
	getty halt i2cdetect i2cdump i2cget i2cset i2ctransfer ifdown ifup init insmod klogd linuxrc loadfont loadkmap login \
	mdev microcom modinfo mount partprobe passwd ping6 pivot_root poweroff \
	reboot rmmod run-init setkeycodes sulogin swapoff swapon switch_root tc telnetd tftp traceroute traceroute6 tunctl udhcpc udhcpd uevent umount vconfig
for a in $have; do
	grep -qxF -- "$a" applets || echo "not run: $a"
done
