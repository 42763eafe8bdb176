/* vm/ and excache/ together over the fake host and memory node: random accesses and layout operations against a model of what each page
 * holds; the bound is checked at every step. One process per shape, as the state is global. */
#include <linux/mman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "processor/monitor/vm/map.h"
#include "tests/unit/excache/fake.h"

#define ERR_PRESENT 1ull
#define ERR_WRITE   2ull
#define PAGES	    4096u /* of the model: the lower part of the program's range */
#define AREA	    (MON_END)

struct shape {
	u64 bytes;
	u32 assoc, policy;
	bool move;
	struct fake_faults faults;
	u64 max; /* what it may grow to; 0: bytes */
};

static struct {
	bool mapped;
	u8 prot;
	u32 generation; /* 0: zeros */
	u32 fresh;	/* generation that it has when nobody wrote to it */
} model[PAGES];
static u32 generations;
static u64 capacity;
static u32 steps = 6000;
static u32 faults, write_faults; /* misses, and writes to lines that were protected */

static u64 addr_of(u32 page)
{
	return AREA + page * LINE_SIZE;
}

static bool may(u32 prot, bool write)
{
	return write ? prot & PROT_WRITE : prot != PROT_NONE;
}

/* What the processor and the monitor do for one access. */
static enum fault_result one_access(u64 addr, bool write, struct fake_page **page)
{
	for (u32 tries = 0; tries < 100000; tries++) {
		struct fake_page *p = fake_page(addr);
		enum fault_result r;

		if (!may(p->prot, write))
			r = vm_segv(&fake_thread, addr, write ? ERR_WRITE : 0);
		else if (!p->bytes) {
			faults++;
			r = vm_fault(&fake_thread, addr, write ? ERR_WRITE : 0);
		} else if (write && p->wp) {
			write_faults++;
			r = vm_fault(&fake_thread, addr, ERR_WRITE | ERR_PRESENT);
		} else {
			*page = p;
			return FAULT_OK;
		}
		if (r != FAULT_OK)
			return r;
	}
	fake_fail("no progress at %lx", addr);
}

static void touch(u32 page, bool write)
{
	struct fake_page *p = NULL;
	enum fault_result r, want = !model[page].mapped ? FAULT_MAPERR : may(model[page].prot, write) ? FAULT_OK : FAULT_ACCERR;

	fake_thread.fault_rip = fake_random(50);
	r = one_access(addr_of(page), write, &p);
	if (r != want)
		fake_fail("access to page %u (write %d): %d, should be %d", page, write, r, want);
	if (r != FAULT_OK)
		return;
	u64 *w = (u64 *)p->bytes;

	for (u32 i = 0; i < LINE_SIZE / 8; i += 37)
		if (w[i] != fake_word(model[page].generation, i))
			fake_fail("page %u word %u is %lx, should be of generation %u", page, i, w[i], model[page].generation);
	if (!write)
		return;
	model[page].generation = fake_random(8) ? ++generations : 0;
	for (u32 i = 0; i < LINE_SIZE / 8; i++)
		w[i] = fake_word(model[page].generation, i);
}

static void check_bound(void)
{
	u64 present = fake_present();

	if (present > capacity)
		fake_fail("%lu pages exist, the budget is %lu", present, capacity);
	if (bound_held() && present > ec.lines_now + ec.nspare + ec.slots_now)
		fake_fail("%lu pages exist, %lu bytes are the bound of the moment", present, ec.bytes_now);
}

/* pd says another share; sometimes the process gives back at once, else as it misses. */
static void bound_op(const struct shape *s)
{
	u64 max = MAX(s->max, s->bytes), bytes = max / 4 + fake_random((u32)(max / LINE_SIZE)) * LINE_SIZE;

	bound_set(MIN(bytes, max));
	if (ec.bytes_now >= 64 * LINE_SIZE && (ec.lines_now + ec.nspare + ec.slots_now) * LINE_SIZE > ec.bytes_now)
		fake_fail("a bound of %lu bytes allows %u lines and %u slots", ec.bytes_now, ec.lines_now, ec.slots_now);
	if (fake_random(2))
		return;
	for (u32 i = 0; i < 100 && !bound_held(); i++)
		bound_shed();
	if (!bound_held())
		fake_fail("lines beyond the bound of %lu bytes stay", ec.bytes_now);
	check_bound();
}

/* ---------------------------------------------------------------- layout operations */

static void model_map(u32 first, u32 n, u32 prot)
{
	for (u32 p = first; p < first + n; p++) {
		model[p].mapped = true;
		model[p].prot = (u8)prot;
		model[p].generation = model[p].fresh = 0;
	}
}

static bool model_covered(u32 first, u32 n)
{
	for (u32 p = first; p < first + n; p++)
		if (!model[p].mapped)
			return false;
	return true;
}

static void must(s64 r, s64 want, const char *what)
{
	if (r != want)
		fake_fail("%s gave %ld, should be %ld", what, r, want);
}

