/* Where a piece of a file is read (place.c). */
#ifndef LEGO_MONITOR_PLACE_H
#define LEGO_MONITOR_PLACE_H

#include "processor/monitor/file/fs.h"

struct slot;
struct place {
	struct chan *chan; /* MEM_FILE_READ goes there; NULL: to be read at the storage node */
	u32 flags;	   /* … with these flags */
	u64 patience_ns;   /* 0: the opcode's */
	struct slot *slot; /* place.c's */
};

/* For [off, off + len) of f: how many of the bytes are read in one place, and which. Every place is to be given to place_done. */
u64 place_choose(struct file *f, u64 off, u64 len, struct place *p);
/* The request there ended so; without an error the file had that size. True: not the node failed, it refuses this file. */
bool place_done(struct file *f, const struct place *p, s32 status, u64 size);
void places_fork_child(void);

#endif
