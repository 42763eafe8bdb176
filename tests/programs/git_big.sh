# A repository with a history: commits, branches, a merge with conflicts, gc with deltas on two threads, clones by file and by pipe, bisect.
# packages: git perl
# excache: 8M
. "$(dirname "$0")/lib.sh"
export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
git config --global user.email a@b
git config --global user.name n
git config --global init.defaultBranch main
git config --global pack.threads 2
git init -q r
cd r || exit
mkdir -p src/a src/b
for i in $(seq 60); do seq $i 1500 >src/a/f$i; done
head -c 400000 /dev/zero | tr '\0' 'x' >src/b/blob
git add . && git commit -qm base
for i in $(seq 12); do
	seq $i 3 1400 >src/a/f$i
	echo "line $i" >>log
	git add -A && git commit -qm "change $i"
done
git checkout -qb side HEAD~6
echo other >>log
git commit -qam side
git checkout -q main
git merge side 2>&1 | grep -c CONFLICT
git checkout -q --theirs log && git add log && git commit -qm merged
git gc -q --aggressive --prune=now
git fsck --full 2>&1
git count-objects -v | grep -E 'in-pack|packs|garbage'
git rev-parse HEAD
cd ..
git clone -q file://"$PWD"/r s 2>&1
git clone -q --bare r t
git -C s log --oneline --graph | head -20
git -C s diff --stat HEAD~3 | tail -3
git -C s bisect start HEAD HEAD~8 >/dev/null
git -C s bisect run sh -c '! grep -q "line 9" log' 2>/dev/null | grep 'first bad commit'
git -C s grep -c 777 -- src/a/f1
git -C s archive HEAD | md5sum
git -C t repack -adq && git -C t fsck
