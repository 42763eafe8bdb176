/* Quotas: what a vNode's private layer may take on this node's disk. Bound directories are the host's and do not count.
 *
 * What is used is counted by a walk over the layer, blocks as the host gives them; from then on it is an upper bound: growth is added when a
 * request is about to cause it, and what is freed is not subtracted. Only when the bound says that there is no room the layer is counted
 * again: at once if something was freed since, else at most every COUNT_NS, for a walk holds everybody up. So a vNode far from its quota
 * pays an addition a write, and one at its quota gets EDQUOT from what is true. */
#include "storage/sd_int.h"

#include <stdlib.h>

#define COUNT_NS   (500 * NSEC_PER_MSEC)
#define MAX_LEVELS 1024u
#define ROOMY_BYTES (1 * GIB) /* what many programs can write while nobody looks */
#define ROOMY_FILES 65536u
#define ROOMY_NS    (100 * NSEC_PER_MSEC)

static u64 bytes_below(int dir, u32 level);

static u64 bytes_of(int dir, const char *name, u32 level)
{
	struct hf_attr a;
	int fd = hf_open(dir, name, O_PATH | O_NOFOLLOW, 0);
	u64 n = 0;
	if (fd >= 0 && !hf_stat(fd, &a)) {
		n = a.blocks * 512;
		if (S_ISDIR(a.mode))
			n += level < MAX_LEVELS ? bytes_below(fd, level + 1) : 0;
		else if (a.nlink > 1)
			n /= a.nlink;
	}
	hf_close(fd);
	return n;
}

static u64 bytes_below(int dir, u32 level)
{
	struct hf_names it = {.fd = hf_open(dir, ".", O_RDONLY | O_DIRECTORY, 0)};
	const struct dent *d;
	u64 sum = 0;
	while (it.fd >= 0 && (d = hf_next(&it)))
		sum += bytes_of(dir, d->name, level);
	hf_close(it.fd);
	return sum;
}

static void count(struct sd *sd, struct vnode *vn)
{
	struct quota *q = &vn->quota;
	q->used = bytes_below(vn->upper, 0) + bytes_below(vn->work, 0) + bytes_below(vn->orphans, 0);
	q->counted_ns = sd->env->now_ns(sd->env->ctx);
	q->freed = false;
	q->counted = true;
}

int quota_take(struct sd *sd, struct vnode *vn, u64 bytes)
{
	struct quota *q = &vn->quota;
	if (!q->bytes)
		return 0;
	if (!q->counted || (q->used + bytes > q->bytes && (q->freed || sd->env->now_ns(sd->env->ctx) - q->counted_ns >= COUNT_NS)))
		count(sd, vn);
	if (q->used + bytes > q->bytes)
		return -EDQUOT;
	q->used += bytes;
	return 0;
}

int quota_take_at(struct sd *sd, struct vnode *vn, const struct loc *l, u64 bytes)
{
	return l->layer == LAYER_BIND ? 0 : quota_take(sd, vn, bytes);
}

void quota_freed(struct vnode *vn)
{
	vn->quota.freed = true;
}

/* A write of [off, off + len) to the file; of one with holes all of it may be new. */
int quota_write(struct sd *sd, struct vnode *vn, const struct file_id *id, int fd, u64 off, u64 len)
{
	struct hf_attr a;
	u32 path_len;
	if (!vn->quota.bytes || hf_stat(fd, &a))
		return 0;
	if (ids_get(sd, vn, id, sd->tmp_path, &path_len) && vnode_bind_of(vn, sd->tmp_path, path_len) >= 0)
		return 0;
	u64 end = off + len, has = a.blocks * 512 >= a.size ? MAX(a.size, a.blocks * 512) : off;
	u64 more = end > has ? MIN(end - has, len) : 0;
	return more ? quota_take(sd, vn, ALIGN_UP(more, 4096ull)) : 0;
}

bool quota_roomy(struct sd *sd, struct vnode *vn, const struct loc *l, int fd)
{
	struct hf_statfs s;
	u64 now = sd->env->now_ns(sd->env->ctx);
	if (l->layer != LAYER_BIND && vn->quota.bytes && vn->quota.used + ROOMY_BYTES > vn->quota.bytes)
		return false;
	if (sd->roomy.dev == l->attr.dev && now < sd->roomy.until_ns)
		return sd->roomy.yes;
	sd->roomy.dev = l->attr.dev;
	sd->roomy.until_ns = now + ROOMY_NS;
	sd->roomy.yes = !hf_statfs(fd, &s) && s.bavail * s.bsize >= ROOMY_BYTES && (!s.files || s.ffree >= ROOMY_FILES);
	return sd->roomy.yes;
}
