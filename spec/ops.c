/* The opcode table as data. */
#include "spec/ops.h"

#include "base/types.h"

struct nothing {
	u8 none[0];
};

#define C FROM_C
#define S FROM_S
#define V FROM_V
#define A FROM_A
#define P FROM_P
#define MAX_DATA MSG_MAX_DATA
#define MAX_LINES ((u32)(FETCH_MAX_LINES * LINE_SIZE))
#define MAX_WB ((u32)(FETCH_MAX_LINES * (LINE_SIZE + sizeof(struct wb_line))))
#define MAX_PATH WIRE_PATH_MAX
#define MAX_PATH2 (2u * WIRE_PATH_MAX)
#define PURE OP_PURE
#define VERSIONED OP_VERSIONED
#define ONCE OP_ONCE

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

const struct op_row *op_row(u16 op)
{
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].op == op)
			return &rows[i];
	return NULL;
}
