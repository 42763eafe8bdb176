/* PD_RUN as it comes over the wire: name, vNode and bound directories. */
#include "processor/node/pd_int.h"

#include <stdlib.h>
#include <string.h>

static char *take_text(const u8 **at, u32 *left, u32 len)
{
	if (len > *left || memchr(*at, 0, len))
		return NULL;
	char *s = strndup((const char *)*at, len);
	*at += len;
	*left -= len;
	return s;
}

static bool decode_bind(struct bind *b, const u8 **at, u32 *left)
{
	struct sd_bind rec;
	if (*left < sizeof(rec))
		return false;
	memcpy(&rec, *at, sizeof(rec));
	*at += sizeof(rec);
	*left -= (u32)sizeof(rec);
	b->readonly = rec.readonly != 0;
	b->host = take_text(at, left, rec.host_len);
	b->dir = take_text(at, left, rec.dir_len);
	return b->host && b->dir && b->host[0] == '/' && b->dir[0] == '/';
}

bool pd_decode_run(struct op *op, const struct msg *m)
{
	const struct pd_run_req *req = m->fixed;
	const u8 *at = m->data;
	u32 left = m->data_len;
	if (req->name_len > left || req->nbind > PD_MAX_BINDS || !memchr(req->vnode, 0, sizeof(req->vnode)))
		return false;
	memcpy(op->command, at, MIN(req->name_len, sizeof(op->command) - 1));
	at += req->name_len;
	left -= req->name_len;
	op->bind = calloc(req->nbind + 1, sizeof(*op->bind));
	if (!op->bind)
		return false;
	for (; op->nbind < req->nbind; op->nbind++)
		if (!decode_bind(&op->bind[op->nbind], &at, &left)) {
			op->nbind++; /* so that its halves are freed */
			return false;
		}
	op->excache_bytes = ALIGN_DOWN(req->excache_bytes, LINE_SIZE);
	op->excache_max_bytes = ALIGN_DOWN(req->excache_max_bytes, LINE_SIZE);
	op->replicas = req->replicas;
	op->replica_mode = req->replica_mode;
	op->uid = req->uid;
	op->gid = req->gid;
	pd_copy_name(op->vnode_name, req->vnode[0] ? req->vnode : "default", sizeof(op->vnode_name));
	return left == 0;
}
