/* What is not in place: lines of shared memory at the memory node, in an address space of the pager's own that is used like a swap file
 * (slot n is its line n), and lines of files at the storage node. Blocks of 2 MiB are mapped when a slot of them is first needed and
 * unmapped when the last one is given back: so the node is charged for what it holds. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc.h"
#include "processor/pager/pager_int.h"

#define STORE_BASE  0x100000000ull
#define SLOTS_MAX   (1u << 31)
#define PAUSE_US    500
#define BLOCK_BYTES (BLOCK_SLOTS * LINE_SIZE)

/* ---- channels */

static s32 channel_open(struct chan *c, const struct pager_channel *given)
{
	int rc = chan_libc_open(c, given->sock, given->ring, given->desc.ring_len, given->desc.session, given->desc.seal ? &given->desc.keys : NULL);

	if (rc)
		close(given->sock);
	return rc;
}

s32 store_open(struct store *s, const struct pager_config *cfg)
{
	s32 rc = channel_open(&s->memory, &cfg->memory), rc2 = channel_open(&s->storage, &cfg->storage);

	s->memory_desc = cfg->memory.desc;
	s->storage_desc = cfg->storage.desc;
	if (!rc && rc2)
		chan_libc_close(&s->memory);
	if (rc && !rc2)
		chan_libc_close(&s->storage);
	return rc ? rc : rc2;
}

void store_close(struct store *s)
{
	for (u32 i = 0; i < s->nblocks; i++)
		free(s->block[i]);
	free(s->block);
	chan_libc_close(&s->memory);
	chan_libc_close(&s->storage);
}

static s32 ask(struct chan *c, u16 op, u32 epoch, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r)
{
	for (;;) {
		r->data_len = 0;
		s64 slot = chan_post(c, op, epoch, segs, nsegs, r, 0);
		s32 status = slot < 0 ? (s32)slot : chan_wait(c, slot);

		if (status != -WIRE_BUSY && status != -WIRE_WAIT)
			return status;
		usleep(PAUSE_US);
	}
}

/* ---- slots */

static u64 slot_addr(u32 slot)
{
	return STORE_BASE + (u64)(slot - 1) * LINE_SIZE;
}

static s32 block_map(struct store *s, u32 i, bool map)
{
	struct as_layout_rep rep;
	u64 addr = STORE_BASE + (u64)i * BLOCK_BYTES;
	struct as_mmap_req make = {.lseq = ++s->lseq, .addr = addr, .len = BLOCK_BYTES, .prot = AS_READ | AS_WRITE};
	struct as_range_req drop = {.lseq = s->lseq, .addr = addr, .len = BLOCK_BYTES};
	struct wire_seg seg = {map ? (void *)&make : (void *)&drop, map ? sizeof(make) : sizeof(drop)};
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep)};

	return ask(&s->memory, map ? OP_AS_MMAP : OP_AS_MUNMAP, 0, &seg, 1, &r);
}

static bool block_room(struct store *s, u32 i)
{
	u32 n = s->nblocks ? s->nblocks : 16;

	while (n <= i)
		n *= 2;
	if (n == s->nblocks)
		return true;
	struct block **b = realloc(s->block, n * sizeof(*b));

	if (!b)
		return false;
	memset(b + s->nblocks, 0, (n - s->nblocks) * sizeof(*b));
	s->block = b;
	s->nblocks = n;
	return true;
}

static s32 block_make(struct store *s, u32 i)
{
	if (i >= SLOTS_MAX / BLOCK_SLOTS || !block_room(s, i))
		return -ENOMEM;
	if (s->block[i])
		return 0;
	struct block *b = calloc(1, sizeof(*b));
	s32 rc = b ? block_map(s, i, true) : -ENOMEM;

	if (rc) {
		free(b);
		return rc;
	}
	s->block[i] = b;
	return 0;
}

static bool slot_free_at(const struct store *s, u32 i)
{
	const struct block *b = i / BLOCK_SLOTS < s->nblocks ? s->block[i / BLOCK_SLOTS] : NULL;

	return b && b->used < BLOCK_SLOTS && !(b->bits[i % BLOCK_SLOTS / 64] & 1ull << i % 64);
}

/* The slot after the last one if it is free, so that what leaves together lies together; else the first free one; else a new block. */
static s32 slot_take(struct store *s, u32 *out)
{
	u32 at = s->cursor, bi = 0;

	if (!slot_free_at(s, at)) {
		while (bi < s->nblocks && s->block[bi] && s->block[bi]->used == BLOCK_SLOTS)
			bi++;
		s32 rc = block_make(s, bi);

		if (rc)
			return rc;
		for (at = bi * BLOCK_SLOTS; !slot_free_at(s, at);)
			at++;
	}
	struct block *b = s->block[at / BLOCK_SLOTS];

	b->bits[at % BLOCK_SLOTS / 64] |= 1ull << at % 64;
	b->used++;
	s->cursor = at + 1;
	*out = at + 1;
	return 0;
}

