/* What programs do to memory, and how they start, fork, exec and end. */
#include "bytes.h"
#include "program.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"

#define BORDER 0x100000000ull /* between the two vRegions */
#define BASE_ADDR (BORDER - PROGRAM_LINES / 2 * LINE_SIZE)
#define RESEND_NS (200 * NSEC_PER_MSEC)
#define AGAIN_NS (2 * NSEC_PER_MSEC)
#define DOWNS 30u
#define START_NS (20 * NSEC_PER_SEC) /* longer than pd's own deadline */
#define PROT_RW (AS_READ | AS_WRITE)

/* ---- small things */

void program_violation(struct program *p, const char *fmt, ...)
{
	va_list ap;
	p->crowd->violations++;
	fprintf(stderr, "violation at %.6f s, program %u (asid %llu): ", (double)loop_now(p->crowd->w->loop) / 1e9, p->index,
		(unsigned long long)p->asid);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

u32 program_random(struct program *p, u32 below)
{
	u32 n;
	p->crowd->env->random(p->crowd->env->ctx, &n, sizeof(n));
	return n % below;
}

static u64 now(const struct program *p)
{
	return loop_now(p->crowd->w->loop);
}

/* ---- calls: a request is sent again, the same bytes under the same tag, until its answer comes */

void program_call_drop(struct call *k)
{
	free(k->body);
	memset(k, 0, sizeof(*k));
}

/* Flips a few bits, anywhere. */
static void spoil(struct program *p, struct msg_hdr *h, u8 *body, u32 len)
{
	for (u32 i = 0; i < 1 + program_random(p, 3); i++) {
		u32 bit = program_random(p, (len + (u32)sizeof(*h)) * 8);
		u8 *at = bit / 8 < sizeof(*h) ? (u8 *)h + bit / 8 : body + bit / 8 - sizeof(*h);
		*at ^= (u8)(1u << bit % 8);
	}
}

static bool to_memory(const struct program *p, const struct call *k)
{
	u32 kind = (u32)(k - p->call);
	return p->link.chain && (kind == CALL_WRITEBACK || kind == CALL_WRITEBACK2 || kind == CALL_FETCH || kind == CALL_LAYOUT);
}

static void region_down(struct program *p, conn_id c);
static void home_left(struct program *p);

static bool is_region(const struct program *p, conn_id c)
{
	return c && c != p->mem && (p->region[0].conn == c || p->region[1].conn == c);
}

void program_transmit(struct program *p, struct call *k)
{
	if (to_memory(p, k)) {
		k->to = k == &p->call[CALL_WRITEBACK2] ? p->link.standby : p->mem;
		k->hdr.epoch = p->link.info.epoch;
		k->deadline_ns = now(p) + k->period_ns;
		if (!program_linked(p)) {
			k->to = 0;
			return; /* sent when it is linked again */
		}
	}
	struct wire_seg seg = {k->body, k->len};
	struct msg_hdr h = k->hdr;
	h.tag = k->tag;
	k->deadline_ns = now(p) + (k->period_ns ? k->period_ns : START_NS);
	if (p->hostile && p->state == PROG_LIVE && !program_random(p, 3))
		spoil(p, &h, k->body, k->len);
	s32 rc = p->crowd->env->send(p->crowd->env->ctx, k->to, &h, &seg, 1);
	if (rc && to_memory(p, k))
		(void)program_link_closed(p, k->to);
	else if (rc && k->to == p->mem && program_link_seek(p))
		home_left(p);
	else if (rc && is_region(p, k->to))
		region_down(p, k->to);
	else if (rc && program_reader_closed(p, k->to))
		;
	else if (rc)
		program_end(p, PROG_DEAD, "its channel does not take a request");
}

void program_send(struct program *p, enum call_kind kind, conn_id to, struct msg_hdr h, const struct wire_seg *segs, u32 nsegs, u64 period_ns)
{
	struct call *k = &p->call[kind];
	assert(!k->active);
	k->active = true;
	k->to = to;
	k->hdr = h;
	k->period_ns = period_ns;
	k->tag = ++p->crowd->tags;
	for (u32 i = 0; i < nsegs; i++)
		k->len += segs[i].len;
	k->body = malloc(k->len + 1);
	u32 at = 0;
	for (u32 i = 0; i < nsegs; at += segs[i++].len)
		memcpy(k->body + at, segs[i].base, segs[i].len);
	program_transmit(p, k);
}

static void send_one(struct program *p, enum call_kind kind, conn_id to, u16 op, const void *fixed, u32 len)
{
	struct wire_seg seg = {fixed, len};
	program_send(p, kind, to, (struct msg_hdr){.op = op}, &seg, 1, kind == CALL_CTL ? 0 : RESEND_NS);
}

/* ---- the end */

void program_close(struct program *p, conn_id *c)
{
	conn_id id = *c;
	*c = 0;
	if (id)
		p->crowd->env->close(p->crowd->env->ctx, id);
}

static void close_regions(struct program *p)
{
	for (u32 r = 0; r < PROGRAM_REGIONS; r++) {
		conn_id c = p->region[r].conn;
		for (u32 k = r; k < PROGRAM_REGIONS; k++)
			if (p->region[k].conn == c)
				p->region[k].conn = 0;
		if (c != p->mem)
			program_close(p, &c);
	}
	memset(p->region, 0, sizeof(p->region));
}

void program_end(struct program *p, enum program_state s, const char *why)
{
	if (p->state >= PROG_DONE)
		return;
	p->state = s;
	p->why = why;
	for (u32 i = 0; i < CALLS; i++)
		program_call_drop(&p->call[i]);
	free(p->echo);
	p->echo = NULL;
	program_close(p, &p->admin);
	program_close(p, &p->ctl);
	close_regions(p);
	program_close(p, &p->reader.conn);
	program_close(p, &p->mem);
	program_close(p, &p->sto);
	program_link_end(p);
}

/* ---- lines on the move */

static u64 addr_of(u32 line)
{
	return BASE_ADDR + line * LINE_SIZE;
}

static u32 region_of(u32 line)
{
	return line >= PROGRAM_LINES / 2;
}

static bool region_ready(struct program *p, u32 r);

static u32 region_called(const struct program *p, const struct call *k)
{
	return region_of(k == &p->call[CALL_FETCH] ? (u32)((p->fetch.addr - BASE_ADDR) / LINE_SIZE) + p->fetch.demand : p->wb_first[0]);
}

static void calls_wait(struct program *p, conn_id c)
{
	for (u32 i = CALL_WRITEBACK; i <= CALL_FETCH; i++)
		if (c && p->call[i].active && p->call[i].to == c) {
			p->call[i].waits = true;
			p->call[i].to = 0;
		}
}

static void forget_region(struct program *p, u32 r)
{
	conn_id c = p->region[r].conn;
	bool shared = false;
	p->region[r] = (struct region){0};
	for (u32 k = 0; k < PROGRAM_REGIONS; k++)
		shared |= p->region[k].conn == c;
	if (!c || shared || c == p->mem)
		return;
	calls_wait(p, c);
	program_close(p, &c);
}

/* A channel to an owner broke, or could not be had: the owner may have moved all that it had. Home is asked again; a node that is gone is named
 * again. */
static void region_down(struct program *p, conn_id c)
{
	if (++p->downs > DOWNS)
		program_end(p, PROG_DEAD, "an owner is gone");
	for (u32 r = 0; r < PROGRAM_REGIONS; r++)
		if (c && p->region[r].conn == c)
			p->region[r] = (struct region){0};
	calls_wait(p, c);
}

/* Its home hung up: what is unanswered waits until pd says where the memory is. */
static void home_left(struct program *p)
{
	calls_wait(p, p->mem);
	program_call_drop(&p->call[CALL_WHERE]);
	p->call[CALL_LAYOUT].waits |= p->call[CALL_LAYOUT].active;
	for (u32 r = 0; r < PROGRAM_REGIONS; r++)
		p->region[r] = (struct region){0};
	p->mem = 0;
}

/* A memory request's answer that is none: its lines are on their way to another node, or there already. */
static bool again(struct program *p, enum call_kind kind, s32 status)
{
	struct call *k = &p->call[kind];
	bool lines = kind == CALL_WRITEBACK || kind == CALL_FETCH;
	if (!p->link.chain && (lines || kind == CALL_LAYOUT) && status == -WIRE_STALE && program_link_seek(p)) {
		k->deadline_ns = now(p) + RESEND_NS;
		return true;
	}
	if (p->link.chain || (!lines && kind != CALL_LAYOUT) || (status != -WIRE_WAIT && (status != -WIRE_MOVED || !lines)))
		return false;
	k->deadline_ns = now(p) + AGAIN_NS;
	if (status != -WIRE_MOVED)
		return true;
	p->crowd->did.moved++;
	forget_region(p, region_called(p, k));
	k->waits = true;
	k->to = 0;
	return true;
}

/* One that waits for a channel to the new owner. */
static u64 call_on(struct program *p, struct call *k, u64 now_ns)
{
	u32 r = region_called(p, k);
	if (p->link.seeks || !p->mem)
		return now_ns + AGAIN_NS;
	if (now_ns < k->deadline_ns)
		return k->deadline_ns;
	k->deadline_ns = now_ns + AGAIN_NS;
	if (!region_ready(p, r))
		return k->deadline_ns;
	k->waits = false;
	k->to = p->region[r].conn;
	program_transmit(p, k);
	return UINT64_MAX;
}

/* ---- layout operations */

static void forget_echo(struct program *p)
{
	free(p->echo);
	p->echo = NULL;
}

static void layout(struct program *p, u16 op, const void *fixed, u32 len)
{
	p->crowd->did.layouts++;
	forget_echo(p);
	send_one(p, CALL_LAYOUT, p->mem, op, fixed, len);
}

static void ask_pd_channel(struct program *p, u32 r)
{
	struct pd_channel_req q = {.asid = p->asid};
	memcpy(q.name, p->region[r].owner, sizeof(q.name));
	p->asking = r;
	send_one(p, CALL_CTL, p->ctl, OP_PD_CHANNEL, &q, sizeof(q));
}

/* The channel to the owner of a vRegion is there; else what leads to it is begun. */
static bool region_ready(struct program *p, u32 r)
{
	struct region *g = &p->region[r];
	struct as_where_req q = {.addr = r ? BORDER : BASE_ADDR};
	if (p->link.chain)
		return program_linked(p);
	if (g->conn)
		return true;
	for (u32 k = 0; g->known && k < PROGRAM_REGIONS; k++)
		if (p->region[k].conn && !strcmp(p->region[k].owner, g->owner))
			g->conn = p->region[k].conn;
	if (g->known && !strcmp(g->owner, p->home))
		g->conn = p->mem;
	if (g->conn)
		return true;
	if (!g->known && !p->call[CALL_WHERE].active) {
		p->asking = r;
		send_one(p, CALL_WHERE, p->mem, OP_AS_WHERE, &q, sizeof(q));
	} else if (g->known && !p->call[CALL_CTL].active && !p->call[CALL_WHERE].active) {
		ask_pd_channel(p, r);
	}
	return false;
}

static void where_reply(struct program *p, s32 status, const struct msg *m)
{
	const struct as_where_rep *rep = m->fixed;
	struct region *g = &p->region[p->asking];
	u64 addr = p->asking ? BORDER : BASE_ADDR;
	if (status || m->fixed_len != sizeof(*rep) || rep->lo > addr || rep->hi <= addr) {
		if (p->crowd->opts.check_contents && !p->hostile)
			program_violation(p, "where is %llx: status %d", (unsigned long long)addr, status);
		program_end(p, PROG_DEAD, "home does not know the owner");
		return;
	}
	memcpy(g->owner, rep->name, sizeof(g->owner));
	g->known = true;
}

static void map(struct program *p, u32 first, u32 n)
{
	struct as_mmap_req r = {.lseq = ++p->lseq, .addr = addr_of(first), .len = n * LINE_SIZE, .prot = PROT_RW};
	p->range.first = first;
	p->range.n = n;
	layout(p, OP_AS_MMAP, &r, sizeof(r));
}

static void range_op(struct program *p, u16 op, u32 first, u32 n)
{
	struct as_range_req r = {.lseq = ++p->lseq, .addr = addr_of(first), .len = n * LINE_SIZE};
	p->range.first = first;
	p->range.n = n;
	layout(p, op, &r, sizeof(r));
}

static void move(struct program *p, u32 first, u32 n, u32 to)
{
	struct as_mremap_req r = {.lseq = ++p->lseq,
				  .addr = addr_of(first),
				  .old_len = n * LINE_SIZE,
				  .new_addr = addr_of(to),
				  .new_len = n * LINE_SIZE};
	p->range.first = first;
	p->range.n = n;
	p->range.to = to;
	layout(p, OP_AS_MREMAP, &r, sizeof(r));
}

static bool all_mapped(const struct program *p, u32 first, u32 n)
{
	for (u32 i = first; i < first + n; i++)
		if (!p->line[i].mapped)
			return false;
	return true;
}

/* Some layout operation on a random range. */
static void some_layout(struct program *p)
{
	u32 n = 1 + program_random(p, 16), first = program_random(p, PROGRAM_LINES - n + 1), to = program_random(p, PROGRAM_LINES - n + 1);
	bool apart = to + n <= first || first + n <= to;
	if (!all_mapped(p, first, n))
		map(p, first, n);
	else if (program_random(p, 3) == 0)
		range_op(p, OP_AS_MUNMAP, first, n);
	else if (apart && program_random(p, 2) == 0)
		move(p, first, n, to);
	else
		range_op(p, OP_AS_DISCARD, first, n);
}

static void layout_applied(struct program *p, u16 op)
{
	for (u32 i = p->range.first; i < p->range.first + p->range.n; i++) {
		struct line *l = &p->line[i];
		if (op == OP_AS_MREMAP)
			p->line[p->range.to + i - p->range.first] = *l;
		l->held = 0;
		l->mapped = op == OP_AS_MMAP || op == OP_AS_DISCARD;
	}
}

static void layout_reply(struct program *p, u16 op, s32 status, const struct msg *m)
{
	const struct as_layout_rep *rep = m->fixed;
	bool gone = status == -WIRE_DOWN && p->crowd->opts.nodes_die;
	if (gone || (status == -ENOMEM && p->crowd->opts.hostile)) {
		program_end(p, PROG_DEAD, gone ? "a memory node is gone" : "others took the memory");
		return;
	}
	if (status == -ENOMEM && p->crowd->opts.may_be_full) {
		p->crowd->did.full++;
		if (p->state == PROG_STARTING)
			program_end(p, PROG_FAILED, "the memory is full");
		return;
	}
	if (status || m->fixed_len != sizeof(*rep) || rep->lseq != p->lseq) {
		if (p->crowd->opts.check_contents && !p->hostile)
			program_violation(p, "%s lseq %llu: status %d", op_row(op)->name, (unsigned long long)p->lseq, status);
		program_end(p, PROG_DEAD, "a layout operation was refused");
		return;
	}
	layout_applied(p, op);
	if (p->state == PROG_STARTING)
		p->state = PROG_LIVE;
}

/* ---- write-back */

static bool some_writeback(struct program *p)
{
	static u8 bytes[FETCH_MAX_LINES * LINE_SIZE];
	struct mem_writeback_req req = {0};
	struct wb_line rec[FETCH_MAX_LINES];
	u32 wanted = 1 + program_random(p, 8), nbytes = 0, region = program_random(p, PROGRAM_REGIONS);
	if (!region_ready(p, region))
		return false;
	memset(rec, 0, sizeof(rec));
	for (u32 tries = 0; tries < 3 * wanted && req.count < wanted; tries++) {
		u32 i = program_random(p, PROGRAM_LINES);
		struct line *l = &p->line[i];
		if (!l->mapped || l->busy || region_of(i) != region)
			continue;
		bool zero = program_random(p, 8) == 0;
		l->busy = true;
		l->sent = zero ? ZERO_CONTENT : ++p->crowd->contents + ZERO_CONTENT;
		l->sent_version = ++p->version;
		rec[req.count] = (struct wb_line){.addr = addr_of(i), .version = l->sent_version, .flags = zero ? WB_ZERO : 0};
		if (!zero) {
			fill(bytes + nbytes, l->sent);
			rec[req.count].crc = crc32c(0, bytes + nbytes, LINE_SIZE);
			nbytes += (u32)LINE_SIZE;
		}
		p->wb_first[req.count++] = i;
	}
	p->wb_count = req.count;
	if (!req.count)
		return false;
	struct wire_seg segs[] = {{&req, sizeof(req)}, {rec, req.count * (u32)sizeof(rec[0])}, {bytes, nbytes}};
	p->crowd->did.writebacks++;
	if (p->link.chain) {
		program_link_writeback(p, segs, ARRAY_SIZE(segs));
		return true;
	}
	program_send(p, CALL_WRITEBACK, p->region[region].conn, (struct msg_hdr){.op = OP_MEM_WRITEBACK}, segs, ARRAY_SIZE(segs), RESEND_NS);
	return true;
}

/* A repeat that comes long after newer versions were committed. Nobody waits for its answer; it must change nothing. None crosses a
 * layout operation: those wait for the write-backs, and a session's new channel is served only after the old one. */
static void send_echo(struct program *p)
{
	struct wire_seg seg = {p->echo, p->echo_len};
	struct msg_hdr h = {.op = OP_MEM_WRITEBACK, .tag = ++p->crowd->tags, .epoch = p->link.info.epoch};
	if (p->link.chain && !program_linked(p))
		return;
	(void)p->crowd->env->send(p->crowd->env->ctx, p->link.chain ? p->mem : p->region[p->echo_region].conn, &h, &seg, 1);
	h.tag = ++p->crowd->tags;
	if (p->link.standby)
		(void)p->crowd->env->send(p->crowd->env->ctx, p->link.standby, &h, &seg, 1);
	forget_echo(p);
}

static void writeback_reply(struct program *p, s32 status, const struct msg *m)
{
	const struct mem_writeback_rep *rep = m->fixed;
	if (status || m->fixed_len != sizeof(*rep) || rep->committed != (1ull << p->wb_count) - 1) {
		if (p->crowd->opts.check_contents && !p->hostile)
			program_violation(p, "write-back of %u lines: status %d, committed %llx", p->wb_count, status,
					  status || m->fixed_len != sizeof(*rep) ? 0 : (unsigned long long)rep->committed);
		program_end(p, PROG_DEAD, "a write-back was refused");
		return;
	}
	if (!program_link_written(p))
		return;
	for (u32 i = 0; i < p->wb_count; i++) {
		struct line *l = &p->line[p->wb_first[i]];
		l->held = l->sent;
		l->busy = false;
	}
	p->crowd->did.lines_written += p->wb_count;
}

/* Keeps the bytes of a write-back that is over. Takes them from k. */
static void keep_echo(struct program *p, struct call *k)
{
	if (p->echo || p->hostile || p->state != PROG_LIVE || program_random(p, 4))
		return;
	p->echo_region = region_of(p->wb_first[0]);
	p->echo = k->body;
	p->echo_len = k->len;
	k->body = NULL;
}

/* ---- fetch */

/* Fetches line `demand` with a window of others around it. */
static void fetch(struct program *p, u32 demand, bool alone)
{
	u32 back = alone ? 0 : program_random(p, MIN(demand + 1, FETCH_MAX_LINES)), first = demand - back;
	struct mem_fetch_req *r = &p->fetch;
	*r = (struct mem_fetch_req){.addr = addr_of(first), .demand = back, .ticket = p->ticket};
	p->ticket += FETCH_MAX_LINES;
	for (u32 i = 0; i < FETCH_MAX_LINES && first + i < PROGRAM_LINES; i++) {
		struct line *l = &p->line[first + i];
		if (!l->held || l->busy || region_of(first + i) != region_of(demand) || (i != back && (alone || program_random(p, 2))))
			continue;
		r->want |= 1ull << i;
		l->busy = true;
	}
	p->crowd->did.fetches++;
	send_one(p, CALL_FETCH, p->region[region_of(demand)].conn, OP_MEM_FETCH, r, sizeof(*r));
}

static bool some_fetch(struct program *p)
{
	for (u32 tries = 0; tries < 8; tries++) {
		u32 i = program_random(p, PROGRAM_LINES);
		if (!p->line[i].held || p->line[i].busy)
			continue;
		if (!region_ready(p, region_of(i)))
			return false;
		fetch(p, i, false);
		return true;
	}
	return false;
}

static void check_lines(struct program *p, const struct mem_fetch_rep *rep, const u8 *bytes)
{
	u32 first = (u32)((p->fetch.addr - BASE_ADDR) / LINE_SIZE);
	u64 have = rep->data | rep->zero;
	if (rep->no_line || !(have >> p->fetch.demand & 1) || have & ~p->fetch.want || rep->data & rep->zero)
		program_violation(p, "fetch of %llx at line %u: data %llx, zero %llx, no line %llx", (unsigned long long)p->fetch.want, first,
				  (unsigned long long)rep->data, (unsigned long long)rep->zero, (unsigned long long)rep->no_line);
	for (u32 i = 0; i < FETCH_MAX_LINES; i++) {
		if (!(have >> i & 1))
			continue;
		static const u8 zeros[LINE_SIZE];
		const u8 *line = rep->data >> i & 1 ? bytes : zeros;
		if (!holds(line, p->line[first + i].held))
			program_violation(p, "line %u is not what was acknowledged (version %llu)", first + i,
					  (unsigned long long)p->line[first + i].sent_version);
		bytes += rep->data >> i & 1 ? LINE_SIZE : 0;
		p->crowd->did.lines_read++;
	}
}

static void fetch_reply(struct program *p, s32 status, const struct msg *m)
{
	struct mem_fetch_rep rep = {0};
	bool ok = !status && m->fixed_len == sizeof(rep);
	if (ok)
		memcpy(&rep, m->fixed, sizeof(rep));
	ok = ok && rep.addr == p->fetch.addr && rep.ticket == p->fetch.ticket && m->data_len == (u32)__builtin_popcountll(rep.data) * LINE_SIZE;
	if (p->crowd->opts.check_contents && !p->hostile) {
		if (ok)
			check_lines(p, &rep, m->data);
		else
			program_violation(p, "fetch: status %d, %u bytes", status, m->data_len);
	}
	if (!ok) {
		program_end(p, PROG_DEAD, "a fetch was refused");
		return;
	}
	u32 first = (u32)((p->fetch.addr - BASE_ADDR) / LINE_SIZE);
	p->downs = 0;
	for (u32 i = 0; i < FETCH_MAX_LINES; i++)
		if (p->fetch.want >> i & 1)
			p->line[first + i].busy = false;
}

/* ---- starting, fork, exec */

void program_start(struct program *p, u32 steps)
{
	struct hello h = {.magic = LEGO_WIRE_MAGIC, .version = LEGO_WIRE_VERSION, .kind = KIND_CLIENT, .role = ROLE_ADMIN, .name = "lego"};
	p->state = PROG_DIALLING;
	p->steps = steps;
	p->admin = p->crowd->env->dial(p->crowd->env->ctx, "loop:p0", &h);
	if (!p->admin)
		program_end(p, PROG_FAILED, "no processor node");
}

static void ask_run(struct program *p)
{
	struct pd_run_req r = {.excache_bytes = MIB, .name_len = 7, .replicas = p->crowd->opts.replicas};
	struct wire_seg segs[] = {{&r, sizeof(r)}, {"program", 7}};
	p->state = PROG_STARTING;
	program_send(p, CALL_CTL, p->admin, (struct msg_hdr){.op = OP_PD_RUN}, segs, ARRAY_SIZE(segs), 0);
}

static bool take_channel(struct program *p, conn_id *c, int fd)
{
	program_close(p, c);
	*c = loop_attach(p->crowd->w->loop, p->crowd->w->node[PROGRAMS], fd);
	return *c;
}

/* A new, empty space. */
static void enter_space(struct program *p, const struct pd_space_rep *rep)
{
	struct crowd *c = p->crowd;
	if (c->nasids < ARRAY_SIZE(c->asids))
		c->asids[c->nasids++] = rep->asid;
	for (u32 i = 0; i + 1 < c->nasids; i++)
		if (c->asids[i] == rep->asid && c->opts.check_contents)
			program_violation(p, "address space number %llu was given out before", (unsigned long long)rep->asid);
	p->asid = rep->asid;
	p->vnode = rep->vnode;
	p->lseq = p->version = 0;
	forget_echo(p);
	memset(p->line, 0, sizeof(p->line));
	close_regions(p);
	memcpy(p->home, rep->memory.name, sizeof(p->home));
	program_link_enter(p, rep);
	p->state = PROG_STARTING;
	p->file_open = false;
	program_reader_enter(p);
	p->file_seq = p->appending = 0;
}

static void run_reply(struct program *p, s32 status, const struct msg *m)
{
	if (status || m->nfds != 6) {
		program_end(p, PROG_FAILED, "PD_RUN was refused");
		return;
	}
	enter_space(p, m->fixed);
	if (!take_channel(p, &p->ctl, m->fds[3]) || !take_channel(p, &p->mem, m->fds[4]) || !take_channel(p, &p->sto, m->fds[5]))
		program_end(p, PROG_FAILED, "a channel could not be taken");
	else if (p->verifier)
		p->state = PROG_LIVE;
	else
		map(p, 0, PROGRAM_LINES);
}

struct program *program_unused(struct crowd *c)
{
	if (c->nprogs == MAX_PROGRAMS)
		return NULL;
	struct program *p = &c->prog[c->nprogs];
	p->crowd = c;
	p->index = c->nprogs++;
	return p;
}

static void fork_reply(struct program *p, s32 status, const struct msg *m)
{
	struct program *child = status || m->nfds != 3 ? NULL : program_unused(p->crowd);
	if (!child) {
		for (u32 i = 0; i < m->nfds; i++)
			world_close_fd(p->crowd->w, m->fds[i]);
		return;
	}
	enter_space(child, m->fixed);
	memcpy(child->line, p->line, sizeof(p->line));
	for (u32 r = 0; r < PROGRAM_REGIONS; r++) {
		child->region[r] = p->region[r];
		child->region[r].conn = 0;
	}
	child->version = p->version;
	child->lseq = p->lseq;
	child->hostile = p->hostile;
	child->steps = p->steps / 2;
	child->state = PROG_LIVE;
	p->crowd->did.forks++;
	if (!take_channel(child, &child->ctl, m->fds[0]) || !take_channel(child, &child->mem, m->fds[1]) ||
	    !take_channel(child, &child->sto, m->fds[2]))
		program_end(child, PROG_FAILED, "a channel could not be taken");
}

static void exec_reply(struct program *p, s32 status, const struct msg *m)
{
	if (status || m->nfds != 2) {
		for (u32 i = 0; i < m->nfds; i++)
			world_close_fd(p->crowd->w, m->fds[i]);
		return; /* the caller is as it was */
	}
	u32 appended = p->appended;
	program_call_drop(&p->call[CALL_FILE]); /* an append in flight may or may not have happened */
	enter_space(p, m->fixed);
	p->appended = appended;
	p->steps /= 2;
	p->crowd->did.execs++;
	if (!take_channel(p, &p->mem, m->fds[0]) || !take_channel(p, &p->sto, m->fds[1])) {
		program_end(p, PROG_DEAD, "a channel could not be taken");
		return;
	}
	struct pd_space_req done = {.asid = p->asid};
	send_one(p, CALL_CTL, p->ctl, OP_PD_EXEC_DONE, &done, sizeof(done));
	if (p->state < PROG_DONE)
		map(p, 0, PROGRAM_LINES);
}

static void channel_reply(struct program *p, s32 status, const struct msg *m)
{
	struct region *g = &p->region[p->asking];
	g->conn = !status && m->nfds == 1 ? loop_attach(p->crowd->w->loop, p->crowd->w->node[PROGRAMS], m->fds[0]) : 0;
	p->crowd->did.channels++;
	if (g->conn)
		return;
	g->known = false;
	region_down(p, 0);
}

static void ask_pd(struct program *p, u16 op)
{
	struct pd_space_req r = {.asid = p->asid, .lseq = p->lseq};
	send_one(p, CALL_CTL, p->ctl, op, &r, sizeof(r));
}

/* ---- what comes next */

static bool idle(const struct program *p, bool also_file)
{
	for (u32 i = 0; i < CALLS; i++)
		if (p->call[i].active && (also_file || i != CALL_FILE))
			return false;
	return true;
}

/* Starts something. false: what the dice chose cannot be done now. */
static bool act(struct program *p)
{
	if (p->link.seeks || (p->link.chain && !program_linked(p)))
		return false;
	u32 dice = program_random(p, 100);
	if (p->echo && dice >= 95)
		send_echo(p);
	if (idle(p, true) && dice < 3)
		ask_pd(p, OP_PD_FORK);
	else if (idle(p, true) && dice < 5 && !p->hostile)
		ask_pd(p, OP_PD_EXEC);
	else if (p->call[CALL_CTL].active || p->call[CALL_LAYOUT].active)
		return false; /* both stop everything else, as in a monitor */
	else if (idle(p, false) && dice < 20)
		some_layout(p);
	else if (p->crowd->opts.reads && dice < 24)
		return program_reader_step(p);
	else if (!p->call[CALL_FILE].active && dice < 30)
		program_file_step(p);
	else if (!p->call[CALL_WRITEBACK].active && !p->call[CALL_WRITEBACK2].active && dice < 65)
		return some_writeback(p);
	else
		return !p->call[CALL_FETCH].active && some_fetch(p);
	return true;
}

static void step_live(struct program *p)
{
	if (p->verifier)
		program_file_step(p);
	else if (p->steps)
		p->steps -= act(p);
	else if (idle(p, true))
		p->state = PROG_CHECKING;
}

void program_finish(struct program *p)
{
	p->state = PROG_ENDING;
	if (p->admin)
		program_send(p, CALL_CTL, p->admin, (struct msg_hdr){.op = OP_PD_RUN_END}, NULL, 0, RESEND_NS);
	else
		program_end(p, PROG_DONE, NULL);
}

static void step_checking(struct program *p)
{
	while (p->checked < PROGRAM_LINES && !p->line[p->checked].held)
		p->checked++;
	if (p->call[CALL_FETCH].active || p->call[CALL_CTL].active || p->call[CALL_WHERE].active)
		return;
	if (p->checked == PROGRAM_LINES)
		program_finish(p);
	else if (region_ready(p, region_of(p->checked)))
		fetch(p, p->checked++, true);
}

static void step(struct program *p)
{
	p->next_ns = now(p) + program_random(p, 3000) * NSEC_PER_USEC;
	if (p->state == PROG_LIVE)
		step_live(p);
	else if (p->state == PROG_CHECKING)
		step_checking(p);
}

static void resend(struct program *p, struct call *k)
{
	if (!k->period_ns) {
		bool starting = p->state == PROG_STARTING;
		program_call_drop(k);
		if (starting)
			program_end(p, PROG_FAILED, "no answer to PD_RUN");
		return;
	}
	p->crowd->did.resent++;
	program_transmit(p, k);
}

static u64 program_tick(struct program *p, u64 now_ns)
{
	u64 next = p->state < PROG_DONE ? program_link_tick(p, now_ns) : UINT64_MAX;
	for (u32 i = 0; i < CALLS; i++)
		if (p->call[i].active && p->call[i].waits)
			next = MIN(next, call_on(p, &p->call[i], now_ns));
		else if (p->call[i].active && now_ns >= p->call[i].deadline_ns)
			resend(p, &p->call[i]);
	if ((p->state == PROG_LIVE || p->state == PROG_CHECKING) && now_ns >= p->next_ns)
		step(p);
	for (u32 i = 0; i < CALLS; i++)
		if (p->call[i].active && !p->call[i].waits)
			next = MIN(next, p->call[i].deadline_ns);
	return p->state == PROG_LIVE || p->state == PROG_CHECKING ? MIN(next, p->next_ns) : next;
}

/* ---- events */

static void answered(struct program *p, enum call_kind kind, const struct msg *m)
{
	if (program_link_again(p, kind, m->hdr.status) || again(p, kind, m->hdr.status))
		return;
	struct call k = p->call[kind];
	p->call[kind] = (struct call){0};
	s32 status = m->hdr.status;
	if (kind == CALL_WRITEBACK || kind == CALL_WRITEBACK2) {
		writeback_reply(p, status, m);
		keep_echo(p, &k);
	}
	if (program_link_reply(p, &k, status, m) || program_reader_reply(p, &k, status, m))
		;
	else if (kind == CALL_FETCH)
		fetch_reply(p, status, m);
	else if (kind == CALL_LAYOUT)
		layout_reply(p, k.hdr.op, status, m);
	else if (kind == CALL_FILE)
		program_file_reply(p, status, m);
	else if (kind == CALL_WHERE)
		where_reply(p, status, m);
	else if (k.hdr.op == OP_PD_CHANNEL)
		channel_reply(p, status, m);
	else if (k.hdr.op == OP_PD_RUN)
		run_reply(p, status, m);
	else if (k.hdr.op == OP_PD_FORK)
		fork_reply(p, status, m);
	else if (k.hdr.op == OP_PD_EXEC)
		exec_reply(p, status, m);
	else if (k.hdr.op == OP_PD_RUN_END)
		program_end(p, PROG_DONE, NULL);
	free(k.body);
}

/* A doubled reply comes without the descriptors of the first: as good as lost. */
static bool lacks_fds(const struct call *k, const struct msg *m)
{
	return !m->hdr.status && !m->nfds && (k->hdr.op == OP_PD_RUN || k->hdr.op == OP_PD_FORK || k->hdr.op == OP_PD_EXEC ||
					       k->hdr.op == OP_PD_CHANNEL || k->hdr.op == OP_PD_READER);
}

static void on_message(void *self, conn_id c, const struct msg *m)
{
	struct crowd *crowd = self;
	for (u32 i = 0; i < crowd->nprogs; i++)
		for (u32 k = 0; k < CALLS; k++) {
			struct call *call = &crowd->prog[i].call[k];
			if (!call->active || call->to != c || call->tag != m->hdr.tag || lacks_fds(call, m))
				continue;
			answered(&crowd->prog[i], (enum call_kind)k, m);
			return;
		}
	for (u32 i = 0; i < m->nfds; i++) /* a reply that finds no one */
		world_close_fd(crowd->w, m->fds[i]);
}

static void on_opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct crowd *crowd = self;
	for (u32 i = 0; i < crowd->nprogs; i++)
		if (crowd->prog[i].admin == c && crowd->prog[i].state == PROG_DIALLING)
			ask_run(&crowd->prog[i]);
}

