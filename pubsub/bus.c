/*
 * bus.c - see bus.h.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/process.h"
#include "common/xmalloc.h"
#include "pubsub/bus.h"
#include "pubsub/nano.h"

#define MAGIC       0x42757301U      /* "Bus", version 1 */
#define SEND_BUFFER (128 * 1024)     /* bytes; a few hundred messages */
#define MESSAGE_MAX 4096             /* bytes; larger ones cost the link */
#define READ_MAX    256              /* messages before others have a turn */
#define LATE        (2LL * BUS_BEAT) /* a tick of ours that comes so late */
#define FNV_BASIS   14695981039346656037U
#define FNV_PRIME   1099511628211U

/* All of a message. */
struct news {
	uint32_t magic;
	uint16_t worker; /* who speaks: index from 0 */
	uint16_t asks;   /* 1: it waits to be answered */
	uint64_t node;   /* where */
	uint64_t epoch;  /* of the worker that speaks */
	uint64_t heard;  /* epoch of the one spoken to, 0 if not heard yet */
	uint64_t number; /* how far its journal had got; who hears it looks
			    where it is by then */
};

/* Another worker. */
struct peer {
	char *path;    /* where it publishes to us */
	int publisher; /* socket: where we publish to it */
	int endpoint;  /* of bus->subscriber: to it */

	uint64_t epoch; /* of the peer, when the link was made */
	bool heard;     /* it, in this epoch */
	bool answered;  /* it has heard us, in our epoch */
	bool asks;      /* it wants to hear us soon */
	long long heard_ms, told_ms;

	bool waits;   /* it wants what was published */
	size_t quiet; /* bytes of what it did not want, since it was told */

	uint64_t journal_epoch, head; /* of its journal, as last seen */
};

struct bus {
	const struct nano *nano;
	struct shared *shared;
	unsigned self;
	const struct bus_callbacks *callbacks;
	void *arg;

	uint64_t node, epoch;
	int subscriber;
	struct event *read_event, *tick_event;
	long long tick_ms;             /* when it last came */
	bool is_hasty;                 /* the next one comes after BUS_SOON */
	size_t quiet_max;              /* an eighth of the journal */
	struct peer peers[PUBSUB_MAX]; /* that of self is not used */
	struct bus_stats stats;
};

static struct shared_worker *
shared_of(const struct bus *bus, unsigned worker)
{
	return &bus->shared->workers[worker];
}

static uint64_t
hash(uint64_t h, const char *s)
{
	do
		h = (h ^ (unsigned char)*s) * FNV_PRIME;
	while (*s++ != '\0');
	return h;
}

/* Of this supervisor, among all of all machines. */
static uint64_t
node_number(const char *directory)
{
	char host[256] = "";

	gethostname(host, sizeof host - 1);
	return hash(hash(FNV_BASIS, host), directory);
}

/* ---- speaking ---- */

static bool
is_up(const struct peer *peer)
{
	return peer->heard && peer->answered;
}

static void
tell(struct bus *bus, unsigned to, long long now)
{
	struct peer *peer = &bus->peers[to];
	struct news message = {
		.magic = MAGIC,
		.worker = (uint16_t)bus->self,
		.asks = !is_up(peer),
		.node = bus->node,
		.epoch = bus->epoch,
		.heard = peer->heard ? peer->epoch : 0,
		.number = journal_head(bus->shared->journals[bus->self]),
	};

	/* A PUB is never full: it drops. */
	bus->nano->send(peer->publisher, &message, sizeof message, NN_DONTWAIT);
	peer->waits = peer->asks = false;
	peer->quiet = 0;
	peer->told_ms = now;
}

