/* Simulation of a whole cluster under faults. Each seed is run twice and must give the same trace. Usage: sim [FIRST [COUNT [LOG]]]
 *
 * A seed's scenario is seed % SCENARIOS; what must hold in all of them: no crash, no hang, equal traces, and at the end nothing of any
 * program is left: no address space, no committed byte, no process in the manager's view. Where frames are not corrupted, every fetched
 * line is the newest acknowledged one and every append happened exactly once. Where nothing cuts connections, no honest program dies. */
#include "program.h"

#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rules.h"

struct scenario {
	const char *name;
	struct loop_faults faults;
	struct crowd_opts crowd;
	bool may_die; /* honest programs */
	u32 kills;    /* nodes killed and revived meanwhile */
	struct world_opts world;
	u32 drains;   /* memory nodes drained meanwhile */
	bool blinds;  /* kills are of the manager, which may also be cut off, and nodes stand still */
};

#define MS NSEC_PER_MSEC
#define US NSEC_PER_USEC
static const struct scenario scenarios[] = {
	{"calm", {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS}, {.programs = 10, .steps = 400, .check_contents = true}, false, 0},
	{"lossy",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 5000, .duplicate = 10000},
	 {.programs = 8, .steps = 400, .check_contents = true, .reads = true},
	 false,
	 0},
	{"slow and doubled",
	 {.delay_min_ns = 1 * MS, .delay_max_ns = 600 * MS, .duplicate = 100000},
	 {.programs = 5, .steps = 100, .check_contents = true},
	 false,
	 0},
	{"cut", {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .cut = 500}, {.programs = 12, .steps = 400, .check_contents = true, .reads = true}, true, 0},
	{"hostile programs",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS},
	 {.programs = 14, .steps = 400, .hostile = 7, .check_contents = true},
	 false,
	 0},
	{"kills",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 1000, .duplicate = 1000, .cut = 50},
	 {.programs = 12, .steps = 400, .check_contents = true, .reads = true},
	 true,
	 8},
	{"corrupt",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .corrupt = 2000},
	 {.programs = 12, .steps = 400, .check_contents = false},
	 true,
	 0},
	{"spread",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS},
	 {.programs = 10, .steps = 400, .check_contents = true},
	 false,
	 0,
	 {.spread = true}},
	{"spread and lossy",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 5000, .duplicate = 20000},
	 {.programs = 8, .steps = 400, .check_contents = true},
	 false,
	 0,
	 {.spread = true}},
	{"spread and full",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 1000, .duplicate = 5000},
	 {.programs = 12, .steps = 400, .check_contents = true, .may_be_full = true},
	 true, /* an exec that finds no room ends its program, and what that started */
	 0,
	 {.spread = true, .memory_bytes = 4 * MIB}},
	{"spread and kills",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 1000, .duplicate = 1000, .cut = 50},
	 {.programs = 12, .steps = 400, .check_contents = true, .nodes_die = true},
	 true,
	 8,
	 {.spread = true}},
	{"replicated",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 1000, .duplicate = 5000},
	 {.programs = 8, .steps = 400, .check_contents = true, .replicas = 1},
	 false,
	 0},
	{"replicated and kills",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 500, .duplicate = 2000},
	 {.programs = 8, .steps = 3000, .check_contents = true, .replicas = 1},
	 false,
	 8},
	{"replicated and two faults",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 500, .duplicate = 2000},
	 {.programs = 8, .steps = 3000, .check_contents = true, .replicas = 1},
	 true, /* owner and standby may be lost together; but no wrong byte */
	 8,
	 {.two_faults = true}},
	{"spread and drained",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 1000, .duplicate = 5000},
	 {.programs = 8, .steps = 3000, .check_contents = true, .moves = true},
	 false,
	 0,
	 {.spread = true},
	 10},
	{"drained",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 500, .duplicate = 2000},
	 {.programs = 8, .steps = 3000, .check_contents = true, .moves = true},
	 false,
	 0,
	 {0},
	 8},
	{"replicated and drained",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 500, .duplicate = 2000},
	 {.programs = 8, .steps = 3000, .check_contents = true, .replicas = 1},
	 false,
	 0,
	 {0},
	 8},
	{"replicated and blind",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 500, .duplicate = 2000},
	 {.programs = 8, .steps = 3000, .check_contents = true, .replicas = 1},
	 false,
	 8,
	 {0},
	 0,
	 true},
	{"spread and rebalanced",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 1000, .duplicate = 5000},
	 {.programs = 8, .steps = 3000, .check_contents = true, .moves = true},
	 false,
	 0,
	 {.spread = true, .rebalance = 2},
	 0},
	{"spread, rebalanced and drained",
	 {.delay_min_ns = 5 * US, .delay_max_ns = 2 * MS, .drop = 500, .duplicate = 2000},
	 {.programs = 8, .steps = 3000, .check_contents = true, .moves = true},
	 false,
	 0,
	 {.spread = true, .rebalance = 2},
	 4},
};
#define SCENARIOS ARRAY_SIZE(scenarios)
#define SEEDS 100u /* of an ordinary run (meson.build) */

