#include "fake.h"

static u64 now(void *ctx)
{
	return ((struct fake *)ctx)->now_ns;
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	struct fake *f = ctx;
	for (size_t i = 0; i < len; i++) {
		f->seed = f->seed * 6364136223846793005ull + 1442695040888963407ull;
		((u8 *)buf)[i] = (u8)(f->seed >> 56);
	}
}

static int send_frame(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs)
{
	struct fake *f = ctx;
	if (f->send_fails)
		return -WIRE_DOWN;
	assert_true(f->nframes < FAKE_FRAMES);
	struct fake_frame *fr = &f->frame[f->nframes++];
	fr->to = to;
	fr->body_len = 0;
	for (u32 i = 0; i < nsegs; i++)
		fr->body_len += segs[i].len;
	fr->body = malloc(fr->body_len + 1);
	u32 at = 0;
	for (u32 i = 0; i < nsegs; i++) {
		if (segs[i].len)
			memcpy(fr->body + at, segs[i].base, segs[i].len);
		at += segs[i].len;
	}
	hdr->len = (u32)sizeof(*hdr) + at;
	fr->hdr = *hdr;
	return 0;
}

static conn_id dial(void *ctx, const char *addr, const struct hello *hello)
{
	struct fake *f = ctx;
	f->dials++;
	f->dialled = *hello;
	return f->next_dial;
}

static void close_conn(void *ctx, conn_id c)
{
	struct fake *f = ctx;
	assert_true(f->nclosed < ARRAY_SIZE(f->closed));
	f->closed[f->nclosed++] = c;
}

static void __attribute__((format(printf, 3, 4))) no_log(void *ctx, int level, const char *fmt, ...)
{
}

void fake_init(struct fake *f)
{
	memset(f, 0, sizeof(*f));
	f->now_ns = 1000 * NSEC_PER_SEC;
	f->seed = 1;
	f->env = (struct node_env){.ctx = f,
				   .now_ns = now,
				   .wall_ns = now,
				   .random = fill_random,
				   .send = send_frame,
				   .dial = dial,
				   .close = close_conn,
				   .log = no_log};
}

void fake_clear(struct fake *f)
{
	for (u32 i = 0; i < f->nframes; i++)
		free(f->frame[i].body);
	f->nframes = 0;
}

bool fake_closed(const struct fake *f, conn_id c)
{
	for (u32 i = 0; i < f->nclosed; i++)
		if (f->closed[i] == c)
			return true;
	return false;
}

void fake_request(struct fake *f, const struct node_ops *ops, void *self, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data,
		  u32 data_len)
{
	static u64 tag;
	/* exact sizes on the heap: a read past the end is seen by the sanitizer */
	void *fixed_copy = malloc(fixed_len + !fixed_len), *data_copy = malloc(data_len + !data_len);
	if (fixed_len)
		memcpy(fixed_copy, fixed, fixed_len);
	if (data_len)
		memcpy(data_copy, data, data_len);
	struct msg m = {.hdr = {.len = (u32)sizeof(struct msg_hdr) + fixed_len + data_len, .op = op, .tag = ++tag},
			.fixed = fixed_copy,
			.fixed_len = fixed_len,
			.data = data_copy,
			.data_len = data_len};
	fake_clear(f);
	ops->message(self, c, &m);
	free(fixed_copy);
	free(data_copy);
}

s32 fake_reply(struct fake *f, void *rep, u32 rep_len)
{
	struct fake_frame *fr = NULL;
	for (u32 i = 0; i < f->nframes; i++) { /* beside it, what others are told */
		if (!(f->frame[i].hdr.flags & MSG_REPLY))
			continue;
		assert_null(fr);
		fr = &f->frame[i];
	}
	assert_non_null(fr);
	assert_true(fr->body_len >= rep_len || fr->hdr.status);
	if (rep && fr->body_len >= rep_len)
		memcpy(rep, fr->body, rep_len);
	return fr->hdr.status;
}
