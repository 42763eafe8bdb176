/* Programs that read their files at memory nodes where they have no memory, as a monitor reads large files by extents: pd says which nodes there
 * are, makes the program a reader at one of them and opens a channel. What is read there must hold every record that was acknowledged before it
 * was asked for, whatever is lost, cut or killed meanwhile; no answer, or that the node does not serve the file, is as good. */
#include "program.h"

#include <errno.h>
#include <string.h>

#define READ_NS	 (200 * NSEC_PER_MSEC)
#define READ_MAX 65536u

static void ask(struct program *p, u16 op, const void *fixed, u32 len)
{
	struct wire_seg seg = {fixed, len};
	program_send(p, CALL_CTL, p->ctl, (struct msg_hdr){.op = op}, &seg, 1, 0);
}

static void read_there(struct program *p)
{
	struct sd_io_req q = {.file = p->file, .len = READ_MAX, .flags = SDIO_EXTENT};
	struct wire_seg seg = {&q, sizeof(q)};
	p->reader.at_least = p->appended;
	program_send(p, CALL_READ, p->reader.conn, (struct msg_hdr){.op = OP_MEM_FILE_READ}, &seg, 1, READ_NS);
}

bool program_reader_step(struct program *p)
{
	struct pd_channel_req q = {.asid = p->asid};
	if (p->hostile || !p->file_open || p->call[CALL_READ].active || p->call[CALL_CTL].active)
		return false;
	if (p->reader.conn && program_random(p, 20) == 0) { /* another node next time */
		program_close(p, &p->reader.conn);
		p->reader.node[0] = 0;
	}
	if (p->reader.conn) {
		read_there(p);
	} else if (p->reader.node[0]) {
		memcpy(q.name, p->reader.node, sizeof(q.name));
		ask(p, OP_PD_READER, &q, sizeof(q));
	} else {
		ask(p, OP_PD_VIEW, NULL, 0);
	}
	return true;
}

static void check(struct program *p, const struct msg *m)
{
	u32 n = 0;
	p->crowd->did.reads++;
	if (!p->crowd->opts.check_contents)
		return;
	if (!program_file_good(p, m->data, m->data_len, &n) || n < MIN(p->reader.at_least, READ_MAX / 8))
		program_violation(p, "its file at %s: %u bytes, %u records, %u acknowledged", p->reader.node, m->data_len, n, p->reader.at_least);
}

bool program_reader_reply(struct program *p, const struct call *k, s32 status, const struct msg *m)
{
	const struct pd_view_rep *v = m->fixed;
	switch (k->hdr.op) {
	case OP_PD_VIEW:
		if (!status && m->fixed_len == sizeof(*v) && v->count && v->count <= VIEW_READERS)
			memcpy(p->reader.node, v->node[program_random(p, v->count)].name, sizeof(p->reader.node));
		return true;
	case OP_PD_READER:
		p->reader.conn = !status && m->nfds == 1 ? loop_attach(p->crowd->w->loop, p->crowd->w->node[PROGRAMS], m->fds[0]) : 0;
		if (!p->reader.conn)
			p->reader.node[0] = 0;
		return true;
	case OP_MEM_FILE_READ:
		if (!status)
			check(p, m);
		return true;
	default:
		return false;
	}
}

bool program_reader_closed(struct program *p, conn_id c)
{
	if (!c || p->reader.conn != c)
		return false;
	p->reader.conn = 0;
	p->reader.node[0] = 0;
	if (p->call[CALL_READ].active)
		program_call_drop(&p->call[CALL_READ]);
	return true;
}

void program_reader_enter(struct program *p)
{
	program_close(p, &p->reader.conn);
	if (p->call[CALL_READ].active)
		program_call_drop(&p->call[CALL_READ]);
	p->reader.node[0] = 0;
}
