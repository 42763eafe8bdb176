/* The compressed page store: what leaves the front (front_store.c) is packed. lz4 first, which costs little each way; zstd for what then
 * stays untouched while the store is more than half full, and at once when it is nearly full. What does not pack is kept as it is, zeros
 * as nothing.
 *
 * The store promises `ratio` times its size, and cannot know how programs' bytes will pack. What it promised it keeps: it then takes more
 * memory than its size, up to all that was promised, and says so (host_bytes); but no more is promised until it is below again (admits).
 * Every image carries the checksum of its plain bytes, which is looked at each time it is unpacked. */
#include <assert.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/crc.h"
#include "memory/arena.h"
#include "memory/front_store.h"

#define RATIO 2u
#define FRONT_PART 16u	     /* of the store's size is its front */
#define FRONT_MAX (64 * MIB)
#define ZSTD_LEVEL 1
#define STEP_LOOK 256u /* pages looked at in one step */
#define STEP_PACK 8u   /* packed anew: some 0.2 ms */

enum image { NO_IMAGE, ZEROS, PLAIN, LZ4, ZSTD, IMAGES };

struct packed {
	struct arena_at at;
	u32 crc; /* of the plain bytes */
	u16 len;
	u8 image;     /* enum image */
	bool touched; /* since the hand passed */
	bool tried;   /* zstd: it did not help */
};

struct compressed {
	struct front front; /* first */
	u64 bytes;	    /* that it was given */
	struct arena arena;
	struct packed *page; /* by page_ref */
	u32 hand;
	u64 count[IMAGES], packed_bytes;
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
	u64 looked; /* pages, since the last image was put */
	LZ4_stream_t lz4;
	u8 out[LINE_SIZE], plain[LINE_SIZE] __attribute__((aligned(8)));
};

static u64 host_bytes(const struct compressed *c)
{
	return arena_held(&c->arena) + (u64)c->front.touched * LINE_SIZE;
}

static bool all_zero(const void *bytes)
{
	const u64 *w = bytes;

	return !w[0] && !memcmp(w, w + 1, LINE_SIZE - sizeof(*w));
}

/* ---- images */

static u32 pack_lz4(struct compressed *c, const void *bytes)
{
	int n = LZ4_compress_fast_extState(&c->lz4, bytes, (char *)c->out, (int)LINE_SIZE, ARENA_PACKED, 1);

	return n > 0 ? (u32)n : 0;
}

static u32 pack_zstd(struct compressed *c, const void *bytes)
{
	size_t n = ZSTD_compressCCtx(c->cctx, c->out, ARENA_PACKED, bytes, LINE_SIZE, ZSTD_LEVEL);

	return ZSTD_isError(n) ? 0 : (u32)n;
}

static void set_image(struct compressed *c, page_ref p, enum image image, const void *bytes, u32 len)
{
	struct packed *k = &c->page[p];

	k->image = (u8)image;
	k->len = (u16)len;
	k->touched = true;
	k->tried = false;
	if (len)
		k->at = arena_put(&c->arena, bytes, len, p);
	c->count[image]++;
	if (image == LZ4 || image == ZSTD)
		c->packed_bytes += len;
}

static void drop_image(struct compressed *c, page_ref p)
{
	struct packed *k = &c->page[p];

	if (k->len)
		arena_drop(&c->arena, k->at);
	c->count[k->image]--;
	if (k->image == LZ4 || k->image == ZSTD)
		c->packed_bytes -= k->len;
	k->image = NO_IMAGE;
	k->len = 0;
}

static enum cold_result put(struct front *f, u32 frame, page_ref p, const void *bytes)
{
	struct compressed *c = (struct compressed *)f;
	bool tight = host_bytes(c) > c->bytes / 8 * 7;
	u32 len = 0;

	assert(c->page[p].image == NO_IMAGE);
	c->page[p].crc = crc32c(0, bytes, LINE_SIZE);
	c->looked = 0;
	if (all_zero(bytes)) {
		set_image(c, p, ZEROS, NULL, 0);
		return COLD_DONE;
	}
	if (!tight)
		len = pack_lz4(c, bytes);
	if (len)
		set_image(c, p, LZ4, c->out, len);
	else if ((len = pack_zstd(c, bytes)))
		set_image(c, p, ZSTD, c->out, len);
	else
		set_image(c, p, PLAIN, bytes, (u32)LINE_SIZE);
	return COLD_DONE;
}