static void op_map(u32 first, u32 n)
{
	static const u32 prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE};
	u32 prot = prots[fake_random(4)];

	must(vm_mmap(&fake_thread, addr_of(first), n * LINE_SIZE, prot,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (fake_random(3) ? 0 : MAP_NORESERVE), NULL, 0),
	     (s64)addr_of(first), "mmap");
	model_map(first, n, prot);
}

static void op_map_file(u32 first, u32 n)
{
	u32 off = fake_random(1000), prot = fake_random(2) ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC;
	struct vma file = {.flags = VMA_FILE, .file_off = off * LINE_SIZE, .file_len = n * LINE_SIZE};
	struct map_args m = {.addr = addr_of(first), .len = n * LINE_SIZE, .prot = prot, .flags = MAP_PRIVATE | MAP_FIXED, .fd = -1};

	must(map_private(&m, &file), (s64)addr_of(first), "mmap of a file");
	model_map(first, n, prot);
	for (u32 i = 0; i < n; i++)
		model[first + i].generation = model[first + i].fresh = FILE_GENERATION + off + i;
}

static void op_unmap(u32 first, u32 n)
{
	must(vm_munmap(&fake_thread, addr_of(first), n * LINE_SIZE), 0, "munmap");
	for (u32 p = first; p < first + n; p++)
		model[p].mapped = false;
}

static void op_protect(u32 first, u32 n)
{
	static const u32 prots[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC,
				    PROT_READ | PROT_WRITE | PROT_EXEC};
	u32 prot = prots[fake_random(5)];
	bool covered = model_covered(first, n);

	must(vm_mprotect(&fake_thread, addr_of(first), n * LINE_SIZE, prot), covered ? 0 : -ENOMEM, "mprotect");
	for (u32 p = first; p < first + n && model[p].mapped; p++) /* what lies before a hole changes */
		model[p].prot = (u8)prot;
}

static void op_discard(u32 first, u32 n)
{
	u64 a[6] = {addr_of(first), n * LINE_SIZE, MADV_DONTNEED};

	must(sys_madvise(&fake_thread, a), model_covered(first, n) ? 0 : -ENOMEM, "madvise");
	for (u32 p = first; p < first + n; p++)
		model[p].generation = model[p].fresh;
}

/* To a place of the model's choosing; the range must be one mapping, which the result tells. */
static void op_move(u32 first, u32 n)
{
	u32 to = fake_random(PAGES - 64), new_n = 1 + fake_random(60);
	u64 a[6] = {addr_of(first), n * LINE_SIZE, new_n * LINE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, addr_of(to)};

	if (to < first + n && first < to + new_n)
		return;
	s64 r = sys_mremap(&fake_thread, a);

	if (r == -EFAULT)
		return;
	must(r, (s64)addr_of(to), "mremap");
	u32 keep = MIN(n, new_n), prot = model[first].prot;

	model_map(to, new_n, prot);
	for (u32 i = 0; i < keep; i++) {
		model[to + i].generation = model[first + i].generation;
		model[to + i].fresh = model[first + i].fresh;
	}
	for (u32 i = keep, last = model[first + keep - 1].fresh; i < new_n && last; i++)
		model[to + i].generation = model[to + i].fresh = last + (i - keep) + 1;
	for (u32 p = first; p < first + n; p++)
		model[p].mapped = false;
}

static void layout_op(void)
{
	u32 first = fake_random(PAGES - 64), n = 1 + fake_random(60);

	switch (fake_random(7)) {
	case 0:
	case 1:
		op_map(first, n);
		break;
	case 6:
		op_map_file(first, n);
		break;
	case 2:
		op_unmap(first, n);
		break;
	case 3:
		op_protect(first, n);
		break;
	case 4:
		op_discard(first, n);
		break;
	default:
		op_move(first, n);
		break;
	}
}

static void heap_op(void)
{
	static u64 top;
	u64 want = mon.brk_start + fake_random(200) * 1000;

	must(vm_brk(&fake_thread, want), (s64)want, "brk");
	if (want > top)
		top = want;
}

/* ---------------------------------------------------------------- runs */

static void stream(void)
{
	u32 n = ec.window < 16 ? 40 : 40 + fake_random(160), first = fake_random(PAGES - n), write = fake_random(2), down = fake_random(2);

	for (u32 i = 0; i < n; i++)
		touch(down ? first + n - 1 - i : first + i, write);
}

#define TOUCHES 20000u

/* Touches at random among more pages than there is room for. The write faults of the last half, in per cent of the touches. */
static u32 write_faults_of(bool read, bool write)
{
	for (u32 i = 0; i < TOUCHES; i++) {
		u32 page = fake_random(2000);

		if (i == TOUCHES / 2)
			write_faults = 0;
		if (read)
			touch(page, false);
		if (write)
			touch(page, true);
	}
	return write_faults * 100 / (TOUCHES / 2);
}

/* What is always written after it was read soon costs no fault for that; what was written once, and is only read since, is not sent again
 * and again. A stream downwards brings lines along as one upwards does. */
