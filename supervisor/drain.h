/*
 * drain.h - the connections of a server that stops are asked to end in batches,
 * so that their clients do not all come back, to this server or another one, at
 * the same moment.
 */
#ifndef DRAIN_H
#define DRAIN_H

#include <stddef.h>

struct drain;
struct event_base;
struct supervisor;

struct drain_settings {
	unsigned batch;     /* so many connections ... */
	long long interval; /* ... in each so many ms, at random within them */
	long long span;     /* ms in which all are asked: a shorter interval */
};

/*
 * When each of n is asked: ms from now, rising; malloc'd. A batch begins with
 * its interval, and a batch that is not full takes as much less of it.
 */
long long *drain_times(const struct drain_settings *, size_t n);

/*
 * Begins to ask the children of a DYNAMIC supervisor, in random order. done
 * comes from the loop or from drain_died, once, when all of them have been
 * asked or have died.
 */
struct drain *drain_start(struct event_base *, struct supervisor *,
    const struct drain_settings *, void (*done)(void *), void *arg);
/* A child of the supervisor died: perhaps there is nobody to wait for. */
void drain_died(struct drain *);
/* No more intervals: all are asked at once. */
void drain_hurry(struct drain *);

#endif /* DRAIN_H */
