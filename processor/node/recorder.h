/* pd's side of flight recorders (processor/flight.h): keeps the memfd of each `lego run`, and prints the last events of all its threads
 * when one of them waits for the same lock or reply for 2 s. */
#ifndef LEGO_PROCESSOR_NODE_RECORDER_H
#define LEGO_PROCESSOR_NODE_RECORDER_H

#include <stdio.h>

#include "base/types.h"

struct recorders;

struct recorders *recorders_new(FILE *to);
void recorders_free(struct recorders *r);
/* A recorder for a process that starts a tree of its own: a descriptor to hand over and close, or -1. */
int recorder_new(struct recorders *r, u64 process);
void recorder_share(struct recorders *r, u64 parent, u64 child); /* the child records beside its parent */
void recorder_named(struct recorders *r, u64 process, u32 pid);  /* its pid in its vNode */
void recorder_drop(struct recorders *r, u64 process);
void recorders_watch(struct recorders *r, u64 now_ns); /* to be called every second */

#endif
