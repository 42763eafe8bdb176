/* MAP_SHARED: objects of the host, resident, outside ExCache. Anonymous ones and files of the host (/dev/shm, memfds) are the host's own
 * mappings. A lego file is mapped through its entry in the vNode's tmpfs, so that all processes of the vNode on this node share it: the
 * entry is filled from the storage node when it is mapped first, and pages that changed go back at msync, at the last munmap, at exec and
 * at the end. Changed pages are found by checksum. read and write go to the storage node: they see what was flushed. A file whose
 * descriptor cannot write is a private mapping, unless its entry is in use: nobody on this node changes it through memory.
 *
 * Everything here is under vm.lock, but for the entry's byte lock, taken while it is filled (other processes fill the same entry). */
#include <linux/mman.h>
#include <asm/stat.h>

#include "base/crc.h"
#include "base/string.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/vm/map.h"

#define SHARED_MAX    40u /* files at once: each keeps a descriptor above the monitor's own */
#define CHUNK	      (128 * KIB)
#define FILL_LOCK_AT  (1ull << 62) /* byte of the entry that is locked while it is filled */
#define LOCK_TRIES    200u
#define LOCK_PAUSE_NS 1000000u

struct shared {		  /* a lego file mapped shared and writable by this process */
	struct file file; /* for requests; file.handle's id 0: unused entry */
	int fd;
	u64 pages;
	u32 *crc; /* of each page as the storage node has it */
};
static struct shared table[SHARED_MAX];
static u8 *chunk; /* CHUNK bytes */
static bool shares;

bool vm_shares(void)
{
	return __atomic_load_n(&shares, __ATOMIC_RELAXED);
}

/* ---------------------------------------------------------------- the entry */

static struct shared *find(const u64 id[2])
{
	for (u32 i = 0; i < SHARED_MAX; i++)
		if (table[i].crc && table[i].file.handle.id[0] == id[0] && table[i].file.handle.id[1] == id[1])
			return &table[i];
	return NULL;
}

static u64 entry_size(int fd)
{
	struct stat st;

	return host(SYSNR(fstat), fd, &st) ? 0 : (u64)st.st_size;
}

static void fill_lock(int fd, bool take)
{
	struct {
		s16 type, whence;
		u32 pad;
		s64 start, len;
		s32 pid, pad1;
	} lock = {.type = take ? F_WRLCK : F_UNLCK, .start = FILL_LOCK_AT, .len = 1};
	u64 pause[2] = {0, LOCK_PAUSE_NS};

	for (u32 i = 0; i < LOCK_TRIES && host(SYSNR(fcntl), fd, F_OFD_SETLK, &lock) && take; i++)
		host(SYSNR(nanosleep), pause, 0);
}

/* Bytes [from, size) of the entry from the storage node. */
static s64 fill_from(struct shared *s, u64 from, u64 size)
{
	for (u64 at = ALIGN_DOWN(from, LINE_SIZE); at < size;) {
		s64 n = file_pread(&s->file, chunk, MIN(size - at, CHUNK), at);

		if (n < 0)
			return n;
		if (!n)
			break;
		n = host(SYSNR(pwrite64), s->fd, chunk, n, at);
		if (n <= 0)
			return n ? n : -EIO;
		at += (u64)n;
	}
	return 0;
}

/* Checksums of pages [from, pages) as they are now. */
static s64 sums_from(struct shared *s, u64 from, u64 pages)
{
	u32 *crc = mon_alloc(pages * sizeof(u32) + 8);

	if (!crc)
		return -ENOMEM;
	if (s->crc)
		memcpy(crc, s->crc, MIN(s->pages, pages) * sizeof(u32));
	for (u64 p = from; p < pages; p += CHUNK / LINE_SIZE) {
		u64 n = MIN(pages - p, CHUNK / LINE_SIZE);

		memset(chunk, 0, CHUNK);
		host(SYSNR(pread64), s->fd, chunk, n * LINE_SIZE, p * LINE_SIZE);
		for (u64 i = 0; i < n; i++)
			crc[p + i] = crc32c(0, chunk + i * LINE_SIZE, LINE_SIZE);
	}
	if (s->crc)
		mon_free(s->crc, s->pages * sizeof(u32) + 8);
	s->crc = crc;
	s->pages = pages;
	return 0;
}

/* The entry is as long as the file, and filled. */
static s64 make_whole(struct shared *s)
{
	struct sd_open_rep rep;
	s64 r = sto_getattr(&s->file, &rep);

	if (r < 0)
		return r;
	fill_lock(s->fd, true);
	u64 have = entry_size(s->fd), pages = ALIGN_UP(rep.attr.size, LINE_SIZE) >> LINE_SHIFT,
	    known = s->crc ? MIN(s->pages, have >> LINE_SHIFT) : 0;

	if (have != rep.attr.size)
		r = host(SYSNR(ftruncate), s->fd, rep.attr.size);
	if (!r && have < rep.attr.size)
		r = fill_from(s, have, rep.attr.size);
	if (!r)
		r = sums_from(s, MIN(known, pages), pages);
	if (r && !have)
		host(SYSNR(ftruncate), s->fd, 0);
	fill_lock(s->fd, false);
	return r;
}

