/* The manager's store, whatever keeps it: each call is the backend's. */
#include "manager/store.h"

#include <stdio.h>

void gm_store_close(struct gm_store *s)
{
	if (s)
		s->ops->close(s);
}

u64 gm_store_cluster_id(struct gm_store *s)
{
	return s->ops->cluster_id(s);
}

u64 gm_store_new_term(struct gm_store *s)
{
	return s->ops->new_term(s);
}

u64 gm_store_take_asids(struct gm_store *s, u32 count)
{
	return s->ops->take_asids(s, count);
}

int gm_store_put_component(struct gm_store *s, const struct stored_component *c)
{
	return s->ops->put_component(s, c);
}

int gm_store_drop_component(struct gm_store *s, const char *name)
{
	return s->ops->drop_component(s, name);
}

int gm_store_drop_components(struct gm_store *s)
{
	return s->ops->drop_components(s);
}

int gm_store_add_vnode(struct gm_store *s, struct stored_vnode *v)
{
	return s->ops->add_vnode(s, v);
}

int gm_store_drop_vnode(struct gm_store *s, u32 id)
{
	return s->ops->drop_vnode(s, id);
}

s64 gm_store_seat(struct gm_store *s, const char *processor)
{
	return s->ops->seat(s, processor);
}

u32 gm_store_next_epoch(struct gm_store *s, const char *owner)
{
	return s->ops->next_epoch(s, owner);
}

int gm_store_put_chain(struct gm_store *s, struct stored_chain *c)
{
	return s->ops->put_chain(s, c);
}

int gm_store_drop_chain(struct gm_store *s, u32 id)
{
	return s->ops->drop_chain(s, id);
}

int gm_store_drop_chains(struct gm_store *s)
{
	return s->ops->drop_chains(s);
}

int gm_store_each_chain(struct gm_store *s, void (*each)(void *arg, const struct stored_chain *c), void *arg)
{
	return s->ops->each_chain(s, each, arg);
}

int gm_store_each_component(struct gm_store *s, void (*each)(void *arg, const struct stored_component *c), void *arg)
{
	return s->ops->each_component(s, each, arg);
}

int gm_store_each_vnode(struct gm_store *s, void (*each)(void *arg, const struct stored_vnode *v), void *arg)
{
	return s->ops->each_vnode(s, each, arg);
}

const char *gm_store_error(struct gm_store *s)
{
	return s->ops->error(s);
}

void gm_store_default_ip(struct stored_vnode *v)
{
	u32 n = 64u << 16 | (v->id & 0xffff) * VNODE_SEATS;
	snprintf(v->spec.ip, sizeof(v->spec.ip), "10.%u.%u.%u", n >> 16 & 255, n >> 8 & 255, n & 255);
}