struct outcome {
	u64 hash, violations;
	struct loop_stats stats;
	u32 done, failed, dead;
};

static u64 violations; /* of the run at hand, beside the programs' own */

static void must_hold(bool ok, u64 seed, const char *what)
{
	if (ok)
		return;
	violations++;
	fprintf(stderr, "seed %llu (%s): %s\n", (unsigned long long)seed, scenarios[seed % SCENARIOS].name, what);
}

/* ---- kills and partitions */

/* The second fault comes when a new standby is perhaps filled, perhaps not, and while an owner may not know that it is none any more. */
static void second_fault(struct world *w, const u32 dice[3], enum who first)
{
	enum who who = (enum who)(M0 + (first - M0 + 1 + dice[0] / 64 % (WORLD_MEMORIES - 1)) % WORLD_MEMORIES);
	const char *filling = NULL;
	if (dice[1] / 2048 & 1)
		loop_run(w->loop, dice[1] / 4096 % 400 * MS);
	else
		for (u32 i = 0; i < 1400 && !(filling = gm_filling_owner(w->gm)); i++)
			loop_run(w->loop, MS / 2);
	if (filling) { /* in the middle: who has nothing yet says so, who has a part of it must not be asked */
		loop_run(w->loop, dice[0] / 4096 % 16 * MS / 2);
		who = (enum who)(M0 + filling[1] - '0');
	}
	world_kill(w, who);
	loop_run(w->loop, 100 * MS + dice[2] / 4096 % 1000 * MS);
	world_revive(w, who);
}

/* Kills and partitions of memory nodes, one at a time, each with time to fill a new standby. What programs do meanwhile must not show it. */
static void kill_members(struct world *w, struct crowd *c, u32 kills)
{
	for (u32 i = 0; i < kills && crowd_busy(c); i++) {
		u32 dice[3];
		c->env->random(c->env->ctx, dice, sizeof(dice));
		enum who who = (enum who)(M0 + dice[0] % WORLD_MEMORIES);
		loop_run(w->loop, dice[1] % 300 * MS);
		if (dice[1] >> 16 & 1) { /* the manager loses sight of it: a lapsed lease, and an owner that does not know */
			loop_sever(w->loop, w->node[GM], w->node[who], true);
			loop_run(w->loop, 200 * MS + dice[2] % (w->opts.two_faults ? 1500 : 4000) * MS);
			if (w->opts.two_faults)
				second_fault(w, dice, who);
			loop_sever(w->loop, w->node[GM], w->node[who], false);
		} else {
			world_kill(w, who);
			if (w->opts.two_faults)
				second_fault(w, dice, who);
			else
				loop_run(w->loop, dice[2] % 2000 * MS);
			world_revive(w, who);
		}
		loop_run(w->loop, 1500 * MS);
		crowd_more(c, 2);
	}
}

static void sever_manager(struct world *w, bool pd, bool on)
{
	for (enum who who = M0; who <= M2; who++)
		loop_sever(w->loop, w->node[GM], w->node[who], on);
	if (pd)
		loop_sever(w->loop, w->node[GM], w->node[P0], on);
}

