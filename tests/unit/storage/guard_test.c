/* What the storage node must not do: see or touch what is not its vNode's, or fall over what it is sent. */
#include "tests/unit/storage/world.h"

#include <linux/fs.h>
#include <sys/wait.h>

/* ---- definitions */

struct def {
	struct sd_vnode_req req;
	u8 data[512];
	u32 len;
};

static void def_path(struct def *d, u32 *len, const char *path)
{
	*len = (u32)strlen(path);
	memcpy(d->data + d->len, path, *len);
	d->len += *len;
}

static void def_bind(struct def *d, const char *host, const char *dir)
{
	struct sd_bind b = {0};
	u32 where = d->len;
	d->len += (u32)sizeof(b);
	def_path(d, &b.host_len, host);
	def_path(d, &b.dir_len, dir);
	memcpy(d->data + where, &b, sizeof(b));
	d->req.nbind++;
}

static s32 define(struct world *w, struct def *d)
{
	return call(w, w->admin, OP_SD_VNODE, &d->req, sizeof(d->req), d->data, d->len);
}

static void test_define(void **state)
{
	struct world *w = *state;
	struct stat st;
	host_dir(w, "bind2", 0755);
	host_dir(w, "lower/real", 0755);
	host_link(w, "lower/alias", "real");
	host_file(w, "bind/f", "1", 0644);
	host_file(w, "bind2/f", "2", 0644);
	struct def d = {.req.vnode = VN};
	def_path(&d, &d.req.lower_len, at(w, "lower"));
	def_path(&d, &d.req.upper_len, at(w, "mine"));
	struct def bare = d;
	def_bind(&d, at(w, "bind"), "/alias//deep/./er/");
	def_bind(&d, at(w, "bind2"), "/real/deep/er/in");
	assert_int_equal(define(w, &d), 0);
	for (int i = 0; i < 2; i++) {
		expect_text(w, "/real/deep/er/f", "1");
		expect_text(w, "/alias/deep/er/in/f", "2");
		resolves(w, "/alias/deep/er/in/..", "/real/deep/er");
		assert_int_equal(t_rename(w, "/real/deep", "/x", 0), -EBUSY);
		assert_int_equal(t_rmdir(w, "/real/deep/er/in"), -EBUSY);
		assert_int_equal(t_put(w, i ? "/b" : "/a", "kept"), 0);
		world_restart(w);
	}
	assert_int_equal(stat(at(w, "mine/files/a"), &st), 0);
	/* without the binds: what is open goes on, the private layer stays */
	struct file_ref f;
	char buf[4];
	assert_int_equal(t_open(w, "/real/deep/er/f", O_RDONLY, 0, &f), 0);
	assert_int_equal(define(w, &bare), 0);
	assert_int_equal(t_stat(w, "/real/deep/er/f"), -ENOENT);
	expect_text(w, "/a", "kept");
	if (!geteuid())
		assert_int_equal(t_read(w, &f, 0, buf, sizeof(buf)), 1);
	/* the same definition after the host made the directory anew */
	static struct def again;
	again = bare;
	def_bind(&again, at(w, "bind2"), "/real/again");
	assert_int_equal(define(w, &again), 0);
	expect_text(w, "/real/again/f", "2");
	assert_int_equal(unlink(at(w, "bind2/f")) | rmdir(at(w, "bind2")), 0);
	host_dir(w, "bind2", 0755);
	host_file(w, "bind2/f", "anew", 0644);
	assert_int_equal(define(w, &again), 0);
	expect_text(w, "/real/again/f", "anew");
	assert_int_equal(define(w, &bare), 0);
	/* refused, and the old definition stays */
	static const char *const bad[] = {"/proc/x", "/dev", "/", "/a/../b", "/a"};
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		struct def e = bare;
		def_bind(&e, at(w, "bind"), bad[i]);
		assert_true(define(w, &e) < 0);
		expect_text(w, "/a", "kept");
	}
	struct def e = bare;
	def_bind(&e, at(w, "nowhere"), "/ok");
	assert_int_equal(define(w, &e), -ENOENT);
	expect_text(w, "/a", "kept");
	/* a copy-up still works: the work directory was not swept away by what failed */
	assert_int_equal(t_chmod(w, "/real", 0700), 0);
	/* a vNode whose host directory is gone is not served, the sd starts */
	d.req.vnode = VN + 1;
	d.req.upper_len = 0;
	struct def g = {.req.vnode = VN + 1};
	host_dir(w, "soon", 0755);
	def_path(&g, &g.req.lower_len, at(w, "soon"));
	assert_int_equal(define(w, &g), 0);
	assert_int_equal(rmdir(at(w, "soon")), 0);
	world_restart(w);
	expect_text(w, "/a", "kept");
}

