/* What programs do to files: each appends numbered records to a file of its own, one at a time, by requests that must happen exactly once
 * however often they arrive; at the end the verifier reads every file. */
#include <fcntl.h>

/* <fcntl.h> before the world: some of its names are macros there */
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FILE_RESEND_NS (300 * NSEC_PER_MSEC)
#define READ_MAX 65536u

struct record {
	u32 program, number;
};

static struct msg_hdr once(struct program *p, u16 op)
{
	return (struct msg_hdr){.op = op, .flags = MSG_ONCE, .slot = 0, .seq = ++p->file_seq};
}

static void open_file(struct program *p, u32 of, u64 flags)
{
	char path[32];
	struct sd_path_req r = {.mode = 0600, .arg = flags};
	r.len = (u32)snprintf(path, sizeof(path), "/sim-%u", of);
	struct wire_seg segs[] = {{&r, sizeof(r)}, {path, r.len}};
	program_send(p, CALL_FILE, p->sto, once(p, OP_SD_OPEN), segs, ARRAY_SIZE(segs), FILE_RESEND_NS);
}

static void append(struct program *p)
{
	p->appending = p->appended + 1;
	struct record rec = {p->index, p->appending};
	struct sd_io_req r = {.file = p->file, .len = sizeof(rec), .flags = SDIO_APPEND};
	struct wire_seg segs[] = {{&r, sizeof(r)}, {&rec, sizeof(rec)}};
	program_send(p, CALL_FILE, p->sto, once(p, OP_SD_WRITE), segs, ARRAY_SIZE(segs), FILE_RESEND_NS);
}

static void read_file(struct program *p)
{
	struct sd_io_req r = {.file = p->file, .len = READ_MAX};
	struct wire_seg seg = {&r, sizeof(r)};
	p->reading = true;
	program_send(p, CALL_FILE, p->sto, (struct msg_hdr){.op = OP_SD_READ}, &seg, 1, FILE_RESEND_NS);
}

/* The next program whose file is worth reading; false: none is left. */
static bool next_file(struct program *p)
{
	for (; p->verifying < p->crowd->nprogs; p->verifying++) {
		const struct program *of = &p->crowd->prog[p->verifying];
		if (!of->hostile && !of->verifier && of->appended)
			return true;
	}
	return false;
}

void program_file_step(struct program *p)
{
	if (p->call[CALL_FILE].active)
		return;
	if (!p->verifier && p->file_open)
		append(p);
	else if (!p->verifier)
		open_file(p, p->index, O_RDWR | O_CREAT);
	else if (p->file_open)
		read_file(p);
	else if (next_file(p))
		open_file(p, p->verifying, O_RDONLY);
	else
		program_finish(p);
}

bool program_file_good(const struct program *of, const u8 *bytes, u32 len, u32 *records)
{
	bool good = len % sizeof(struct record) == 0;
	*records = len / (u32)sizeof(struct record);
	for (u32 i = 0; i < *records && good; i++) {
		struct record rec;
		memcpy(&rec, bytes + i * sizeof(rec), sizeof(rec));
		good = rec.program == of->index && rec.number == i + 1;
	}
	return good;
}

/* Records 1, 2, … each once and in order: all that were acknowledged, and at most as many more as requests were cut off. */
static void check_file(struct program *p, const u8 *bytes, u32 len)
{
	const struct program *of = &p->crowd->prog[p->verifying];
	u32 n;
	bool in_order = program_file_good(of, bytes, len, &n);
	if (!in_order || n < of->appended || n > of->appended + 1)
		program_violation(p, "file of program %u: %u bytes, %s, %u records acknowledged", of->index, len,
				  in_order ? "in order" : "out of order or doubled", of->appended);
	p->crowd->did.files_checked++;
}

static void opened(struct program *p, const struct msg *m)
{
	struct sd_open_rep rep;
	memcpy(&rep, m->fixed, sizeof(rep));
	p->file = rep.handle;
	p->file_open = true;
	/* After an exec the file says whether the append that was cut off had happened. */
	if (!p->verifier)
		p->appended = MAX(p->appended, (u32)(rep.attr.size / sizeof(struct record)));
}

void program_file_reply(struct program *p, s32 status, const struct msg *m)
{
	if (status) {
		if (p->crowd->opts.check_contents && !p->hostile)
			program_violation(p, "file request: status %d", status);
		program_end(p, PROG_DEAD, "a file request was refused");
	} else if (p->reading) {
		p->reading = p->file_open = false;
		check_file(p, m->data, m->data_len);
		p->verifying++;
	} else if (!p->file_open) {
		opened(p, m);
	} else {
		p->appended = p->appending;
		p->appending = 0;
		p->crowd->did.appends++;
	}
}
