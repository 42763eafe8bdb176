/* The programs of a simulation together: making them, waiting for them, counting how they ended. */
#include "program.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct crowd *crowd_new(struct world *w, const struct crowd_opts *opts)
{
	struct crowd *c = calloc(1, sizeof(*c));
	assert(c);
	c->w = w;
	c->opts = *opts;
	c->env = loop_env(w->loop, w->node[PROGRAMS]);
	loop_start(w->loop, w->node[PROGRAMS], &crowd_ops, c);
	crowd_more(c, opts->programs);
	for (u32 i = 0; i < opts->hostile; i++)
		c->prog[i].hostile = true;
	return c;
}

void crowd_more(struct crowd *c, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		struct program *p = program_unused(c);
		if (p)
			program_start(p, c->opts.steps);
	}
}

void crowd_verify_files(struct crowd *c)
{
	struct program *p = program_unused(c);
	if (!p) { /* a slot of one that ended; its file stays unread, no harm */
		p = &c->prog[0];
		memset(p, 0, sizeof(*p));
		p->crowd = c;
	}
	p->verifier = true;
	program_start(p, 1);
}

bool crowd_busy(void *crowd)
{
	const struct crowd *c = crowd;
	for (u32 i = 0; i < c->nprogs; i++)
		if (c->prog[i].state < PROG_DONE)
			return true;
	return false;
}

void crowd_end_all(struct crowd *c)
{
	for (u32 i = 0; i < c->nprogs; i++)
		program_end(&c->prog[i], PROG_DEAD, "the test ended it");
}

u32 crowd_count(const struct crowd *c, enum program_state s)
{
	u32 n = 0;
	for (u32 i = 0; i < c->nprogs; i++)
		n += c->prog[i].state == s;
	return n;
}

void crowd_free(struct crowd *c)
{
	crowd_end_all(c);
	free(c);
}
