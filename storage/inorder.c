/* Posted writes (SDIO_POSTED): the program went on before the answer, so what it asks next on its channel must not overtake them. A channel
 * is served in order anyway; only leases.c holds requests back. While it holds a posted one, what else comes on that channel waits here,
 * and is served in the order it came when the last of them was done. A channel that closes loses what waits: nobody hears of it, and a
 * program that ends in an orderly way has waited for its answers first. */
#include "storage/sd_int.h"

#include <stdlib.h>

struct queued {
	struct queued *next;
	struct msg m;
	u8 body[]; /* its fixed part and data */
};

bool inorder_is_posted(const struct msg *m)
{
	const struct sd_io_req *q = m->fixed;
	return m->hdr.op == OP_SD_WRITE && q->flags & SDIO_POSTED;
}

void inorder_held(struct sd *sd, conn_id id)
{
	struct conn *c = sd_conn(sd, id);
	if (c)
		c->held++;
}

bool inorder_waits(struct conn *c, const struct msg *m)
{
	if (likely(!c->held))
		return false;
	struct queued *q = malloc(sizeof(*q) + m->fixed_len + m->data_len), **end = &c->queue;
	if (!q)
		return false; /* out of order rather than never */
	*q = (struct queued){.m = *m};
	memcpy(q->body, m->fixed, m->fixed_len);
	if (m->data_len)
		memcpy(q->body + m->fixed_len, m->data, m->data_len);
	q->m.fixed = q->body;
	q->m.data = q->body + m->fixed_len;
	while (*end)
		end = &(*end)->next;
	*end = q;
	return true;
}

void inorder_done(struct sd *sd, conn_id id)
{
	struct conn *c = sd_conn(sd, id);
	if (!c || --c->held)
		return;
	while ((c = sd_conn(sd, id)) && c->queue && !c->held) {
		struct queued *q = c->queue;
		c->queue = q->next;
		sd_serve(sd, c, &q->m);
		free(q);
	}
}

void inorder_drop(struct conn *c)
{
	while (c->queue) {
		struct queued *q = c->queue;
		c->queue = q->next;
		free(q);
	}
}