static void let_go(struct shared *s)
{
	host(SYSNR(close), s->fd);
	if (s->crc)
		mon_free(s->crc, s->pages * sizeof(u32) + 8);
	*s = (struct shared){0};
}

static s64 open_entry(const struct file_ref *handle)
{
	s64 low = entry_open(handle->id, O_RDWR | O_CLOEXEC);

	if (low < 0)
		return low;
	s64 fd = host(SYSNR(fcntl), low, F_DUPFD_CLOEXEC, MON_FD_END);

	host(SYSNR(close), low);
	return fd == -EINVAL || fd == -EMFILE ? -ENOMEM : fd;
}

/* The shared file of a request, its entry filled; NULL and *r. */
static struct shared *obtain(const struct file *f, s64 *r)
{
	struct shared *s = find(f->handle.id), *unused = NULL;

	if (!chunk && !(chunk = mon_map(CHUNK))) {
		*r = -ENOMEM;
		return NULL;
	}
	for (u32 i = 0; i < SHARED_MAX && !s && !unused; i++)
		unused = table[i].crc ? NULL : &table[i];
	if (!s && !unused) {
		*r = -ENOMEM;
		return NULL;
	}
	if (!s) {
		s64 fd = open_entry(&f->handle);

		if (fd < 0) {
			*r = fd;
			return NULL;
		}
		*unused = (struct shared){.file = {.refs = 1, .kind = FILE_LEGO, .flags = O_RDWR, .handle = f->handle}, .fd = (int)fd};
	}
	struct shared *got = s ? s : unused;

	if (f->handle.rights & FILE_W)
		got->file.handle = f->handle;
	*r = make_whole(got);
	if (*r && !s)
		let_go(got);
	return *r ? NULL : got;
}

/* ---------------------------------------------------------------- back to the storage node */

static void send_page(struct shared *s, u64 page, const u8 *bytes, u64 size)
{
	u32 crc = crc32c(0, bytes, LINE_SIZE);
	u64 off = page << LINE_SHIFT;

	if (crc == s->crc[page] || off >= size)
		return;
	struct sd_io_rep rep;
	s64 n = sto_io(OP_SD_WRITE, &s->file, off, MIN(LINE_SIZE, size - off), 0, bytes, MIN(LINE_SIZE, size - off), NULL, &rep);

	if (n >= 0)
		s->crc[page] = crc;
	else
		mon_print("lego: a shared mapping could not be written back at %lx (error %ld)", off, -n);
}

/* Pages [first, end) of the file that changed. Never makes the file longer. */
static void flush(struct shared *s, u64 first, u64 end, bool durable)
{
	struct sd_open_rep attr;

	if (!(s->file.handle.rights & FILE_W) || sto_getattr(&s->file, &attr) < 0)
		return;
	end = MIN(end, s->pages);
	for (u64 p = first; p < end; p += CHUNK / LINE_SIZE) {
		u64 n = MIN(end - p, CHUNK / LINE_SIZE);

		memset(chunk, 0, CHUNK);
		if (host(SYSNR(pread64), s->fd, chunk, n * LINE_SIZE, p << LINE_SHIFT) <= 0)
			break;
		for (u64 i = 0; i < n; i++)
			send_page(s, p + i, chunk + i * LINE_SIZE, attr.attr.size);
	}
	if (durable)
		sto_io(OP_SD_FSYNC, &s->file, 0, 0, 1, NULL, 0, NULL, NULL);
}

static void flush_range(u64 lo, u64 hi, bool durable)
{
	const struct vma *v;

	for (u32 i = vma_index(&vm.tree, lo); (v = vma_at(&vm.tree, i)) && v->start < hi; i++) {
		struct shared *s = v->flags & VMA_LEGO ? find(v->file.id) : NULL;
		u64 start = MAX(lo, v->start), end = MIN(hi, v->end), first = (v->file_off + (start - v->start)) >> LINE_SHIFT;

		if (s && !(v->flags & VMA_RDONLY))
			flush(s, first, first + ((end - start) >> LINE_SHIFT), durable);
	}
}

void shared_flush(u64 lo, u64 hi, bool durable)
{
	flush_range(lo, hi, durable);
}

/* Files that nothing maps any more. */
void shared_prune(void)
{
	for (u32 i = 0; i < SHARED_MAX; i++) {
		const struct vma *v = NULL;
		bool used = false;

		for (u32 k = 0; table[i].crc && !used && (v = vma_at(&vm.tree, k)); k++)
			used = v->flags & VMA_LEGO && v->file.id[0] == table[i].file.handle.id[0] &&
			       v->file.id[1] == table[i].file.handle.id[1];
		if (table[i].crc && !used)
			let_go(&table[i]);
	}
}