/* The host changes names under the walk as fast as it can: never is anything outside seen. */
static void test_race(void **state)
{
	struct world *w = *state;
	char buf[16];
	u32 in = 0;
	w->with_bind = true;
	host_dir(w, "outside", 0755);
	host_file(w, "outside/f", "secret", 0644);
	host_dir(w, "bind/x", 0755);
	host_file(w, "bind/x/f", "inside", 0644);
	host_link(w, "bind/y", "../outside");
	world_define(w);
	char x[128], y[128];
	snprintf(x, sizeof(x), "%s", at(w, "bind/x"));
	snprintf(y, sizeof(y), "%s", at(w, "bind/y"));
	pid_t pid = fork();
	if (!pid)
		for (u32 i = 0; i < 20000; i++)
			if (renameat2(AT_FDCWD, x, AT_FDCWD, y, RENAME_EXCHANGE))
				_exit(1);
	if (!pid)
		_exit(0);
	int st;
	while (!waitpid(pid, &st, WNOHANG)) {
		struct file_ref f;
		s32 rc = t_open(w, in & 1 ? "/bind/x/f" : "/bind/y/../x/f", O_RDONLY, 0, &f);
		assert_true(!rc || rc == -ENOENT || rc == -ELOOP || rc == -ENOTDIR);
		if (!rc && t_read(w, &f, 0, buf, sizeof(buf)) == 6)
			assert_memory_equal(buf, "inside", 6);
		in++;
	}
	assert_int_equal(st, 0);
}

/* ---- permissions */

#define USER 1234u

static s32 as_user(struct world *w, conn_id c, u16 op, const char *path, u32 mode, u64 arg)
{
	conn_id own = w->conn;
	w->conn = c;
	s32 rc = path_call(w, op, path, NULL, 0, mode, arg);
	w->conn = own;
	return rc;
}

