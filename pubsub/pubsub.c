/*
 * pubsub.c - see pubsub.h: the role, and what its peers ask.
 */
#include <sys/queue.h>
#include <sys/socket.h>

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bennu/channel.h>

#include "common/exit.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "pubsub/adapter.h"
#include "pubsub/lane.h"
#include "pubsub/pubsub_private.h"
#include "pubsub/tap.h"

#define LET_GO_MAX 65536 /* connections remembered as let go */
/* Entries that may have been given to some before the progress was noted. */
#define BEYOND_PROGRESS 1000000
#define ENTRY_HEADS     256 /* of an entry in the journal, beside its payload */

static void on_envelope(struct mailbox *, struct envelope *, void *);

/* ---- peers ---- */

static void
peer_new(int fd, void *arg)
{
	struct pubsub *pubsub = arg;
	struct peer *peer = xcalloc(1, sizeof *peer);

	peer->pubsub = pubsub;
	peer->fd = -1;
	RB_INIT(&peer->topics);
	TAILQ_INSERT_TAIL(&pubsub->peers, peer, entry);
	peer->mailbox = mailbox_new(fd, on_envelope, peer);
	mailbox_attach(peer->mailbox, pubsub->leaf.base);
}

void
peer_free(struct peer *peer)
{
	struct pubsub *pubsub = peer->pubsub;
	struct subscription *sub;

	deliver_forget(peer);
	behind_free(peer);
	if (peer->full)
		TAILQ_REMOVE(&pubsub->full, peer, of_full);
	while ((sub = RB_ROOT(&peer->topics)) != NULL)
		subscription_free(sub);
	TAILQ_REMOVE(&pubsub->peers, peer, entry);
	socket_close(peer);
	mailbox_free(peer->mailbox);
	free(peer);
}

/*
 * A transport that takes nothing costs memory here; it is let go, and finds out
 * by the end of its mailbox. Its own bound (backlog_max of the client) lies far
 * below, so this means that the process is stopped or loops.
 */
bool
peer_is_full(const struct peer *peer, size_t more)
{
	return mailbox_backlog(peer->mailbox) >
	    peer->pubsub->start->backlog_max + more;
}

void
peer_let_go(struct peer *peer)
{
	struct pubsub *pubsub = peer->pubsub;

	if (peer->full)
		log_warnx("transport #%" PRIu64 " does not take what it gets: "
			  "%zu bytes wait; let go",
		    peer->connection, mailbox_backlog(peer->mailbox));
	if (pubsub->let_go == NULL)
		pubsub->let_go = xcalloc(LET_GO_MAX, sizeof *pubsub->let_go);
	pubsub->let_go[pubsub->nlet_go++ % LET_GO_MAX] = peer->connection;
	peer_free(peer);
}

static bool
was_let_go(struct pubsub *pubsub, uint64_t connection)
{
	bool found = false;

	for (size_t i = 0; i < pubsub->nlet_go && i < LET_GO_MAX; i++)
		if (pubsub->let_go[i] == connection && connection != 0) {
			pubsub->let_go[i] = 0;
			found = true;
		}
	return found;
}

/* ---- hello ---- */

/* The slot is the supervisor's word for who this is. */
static bool
is_who_it_says(struct peer *peer, uint32_t slot)
{
	struct shared *shared = peer->pubsub->shared;
	struct ucred ucred;
	socklen_t size = sizeof ucred;
	pid_t pid;

	if (slot == SLOT_NONE)
		return true;
	if (slot >= shared->nslots)
		return false;
	peer->slot = &shared->slots[slot];
	if (getsockopt(mailbox_fd(peer->mailbox), SOL_SOCKET, SO_PEERCRED,
		&ucred, &size) == -1)
		return false;
	pid = atomic_load(&peer->slot->pid);
	/* It is so young that the supervisor has not written it down, and will
	 * come again; or it was reaped before we read this. */
	peer->unknown = pid == 0 ||
	    atomic_load(&peer->slot->connection) != peer->connection;
	return !peer->unknown && pid == ucred.pid;
}

