/* A program whose memory is on a chain: it writes lines back to owner and standby and counts them when both have them, asks pd how the chain
 * stands when a connection breaks or a request is of an old epoch, and then repeats what is unanswered, under the same numbers. What an
 * owner that was answers later finds nobody: its connection is closed. */
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_NS (20 * NSEC_PER_MSEC)
#define REOPEN 4u

static u64 now(const struct program *p)
{
	return loop_now(p->crowd->w->loop);
}

static void hang_up(struct program *p, conn_id *c)
{
	conn_id id = *c;
	*c = 0;
	if (id)
		p->crowd->env->close(p->crowd->env->ctx, id);
}

bool program_linked(const struct program *p)
{
	const struct link *l = &p->link;
	return l->known && p->mem && l->mem_incarnation == l->info.owner_incarnation &&
	       (!l->info.standby.name[0] || (l->standby && l->standby_incarnation == l->info.standby_incarnation));
}

void program_link_enter(struct program *p, const struct pd_space_rep *rep)
{
	hang_up(p, &p->link.standby);
	free(p->link.wb);
	memset(&p->link, 0, sizeof(p->link));
	p->link.chain = rep->chain;
	p->link.mem_incarnation = rep->memory.incarnation;
}

void program_link_end(struct program *p)
{
	hang_up(p, &p->link.standby);
	free(p->link.wb);
	p->link.wb = NULL;
}

/* ---- the chain */

/* Connections to nodes that are no members any more go; a standby's becomes the owner's when that is what happened. */
static void sort_out(struct program *p)
{
	struct link *l = &p->link;
	if (p->mem && l->mem_incarnation != l->info.owner_incarnation)
		hang_up(p, &p->mem);
	if (!p->mem && l->standby && l->standby_incarnation == l->info.owner_incarnation) {
		p->mem = l->standby;
		l->mem_incarnation = l->standby_incarnation;
		l->standby = 0;
	}
	if (l->standby && l->standby_incarnation != l->info.standby_incarnation)
		hang_up(p, &l->standby);
}

static void chain_came(struct program *p, s32 status, const struct msg *m)
{
	struct link *l = &p->link;
	struct chain_info info;
	l->next_ns = now(p) + ASK_NS;
	if (status || m->fixed_len != sizeof(info))
		return;
	memcpy(&info, m->fixed, sizeof(info));
	if (info.flags & CHAIN_LOST) {
		program_end(p, PROG_DEAD, "owner and standby are gone");
		return;
	}
	if (info.epoch < l->info.epoch)
		program_violation(p, "chain %u goes back from epoch %u to %u", info.id, l->info.epoch, info.epoch);
	bool risen = info.epoch > l->info.epoch;
	l->info = info;
	if (!risen && !(p->mem && (!info.standby.name[0] || l->standby)) && ++l->asks % REOPEN)
		return; /* a member is away, and the manager does not know it yet; or it closed the line because it had not heard of us yet */
	l->known = true;
	sort_out(p);
}

static void channel_came(struct program *p, s32 status, const struct msg *m)
{
	struct link *l = &p->link;
	const struct chan_desc *d = m->fixed;
	conn_id c = !status && m->nfds == 1 ? loop_attach(p->crowd->w->loop, p->crowd->w->node[PROGRAMS], m->fds[0]) : 0;
	l->next_ns = now(p) + ASK_NS;
	p->crowd->did.channels++;
	if (!c) {
		l->known = false;
		return;
	}
	if (!p->mem && d->incarnation == l->info.owner_incarnation) {
		p->mem = c;
		l->mem_incarnation = d->incarnation;
	} else if (!l->standby && d->incarnation == l->info.standby_incarnation) {
		l->standby = c;
		l->standby_incarnation = d->incarnation;
	} else {
		l->known = false;
		hang_up(p, &c);
	}
}

/* pd has put the program's memory on a chain, to move it. A write-back that is unanswered is the chain's from here on. */
static void chained(struct program *p, s32 status, const struct msg *m)
{
	struct link *l = &p->link;
	struct call *k = &p->call[CALL_WRITEBACK];
	struct chain_info info = {0};
	l->next_ns = now(p) + ASK_NS;
	if (!status && m->fixed_len == sizeof(info))
		memcpy(&info, m->fixed, sizeof(info));
	if (!info.id && ++p->downs > 30)
		program_end(p, PROG_DEAD, "its memory node is gone");
	if (!info.id)
		return;
	p->downs = 0;
	if (k->active) {
		l->wb = malloc(k->len + 1);
		memcpy(l->wb, k->body, k->len);
		l->wb_len = k->len;
	}
	l->chain = info.id;
	l->seeks = false;
	for (u32 i = 0; i < CALLS; i++)
		p->call[i].waits = false;
	program_call_drop(&p->call[CALL_WHERE]);
	l->linked = false;
	l->info.epoch = 0;
	chain_came(p, status, m);
}

