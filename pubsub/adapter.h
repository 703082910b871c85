/*
 * adapter.h - the engines that carry what a pubsub worker accepts to others: a
 * table. A worker starts all of its rows and tells all of them of each entry of
 * its journal.
 *
 * local	the other workers of this supervisor: the bus (bus.h). They read
 *		the journal themselves; the adapter tells them that it has
 *grown.
 *
 * An engine between machines (Redis, NATS, a socket) would be a row, too, and a
 * process of its own, forked by the supervisor beside the workers: a library
 * that crashes or blocks costs no delivery, and the worker never waits for it.
 * Out: its `published' hands entries to that process over a mailbox, but not
 * those with JOURNAL_LOCAL, and counts what it must drop when the mailbox is
 * full. In: that process is a client of a worker as any transport is; what it
 * hears from other nodes it publishes with JOURNAL_LOCAL. So a worker sees the
 * broadcasts of other nodes as entries of its own journal, numbered and
 * accepted like all others, and none of them goes round in a circle.
 */
#ifndef ADAPTER_H
#define ADAPTER_H

#include <stdint.h>

#include "pubsub/journal.h"
#include "pubsub/shared.h"

struct event_base;

struct adapter_callbacks {
	/* bus.h: the journal of another worker of this node has grown. */
	void (*news)(unsigned origin, uint64_t number, void *arg);
};

/* The worker that starts; all lent for as long as the adapter runs. */
struct adapter_start {
	struct event_base *base;
	const char *directory; /* the run directory */
	struct shared *shared;
	unsigned self; /* index of the worker, from 0 */
	const struct adapter_callbacks *callbacks;
	void *arg;
};

struct adapter {
	const char *name;
	/* Its state; NULL: it cannot start, and has said in the log why. */
	void *(*start)(const struct adapter_start *);
	/* An entry is in the own journal: lent during the call. Never waits. */
	void (*published)(void *state, const struct journal_entry *);
	/* No more entries for now: what was gathered goes out. */
	void (*flush)(void *state);
	void (*stop)(void *state);
};

/* Ends with a NULL. */
extern const struct adapter *const adapters[];

/* All of them; NULL: one could not start, and the others were stopped. */
struct adapters;
struct adapters *adapters_start(const struct adapter_start *);
void adapters_published(struct adapters *, const struct journal_entry *);
void adapters_flush(struct adapters *);
void adapters_stop(struct adapters *); /* NULL is fine */

#endif /* ADAPTER_H */
