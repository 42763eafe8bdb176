/* pd's logic in a made-up world: time stands until it is moved; peers agree to everything unless told otherwise; descriptors are numbers
 * that are counted. Everything pd causes waits in a queue until world_pump. */
#ifndef LEGO_TESTS_NODE_WORLD_H
#define LEGO_TESTS_NODE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "processor/node/pd.h"

enum answer { ANSWER_OK, ANSWER_NOTHING, ANSWER_STATUS };

struct event { /* to be delivered to pd */
	struct event *next;
	enum { EV_OPENED, EV_DIALLED, EV_CLOSED, EV_FRAME, EV_STARTED } what;
	conn_id conn;
	struct hello hello;
	struct msg_hdr hdr;
	u32 body_len, vnode;
	u64 body[512];
};

struct answer_row {
	u16 op;
	enum answer answer;
	s32 status;
};

struct reply { /* what pd answered to a request of the test's */
	bool came;
	struct msg_hdr hdr;
	u64 body[64];
	u32 body_len;
	char text[256]; /* variable part of PD_RUN */
	int fd[16];
	u32 nfds;
};

struct link {			  /* a connection */
	char addr[WIRE_ADDR_MAX]; /* of outgoing ones */
	bool open, control;
	struct reply reply; /* last one pd sent here */
	struct hello hello;
};

struct world {
	struct node_env env;
	struct pd_host host;
	struct pd *pd;
	u64 now_ns, seed;
	struct event *first, **last;
	struct link link[4096]; /* by conn_id */
	u32 nlinks;
	struct answer_row row[16];
	u32 nrows;
	char down[4][WIRE_ADDR_MAX]; /* addresses that refuse */
	u64 incarnation;	     /* of all peers */
	char now_at[WIRE_ADDR_MAX];  /* GM_NODE: where whoever is asked for was started again */
	bool fd_open[65536];
	int nfds, fds_open;
	bool sandbox_fails;
	u32 asked[0x500]; /* requests pd sent, by opcode */
	u64 destroyed[4096];
	u32 ndestroyed;
	u64 next_asid;
	u64 tag;
	struct view_node view_node[8]; /* of the manager's view */
	u32 nview;
	u64 view; /* its number; 0: it sends none */
	u32 readers_begun, readers_ended; /* as memory nodes were told */
	struct mem_reader_req reader;	  /* the last such request */
	struct chain_info chain; /* of programs that are placed; id 0: none */
	u32 pagers; /* that run */
	bool pager_idle;
};

struct world *world_new(void);
void world_free(struct world *w); /* pd too; fails when a descriptor is left open */
/* Delivers what waits, and what that causes. */
void world_pump(struct world *w);
bool world_pump_one(struct world *w);
/* Moves time, in steps that ticks ask for. */
void world_pass(struct world *w, u64 ns);
void world_answer(struct world *w, u16 op, enum answer a, s32 status);
void world_down(struct world *w, const char *addr);
void world_up(struct world *w);
/* Closes every connection to addr, as when the peer died. */
void world_cut(struct world *w, const char *addr);
void world_close(struct world *w, conn_id c); /* the other side closed */
conn_id world_admin(struct world *w);	      /* a new connection of the command line */
void world_ask(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len);
struct reply *world_reply(struct world *w, conn_id c);
bool world_was_destroyed(const struct world *w, u64 asid);
void world_close_fds(struct world *w, struct reply *r);

#endif
