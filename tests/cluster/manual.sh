# The manual names every command and every option of `lego run`; the shell completes commands, words, options and a program's files.
. "$TOP/tests/cluster/lib.sh"
page=$BUILD/packaging/lego.1
"$LEGO" --help | sed -n 's/^  \([a-z]*\)  *[a-z].*/\1/p' >words
[ "$(wc -l <words)" -ge 15 ] || fail "commands: $(wc -l <words)"
while read -r word; do
	grep -q "^\.SS lego $word" "$page" || fail "no section of lego $word"
done <words
"$LEGO" run --help | grep -o -e '--[a-z][a-z-]*' | sort -u >options
while read -r option; do
	grep -qF -e "${option//-/\\-}" "$page" || fail "no $option"
done <options
if command -v groff >/dev/null; then
	[ -z "$(groff -man -z -ww "$page" "$BUILD/packaging/lego.conf.5" 2>&1)" ] || fail "groff complains"
fi

. "$BUILD/packaging/lego"
completes() { # WANTED WORD...: the last word is the one that is being completed
	local wanted=$1
	shift
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
	_lego
	[ "${COMPREPLY[*]}" = "$wanted" ] || fail "$* completes to '${COMPREPLY[*]}', not '$wanted'"
}
completes 'status stats' lego sta
completes 'strace' lego str
completes '--excache --excache-max' lego run --exc
completes 'drain' lego node dr
completes 'memory' lego node add me
completes '--storage --storage-quota' lego vnode create --sto
completes 'words' lego run -- cat wor
