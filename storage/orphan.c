/* Files without a name that somebody may still have open.
 *
 * The last name of a file whose handle was given out is not removed but moved to the vNode's orphan directory, under the file's id; there
 * it is found by handle, also after a restart. A file on another file system (a bind) cannot be moved there: its host fd is pinned
 * instead, which lasts as long as this run of the sd. An unnamed file (O_TMPFILE) is born an orphan.
 *
 * Whether a handle was given out is kept as bits by hash of id, in two generations that change places once every pd has reported twice
 * since: an id in neither was in no report, so nobody has it open. A wrong yes only costs a detour through the orphan directory. Until a
 * lease after start every handle may be one of the run before.
 *
 * Collection. A reporter is a pd's line that has reported open files of a vNode. An orphan goes when each reporter of its vNode has
 * completed two rounds since the orphan was last reported (or made); or, where the vNode has no reporter, when it has had no channel for
 * a lease. A reporter whose line broke keeps its say for a lease. Nothing is collected in the first lease after start. */
#include "storage/sd_int.h"

#include <stdio.h>
#include <stdlib.h>

#define HANDED_BITS    65536u
#define HANDED_TURN_NS (60 * NSEC_PER_SEC)
#define TICK_NS	       NSEC_PER_SEC
#define ORPHAN_BUCKETS 1024u
#define ID_NAME	       40u /* 32 digits, ".t" of an unnamed file, NUL */

struct orphan {
	struct orphan *next;
	struct file_id id;
	u32 vnode;
	bool pinned, unnamed;
	u64 seen_ns; /* made, or last reported open */
};

struct reporter {
	struct reporter *next;
	conn_id conn; /* 0: its line broke */
	u32 vnode;
	u32 next_part;
	u64 round_ns, before_ns; /* when its last two rounds were complete; 0: not yet */
	u64 closed_ns;
};

struct orphans {
	struct orphan *bucket[ORPHAN_BUCKETS];
	u32 count;
	struct reporter *reporters;
	u64 turned_ns, ticked_ns;
	u32 now; /* index of the generation that is written */
	u64 handed[2][HANDED_BITS / 64];
};

struct orphans *orphans_new(void)
{
	return calloc(1, sizeof(struct orphans));
}

u32 orphans_count(const struct orphans *o)
{
	return o->count;
}

void orphans_free(struct orphans *o)
{
	if (!o)
		return;
	for (u32 i = 0; i < ORPHAN_BUCKETS; i++)
		for (struct orphan *p = o->bucket[i], *next; p; p = next) {
			next = p->next;
			free(p);
		}
	for (struct reporter *p = o->reporters, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	free(o);
}

static u64 now_of(struct sd *sd)
{
	return sd->env->now_ns(sd->env->ctx);
}

/* ---- handles given out */

static void set_bit(struct orphans *o, const struct file_id *id)
{
	u32 bit = (u32)(id->w[1] % HANDED_BITS);
	o->handed[o->now][bit / 64] |= 1ull << (bit % 64);
}

void orphans_handed(struct sd *sd, const struct file_id *id)
{
	set_bit(sd->orphans, id);
}

static bool may_be_open(struct sd *sd, const struct file_id *id)
{
	const struct orphans *o = sd->orphans;
	u32 bit = (u32)(id->w[1] % HANDED_BITS);
	return now_of(sd) < sd->start_ns + sd->lease_ns || ((o->handed[0][bit / 64] | o->handed[1][bit / 64]) >> (bit % 64) & 1);
}

/* ---- the list */

static struct orphan **bucket_of(struct orphans *o, const struct file_id *id)
{
	return &o->bucket[id->w[0] % ORPHAN_BUCKETS];
}

static struct orphan *find(struct sd *sd, const struct file_id *id)
{
	struct orphan *p = *bucket_of(sd->orphans, id);
	while (p && (p->id.w[0] != id->w[0] || p->id.w[1] != id->w[1]))
		p = p->next;
	return p;
}

bool orphans_has(struct sd *sd, const struct file_id *id)
{
	const struct orphan *p = find(sd, id);
	return p && !p->pinned;
}

static struct orphan *add(struct sd *sd, struct vnode *vn, const struct file_id *id)
{
	struct orphan *p = find(sd, id);
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		p->next = *bucket_of(sd->orphans, id);
		*bucket_of(sd->orphans, id) = p;
		sd->orphans->count++;
	}
	p->id = *id;
	p->vnode = vn->id;
	p->seen_ns = now_of(sd);
	return p;
}

