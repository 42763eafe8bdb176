/* An sd in a temporary directory, and a client that calls it as a program's monitor would, one request at a time. */
#ifndef LEGO_TESTS_STORAGE_WORLD_H
#define LEGO_TESTS_STORAGE_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/sd.h"

#define VN	  7u
#define PATH_ROOM 8192

struct world {
	char dir[64]; /* holds data/, lower/, bind/ */
	char path[PATH_ROOM];
	struct node_env env;
	struct sd_config cfg;
	struct sd *sd;
	u64 now_ns, seed;
	conn_id next_conn, admin, conn; /* conn: of the program that calls */
	u64 session;
	u32 slot, seq[SESSION_SLOTS]; /* of the once requests that follow */
	u16 op_flags;		      /* for the next call: MSG_ONCE is added by itself */
	bool bind_ro;
	bool with_bind;
	u64 quota; /* of the vNode */
	/* the last reply */
	s32 status;
	u32 replies, body_len;
	_Alignas(8) u8 body[MSG_MAX_LEN];
	conn_id closed; /* last connection closed by the sd */
	struct msg_hdr asked; /* the last request of the sd's own, and whom */
	conn_id asked_of;
	u64 held_tag; /* of a request that world_post sent */
	/* the last request, to be sent again */
	struct msg_hdr last_hdr;
	_Alignas(8) u8 last_body[MSG_MAX_LEN];
	u32 last_fixed, last_data;
};

/* lower/ and bind/ exist and are empty; nothing is defined. */
int world_setup(void **state);
int world_teardown(void **state);
void world_start(struct world *w);
void world_stop(struct world *w);
/* A new sd on the same data, as after kill -9; the program's channel is opened again. */
void world_restart(struct world *w);
/* Defines the vNode: lower/, and with_bind: bind/ at /bind. */
void world_define(struct world *w);
conn_id world_channel(struct world *w, u8 role, u32 vnode, u32 uid);
/* The host's path of something below w->dir. */
const char *at(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void host_file(struct world *w, const char *rel, const char *text, u32 mode);
void host_dir(struct world *w, const char *rel, u32 mode);
void host_link(struct world *w, const char *rel, const char *target);

/* ---- requests; they return the status */
s32 call(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len);
/* Only delivers it: the reply may come later. */
void world_post(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len);
/* The same message once more (a new tag). */
s32 call_again(struct world *w, conn_id c);
s32 path_call(struct world *w, u16 op, const char *p1, const char *p2, u32 flags, u32 mode, u64 arg);
const struct sd_open_rep *opened(struct world *w);
const char *reply_text(struct world *w, u32 fixed_len); /* variable part, NUL-ended */

s32 t_stat(struct world *w, const char *path); /* follows */
s32 t_lstat(struct world *w, const char *path);
s32 t_open(struct world *w, const char *path, int flags, u32 mode, struct file_ref *ref);
s64 t_read(struct world *w, const struct file_ref *ref, u64 off, void *buf, u64 len);
s64 t_write(struct world *w, const struct file_ref *ref, u64 off, const void *buf, u64 len, u32 flags);
s32 t_io(struct world *w, u16 op, const struct file_ref *ref, u64 off, u64 len, u32 flags);
s32 t_mkdir(struct world *w, const char *path);
s32 t_unlink(struct world *w, const char *path);
s32 t_rmdir(struct world *w, const char *path);
s32 t_rename(struct world *w, const char *from, const char *to, u64 flags);
s32 t_link(struct world *w, const char *from, const char *to);
s32 t_symlink(struct world *w, const char *path, const char *target);
s32 t_readlink(struct world *w, const char *path, char buf[PATH_ROOM]);
s32 t_chmod(struct world *w, const char *path, u32 mode);
/* Makes or overwrites a file; 0 or the failing status. */
s32 t_put(struct world *w, const char *path, const char *text);
/* Reads a small file; "" and the status on failure. */
s32 t_get(struct world *w, const char *path, char buf[PATH_ROOM]);
void expect_text(struct world *w, const char *path, const char *text);

/* All names of a directory ("." and ".." too), in order; chunk: bytes a request. NULL-ended; free with names_free. */
char **t_list(struct world *w, const char *path, u32 chunk, u32 *count, s32 *status);
void names_free(char **names);
bool in_list(char **names, const char *name);

/* path is there, and is known as `to` when links are followed. */
void resolves(struct world *w, const char *path, const char *to);

#define READY(state)                                                                                                                       \
	struct world *w = *(state);                                                                                                        \
	world_define(w)

u64 world_rand(u64 *seed);

#endif
