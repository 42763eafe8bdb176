/* Golden bytes of every message: a filled example of each row's request and reply is compared with tests/wire/vectors.txt, and sent
 * through the receiver's check, whole and spoilt.
 *     vectors FILE          compare           vectors --write FILE     write the file anew, after a wanted change of the protocol
 * A row without a vector fails, and so does a vector without a row. */
#include <stdlib.h>
#include <string.h>

#include "rpc/dispatch.h"
#include "tests/wire/fill.h"

#define DATA_BYTES 5u /* of variable part in the examples, where the row has one */
#define SESSION	   0x5e55u
#define LINE_ROOM  (1024 * 1024)

struct example {
	char name[64];
	u32 len;
	u8 bytes[2176] __attribute__((aligned(8)));
};

static struct example examples[256];
static u32 nexamples;
static u32 failures;

static void fail(const char *name, const char *what)
{
	printf("vectors: %s: %s\n", name, what);
	failures++;
}

static struct example *example(const char *name, const char *part)
{
	struct example *e = &examples[nexamples++];

	if (nexamples > ARRAY_SIZE(examples))
		abort();
	memset(e, 0, sizeof(*e));
	snprintf(e->name, sizeof(e->name), "%s%s", name, part);
	fill_count = 0;
	return e;
}

static void frame(const struct op_row *row, bool reply, void (*fill)(void *at))
{
	u32 fixed = reply ? row->rep_len : row->req_len, max = reply ? row->max_rep_data : row->max_req_data, data = MIN(max, DATA_BYTES);
	struct example *e = example(row->name, reply ? " reply" : " request");
	struct msg_hdr h = {.op = row->op, .tag = 0x0000000700000003ull, .epoch = 9, .flags = reply ? MSG_REPLY : 0};

	e->len = (u32)sizeof(h) + fixed + data;
	if (e->len > sizeof(e->bytes))
		abort();
	h.len = e->len;
	if (row->cls == OP_ONCE) {
		h.flags |= MSG_ONCE;
		h.session = SESSION;
		h.slot = 2;
		h.seq = 0x11223344;
	}
	memcpy(e->bytes, &h, sizeof(h));
	fill(e->bytes + sizeof(h));
	for (u32 i = 0; i < data; i++)
		e->bytes[sizeof(h) + fixed + i] = (u8)(0xd0 + i);
}

static void raw(const char *name, u32 len, void (*fill)(void *at))
{
	struct example *e = example(name, "");

	e->len = len;
	fill(e->bytes);
}

#define RAW(type) raw(#type, sizeof(struct type), fill_##type)

