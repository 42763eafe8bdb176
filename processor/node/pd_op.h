/* What the files of pd's operations share: how a step ends, and the steps that open channels (pd_op_chan.c). */
#ifndef LEGO_NODE_PD_OP_H
#define LEGO_NODE_PD_OP_H

#include "processor/node/pd_int.h"

#define PLACE_RETRY_NS (100 * NSEC_PER_MSEC)

enum step_result { STEP_NEXT, STEP_WAIT, STEP_END };
typedef enum step_result step_fn(struct pd *pd, struct op *op);

/* ---- pd_op.c */
void pd_op_peer_is_down(struct pd *pd, struct op *op, const struct peer *p); /* the op fails */
enum step_result pd_op_gm_fails(struct pd *pd, struct op *op, s32 status);
struct op *pd_op_called_back(void *arg); /* NULL: it has failed meanwhile */
void pd_op_satisfied(struct pd *pd, struct op *op);
enum step_result pd_op_asked_gm(struct pd *pd, struct op *op, int rc);

/* ---- pd_op_chan.c */
/* A program that runs waits for a storage node that is started again; one that is only to start is told. */
bool pd_op_outlives_storage(const struct op *op);
step_fn pd_step_channels, pd_step_channel, pd_step_node;

#endif
