/* ELF: what is accepted, and how segments become mappings. Every number of the file is checked before use. */
#include <elf.h>
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/boot/elf.h"
#include "processor/monitor/file/file.h"
#include "processor/monitor/vm/vm.h"

#define PIE_BASE 0x555555554000ull
#define MAX_PHNUM 64
#define MAP_MAX (1ull << 46)

static const Elf64_Phdr *headers(const u8 *head, s64 len, u32 *count)
{
	const Elf64_Ehdr *e = (const void *)head;

	if (len < (s64)sizeof(*e) || memcmp(e->e_ident, ELFMAG, SELFMAG) || e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_machine != EM_X86_64)
		return NULL;
	if ((e->e_type != ET_EXEC && e->e_type != ET_DYN) || e->e_phentsize != sizeof(Elf64_Phdr) || !e->e_phnum || e->e_phnum > MAX_PHNUM)
		return NULL;
	if (e->e_phoff > (u64)len || e->e_phnum * sizeof(Elf64_Phdr) > (u64)len - e->e_phoff)
		return NULL;
	*count = e->e_phnum;
	return (const void *)(head + e->e_phoff);
}

static s64 check_elf(struct program *p)
{
	u32 n;
	const Elf64_Phdr *ph = headers(p->head, p->head_len, &n);
	bool load = false;

	if (!ph)
		return -ENOEXEC;
	for (u32 i = 0; i < n; i++) {
		if (ph[i].p_type == PT_LOAD) {
			load = true;
			if (ph[i].p_memsz < ph[i].p_filesz || ph[i].p_memsz > MAP_MAX || ph[i].p_vaddr > MAP_MAX ||
			    (ph[i].p_vaddr & LINE_MASK) != (ph[i].p_offset & LINE_MASK))
				return -ENOEXEC;
		}
		if (ph[i].p_type != PT_INTERP)
			continue;
		if (ph[i].p_filesz < 2 || ph[i].p_filesz > sizeof(p->interp))
			return -ENOEXEC;
		s64 r = file_pread(p->file, p->interp, ph[i].p_filesz, ph[i].p_offset);

		if (r != (s64)ph[i].p_filesz || p->interp[ph[i].p_filesz - 1])
			return -ENOEXEC;
	}
	return load ? 0 : -ENOEXEC;
}

static char *prefix_add(struct program *p, const char *s, u64 len)
{
	char *at = p->prefix_text + p->prefix_used;

	if (p->prefix_used + len + 1 > sizeof(p->prefix_text) || p->nprefix == ARRAY_SIZE(p->prefix))
		return NULL;
	memcpy(at, s, len);
	at[len] = 0;
	p->prefix_used += (u32)len + 1;
	return at;
}

/* "#! interpreter [one argument]": they go before what is already there. */
static s64 script_line(struct program *p, const char **interp)
{
	const char *s = (const char *)p->head + 2, *end = (const char *)p->head + MIN(p->head_len, 256);
	const char *eol = s;

	while (eol < end && *eol != '\n')
		eol++;
	while (s < eol && (*s == ' ' || *s == '\t'))
		s++;
	const char *word = s;

	while (s < eol && *s != ' ' && *s != '\t')
		s++;
	if (s == word)
		return -ENOEXEC;
	char *name = prefix_add(p, word, (u64)(s - word)), *arg = NULL;

	while (s < eol && (*s == ' ' || *s == '\t'))
		s++;
	while (eol > s && (eol[-1] == ' ' || eol[-1] == '\t'))
		eol--;
	if (eol > s)
		arg = prefix_add(p, s, (u64)(eol - s));
	char *script = prefix_add(p, p->path, strlen(p->path));

	if (!name || !script)
		return -ENOEXEC;
	/* A script run by a script: its own path replaces argv[0] of the inner line, which is what prefix already starts with. */
	char *tail[2 * SCRIPT_DEPTH];
	u32 ntail = p->nprefix ? p->nprefix - 1 : 0, n = 0;

	memcpy(tail, p->prefix + 1, ntail * sizeof(char *));
	p->prefix[n++] = name;
	if (arg)
		p->prefix[n++] = arg;
	p->prefix[n++] = script;
	for (u32 i = 0; i < ntail && n < ARRAY_SIZE(p->prefix); i++)
		p->prefix[n++] = tail[i];
	p->nprefix = n;
	*interp = name;
	return 0;
}

