/* lego md: the memory component. Owns address spaces: their ranges, their lines, their charge; serves fetches and write-backs; fills
 * file mappings from the storage component. Logic only, stepped by events (rpc/node.h). */
#ifndef LEGO_MEMORY_MD_H
#define LEGO_MEMORY_MD_H

#include "memory/page_store.h"
#include "rpc/node.h"

struct md_config {
	const char *name;     /* "m0"; "" lets the manager choose */
	const char *gm_addr;  /* NULL: no manager */
	const char *own_addr; /* what is registered */
	const char *labels;   /* NULL: none */
	u64 incarnation;
	u64 memory_bytes;    /* everything pages may take: programs and file cache */
	u64 cache_bytes;     /* of that, for file pages; 0: an eighth, at most 256 MiB */
	struct page_store *store; /* taken, also when md_new fails; NULL: memory_bytes of dram */
	u8 store_kind;       /* enum store_kind, to be shown */
	u64 lease_ns;        /* spaces of a pd outlive its broken connection this long; 0: 10 s */
	u32 host_pid, cores;
	void (*ready)(void *arg); /* registered with the manager (at once when there is none); may be NULL */
	void *ready_arg;
};

#define MD_MEMORY_MIN (4 * MIB)

/* One row a counter of what md met. */
#define MD_COUNTERS(X)                                                                                                                     \
	X(fetches)       /* MEM_FETCH answered */                                                                                          \
	X(lines_out)     /* lines sent with bytes */                                                                                       \
	X(file_reads)    /* reads of files answered from the file cache */                                                                     \
	X(file_misses)   /* fetches that had to wait for the storage node */                                                               \
	X(writebacks)    /* MEM_WRITEBACK answered */                                                                                      \
	X(lines_in)      /* lines committed */                                                                                             \
	X(bad_crc)       /* lines whose checksum was wrong */                                                                              \
	X(refused_lines) /* lines of no mapping, or with no room charged */                                                                \
	X(no_lines)      /* demanded lines that were not there */                                                                          \
	X(moves)         /* pieces of vRegions that changed their owner */                                                                     \
	X(layout_ops)                                                                                                                      \
	X(bad_messages)  /* requests that closed their channel */                                                                          \
	X(leases_lapsed) /* spaces freed because their pd stayed away */

struct md_counters {
#define X(name) u64 name;
	MD_COUNTERS(X)
#undef X
};

struct md_stat {
	u64 total_bytes, cap_bytes;  /* all pages; what programs may be charged */
	u64 committed_bytes;         /* charged */
	u64 held_bytes;              /* pages of programs' lines */
	u64 cache_bytes;             /* file pages */
	struct page_store_stat store;
	u64 spaces, readers, parked; /* parked: fetches waiting for the storage node */
	struct md_counters counters;
};

struct md;

struct md *md_new(const struct node_env *env, const struct md_config *cfg); /* NULL: no memory */
void md_free(struct md *md); /* the env may be gone already */
/* page_store_fd is readable. */
void md_store_event(void *md);
const struct node_ops *md_ops(void); /* self: the struct md */
void md_stat(const struct md *md, struct md_stat *st);

int md_main(int argc, char **argv);

#endif
