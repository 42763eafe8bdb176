/* One clone request, from clone, clone3, fork or vfork. */
#ifndef LEGO_MONITOR_CLONE_H
#define LEGO_MONITOR_CLONE_H

#include "processor/monitor/mon.h"

s64 clone_thread(struct thread *parent, const struct clone_request *c);
s64 clone_fork(struct thread *parent, const struct clone_request *c);
s64 clone_vfork(struct thread *parent, const struct clone_request *c);

struct kucontext *thread_inherit(struct thread *t, const struct thread *parent, const struct clone_request *c);
void thread_release_user(struct thread *t);
void threads_fork_child(struct thread *t);
void threads_add(struct thread *t);
void threads_park(struct thread *t);

#endif
