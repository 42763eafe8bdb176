/* Threads beside the driver's, for work that may wait for a device: a few, made when first needed, that end with the driver.
 *
 * A job is in one place: the queue, a worker's hands, or the list of finished ones. Jobs know nothing of the logic: they run on what they
 * carry. The driver's thread alone defers and reaps. Lock: `lock` guards the queue and the counts. The finished list is a stack without a
 * lock; a worker that put something there executes a full fence (the exchange) and looks whether the driver sleeps, the driver says so
 * before it looks at the list for the last time, so one of the two sees the other. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rpc/driver.h"

#define WORKERS	 4u
#define JOBS_MAX 256u

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct node_job *first, **last; /* (lock) queue */
	u32 nthreads, idle;		/* (lock) */
	bool stop;			/* (lock) */
	u32 outstanding;		/* driver's */
	_Atomic(struct node_job *) finished;
	_Atomic bool asleep; /* the driver */
	int event;
	pthread_t thread[WORKERS];
};

static void finish(struct workers *w, struct node_job *j)
{
	struct node_job *head = atomic_load(&w->finished);
	u64 one = 1;

	do
		j->next = head;
	while (!atomic_compare_exchange_weak(&w->finished, &head, j));
	if (atomic_load(&w->asleep))
		(void)!write(w->event, &one, sizeof(one));
}

static void *worker(void *arg)
{
	struct workers *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->first && !w->stop) {
			w->idle++;
			pthread_cond_wait(&w->work, &w->lock);
			w->idle--;
		}
		struct node_job *j = w->first;

		if (!j)
			break;
		w->first = j->next;
		if (!w->first)
			w->last = &w->first;
		pthread_mutex_unlock(&w->lock);
		j->run(j);
		finish(w, j);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void woken(void *arg)
{
	struct workers *w = arg;
	u64 n;

	(void)!read(w->event, &n, sizeof(n));
}

static struct workers *workers_new(struct host_driver *d)
{
	struct workers *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->event < 0 || host_driver_watch(d, w->event, woken, w)) {
		if (w->event >= 0)
			close(w->event);
		free(w);
		return NULL;
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	w->last = &w->first;
	return w;
}

/* Called with the lock. Signals are the driver's thread's. */
static void one_more(struct workers *w)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&w->thread[w->nthreads], NULL, worker, w))
		w->nthreads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

bool workers_start(struct host_driver *d)
{
	d->workers = workers_new(d);
	return d->workers;
}

bool workers_defer(struct host_driver *d, struct node_job *j)
{
	struct workers *w = d->workers;

	if (!w || w->outstanding >= JOBS_MAX)
		return false;
	pthread_mutex_lock(&w->lock);
	if (!w->idle && w->nthreads < WORKERS)
		one_more(w);
	bool can = w->nthreads;

	if (can) {
		j->next = NULL;
		*w->last = j;
		w->last = &j->next;
		w->outstanding++;
		pthread_cond_signal(&w->work);
	}
	pthread_mutex_unlock(&w->lock);
	return can;
}

u32 workers_reap(struct host_driver *d)
{
	struct workers *w = d->workers;
	struct node_job *j = w && atomic_load_explicit(&w->finished, memory_order_relaxed) ? atomic_exchange(&w->finished, NULL) : NULL;
	struct node_job *in_order = NULL;
	u32 n = 0;

	while (j) {
		struct node_job *next = j->next;

		j->next = in_order;
		in_order = j;
		j = next;
	}
	while ((j = in_order)) {
		in_order = j->next;
		w->outstanding--;
		d->tick_due = true;
		j->done(d->self, j);
		n++;
	}
	return n;
}

bool workers_sleep(struct host_driver *d)
{
	struct workers *w = d->workers;

	if (!w)
		return true;
	atomic_store(&w->asleep, true);
	return !atomic_load(&w->finished);
}

void workers_awake(struct host_driver *d)
{
	if (d->workers)
		atomic_store_explicit(&d->workers->asleep, false, memory_order_relaxed);
}

/* What is queued is still done: somebody may have been promised it. */
void workers_end(struct host_driver *d)
{
	struct workers *w = d->workers;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->work);
	pthread_mutex_unlock(&w->lock);
	for (u32 i = 0; i < w->nthreads; i++)
		pthread_join(w->thread[i], NULL);
	d->self = NULL;
	(void)workers_reap(d);
	host_driver_unwatch(d, w->event);
	close(w->event);
	pthread_cond_destroy(&w->work);
	pthread_mutex_destroy(&w->lock);
	free(w);
	d->workers = NULL;
}
