/* See world.h. */
#include "tests/unit/storage/world.h"

#include <ftw.h>

/* ---- the env */

static u64 env_now(void *ctx)
{
	return ((struct world *)ctx)->now_ns;
}

u64 world_rand(u64 *seed)
{
	u64 z = *seed += 0x9e3779b97f4a7c15ull;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void env_random(void *ctx, void *buf, size_t len)
{
	struct world *w = ctx;
	for (size_t i = 0; i < len; i++)
		((u8 *)buf)[i] = (u8)world_rand(&w->seed);
}

static int env_send(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs)
{
	struct world *w = ctx;
	if (!(hdr->flags & MSG_REPLY)) {
		w->asked = *hdr;
		w->asked_of = to;
		return 0;
	}
	w->replies++;
	w->status = hdr->status;
	assert_true(hdr->tag == w->last_hdr.tag || hdr->tag == w->held_tag);
	w->body_len = 0;
	for (u32 i = 0; i < nsegs; i++) {
		memcpy(w->body + w->body_len, segs[i].base, segs[i].len);
		w->body_len += segs[i].len;
	}
	return 0;
}

static int env_send_fds(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds)
{
	return -WIRE_DOWN;
}

static conn_id env_dial(void *ctx, const char *addr, const struct hello *h)
{
	return 0;
}

static void env_close(void *ctx, conn_id c)
{
	((struct world *)ctx)->closed = c;
}

static void env_log(void *ctx, int level, const char *fmt, ...)
{
	if (!getenv("SD_TEST_LOG"))
		return;
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* ---- the world */

const char *at(struct world *w, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(w->path, sizeof(w->path), "%s/", w->dir);
	va_start(ap, fmt);
	vsnprintf(w->path + n, sizeof(w->path) - (size_t)n, fmt, ap);
	va_end(ap);
	return w->path;
}

int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	const char *tmp = getenv("SD_TEST_DIR");
	if (!tmp)
		tmp = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(w->dir, sizeof(w->dir), "%s/sd-test-XXXXXX", tmp);
	assert_non_null(mkdtemp(w->dir));
	umask(0);
	chmod(w->dir, 0755);
	w->env = (struct node_env){.ctx = w,
				   .now_ns = env_now,
				   .wall_ns = env_now,
				   .random = env_random,
				   .send = env_send,
				   .send_fds = env_send_fds,
				   .dial = env_dial,
				   .dial_for = env_dial,
				   .close = env_close,
				   .log = env_log};
	w->seed = 42;
	w->now_ns = NSEC_PER_SEC;
	w->session = 1000;
	host_dir(w, "lower", 0755);
	host_dir(w, "bind", 0755);
	*state = w;
	world_start(w);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	return remove(path);
}

int world_teardown(void **state)
{
	struct world *w = *state;
	world_stop(w);
	nftw(w->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	free(w);
	return 0;
}

void world_start(struct world *w)
{
	static char data[PATH_ROOM];
	char err[256];
	snprintf(data, sizeof(data), "%s", at(w, "data"));
	w->cfg = (struct sd_config){.data_dir = data, .name = "s0", .addr = "unix:/none", .incarnation = 5};
	w->sd = sd_new(&w->env, &w->cfg, err, sizeof(err));
	if (!w->sd)
		fail_msg("sd_new: %s", err);
	w->admin = world_channel(w, ROLE_ADMIN, 0, 0);
	w->conn = world_channel(w, ROLE_VNODE, VN, geteuid());
}

void world_stop(struct world *w)
{
	if (w->sd)
		sd_free(w->sd);
	w->sd = NULL;
}

void world_restart(struct world *w)
{
	world_stop(w);
	world_start(w); /* the program resumes its session */
}

conn_id world_channel(struct world *w, u8 role, u32 vnode, u32 uid)
{
	struct hello h = {.kind = KIND_CLIENT, .role = role, .vnode = vnode, .uid = uid, .gid = uid};
	struct welcome welcome = {0};
	if (role == ROLE_COMPONENT)
		h.kind = KIND_PROCESSOR;
	h.session = w->next_conn ? w->next_conn + 1 : 1;
	if (role == ROLE_VNODE && vnode == VN)
		h.session = w->session;
	sd_ops.opened(w->sd, ++w->next_conn, &h, &welcome, false);
	return w->next_conn;
}

void world_define(struct world *w)
{
	u8 buf[1024];
	u32 n = 0;
	char lower[128], host[128];
	struct sd_vnode_req req = {.vnode = VN, .quota_bytes = w->quota};
	snprintf(lower, sizeof(lower), "%s/lower", w->dir);
	req.lower_len = (u32)strlen(lower);
	memcpy(buf, lower, req.lower_len);
	n = req.lower_len;
	if (w->with_bind) {
		snprintf(host, sizeof(host), "%s/bind", w->dir);
		struct sd_bind b = {.host_len = (u32)strlen(host), .dir_len = 5, .readonly = w->bind_ro};
		req.nbind = 1;
		memcpy(buf + n, &b, sizeof(b));
		memcpy(buf + n + sizeof(b), host, b.host_len);
		memcpy(buf + n + sizeof(b) + b.host_len, "/bind", 5);
		n += (u32)sizeof(b) + b.host_len + 5;
	}
	assert_int_equal(call(w, w->admin, OP_SD_VNODE, &req, sizeof(req), buf, n), 0);
}

void host_dir(struct world *w, const char *rel, u32 mode)
{
	if (mkdir(at(w, "%s", rel), mode))
		fail_msg("mkdir %s: %s", w->path, strerror(errno));
}

void host_file(struct world *w, const char *rel, const char *text, u32 mode)
{
	int fd = open(at(w, "%s", rel), O_WRONLY | O_CREAT | O_TRUNC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

void host_link(struct world *w, const char *rel, const char *target)
{
	assert_int_equal(symlink(target, at(w, "%s", rel)), 0);
}

/* ---- calls */

static s32 deliver(struct world *w, conn_id c)
{
	struct msg m = {.hdr = w->last_hdr,
			.fixed = w->last_body,
			.fixed_len = w->last_fixed,
			.data = w->last_body + w->last_fixed,
			.data_len = w->last_data};
	w->replies = 0;
	w->status = 1;
	w->body_len = 0;
	w->closed = 0;
	sd_ops.message(w->sd, c, &m);
	assert_true(w->replies <= 1);
	return w->status;
}

static void prepare(struct world *w, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len)
{
	static u64 tag;
	const struct op_row *row = op_row(op);
	w->last_hdr = (struct msg_hdr){.op = op, .tag = ++tag};
	if (row && row->cls == OP_ONCE) {
		w->last_hdr.flags = MSG_ONCE;
		w->last_hdr.session = w->session;
		w->last_hdr.slot = w->slot;
		w->last_hdr.seq = ++w->seq[w->slot];
	}
	w->last_fixed = fixed_len;
	w->last_data = data_len;
	if (fixed_len)
		memcpy(w->last_body, fixed, fixed_len);
	if (data_len)
		memcpy(w->last_body + fixed_len, data, data_len);
}

s32 call(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len)
{
	prepare(w, op, fixed, fixed_len, data, data_len);
	return deliver(w, c);
}

void world_post(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len)
{
	prepare(w, op, fixed, fixed_len, data, data_len);
	w->held_tag = w->last_hdr.tag;
	struct msg m = {.hdr = w->last_hdr, .fixed = w->last_body, .fixed_len = fixed_len, .data = w->last_body + fixed_len, .data_len = data_len};
	sd_ops.message(w->sd, c, &m);
}

s32 call_again(struct world *w, conn_id c)
{
	w->last_hdr.tag += 1000000;
	return deliver(w, c);
}

s32 path_call(struct world *w, u16 op, const char *p1, const char *p2, u32 flags, u32 mode, u64 arg)
{
	static char buf[4 * PATH_ROOM];
	struct sd_path_req q = {.len = (u32)strlen(p1), .len2 = p2 ? (u32)strlen(p2) : 0, .flags = flags, .mode = mode, .arg = arg};
	q.uid = q.gid = geteuid();
	memcpy(buf, p1, q.len);
	if (p2)
		memcpy(buf + q.len, p2, q.len2);
	return call(w, w->conn, op, &q, sizeof(q), buf, q.len + q.len2);
}

const struct sd_open_rep *opened(struct world *w)
{
	assert_int_equal(w->status, 0);
	assert_true(w->body_len >= sizeof(struct sd_open_rep));
	return (const void *)w->body;
}

const char *reply_text(struct world *w, u32 fixed_len)
{
	assert_true(w->body_len >= fixed_len && w->body_len < sizeof(w->body));
	w->body[w->body_len] = 0;
	return (const char *)w->body + fixed_len;
}

s32 t_stat(struct world *w, const char *path)
{
	return path_call(w, OP_SD_STAT, path, NULL, 0, 0, 0);
}

s32 t_lstat(struct world *w, const char *path)
{
	return path_call(w, OP_SD_STAT, path, NULL, SDP_NOFOLLOW, 0, 0);
}

s32 t_open(struct world *w, const char *path, int flags, u32 mode, struct file_ref *ref)
{
	s32 rc = path_call(w, OP_SD_OPEN, path, NULL, 0, mode, (u64)(u32)flags);
	if (!rc && ref)
		*ref = opened(w)->handle;
	return rc;
}

s32 t_io(struct world *w, u16 op, const struct file_ref *ref, u64 off, u64 len, u32 flags)
{
	struct sd_io_req q = {.file = *ref, .off = off, .len = len, .flags = flags};
	return call(w, w->conn, op, &q, sizeof(q), NULL, 0);
}

s64 t_read(struct world *w, const struct file_ref *ref, u64 off, void *buf, u64 len)
{
	s32 rc = t_io(w, OP_SD_READ, ref, off, len, 0);
	if (rc)
		return rc;
	const struct sd_io_rep *rep = (const void *)w->body;
	assert_int_equal(w->body_len, sizeof(*rep) + rep->n);
	memcpy(buf, rep + 1, rep->n);
	return (s64)rep->n;
}

s64 t_write(struct world *w, const struct file_ref *ref, u64 off, const void *buf, u64 len, u32 flags)
{
	struct sd_io_req q = {.file = *ref, .off = off, .len = len, .flags = flags};
	s32 rc = call(w, w->conn, OP_SD_WRITE, &q, sizeof(q), buf, (u32)len);
	return rc ? rc : (s64)((const struct sd_io_rep *)(const void *)w->body)->n;
}

s32 t_mkdir(struct world *w, const char *path)
{
	return path_call(w, OP_SD_MKDIR, path, NULL, 0, 0755, 0);
}

s32 t_unlink(struct world *w, const char *path)
{
	return path_call(w, OP_SD_UNLINK, path, NULL, 0, 0, 0);
}

s32 t_rmdir(struct world *w, const char *path)
{
	return path_call(w, OP_SD_UNLINK, path, NULL, SDP_DIRECTORY, 0, 0);
}

s32 t_rename(struct world *w, const char *from, const char *to, u64 flags)
{
	return path_call(w, OP_SD_RENAME, from, to, 0, 0, flags);
}

s32 t_link(struct world *w, const char *from, const char *to)
{
	return path_call(w, OP_SD_LINK, from, to, SDP_NOFOLLOW, 0, 0);
}

s32 t_symlink(struct world *w, const char *path, const char *target)
{
	return path_call(w, OP_SD_SYMLINK, path, target, 0, 0, 0);
}

s32 t_readlink(struct world *w, const char *path, char buf[PATH_ROOM])
{
	s32 rc = path_call(w, OP_SD_READLINK, path, NULL, 0, 0, 0);
	buf[0] = 0;
	if (!rc)
		snprintf(buf, PATH_ROOM, "%.4095s", reply_text(w, 0));
	return rc;
}

s32 t_chmod(struct world *w, const char *path, u32 mode)
{
	struct sd_setattr_req q = {.len = (u32)strlen(path), .mask = SDA_MODE, .mode = mode};
	return call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), path, q.len);
}

s32 t_put(struct world *w, const char *path, const char *text)
{
	struct file_ref f;
	s32 rc = t_open(w, path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &f);
	if (rc || !*text)
		return rc;
	s64 n = t_write(w, &f, 0, text, strlen(text), 0);
	return n < 0 ? (s32)n : 0;
}

s32 t_get(struct world *w, const char *path, char buf[PATH_ROOM])
{
	struct file_ref f;
	buf[0] = 0;
	s32 rc = t_open(w, path, O_RDONLY, 0, &f);
	if (rc)
		return rc;
	s64 n = t_read(w, &f, 0, buf, PATH_ROOM - 1);
	buf[n < 0 ? 0 : n] = 0;
	return n < 0 ? (s32)n : 0;
}

void expect_text(struct world *w, const char *path, const char *text)
{
	static char buf[PATH_ROOM];
	s32 rc = t_get(w, path, buf);
	if (rc)
		fail_msg("%s: status %d", path, rc);
	assert_string_equal(buf, text);
}

void resolves(struct world *w, const char *path, const char *to)
{
	s32 rc = t_stat(w, path);
	if (rc)
		fail_msg("%s: status %d", path, rc);
	assert_string_equal(reply_text(w, sizeof(struct sd_open_rep)), to);
	assert_int_equal(opened(w)->path_len, strlen(to));
}

/* ---- directories */

static u64 take_entries(struct world *w, char ***names, u32 *n, u32 *room)
{
	const struct sd_io_rep *rep = (const void *)w->body;
	assert_int_equal(w->body_len, sizeof(*rep) + rep->n);
	for (u64 pos = 0; pos < rep->n;) {
		struct sd_dirent d;
		const u8 *p = w->body + sizeof(*rep) + pos;
		memcpy(&d, p, sizeof(d));
		assert_true(d.reclen % 8 == 0 && d.reclen >= sizeof(d) + d.name_len && pos + d.reclen <= rep->n && d.name_len);
		assert_true(d.cookie < 1ull << 63);
		if (*n + 2 > *room) {
			*room = *room ? *room * 2 : 64;
			*names = realloc(*names, *room * sizeof(char *));
		}
		(*names)[(*n)++] = strndup((const char *)p + sizeof(d), d.name_len);
		(*names)[*n] = NULL;
		pos += d.reclen;
	}
	return rep->end;
}

char **t_list(struct world *w, const char *path, u32 chunk, u32 *count, s32 *status)
{
	struct file_ref f;
	char **names = calloc(1, sizeof(char *));
	u32 n = 0, room = 1;
	u64 cookie = 0;
	*count = 0;
	*status = t_open(w, path, O_RDONLY | O_DIRECTORY, 0, &f);
	while (!*status) {
		*status = t_io(w, OP_SD_READDIR, &f, cookie, chunk, 0);
		if (*status)
			break;
		cookie = take_entries(w, &names, &n, &room);
		if (((const struct sd_io_rep *)(const void *)w->body)->size)
			break;
	}
	*count = n;
	return names;
}

void names_free(char **names)
{
	for (u32 i = 0; names[i]; i++)
		free(names[i]);
	free(names);
}

bool in_list(char **names, const char *name)
{
	for (u32 i = 0; names[i]; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}