static bool
get_received(struct peer *peer, struct envelope *envelope)
{
	uint32_t n = envelope_get_u32(envelope);

	if (n > PUBSUB_MAX)
		return false;
	for (uint32_t i = 0; i < n; i++)
		for (int part = 0; part < PARTS; part++)
			peer->received[part][i] = envelope_get_u64(envelope);
	return envelope_end(envelope);
}

static bool
on_hello(struct peer *peer, struct envelope *envelope)
{
	uint32_t slot = envelope_get_u32(envelope);

	if (peer->said_hello)
		return false;
	peer->said_hello = true;
	peer->connection = envelope_get_u64(envelope);
	peer->missed = was_let_go(peer->pubsub, peer->connection);
	return get_received(peer, envelope) && is_who_it_says(peer, slot);
}

/* It has a client, to whose socket we may write when the lane says so. */
static bool
on_serves(struct peer *peer, struct envelope *envelope)
{
	const struct config *config = peer->pubsub->start->config;
	struct shared *shared = peer->pubsub->shared;
	uint32_t mount = envelope_get_u32(envelope);

	peer->version = envelope_get_u32(envelope);
	peer->generation = envelope_get_u32(envelope);
	if (!envelope_end(envelope) || peer->mount != NULL ||
	    mount >= config->nsockets ||
	    (peer->version != FRAME_V1 && peer->version != FRAME_V2))
		return false;
	peer->mount = &config->sockets[mount];
	if (peer->generation == 0)
		return true;
	if (peer->slot == NULL)
		return false;
	peer->lane = shared_lane(
	    shared, (uint32_t)(peer->slot - shared->slots));
	return socket_take(peer);
}

/* It has said all that it wanted of a worker before us. */
static bool
on_ready(struct peer *peer, struct envelope *envelope)
{
	if (peer->ready || !envelope_end(envelope))
		return false;
	deliver_all(peer->pubsub);
	if (!catch_up(peer))
		return false;
	socket_spare(peer);
	return true;
}

/* ---- subscriptions ---- */

static void
confirm(struct peer *peer, enum envelope_type type, uint32_t part,
    const struct text *topic)
{
	struct pubsub *pubsub = peer->pubsub;
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, part);
	envelope_put_data(&writer, topic->data, topic->size);
	if (type == ENVELOPE_PS_SUBSCRIBED) {
		envelope_put_u32(&writer, pubsub->shared->nworkers);
		for (unsigned i = 0; i < pubsub->shared->nworkers; i++)
			envelope_put_u64(&writer, pubsub_position(pubsub, i));
	}
	mailbox_send(peer->mailbox, type, &writer);
}

static bool
get_since(struct subscription *sub, enum part part, struct envelope *envelope)
{
	uint32_t n = envelope_get_u32(envelope);

	if (n == 0)
		return envelope_end(envelope);
	if (n > PUBSUB_MAX || sub->peer->ready || sub->since[part] != NULL)
		return false;
	sub->since[part] = xcalloc(PUBSUB_MAX, sizeof *sub->since[part]);
	for (uint32_t i = 0; i < n; i++)
		sub->since[part][i] = envelope_get_u64(envelope);
	return envelope_end(envelope);
}

static bool
may_subscribe(const struct peer *peer)
{
	size_t max = PUBSUB_TOPICS_MAX;

	if (peer->mount != NULL)
		max = 1 +
		    ((size_t)peer->mount->max_channels + PUBSUB_ENDING_MAX) *
			(1 + PUBSUB_EXTRAS_MAX);
	if (peer->ntopics < max)
		return true;
	log_warnx("connection #%" PRIu64 " subscribes to more than %zu topics",
	    peer->connection, max);
	return false;
}

static void
subscribe_client(struct subscription *sub)
{
	const struct config_channel *channel = NULL;
	const struct text *topic = &sub->topic->name;

	sub->client = true;
	if (sub->peer->mount != NULL)
		channel = config_find_channel(
		    sub->peer->mount, topic->data, topic->size);
	if (channel != NULL && channel->callbacks != NULL)
		sub->intercept = channel->callbacks->intercept;
}