static void forget(struct sd *sd, struct orphan *o)
{
	struct orphan **p = bucket_of(sd->orphans, &o->id);
	while (*p != o)
		p = &(*p)->next;
	*p = o->next;
	sd->orphans->count--;
	free(o);
}

static void name_of(const struct file_id *id, bool unnamed, char name[ID_NAME])
{
	snprintf(name, ID_NAME, "%016llx%016llx%s", (unsigned long long)id->w[0], (unsigned long long)id->w[1], unnamed ? ".t" : "");
}

int orphan_fd(struct sd *sd, struct vnode *vn, const struct file_id *id, int flags)
{
	char name[ID_NAME];
	const struct orphan *o = find(sd, id);
	if (!o || o->pinned || o->vnode != vn->id)
		return -ENOENT;
	name_of(id, o->unnamed, name);
	return hf_open(vn->orphans, name, flags | O_NOFOLLOW, 0);
}

/* ---- keeping a file */

static bool pin(struct sd *sd, struct vnode *vn, int path_fd, const struct file_id *id)
{
	bool writable = true;
	int fd = hf_reopen(path_fd, O_RDWR | O_NONBLOCK);
	if (fd < 0) {
		writable = false;
		fd = hf_reopen(path_fd, O_RDONLY | O_NONBLOCK);
	}
	struct orphan *o = fd < 0 ? NULL : add(sd, vn, id);
	if (!o || !fdcache_add(sd, id, fd, writable, true)) {
		hf_close(fd);
		if (o)
			forget(sd, o);
		sd->env->log(sd->env->ctx, LOG_WARN, "vNode %u: too many removed files are open: one is lost to its users", vn->id);
		return false;
	}
	o->pinned = true;
	return true;
}

/* Is name the last name of a file that may be open? Then *fd (O_PATH, to be closed) and *id are set. */
static bool must_keep(struct sd *sd, struct vnode *vn, int dir, const char *name, struct hf_attr *a, int *fd, struct file_id *id)
{
	*fd = -1;
	if (hf_stat_at(dir, name, a) || !S_ISREG(a->mode) || a->nlink != 1)
		return false;
	*fd = hf_open(dir, name, O_PATH | O_NOFOLLOW, 0);
	if (*fd < 0 || hf_stat(*fd, a) || id_of(sd, vn, *fd, a, id))
		return false;
	if (may_be_open(sd, id))
		return true;
	fdcache_drop(sd->fds, id);
	return false;
}

int orphan_unlink(struct sd *sd, struct vnode *vn, int dir, const char *name)
{
	struct hf_attr a;
	struct file_id id;
	char kept[ID_NAME];
	int fd, rc = -EXDEV;
	if (must_keep(sd, vn, dir, name, &a, &fd, &id)) {
		name_of(&id, false, kept);
		if (a.dev == vn->upper_dev)
			rc = hf_rename(dir, name, vn->orphans, kept, 0);
		if (!rc && !add(sd, vn, &id))
			rc = -ENOMEM;
		if (rc == -EXDEV)
			pin(sd, vn, fd, &id);
	}
	hf_close(fd);
	return rc == -EXDEV ? hf_unlink(dir, name, false) : rc;
}

void orphan_keep(struct sd *sd, struct vnode *vn, int dir, const char *name, struct file_id *undo, bool *kept)
{
	struct hf_attr a;
	char to[ID_NAME];
	int fd;
	*kept = must_keep(sd, vn, dir, name, &a, &fd, undo);
	if (*kept) {
		name_of(undo, false, to);
		int rc = a.dev == vn->upper_dev ? hf_link(dir, name, vn->orphans, to) : -EXDEV;
		if (rc == 0 || rc == -EEXIST)
			*kept = add(sd, vn, undo);
		else
			*kept = pin(sd, vn, fd, undo);
	}
	hf_close(fd);
}

static void let_go(struct sd *sd, struct vnode *vn, struct orphan *o)
{
	char name[ID_NAME];
	fdcache_drop(sd->fds, &o->id);
	name_of(&o->id, o->unnamed, name);
	int rc = !o->pinned && vn ? hf_unlink(vn->orphans, name, false) : 0;
	if (rc != -HF_LATER) /* else the next tick's */
		forget(sd, o);
}

