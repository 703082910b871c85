/*
 * timer.h - timers of a channel: a heap, no descriptors, no event base.
 */
#ifndef TIMER_H
#define TIMER_H

#include <stddef.h>

struct timer {
	long long due; /* monotonic ms */
	unsigned id;   /* rising: timers due at once fire as they were set */
	char *event;   /* owned */
	void *data;    /* the author's */
};

struct timers {
	struct timer *heap;
	size_t n, room;
	unsigned last_id;
};

/* Returns the timer's number, never 0. Copies event. */
unsigned timers_add(
    struct timers *, long long due, const char *event, void *data);
/* The time of the first one, or -1. */
long long timers_next(const struct timers *);
/* Moves the first one out of the heap (its event must be freed). */
struct timer timers_pop(struct timers *);
/* Due time of a timer, or -1. */
long long timers_due(const struct timers *, unsigned id);
void timers_cancel(struct timers *, unsigned id);

#endif /* TIMER_H */