static bool
on_subscribe(struct peer *peer, struct envelope *envelope)
{
	uint32_t part = envelope_get_u32(envelope);
	struct text topic = envelope_get_text(envelope);
	struct subscription *sub;

	if (envelope->bad || part >= PARTS)
		return false;
	/* What was accepted before is not for it. */
	deliver_all(peer->pubsub);
	sub = subscription_find(peer, &topic);
	if (sub == NULL && !may_subscribe(peer))
		return false;
	if (sub == NULL)
		sub = subscription_add(peer, &topic);
	if (part == PART_CLIENT)
		subscribe_client(sub);
	else
		sub->channel = true;
	if (!get_since(sub, part, envelope))
		return false;
	if (peer->behind != NULL)
		subscription_begins(sub, part);
	confirm(peer, ENVELOPE_PS_SUBSCRIBED, part, &topic);
	return true;
}

static bool
on_unsubscribe(struct peer *peer, struct envelope *envelope)
{
	uint32_t part = envelope_get_u32(envelope);
	struct text topic = envelope_get_text(envelope);
	struct subscription *sub;

	if (!envelope_end(envelope) || part >= PARTS)
		return false;
	deliver_all(peer->pubsub);
	sub = subscription_find(peer, &topic);
	if (sub != NULL) {
		if (part == PART_CLIENT)
			sub->client = false;
		else
			sub->channel = false;
		if (!sub->client && !sub->channel)
			subscription_free(sub);
	}
	confirm(peer, ENVELOPE_PS_UNSUBSCRIBED, part, &topic);
	return true;
}

/* Of this worker's connections: each once for its client, once for its
 * channels that want it. */
static bool
on_count(struct peer *peer, struct envelope *envelope)
{
	struct text name = envelope_get_text(envelope);
	struct envelope_writer writer = { 0 };
	const struct subscription *sub;
	const struct topic *topic;
	uint32_t n = 0;

	if (!envelope_end(envelope))
		return false;
	topic = subscribers_of(peer->pubsub, &name);
	if (topic != NULL)
		TAILQ_FOREACH (sub, &topic->subscribers, of_topic)
			n += (uint32_t)sub->client + (uint32_t)sub->channel;
	envelope_put_u32(&writer, n);
	mailbox_send(peer->mailbox, ENVELOPE_PS_COUNTED, &writer);
	return true;
}

/* ---- publishing ---- */

static void
accept_up_to(struct peer *peer, uint64_t publish)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u64(&writer, publish);
	mailbox_send(peer->mailbox, ENVELOPE_PS_ACCEPTED, &writer);
}

/*
 * NULL also when it has gone to another connection: this one's transport was
 * killed, and what it had sent is still being read here.
 */
static struct slot *
own_slot(const struct peer *peer)
{
	struct slot *slot = peer->slot;

	return slot != NULL &&
		atomic_load(&slot->connection) == peer->connection
	    ? slot
	    : NULL;
}

/* Accepted when it is in the journal; delivered behind all that can be read
 * just now, so that what comes together leaves together. */
static bool
on_publish(struct peer *peer, struct envelope *envelope)
{
	struct pubsub *pubsub = peer->pubsub;
	struct journal_entry entry = {
		.connection = peer->connection,
		.publish = envelope_get_u64(envelope),
		.slot = SLOT_NONE,
	};
	uint64_t accepted = 0;

	entry.flags = envelope_get_u32(envelope);
	if (!broadcast_get(envelope, &entry.broadcast) ||
	    entry.broadcast.kind > BENNU_BINARY ||
	    (entry.flags & ~JOURNAL_LOCAL) != 0)
		return false;
	if (peer->slot != NULL) {
		entry.slot = (uint32_t)(peer->slot - pubsub->shared->slots);
		if (own_slot(peer) != NULL)
			accepted = atomic_load(&peer->slot->accepted);
		/* Our predecessor may have accepted it. */
		if (entry.publish <= accepted) {
			accept_up_to(peer, entry.publish);
			return true;
		}
	}
	entry.ticket = atomic_fetch_add(&pubsub->shared->all->ticket, 1);
	entry.number = journal_append(pubsub->journal, &entry);
	if (entry.number == 0)
		return false;
	/* Swapped: it may go just now. */
	if (own_slot(peer) != NULL)
		atomic_compare_exchange_strong(
		    &peer->slot->accepted, &accepted, entry.publish);
	accept_up_to(peer, entry.publish);
	adapters_published(pubsub->adapters, &entry);
	tap_published(pubsub->tap, &entry);
	event_active(pubsub->deliver_event, EV_TIMEOUT, 0);
	/* What all have sent while we were stopped may be more than the ring
	 * can hold. */
	pubsub->undelivered += entry.broadcast.payload.size + ENTRY_HEADS;
	if (pubsub->undelivered > journal_map_size(pubsub->journal) / 4)
		deliver_all(pubsub);
	return true;
}