static void test_permissions(void **state)
{
	struct world *w = *state;
	if (geteuid())
		skip(); /* the host checks */
	host_dir(w, "lower/priv", 0700);
	host_file(w, "lower/priv/f", "f", 0644);
	host_dir(w, "lower/tmp", 01777);
	host_file(w, "lower/tmp/roots", "r", 0644);
	host_file(w, "lower/secret", "s", 0600);
	host_file(w, "lower/exec", "x", 0711);
	host_dir(w, "lower/pub", 0755);
	host_link(w, "lower/pub/l", "../priv/f");
	world_define(w);
	u64 session = w->session;
	w->session = 77;
	conn_id u = world_channel(w, ROLE_VNODE, VN, USER);
	assert_int_equal(as_user(w, u, OP_SD_STAT, "/priv/f", 0, 0), -EACCES);
	assert_int_equal(as_user(w, u, OP_SD_STAT, "/pub/l", 0, 0), -EACCES);
	assert_int_equal(as_user(w, u, OP_SD_STAT, "/priv", 0, 0), 0);
	assert_int_equal(as_user(w, u, OP_SD_OPEN, "/secret", 0, O_RDONLY), -EACCES);
	assert_int_equal(as_user(w, u, OP_SD_OPEN, "/exec", 0, O_RDONLY), -EACCES);
	assert_int_equal(as_user(w, u, OP_SD_ACCESS, "/exec", 1, 0), 0);
	assert_int_equal(as_user(w, u, OP_SD_ACCESS, "/exec", 5, 0), -EACCES);
	assert_int_equal(as_user(w, u, OP_SD_OPEN, "/tmp/roots", 0, O_WRONLY), -EACCES);
	assert_int_equal(as_user(w, u, OP_SD_OPEN, "/pub/new", 0644, O_WRONLY | O_CREAT), -EACCES);
	assert_int_equal(as_user(w, u, OP_SD_MKDIR, "/pub/new", 0755, 0), -EACCES);
	assert_int_equal(as_user(w, u, OP_SD_UNLINK, "/pub/l", 0, 0), -EACCES);
	assert_int_equal(as_user(w, u, OP_SD_UNLINK, "/tmp/roots", 0, 0), -EPERM);
	/* what it may: and it owns what it makes, whatever the request says */
	assert_int_equal(as_user(w, u, OP_SD_OPEN, "/tmp/mine", 04755, O_WRONLY | O_CREAT), 0);
	assert_int_equal(opened(w)->attr.uid, USER);
	assert_int_equal(opened(w)->attr.gid, USER);
	struct file_ref f = opened(w)->handle;
	w->conn = u;
	assert_int_equal(t_write(w, &f, 0, "x", 1, 0), 1);
	assert_int_equal(t_stat(w, "/tmp/mine"), 0);
	assert_int_equal(opened(w)->attr.mode, S_IFREG | 0755); /* writing took the set-uid bit */
	assert_int_equal(t_chmod(w, "/tmp/mine", 0600), 0);
	assert_int_equal(t_chmod(w, "/tmp/roots", 0666), -EPERM);
	assert_int_equal(t_link(w, "/tmp/roots", "/tmp/roots2"), -EPERM);
	struct sd_setattr_req q = {.len = 9, .mask = SDA_UID, .uid = 0};
	assert_int_equal(call(w, u, OP_SD_SETATTR, &q, sizeof(q), "/tmp/mine", 9), -EPERM);
	assert_int_equal(t_unlink(w, "/tmp/mine"), 0);
	/* by id: no way round */
	w->session = session;
	w->conn = u - 1;
	assert_int_equal(t_stat(w, "/secret"), 0);
	struct sd_open_id_req o = {.id = {opened(w)->attr.id[0], opened(w)->attr.id[1]}, .rights = FILE_R};
	assert_int_equal(call(w, u, OP_SD_OPEN_ID, &o, sizeof(o), NULL, 0), -EACCES);
	/* a root channel may act for another user */
	struct sd_path_req p = {.len = 10, .mode = 0755, .uid = USER, .gid = USER};
	assert_int_equal(call(w, w->conn, OP_SD_MKDIR, &p, sizeof(p), "/tmp/users", 10), 0);
	assert_int_equal(opened(w)->attr.uid, USER);
	assert_int_equal(call(w, w->conn, OP_SD_MKDIR, &p, sizeof(p), "/pub/users", 10), -EACCES);
}

static void test_secrets(void **state)
{
	struct world *w = *state;
	u32 n;
	s32 rc;
	struct sd_vnode_req v = {.vnode = VN, .lower_len = (u32)strlen(w->dir)};
	assert_int_equal(call(w, w->admin, OP_SD_VNODE, &v, sizeof(v), w->dir, v.lower_len), 0);
	assert_int_equal(t_stat(w, "/lower"), 0);
	assert_int_equal(t_stat(w, "/data"), -ENOENT);
	assert_int_equal(t_stat(w, "/data/key"), -ENOENT);
	assert_int_equal(t_stat(w, "/lower/../data/key"), -ENOENT);
	char **names = t_list(w, "/", 4096, &n, &rc);
	assert_true(in_list(names, "lower") && !in_list(names, "data"));
	names_free(names);
	assert_int_equal(t_mkdir(w, "/data"), 0); /* its own */
	assert_int_equal(t_stat(w, "/data/key"), -ENOENT);
	/* nor in a bound directory, nor is anything made in it */
	struct stat st;
	struct def d = {.req.vnode = VN};
	def_bind(&d, w->dir, "/host");
	assert_int_equal(define(w, &d), 0);
	assert_int_equal(t_put(w, "/host/beside", "x"), 0);
	assert_int_equal(t_open(w, "/host/data/key", O_RDONLY, 0, NULL), -ENOENT);
	assert_int_equal(t_open(w, "/host/data/made", O_CREAT | O_EXCL | O_WRONLY, 0644, NULL), -ENOENT);
	assert_int_equal(t_open(w, "/host/data/made", O_CREAT | O_WRONLY, 0644, NULL), -ENOENT);
	assert_true(t_open(w, "/host/data", O_CREAT | O_EXCL | O_WRONLY, 0644, NULL) < 0);
	assert_int_equal(stat(at(w, "data/made"), &st), -1);
}