void orphan_undo(struct sd *sd, struct vnode *vn, const struct file_id *undo)
{
	struct orphan *o = find(sd, undo);
	if (o)
		let_go(sd, vn, o);
}

/* ---- unnamed files */

/* As a file made in dir. */
static int give_to(int fd, const struct loc *dir, const struct cred *c)
{
	bool sgid = dir->attr.mode & S_ISGID;
	return c->check || sgid ? hf_chown(fd, c->check ? c->uid : ~0u, sgid ? dir->attr.gid : c->gid) : 0;
}

static int make_in_orphans(struct sd *sd, struct vnode *vn, const struct loc *dir, u32 mode, const struct cred *c, struct file_id *id)
{
	char temp[24], name[ID_NAME];
	struct hf_attr a;
	sd_temp_name(sd, temp);
	int fd = hf_create(vn->orphans, temp, O_RDWR, mode);
	if (fd < 0)
		return fd;
	int rc = give_to(fd, dir, c);
	if (!rc)
		rc = hf_stat(fd, &a);
	if (!rc)
		rc = id_of(sd, vn, fd, &a, id);
	if (!rc) {
		name_of(id, true, name);
		rc = hf_rename(vn->orphans, temp, vn->orphans, name, 0);
	}
	struct orphan *o = rc ? NULL : add(sd, vn, id);
	if (o) {
		o->unnamed = true;
		return fd;
	}
	hf_unlink(vn->orphans, rc ? temp : name, false);
	hf_close(fd);
	return rc ? rc : -ENOMEM;
}

static int make_on_bind(struct sd *sd, struct vnode *vn, const struct loc *dir, u32 mode, const struct cred *c, struct file_id *id)
{
	struct hf_attr a;
	int fd = hf_tmpfile(dir->fd, mode);
	int rc = fd < 0 ? fd : give_to(fd, dir, c);
	if (!rc)
		rc = hf_stat(fd, &a);
	if (!rc)
		rc = id_of(sd, vn, fd, &a, id);
	if (!rc && !pin(sd, vn, fd, id))
		rc = -ENFILE;
	if (!rc) {
		find(sd, id)->unnamed = true;
		return fd;
	}
	hf_close(fd);
	return rc;
}

int orphan_make(struct sd *sd, struct vnode *vn, const struct loc *dir, u32 mode, const struct cred *c, struct file_id *id)
{
	return dir->layer == LAYER_BIND ? make_on_bind(sd, vn, dir, mode, c, id) : make_in_orphans(sd, vn, dir, mode, c, id);
}

int orphan_adopt(struct sd *sd, struct vnode *vn, const struct file_id *id, int dir, const char *name)
{
	struct orphan *o = find(sd, id);
	char from[ID_NAME];
	if (!o || !o->unnamed || o->vnode != vn->id)
		return -ENOENT;
	name_of(id, true, from);
	int fd = o->pinned ? object_fd(sd, vn, id, false) : -1;
	int rc = o->pinned ? (fd < 0 ? fd : hf_link_fd(fd, dir, name)) : hf_rename(vn->orphans, from, dir, name, 1 /* NOREPLACE */);
	if (rc)
		return rc;
	if (o->pinned)
		fdcache_drop(sd->fds, id);
	forget(sd, o);
	return 0;
}

/* ---- at start */

static bool parse_name(const char *name, struct file_id *id, bool *unnamed)
{
	unsigned long long w[2];
	int n = 0;
	if (sscanf(name, "%16llx%16llx%n", &w[0], &w[1], &n) != 2 || n != 32)
		return false;
	*id = (struct file_id){{w[0], w[1]}};
	*unnamed = !strcmp(name + n, ".t");
	return *unnamed || !name[n];
}

static void load_name(struct sd *sd, struct vnode *vn, const char *name)
{
	struct file_id id;
	bool unnamed;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return;
	if (!parse_name(name, &id, &unnamed)) {
		hf_unlink(vn->orphans, name, false); /* was being made */
		return;
	}
	struct orphan *o = add(sd, vn, &id);
	if (o)
		o->unnamed = unnamed;
}