/* The end of the process, or an exec that may still fail: nothing is taken down. */
void vm_exit(struct thread *t)
{
	lock_take(&vm.lock);
	flush_range(0, ~0ull, false);
	lock_drop(&vm.lock);
}

/* SIGBUS in a shared mapping of a lego file: the file may have grown since. */
bool shared_grown(u64 addr)
{
	bool grown = false;

	lock_take(&vm.lock);
	const struct vma *v = vma_find(&vm.tree, addr);
	struct shared *s = v && v->flags & VMA_LEGO ? find(v->file.id) : NULL;

	if (s && !make_whole(s))
		grown = v->file_off + (addr - v->start) < s->pages << LINE_SHIFT;
	lock_drop(&vm.lock);
	return grown;
}

/* ---------------------------------------------------------------- mapping */

static s64 place_shared(const struct map_args *m, struct vma *v)
{
	u64 at = m->addr;

	if (m->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (at & LINE_MASK)
			return -EINVAL;
		if (!place_ok(at, m->len))
			return -ENOMEM;
		if (m->flags & MAP_FIXED_NOREPLACE && vma_overlaps(&vm.tree, at, at + m->len))
			return -EEXIST;
	} else {
		at = place_find_at(m->len, at, m->flags);
		if (!at)
			return -ENOMEM;
	}
	v->start = at;
	v->end = at + m->len;
	return vma_room(&vm.tree, 3) ? 0 : -ENOMEM;
}

static s64 share_locked(const struct map_args *m, struct vma *v, int fd)
{
	s64 r = place_shared(m, v);

	if (r)
		return r;
	busy_set(0, v->start, v->end);
	if (vma_overlaps(&vm.tree, v->start, v->end)) {
		range_settle(v->start, v->end);
		r = home_range(OP_AS_MUNMAP, v->start, m->len);
		if (!r)
			r = place_clear(v->start, m->len);
	}
	brk_disturb(v->start, v->end);
	if (!r) {
		u32 flags = MAP_SHARED | MAP_FIXED | (m->file ? 0 : MAP_ANONYMOUS) | (m->flags & MAP_NORESERVE);

		r = host(SYSNR(mmap), v->start, m->len, host_prot(m->prot), flags, fd, m->off);
		if (r >= 0)
			vma_insert(&vm.tree, v);
		else /* the reservation may be gone all the same */
			reserve_range(v->start, m->len);
	}
	busy_clear();
	return r;
}

static s64 share_lego(struct map_args *m, struct vma *v)
{
	s64 r = 0;
	struct shared *s = obtain(m->file, &r);

	if (!s)
		return r;
	v->flags |= VMA_LEGO;
	v->file = m->file->handle;
	r = share_locked(m, v, s->fd);
	if (r < 0)
		shared_prune();
	return r;
}

/* Somebody on this node has the file mapped shared and writable. */
static bool entry_in_use(const struct map_args *m)
{
	return entry_size(m->fd) > 0;
}

static s64 share_file_check(struct map_args *m, struct vma *v)
{
	u32 mode = m->file->flags & O_ACCMODE;

	if (m->file->kind != FILE_LEGO) { /* the host knows */
		s64 flags = host(SYSNR(fcntl), m->fd, F_GETFL);

		mode = flags < 0 ? O_RDONLY : (u32)flags & O_ACCMODE;
	}
	if (mode == O_WRONLY || (m->prot & PROT_WRITE && mode != O_RDWR))
		return -EACCES;
	v->flags |= mode == O_RDWR ? 0 : VMA_RDONLY;
	return 0;
}

s64 map_shared(struct thread *t, struct map_args *m)
{
	struct vma v = {.prot = m->prot, .flags = VMA_SHARED, .path = m->file ? m->file->path : "/dev/zero (deleted)", .file_off = m->off};
	bool lego = m->file && m->file->kind == FILE_LEGO;
	s64 r = 0;

	if (m->file && m->fd < 0)
		return -ENODEV;
	if (m->file)
		r = share_file_check(m, &v);
	if (r)
		return r;
	if (lego && v.flags & VMA_RDONLY && !entry_in_use(m))
		return vm_mmap(t, m->addr, m->len, m->prot, (m->flags & ~(u32)MAP_TYPE) | MAP_PRIVATE, m->file, m->off);
	__atomic_store_n(&shares, true, __ATOMIC_SEQ_CST);
	lock_take(&vm.lock);
	r = lego ? share_lego(m, &v) : share_locked(m, &v, m->file ? m->fd : -1);
	lock_drop(&vm.lock);
	return r;
}