static bool unpack(struct compressed *c, const struct packed *k, void *to)
{
	const void *from = k->len ? arena_bytes(&c->arena, k->at) : NULL;

	switch (k->image) {
	case ZEROS:
		memset(to, 0, LINE_SIZE);
		return true;
	case PLAIN:
		memcpy(to, from, LINE_SIZE);
		return true;
	case LZ4:
		return LZ4_decompress_safe(from, to, k->len, (int)LINE_SIZE) == (int)LINE_SIZE;
	default:
		return ZSTD_decompressDCtx(c->dctx, to, LINE_SIZE, from, k->len) == LINE_SIZE;
	}
}

static bool unpack_checked(struct compressed *c, page_ref p, void *to)
{
	const struct packed *k = &c->page[p];

	if (unpack(c, k, to) && crc32c(0, to, LINE_SIZE) == k->crc)
		return true;
	front_failed(&c->front, "this host's memory: page %u, packed in %u bytes, does not have its checksum any more", p, k->len);
	return false;
}

static enum cold_result get(struct front *f, u32 frame, page_ref p, void *bytes)
{
	struct compressed *c = (struct compressed *)f;

	c->page[p].touched = true;
	return unpack_checked(c, p, bytes) ? COLD_DONE : COLD_FAILED;
}

static void drop(struct front *f, page_ref p)
{
	drop_image((struct compressed *)f, p);
}

/* ---- beside the requests */

static void moved(void *arg, u32 tag, struct arena_at to)
{
	struct compressed *c = arg;

	c->page[tag].at = to;
}

/* Packs a page that nobody touched for a round of the hand anew. */
static void pack_cold(struct compressed *c, page_ref p)
{
	struct packed *k = &c->page[p];

	if (!unpack_checked(c, p, c->plain))
		return;
	u32 len = pack_zstd(c, c->plain);

	k->tried = true;
	if (!len || len + ARENA_STEP > k->len)
		return;
	drop_image(c, p);
	set_image(c, p, ZSTD, c->out, len);
}

static bool pack_some(struct compressed *c)
{
	u32 packed = 0;

	if (host_bytes(c) < c->bytes / 2)
		return false;
	for (u32 n = 0; n < STEP_LOOK && packed < STEP_PACK && c->looked < 2ull * c->front.fresh_page; n++, c->looked++) {
		c->hand = c->hand >= c->front.fresh_page ? 1 : c->hand + 1;
		struct packed *k = &c->page[c->hand];

		if (k->image == LZ4 && !k->touched && !k->tried) {
			pack_cold(c, c->hand);
			packed++;
		}
		k->touched = false;
	}
	return c->looked < 2ull * c->front.fresh_page;
}

static bool step(struct front *f)
{
	struct compressed *c = (struct compressed *)f;
	bool more = arena_step(&c->arena, moved, c);

	return pack_some(c) || more;
}

static bool admits(const struct front *f)
{
	const struct compressed *c = (const struct compressed *)f;

	return host_bytes(c) <= c->bytes;
}

static void stat(const struct front *f, struct page_store_stat *st)
{
	const struct compressed *c = (const struct compressed *)f;

	st->host_bytes = host_bytes(c);
	st->zero_pages = c->count[ZEROS];
	st->plain_pages = c->count[PLAIN];
	st->lz4_pages = c->count[LZ4];
	st->zstd_pages = c->count[ZSTD];
	st->packed_bytes = c->packed_bytes;
}

/* ---- life */

static void compressed_free(struct front *f)
{
	struct compressed *c = (struct compressed *)f;

	front_fini(f);
	arena_fini(&c->arena);
	ZSTD_freeCCtx(c->cctx);
	ZSTD_freeDCtx(c->dctx);
	free(c->page);
	free(c);
}

static const struct cold_ops ops = {
	.free = compressed_free,
	.put = put,
	.get = get,
	.drop = drop,
	.step = step,
	.admits = admits,
	.stat = stat,
};

struct page_store *compressed_store_new(const struct page_store_config *cfg)
{
	struct compressed *c = calloc(1, sizeof(*c));
	u64 npages = cfg->bytes / LINE_SIZE * (cfg->ratio ? cfg->ratio : RATIO);

	u64 front = cfg->front_bytes ? cfg->front_bytes : MIN(cfg->bytes / FRONT_PART, FRONT_MAX);

	if (!c)
		return NULL;
	c->front.cold = &ops;
	c->bytes = cfg->bytes;
	c->cctx = ZSTD_createCCtx();
	c->dctx = ZSTD_createDCtx();
	if (!c->cctx || !c->dctx || !front_init(&c->front, npages, front / LINE_SIZE) ||
	    !arena_init(&c->arena, c->front.nids))
		goto fail;
	c->page = calloc((u64)c->front.nids + 1, sizeof(*c->page));
	if (c->page)
		return &c->front.store;
fail:
	compressed_free(&c->front);
	return NULL;
}
