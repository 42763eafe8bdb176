/* The manager's durable state in SQLite. WAL with synchronous=FULL: a commit is on the disk when it returns. One connection, one
 * thread; exclusive locking, since one manager owns the directory. */
#include "manager/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sqlite_store {
	struct gm_store store; /* first */
	sqlite3 *db;
};

static struct sqlite_store *of(struct gm_store *s)
{
	return (struct sqlite_store *)s;
}

static const char schema[] =
	"PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
	"BEGIN IMMEDIATE;"
	"CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS component(name TEXT PRIMARY KEY, kind INTEGER NOT NULL, addr TEXT NOT NULL, incarnation INTEGER NOT NULL,"
	" total_bytes INTEGER NOT NULL, host_pid INTEGER NOT NULL, cores INTEGER NOT NULL, draining INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS vnode(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, ip TEXT NOT NULL, storage TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS vnode_spec(id INTEGER PRIMARY KEY REFERENCES vnode(id) ON DELETE CASCADE, memory INTEGER NOT NULL,"
	" excache INTEGER NOT NULL, cpus INTEGER NOT NULL, replicas INTEGER NOT NULL, own_net INTEGER NOT NULL, image TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS vnode_quota(id INTEGER PRIMARY KEY REFERENCES vnode(id) ON DELETE CASCADE, storage_mib INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS vnode_label(id INTEGER NOT NULL REFERENCES vnode(id) ON DELETE CASCADE, kind INTEGER NOT NULL,"
	" labels TEXT NOT NULL, PRIMARY KEY(id, kind));"
	"CREATE TABLE IF NOT EXISTS seat(processor TEXT PRIMARY KEY, seat INTEGER UNIQUE NOT NULL);"
	"CREATE TABLE IF NOT EXISTS chain(owner TEXT PRIMARY KEY, standby TEXT NOT NULL DEFAULT '', epoch INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS pair(id INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL, flags INTEGER NOT NULL, owner TEXT NOT NULL,"
	" owner_incarnation INTEGER NOT NULL, standby TEXT NOT NULL, standby_incarnation INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS pair_vnode(id INTEGER PRIMARY KEY REFERENCES pair(id) ON DELETE CASCADE, vnode INTEGER NOT NULL);"
	"INSERT OR IGNORE INTO meta VALUES('term', 0), ('next_asid', 1), ('next_vnode', 1), ('schema', 1);"
	"COMMIT;";

static const char *s_error(struct gm_store *s)
{
	return sqlite3_errmsg(of(s)->db);
}

static sqlite3_stmt *prepare(struct gm_store *s, const char *sql)
{
	sqlite3_stmt *st = NULL;
	return sqlite3_prepare_v2(of(s)->db, sql, -1, &st, NULL) == SQLITE_OK ? st : NULL;
}

/* Runs a statement that returns no row; frees it. */
static int run(sqlite3_stmt *st)
{
	if (!st)
		return -EIO;
	int rc = sqlite3_step(st);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : -EIO;
}

static void bind_text(sqlite3_stmt *st, int i, const char *text)
{
	if (st)
		sqlite3_bind_text(st, i, text, -1, SQLITE_TRANSIENT);
}

static void bind_u64(sqlite3_stmt *st, int i, u64 n)
{
	if (st)
		sqlite3_bind_int64(st, i, (sqlite3_int64)n);
}

/* The single number a statement returns; frees it. false: no row or an error. */
static bool number(sqlite3_stmt *st, u64 *n)
{
	bool got = st && sqlite3_step(st) == SQLITE_ROW;
	if (got)
		*n = (u64)sqlite3_column_int64(st, 0);
	/* a RETURNING statement commits only when it is stepped to its end */
	if (got)
		got = sqlite3_step(st) == SQLITE_DONE;
	sqlite3_finalize(st);
	return got;
}

static void s_close(struct gm_store *s)
{
	if (!s)
		return;
	sqlite3_close(of(s)->db);
	free(s);
}

static u64 s_cluster_id(struct gm_store *s)
{
	u64 id = 0;
	number(prepare(s, "SELECT value FROM meta WHERE key='cluster_id'"), &id);
	return id;
}

static u64 s_new_term(struct gm_store *s)
{
	u64 term = 0;
	return number(prepare(s, "UPDATE meta SET value=value+1 WHERE key='term' RETURNING value"), &term) ? term : 0;
}

