/* Leases: which memory nodes may serve a file's bytes from their cache, and until when.
 *
 * A memory node that reads a file with SDIO_LEASE may serve what came for LEASE_NS from the moment it asked. Before anything changes the
 * file's data its leases are recalled, and the request that changes it is held back until every memory node has said that it serves
 * nothing of the file any more, or its lease has ended (it was lost, or is too slow). So whoever reads, on whatever processor, sees every
 * write that was acknowledged before; and as memory nodes only keep what this node has too, losing one loses nothing. What the host does
 * to a bound file is seen when the lease ends.
 *
 * Requests on one file that wait run in the order they came. A request is held back before it had any effect: it then runs as if it
 * had just come. A file that is written gets no lease for QUIET_NS, so that writers and readers do not throw a lease to and fro. After
 * kill -9 the next sd knows no leases: when the last of those the one before gave was (kept with the stored replies) it waits that out.
 *
 * Waiting goes sd -> md only here, and md answers a recall at once without asking anybody. */
#include "storage/slots.h"

#include <stdlib.h>

#define LEASE_NS      NSEC_PER_SEC
#define QUIET_NS      (50 * NSEC_PER_MSEC)
#define LEASE_BUCKETS 1024u
#define MAX_LEASES    65536u
#define MAX_HOLDERS   64u

struct held { /* a request that waits for a recall */
	struct held *next;
	struct conn conn; /* a copy, also of its groups: the connection may go, or change them, meanwhile */
	struct msg m;
	u8 body[]; /* groups, its fixed part, its data */
};

struct lease {
	struct lease *next;
	struct sd *sd;
	u32 vnode;
	struct file_id id;
	u64 holders; /* bits of leases.holder */
	u64 until_ns, quiet_ns;
	u32 unanswered;
	bool lost; /* a holder cannot be asked: until_ns decides */
	struct held *first, **last;
	struct lease *next_waiting;
};

struct leases {
	struct lease *bucket[LEASE_BUCKETS];
	u32 count;
	/* Those with held requests, as they came: what is done at one time is done in that order, whatever the files' ids. */
	struct lease *waiting, **last_waiting;
	struct {
		conn_id conn;
		u64 free_ns; /* conn 0: may be used again from then on */
	} holder[MAX_HOLDERS];
	u64 look_ns;  /* when to sweep next */
	u64 grace_ns; /* leases of the sd before this one have ended by then */
};

int leases_open(struct sd *sd)
{
	u64 now = sd->env->now_ns(sd->env->ctx), last = *slots_lease_mark(sd);
	sd->leases = calloc(1, sizeof(*sd->leases));
	if (!sd->leases)
		return -ENOMEM;
	sd->leases->last_waiting = &sd->leases->waiting;
	if (last <= now && now - last < LEASE_NS)
		sd->leases->grace_ns = last + LEASE_NS;
	return 0;
}

static void drop_held(struct lease *l)
{
	while (l->first) {
		struct held *h = l->first;
		l->first = h->next;
		free(h);
	}
}

void leases_close(struct sd *sd)
{
	for (u32 i = 0; sd->leases && i < LEASE_BUCKETS; i++)
		while (sd->leases->bucket[i]) {
			struct lease *l = sd->leases->bucket[i];
			sd->leases->bucket[i] = l->next;
			drop_held(l);
			free(l);
		}
	free(sd->leases);
}

static struct lease **find(struct leases *t, u32 vnode, const struct file_id *id)
{
	struct lease **p = &t->bucket[id->w[0] % LEASE_BUCKETS];
	while (*p && ((*p)->id.w[0] != id->w[0] || (*p)->id.w[1] != id->w[1] || (*p)->vnode != vnode))
		p = &(*p)->next;
	return p;
}

static struct lease *make(struct sd *sd, u32 vnode, const struct file_id *id)
{
	struct leases *t = sd->leases;
	struct lease **p = find(t, vnode, id), *l = *p;
	if (l || t->count >= MAX_LEASES)
		return l;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->sd = sd;
	l->vnode = vnode;
	l->id = *id;
	l->last = &l->first;
	*p = l;
	t->count++;
	return l;
}

