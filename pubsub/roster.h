/*
 * roster.h - which connections a pubsub worker serves, in memory that outlives
 * it: its successor reads there for whom it must wait.
 *
 * Made by the supervisor before the first fork, mapped in pubsub workers only.
 */
#ifndef ROSTER_H
#define ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct roster {
	size_t max;
	uint64_t *connections; /* shared; 0: the place is free */
	size_t *free;          /* of this process: places, a stack */
	size_t nfree;
	uint64_t *missing; /* those of the predecessor, sorted, that have not
			      come yet */
	size_t nmissing;
};

#define ROSTER_NONE SIZE_MAX

/* Shared memory for so many; NULL, errno. */
uint64_t *roster_map(size_t max);
/* Only who forks a worker lets its child have it. */
void roster_inherit(uint64_t *, size_t max, bool inherit);

/* In a worker: takes over what its predecessor left. */
void roster_open(struct roster *, uint64_t *, size_t max);
/* It has come (again). Returns its place, ROSTER_NONE when there is no room. */
size_t roster_add(struct roster *, uint64_t connection);
void roster_remove(struct roster *, size_t place);

#endif /* ROSTER_H */
