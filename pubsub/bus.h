/*
 * bus.h - the streams between the long-lived processes: nanomsg PUB/SUB.
 *
 * The journal is the truth, the bus is the news: a message says that a journal
 * has grown, and who hears it reads there. In a pubsub worker only (nanomsg
 * starts a thread: nothing may be forked after it).
 *
 * Each worker has a PUB endpoint for each other worker, bus-<from>-<to>.ipc in
 * the run directory, since the endpoint is the only filter that saves a
 * wake-up: a worker without a subscriber for a topic (shared_worker.interest)
 * hears nothing of it. nanomsg drops what a peer has no room for, and notices
 * neither peers that come nor all that go. So:
 *
 *  - Both ends of a link say in every message whom they have heard, by the
 *    epoch of that worker. A link is up for who has heard the other and is
 *    known to be heard; until then it speaks and looks at the journal every
 *    BUS_SOON, and asks to be answered as fast.
 *  - Who has heard news looks again after BUS_SOON, until nothing is new: news
 *    that were dropped behind others cost that much.
 *  - Each worker says something to each other one every BUS_BEAT, and looks at
 *    all journals then: any lost news cost at most that.
 *  - When a peer has begun a new epoch, or is alive (shared_worker.beat_ms) but
 *    not heard for BUS_SILENCE, its link is made anew (nano_connect).
 *
 * Messages that are none are ignored and counted. But a peer that does not
 * speak nanomsg's own protocol aborts this process: only Bennu's may be peers.
 */
#ifndef BUS_H
#define BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "pubsub/journal.h"
#include "pubsub/shared.h"

/* ms */
#define BUS_SOON    20
#define BUS_BEAT    1000
#define BUS_SILENCE 4000

struct bus;
struct event_base;

struct bus_callbacks {
	/*
	 * The journal of this worker (index from 0) has got to that number, or
	 * begun anew. Never the own one. It may publish; it may not free the
	 * bus.
	 */
	void (*news)(unsigned origin, uint64_t number, void *arg);
};

/*
 * A worker begins: raises its epoch, and keeps its beat_ms from here on. Its
 * journal is open. directory: the run directory, lent. self: index of this
 * worker, from 0. NULL: no nanomsg, or no endpoints; said in the log, why.
 */
struct bus *bus_new(struct event_base *, const char *directory, struct shared *,
    unsigned self, const struct bus_callbacks *, void *arg);
void bus_free(struct bus *); /* NULL is fine */

/* An entry of the own journal, when it is there. Told once, by bus_flush, for
 * all that were published before. */
void bus_published(struct bus *, const struct journal_entry *);
void bus_flush(struct bus *);

/* Since the bus was made. */
struct bus_stats {
	uint64_t told;    /* messages sent by bus_flush */
	uint64_t heard;   /* messages received */
	uint64_t bad;     /* that were none, or from a stranger */
	uint64_t renewed; /* links made anew */
};
const struct bus_stats *bus_stats(const struct bus *);
/* Has this peer heard us, and we it? */
bool bus_is_up(const struct bus *, unsigned peer);

/* By the supervisor, when all workers are gone: their endpoints' files. */
void bus_remove(const char *directory);

#endif /* BUS_H */
