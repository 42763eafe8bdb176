/* See fake.h. Everything is single-threaded and repeatable from the seed. */
#include <linux/mman.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/map.h"
#include "processor/monitor/vm/uffd.h"
#include "tests/unit/excache/fake.h"

extern void *mmap(void *, size_t, int, int, int, long);
extern int munmap(void *, size_t);
extern int arch_prctl(int, unsigned long);
extern long syscall(long, ...);

struct mon mon;
u64 mon_counters[CNT_MAX];
bool host_checked;
struct thread fake_thread;
static struct task fake_task;
struct fake_faults fake_faults;
bool fake_owners;
static u64 seed = 1;

static struct fake_page pages[FAKE_PAGES + FAKE_LOW];
static u8 memory[FAKE_PAGES + FAKE_LOW][LINE_SIZE]; /* … and where their bytes lie */
static bool *slot_present;
static u64 slots;

struct home_line {
	u8 *bytes; /* NULL: zeros, or nothing */
	u64 version;
	bool held, mapped, file;
	u64 off; /* file */
};
static struct home_line home[FAKE_PAGES + FAKE_LOW];
static u64 home_lseq;
u64 fake_home_lines;

/* ---------------------------------------------------------------- helpers */

void fake_seed(u64 s)
{
	seed = s * 2 + 1;
}

u32 fake_random(u32 n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return n ? (u32)(seed >> 33) % n : 0;
}

static bool chance(u32 one_in)
{
	return one_in && !fake_random(one_in);
}

void fake_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

static u32 index_of(u64 addr)
{
	if (addr >= MON_END && addr < MON_END + FAKE_PAGES * LINE_SIZE)
		return (u32)((addr - MON_END) >> LINE_SHIFT);
	if (addr < MON_BASE && addr >= MON_BASE - FAKE_LOW * LINE_SIZE)
		return FAKE_PAGES + (u32)((addr - (MON_BASE - FAKE_LOW * LINE_SIZE)) >> LINE_SHIFT);
	return ~0u;
}

struct fake_page *fake_page(u64 addr)
{
	u32 i = index_of(addr);

	return i == ~0u ? NULL : &pages[i];
}

static bool is_slot(u64 addr)
{
	return ec.staging && addr >= ec.staging && addr < ec.staging + slots * LINE_SIZE;
}

static bool *slot_at(u64 addr)
{
	return &slot_present[(addr - ec.staging) >> LINE_SHIFT];
}

u64 fake_present(void)
{
	u64 n = 0;

	for (u32 i = 0; i < ARRAY_SIZE(pages); i++)
		n += pages[i].bytes != NULL;
	for (u64 i = 0; i < slots; i++)
		n += slot_present[i];
	return n;
}

static void page_away(struct fake_page *p)
{
	if (p->bytes)
		memset(p->bytes, 0xee, LINE_SIZE);
	p->bytes = NULL;
	p->wp = false;
}

/* ---------------------------------------------------------------- userfaultfd */

s64 uffd_open(bool *move)
{
	*move = true;
	return 0;
}

s64 uffd_register(u64 addr, u64 len)
{
	return 0;
}

static s64 copy_one(u64 dst, const u8 *src, bool wp)
{
	const struct fake_page *from = fake_page((u64)src);
	u8 bytes[LINE_SIZE];

	if (from && (!from->bytes || from->prot == PROT_NONE))
		return -EFAULT;
	if (!from && is_slot((u64)src) && !*slot_at((u64)src))
		return -EFAULT;
	memcpy(bytes, from ? from->bytes : src, LINE_SIZE);
	if (is_slot(dst)) {
		if (*slot_at(dst))
			return -EEXIST;
		memcpy((u8 *)dst, bytes, LINE_SIZE);
		*slot_at(dst) = true;
		return 0;
	}
	struct fake_page *to = fake_page(dst);

	if (!to)
		fake_fail("COPY to %lx, which is nobody's", dst);
	if (to->bytes)
		return -EEXIST;
	to->bytes = memory[to - pages];
	memcpy(to->bytes, bytes, LINE_SIZE);
	to->wp = wp;
	return 0;
}