/* ---- hostile messages */

static s32 raw(struct world *w, u32 len, u32 len2, const char *data, u32 data_len)
{
	struct sd_path_req q = {.len = len, .len2 = len2};
	return call(w, w->conn, OP_SD_STAT, &q, sizeof(q), data, data_len);
}

static void test_hostile(void **state)
{
	READY(state);
	static char big[2 * PATH_ROOM];
	struct sd_path_req q = {.len = 2};
	struct file_ref zeros = {.vnode = VN};
	assert_int_equal(t_io(w, OP_SD_GETATTR, &zeros, 0, 0, 0), -WIRE_UNAUTHORISED);
	assert_int_equal(raw(w, 4, 0, "/abc", 4), -ENOENT);
	assert_int_equal(raw(w, 5, 0, "/abc", 4), -WIRE_BAD_MESSAGE);
	assert_int_equal(w->closed, w->conn);
	assert_int_equal(raw(w, 3, 0, "/abc", 4), -WIRE_BAD_MESSAGE);
	assert_int_equal(raw(w, ~0u, 5, "/abc", 4), -WIRE_BAD_MESSAGE);
	assert_int_equal(raw(w, 4, ~0u, "/abc", 4), -WIRE_BAD_MESSAGE);
	assert_int_equal(raw(w, 0, 0, NULL, 0), -EINVAL);
	assert_int_equal(raw(w, 4, 0, "abcd", 4), -EINVAL);
	assert_int_equal(raw(w, 4, 0, "/a\0b", 4), -EINVAL);
	assert_int_equal(raw(w, 2, 2, "/a/b", 4), -EINVAL);
	memset(big, 'a', sizeof(big));
	big[0] = '/';
	assert_int_equal(raw(w, 4096, 0, big, 4096), -ENAMETOOLONG);
	assert_int_equal(raw(w, 4095, 0, big, 4095), -ENAMETOOLONG);
	assert_int_equal(raw(w, 8000, 0, big, 8000), -WIRE_BAD_MESSAGE);
	for (u32 i = 0; i < 4095; i++)
		big[i] = "/./."[i % 4];
	assert_int_equal(raw(w, 4094, 0, big, 4094), 0);
	/* truncated fixed parts; ops of others */
	assert_int_equal(call(w, w->conn, OP_SD_STAT, &q, 8, NULL, 0), -WIRE_BAD_MESSAGE);
	assert_int_equal(call(w, w->conn, OP_SD_READ, &q, sizeof(q), NULL, 0), -WIRE_BAD_MESSAGE);
	struct sd_vnode_req v = {.vnode = VN, .lower_len = 1};
	assert_int_equal(call(w, w->conn, OP_SD_VNODE, &v, sizeof(v), "/", 1), -WIRE_UNAUTHORISED);
	assert_int_equal(call(w, w->admin, OP_SD_STAT, &q, sizeof(q), "/f", 2), -WIRE_UNAUTHORISED);
	call(w, w->conn, OP_GM_STATUS, NULL, 0, NULL, 0);
	assert_int_equal(w->replies, 0);
	assert_int_equal(w->closed, w->conn);
	/* definitions */
	static const struct sd_vnode_req bad[] = {{.vnode = 1, .lower_len = 100},
						  {.vnode = 1, .lower_len = 1, .nbind = 1},
						  {.vnode = 1, .lower_len = 1, .nbind = ~0u},
						  {.vnode = 1, .upper_len = 7, .lower_len = 1}};
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(call(w, w->admin, OP_SD_VNODE, &bad[i], sizeof(bad[i]), "/", 1) < 0);
	v = (struct sd_vnode_req){.vnode = 1, .lower_len = 1};
	assert_int_equal(call(w, w->admin, OP_SD_VNODE, &v, sizeof(v), "/junk", 5), -WIRE_BAD_MESSAGE);
}

