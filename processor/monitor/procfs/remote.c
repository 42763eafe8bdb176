/* /proc of the vNode's processes on other pComponents: as much as ps and pgrep read. The broker keeps the list for a moment. */
#include "base/string.h"
#include "processor/monitor/procfs/local.h"
#include "processor/monitor/task/task.h"

/* The one with the smallest pid >= n. */
static bool first_from(struct thread *t, u64 n, struct remote_proc *p)
{
	struct pd_procs_req req = {.from = (u32)n};
	struct pd_procs_rep rep = {0};
	struct pd_call c = {.op = OP_PD_PROCS, .req = &req, .req_len = sizeof(req), .rep = &rep, .rep_len = sizeof(rep)};

	if (pd_call(t->task, &c) < 0 || !rep.count)
		return false;
	*p = rep.proc[0];
	p->command[sizeof(p->command) - 1] = 0;
	return true;
}

static bool of(const struct text *x, const struct local *l, struct remote_proc *p)
{
	return first_from(x->t, l->pid, p) && p->pid == l->pid;
}

static void stat_text(struct text *x, const struct local *l)
{
	struct remote_proc p;

	if (of(x, l, &p))
		text_add(x, "%u (%s) S 1 %u %u 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0 %lu 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
			 p.pid, p.command, p.pid, p.pid, p.resident_bytes / LINE_SIZE);
}

static void status_text(struct text *x, const struct local *l)
{
	struct remote_proc p;

	if (of(x, l, &p))
		text_add(x, "Name:\t%s\nState:\tS (sleeping)\nTgid:\t%u\nNgid:\t0\nPid:\t%u\nPPid:\t1\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"
			    "VmRSS:\t%8lu kB\nThreads:\t1\n",
			 p.command, p.pid, p.pid, p.resident_bytes / 1024);
}

static void statm_text(struct text *x, const struct local *l)
{
	struct remote_proc p;

	if (of(x, l, &p))
		text_add(x, "%lu %lu 0 0 0 0 0\n", p.resident_bytes / LINE_SIZE, p.resident_bytes / LINE_SIZE);
}

static void comm_text(struct text *x, const struct local *l)
{
	struct remote_proc p;

	if (of(x, l, &p))
		text_add(x, "%s\n", p.command);
}

static void cmdline_text(struct text *x, const struct local *l)
{
	struct remote_proc p;

	if (of(x, l, &p))
		text_bytes(x, p.command, strlen(p.command) + 1);
}

#define TEXT(n, fn) {.name = n, .kind = LOCAL_TEXT, .text = fn}
static const struct node nodes[] = {
	TEXT("cmdline", cmdline_text), TEXT("comm", comm_text), TEXT("stat", stat_text), TEXT("statm", statm_text), TEXT("status", status_text),
	{.name = NULL},
};
static const struct node remote_pid = {.kind = LOCAL_DIR, .child = nodes};

const struct node *proc_remote_find(struct thread *t, u64 n)
{
	struct remote_proc p;

	return n > 1 && first_from(t, n, &p) && p.pid == n ? &remote_pid : NULL;
}

s64 proc_remote_next(struct thread *t, u64 n)
{
	struct remote_proc p;

	return first_from(t, n, &p) ? (s64)p.pid : -1;
}