s64 uffd_copy(u64 dst, const void *src, u64 len, bool wp, u64 *done)
{
	s64 r = 0;
	u64 at = 0;

	for (; at < len && !r; at += r ? 0 : LINE_SIZE)
		r = copy_one(dst + at, (const u8 *)src + at, wp);
	if (done)
		*done = at;
	return r;
}

static bool movable_prot(u64 addr)
{
	return is_slot(addr) || fake_page(addr)->prot == (PROT_READ | PROT_WRITE);
}

static s64 move_one(u64 dst, u64 src)
{
	u8 bytes[LINE_SIZE];
	struct fake_page *from = fake_page(src), *to = fake_page(dst);

	if (!movable_prot(dst) || !movable_prot(src))
		return -EINVAL;
	if (from ? !from->bytes : !*slot_at(src))
		return -ENOENT;
	if (to ? to->bytes != NULL : *slot_at(dst))
		return -EEXIST;
	if (chance(fake_faults.move_busy))
		return -EBUSY;
	memcpy(bytes, from ? from->bytes : (u8 *)src, LINE_SIZE);
	if (from)
		page_away(from);
	else
		*slot_at(src) = false;
	copy_one(dst, bytes, false);
	return chance(fake_faults.move_after) ? -EEXIST : 0;
}

s64 uffd_move(u64 dst, u64 src, u64 len, u64 *done)
{
	s64 r = 0;

	for (*done = 0; *done < len; *done += LINE_SIZE) {
		r = chance(fake_faults.move_partial) ? -EAGAIN : move_one(dst + *done, src + *done);
		if (r)
			break;
	}
	return r;
}

s64 uffd_protect(u64 addr, u64 len, bool wp)
{
	for (u64 at = addr; at < addr + len; at += LINE_SIZE)
		if (fake_page(at)->bytes)
			fake_page(at)->wp = wp;
	return 0;
}

/* ---------------------------------------------------------------- the host */

static s64 discard(u64 addr, u64 len)
{
	for (u64 at = addr; at < addr + len; at += LINE_SIZE) {
		if (is_slot(at)) {
			*slot_at(at) = false;
			memset((u8 *)at, 0xee, LINE_SIZE);
		} else if (fake_page(at)) {
			page_away(fake_page(at));
		}
	}
	return 0;
}

/* A list of ranges: some hosts refuse it, and it may stop on the way. */
static s64 discard_list(const u64 *list, u64 n)
{
	s64 done = 0;

	if (fake_faults.no_vector)
		return -EINVAL;
	for (u64 i = 0; i < n && !(i && chance(10)); i++) {
		discard(list[2 * i], list[2 * i + 1]);
		done += (s64)list[2 * i + 1];
	}
	return done;
}

static s64 set_prot(u64 addr, u64 len, u32 prot)
{
	for (u64 at = addr; at < addr + len; at += LINE_SIZE)
		fake_page(at)->prot = (u8)prot;
	return 0;
}

static s64 map(u64 addr, u64 len, u32 prot)
{
	if (!fake_page(addr))
		return (s64)addr; /* staging */
	discard(addr, len);
	set_prot(addr, len, prot);
	return (s64)addr;
}

s64 host_raw(s64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	switch (nr) {
	case SYSNR(mmap):
		return map(a, b, (u32)c);
	case SYSNR(mprotect):
		return set_prot(a, b, (u32)c);
	case SYSNR(madvise):
		if (c != MADV_DONTNEED)
			return 0;
		if (!is_slot(a) && !fake_page(a)) { /* a bitmap */
			memset((void *)a, 0, b);
			return 0;
		}
		return discard(a, b);
	case SYSNR(process_madvise):
		return discard_list((const u64 *)b, c);
	case SYSNR(clock_gettime):
		memset((void *)b, 0, 16);
		return 0;
	case SYSNR(futex):
	case SYSNR(sched_yield):
	case SYSNR(nanosleep):
		return 0;
	default:
		fake_fail("host call %ld is not expected here", nr);
	}
}