/* A memory node dies, and the manager within a second, which may not have noticed or not said so; each comes back in its own time. */
static void both_die(struct world *w, struct crowd *c, enum who memory)
{
	u32 dice[3];
	c->env->random(c->env->ctx, dice, sizeof(dice));
	u64 apart_ns = dice[0] / 4096 % (dice[0] & 1 ? 1000 : 220) * MS, memory_ns = dice[1] / 1024 % 3500 * MS, manager_ns = dice[2] / 1024 % 3500 * MS;
	world_kill(w, memory);
	loop_run(w->loop, apart_ns);
	world_kill(w, GM);
	for (u64 at = 0, to; at < MAX(memory_ns, manager_ns); at = to) {
		to = at < MIN(memory_ns, manager_ns) ? MIN(memory_ns, manager_ns) : MAX(memory_ns, manager_ns);
		loop_run(w->loop, to - at);
		world_revive(w, to == memory_ns ? memory : GM);
	}
	world_revive(w, memory);
	world_revive(w, GM);
	loop_run(w->loop, 5 * NSEC_PER_SEC); /* a lease in which nobody is blamed, then a new standby */
}

/* What nobody may lose anything by: nodes that stand still, one after the other, and a manager that sees nobody, stands still or dies, also when
 * an owner has just died. */
static void blind(struct world *w, struct crowd *c, u32 times)
{
	for (u32 i = 0; i < times && crowd_busy(c); i++) {
		u32 dice[3];
		c->env->random(c->env->ctx, dice, sizeof(dice));
		u64 long_ns = 100 * MS + dice[1] / 1024 % 4000 * MS;
		loop_run(w->loop, dice[1] % 300 * MS);
		switch (dice[0] % 5) {
		case 0:
			sever_manager(w, dice[2] & 1, true);
			loop_run(w->loop, long_ns);
			sever_manager(w, dice[2] & 1, false);
			break;
		case 1:
			loop_pause(w->loop, w->node[dice[2] & 1 ? GM : P0], long_ns);
			loop_run(w->loop, long_ns);
			break;
		case 2:
			loop_pause(w->loop, w->node[M0 + dice[2] % WORLD_MEMORIES], long_ns);
			loop_run(w->loop, long_ns);
			break;
		case 3:
			world_kill(w, GM);
			loop_run(w->loop, long_ns);
			world_revive(w, GM);
			break;
		case 4:
			both_die(w, c, (enum who)(M0 + dice[2] % WORLD_MEMORIES));
			break;
		}
		loop_run(w->loop, 2500 * MS);
		crowd_more(c, 2);
	}
}

static void kill_some(struct world *w, struct crowd *c, u32 kills)
{
	for (u32 i = 0; i < kills && crowd_busy(c); i++) {
		u32 dice[3];
		c->env->random(c->env->ctx, dice, sizeof(dice));
		enum who who = (enum who)(GM + dice[0] % (P0 + 1)), other = (enum who)(GM + dice[0] / 16 % (P0 + 1));
		loop_run(w->loop, dice[1] % 100 * MS);
		if (who != other && dice[1] & 1) {
			loop_sever(w->loop, w->node[who], w->node[other], true);
			loop_run(w->loop, dice[2] % 5000 * MS);
			loop_sever(w->loop, w->node[who], w->node[other], false);
		} else {
			world_kill(w, who);
			loop_run(w->loop, dice[2] % 500 * MS);
			world_revive(w, who);
		}
		loop_run(w->loop, 300 * MS);
		crowd_more(c, 4);
	}
}

/* ---- drains */

struct watched {
	const struct world *w;
	enum who who;
	bool spaces;
	const struct crowd *c;
};

static bool still_held(void *arg)
{
	const struct watched *x = arg;
	struct md_stat st;
	md_stat(x->w->md[x->who - M0], &st);
	return st.committed_bytes || (x->spaces && st.spaces);
}