static void make_examples(void)
{
#define OP(num, NAME, from, cls, req, rep, max_req, max_rep, timeout)                                                                      \
	frame(op_row(num), false, fill_##req);                                                                                             \
	frame(op_row(num), true, fill_##rep);
#include "spec/ops.def"
#undef OP
	RAW(greeting);
	RAW(hello);
	RAW(welcome);
	RAW(ucx_offer);
	/* records of variable parts */
	RAW(proc_report);
	RAW(view_node);
	RAW(wb_line);
	RAW(sd_dirent);
	RAW(sd_bind);
}

static void write_hex(FILE *f, const struct example *e)
{
	fprintf(f, "%s:", e->name);
	for (u32 i = 0; i < e->len; i++)
		fprintf(f, "%s%02x", i % 48 ? "" : " ", e->bytes[i]);
	fputc('\n', f);
}

static int write_file(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f) {
		perror(path);
		return 1;
	}
	fprintf(f, "# Every message as bytes, in hexadecimal: header, fixed struct, data. Written by tests/wire/vectors.c --write.\n");
	for (u32 i = 0; i < nexamples; i++)
		write_hex(f, &examples[i]);
	return fclose(f) ? 1 : 0;
}

/* Compares one line of the file with the example of its name. */
static void compare(char *line, bool *seen)
{
	char *hex = strchr(line, ':');
	struct example *e = NULL;
	u32 n = 0;

	if (!hex || line[0] == '#')
		return;
	*hex++ = 0;
	for (u32 i = 0; i < nexamples; i++)
		if (!strcmp(examples[i].name, line)) {
			e = &examples[i];
			seen[i] = true;
		}
	if (!e) {
		fail(line, "a vector without a row");
		return;
	}
	for (;;) {
		unsigned byte;

		hex += strspn(hex, " \n");
		if (!*hex)
			break;
		if (sscanf(hex, "%2x", &byte) != 1 || n >= e->len || e->bytes[n] != byte) {
			char what[64];

			snprintf(what, sizeof(what), "differs from its vector at byte %u", n);
			fail(e->name, what);
			return;
		}
		n++;
		hex += 2;
	}
	if (n != e->len)
		fail(e->name, "is longer than its vector");
}

static void check_file(const char *path)
{
	static bool seen[ARRAY_SIZE(examples)];
	FILE *f = fopen(path, "r");
	char *line = malloc(LINE_ROOM);

	if (!f || !line) {
		fail(path, "cannot be read");
		free(line);
		return;
	}
	while (fgets(line, LINE_ROOM, f))
		compare(line, seen);
	for (u32 i = 0; i < nexamples; i++)
		if (!seen[i])
			fail(examples[i].name, "has no vector (run vectors --write and look at the difference)");
	fclose(f);
	free(line);
}

static void expect(const struct example *e, const u8 *bytes, u32 len, const struct frame_rights *rights, s32 want, const char *what)
{
	struct msg m;

	if (frame_check(bytes, len, rights, &m) != want)
		fail(e->name, what);
}

static void set_len(u8 *bytes, u32 len)
{
	memcpy(bytes, &len, sizeof(len));
}

/* The receiver takes the example and refuses it cut short, too long, with unknown flags, from the wrong sender. */
static void check_receiver(const struct example *e)
{
	const struct op_row *row;
	struct msg_hdr h;
	static u8 copy[MSG_MAX_LEN + 8] __attribute__((aligned(8)));

	memcpy(&h, e->bytes, sizeof(h));
	row = op_row(h.op);
	bool reply = h.flags & MSG_REPLY;
	struct frame_rights rights = {.from = row->from, .replies = true, .session = SESSION}, none = {.session = SESSION};
	u32 least = (u32)sizeof(h) + (reply ? row->rep_len : row->req_len), most = least + (reply ? row->max_rep_data : row->max_req_data);

	memcpy(copy, e->bytes, e->len);
	expect(e, copy, e->len, &rights, 0, "is not accepted");
	expect(e, copy, e->len, &none, -WIRE_UNAUTHORISED, "is accepted from anybody");
	if (row->cls == OP_ONCE && !reply) {
		rights.session++;
		expect(e, copy, e->len, &rights, -WIRE_UNAUTHORISED, "is accepted in another's session");
		rights.session--;
	}
	copy[6] |= 0x80;
	expect(e, copy, e->len, &rights, -WIRE_BAD_MESSAGE, "is accepted with an unknown flag");
	copy[6] ^= 0x80;
	set_len(copy, least - 1);
	expect(e, copy, least - 1, &rights, -WIRE_BAD_MESSAGE, "is accepted cut short");
	if (most < MSG_MAX_LEN) {
		set_len(copy, most);
		expect(e, copy, most, &rights, 0, "is refused at its greatest length");
		set_len(copy, most + 1);
		expect(e, copy, most + 1, &rights, -WIRE_BAD_MESSAGE, "is accepted too long");
	}
}

int main(int argc, char **argv)
{
	make_examples();
	if (argc == 3 && !strcmp(argv[1], "--write"))
		return write_file(argv[2]);
	if (argc != 2) {
		fprintf(stderr, "usage: vectors [--write] FILE\n");
		return 2;
	}
	check_file(argv[1]);
	u32 rows;

	op_rows(&rows);
	for (u32 i = 0; i < 2 * rows; i++)
		check_receiver(&examples[i]);
	printf("vectors: %u messages, %u failures\n", nexamples, failures);
	return failures != 0;
}
