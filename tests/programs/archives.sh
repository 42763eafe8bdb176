# tar, xz -T2, zstd -T2, gzip, sparse and long names, links.
# packages: tar xz-utils zstd gzip
# excache: 24M
# timeout: 240
. "$(dirname "$0")/lib.sh"
mkdir -p d/$(printf 'long%.0s' $(seq 40))/x
for i in $(seq 30); do seq $i 20000 >d/f$i; done
ln -s f1 d/symlink
ln d/f2 d/hardlink
truncate -s 3M d/sparse
echo tail >>d/sparse
touch -d 2020-01-01 d/f3
tar --sort=name --mtime=2021-01-01 --owner=0 --group=0 -cSf a.tar d
md5sum <a.tar
xz -T2 -4 --block-size=1M -k a.tar && md5sum <a.tar.xz
zstd -q -T2 -9 a.tar -o a.tar.zst && md5sum <a.tar.zst
gzip -nk a.tar && md5sum <a.tar.gz
for c in xz zst gz; do
	mkdir out.$c && tar -xf a.tar.$c -C out.$c && diff -r --no-dereference d out.$c/d && echo "$c same"
done
stat -c '%h %s' out.xz/d/hardlink out.xz/d/sparse
tar -tvf a.tar.zst | head -4 | sed 's/ 20[0-9-]* / /'
xz -T2 -t a.tar.xz && zstd -q -t a.tar.zst && echo whole
