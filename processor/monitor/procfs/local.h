/* The vNode's /proc, /sys and /dev: trees of nodes, made here, that no storage node has.
 *
 * A node is a directory, a text, a link, or stands for the same path of the sandbox's own /proc or /dev (HOST). What depends on a
 * process or fd number takes it from struct local. */
#ifndef LEGO_MONITOR_LOCAL_H
#define LEGO_MONITOR_LOCAL_H

#include "processor/monitor/file/fs.h"

enum local_kind { LOCAL_DIR, LOCAL_TEXT, LOCAL_LINK, LOCAL_MAGIC, LOCAL_HOST, LOCAL_HOSTDIR };

struct local;
struct text { /* a text on its way into a memfd */
	int fd;
	u32 len;
	char *buf; /* PATH_SLOT bytes */
	s64 error;
	struct thread *t;
};
void text_add(struct text *x, const char *fmt, ...);
void text_bytes(struct text *x, const void *p, u64 len);

typedef void text_fn(struct text *x, const struct local *l);
typedef s64 store_fn(struct thread *t, const struct local *l, const char *s, u64 len);
typedef s64 link_fn(struct thread *t, const struct local *l, char *out, u64 cap); /* length */

struct node {
	const char *name;
	u8 kind;  /* enum local_kind */
	u16 perm; /* 0: 0444 for texts, 0555 for directories */
	text_fn *text;
	link_fn *link;
	const struct node *child; /* ends with a NULL name */
	/* Numbered children, beside `child`. find: the node of number n, or NULL; next: the smallest number >= n, or -1. */
	const struct node *(*find)(struct thread *t, const struct local *l, u64 n);
	s64 (*next)(struct thread *t, const struct local *l, u64 n);
	const char *prefix; /* of numbered names: "cpu" */
	u32 number;         /* which number of struct local they set: offsetof */
	const char *fixed;  /* text without a function, or the target of a link */
	bool swallow;       /* may be opened for writing: what is written goes nowhere, */
	store_fn *store;    /* or here: each write is one value. 0 or -errno */
};

#define LOCAL_DEPTH 16
struct local { /* where a walk stands */
	const struct node *node; /* at[depth - 1] */
	const struct node *at[LOCAL_DEPTH];
	u32 end[LOCAL_DEPTH]; /* length of path up to that node */
	u32 depth;
	u64 pid, tid, fd, cpu; /* numbers on the way */
	char path[512];        /* normalised, of the node */
	u32 len;
};

extern const struct node local_root, proc_nodes[], sys_nodes[];
const struct node *proc_find(struct thread *t, const struct local *l, u64 n);
s64 proc_next(struct thread *t, const struct local *l, u64 n);
/* remote.c: of other pComponents. */
const struct node *proc_remote_find(struct thread *t, u64 n);
s64 proc_remote_next(struct thread *t, u64 n);

/* Walks w->path. 0 with *l, -errno, or -WIRE_REDIRECT with w set: the path left the local trees. */
s64 local_walk(struct thread *t, struct where *w, bool follow, struct local *l);
/* A decimal number that a program wrote: 0 and *out, or -EINVAL. */
s64 local_number(const char *s, u64 len, s64 lo, s64 hi, s64 *out);
u64 local_ino(const struct local *l);
s64 local_list(struct thread *t, const struct local *l, u32 flags); /* fd of the directory's listing */
s64 local_text(struct thread *t, const struct local *l, u32 flags); /* fd of the text */

#endif