static void test_random_bytes(void **state)
{
	READY(state);
	u64 seed = 3;
	static u8 data[8192];
	u32 count;
	const struct op_row *rows = op_rows(&count);
	t_put(w, "/f", "x");
	for (u32 i = 0; i < 20000; i++) {
		const struct op_row *row = &rows[world_rand(&seed) % count];
		if (row->op >> 8 != 3 || row->op == OP_SD_VNODE)
			continue;
		u8 fixed[256];
		u32 n = (u32)(world_rand(&seed) % 64);
		for (u32 k = 0; k < sizeof(fixed); k++)
			fixed[k] = world_rand(&seed) % 3 ? 0 : (u8)world_rand(&seed) & 15;
		for (u32 k = 0; k < n; k++)
			data[k] = (u8) "/f.\0ab/"[world_rand(&seed) % 7];
		if (row->op == OP_SD_OPEN_IDS || row->op == OP_SD_REVOKE)
			call(w, world_channel(w, ROLE_COMPONENT, 0, 0), row->op, fixed, row->req_len, data, n);
		else
			call(w, w->conn, row->op, fixed, row->req_len, data, n);
		assert_true(w->replies == 1);
	}
}

/* ---- the end of a process's authority */

static conn_id channel_of(struct world *w, u64 asid)
{
	struct hello h = {.kind = KIND_PROCESSOR, .role = ROLE_VNODE, .vnode = VN, .asid = asid, .session = 100 + w->next_conn};
	struct welcome welcome = {0};
	sd_ops.opened(w->sd, ++w->next_conn, &h, &welcome, false);
	return w->next_conn;
}

static conn_id ended_after(struct world *w, u64 ns)
{
	w->closed = 0;
	w->now_ns += ns;
	sd_ops.tick(w->sd, w->now_ns);
	return w->closed;
}

/* Only of the space that is named, only for those who may say so, and after what is still on its way. */
static void test_revoke(void **state)
{
	struct world *w = *state;
	world_define(w);
	conn_id pd = world_channel(w, ROLE_COMPONENT, 0, 0), of7 = channel_of(w, 7), of8 = channel_of(w, 8), nobodys = channel_of(w, 0);
	struct sd_revoke_req q = {.asid = 0};
	struct sd_path_req root = {.len = 1};
	for (; q.asid < 2; q.asid++) /* no space: not the channels of none; then one that has none */
		assert_int_equal(call(w, pd, OP_SD_REVOKE, &q, sizeof(q), NULL, 0), 0);
	assert_int_equal(ended_after(w, 20 * NSEC_PER_SEC), 0);
	q.asid = 7;
	assert_int_equal(call(w, pd, OP_SD_REVOKE, &q, sizeof(q), NULL, 0), 0);
	assert_int_equal(ended_after(w, NSEC_PER_SEC / 2), 0);
	assert_int_equal(call(w, of7, OP_SD_STAT, &root, sizeof(root), "/", 1), 0); /* was on its way */
	assert_int_equal(ended_after(w, NSEC_PER_SEC * 3 / 4), 0);
	assert_int_equal(ended_after(w, NSEC_PER_SEC), of7);
	sd_ops.closed(w->sd, of7);
	assert_int_equal(call(w, pd, OP_SD_REVOKE, &q, sizeof(q), NULL, 0), 0); /* said again */
	assert_int_equal(ended_after(w, 20 * NSEC_PER_SEC), 0);
	q.asid = 8;
	assert_int_equal(call(w, pd, OP_SD_REVOKE, &q, sizeof(q), NULL, 0), 0);
	for (u32 i = 0; i < 19; i++) { /* an heir that goes on talking */
		assert_int_equal(call(w, of8, OP_SD_STAT, &root, sizeof(root), "/", 1), 0);
		assert_int_equal(ended_after(w, NSEC_PER_SEC / 2), 0);
	}
	assert_int_equal(ended_after(w, NSEC_PER_SEC / 2), of8);
	assert_int_equal(call(w, nobodys, OP_SD_REVOKE, &q, sizeof(q), NULL, 0), -WIRE_UNAUTHORISED);
	assert_int_equal(w->closed, nobodys);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_define), T(test_race), T(test_permissions), T(test_secrets), T(test_hostile), T(test_random_bytes), T(test_revoke),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
