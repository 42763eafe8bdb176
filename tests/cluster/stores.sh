# Programs over each page store, with memory in front and pools smaller than their data: results as natively, and what lego status says.
# timeout: 170
. "$TOP/tests/cluster/lib.sh"

cat >db.sql <<'END'
create table t(id integer primary key, name text, n integer, note text);
with recursive c(i) as (select 1 union all select i+1 from c where i<100000)
insert into t select i, 'customer ' || (i*7919 % 1000003), i*2654435761 % 4294967296, hex(i*i) || ' ordered ' || (i%17) || ' of item ' || (i*31%4001) from c;
create index tn on t(name);
select count(*), sum(n), min(name), max(note), sum(length(name)) from t where n % 7 <> 3;
END
sqlite3 :memory: ".read db.sql" >native
(cat db.sql && echo '.system while ! [ -e go ]; do sleep 0.1; done') >held.sql

node() { # FIELD of m0
	"$LEGO" status --cluster "$cluster" --json | jq -r ".components[] | select(.id == \"m0\") | .$1"
}
holds() { # FIELD at least BYTES
	[ "$(node "$1")" -ge "$2" ]
}
gone() {
	[ "$(node used_bytes)" = 0 ]
}

over() { # STORE LEAST-USED MOST-HELD UP-OPTION...: what the program has at its peak, and what that takes here
	local store=$1 used=$2 most=$3
	shift 3
	rm -f go
	up --store "$store" "$@"
	"$LEGO" run --cluster "$cluster" --excache 4M -- sqlite3 :memory: ".read held.sql" >printed 2>"$err" </dev/null &
	local runner=$!
	soon 45 holds used_bytes "$used" || fail "$store: $(node used_bytes) bytes are used, not $used; $(cat "$err")"
	[ "$(node store)" = "$store" ] || fail "status calls the store $(node store), not $store"
	[ "$(node store_bytes)" -le "$most" ] || fail "$store: $(node used_bytes) bytes of pages take $(node store_bytes) bytes, more than $most"
	touch go
	wait $runner || fail "$store: exit status $?: $(cat "$err")"
	cmp -s native printed || fail "$store: prints otherwise: $(diff native printed | head -5)"
	soon 10 gone || fail "$store: $(node used_bytes) bytes are used when no program runs"
	"$LEGO" down "$cluster" >/dev/null 2>&1
}
M=1048576
over compressed $((9 * M)) $((8 * M)) --memory 8M --store-ratio 4
over file $((9 * M)) $((2 * M)) --memory 32M --store-front 2M
over file $((9 * M)) $((2 * M)) --memory 32M --store-front 2M --store-dir "$TMP"
over spill $((9 * M)) $((2 * M)) --memory 32M --store-front 2M --transport tcp --encrypt

# a device that does not exist, one that is none, and a store that is unknown
try 20 "$LEGO" up "$cluster" --store file --store-dir /nowhere/deep
expect_status 1
grep -q "/nowhere/deep: No such file" "$err" || fail "no word of /nowhere/deep: $(cat "$err")"
try 20 "$LEGO" up "$cluster" --store tape
[ "$status" != 0 ] || fail "a store called tape was accepted"
grep -q -e "--store" "$err" || fail "no word of --store: $(cat "$err")"