static void learning(void)
{
	fake_seed(5);
	fake_start(2 * MIB, 0, 0, POLICY_SFIFO, true, true);
	must(vm_mmap(&fake_thread, AREA, PAGES * LINE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0),
	     (s64)AREA, "mmap");
	model_map(0, PAGES, PROT_READ | PROT_WRITE);
	u32 share = write_faults_of(true, true);

	if (share > 40)
		fake_fail("%u %% of reads that are followed by a write cost a second fault", share);
	write_faults_of(true, false);
	u64 sent = mon_counters[CNT_WRITEBACK_LINES];

	write_faults_of(true, false);
	if ((sent = mon_counters[CNT_WRITEBACK_LINES] - sent) > TOUCHES / 20)
		fake_fail("%lu lines sent that nobody wrote to", sent);
	fake_thread.fault_rip = 1;
	faults = 0;
	for (u32 p = 1000; p > 600; p--)
		touch(p - 1, false);
	if (faults > 200)
		fake_fail("%u misses in 400 lines from high to low", faults);
}

static void run(const struct shape *s, u64 seed)
{
	if (!s->bytes) {
		learning();
		return;
	}
	fake_seed(seed);
	fake_start(s->bytes, s->max, s->assoc, s->policy, s->move, true);
	fake_faults = s->faults;
	capacity = ec.nlines + ec.nspare + ec.nslots;
	if (capacity * LINE_SIZE > MAX(s->bytes, s->max))
		fake_fail("%lu lines in %lu bytes", capacity, s->bytes);
	must(vm_mmap(&fake_thread, AREA, PAGES * LINE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0),
	     (s64)AREA, "mmap");
	model_map(0, PAGES, PROT_READ | PROT_WRITE);
	for (u32 i = 0; i < steps; i++) {
		u32 what = fake_random(200);

		fake_threads = i / 256 % 4 == 3;
		if (what == 0)
			layout_op();
		else if (what == 1)
			ring_help(fake_random(40));
		else if (what == 2)
			heap_op();
		else if (what == 3 && !fake_random(10))
			fake_fork();
		else if (what == 4 && !s->assoc) /* a set keeps a line at least */
			bound_op(s);
		else if (what < 20) /* a stream */
			stream();
		else
			touch(fake_random(what < 100 ? 300 : PAGES), fake_random(2));
		check_bound();
	}
	for (u32 p = 0; p < PAGES; p++)
		touch(p, false);
	if (ec.window >= 16 && ec.block_shift && mon_counters[CNT_AHEAD] <= 2 * mon_counters[CNT_AHEAD_UNUSED])
		fake_fail("%lu windows asked for ahead of need, %lu of them in vain", mon_counters[CNT_AHEAD], mon_counters[CNT_AHEAD_UNUSED]);
}

/* test-excache [SEED [STEPS]] */
int main(int argc, char **argv)
{
	static const struct shape shapes[] = {
	    {400 * KIB, 0, POLICY_SFIFO, true, {0}},
	    {400 * KIB, 0, POLICY_SFIFO, false, {0}},
	    {300 * KIB, 1, POLICY_SFIFO, true, {0}},
	    {400 * KIB, 1, POLICY_FIFO, false, {.skip = 10, .no_vector = true}},
	    {600 * KIB, 4, POLICY_CLOCK, true, {.move_busy = 5, .move_partial = 7}},
	    {2 * MIB, 0, POLICY_SFIFO, true, {.move_busy = 20, .move_after = 20, .skip = 5, .timeout = 9}},
	    {5 * MIB, 16, POLICY_RANDOM, true, {.move_after = 3}},
	    {6 * MIB, ~0u, POLICY_CLOCK, true, {.skip = 3}},
	    {6 * MIB, 64, POLICY_FIFO, true, {.move_partial = 3}},
	    {MIB, 0, POLICY_SFIFO, true, {.move_partial = 3, .skip = 9}, 8 * MIB},
	    {512 * KIB, 0, POLICY_CLOCK, false, {.move_busy = 5}, 4 * MIB},
	    {600 * KIB, 0, POLICY_LRU, true, {.skip = 7}},
	    {8 * MIB, 0, POLICY_SFIFO, true, {0}},
	    {10 * MIB, 0, POLICY_SFIFO, true, {.move_busy = 20, .move_after = 20, .skip = 9, .timeout = 9}},
	    {0, 0, 0, false, {0}}, /* learning() */
	};
	u64 seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 11;
	int bad = 0;

	if (argc > 2)
		steps = (u32)atoi(argv[2]);

	for (u32 i = 0; i < ARRAY_SIZE(shapes); i++) {
		int status;

		fflush(stdout);
		pid_t pid = fork();

		if (pid == 0) {
			fake_owners = i > 0;
			run(&shapes[i], seed * 100 + i);
			_exit(0);
		}
		waitpid(pid, &status, 0);
		printf("%s shape %u\n", status ? "not ok" : "ok", i);
		bad += status != 0;
	}
	return bad != 0;
}