/* Memory nodes are drained, one at a time, sometimes not to the end. */
static void drain_some(struct world *w, struct crowd *c, u64 seed, u32 drains)
{
	for (u32 i = 0; i < drains && crowd_busy(c); i++) {
		u32 dice[3];
		c->env->random(c->env->ctx, dice, sizeof(dice));
		struct watched x = {w, (enum who)(M0 + dice[0] % WORLD_MEMORIES), c->opts.replicas || (c->opts.moves && !w->opts.spread), c};
		loop_run(w->loop, dice[1] % 100 * MS);
		world_drain(w, x.who, true);
		if (dice[2] & 1)
			loop_run(w->loop, dice[2] % 500 * MS);
		else
			must_hold(loop_run_while(w->loop, still_held, &x, 60 * NSEC_PER_SEC), seed, "a drained node is not empty");
		world_drain(w, x.who, false);
		crowd_more(c, 2);
	}
}

/* ---- what must hold at the end */

static bool memory_empty(const struct world *w)
{
	struct md_stat st;
	for (u32 i = 0; i < WORLD_MEMORIES; i++) {
		md_stat(w->md[i], &st);
		if (st.spaces || st.committed_bytes || st.held_bytes || st.readers)
			return false;
	}
	return true;
}

static bool memory_in_use(void *w)
{
	return !memory_empty(w);
}

/* Where something is left, if it is. */
static void show_memory(const struct world *w)
{
	struct md_stat st;
	for (u32 i = 0; i < WORLD_MEMORIES; i++) {
		md_stat(w->md[i], &st);
		if (st.spaces || st.committed_bytes || st.held_bytes || st.readers)
			fprintf(stderr, "m%u holds %llu address spaces, %llu readers, %llu bytes committed, %llu held\n", i,
				(unsigned long long)st.spaces, (unsigned long long)st.readers, (unsigned long long)st.committed_bytes,
				(unsigned long long)st.held_bytes);
	}
}

static void check_deaths(const struct crowd *c, u64 seed)
{
	for (u32 i = 0; i < c->nprogs; i++) {
		const struct program *p = &c->prog[i];
		if (p->state != PROG_DEAD || p->hostile)
			continue;
		violations++;
		fprintf(stderr, "seed %llu (%s): program %u died: %s\n", (unsigned long long)seed, scenarios[seed % SCENARIOS].name, i, p->why);
	}
}

static void check_files(struct world *w, struct crowd *c, u64 seed)
{
	crowd_verify_files(c);
	must_hold(loop_run_while(w->loop, crowd_busy, c, 60 * NSEC_PER_SEC), seed, "the files are not read in 60 s");
	must_hold(c->prog[c->nprogs - 1].state == PROG_DONE || c->nprogs == MAX_PROGRAMS, seed, "the files cannot be read");
}

/* The manager sees every node up, by its last start, and no process. Where frames are corrupted a node may believe in a term that never was, and obey
 * nobody: plain frames have no checksum of their own. */
static void check_status(struct world *w, const struct scenario *s, u64 seed)
{
	json_t *top, *k;
	size_t i;
	const char *text = world_status(w);
	must_hold(text, seed, "the manager gives no status");
	top = text ? json_loads(text, 0, NULL) : NULL;
	must_hold(json_array_size(json_object_get(top, "components")) == P0 + 1, seed, "the manager does not know every node");
	json_array_foreach(json_object_get(top, "components"), i, k) {
		char what[96];
		snprintf(what, sizeof(what), "the manager sees %s, which is up, as %s", json_string_value(json_object_get(k, "id")),
			 json_string_value(json_object_get(k, "state")));
		must_hold(!s->crowd.check_contents || !strcmp(json_string_value(json_object_get(k, "state")), "up"), seed, what);
	}
	must_hold(!json_array_size(json_object_get(top, "processes")), seed, "the manager still sees a process");
	json_decref(top);
}

