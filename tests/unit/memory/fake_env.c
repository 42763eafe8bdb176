/* See fake_env.h. */
#include "fake_env.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static u64 now_ns(void *ctx)
{
	return ((struct fake_env *)ctx)->now_ns;
}

u64 fake_rand(u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed * 0x2545f4914f6cdd1dull;
}

static void fake_random(void *ctx, void *buf, size_t len)
{
	struct fake_env *f = ctx;

	for (size_t i = 0; i < len; i++)
		((u8 *)buf)[i] = (u8)(fake_rand(&f->seed) >> 32);
}

static int fake_send(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs)
{
	struct fake_env *f = ctx;
	u32 len = 0, at = 0;

	if (f->busy)
		return -WIRE_BUSY;
	for (u32 i = 0; i < nsegs; i++)
		len += segs[i].len;
	assert(f->n < FAKE_FRAMES && sizeof(*hdr) + len <= MSG_MAX_LEN);
	struct fake_frame *fr = &f->frame[(f->first + f->n++) % FAKE_FRAMES];

	hdr->len = (u32)sizeof(*hdr) + len;
	free(fr->body);
	*fr = (struct fake_frame){.to = to, .hdr = *hdr, .len = len, .body = malloc(len + 8)};
	for (u32 i = 0; i < nsegs; at += segs[i++].len)
		memcpy(fr->body + at, segs[i].base, segs[i].len);
	return 0;
}

static conn_id fake_dial(void *ctx, const char *addr, const struct hello *h)
{
	struct fake_env *f = ctx;

	assert(f->ndialled < FAKE_CONNS);
	snprintf(f->dialled_addr[f->ndialled], WIRE_ADDR_MAX, "%s", addr);
	f->dialled[f->ndialled] = fake_conn(f);
	return f->dialled[f->ndialled++];
}

static void fake_close(void *ctx, conn_id c)
{
	struct fake_env *f = ctx;

	assert(f->nclosed < FAKE_CONNS);
	f->closed[f->nclosed++] = c;
}

static void fake_log(void *ctx, int level, const char *fmt, ...)
{
	struct fake_env *f = ctx;
	va_list ap;

	if (!f->verbose)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void fake_init(struct fake_env *f, u64 seed)
{
	memset(f, 0, sizeof(*f));
	f->seed = seed;
	f->now_ns = NSEC_PER_SEC;
	f->next_conn = 100;
	f->env = (struct node_env){
		.ctx = f,
		.now_ns = now_ns,
		.wall_ns = now_ns,
		.random = fake_random,
		.send = fake_send,
		.dial = fake_dial,
		.close = fake_close,
		.log = fake_log,
	};
}

void fake_free(struct fake_env *f)
{
	for (u32 i = 0; i < FAKE_FRAMES; i++)
		free(f->frame[i].body);
}

conn_id fake_conn(struct fake_env *f)
{
	return f->next_conn++;
}

struct fake_frame *fake_take(struct fake_env *f)
{
	if (!f->n)
		return NULL;
	struct fake_frame *fr = &f->frame[f->first];

	f->first = (f->first + 1) % FAKE_FRAMES;
	f->n--;
	return fr;
}

bool fake_was_closed(const struct fake_env *f, conn_id c)
{
	for (u32 i = 0; i < f->nclosed; i++)
		if (f->closed[i] == c)
			return true;
	return false;
}

void fake_deliver(const struct node_ops *ops, void *self, conn_id c, const struct msg_hdr *hdr, const void *fixed, u32 fixed_len,
		  const void *data, u32 data_len)
{
	/* exact copies on the heap, so that a sanitizer sees every read past their ends */
	void *f = malloc(fixed_len), *d = malloc(data_len);

	if (fixed_len)
		memcpy(f, fixed, fixed_len);
	if (data_len)
		memcpy(d, data, data_len);
	struct msg m = {.hdr = *hdr, .fixed = f, .fixed_len = fixed_len, .data = d, .data_len = data_len};

	m.hdr.len = (u32)sizeof(m.hdr) + fixed_len + data_len;
	ops->message(self, c, &m);
	free(f);
	free(d);
}