void
bus_published(struct bus *bus, const struct journal_entry *entry)
{
	unsigned bucket = interest_bucket(&entry->broadcast.topic);
	size_t size = sizeof *entry + broadcast_size(&entry->broadcast);

	/*
	 * A subscriber counts itself, then looks where the journal ends. Here
	 * it is the other way round, and in this order: one of both sees the
	 * other.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < bus->shared->nworkers; i++) {
		struct peer *peer = &bus->peers[i];

		if (i == bus->self || peer->waits)
			continue;
		peer->quiet += size;
		if (atomic_load(&shared_of(bus, i)->interest[bucket]) != 0 ||
		    peer->quiet > bus->quiet_max)
			peer->waits = true;
	}
}

void
bus_flush(struct bus *bus)
{
	long long now = monotonic_ms();

	for (unsigned i = 0; i < bus->shared->nworkers; i++)
		if (bus->peers[i].waits) {
			tell(bus, i, now);
			bus->stats.told++;
		}
}

/* ---- hearing ---- */

/* True: it has grown, or begun anew. */
static bool
look(struct bus *bus, unsigned origin)
{
	struct peer *peer = &bus->peers[origin];
	const struct journal *journal = bus->shared->journals[origin];
	uint64_t epoch = journal_epoch(journal), head = journal_head(journal);

	if (peer->journal_epoch == epoch && peer->head == head)
		return false;
	peer->journal_epoch = epoch;
	peer->head = head;
	bus->callbacks->news(origin, head, bus->arg);
	return true;
}

/* Not heard, nor answered, from here on. */
static void
renew(struct bus *bus, struct peer *peer, uint64_t epoch, long long now)
{
	peer->epoch = epoch;
	peer->heard = peer->answered = false;
	peer->heard_ms = now;
	nano_connect(bus->nano, bus->subscriber, &peer->endpoint, peer->path);
	bus->stats.renewed++;
}

static bool
is_alive(const struct bus *bus, unsigned worker, long long now)
{
	long long beat = (long long)atomic_load(
	    &shared_of(bus, worker)->beat_ms);

	return beat != 0 && now - beat < BUS_SILENCE;
}

/* The memory tells of a new epoch sooner than any message. */
static void
check_link(struct bus *bus, unsigned i, long long now)
{
	struct peer *peer = &bus->peers[i];
	uint64_t epoch = atomic_load(&shared_of(bus, i)->epoch);

	bool is_silent = now - peer->heard_ms > BUS_SILENCE &&
	    is_alive(bus, i, now);

	if (peer->epoch != epoch || is_silent)
		renew(bus, peer, epoch, now);
}

static void
be_hasty(struct bus *bus)
{
	static const struct timeval soon = { .tv_usec = BUS_SOON * 1000L };

	if (bus->is_hasty)
		return;
	bus->is_hasty = true;
	event_add(bus->tick_event, &soon);
}

static void
on_tick(int fd, short what, void *arg)
{
	static const struct timeval beat = { .tv_sec = BUS_BEAT / 1000 };
	struct bus *bus = arg;
	long long now = monotonic_ms();
	bool is_late = now - bus->tick_ms > LATE, soon = false;

	(void)fd;
	(void)what;
	bus->tick_ms = now;
	bus->is_hasty = false;
	atomic_store(
	    &shared_of(bus, bus->self)->beat_ms, (unsigned long long)now);
	for (unsigned i = 0; i < bus->shared->nworkers; i++) {
		struct peer *peer = &bus->peers[i];
		bool is_waited_for;

		if (i == bus->self)
			continue;
		/* We were stopped, and have not read what has come since. */
		if (is_late)
			peer->heard_ms = now;
		check_link(bus, i, now);
		soon |= look(bus, i);
		is_waited_for = !is_up(peer) && is_alive(bus, i, now);
		soon |= is_waited_for;
		if (is_waited_for || peer->asks ||
		    now - peer->told_ms > BUS_BEAT / 2)
			tell(bus, i, now);
	}
	if (soon)
		be_hasty(bus);
	else
		event_add(bus->tick_event, &beat);
}

static bool
is_good(const struct bus *bus, const struct news *message, int size)
{
	return size == (int)sizeof *message && message->magic == MAGIC &&
	    message->asks <= 1 && message->node == bus->node &&
	    message->worker < bus->shared->nworkers &&
	    message->worker != bus->self;
}

static void
hear(struct bus *bus, const struct news *message)
{
	long long now = monotonic_ms();
	unsigned from = message->worker;
	struct peer *peer = &bus->peers[from];

	check_link(bus, from, now);
	/* Else it is a dead one's, or came over a link that is given up. */
	if (message->epoch == peer->epoch) {
		peer->heard = true;
		peer->answered = message->heard == bus->epoch;
		peer->asks |= message->asks == 1;
		peer->heard_ms = now;
	}
	if (look(bus, from) || !is_up(peer) || peer->asks)
		be_hasty(bus);
}

static void
on_readable(int fd, short what, void *arg)
{
	struct bus *bus = arg;

	(void)fd;
	(void)what;
	for (int i = 0; i < READ_MAX; i++) {
		struct news message;
		int size = bus->nano->recv(
		    bus->subscriber, &message, sizeof message, NN_DONTWAIT);

		if (size == -1)
			return;
		bus->stats.heard++;
		if (is_good(bus, &message, size))
			hear(bus, &message);
		else
			bus->stats.bad++;
	}
}

/* ---- beginning and end ---- */

static char *
endpoint_path(const char *directory, unsigned from, unsigned to)
{
	return xasprintf("%s/bus-%u-%u.ipc", directory, from + 1, to + 1);
}

static bool
open_peer(struct bus *bus, const char *directory, unsigned i)
{
	struct peer *peer = &bus->peers[i];
	char *path = endpoint_path(directory, bus->self, i);

	peer->path = endpoint_path(directory, i, bus->self);
	peer->publisher = nano_publisher(bus->nano, path, SEND_BUFFER);
	free(path);
	return peer->publisher != -1;
}

/* Publishers first: who sees the new epoch connects to them. */
static bool
open_endpoints(struct bus *bus, struct event_base *base, const char *directory)
{
	long long now = monotonic_ms();
	int fd;

	bus->nano = nano_load();
	if (bus->nano == NULL)
		return false;
	for (unsigned i = 0; i < bus->shared->nworkers; i++)
		if (i != bus->self && !open_peer(bus, directory, i))
			return false;
	bus->subscriber = nano_subscriber(bus->nano, MESSAGE_MAX, &fd);
	if (bus->subscriber == -1)
		return false;
	bus->read_event = event_new(
	    base, fd, EV_READ | EV_PERSIST, on_readable, bus);
	event_add(bus->read_event, NULL);
	for (unsigned i = 0; i < bus->shared->nworkers; i++)
		if (i != bus->self)
			renew(bus, &bus->peers[i],
			    atomic_load(&shared_of(bus, i)->epoch), now);
	return true;
}

struct bus *
bus_new(struct event_base *base, const char *directory, struct shared *shared,
    unsigned self, const struct bus_callbacks *callbacks, void *arg)
{
	static const struct timeval at_once = { 0 };
	struct bus *bus = xcalloc(1, sizeof *bus);

	bus->shared = shared;
	bus->self = self;
	bus->callbacks = callbacks;
	bus->arg = arg;
	bus->node = node_number(directory);
	bus->subscriber = -1;
	bus->tick_ms = monotonic_ms();
	bus->quiet_max = journal_entry_max(shared->journals[self]) / 2;
	for (unsigned i = 0; i < PUBSUB_MAX; i++)
		bus->peers[i].publisher = bus->peers[i].endpoint = -1;
	/* One worker has nobody to talk to, and needs no nanomsg. */
	if (shared->nworkers > 1 && !open_endpoints(bus, base, directory)) {
		bus_free(bus);
		return NULL;
	}
	bus->stats = (struct bus_stats){ 0 };
	bus->epoch = atomic_fetch_add(&shared_of(bus, self)->epoch, 1) + 1;
	bus->tick_event = event_new(base, -1, 0, on_tick, bus);
	event_add(bus->tick_event, &at_once);
	return bus;
}

void
bus_free(struct bus *bus)
{
	if (bus == NULL)
		return;
	if (bus->read_event != NULL)
		event_free(bus->read_event);
	if (bus->tick_event != NULL)
		event_free(bus->tick_event);
	if (bus->subscriber != -1)
		bus->nano->close(bus->subscriber);
	for (unsigned i = 0; i < PUBSUB_MAX; i++) {
		free(bus->peers[i].path);
		if (bus->peers[i].publisher != -1)
			bus->nano->close(bus->peers[i].publisher);
	}
	free(bus);
}

const struct bus_stats *
bus_stats(const struct bus *bus)
{
	return &bus->stats;
}

bool
bus_is_up(const struct bus *bus, unsigned peer)
{
	return is_up(&bus->peers[peer]);
}

void
bus_remove(const char *directory)
{
	for (unsigned from = 0; from < PUBSUB_MAX; from++)
		for (unsigned to = 0; to < PUBSUB_MAX; to++) {
			char *path = endpoint_path(directory, from, to);

			unlink(path);
			free(path);
		}
}
