/* What the files of pd's operations share: how a step ends, and the steps that open channels (pd_op_chan.c). */
#ifndef LEGO_NODE_PD_OP_H
#define LEGO_NODE_PD_OP_H

#include "processor/node/pd_int.h"

#define PLACE_RETRY_NS (100 * NSEC_PER_MSEC)

enum step_result { STEP_NEXT, STEP_WAIT, STEP_END };
typedef enum step_result step_fn(struct pd *pd, struct op *op);

/* ---- pd_op.c */
void pd_op_end(struct pd *pd, struct op *op); /* it was answered; what it made and did not hand over is undone */
bool pd_op_at_ids(const struct op *op);	      /* it waits for a number */
enum step_result pd_op_asked_peer(struct pd *pd, struct op *op, const struct peer *p, int rc);
void pd_op_peer_is_down(struct pd *pd, struct op *op, const struct peer *p); /* the op fails */
enum step_result pd_op_gm_fails(struct pd *pd, struct op *op, s32 status);
struct op *pd_op_called_back(void *arg); /* NULL: it has failed meanwhile */
void pd_op_satisfied(struct pd *pd, struct op *op);
enum step_result pd_op_asked_gm(struct pd *pd, struct op *op, int rc);

/* ---- pd_op_step.c */
step_fn pd_step_ids, pd_step_place, pd_step_sandbox, pd_step_tree, pd_step_share, pd_step_create, pd_step_clone;

/* ---- pd_op_finish.c */
step_fn pd_finish_run, pd_finish_fork, pd_finish_vfork, pd_finish_exec, pd_finish_channel, pd_finish_shm, pd_finish_info;
step_fn pd_step_pager_ids, pd_step_pager_create, pd_step_pager_channels, pd_step_status;

/* ---- pd_op_chan.c */
/* A program that runs waits for a storage node that is started again; one that is only to start is told. */
bool pd_op_outlives_storage(const struct op *op);
step_fn pd_step_channels, pd_step_channel, pd_step_node, pd_step_reader;

#endif
