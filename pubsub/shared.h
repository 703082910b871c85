/*
 * shared.h - memory that pubsub workers share, and that outlives each of them.
 *
 * The supervisor makes it before its first fork. It is mapped in the supervisor
 * and in pubsub workers; no process that runs an author's code has it, and of
 * the lanes a transport has its own and nothing else. Supervisor and workers
 * share address layout (fork without exec), so pointers into it hold in all.
 */
#ifndef SHARED_H
#define SHARED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/message.h"

struct journal;
struct lane;
struct slot;

#define PUBSUB_MAX 16 /* workers */
/* Hashes of topics: so many that thousands of topics leave most of them empty,
 * since each that is shared wakes a worker for nothing. */
#define INTEREST_BUCKETS 65536
#define SHARED_EPOCHS    16 /* of a worker that are remembered */

/* Of each worker, indexed by number - 1. */
struct shared_worker {
	_Atomic uint64_t epoch;   /* rises with each start of the worker */
	_Atomic uint64_t beat_ms; /* monotonic; when its loop last ran */
	/*
	 * A position is this and the number of an entry in its journal: it
	 * rises also when the journal was damaged and begins with 1 again.
	 */
	_Atomic uint64_t base;
	/* Entries of each journal up to this number were given to all of its
	 * connections that wanted them: written, or queued to a mailbox. */
	_Atomic uint64_t progress[PUBSUB_MAX];
	/* What that was when the worker of an epoch had died, of the last ones.
	 */
	_Atomic uint64_t ended[SHARED_EPOCHS][PUBSUB_MAX];
	/* Subscriptions of its connections, by hash of the topic: who publishes
	 * need not tell a worker whose count is 0. */
	_Atomic uint32_t interest[INTEREST_BUCKETS];
};

/* One for all. */
struct shared_all {
	/* Of the next entry, in whichever journal: what was accepted before
	 * something else was published has a smaller one. */
	_Atomic uint32_t ticket;
};

struct shared {
	unsigned nworkers;
	size_t nslots;
	struct slot *slots; /* slots.h */
	struct lane *lanes; /* lane.h; a page for each slot: shared_lane */
	struct shared_worker *workers;
	struct shared_all *all;               /* behind the workers */
	struct journal *journals[PUBSUB_MAX]; /* journal.h */
};

/* All zero, touched as it is used. nworkers: 1 to PUBSUB_MAX; journal_size:
 * bytes of each journal. NULL, errno. */
struct shared *shared_new(
    unsigned nworkers, size_t nslots, size_t journal_size);
void shared_free(struct shared *);
/* Only who forks a pubsub worker lets that child have it. */
void shared_inherit(struct shared *, bool inherit);
/* Only who forks presence lets that child have the slots, and nothing else. */
void shared_inherit_slots(struct shared *, bool inherit);
/* In presence: it can only read them from now on. */
void shared_protect_slots(const struct shared *);
/* Only who forks a transport lets that child have its lane. */
void shared_inherit_lane(struct shared *, uint32_t slot, bool inherit);
/* In a worker, its index: journals of others can only be read from now on. */
void shared_own(struct shared *, unsigned self);

struct lane *shared_lane(const struct shared *, uint32_t slot);
unsigned interest_bucket(const struct text *topic);

#endif /* SHARED_H */
