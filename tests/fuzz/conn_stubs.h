/* What rpc/input.c calls of the host driver's connections, doing nothing beyond what the fuzz targets look at. */
#ifndef LEGO_FUZZ_CONN_STUBS_H
#define LEGO_FUZZ_CONN_STUBS_H

#include "rpc/driver.h"

void conn_kill(struct host_driver *d, struct conn *c)
{
	c->state = CS_DEAD;
}

void conn_heat(struct host_driver *d, struct conn *c)
{
	c->hot_at = 1;
}

void conn_cool(struct host_driver *d, struct conn *c)
{
	c->hot_at = 0;
}

void conn_watch(struct host_driver *d, struct conn *c)
{
}

bool conn_stalled(const struct conn *c)
{
	return false;
}

bool conn_held(const struct conn *c)
{
	return false;
}

int conn_forward(struct host_driver *d, struct conn *c, const void *frame, u32 len)
{
	return 0;
}

u32 ux_visit(struct host_driver *d, struct conn *c)
{
	return 0;
}

void ux_lifeline(struct host_driver *d, struct conn *c)
{
}

bool conn_flush(struct host_driver *d, struct conn *c)
{
	return false;
}

void conn_doorbell(struct conn *c)
{
}

#endif