void host_efault(s64 nr)
{
	fake_fail("EFAULT from host call %ld", nr);
}

/* ---------------------------------------------------------------- the memory node */

static void home_drop(u32 i)
{
	free(home[i].bytes);
	fake_home_lines -= home[i].held;
	home[i].bytes = NULL;
	home[i].held = false;
}

static void home_range_do(u64 addr, u64 len, int what)
{
	for (u64 at = addr; at < addr + len; at += LINE_SIZE) {
		u32 i = index_of(at);

		if (i == ~0u)
			continue;
		home_drop(i);
		if (what) {
			home[i].mapped = what > 0;
			home[i].file = false;
		}
	}
}

static void home_file(const struct as_mmap_req *q)
{
	for (u64 at = 0; q->flags & AS_MAP_FILE && at < q->len; at += LINE_SIZE) {
		struct home_line *l = &home[index_of(q->addr + at)];

		l->file = at < q->file_len;
		l->off = q->file_off + at;
	}
}

static void home_move(const struct as_mremap_req *q)
{
	u64 keep = MIN(q->old_len, q->new_len), n = keep >> LINE_SHIFT;
	struct home_line *tmp = calloc(n + 1, sizeof(*tmp));

	for (u64 i = 0; i < n; i++) {
		struct home_line *l = &home[index_of(q->addr + i * LINE_SIZE)];

		if (!l->mapped)
			fake_fail("mremap of an unmapped page");
		tmp[i] = *l;
		l->bytes = NULL;
		l->held = false;
	}
	for (u64 i = 0; i < q->old_len >> LINE_SHIFT; i++) {
		u32 k = index_of(q->addr + i * LINE_SIZE);

		home_drop(k);
		home[k].mapped = home[k].file = false;
	}
	for (u64 i = 0; i < q->new_len >> LINE_SHIFT; i++) {
		u32 k = index_of(q->new_addr + i * LINE_SIZE);

		u64 version = home[k].version;

		home_drop(k);
		home[k] = (struct home_line){.mapped = true, .version = version};
		if (i < n) {
			home[k] = tmp[i];
			home[k].version = MAX(version, tmp[i].version);
		} else if (n && tmp[n - 1].file) {
			home[k].file = true;
			home[k].off = tmp[n - 1].off + (i - n + 1) * LINE_SIZE;
		}
	}
	free(tmp);
}

static s32 layout(u16 op, const void *req, struct as_layout_rep *rep)
{
	const struct as_range_req *r = req;

	if (r->lseq != home_lseq + 1)
		fake_fail("layout operation %lu after %lu", r->lseq, home_lseq);
	home_lseq = r->lseq;
	switch (op) {
	case OP_AS_MMAP:
		home_range_do(r->addr, r->len, 1);
		home_file(req);
		break;
	case OP_AS_MUNMAP:
		home_range_do(r->addr, r->len, -1);
		break;
	case OP_AS_DISCARD:
		home_range_do(r->addr, r->len, 0);
		break;
	case OP_AS_MREMAP:
		home_move(req);
		break;
	default:
		break;
	}
	rep->lseq = home_lseq;
	return 0;
}

static s32 fetch(const struct mem_fetch_req *q, struct mem_fetch_rep *rep, struct chan_reply *r)
{
	*rep = (struct mem_fetch_rep){.addr = q->addr, .ticket = q->ticket};
	r->data_len = 0;
	r->data_at = r->data;
	if (r->data_cap < (u64)__builtin_popcountll(q->want) * LINE_SIZE)
		fake_fail("no room for the answer of %u lines", __builtin_popcountll(q->want));
	for (u64 want = q->want; want; want &= want - 1) {
		u32 bit = (u32)__builtin_ctzll(want), i = index_of(q->addr + bit * LINE_SIZE);

		if (bit != q->demand && chance(fake_faults.skip))
			continue;
		if (!home[i].held && home[i].file) {
			u64 *w = (u64 *)((u8 *)r->data + r->data_len);

			for (u32 k = 0; k < LINE_SIZE / 8; k++)
				w[k] = fake_word(FILE_GENERATION + (u32)(home[i].off >> LINE_SHIFT), k);
			rep->data |= 1ull << bit;
			r->data_len += (u32)LINE_SIZE;
		} else if (!home[i].held) {
			rep->no_line |= 1ull << bit;
		} else if (!home[i].bytes) {
			rep->zero |= 1ull << bit;
		} else {
			rep->data |= 1ull << bit;
			memcpy((u8 *)r->data + r->data_len, home[i].bytes, LINE_SIZE);
			r->data_len += (u32)LINE_SIZE;
		}
	}
	return 0;
}