/* The holder's bit; -1: too many memory nodes. */
static int holder_of(struct leases *t, conn_id c, u64 now)
{
	int spare = -1;
	for (u32 i = 0; i < MAX_HOLDERS; i++) {
		if (t->holder[i].conn == c)
			return (int)i;
		if (!t->holder[i].conn && t->holder[i].free_ns <= now && spare < 0)
			spare = (int)i;
	}
	if (spare >= 0)
		t->holder[spare].conn = c;
	return spare;
}

u64 leases_grant(struct req *r, const struct file_id *id)
{
	struct sd *sd = r->sd;
	struct leases *t = sd->leases;
	u64 now = sd->env->now_ns(sd->env->ctx);
	if (r->conn->kind != KIND_MEMORY)
		return 0;
	struct lease *l = make(sd, r->vn->id, id);
	int bit = l && !l->first && l->quiet_ns <= now ? holder_of(t, r->conn->id, now) : -1;
	if (bit < 0)
		return 0;
	l->holders |= 1ull << bit;
	l->until_ns = now + LEASE_NS;
	*slots_lease_mark(sd) = now;
	return LEASE_NS;
}

void leases_conn_closed(struct sd *sd, conn_id c)
{
	for (u32 i = 0; i < MAX_HOLDERS; i++)
		if (sd->leases->holder[i].conn == c) {
			sd->leases->holder[i].conn = 0;
			sd->leases->holder[i].free_ns = sd->env->now_ns(sd->env->ctx) + LEASE_NS;
		}
}

/* ---- recalling */

static void begin_to_wait(struct leases *t, struct lease *l)
{
	l->next_waiting = NULL;
	*t->last_waiting = l;
	t->last_waiting = &l->next_waiting;
}

static void wait_no_more(struct leases *t, struct lease *l)
{
	struct lease **p = &t->waiting;
	while (*p != l)
		p = &(*p)->next_waiting;
	*p = l->next_waiting;
	if (!*p)
		t->last_waiting = p;
}

/* The holders have answered, or their time is over: what waited is done. */
static void release(struct sd *sd, struct lease *l)
{
	l->holders = 0;
	l->lost = false;
	l->quiet_ns = sd->env->now_ns(sd->env->ctx) + QUIET_NS;
	wait_no_more(sd->leases, l);
	while (l->first) { /* nothing is granted while there is one, so none of them waits again */
		struct held *h = l->first;
		bool posted = inorder_is_posted(&h->m);
		conn_id c = h->conn.id;
		sd_resume(sd, &h->conn, &h->m);
		l->first = h->next;
		if (!l->first)
			l->last = &l->first;
		free(h);
		if (posted)
			inorder_done(sd, c);
	}
}

static void recalled(void *self, void *arg, s32 status, const struct msg *m)
{
	struct sd *sd = self;
	struct lease *l = arg;
	l->unanswered--;
	l->lost = l->lost || status;
	if (!l->unanswered && l->first && (!l->lost || l->until_ns <= sd->env->now_ns(sd->env->ctx)))
		release(sd, l);
}

static void recall(struct sd *sd, struct lease *l)
{
	struct mem_recall_req q = {.id = {l->id.w[0], l->id.w[1]}, .vnode = l->vnode};
	for (u32 i = 0; i < MAX_HOLDERS; i++) {
		if (!(l->holders & 1ull << i))
			continue;
		conn_id c = sd->leases->holder[i].conn;
		if (c && !node_call(sd->calls, c, OP_MEM_FILE_RECALL, &q, sizeof(q), NULL, 0, 0, recalled, l))
			l->unanswered++;
		else
			l->lost = true;
	}
}