void store_drop(struct store *s, u32 slot)
{
	u32 at = slot - 1;
	struct block *b = s->block[at / BLOCK_SLOTS];

	b->bits[at % BLOCK_SLOTS / 64] &= ~(1ull << at % 64);
	if (--b->used)
		return;
	(void)block_map(s, at / BLOCK_SLOTS, false);
	free(b);
	s->block[at / BLOCK_SLOTS] = NULL;
}

/* ---- lines */

/* n lines of slots that follow each other. */
static s32 fetch(struct store *s, u32 slot, u32 n, u8 *to)
{
	struct mem_fetch_req q = {.addr = slot_addr(slot), .want = n == 64 ? ~0ull : (1ull << n) - 1, .ticket = 1};
	struct mem_fetch_rep rep = {0};
	struct wire_seg seg = {&q, sizeof(q)};
	u8 *data = malloc((size_t)n * LINE_SIZE);
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = data, .data_cap = n * LINE_SIZE};

	for (u32 i = 0; i < n;) { /* what a reply leaves out is asked for again */
		u64 left = q.want >> i << i;

		q.want = left;
		q.demand = i;
		s32 rc = data ? ask(&s->memory, OP_MEM_FETCH, 0, &seg, 1, &r) : -ENOMEM;
		u32 at = 0;

		if (!rc && !((rep.data | rep.zero) & 1ull << i))
			rc = -WIRE_NO_LINE;
		for (; !rc && i < n && (rep.data | rep.zero) & 1ull << i; i++) {
			if (rep.zero & 1ull << i) {
				memset(to + (u64)i * LINE_SIZE, 0, LINE_SIZE);
			} else if ((u64)(at + 1) * LINE_SIZE > r.data_len) {
				rc = -WIRE_BAD_MESSAGE;
			} else {
				memcpy(to + (u64)i * LINE_SIZE, data + (u64)at++ * LINE_SIZE, LINE_SIZE);
			}
		}
		if (rc) {
			free(data);
			return rc;
		}
	}
	free(data);
	return 0;
}

s32 store_read(struct store *s, const u32 *slot, u32 n, u8 *to)
{
	for (u32 i = 0, run; i < n; i += run) {
		run = 1;
		if (!slot[i]) {
			memset(to + (u64)i * LINE_SIZE, 0, LINE_SIZE);
			continue;
		}
		while (i + run < n && slot[i + run] == slot[i] + run)
			run++;
		s32 rc = fetch(s, slot[i], run, to + (u64)i * LINE_SIZE);

		if (rc)
			return rc;
	}
	return 0;
}

s32 store_write(struct store *s, u32 *slot, u64 dirty, u32 n, const u8 *from)
{
	struct mem_writeback_req q = {0};
	struct mem_writeback_rep rep = {0};
	struct wb_line line[RUN_MAX];
	struct wire_seg seg[2 + RUN_MAX];
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep)};

	for (u32 i = 0; i < n; i++) {
		s32 rc = 0;

		if (!(dirty & 1ull << i))
			continue;
		if (!slot[i])
			rc = slot_take(s, &slot[i]);
		if (rc)
			return rc;
		const u8 *bytes = from + (u64)i * LINE_SIZE;

		line[q.count] = (struct wb_line){.addr = slot_addr(slot[i]), .version = ++s->version, .crc = crc32c(0, bytes, LINE_SIZE)};
		seg[2 + q.count++] = (struct wire_seg){bytes, LINE_SIZE};
	}
	if (!q.count)
		return 0;
	seg[0] = (struct wire_seg){&q, sizeof(q)};
	seg[1] = (struct wire_seg){line, q.count * (u32)sizeof(line[0])};
	s32 rc = ask(&s->memory, OP_MEM_WRITEBACK, 0, seg, 2 + q.count, &r);

	return rc ? rc : rep.committed == (q.count == 64 ? ~0ull : (1ull << q.count) - 1) && !rep.refused ? 0 : -EIO;
}

/* ---- files */

s32 store_file_io(struct store *s, u16 op, const struct file_ref *f, u64 off, u64 len, u32 flags, const void *in, void *out,
		  struct sd_io_rep *rep)
{
	struct sd_io_req q = {.file = *f, .off = off, .len = len, .flags = flags};
	struct wire_seg seg[2] = {{&q, sizeof(q)}, {in, in ? (u32)len : 0}};
	struct sd_io_rep own;
	struct chan_reply r = {.fixed = rep ? rep : &own, .fixed_len = sizeof(own), .data = out, .data_cap = out ? (u32)len : 0};
	s32 rc = ask(&s->storage, op, 0, seg, in ? 2 : 1, &r);

	if (!rc && out)
		((struct sd_io_rep *)r.fixed)->n = MIN(((struct sd_io_rep *)r.fixed)->n, (u64)MIN(r.data_len, r.data_cap));
	return rc;
}

s32 store_file_attr(struct store *s, const struct file_ref *f, struct sd_open_rep *rep)
{
	struct sd_io_req q = {.file = *f};
	struct wire_seg seg = {&q, sizeof(q)};
	struct chan_reply r = {.fixed = rep, .fixed_len = sizeof(*rep)};

	return ask(&s->storage, OP_SD_GETATTR, 0, &seg, 1, &r);
}