static void take_line(const struct wb_line *l, const u8 *bytes)
{
	struct home_line *h = &home[index_of(l->addr)];

	if (bytes && crc32c(0, bytes, LINE_SIZE) != l->crc)
		fake_fail("line %lx came with a wrong sum", l->addr);
	if (l->version <= h->version)
		fake_fail("line %lx came as version %lu after %lu", l->addr, l->version, h->version);
	fake_home_lines += !h->held;
	h->held = true;
	h->version = l->version;
	free(h->bytes);
	h->bytes = bytes ? malloc(LINE_SIZE) : NULL;
	if (bytes)
		memcpy(h->bytes, bytes, LINE_SIZE);
}

static s32 writeback(const struct wire_seg *segs, u32 nsegs, struct mem_writeback_rep *rep)
{
	const struct mem_writeback_req *q = segs[0].base;
	const struct wb_line *lines = segs[1].base;
	u32 seg = 2, off = 0;

	*rep = (struct mem_writeback_rep){0};
	for (u32 i = 0; i < q->count; i++) {
		const u8 *bytes = NULL;

		if (!(lines[i].flags & WB_ZERO)) {
			bytes = (const u8 *)segs[seg].base + off;
			off += (u32)LINE_SIZE;
			if (off == segs[seg].len) {
				seg++;
				off = 0;
			}
		}
		if (!home[index_of(lines[i].addr)].mapped) {
			rep->refused |= 1ull << i;
			continue;
		}
		if (chance(fake_faults.skip))
			continue; /* in neither mask */
		take_line(&lines[i], bytes);
		rep->committed |= 1ull << i;
	}
	if (seg != nsegs)
		fake_fail("%u segments, %u used", nsegs, seg);
	return 0;
}

/* ---------------------------------------------------------------- owners: three nodes, by turns; they change now and then */

static u32 owner_turn;

static u32 node_of(u64 addr)
{
	return fake_owners ? ((u32)(addr >> 21) + owner_turn) % 3 : 0;
}

static s32 where(const struct as_where_req *q, struct as_where_rep *rep)
{
	*rep = (struct as_where_rep){.lo = ALIGN_DOWN(q->addr, 2 * MIB), .name = "m0", .epoch = node_of(q->addr) + 1};
	rep->hi = rep->lo + 2 * MIB;
	rep->name[1] = (char)('0' + node_of(q->addr));
	return 0;
}

/* The node a channel leads to. */
static u32 channel_node(const struct chan *c)
{
	return c == &mon.mem ? 0 : (u32)c->session;
}

static bool wrong_node(const struct chan *c, u16 op, const struct wire_seg *segs)
{
	if (op == OP_MEM_FETCH)
		return channel_node(c) != node_of(((const struct mem_fetch_req *)segs[0].base)->addr);
	const struct wb_line *lines = segs[1].base;

	for (u32 i = 0; i < ((const struct mem_writeback_req *)segs[0].base)->count; i++)
		if (channel_node(c) != node_of(lines[i].addr))
			return true;
	return false;
}

s64 pd_call(struct task *task, struct pd_call *c)
{
	const struct pd_channel_req *q = c->req;
	struct chan_desc *d = c->rep;

	if (c->op != OP_PD_CHANNEL || q->name[0] != 'm')
		fake_fail("an unexpected request to pd");
	d->session = (u64)(q->name[1] - '0');
	c->nfds = 1;
	return 0;
}

void fd_place(int fd, int to)
{
}