void orphans_load(struct sd *sd, struct vnode *vn)
{
	struct hf_names it = {.fd = hf_open(vn->orphans, ".", O_RDONLY | O_DIRECTORY, 0)};
	const struct dent *d;
	while (it.fd >= 0 && (d = hf_next(&it)))
		load_name(sd, vn, d->name);
	hf_close(it.fd);
}

/* ---- reports */

static struct reporter *reporter_of(struct sd *sd, conn_id c, u32 vnode)
{
	struct reporter *p = sd->orphans->reporters;
	while (p && (p->conn != c || p->vnode != vnode))
		p = p->next;
	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->conn = c;
	p->vnode = vnode;
	p->next = sd->orphans->reporters;
	sd->orphans->reporters = p;
	return p;
}

static void took_part(struct reporter *p, const struct sd_open_ids_req *q, u64 now)
{
	if (q->part != p->next_part) { /* one was lost: the round does not count */
		p->next_part = 0;
		return;
	}
	if (++p->next_part < q->parts)
		return;
	p->next_part = 0;
	p->before_ns = p->round_ns;
	p->round_ns = now;
}

void op_open_ids(struct req *r)
{
	struct sd *sd = r->sd;
	const struct sd_open_ids_req *q = r->m->fixed;
	struct vnode *vn = sd_vnode(sd, q->vnode);
	if ((u64)q->count * sizeof(struct file_id) != r->m->data_len || q->part >= q->parts) {
		sd_fail(r, -WIRE_BAD_MESSAGE, NULL);
		return;
	}
	u64 now = now_of(sd);
	for (u32 i = 0; i < q->count; i++) {
		struct file_id id;
		memcpy(&id, r->m->data + i * sizeof(id), sizeof(id));
		set_bit(sd->orphans, &id);
		struct orphan *o = find(sd, &id);
		if (o && o->vnode == q->vnode)
			o->seen_ns = now;
	}
	struct reporter *p = reporter_of(sd, r->conn->id, q->vnode);
	if (vn)
		vn->idle_since_ns = now;
	if (p)
		took_part(p, q, now);
	sd_reply(r, 0, NULL, NULL, 0);
}

void orphans_conn_closed(struct sd *sd, conn_id c)
{
	for (struct reporter *p = sd->orphans->reporters; p; p = p->next)
		if (p->conn == c) {
			p->conn = 0;
			p->closed_ns = now_of(sd);
		}
}

/* ---- collection */

static void drop_closed_reporters(struct sd *sd, u64 now)
{
	for (struct reporter **p = &sd->orphans->reporters; *p;) {
		struct reporter *r = *p;
		if (r->conn || now < r->closed_ns + sd->lease_ns) {
			p = &r->next;
			continue;
		}
		*p = r->next;
		free(r);
	}
}

static bool unused(struct sd *sd, const struct orphan *o, u64 now)
{
	const struct vnode *vn = sd_vnode(sd, o->vnode);
	bool reported = false;
	for (const struct reporter *p = sd->orphans->reporters; p; p = p->next) {
		if (p->vnode != o->vnode)
			continue;
		if (!p->conn || p->before_ns <= o->seen_ns)
			return false;
		reported = true;
	}
	return reported || (vn && !sd_vnode_in_use(sd, vn->id) && now > vn->idle_since_ns + sd->lease_ns);
}

static void turn_handed(struct orphans *o, u64 now)
{
	bool any = false;
	for (const struct reporter *p = o->reporters; p; p = p->next) {
		if (p->before_ns <= o->turned_ns)
			return;
		any = true;
	}
	if (!any || now < o->turned_ns + HANDED_TURN_NS)
		return;
	o->turned_ns = now;
	o->now ^= 1;
	memset(o->handed[o->now], 0, sizeof(o->handed[0]));
}

void orphans_tick(struct sd *sd, u64 now_ns)
{
	struct orphans *o = sd->orphans;
	if (now_ns < o->ticked_ns + TICK_NS || now_ns < sd->start_ns + sd->lease_ns)
		return;
	o->ticked_ns = now_ns;
	drop_closed_reporters(sd, now_ns);
	turn_handed(o, now_ns);
	for (u32 i = 0; o->count && i < ORPHAN_BUCKETS; i++)
		for (struct orphan *p = o->bucket[i], *next; p; p = next) {
			next = p->next;
			if (unused(sd, p, now_ns))
				let_go(sd, sd_vnode(sd, p->vnode), p);
		}
}
