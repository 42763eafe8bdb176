/* Images at the storage node: what a request or a record is refused for, who an import belongs to, what its end leaves, when an image is in use. */
#include "tests/unit/storage/world.h"

static struct node_job *waiting[8];
static u32 nwaiting;

static bool defer(void *ctx, struct node_job *j)
{
	if (nwaiting == ARRAY_SIZE(waiting))
		return false;
	waiting[nwaiting++] = j;
	return true;
}

static void run_all(struct world *w)
{
	for (u32 i = 0; i < nwaiting; i++) { /* an end may begin another */
		waiting[i]->run(waiting[i]);
		waiting[i]->done(w->sd, waiting[i]);
	}
	nwaiting = 0;
}

/* ---- requests */

static s32 image(struct world *w, conn_id c, u32 what, const char *name)
{
	struct sd_image_req q = {.what = what, .layers = 3};
	memcpy(q.name, name, strlen(name));
	return call(w, c, OP_SD_IMAGE, &q, sizeof(q), NULL, 0);
}

static u8 recs[MSG_MAX_DATA];
static u32 recs_len;

static void add_rec(struct image_rec r, const char *path, const void *second, u32 len2)
{
	u32 from = recs_len;
	r.len = path ? (u32)strlen(path) : 0;
	r.len2 = len2;
	memset(recs + from, 0, ALIGN_UP(sizeof(r) + r.len + len2, 8));
	memcpy(recs + from, &r, sizeof(r));
	memcpy(recs + from + sizeof(r), path ? path : "", r.len);
	memcpy(recs + from + sizeof(r) + r.len, second ? second : "", len2);
	recs_len += (u32)ALIGN_UP(sizeof(r) + r.len + len2, 8);
}

static void rec(u32 kind, const char *path, const char *second)
{
	add_rec((struct image_rec){.kind = kind, .mode = 0644}, path, second, second ? (u32)strlen(second) : 0);
}

static void file_rec(const char *path, const char *text)
{
	u32 len = (u32)strlen(text);
	add_rec((struct image_rec){.kind = IMAGE_FILE, .mode = 0640, .uid = geteuid(), .gid = getegid(), .size = len, .mtime_ns = 5 * (s64)NSEC_PER_SEC}, path,
		NULL, 0);
	add_rec((struct image_rec){.kind = IMAGE_DATA}, NULL, text, len);
}

/* Sends what was added; the error of the first record that was not put, and how many were. */
static s32 put(struct world *w, conn_id c, u32 *done)
{
	struct sd_image_put_rep rep = {0};
	s32 status = call(w, c, OP_SD_IMAGE_PUT, NULL, 0, recs, recs_len);
	recs_len = 0;
	if (status)
		return status;
	assert_int_equal(w->body_len, sizeof(rep));
	memcpy(&rep, w->body, sizeof(rep));
	if (done)
		*done = rep.done;
	return rep.error;
}

static u32 listed(struct world *w, struct image_info *first)
{
	assert_int_equal(call(w, w->admin, OP_SD_IMAGE_LIST, NULL, 0, NULL, 0), 0);
	assert_int_equal(w->body_len % sizeof(*first), 0);
	if (first && w->body_len)
		memcpy(first, w->body, sizeof(*first));
	return w->body_len / (u32)sizeof(*first);
}

/* Names in the directory of images, finished or not. */
static u32 on_disk(struct world *w)
{
	struct stat st;
	assert_int_equal(stat(at(w, "data/images"), &st), 0);
	return (u32)st.st_nlink - 2;
}

static conn_id line(struct world *w)
{
	return world_channel(w, ROLE_ADMIN, 0, 0);
}

static void define_over(struct world *w, const char *name, s32 want)
{
	struct sd_vnode_req q = {.vnode = VN, .lower_len = (u32)strlen(name)};
	assert_int_equal(call(w, w->admin, OP_SD_VNODE, &q, sizeof(q), name, q.lower_len), want);
}

static void make(struct world *w, const char *name)
{
	conn_id c = line(w);
	assert_int_equal(image(w, c, IMAGE_BEGIN, name), 0);
	file_rec("etc/motd", "hello");
	rec(IMAGE_LINK, "etc/again", "etc/motd");
	rec(IMAGE_SYMLINK, "etc/link", "motd");
	assert_int_equal(put(w, c, NULL), 0);
	assert_int_equal(image(w, c, IMAGE_COMMIT, name), 0);
}

/* ---- cases */

