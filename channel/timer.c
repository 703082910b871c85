/*
 * timer.c - see timer.h.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "channel/timer.h"
#include "common/xmalloc.h"

static bool
before(const struct timer *a, const struct timer *b)
{
	if (a->due != b->due)
		return a->due < b->due;
	return a->id < b->id;
}

static void
swap(struct timers *timers, size_t a, size_t b)
{
	struct timer t = timers->heap[a];

	timers->heap[a] = timers->heap[b];
	timers->heap[b] = t;
}

static void
sift_up(struct timers *timers, size_t i)
{
	while (i > 0) {
		size_t parent = (i - 1) / 2;

		if (!before(&timers->heap[i], &timers->heap[parent]))
			return;
		swap(timers, i, parent);
		i = parent;
	}
}

static void
sift_down(struct timers *timers, size_t i)
{
	for (;;) {
		size_t first = i, left = 2 * i + 1, right = left + 1;

		if (left < timers->n &&
		    before(&timers->heap[left], &timers->heap[first]))
			first = left;
		if (right < timers->n &&
		    before(&timers->heap[right], &timers->heap[first]))
			first = right;
		if (first == i)
			return;
		swap(timers, i, first);
		i = first;
	}
}

unsigned
timers_add(struct timers *timers, long long due, const char *event, void *data)
{
	struct timer *timer;

	if (timers->n == timers->room) {
		timers->room = timers->room == 0 ? 4 : timers->room * 2;
		timers->heap = xrealloc(
		    timers->heap, timers->room * sizeof *timers->heap);
	}
	if (++timers->last_id == 0)
		timers->last_id = 1;
	timer = &timers->heap[timers->n++];
	timer->due = due;
	timer->id = timers->last_id;
	timer->event = xstrdup(event);
	timer->data = data;
	sift_up(timers, timers->n - 1);
	return timers->last_id;
}

long long
timers_next(const struct timers *timers)
{
	return timers->n == 0 ? -1 : timers->heap[0].due;
}

/* The one at i leaves the heap. */
static struct timer
take(struct timers *timers, size_t i)
{
	struct timer timer;

	assert(i < timers->n);
	timer = timers->heap[i];
	timers->heap[i] = timers->heap[--timers->n];
	if (i < timers->n) {
		sift_up(timers, i);
		sift_down(timers, i);
	}
	return timer;
}

struct timer
timers_pop(struct timers *timers)
{
	return take(timers, 0);
}

static size_t
find(const struct timers *timers, unsigned id)
{
	size_t i;

	for (i = 0; i < timers->n; i++)
		if (timers->heap[i].id == id)
			break;
	return i;
}

long long
timers_due(const struct timers *timers, unsigned id)
{
	size_t i = find(timers, id);

	return i == timers->n ? -1 : timers->heap[i].due;
}

void
timers_cancel(struct timers *timers, unsigned id)
{
	size_t i = find(timers, id);
	struct timer timer;

	if (i == timers->n)
		return;
	timer = take(timers, i);
	free(timer.event);
}