void channel_attach(struct chan *c, const struct chan_desc *d, int sock, int ring_fd)
{
	c->session = d->session;
}

void channel_detach(struct chan *c)
{
	memset(c, 0, sizeof(*c));
}

bool chan_down(const struct chan *c)
{
	return false;
}

s32 chan_call(struct chan *c, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r, u64 timeout_ns)
{
	if (op == OP_AS_WHERE)
		return where(segs[0].base, r->fixed);
	if (op == OP_MEM_FETCH || op == OP_MEM_WRITEBACK) {
		if (fake_owners && !fake_random(500))
			owner_turn++;
		if (wrong_node(c, op, segs))
			return -WIRE_MOVED;
	} else if (c != &mon.mem) {
		fake_fail("a layout operation goes to another node than home");
	}
	if (op == OP_MEM_FETCH)
		return chance(fake_faults.timeout) ? -WIRE_WAIT : fetch(segs[0].base, r->fixed, r);
	if (op == OP_MEM_WRITEBACK)
		return chance(fake_faults.timeout) ? -WIRE_WAIT : writeback(segs, nsegs, r->fixed);
	return layout(op, segs[0].base, r->fixed);
}

/* Requests under way: a write-back is taken only when it is waited for, or has been asked about often enough; a fetch so or at once: one
 * that is waited for late brings what was there long ago, and has come before its place was known. */
static struct posted {
	struct chan *c;
	u16 op;
	const struct wire_seg *segs;
	u32 nsegs;
	struct chan_reply *r;
	struct wire_seg one; /* of a fetch: its maker's list is gone when it is answered */
	bool done, open; /* open: not waited for */
	s32 status;
} posted[64];
static u32 nposted;

static s32 answer(struct posted *p)
{
	if (!p->done)
		p->status = chan_call(p->c, p->op, p->segs, p->nsegs, p->r, 0);
	p->done = true;
	return p->status;
}

s64 chan_post(struct chan *c, u16 op, u32 epoch, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r, u64 timeout_ns)
{
	struct posted *p = &posted[nposted % 64];

	if (chance(fake_faults.timeout))
		return -WIRE_BUSY;
	for (u32 tries = 0; p->open; tries++) { /* long ago, and still not waited for */
		if (tries == ARRAY_SIZE(posted))
			fake_fail("requests are posted and never waited for");
		p = &posted[++nposted % 64];
	}
	*p = (struct posted){c, op, nsegs == 1 ? &p->one : segs, nsegs, r, segs[0], false, true, 0};
	if (op != OP_MEM_WRITEBACK && fake_random(2))
		answer(p);
	s64 slot = p - posted;
	return (s64)++nposted << 32 | slot;
}

s32 chan_wait(struct chan *c, s64 handle)
{
	posted[handle % 64].open = false;
	return answer(&posted[handle % 64]);
}

bool chan_done(struct chan *c, s64 handle)
{
	if (chance(3))
		answer(&posted[handle % 64]);
	return posted[handle % 64].done;
}

/* ---------------------------------------------------------------- the monitor */

bool fake_threads;

bool thread_alone(void)
{
	return !fake_threads;
}

void lock_take(struct lock *l)
{
	if (l->word)
		fake_fail("a lock is taken twice");
	l->word = 1;
}

bool lock_try(struct lock *l)
{
	if (l->word)
		return false;
	l->word = 1;
	return true;
}

void lock_drop(struct lock *l)
{
	if (!l->word)
		fake_fail("a free lock is dropped");
	l->word = 0;
}