static u64 s_take_asids(struct gm_store *s, u32 count)
{
	u64 next = 0;
	sqlite3_stmt *st = prepare(s, "UPDATE meta SET value=value+? WHERE key='next_asid' RETURNING value");
	bind_u64(st, 1, count);
	return number(st, &next) ? next - count : 0;
}

static int s_put_component(struct gm_store *s, const struct stored_component *c)
{
	sqlite3_stmt *st = prepare(s, "INSERT OR REPLACE INTO component VALUES(?,?,?,?,?,?,?,?)");
	bind_text(st, 1, c->name);
	bind_u64(st, 2, c->kind);
	bind_text(st, 3, c->addr);
	bind_u64(st, 4, c->incarnation);
	bind_u64(st, 5, c->total_bytes);
	bind_u64(st, 6, c->host_pid);
	bind_u64(st, 7, c->cores);
	bind_u64(st, 8, c->draining);
	return run(st);
}

static int s_drop_component(struct gm_store *s, const char *name)
{
	sqlite3_stmt *st = prepare(s, "DELETE FROM component WHERE name=?");
	bind_text(st, 1, name);
	return run(st);
}

static int exec(struct gm_store *s, const char *sql)
{
	return sqlite3_exec(of(s)->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -EIO;
}

static int s_drop_components(struct gm_store *s)
{
	return exec(s, "DELETE FROM component");
}

static int insert_labels(struct gm_store *s, const struct stored_vnode *v)
{
	int rc = 0;
	for (u32 i = 0; i < ARRAY_SIZE(v->spec.on) && !rc; i++) {
		if (!v->spec.on[i][0])
			continue;
		sqlite3_stmt *st = prepare(s, "INSERT INTO vnode_label VALUES(?,?,?)");
		bind_u64(st, 1, v->id);
		bind_u64(st, 2, i + 1);
		bind_text(st, 3, v->spec.on[i]);
		rc = run(st);
	}
	return rc;
}

static int insert_vnode(struct gm_store *s, const struct stored_vnode *v)
{
	sqlite3_stmt *st = prepare(s, "INSERT INTO vnode VALUES(?,?,?,?)");
	bind_u64(st, 1, v->id);
	bind_text(st, 2, v->name);
	bind_text(st, 3, v->spec.ip);
	bind_text(st, 4, v->spec.storage);
	int rc = run(st);
	if (rc)
		return rc;
	st = prepare(s, "INSERT INTO vnode_spec VALUES(?,?,?,?,?,?,?)");
	bind_u64(st, 1, v->id);
	bind_u64(st, 2, v->spec.memory_bytes);
	bind_u64(st, 3, v->spec.excache_bytes);
	bind_u64(st, 4, v->spec.cpus);
	bind_u64(st, 5, v->spec.replicas);
	bind_u64(st, 6, v->spec.own_net);
	bind_text(st, 7, v->spec.image);
	rc = run(st);
	if (!rc)
		rc = insert_labels(s, v);
	if (rc || !v->spec.storage_mib)
		return rc;
	st = prepare(s, "INSERT INTO vnode_quota VALUES(?,?)");
	bind_u64(st, 1, v->id);
	bind_u64(st, 2, v->spec.storage_mib);
	return run(st);
}

static int s_drop_chains(struct gm_store *s)
{
	return exec(s, "DELETE FROM pair");
}

static int s_add_vnode(struct gm_store *s, struct stored_vnode *v)
{
	u64 next = 0;
	if (exec(s, "BEGIN IMMEDIATE"))
		return -EIO;
	if (number(prepare(s, "UPDATE meta SET value=value+1 WHERE key='next_vnode' RETURNING value"), &next)) {
		v->id = (u32)(next - 1);
		if (!v->spec.ip[0])
			gm_store_default_ip(v);
		if (!insert_vnode(s, v) && !exec(s, "COMMIT"))
			return 0;
	}
	(void)exec(s, "ROLLBACK");
	return -EIO;
}

static int s_drop_vnode(struct gm_store *s, u32 id)
{
	sqlite3_stmt *st = prepare(s, "DELETE FROM vnode WHERE id=?");
	bind_u64(st, 1, id);
	return run(st);
}

static s64 s_seat(struct gm_store *s, const char *processor)
{
	u64 seat = 0;
	sqlite3_stmt *st = prepare(s, "INSERT INTO seat VALUES(?, (SELECT coalesce(max(seat)+1, 0) FROM seat))"
				      " ON CONFLICT(processor) DO UPDATE SET seat=seat RETURNING seat");
	bind_text(st, 1, processor);
	return number(st, &seat) ? (s64)seat : -1;
}

static u32 s_next_epoch(struct gm_store *s, const char *owner)
{
	u64 epoch = 0;
	sqlite3_stmt *st = prepare(s, "INSERT INTO chain(owner, epoch) VALUES(?, 1) ON CONFLICT(owner) DO UPDATE SET epoch=epoch+1 RETURNING epoch");
	bind_text(st, 1, owner);
	return number(st, &epoch) ? (u32)epoch : 0;
}

static bool put_pair(struct gm_store *s, const struct stored_chain *c, u64 *id)
{
	sqlite3_stmt *st = prepare(s, "INSERT OR REPLACE INTO pair VALUES(nullif(?, 0),?,?,?,?,?,?) RETURNING id");
	bind_u64(st, 1, c->id);
	bind_u64(st, 2, c->epoch);
	bind_u64(st, 3, c->flags);
	bind_text(st, 4, c->owner);
	bind_u64(st, 5, c->owner_incarnation);
	bind_text(st, 6, c->standby);
	bind_u64(st, 7, c->standby_incarnation);
	return number(st, id);
}

static int s_put_chain(struct gm_store *s, struct stored_chain *c)
{
	u64 id = 0;
	if (c->vnode && exec(s, "BEGIN IMMEDIATE"))
		return -EIO;
	bool ok = put_pair(s, c, &id);
	if (c->vnode && ok) { /* replacing a pair took its vNode along */
		sqlite3_stmt *st = prepare(s, "INSERT OR REPLACE INTO pair_vnode VALUES(?,?)");
		bind_u64(st, 1, id);
		bind_u64(st, 2, c->vnode);
		ok = !run(st) && !exec(s, "COMMIT");
	}
	if (c->vnode && !ok)
		(void)exec(s, "ROLLBACK");
	if (!ok)
		return -EIO;
	c->id = (u32)id;
	return 0;
}

static int s_drop_chain(struct gm_store *s, u32 id)
{
	sqlite3_stmt *st = prepare(s, "DELETE FROM pair WHERE id=?");
	bind_u64(st, 1, id);
	return run(st);
}

static void column_text(sqlite3_stmt *st, int i, char *to, size_t room)
{
	const char *text = (const char *)sqlite3_column_text(st, i);
	snprintf(to, room, "%s", text ? text : "");
}

static int s_each_component(struct gm_store *s, void (*each)(void *arg, const struct stored_component *c), void *arg)
{
	int rc;
	sqlite3_stmt *st = prepare(s, "SELECT name, kind, addr, incarnation, total_bytes, host_pid, cores, draining, coalesce(epoch, 0)"
				      " FROM component LEFT JOIN chain ON owner=name ORDER BY kind, length(name), name");
	if (!st)
		return -EIO;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct stored_component c = {
			.kind = (u8)sqlite3_column_int(st, 1),
			.incarnation = (u64)sqlite3_column_int64(st, 3),
			.total_bytes = (u64)sqlite3_column_int64(st, 4),
			.host_pid = (u32)sqlite3_column_int64(st, 5),
			.cores = (u32)sqlite3_column_int64(st, 6),
			.draining = sqlite3_column_int(st, 7),
			.epoch = (u32)sqlite3_column_int64(st, 8),
		};
		column_text(st, 0, c.name, sizeof(c.name));
		column_text(st, 2, c.addr, sizeof(c.addr));
		each(arg, &c);
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

static int s_each_chain(struct gm_store *s, void (*each)(void *arg, const struct stored_chain *c), void *arg)
{
	int rc;
	sqlite3_stmt *st = prepare(s, "SELECT pair.id, epoch, flags, owner_incarnation, standby_incarnation, owner, standby, coalesce(vnode, 0) FROM pair"
				      " LEFT JOIN pair_vnode ON pair_vnode.id=pair.id ORDER BY pair.id");
	if (!st)
		return -EIO;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct stored_chain c = {
			.id = (u32)sqlite3_column_int64(st, 0),
			.epoch = (u32)sqlite3_column_int64(st, 1),
			.flags = (u32)sqlite3_column_int64(st, 2),
			.owner_incarnation = (u64)sqlite3_column_int64(st, 3),
			.standby_incarnation = (u64)sqlite3_column_int64(st, 4),
			.vnode = (u32)sqlite3_column_int64(st, 7),
		};
		column_text(st, 5, c.owner, sizeof(c.owner));
		column_text(st, 6, c.standby, sizeof(c.standby));
		each(arg, &c);
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

static int s_each_vnode(struct gm_store *s, void (*each)(void *arg, const struct stored_vnode *v), void *arg)
{
	int rc;
	sqlite3_stmt *st = prepare(s, "SELECT vnode.id, name, ip, storage, coalesce(memory, 0), coalesce(excache, 0), coalesce(cpus, 0),"
				      " coalesce(replicas, 0), coalesce(own_net, 0), coalesce(image, ''), coalesce(storage_mib, 0),"
				      " coalesce(p.labels, ''), coalesce(m.labels, ''), coalesce(f.labels, '') FROM vnode"
				      " LEFT JOIN vnode_spec ON vnode_spec.id=vnode.id LEFT JOIN vnode_quota ON vnode_quota.id=vnode.id"
				      " LEFT JOIN vnode_label p ON p.id=vnode.id AND p.kind=1 LEFT JOIN vnode_label m ON m.id=vnode.id AND m.kind=2"
				      " LEFT JOIN vnode_label f ON f.id=vnode.id AND f.kind=3 ORDER BY vnode.id");
	if (!st)
		return -EIO;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct stored_vnode v = {
			.id = (u32)sqlite3_column_int64(st, 0),
			.spec = {.memory_bytes = (u64)sqlite3_column_int64(st, 4),
				 .excache_bytes = (u64)sqlite3_column_int64(st, 5),
				 .cpus = (u32)sqlite3_column_int64(st, 6),
				 .replicas = (u32)sqlite3_column_int64(st, 7),
				 .own_net = (u32)sqlite3_column_int64(st, 8),
				 .storage_mib = (u32)sqlite3_column_int64(st, 10)},
		};
		column_text(st, 1, v.name, sizeof(v.name));
		column_text(st, 2, v.spec.ip, sizeof(v.spec.ip));
		column_text(st, 3, v.spec.storage, sizeof(v.spec.storage));
		column_text(st, 9, v.spec.image, sizeof(v.spec.image));
		for (int i = 0; i < (int)ARRAY_SIZE(v.spec.on); i++)
			column_text(st, 11 + i, v.spec.on[i], sizeof(v.spec.on[i]));
		each(arg, &v);
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

static const struct gm_store_ops sqlite_ops = {
	.close = s_close,
	.error = s_error,
	.cluster_id = s_cluster_id,
	.new_term = s_new_term,
	.take_asids = s_take_asids,
	.put_component = s_put_component,
	.drop_component = s_drop_component,
	.drop_components = s_drop_components,
	.add_vnode = s_add_vnode,
	.drop_vnode = s_drop_vnode,
	.seat = s_seat,
	.next_epoch = s_next_epoch,
	.put_chain = s_put_chain,
	.drop_chain = s_drop_chain,
	.drop_chains = s_drop_chains,
	.each_chain = s_each_chain,
	.each_component = s_each_component,
	.each_vnode = s_each_vnode,
};

struct gm_store *gm_store_open(const char *path, u64 new_cluster_id, char *err, size_t err_len)
{
	struct sqlite_store *mine = calloc(1, sizeof(*mine));
	struct gm_store *s = mine ? &mine->store : NULL;
	if (!s)
		return NULL;
	s->ops = &sqlite_ops;
	u64 version = 0;
	if (sqlite3_open(path, &of(s)->db) != SQLITE_OK || sqlite3_exec(of(s)->db, schema, NULL, NULL, NULL) != SQLITE_OK) {
		snprintf(err, err_len, "%s: %s", path, of(s)->db ? sqlite3_errmsg(of(s)->db) : "out of memory");
		s_close(s);
		return NULL;
	}
	sqlite3_stmt *st = prepare(s, "INSERT OR IGNORE INTO meta VALUES('cluster_id', ?)");
	bind_u64(st, 1, new_cluster_id);
	bool ok = !run(st) && number(prepare(s, "SELECT value FROM meta WHERE key='schema'"), &version);
	if (!ok || version != 1) {
		snprintf(err, err_len, "%s: schema %llu, this program knows 1", path, (unsigned long long)version);
		s_close(s);
		return NULL;
	}
	return s;
}