/* From the loop: topics and peers may go with them. */
static void
let_go_of_full(struct pubsub *pubsub)
{
	struct peer *peer;

	while ((peer = TAILQ_FIRST(&pubsub->full)) != NULL)
		peer_let_go(peer);
}

/* The others begin while we deliver. */
static void
on_deliver(int fd, short what, void *arg)
{
	struct pubsub *pubsub = arg;

	(void)fd;
	(void)what;
	adapters_flush(pubsub->adapters);
	deliver_all(pubsub);
	let_go_of_full(pubsub);
}

static void
on_news(unsigned origin, uint64_t number, void *arg)
{
	struct pubsub *pubsub = arg;

	(void)origin;
	(void)number;
	event_active(pubsub->deliver_event, EV_TIMEOUT, 0);
}

/* ---- the mailbox ---- */

static bool
dispatch(struct peer *peer, struct envelope *envelope)
{
	if (envelope->type == ENVELOPE_PS_HELLO)
		return on_hello(peer, envelope);
	if (!peer->said_hello)
		return false;
	if (envelope->type == ENVELOPE_PS_SERVES)
		return on_serves(peer, envelope);
	if (envelope->type == ENVELOPE_PS_SUBSCRIBE)
		return on_subscribe(peer, envelope);
	if (envelope->type == ENVELOPE_PS_READY)
		return on_ready(peer, envelope);
	if (envelope->type == ENVELOPE_PS_UNSUBSCRIBE)
		return on_unsubscribe(peer, envelope);
	if (envelope->type == ENVELOPE_PS_PUBLISH)
		return on_publish(peer, envelope);
	if (envelope->type == ENVELOPE_PS_ROOM)
		return envelope_end(envelope) && behind_has_room(peer);
	if (envelope->type == ENVELOPE_PS_COUNT)
		return on_count(peer, envelope);
	return false;
}

/* The process is gone: what we hold of its client's socket must not keep the
 * connection open. */
static void
on_end(struct peer *peer)
{
	if (peer->fd != -1)
		shutdown(peer->fd, SHUT_RDWR);
	peer_free(peer);
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct peer *peer = arg;

	(void)mailbox;
	if (envelope == NULL) {
		on_end(peer);
		return;
	}
	if (!dispatch(peer, envelope)) {
		if (peer->unknown || peer->later) {
			peer_free(peer);
			return;
		}
		log_warnx("transport #%" PRIu64
			  " sent a bad %s envelope; let go",
		    peer->connection, envelope_name(envelope->type));
	} else if (!peer_is_full(peer, peer->largest))
		return; /* else it asks and does not take the answers */
	peer_let_go(peer);
}

/* ---- the role ---- */

/* What was appended last, its publisher may not have been noted for. */
static void
note_last_accepted(struct pubsub *pubsub)
{
	struct journal_reader reader = {
		.journal = pubsub->journal,
		.next = journal_head(pubsub->journal),
	};
	struct shared *shared = pubsub->shared;
	struct journal_entry entry;
	struct slot *slot;

	if (reader.next == 0 || journal_read(&reader, &entry) != JOURNAL_OK ||
	    entry.slot >= shared->nslots)
		return;
	slot = &shared->slots[entry.slot];
	if (atomic_load(&slot->connection) == entry.connection &&
	    atomic_load(&slot->accepted) < entry.publish)
		atomic_store(&slot->accepted, entry.publish);
}