static void check_end(struct world *w, struct crowd *c, const struct scenario *s, u64 seed)
{
	loop_set_faults(w->loop, NULL);
	for (int who = GM; who <= P0; who++)
		world_revive(w, (enum who)who);
	must_hold(loop_run_while(w->loop, crowd_busy, c, 120 * NSEC_PER_SEC), seed, "programs do not end");
	crowd_end_all(c);
	loop_run(w->loop, 15 * NSEC_PER_SEC); /* what is under way in pd meets its deadline */
	if (!s->may_die)
		check_deaths(c, seed);
	if (s->crowd.check_contents)
		check_files(w, c, seed);
	world_close_stray_fds(w);
	loop_run(w->loop, 3 * NSEC_PER_SEC); /* beats */
	check_status(w, s, seed);
	if (!s->crowd.check_contents) /* a destroy that was corrupted on its way is made up for by the lease */
		world_kill(w, P0);
	must_hold(loop_run_while(w->loop, memory_in_use, w, 60 * NSEC_PER_SEC), seed, "memory of programs that ended is not freed");
	show_memory(w);
}

/* What the programs wait for that do not end. */
static void show_busy(const struct crowd *c)
{
	for (u32 i = 0; i < c->nprogs; i++) {
		const struct program *p = &c->prog[i];
		const struct link *l = &p->link;
		if (p->state >= PROG_DONE)
			continue;
		fprintf(stderr, "program %u: state %d, asid %llu, %u steps left, chain %u epoch %u known %d linked %d mem %llx standby %llx, calls:", i,
			p->state, (unsigned long long)p->asid, p->steps, l->chain, l->info.epoch, l->known, l->linked, (unsigned long long)p->mem,
			(unsigned long long)l->standby);
		for (u32 k = 0; k < CALLS; k++)
			if (p->call[k].active)
				fprintf(stderr, " %s to %llx", op_row(p->call[k].hdr.op)->name, (unsigned long long)p->call[k].to);
		fprintf(stderr, "\n");
	}
}

/* ---- runs */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static struct outcome run(u64 seed, u32 log_level)
{
	const struct scenario *s = &scenarios[seed % SCENARIOS];
	char dir[] = "/tmp/lego-sim-XXXXXX";
	struct outcome o = {0};
	if (!mkdtemp(dir)) {
		perror(dir);
		exit(1);
	}
	violations = 0;
	struct world *w = world_new(seed, &s->world, &s->faults, dir, log_level);
	loop_run(w->loop, 500 * MS); /* everybody registers */
	struct crowd *c = crowd_new(w, &s->crowd);
	if (s->blinds)
		blind(w, c, s->kills);
	else if (s->crowd.replicas)
		kill_members(w, c, s->kills);
	else
		kill_some(w, c, s->kills);
	drain_some(w, c, seed, s->drains);
	bool end = loop_run_while(w->loop, crowd_busy, c, 120 * NSEC_PER_SEC);
	must_hold(end, seed, "programs hang");
	if (!end)
		show_busy(c);
	check_end(w, c, s, seed);
	o.hash = loop_trace_hash(w->loop);
	o.stats = *loop_stats(w->loop);
	o.violations = violations + c->violations;
	o.done = crowd_count(c, PROG_DONE);
	o.failed = crowd_count(c, PROG_FAILED);
	o.dead = crowd_count(c, PROG_DEAD);
	if (log_level >= LOG_WARN)
		for (u32 i = 0; i < c->nprogs; i++)
			fprintf(stderr, "program %u: state %d %s\n", i, c->prog[i].state, c->prog[i].why ? c->prog[i].why : "");
	printf("seed %llu %s: %llu frames (%llu dropped, %llu doubled, %llu corrupted, %llu cut, %llu refused), programs %u done %u failed %u dead, "
	       "%llu+%llu lines, %llu layouts, %llu forks, %llu execs, %llu appends, %llu files, %llu reads elsewhere, %llu moved, %llu KiB rebalanced\n",
	       (unsigned long long)seed, s->name, (unsigned long long)o.stats.delivered, (unsigned long long)o.stats.dropped,
	       (unsigned long long)o.stats.duplicated, (unsigned long long)o.stats.corrupted, (unsigned long long)o.stats.cut,
	       (unsigned long long)(o.stats.bad + o.stats.unauthorised), o.done, o.failed, o.dead, (unsigned long long)c->did.lines_written,
	       (unsigned long long)c->did.lines_read, (unsigned long long)c->did.layouts, (unsigned long long)c->did.forks,
	       (unsigned long long)c->did.execs, (unsigned long long)c->did.appends, (unsigned long long)c->did.files_checked,
	       (unsigned long long)c->did.reads, (unsigned long long)c->did.moved, (unsigned long long)(gm_rebalanced(w->gm) / KIB));
	crowd_free(c);
	world_free(w);
	nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return o;
}

