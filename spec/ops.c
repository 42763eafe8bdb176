/* The opcode table as data. */
#include "spec/ops.h"

#include "base/types.h"

struct nothing {
	u8 none[0];
};

#define C	  FROM_C
#define S	  FROM_S
#define V	  FROM_V
#define A	  FROM_A
#define P	  FROM_P
#define R	  FROM_R
#define MAX_DATA  MSG_MAX_DATA
#define MAX_LINES ((u32)(FETCH_MAX_LINES * LINE_SIZE))
#define MAX_WB	  ((u32)(WB_MAX_LINES * (LINE_SIZE + sizeof(struct wb_line))))
#define MAX_PATH  WIRE_PATH_MAX
#define MAX_PATH2 (2u * WIRE_PATH_MAX)
#define PURE	  OP_PURE
#define VERSIONED OP_VERSIONED
#define ONCE	  OP_ONCE

enum row_number {
#define OP(num, NAME, from_, cls_, req, rep, max_req, max_rep, timeout) ROW_##NAME,
#include "spec/ops.def"
#undef OP
};

static const struct op_row rows[] = {
#define OP(num, NAME, from_, cls_, req, rep, max_req, max_rep, timeout)                                                                    \
	{.op = (num),                                                                                                                      \
	 .from = (from_),                                                                                                                  \
	 .cls = (cls_),                                                                                                                    \
	 .req_len = sizeof(struct req),                                                                                                    \
	 .rep_len = sizeof(struct rep),                                                                                                    \
	 .max_req_data = (max_req),                                                                                                        \
	 .max_rep_data = (max_rep),                                                                                                        \
	 .timeout_ms = (timeout),                                                                                                          \
	 .name = #NAME},
#include "spec/ops.def"
#undef OP
};

const struct op_row *op_rows(u32 *count)
{
	*count = ARRAY_SIZE(rows);
	return rows;
}

/* Two rows with one number do not compile. */
static void __attribute__((unused)) numbers_differ(u16 op)
{
	switch (op) {
#define OP(num, NAME, from_, cls_, req, rep, max_req, max_rep, timeout)                                                                    \
	case num:                                                                                                                          \
		break;
#include "spec/ops.def"
#undef OP
	}
}

/* Row number + 1 by group (high byte) and low byte. */
#define OP_GROUPS 5
#define OP_LOWS	  0x50
static const u8 row_of[OP_GROUPS][OP_LOWS] = {
#define OP(num, NAME, from_, cls_, req, rep, max_req, max_rep, timeout) [(num) >> 8][(num)&0xff] = ROW_##NAME + 1,
#include "spec/ops.def"
#undef OP
};
_Static_assert(ARRAY_SIZE(rows) < 255, "row numbers fit a byte");

const struct op_row *op_row(u16 op)
{
	u32 group = op >> 8, low = op & 0xff;

	if (group >= OP_GROUPS || low >= OP_LOWS || !row_of[group][low])
		return NULL;
	return &rows[row_of[group][low] - 1];
}

u32 op_index(u16 op)
{
	return row_of[op >> 8][op & 0xff] - 1u;
}

const char *store_word(u32 kind)
{
	static const char *const words[STORE_KINDS] = {"", "dram", "compressed", "file", "spill"};

	return kind < STORE_KINDS ? words[kind] : "";
}
