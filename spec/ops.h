/* The opcode table, spec/ops.def, as constants and rows. */
#ifndef LEGO_SPEC_OPS_H
#define LEGO_SPEC_OPS_H

#include "spec/wire.h"

enum lego_op {
#define OP(num, NAME, from, cls, req, rep, max_req, max_rep, timeout) OP_##NAME = num,
#include "spec/ops.def"
#undef OP
};

enum op_from { FROM_C = 1, FROM_S = 2, FROM_V = 4, FROM_A = 8, FROM_P = 16, FROM_R = 32 };
enum op_class { OP_PURE, OP_VERSIONED, OP_ONCE };

struct op_row {
	u16 op;
	u8 from; /* enum op_from */
	u8 cls;  /* enum op_class */
	u32 req_len, rep_len;           /* of the fixed structs, bytes */
	u32 max_req_data, max_rep_data; /* bytes */
	u32 timeout_ms;
	const char *name;
};

/* The row of op, or NULL. */
const struct op_row *op_row(u16 op);
const struct op_row *op_rows(u32 *count);
/* The place of op, which has a row, among op_rows. */
u32 op_index(u16 op);
const char *store_word(u32 kind); /* enum store_kind: "dram" …; else "" */

#endif