static void on_closed(void *self, conn_id c)
{
	struct crowd *crowd = self;
	for (u32 i = 0; i < crowd->nprogs; i++) {
		struct program *p = &crowd->prog[i];
		if (p->admin == c && p->state <= PROG_STARTING && !p->ctl)
			program_end(p, PROG_FAILED, "the processor node hung up");
		else if (p->admin == c)
			p->admin = 0;
		else if (program_link_closed(p, c))
			continue;
		else if (p->mem == c && program_link_seek(p))
			home_left(p);
		else if (is_region(p, c))
			region_down(p, c);
		else if (program_reader_closed(p, c))
			continue;
		else if (p->ctl == c || p->mem == c || p->sto == c)
			program_end(p, PROG_DEAD, p->ctl == c ? "pd hung up" : p->mem == c ? "its memory node hung up" : "its storage node hung up");
	}
}

static u64 on_tick(void *self, u64 now_ns)
{
	struct crowd *c = self;
	u64 next = now_ns + NSEC_PER_SEC;
	world_host(c->w);
	for (u32 i = 0; i < c->nprogs; i++)
		next = MIN(next, program_tick(&c->prog[i], now_ns));
	return next;
}

const struct node_ops crowd_ops = {.opened = on_opened, .message = on_message, .closed = on_closed, .tick = on_tick};