#ifdef LEGO_RULES
/* A build in which rules of the protocol can be switched off: each must then be missed. A run notices by a violation, an assertion or a hang. */
u32 rules_off;

static const struct {
	const char *name;
	enum rule rule;
	const char *scenario;
} rules[] = {
	{"a stale standby is promoted", RULE_SYNC, "replicated and two faults"},
	{"a retry replaces a newer write", RULE_VERSION, "replicated"},
	{"a paused owner is obeyed", RULE_EPOCH, "replicated and two faults"},
	{"a layout operation is answered half-done", RULE_MIRROR, "replicated and kills"},
	{"the source of a move takes lines while they are read", RULE_SEAL, "spread and drained"},
	{"the target of a move serves before it has all", RULE_WHOLE, "spread and drained"},
	{"the source of a move goes on serving", RULE_DROP, "spread and drained"},
	{"whom the manager does not hear has lost its memory", RULE_SILENCE, "replicated and blind"},
	{"a home moves before its space is copied", RULE_JOINED, "drained"},
};

static bool noticed(u64 seed)
{
	fflush(NULL);
	pid_t pid = fork();
	int status = 0;
	if (!pid) {
		if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout))
			_exit(0);
		alarm(60);
		_exit(run(seed, LOG_ERROR).violations != 0);
	}
	return waitpid(pid, &status, 0) == pid && status;
}

static u64 seed_of(const char *scenario, u64 n)
{
	u64 i = 0;
	while (strcmp(scenarios[i].name, scenario))
		i++;
	return i + n * SCENARIOS;
}

/* How many of the first seeds notice: with the rule none, without it at least one. */
int main(int argc, char **argv)
{
	u64 most = argc > 1 ? strtoull(argv[1], NULL, 10) : 48, bad = 0;
	for (u32 i = 0; i < ARRAY_SIZE(rules); i++) {
		u64 n = 0, with = seed_of(rules[i].scenario, 0);
		rules_off = 0;
		bad += noticed(with);
		rules_off = rules[i].rule;
		while (n < most && !noticed(seed_of(rules[i].scenario, n)))
			n++;
		bad += n == most;
		printf("%s: %s after %llu seeds\n", rules[i].name, n == most ? "NOT NOTICED" : "noticed", (unsigned long long)(n + (n < most)));
	}
	printf("%u rules, %llu bad\n", (u32)ARRAY_SIZE(rules), (unsigned long long)bad);
	return bad ? 1 : 0;
}
#else
int main(int argc, char **argv)
{
	u64 first = argc > 1 ? strtoull(argv[1], NULL, 10) : 0, count = argc > 2 ? strtoull(argv[2], NULL, 10) : 2 * SCENARIOS, bad = 0;
	const char *longer = getenv("LEGO_TEST_SEEDS"); /* in all: this run's share is as much larger */
	if (longer && argc > 2) {
		u64 times = MAX(strtoull(longer, NULL, 10) / SEEDS, 1ull);
		first *= times;
		count *= times;
	}
	u32 log_level = argc > 3 ? (u32)atoi(argv[3]) : LOG_ERROR;
	for (u64 seed = first; seed < first + count; seed++) {
		struct outcome a = run(seed, log_level), b = run(seed, LOG_ERROR);
		if (a.hash != b.hash)
			fprintf(stderr, "seed %llu: two runs differ: %016llx %016llx\n", (unsigned long long)seed, (unsigned long long)a.hash,
				(unsigned long long)b.hash);
		bad += a.violations || b.violations || a.hash != b.hash;
	}
	printf("%llu seeds, %llu bad\n", (unsigned long long)count, (unsigned long long)bad);
	return bad ? 1 : 0;
}
#endif
