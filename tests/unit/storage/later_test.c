/* Requests that go on beside the daemon's thread: long syncs, reads of what is not in the page cache. The jobs are done when the test says. */
#include "tests/unit/storage/world.h"

s64 __wrap_hf_pread_now(int fd, void *buf, u64 len, u64 off);
s64 __real_hf_pread_now(int fd, void *buf, u64 len, u64 off);
int __wrap_hf_fsync(int fd, bool data_only);
int __real_hf_fsync(int fd, bool data_only);

static struct world *the;
static bool cold;
static u64 sync_ns;
static struct node_job *waiting[8];
static u32 nwaiting;

s64 __wrap_hf_pread_now(int fd, void *buf, u64 len, u64 off)
{
	return cold ? -EAGAIN : __real_hf_pread_now(fd, buf, len, off);
}

int __wrap_hf_fsync(int fd, bool data_only)
{
	if (the)
		the->now_ns += sync_ns;
	return __real_hf_fsync(fd, data_only);
}

static bool defer(void *ctx, struct node_job *j)
{
	if (nwaiting == ARRAY_SIZE(waiting))
		return false;
	waiting[nwaiting++] = j;
	return true;
}

static void run_all(struct world *w)
{
	for (u32 i = 0; i < nwaiting; i++) {
		waiting[i]->run(waiting[i]);
		waiting[i]->done(w->sd, waiting[i]);
	}
	nwaiting = 0;
}

static struct world *ready(void **state)
{
	READY(state);
	the = w;
	w->env.defer = defer;
	cold = false;
	sync_ns = 0;
	nwaiting = 0;
	return w;
}

static void post_io(struct world *w, conn_id c, u16 op, const struct file_ref *f, u64 len, u32 flags)
{
	struct sd_io_req q = {.file = *f, .len = len, .flags = flags};
	w->replies = 0;
	world_post(w, c, op, &q, sizeof(q), NULL, 0);
}

static void write_much(struct world *w, const struct file_ref *f)
{
	static u8 data[128 * 1024];
	for (u32 i = 0; i < 8; i++)
		assert_int_equal(t_write(w, f, i * sizeof(data), data, sizeof(data), 0), sizeof(data));
}

static void test_sync(void **state)
{
	struct world *w = ready(state);
	struct file_ref f;
	assert_int_equal(t_open(w, "/f", O_CREAT | O_RDWR, 0644, &f), 0);
	assert_int_equal(t_write(w, &f, 0, "abc", 3, 0), 3);
	assert_int_equal(t_io(w, OP_SD_FSYNC, &f, 0, 0, 0), 0); /* little, on a disk nothing is known of: at once */
	write_much(w, &f);
	post_io(w, w->conn, OP_SD_FSYNC, &f, 0, 0);
	assert_int_equal(w->replies, 0);
	assert_int_equal(nwaiting, 1);
	assert_int_equal(t_put(w, "/g", "meanwhile"), 0);
	w->replies = 0;
	run_all(w);
	assert_int_equal(w->replies, 1);
	assert_int_equal(w->status, 0);
	assert_int_equal(((const struct sd_io_rep *)(const void *)w->body)->size, 1 << 20);
	/* a slow disk: also what is little, and synchronous writes, appends among them */
	sync_ns = 20 * NSEC_PER_MSEC;
	assert_int_equal(t_io(w, OP_SD_FSYNC, &f, 0, 0, 0), 0);
	post_io(w, w->conn, OP_SD_FSYNC, &f, 0, SDF_DATA);
	assert_int_equal(nwaiting, 1);
	run_all(w);
	assert_int_equal(w->replies, 1);
	struct sd_io_req q = {.file = f, .len = 3, .flags = SDIO_SYNC | SDIO_APPEND};
	w->replies = 0;
	world_post(w, w->conn, OP_SD_WRITE, &q, sizeof(q), "end", 3);
	assert_int_equal(nwaiting, 1);
	call_again(w, w->conn); /* under way: not done twice, not answered yet */
	assert_int_equal(nwaiting, 1);
	assert_int_equal(w->replies, 0);
	run_all(w);
	assert_int_equal(w->replies, 1);
	assert_int_equal(((const struct sd_io_rep *)(const void *)w->body)->end, (1 << 20) + 3);
	assert_int_equal(t_io(w, OP_SD_GETATTR, &f, 0, 0, 0), 0);
	assert_int_equal(opened(w)->attr.size, (1 << 20) + 3);
	/* fast again */
	sync_ns = 0;
	for (u32 i = 0; i < 64; i++) {
		post_io(w, w->conn, OP_SD_FSYNC, &f, 0, 0);
		run_all(w);
		assert_int_equal(w->replies, 1);
	}
	assert_int_equal(t_io(w, OP_SD_FSYNC, &f, 0, 0, 0), 0);
	assert_int_equal(nwaiting, 0);
}