static void test_life(void **state)
{
	struct world *w = *state;
	struct image_info info;
	static char target[PATH_ROOM];
	define_over(w, "base", -ENOENT);
	make(w, "base");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(listed(w, &info), 1);
		assert_string_equal(info.name, "base");
		assert_int_equal(info.files, 4);
		assert_int_equal(info.layers, 3);
		assert_true(info.bytes > 0);
		define_over(w, "base", 0);
		expect_text(w, "/etc/link", i ? "mine" : "hello");
		assert_int_equal(t_readlink(w, "/etc/link", target), 0);
		assert_int_equal(t_put(w, "/etc/motd", "mine"), 0);
		world_restart(w);
	}
	assert_int_equal(image(w, w->admin, IMAGE_BEGIN, "base"), -EEXIST);
	assert_int_equal(image(w, w->admin, IMAGE_REMOVE, "base"), -EBUSY); /* w->conn is a program of it */
	sd_ops.closed(w->sd, w->conn);
	assert_int_equal(image(w, w->admin, IMAGE_REMOVE, "base"), 0);
	assert_int_equal(image(w, w->admin, IMAGE_REMOVE, "base"), -ENOENT);
	assert_int_equal(listed(w, NULL) | on_disk(w), 0);
	define_over(w, "base", -ENOENT);
	make(w, "base"); /* another one of that name */
	define_over(w, "base", 0);
}

