/* A daemon's line to the manager: dials, registers, beats, registers again when the manager forgot, dials again when the line broke.
 * Logic only (clock, peers and randomness through node_env), so it runs over rpc/loop too.
 *
 * The owner forwards its node_ops events; each forwarder returns true when the event was the link's:
 *	opened:  if (gm_link_opened(link, c)) return;
 *	message: if (gm_link_message(link, c, m)) return;
 *	closed:  if (gm_link_closed(link, c)) return;
 *	tick:    next = MIN(next, gm_link_tick(link, now));
 * A manager that is away changes nothing for the owner but that gm_link_call answers -WIRE_DOWN. */
#ifndef LEGO_RPC_GM_LINK_H
#define LEGO_RPC_GM_LINK_H

#include "rpc/node.h"

struct gm_link;

struct gm_link_config {
	const char *gm_addr;  /* copied; several managers, of which one leads, with commas between */
	u8 kind;	      /* enum component_kind of the owner */
	const char *name;     /* wanted id; "" lets the manager choose */
	const char *own_addr; /* where others dial the owner */
	const char *labels;   /* NULL: none; stays the caller's */
	u64 incarnation;
	u64 total_bytes;
	u32 host_pid, cores;
	void *self; /* the owner, for the callbacks and for gm_link_call's done */
	/* Registered: the first time and after each reconnection. rep->name is the owner's id. */
	void (*registered)(void *self, const struct gm_register_rep *rep);
	/* The manager refused (-EEXIST: another live component has the name, …). The link tries again by itself. May be NULL. */
	void (*refused)(void *self, s32 status);
	/* Fills used_bytes, total_bytes, state and nproc (incarnation is set); a pd points *procs at nproc records. May be NULL: COMP_UP.
	 */
	void (*beat)(void *self, struct gm_beat_req *beat, const struct proc_report **procs);
	/* A new view of the memory nodes came with a beat's answer (a beat says in `view` which one is known). May be NULL. */
	void (*viewed)(void *self, u64 view, const struct view_node *nodes, u32 n);
	/* The manager says something of its own accord; nothing is answered. May be NULL. */
	void (*told)(void *self, const struct msg *m);
};

#define GM_LINK_MAX_PROCS (MSG_MAX_DATA / sizeof(struct proc_report)) /* in one beat */

#define GM_ADDRS_MAX (8 * WIRE_ADDR_MAX)
/* The i-th address of a list of them. False: there is none. */
bool gm_addr_at(const char *list, u32 i, char addr[WIRE_ADDR_MAX]);

struct gm_link *gm_link_new(const struct node_env *env, const struct gm_link_config *cfg);
void gm_link_free(struct gm_link *l);
bool gm_link_opened(struct gm_link *l, conn_id c);
bool gm_link_message(struct gm_link *l, conn_id c, const struct msg *m);
bool gm_link_closed(struct gm_link *l, conn_id c);
/* Starts the first dial too. Returns when it wants to be called next. */
u64 gm_link_tick(struct gm_link *l, u64 now_ns);

bool gm_link_up(const struct gm_link *l);      /* registered, line open */
u64 gm_link_term(const struct gm_link *l);     /* highest seen */
u32 gm_link_lease_ms(const struct gm_link *l); /* 0: not registered yet */
/* Beats at the next tick (state changed, a process came or went). */
void gm_link_beat_soon(struct gm_link *l);
/* A request to the manager (GM_PLACE, GM_IDS, GM_VNODE). done(cfg.self, arg, …) once; or an error is returned and it is not called. */
int gm_link_call(struct gm_link *l, u16 op, const void *fixed, u32 fixed_len, node_call_done *done, void *arg);
/* What it last told the manager, and whether that hears it. */
void gm_link_metrics(const struct gm_link *l, struct metrics *m);
const char *gm_link_unhealthy(const struct gm_link *l);
/* Tells the manager that the owner leaves on purpose (best effort, at SIGTERM). */
void gm_link_leave(struct gm_link *l);

#endif
