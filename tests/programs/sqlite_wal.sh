# Write-ahead log with two writers and two readers at once, a checkpoint under them, a writer killed in the middle, integrity after.
# packages: sqlite3
# excache: 2M
. "$(dirname "$0")/lib.sh"
q() { sqlite3 -cmd ".timeout 60000" t.db "$@"; }
q "pragma journal_mode=wal; create table t(w, i, b, primary key(w, i)); create table n(k primary key, v); insert into n values(0, 0)"
writer() {
	for i in $(seq 25); do
		q "begin immediate; insert into t select $1, value, hex(randomblob(100)) from generate_series($i * 100, $i * 100 + 99); update n set v = v + 100; commit" || echo "writer failed"
	done
}
reader() {
	for i in $(seq 25); do
		q "begin; select 'torn' where (select count(*) from t) <> (select v from n); commit" || echo "reader failed"
	done
}
writer 1 & writer 2 & reader & reader &
q "pragma wal_checkpoint(passive)" >/dev/null
wait
q "select w, count(*), min(i), max(i) from t group by w; select v from n; pragma integrity_check"
(q "begin immediate; insert into t select 9, value, hex(randomblob(300)) from generate_series(1, 500000); commit" & pid=$!; sleep 0.7; kill -9 $pid $(pgrep -P $pid) 2>/dev/null; wait $pid) 2>/dev/null
pkill -9 -f "select 9, value" 2>/dev/null
q "select count(*) in (0, 500000) from t where w = 9; pragma integrity_check; pragma wal_checkpoint(truncate)"