static void test_refused(void **state)
{
	struct world *w = *state;
	conn_id c = line(w);
	static const char *const names[] = {"", ".", "..", ".hidden", "a/b", "#0", "a b", "\xc3\xa9"};
	for (u32 i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(image(w, c, IMAGE_BEGIN, names[i]), -EINVAL);
	struct sd_image_req unended = {.what = IMAGE_BEGIN};
	memset(unended.name, 'a', sizeof(unended.name));
	assert_int_equal(call(w, c, OP_SD_IMAGE, &unended, sizeof(unended), NULL, 0), -EINVAL);
	assert_int_equal(image(w, c, 9, "x"), -WIRE_BAD_MESSAGE);
	c = line(w);
	rec(IMAGE_DIR, "d", NULL);
	assert_int_equal(put(w, c, NULL), -ENOENT); /* nothing was begun */
	assert_int_equal(image(w, c, IMAGE_COMMIT, "x"), -ENOENT);
	assert_int_equal(image(w, c, IMAGE_BEGIN, "x"), 0);
	assert_int_equal(image(w, c, IMAGE_BEGIN, "y"), -EBUSY);
	assert_int_equal(image(w, c, IMAGE_COMMIT, "y"), -ENOENT);
	assert_int_equal(image(w, line(w), IMAGE_COMMIT, "x"), -ENOENT); /* another's */
	/* programs and components have no say */
	assert_int_equal(image(w, w->conn, IMAGE_BEGIN, "z"), -WIRE_UNAUTHORISED);
	assert_int_equal(image(w, world_channel(w, ROLE_COMPONENT, 0, 0), IMAGE_REMOVE, "x"), -WIRE_UNAUTHORISED);
	assert_int_equal(listed(w, NULL), 0);
	assert_int_equal(on_disk(w), 1);
	sd_ops.closed(w->sd, c);
	assert_int_equal(on_disk(w), 0);
}

/* Two of the same name at once: one of them is there. */
static void test_race(void **state)
{
	struct world *w = *state;
	conn_id a = line(w), b = line(w);
	assert_int_equal(image(w, a, IMAGE_BEGIN, "same"), 0);
	assert_int_equal(image(w, b, IMAGE_BEGIN, "same"), 0);
	file_rec("who", "a");
	assert_int_equal(put(w, a, NULL), 0);
	file_rec("who", "b");
	assert_int_equal(put(w, b, NULL), 0);
	assert_int_equal(image(w, b, IMAGE_COMMIT, "same"), 0);
	assert_int_equal(image(w, a, IMAGE_COMMIT, "same"), -EEXIST);
	assert_int_equal(listed(w, NULL), 1);
	assert_int_equal(on_disk(w), 1);
	define_over(w, "same", 0);
	expect_text(w, "/who", "b");
}

struct bad {
	u32 kind;
	const char *path, *second;
	s32 error;
};

static void test_records(void **state)
{
	struct world *w = *state;
	static const struct bad bads[] = {
	    {IMAGE_DIR, "/abs", NULL, -EINVAL},	    {IMAGE_DIR, "a/../../b", NULL, -EINVAL}, {IMAGE_DIR, "..", NULL, -EINVAL},
	    {IMAGE_DIR, "a//b", NULL, -EINVAL},	    {IMAGE_DIR, "a/", NULL, -EINVAL},	     {IMAGE_FILE, ".", NULL, -EINVAL},
	    {IMAGE_FILE, "", NULL, -EINVAL},	    {IMAGE_GONE, "", NULL, -EINVAL},	     {IMAGE_SYMLINK, "s", NULL, -EINVAL},
	    {IMAGE_LINK, "h", "/etc/passwd", -EINVAL}, {IMAGE_LINK, "h", "../out", -EINVAL}, {IMAGE_LINK, "h", "nothing", -ENOENT},
	    {IMAGE_LINK, "h", "out/secret", -ENOTDIR}, {IMAGE_FILE, "out/new", NULL, -ENOTDIR},  {IMAGE_DIR, "out/sub/deep", NULL, -ELOOP},
	    {IMAGE_DATA, NULL, "x", -EINVAL},	    {IMAGE_DATA, "p", "x", -EINVAL},	     {IMAGE_XATTR, NULL, "user.x", -EINVAL},
	    {IMAGE_FILE, "f/g", NULL, -ENOTDIR},    {0, "x", NULL, -EINVAL},		     {IMAGE_CLEAR + 1, "x", NULL, -EINVAL},
	    {IMAGE_LINK, "h", "d", -EISDIR},
	};
	host_dir(w, "outside", 0755);
	host_file(w, "outside/secret", "s", 0644);
	for (u32 i = 0; i < ARRAY_SIZE(bads); i++) {
		conn_id c = line(w);
		u32 done = 0;
		assert_int_equal(image(w, c, IMAGE_BEGIN, "bad"), 0);
		rec(IMAGE_SYMLINK, "out", at(w, "outside"));
		rec(IMAGE_FILE, "f", NULL);
		rec(IMAGE_DIR, "d", NULL);
		rec(IMAGE_GONE, "never/was", NULL);
		rec(bads[i].kind, bads[i].path, bads[i].second);
		if (bads[i].error != put(w, c, &done) || done != 4)
			fail_msg("record %u", i);
		assert_int_equal(on_disk(w), 0); /* it is over */
		assert_int_equal(image(w, c, IMAGE_COMMIT, "bad"), -ENOENT);
		sd_ops.closed(w->sd, c);
	}
	/* through a link nothing goes either */
	conn_id c = line(w);
	assert_int_equal(image(w, c, IMAGE_BEGIN, "bad"), 0);
	rec(IMAGE_SYMLINK, "out", at(w, "outside"));
	rec(IMAGE_GONE, "out/secret", NULL);
	rec(IMAGE_CLEAR, "out", NULL);
	add_rec((struct image_rec){.kind = IMAGE_DIR_SET, .mode = 0}, "out", NULL, 0);
	file_rec("out", "a file now");
	assert_int_equal(put(w, c, NULL), 0);
	struct stat st;
	assert_int_equal(stat(at(w, "outside/secret"), &st), 0);
	assert_int_equal(stat(at(w, "outside"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	/* data past the file's size; a record that is cut; too many */
	file_rec("g", "1234");
	add_rec((struct image_rec){.kind = IMAGE_DATA, .size = 2}, NULL, "xyz", 3);
	assert_int_equal(put(w, c, NULL), -EINVAL);
	c = line(w);
	assert_int_equal(image(w, c, IMAGE_BEGIN, "bad"), 0);
	file_rec("g", "1234");
	recs_len -= 8;
	assert_int_equal(put(w, c, NULL), -EINVAL);
	c = line(w);
	assert_int_equal(image(w, c, IMAGE_BEGIN, "bad"), 0);
	for (u32 i = 0; i <= IMAGE_PUT_RECORDS; i++)
		rec(IMAGE_DIR, "d", NULL);
	assert_int_equal(put(w, c, NULL), -E2BIG);
	assert_int_equal(on_disk(w), 0);
}

/* The connection, or the daemon, ends while a job is under way. */
static void test_ends(void **state)
{
	struct world *w = *state;
	conn_id c = line(w);
	assert_int_equal(image(w, c, IMAGE_BEGIN, "cut"), 0);
	w->env.defer = defer;
	file_rec("f", "x");
	world_post(w, c, OP_SD_IMAGE_PUT, NULL, 0, recs, recs_len);
	assert_int_equal(nwaiting, 1);
	rec(IMAGE_DIR, "d", NULL);
	recs_len = 0;
	assert_int_equal(image(w, c, IMAGE_COMMIT, "cut"), -EBUSY);
	sd_ops.closed(w->sd, c);
	run_all(w);
	assert_int_equal(on_disk(w), 0);
	/* committed, but nobody hears of it */
	w->env.defer = NULL;
	c = line(w);
	assert_int_equal(image(w, c, IMAGE_BEGIN, "whole"), 0);
	file_rec("f", "x");
	assert_int_equal(put(w, c, NULL), 0);
	w->env.defer = defer;
	struct sd_image_req q = {.name = "whole", .what = IMAGE_COMMIT};
	world_post(w, c, OP_SD_IMAGE, &q, sizeof(q), NULL, 0);
	sd_ops.closed(w->sd, c);
	run_all(w);
	w->env.defer = NULL;
	assert_int_equal(listed(w, NULL), 1);
	assert_int_equal(on_disk(w), 1);
	/* half an image, and kill -9 */
	assert_int_equal(image(w, line(w), IMAGE_BEGIN, "half"), 0);
	assert_int_equal(on_disk(w), 2);
	world_restart(w);
	assert_int_equal(on_disk(w), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_life, world_setup, world_teardown),
	    cmocka_unit_test_setup_teardown(test_refused, world_setup, world_teardown),
	    cmocka_unit_test_setup_teardown(test_race, world_setup, world_teardown),
	    cmocka_unit_test_setup_teardown(test_records, world_setup, world_teardown),
	    cmocka_unit_test_setup_teardown(test_ends, world_setup, world_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
