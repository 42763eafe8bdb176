/* Readers: processes that read files of their vNode here without having memory here, since a large file's extents are each cached at one node. pd
 * makes one before it opens a channel for the process (MEM_READER), and ends it with the process; channels are closed before their reader goes.
 * A reader is nothing but the authority of its channels: vNode and storage node. It may stand beside a part of the same process's memory. */
#include "memory/md_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void end(struct md *md, struct md_reader *r)
{
	while (!list_empty(&r->conns))
		md_drop_conn(md, list_first(&r->conns, struct md_conn, space_link), true);
	list_unlink(&r->owner_link);
	(void)idmap_take(&md->readers, r->asid);
	free(r);
}

void md_readers_end(struct md *md, struct md_owner *o)
{
	while (!list_empty(&o->readers))
		end(md, list_first(&o->readers, struct md_reader, owner_link));
}

static s32 begin(struct md *md, struct md_owner *owner, const struct mem_reader_req *q)
{
	struct md_reader *r = idmap_get(&md->readers, q->asid);
	struct md_sd *sd = q->asid ? md_sd_get(md, &q->storage) : NULL;

	if (!q->asid)
		return -EINVAL;
	if (r)
		return r->owner == owner && r->vnode == q->vnode && r->sd == sd ? 0 : -EEXIST;
	r = sd ? calloc(1, sizeof(*r)) : NULL;
	if (!r || idmap_put(&md->readers, q->asid, r)) {
		free(r);
		return -ENOMEM;
	}
	r->asid = q->asid;
	r->vnode = q->vnode;
	r->sd = sd;
	r->owner = owner;
	list_init(&r->conns);
	list_append(&owner->readers, &r->owner_link);
	return 0;
}

void md_reader_set(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct mem_reader_req *q = m->fixed;
	struct md_reader *r = idmap_get(&md->readers, q->asid);
	s32 status = 0;

	if (c->kind != KIND_PROCESSOR)
		status = -EPERM;
	else if (q->on)
		status = begin(md, c->owner, q);
	else if (r && r->owner == c->owner) /* else: a repeat */
		end(md, r);
	(void)node_reply(md->env, c->id, &m->hdr, status, NULL, 0, NULL, 0);
}