static conn_id memory_node(struct world *w)
{
	struct hello h = {.kind = KIND_MEMORY, .role = ROLE_COMPONENT, .name = "m0"};
	conn_id c = ++w->next_conn;
	sd_ops.opened(w->sd, c, &h, NULL, false);
	return c;
}

/* What is lent with a read that waits while `meanwhile` happens. */
static u64 lent(struct world *w, conn_id md, const struct file_ref *f, void (*meanwhile)(struct world *w, const struct file_ref *f))
{
	cold = true;
	post_io(w, md, OP_SD_READ, f, 4096, SDIO_LEASE);
	cold = false;
	assert_int_equal(nwaiting, 1);
	assert_int_equal(w->replies, 0);
	u64 tag = w->held_tag;
	if (meanwhile)
		meanwhile(w, f);
	w->held_tag = tag;
	run_all(w);
	assert_int_equal(w->status, 0);
	const struct sd_io_rep *rep = (const void *)w->body;
	assert_int_equal(rep->n, 3);
	return rep->verifier;
}

static void writes(struct world *w, const struct file_ref *f)
{
	assert_int_equal(t_write(w, f, 0, "new", 3, 0), 3);
}

static void cuts(struct world *w, const struct file_ref *f)
{
	struct file_ref again;
	assert_int_equal(t_open(w, "/f", O_RDWR | O_TRUNC, 0, &again), 0);
	assert_int_equal(t_write(w, &again, 0, "old", 3, 0), 3);
}

static void host_writes(struct world *w, const struct file_ref *f)
{
	host_file(w, "bind/f", "hos", 0644);
}

static void ends(struct world *w, const struct file_ref *f)
{
	sd_ops.closed(w->sd, w->next_conn);
}

static void test_read(void **state)
{
	struct world *w = *state;
	struct file_ref f;
	w->with_bind = true;
	w = ready(state);
	host_file(w, "bind/f", "old", 0644);
	assert_int_equal(t_open(w, "/bind/f", O_RDWR, 0, &f), 0);
	conn_id md = memory_node(w);
	assert_int_equal(lent(w, md, &f, writes), 0);
	w->now_ns += NSEC_PER_SEC;
	assert_int_equal(lent(w, md, &f, host_writes), 0);
	assert_true(lent(w, md, &f, NULL) > 0);
	w->now_ns += 2 * NSEC_PER_SEC;
	md = memory_node(w);
	assert_int_equal(lent(w, md, &f, ends), 0); /* nobody to recall it from */
	assert_int_equal(t_put(w, "/f", "old"), 0);
	assert_int_equal(t_open(w, "/f", O_RDWR, 0, &f), 0);
	md = memory_node(w);
	assert_int_equal(lent(w, md, &f, cuts), 0);
}

/* More than can be handed over is done at once; what is under way at the end is only freed. */
static void test_full(void **state)
{
	struct world *w = ready(state);
	struct file_ref f;
	assert_int_equal(t_put(w, "/f", "text"), 0);
	assert_int_equal(t_open(w, "/f", O_RDONLY, 0, &f), 0);
	cold = true;
	for (u32 i = 0; i < ARRAY_SIZE(waiting); i++)
		post_io(w, w->conn, OP_SD_READ, &f, 4096, 0);
	assert_int_equal(w->replies, 0);
	post_io(w, w->conn, OP_SD_READ, &f, 4096, 0);
	assert_int_equal(w->replies, 1);
	world_stop(w);
	for (u32 i = 0; i < nwaiting; i++)
		waiting[i]->done(NULL, waiting[i]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {T(test_sync), T(test_read), T(test_full)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
