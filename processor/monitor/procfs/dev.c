/* The root of the local trees, and /dev: the devices of the vNode's sandbox. */
#include "processor/monitor/procfs/local.h"

#define END {.name = NULL}
#define DEV(n) {.name = n, .kind = LOCAL_HOST}

static const struct node dev_nodes[] = {
	DEV("full"),
	{.name = "fd", .kind = LOCAL_LINK, .fixed = "/proc/self/fd"},
	{.name = "mqueue", .kind = LOCAL_HOSTDIR},
	DEV("null"),
	DEV("ptmx"),
	{.name = "pts", .kind = LOCAL_HOSTDIR},
	DEV("random"),
	{.name = "shm", .kind = LOCAL_HOSTDIR},
	{.name = "stderr", .kind = LOCAL_LINK, .fixed = "/proc/self/fd/2"},
	{.name = "stdin", .kind = LOCAL_LINK, .fixed = "/proc/self/fd/0"},
	{.name = "stdout", .kind = LOCAL_LINK, .fixed = "/proc/self/fd/1"},
	DEV("tty"),
	DEV("urandom"),
	DEV("zero"),
	END,
};

static const struct node top[] = {
	{.name = "dev", .kind = LOCAL_DIR, .perm = 0755, .child = dev_nodes},
	{.name = "proc", .kind = LOCAL_DIR, .child = proc_nodes, .find = proc_find, .next = proc_next, .number = offsetof(struct local, pid)},
	{.name = "sys", .kind = LOCAL_DIR, .child = sys_nodes},
	END,
};
const struct node local_root = {.kind = LOCAL_DIR, .child = top};