/* Home refuses, or hung up: true: pd is asked whether the memory is on a chain now. */
bool program_link_seek(struct program *p)
{
	if (p->link.chain || !p->crowd->opts.moves)
		return false;
	p->link.seeks = true;
	return true;
}

bool program_link_reply(struct program *p, const struct call *k, s32 status, const struct msg *m)
{
	if (!p->link.chain && p->link.seeks && k->hdr.op == OP_PD_CHAIN) {
		chained(p, status, m);
		return true;
	}
	if (!p->link.chain)
		return false;
	if (k->hdr.op == OP_PD_CHAIN)
		chain_came(p, status, m);
	else if (k->hdr.op == OP_PD_CHANNEL)
		channel_came(p, status, m);
	else
		return false;
	return true;
}

static void ask(struct program *p)
{
	struct pd_chain_req q = {.asid = p->asid, .epoch = p->link.info.epoch};
	struct wire_seg seg = {&q, sizeof(q)};
	program_send(p, CALL_CTL, p->ctl, (struct msg_hdr){.op = OP_PD_CHAIN}, &seg, 1, 200 * NSEC_PER_MSEC);
}

static void ask_channel(struct program *p, const char *node)
{
	struct pd_channel_req q = {.asid = p->asid};
	struct wire_seg seg = {&q, sizeof(q)};
	memcpy(q.name, node, sizeof(q.name));
	program_send(p, CALL_CTL, p->ctl, (struct msg_hdr){.op = OP_PD_CHANNEL}, &seg, 1, 0);
}

/* ---- what is unanswered */

static void send_writeback(struct program *p)
{
	struct link *l = &p->link;
	struct wire_seg seg = {l->wb, l->wb_len};
	struct msg_hdr h = {.op = OP_MEM_WRITEBACK};
	l->wb_left = 1;
	if (l->info.standby.name[0]) {
		l->wb_left++;
		program_send(p, CALL_WRITEBACK2, l->standby, h, &seg, 1, 200 * NSEC_PER_MSEC);
	}
	if (p->state < PROG_DONE)
		program_send(p, CALL_WRITEBACK, p->mem, h, &seg, 1, 200 * NSEC_PER_MSEC);
}

void program_link_writeback(struct program *p, const struct wire_seg *segs, u32 nsegs)
{
	struct link *l = &p->link;
	free(l->wb);
	l->wb_len = 0;
	for (u32 i = 0; i < nsegs; i++)
		l->wb_len += segs[i].len;
	l->wb = malloc(l->wb_len + 1);
	for (u32 i = 0, at = 0; i < nsegs; at += segs[i++].len)
		memcpy(l->wb + at, segs[i].base, segs[i].len);
	send_writeback(p);
}

bool program_link_written(struct program *p)
{
	return !p->link.chain || --p->link.wb_left == 0;
}

/* To the members there are now. */
static void repeat(struct program *p)
{
	bool writing = p->call[CALL_WRITEBACK].active || p->call[CALL_WRITEBACK2].active;
	program_call_drop(&p->call[CALL_WRITEBACK]);
	program_call_drop(&p->call[CALL_WRITEBACK2]);
	if (writing)
		send_writeback(p);
	for (u32 k = CALL_FETCH; k <= CALL_LAYOUT; k++)
		if (p->call[k].active && p->state < PROG_DONE)
			program_transmit(p, &p->call[k]);
}

u64 program_link_tick(struct program *p, u64 now_ns)
{
	struct link *l = &p->link;
	if (l->seeks && p->ctl) {
		if (!p->call[CALL_CTL].active && now_ns >= l->next_ns)
			ask(p);
		return now_ns + ASK_NS;
	}
	if (!l->chain || !p->ctl)
		return UINT64_MAX;
	if (program_linked(p)) {
		bool fresh = !l->linked;
		l->linked = true;
		if (fresh)
			repeat(p);
		return UINT64_MAX;
	}
	l->linked = false;
	if (p->call[CALL_CTL].active)
		return UINT64_MAX;
	if (now_ns < l->next_ns)
		return l->next_ns;
	if (!l->known)
		ask(p);
	else
		ask_channel(p, p->mem ? l->info.standby.name : l->info.owner.name);
	return now_ns + ASK_NS;
}

/* A memory request's answer that is none: the chain goes on elsewhere, or the node has not heard of it yet. */
bool program_link_again(struct program *p, enum call_kind kind, s32 status)
{
	bool memory = kind == CALL_WRITEBACK || kind == CALL_WRITEBACK2 || kind == CALL_FETCH || kind == CALL_LAYOUT;
	if (!p->link.chain || !memory || (status != -WIRE_STALE && status != -WIRE_WAIT && status != -WIRE_MOVED))
		return false;
	if (status == -WIRE_STALE)
		p->link.known = p->link.linked = false;
	return true;
}

bool program_link_closed(struct program *p, conn_id c)
{
	if (!p->link.chain || !c || (p->mem != c && p->link.standby != c))
		return false;
	if (p->mem == c)
		p->mem = 0;
	else
		p->link.standby = 0;
	p->link.known = p->link.linked = false;
	return true;
}