s64 program_open(struct thread *t, const char *path, struct program *p)
{
	p->nprefix = p->prefix_used = 0;
	p->interp[0] = 0;
	for (u32 depth = 0; depth < SCRIPT_DEPTH; depth++) {
		s64 r = file_open_exec(t, path, &p->file);

		if (r < 0)
			return r;
		if (str_copy(p->path, path, sizeof(p->path)) >= sizeof(p->path)) {
			program_close(p);
			return -ENAMETOOLONG;
		}
		p->head_len = file_pread(p->file, p->head, sizeof(p->head), 0);
		if (p->head_len < 0) {
			r = p->head_len;
			program_close(p);
			return r;
		}
		if (p->head_len < 2 || p->head[0] != '#' || p->head[1] != '!') {
			r = check_elf(p);
			if (r)
				program_close(p);
			return r;
		}
		r = script_line(p, &path);
		program_close(p);
		if (r)
			return r;
	}
	return -ELOOP;
}

void program_close(struct program *p)
{
	if (p->file)
		file_put(p->file);
	p->file = NULL;
}

/* ---------------------------------------------------------------- mapping */

static u64 random_pages(u32 bits)
{
	u64 r = 0;

	host(SYSNR(getrandom), &r, 8, 0);
	return (r & ((1ull << bits) - 1)) << LINE_SHIFT;
}

static u32 segment_prot(u32 flags)
{
	return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
}

static s64 map_segment(struct thread *t, struct file *f, const Elf64_Phdr *ph, u64 base)
{
	u64 start = ALIGN_DOWN(base + ph->p_vaddr, LINE_SIZE), lead = (base + ph->p_vaddr) - start;
	u64 file_end = base + ph->p_vaddr + ph->p_filesz, mem_end = base + ph->p_vaddr + ph->p_memsz;
	u64 file_page_end = ALIGN_UP(file_end, LINE_SIZE), mem_page_end = ALIGN_UP(mem_end, LINE_SIZE);
	u32 prot = segment_prot(ph->p_flags);
	s64 r = 0;

	if (ph->p_filesz) {
		r = vm_mmap(t, start, lead + ph->p_filesz, prot, MAP_PRIVATE | MAP_FIXED, f, ph->p_offset - lead);
		if (r < 0)
			return r;
	} else {
		file_page_end = start;
	}
	if (mem_page_end > file_page_end) {
		r = vm_mmap(t, file_page_end, mem_page_end - file_page_end, prot, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, NULL, 0);
		if (r < 0)
			return r;
	}
	if (ph->p_memsz > ph->p_filesz && ph->p_filesz && prot & PROT_WRITE && file_page_end > file_end)
		r = zero_user(file_end, file_page_end - file_end);
	return r < 0 ? r : 0;
}

s64 elf_map(struct thread *t, struct file *f, const u8 *head, s64 head_len, bool interp, struct image *out)
{
	const Elf64_Ehdr *e = (const void *)head;
	u64 lo = ~0ull, hi = 0, base = 0;
	u32 n;
	const Elf64_Phdr *ph = headers(head, head_len, &n);

	if (!ph)
		return -ENOEXEC;
	for (u32 i = 0; i < n; i++)
		if (ph[i].p_type == PT_LOAD) {
			lo = MIN(lo, ALIGN_DOWN(ph[i].p_vaddr, LINE_SIZE));
			hi = MAX(hi, ALIGN_UP(ph[i].p_vaddr + ph[i].p_memsz, LINE_SIZE));
		}
	if (e->e_type == ET_DYN) {
		/* Reserve the whole range first, so that segments lie together. */
		u64 hint = interp ? 0 : PIE_BASE + random_pages(28);
		s64 r = vm_mmap(t, hint, hi - lo, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, NULL, 0);

		if (r < 0)
			return r;
		base = (u64)r - lo;
	}
	for (u32 i = 0; i < n; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		s64 r = map_segment(t, f, &ph[i], base);

		if (r < 0)
			return r;
	}
	*out = (struct image){.base = base + lo, .entry = base + e->e_entry, .phent = e->e_phentsize, .phnum = e->e_phnum, .end = base + hi};
	for (u32 i = 0; i < n; i++) {
		if (ph[i].p_type == PT_PHDR)
			out->phdr = base + ph[i].p_vaddr;
		else if (!out->phdr && ph[i].p_type == PT_LOAD && ph[i].p_offset <= e->e_phoff && e->e_phoff < ph[i].p_offset + ph[i].p_filesz)
			out->phdr = base + ph[i].p_vaddr + (e->e_phoff - ph[i].p_offset);
	}
	return 0;
}