static bool hold(struct lease *l, const struct req *r)
{
	const struct msg *m = r->m;
	u32 groups = (u32)ALIGN_UP(r->conn->ngroups * sizeof(u32), 8);
	struct held *h = malloc(sizeof(*h) + groups + m->fixed_len + m->data_len);
	if (!h)
		return false;
	*h = (struct held){.conn = *r->conn, .m = *m};
	u8 *fixed = h->body + groups;
	if (groups)
		memcpy(h->body, r->conn->groups, r->conn->ngroups * sizeof(u32));
	memcpy(fixed, m->fixed, m->fixed_len);
	if (m->data_len)
		memcpy(fixed + m->fixed_len, m->data, m->data_len);
	h->conn.groups = (u32 *)(void *)h->body;
	h->m.fixed = fixed;
	h->m.data = fixed + m->fixed_len;
	*l->last = h;
	l->last = &h->next;
	if (inorder_is_posted(m))
		inorder_held(r->sd, r->conn->id);
	return true;
}

/* The file whose data the request changes; false: none. */
static bool changes(struct req *r, struct file_id *id)
{
	const struct sd_io_req *io = r->m->fixed;
	const struct sd_path_req *open = r->m->fixed;
	const struct sd_setattr_req *set = r->m->fixed;
	const char *path = (const char *)r->m->data;
	u32 len, flags;
	switch (r->m->hdr.op) {
	case OP_SD_WRITE:
	case OP_SD_FALLOCATE:
		*id = (struct file_id){{io->file.id[0], io->file.id[1]}};
		return true;
	case OP_SD_SETATTR:
		len = set->len;
		flags = set->flags;
		if (!(set->mask & SDA_SIZE) || len > r->m->data_len)
			return false;
		break;
	case OP_SD_OPEN:
		len = open->len;
		flags = open->flags;
		if (!(open->arg & O_TRUNC) || len > r->m->data_len)
			return false;
		break;
	default:
		return false;
	}
	if (flags & SDP_BY_ID) {
		if (len < sizeof(*id))
			return false;
		memcpy(id, path, sizeof(*id));
		return true;
	}
	struct loc *l = &r->sd->a;
	bool found = !locate(r, path, len, flags, l) && S_ISREG(l->attr.mode) && !id_of_loc(r->sd, r->vn, l, id);
	loc_close(l);
	return found;
}

bool leases_hold(struct req *r)
{
	struct sd *sd = r->sd;
	struct leases *t = sd->leases;
	struct file_id id;
	u64 now = sd->env->now_ns(sd->env->ctx);
	bool grace = now < t->grace_ns;
	if ((!t->count && !grace && !later_reading(sd)) || !changes(r, &id))
		return false;
	later_changes(sd, &id);
	struct lease *l = grace ? make(sd, r->vn->id, &id) : *find(t, r->vn->id, &id);
	if (!l)
		return false;
	if (grace && l->until_ns < t->grace_ns) {
		l->until_ns = t->grace_ns;
		l->holders |= 1;
		l->lost = true;
	}
	l->quiet_ns = now + QUIET_NS;
	bool waits = l->first || (l->holders && l->until_ns > now);
	if (!waits || !hold(l, r))
		return false;
	if (l->first->next)
		return true;
	begin_to_wait(t, l);
	if (!l->lost)
		recall(sd, l);
	if (!l->unanswered && !l->lost)
		release(sd, l);
	return true;
}

/* ---- time */

/* Ends of leases that somebody waits for; forgets what is over. Returns when to look again. */
u64 leases_tick(struct sd *sd, u64 now_ns)
{
	struct leases *t = sd->leases;
	u64 next = now_ns + NSEC_PER_SEC;
	if (!t->count)
		return UINT64_MAX;
	if (now_ns < t->look_ns && !t->waiting)
		return t->look_ns;
	for (struct lease *l = t->waiting, *after; l; l = after) {
		after = l->next_waiting;
		if (l->until_ns <= now_ns && !l->unanswered)
			release(sd, l);
		else
			next = MIN(next, MAX(l->until_ns, now_ns + NSEC_PER_MSEC));
	}
	for (u32 i = 0; i < LEASE_BUCKETS; i++)
		for (struct lease **p = &t->bucket[i], *l; (l = *p);) {
			if (l->first || l->unanswered || l->until_ns > now_ns || l->quiet_ns > now_ns) {
				p = &l->next;
				continue;
			}
			*p = l->next;
			t->count--;
			free(l);
		}
	t->look_ns = next;
	return next;
}