void *mon_map(u64 len)
{
	void *p = mmap(NULL, len, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == (void *)-1 ? NULL : p;
}

void mon_unmap(void *p, u64 len)
{
	munmap(p, len);
}

u64 mon_va_take(u64 len)
{
	slots = len >> LINE_SHIFT;
	slot_present = calloc(slots, sizeof(bool));
	return (u64)mon_map(len);
}

void *mon_alloc(u64 size)
{
	return calloc(1, size);
}

void mon_free(void *p, u64 size)
{
	free(p);
}

void mon_fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

void mon_print(const char *fmt, ...)
{
}

s64 mon_format(char *buf, u64 cap, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(buf, cap, fmt, ap);

	va_end(ap);
	return n;
}

s64 copy_from_user(void *dst, u64 src, u64 len)
{
	const struct fake_page *p = fake_page(src);

	if (!p || !p->bytes || p->prot == PROT_NONE)
		return -EFAULT;
	memcpy(dst, p->bytes + (src & LINE_MASK), len);
	return 0;
}

u8 *user_page(u64 addr)
{
	struct fake_page *p = fake_page(addr);

	if (!p || !p->bytes || p->wp || p->prot != (PROT_READ | PROT_WRITE))
		fake_fail("store to the page at %lx", addr);
	return p->bytes;
}

s64 copy_to_user(u64 dst, const void *src, u64 len)
{
	return -EFAULT;
}

struct file *file_ref_fd(struct thread *t, int fd)
{
	return NULL;
}

void file_put(struct file *f)
{
}

s64 sto_getattr(struct file *f, struct sd_open_rep *rep)
{
	return -EIO;
}

s64 map_shared(struct thread *t, struct map_args *m)
{
	return -ENODEV;
}

void shared_flush(u64 lo, u64 hi, bool durable)
{
}

void shared_gone(u64 lo, u64 hi)
{
}

bool shared_fault(struct thread *t, u64 addr, u64 err, const struct vma *v)
{
	return false;
}

s64 shared_punch(const struct vma *v, u64 lo, u64 hi)
{
	return -EINVAL;
}

s64 shared_object_fd(u64 object)
{
	return -ENODEV;
}

s64 share_locked(const struct map_args *m, struct vma *v, int fd)
{
	return -ENODEV;
}

void shared_fork_child(struct thread *t)
{
}

u64 file_object(struct thread *t, struct file *f, int fd)
{
	return 0;
}

s64 file_rw(struct thread *t, struct file *f, int fd, u16 op, u64 off, u64 len, u32 flags, void *buf, struct sd_io_rep *rep)
{
	return -EIO;
}

/* ---------------------------------------------------------------- start, fork */

void fake_start(u64 bytes, u64 max, u32 assoc, u32 policy, bool move, bool check)
{
	fake_thread.self = &fake_thread;
	fake_thread.tid = 100;
	fake_thread.task = &fake_task;
	fake_thread.bounce = malloc(BOUNCE_BYTES);
	syscall(158 /* arch_prctl */, 0x1001 /* ARCH_SET_GS */, (unsigned long)&fake_thread);
	mon.boot = (struct boot){
	    .memory = {.name = "m0", .epoch = 1}, .excache_bytes = bytes, .excache_max_bytes = max, .assoc = assoc, .policy = policy, .flags = (move ? 0 : BOOT_NO_MOVE) | (check ? BOOT_CHECK_LINES : 0)};
	mon.va_lo = MON_BASE - FAKE_LOW * LINE_SIZE;
	mon.va_hi = mon.mmap_top = MON_END + FAKE_PAGES * LINE_SIZE;
	mon.brk_start = mon.brk = mon.va_lo;
	vm_init();
}

void fake_fork(void)
{
	vm_fork_prepare(&fake_thread);
	for (u32 i = 0; i < ARRAY_SIZE(pages); i++)
		pages[i].wp = false;
	memset(slot_present, 0, slots * sizeof(bool));
	vm_fork_child(&fake_thread);
}

void flight_waits(enum flight_wait what, u64 on, u32 held_by)
{
}

/* ---------------------------------------------------------------- vm/lock.c: nothing is ever locked here */

u32 lock_flags(u32 map_flags)
{
	return 0;
}

s64 lock_room(u64 len, u32 map_flags)
{
	return 0;
}

void lock_fork_child(void)
{
}

s64 vm_populate(u64 lo, u64 hi, bool write)
{
	return 0;
}

s64 limit_get(u32 resource, struct sys_limit *out)
{
	out->soft = out->hard = ~0ull;
	return 0;
}

void pd_report_live(struct thread *t, u64 now)
{
}
