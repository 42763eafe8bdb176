/* Programs and their interpreters as ELF files in the vNode. */
#ifndef LEGO_MONITOR_ELF_H
#define LEGO_MONITOR_ELF_H

#include "processor/monitor/mon.h"

#define PROGRAM_HEAD 4096 /* bytes read of a file's start: header, program headers, or the #! line */
#define SCRIPT_DEPTH 5

struct program { /* what exec and start-up found out before anything was changed */
	struct file *file;
	u8 head[PROGRAM_HEAD];
	s64 head_len;
	char interp[256]; /* ELF interpreter, or empty */
	char path[WIRE_PATH_MAX];
	/* scripts: what precedes the program's own arguments */
	u32 nprefix;
	char *prefix[2 * SCRIPT_DEPTH];
	char prefix_text[2 * SCRIPT_DEPTH * 256];
	u32 prefix_used;
};

/* Opens and checks path (relative to the working directory, or absolute), following #! lines. 0, or -ENOENT, -EACCES, -ENOEXEC, -ELOOP … */
s64 program_open(struct thread *t, const char *path, struct program *p);
void program_close(struct program *p);

struct image {
	u64 base, entry, phdr, phent, phnum, end; /* end: of the highest segment */
};
/* Maps an opened ELF. interp: map at a free place even when it names none. */
s64 elf_map(struct thread *t, struct file *f, const u8 *head, s64 head_len, bool interp, struct image *out);

#endif