/* Beyond all positions of the lost one that anybody may have heard of. */
static void
raise_base(struct pubsub *pubsub)
{
	struct shared *shared = pubsub->shared;
	uint64_t heard = 0;

	for (unsigned i = 0; i < shared->nworkers; i++) {
		uint64_t progress = atomic_load(
		    &shared->workers[i].progress[pubsub->self]);

		if (progress > heard)
			heard = progress;
	}
	atomic_store(
	    &shared->workers[pubsub->self].base, heard + BEYOND_PROGRESS);
}

/*
 * A predecessor's journal is gone on with. Subscriptions are told anew, so what
 * the interest table says of us is void until then.
 */
static void
open_shared(struct pubsub *pubsub)
{
	struct shared *shared = pubsub->shared;
	struct shared_worker *worker = &shared->workers[pubsub->self];

	shared_own(shared, pubsub->self);
	pubsub->journal = shared->journals[pubsub->self];
	if (!journal_open(pubsub->journal, pubsub->start->suspicious)) {
		log_warnx("the journal was damaged and begins anew: what it "
			  "had accepted is lost");
		raise_base(pubsub);
	}
	note_last_accepted(pubsub);
	/* The bus will raise it. */
	pubsub->epoch = atomic_load(&worker->epoch) + 1;
	/* The first one has nothing to clear, and touches nothing. */
	for (size_t i = 0; pubsub->epoch > 1 && i < INTEREST_BUCKETS; i++)
		atomic_store_explicit(
		    &worker->interest[i], 0, memory_order_relaxed);
	for (unsigned i = 0; i < shared->nworkers; i++) {
		uint64_t progress = atomic_load(&worker->progress[i]);

		deliver_behind(pubsub, i, progress);
		atomic_store(
		    &worker->ended[(pubsub->epoch - 1) % SHARED_EPOCHS][i],
		    progress);
	}
}

static void
start_streams(struct pubsub *pubsub)
{
	static const struct adapter_callbacks callbacks = { .news = on_news };
	const struct pubsub_start *start = pubsub->start;
	const struct adapter_start adapter = {
		.base = pubsub->leaf.base,
		.directory = start->run_directory,
		.shared = start->shared,
		.self = pubsub->self,
		.callbacks = &callbacks,
		.arg = pubsub,
	};

	pubsub->adapters = adapters_start(&adapter);
	pubsub->tap = tap_new(pubsub->leaf.base, start->run_directory,
	    pubsub->self, journal_head(pubsub->journal));
	if (pubsub->adapters == NULL || pubsub->tap == NULL)
		exit(EXIT_START);
}

void
pubsub_run(void *arg)
{
	struct pubsub pubsub = { .start = arg };
	char name[32];

	pubsub.shared = pubsub.start->shared;
	pubsub.self = pubsub.start->number - 1;
	RB_INIT(&pubsub.topics);
	TAILQ_INIT(&pubsub.peers);
	TAILQ_INIT(&pubsub.dirty);
	TAILQ_INIT(&pubsub.full);
	TAILQ_INIT(&pubsub.sockets);
	pubsub.leaf.make_room = socket_make_room;
	pubsub.leaf.arg = &pubsub;
	snprintf(name, sizeof name, "pubsub %u", pubsub.start->number);
	leaf_begin(&pubsub.leaf, name, PUBSUB_FD_MAILBOX);
	open_shared(&pubsub);
	pubsub.deliver_event = event_new(
	    pubsub.leaf.base, -1, 0, on_deliver, &pubsub);
	behind_start(&pubsub);
	start_streams(&pubsub);
	leaf_listen(&pubsub.leaf, PUBSUB_FD_LISTEN, peer_new);
	leaf_started(&pubsub.leaf);
	event_base_dispatch(pubsub.leaf.base);
	fatalx("the event loop ended");
}
