/* What a ONCE request had come to when an sd was killed: so that the request, sent again to the next one, has its effect once.
 *
 * The stored replies of rpc/node.h live in memory. Here is, in a file mapped shared, the little that outlasts kill -9: that a request's
 * effect was about to happen (an intent, with what is needed to tell afterwards whether it did), and that it was done and how. A handler
 * calls slots_intent after every check and just before its one effect; the reply makes it done. Bounded: oldest records go first, and
 * the request is then taken for new. */
#ifndef LEGO_STORAGE_SLOTS_H
#define LEGO_STORAGE_SLOTS_H

#include "storage/sd_int.h"

enum slot_fate {
	SLOT_NEW,
	SLOT_REPLIED, /* was done: the stored reply has been sent */
	SLOT_RESUMED, /* may have happened, or did and the reply needs the handler: req.resumed */
};

int slots_open(struct sd *sd);
void slots_close(struct sd *sd);
/* Settles appends that were cut short; vNodes are loaded. */
void slots_recover(struct sd *sd);
enum slot_fate slots_begin(struct req *r);
/* what: of the object that goes away, moves or grows; 0 where something is made. */
void slots_intent(struct req *r, const struct file_id *what, u64 off, u64 len);
/* The object named by the record of a resumed request. */
bool slots_same(const struct req *r, const struct file_id *what);
u64 *slots_lease_mark(struct sd *sd); /* kept for leases.c: when a lease was last given */
void slots_done(struct req *r, s32 status, const void *fixed);
/* For store.c. The request's effect was taken back; its record, to be given to the reply as req.slot (NULL: none); how it is kept elsewhere; and
 * what was kept there comes back at the start. */
void slots_drop(struct req *r);
struct slot_rec *slots_take(struct req *r);
bool slots_outcome(struct req *r, s32 status, const void *fixed, u32 *index, const void **rec, u32 *len);
void slots_put_back(struct sd *sd, u32 index, const void *rec, u32 len);

#endif
