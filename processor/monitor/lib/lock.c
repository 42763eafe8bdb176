/* A futex lock for threads of one address space: spin a little, then wait. Word: 0 free, 1 held, 2 held with waiters. */
#include <linux/futex.h>

#include "processor/monitor/mon.h"

#define SPIN_TRIES 200

bool lock_try(struct lock *l)
{
	u32 free = 0;

	if (!__atomic_compare_exchange_n(&l->word, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	l->owner = thread_self() ? thread_self()->tid : 0;
	return true;
}

void lock_take(struct lock *l)
{
	for (u32 i = 0; i < SPIN_TRIES; i++) {
		if (!__atomic_load_n(&l->word, __ATOMIC_RELAXED) && lock_try(l))
			return;
		__builtin_ia32_pause();
	}
	if (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE)) {
		flight_waits(FLIGHT_LOCK, (u64)l, l->owner);
		do
			host(SYSNR(futex), &l->word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 2, 0);
		while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE));
		flight_waits(FLIGHT_RUNS, 0, 0);
	}
	l->owner = thread_self() ? thread_self()->tid : 0;
}

void lock_drop(struct lock *l)
{
	l->owner = 0;
	if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2)
		host(SYSNR(futex), &l->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}
