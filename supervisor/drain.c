/*
 * drain.c - see drain.h.
 */
#include <sys/types.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/process.h"
#include "common/supervise.h"
#include "common/xmalloc.h"
#include "supervisor/drain.h"

struct drain {
	struct supervisor *supervisor;
	struct event timer;
	long long since; /* ms */
	pid_t *pids;     /* in the order in which they are asked */
	long long *times;
	size_t n, next;
	bool hurry;
	void (*done)(void *); /* NULL: it was called */
	void *arg;
};

/* ---- when ---- */

static int
compare_times(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return x < y ? -1 : x > y;
}

static void
plan_batch(long long *times, size_t n, long long from, long long length)
{
	long long first;

	for (size_t i = 0; i < n; i++)
		times[i] = length > 0 ? arc4random_uniform((uint32_t)length)
				      : 0;
	qsort(times, n, sizeof *times, compare_times);
	first = times[0];
	for (size_t i = 0; i < n; i++)
		times[i] += from - first;
}

long long *
drain_times(const struct drain_settings *settings, size_t n)
{
	size_t batch = settings->batch, batches = (n + batch - 1) / batch;
	long long *times = xcalloc(n + 1, sizeof *times);
	long long span = settings->interval * (long long)batches;

	if (span > settings->span)
		span = settings->span;
	for (size_t i = 0; i < batches; i++) {
		size_t size = n - i * batch < batch ? n - i * batch : batch;
		long long from = span * (long long)i / (long long)batches;
		long long to = span * (long long)(i + 1) / (long long)batches;

		plan_batch(times + i * batch, size, from,
		    (to - from) * (long long)size / (long long)batch);
	}
	return times;
}

/* ---- who ---- */

static void
collect(struct child *child, void *arg)
{
	struct drain *drain = arg;

	if (child_pid(child) != -1)
		drain->pids[drain->n++] = child_pid(child);
}

static void
shuffle(pid_t *pids, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = arc4random_uniform((uint32_t)i);
		pid_t pid = pids[i - 1];

		pids[i - 1] = pids[j];
		pids[j] = pid;
	}
}

/* ---- asking ---- */

static void
finish(struct drain *drain)
{
	void (*done)(void *) = drain->done;

	if (done == NULL)
		return;
	drain->done = NULL;
	event_del(&drain->timer);
	done(drain->arg);
}

/* Who died by itself is not waited for. */
static void
ask(struct drain *drain)
{
	long long now = monotonic_ms() - drain->since;

	for (; drain->next < drain->n; drain->next++) {
		struct child *child = supervisor_find_pid(
		    drain->supervisor, drain->pids[drain->next]);

		if (child == NULL)
			continue;
		if (!drain->hurry && drain->times[drain->next] > now)
			break;
		supervisor_terminate_child(drain->supervisor, child);
	}
}

static void
go_on(struct drain *drain)
{
	long long in;
	struct timeval tv;

	ask(drain);
	if (drain->next == drain->n) {
		finish(drain);
		return;
	}
	in = drain->since + drain->times[drain->next] - monotonic_ms();
	if (in < 0)
		in = 0;
	tv = (struct timeval){ in / 1000, in % 1000 * 1000 };
	event_add(&drain->timer, &tv);
}

static void
on_timer(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	go_on(arg);
}

struct drain *
drain_start(struct event_base *base, struct supervisor *supervisor,
    const struct drain_settings *settings, void (*done)(void *), void *arg)
{
	struct drain *drain = xcalloc(1, sizeof *drain);
	size_t n = supervisor_count_children(supervisor).specs;

	drain->supervisor = supervisor;
	drain->done = done;
	drain->arg = arg;
	drain->since = monotonic_ms();
	drain->pids = xcalloc(n + 1, sizeof *drain->pids);
	supervisor_which_children(supervisor, collect, drain);
	shuffle(drain->pids, drain->n);
	drain->times = drain_times(settings, drain->n);
	if (drain->n > 0)
		log_info("draining: %zu connections in %lld ms", drain->n,
		    drain->times[drain->n - 1]);
	event_assign(&drain->timer, base, -1, 0, on_timer, drain);
	event_active(&drain->timer, EV_TIMEOUT, 1);
	return drain;
}

/* The first who has not been asked is the only one that is waited for. */
void
drain_died(struct drain *drain)
{
	if (drain->done != NULL &&
	    (drain->next == drain->n ||
		supervisor_find_pid(
		    drain->supervisor, drain->pids[drain->next]) == NULL))
		go_on(drain);
}

void
drain_hurry(struct drain *drain)
{
	drain->hurry = true;
	if (drain->done != NULL)
		event_active(&drain->timer, EV_TIMEOUT, 1);
}
