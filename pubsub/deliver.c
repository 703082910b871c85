/*
 * deliver.c - from the journals to the connections.
 *
 * Entries are taken in batches. A frame is encoded once for each serializer;
 * for each connection the frames of a batch are collected, and go out in one
 * write: straight into the client's socket when its lane is free, else by the
 * mailbox of its transport.
 */
#include <sys/socket.h>
#include <sys/uio.h>

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "pubsub/lane.h"
#include "pubsub/pubsub_private.h"

#define BATCH_MAX  64 /* entries delivered before any of them is written */
#define BATCH_SIZE (256U << 10) /* bytes of frames, likewise */
#define PIECES_MAX 16           /* frames in one write */

/* A frame for a client, of the batch in hand. */
struct piece {
	const char *data;
	size_t size;
	uint64_t number;
	const struct topic *topic;
};

/* What one connection gets of the batch in hand. */
struct pieces {
	unsigned origin; /* one for all: the account of a lane needs it */
	unsigned n;
	size_t size; /* bytes of all */
	struct piece of[PIECES_MAX];
	struct pieces *next; /* while it is spare */
};

/* ---- to one connection, by its mailbox ---- */

static void
put_origin(struct envelope_writer *writer, unsigned origin, uint64_t number)
{
	envelope_put_u32(writer, origin);
	envelope_put_u64(writer, number);
}

/*
 * It never falls, also when something is given again: what a predecessor handed
 * over behind it may be lost.
 */
static void
note_queued(struct slot *slot, enum part part, unsigned origin, uint64_t number)
{
	_Atomic uint64_t *queued = &slot->queued[part][origin];

	if (atomic_load_explicit(queued, memory_order_relaxed) < number)
		atomic_store_explicit(queued, number, memory_order_release);
}

static void
send_part(struct peer *peer, enum part part, enum envelope_type type,
    struct envelope_writer *writer, unsigned origin, uint64_t number,
    size_t size)
{
	if (mailbox_backlog(peer->mailbox) == 0)
		peer->largest = 0;
	if (peer->largest < size)
		peer->largest = size;
	peer->waiting[part] += size;
	peer->messages += part == PART_CHANNEL;
	if (peer->slot != NULL)
		note_queued(peer->slot, part, origin, number);
	mailbox_send(peer->mailbox, type, writer);
	if (!peer->full && peer_is_full(peer, peer->largest)) {
		peer->full = true;
		TAILQ_INSERT_TAIL(&peer->pubsub->full, peer, of_full);
	}
}

static void
send_frame(struct peer *peer, unsigned origin, const struct piece *piece)
{
	struct envelope_writer writer = { 0 };

	put_origin(&writer, origin, piece->number);
	envelope_put_data(
	    &writer, piece->topic->name.data, piece->topic->name.size);
	envelope_put_data(&writer, piece->data, piece->size);
	send_part(peer, PART_CLIENT, ENVELOPE_PS_FRAME, &writer, origin,
	    piece->number, piece->size);
}

void
deliver_rest(struct peer *peer, unsigned origin, uint64_t last,
    const char *data, size_t size)
{
	struct envelope_writer writer = { 0 };

	put_origin(&writer, origin, last);
	envelope_put_data(&writer, data, size);
	send_part(
	    peer, PART_CLIENT, ENVELOPE_PS_REST, &writer, origin, last, size);
}

static void
send_fields(
    struct peer *peer, const struct outgoing_broadcast *out, uint32_t what)
{
	struct envelope_writer writer = { 0 };

	put_origin(&writer, out->origin, out->entry.number);
	envelope_put_u32(&writer, what);
	broadcast_put(&writer, &out->entry.broadcast);
	send_part(peer, PART_CHANNEL, ENVELOPE_PS_DELIVER, &writer, out->origin,
	    out->entry.number, writer.size);
}

/* ---- to one connection, by its lane ---- */

static void
to_iovec(const struct pieces *pieces, struct iovec *iov)
{
	for (unsigned i = 0; i < pieces->n; i++) {
		iov[i].iov_base = (void *)(uintptr_t)pieces->of[i].data;
		iov[i].iov_len = pieces->of[i].size;
	}
}

/* The socket took only so many bytes of them. */
static void
send_rest(struct peer *peer, const struct pieces *pieces, size_t written)
{
	char *rest = xmalloc(pieces->size), *end = rest;

	for (unsigned i = 0; i < pieces->n; i++) {
		memcpy(end, pieces->of[i].data, pieces->of[i].size);
		end += pieces->of[i].size;
	}
	deliver_rest(peer, pieces->origin, pieces->of[pieces->n - 1].number,
	    rest + written, pieces->size - written);
	free(rest);
}

/* Nobody writes to it any more. */
static void
leave_lane(struct peer *peer)
{
	socket_close(peer);
	peer->mount = NULL;
}

static void
write_lane(struct peer *peer, const struct pieces *pieces)
{
	struct iovec iov[PIECES_MAX];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = pieces->n };
	ssize_t n;

	to_iovec(pieces, iov);
	lane_intend(peer->lane, pieces->origin,
	    pieces->of[pieces->n - 1].number, pieces->size);
	/* Nearly always there is one, for which the kernel has less to do. */
	n = pieces->n == 1
	    ? send(peer->fd, iov[0].iov_base, iov[0].iov_len,
		  MSG_DONTWAIT | MSG_NOSIGNAL)
	    : sendmsg(peer->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		n = 0;
	switch (lane_give(
	    peer->lane, peer->generation, n == -1 ? 0 : (size_t)n, n == -1)) {
	case LANE_FREE:
		/* So its transport had nothing more to write either. */
		peer->waiting[PART_CLIENT] = 0;
		break;
	case LANE_YOURS:
		mailbox_send(peer->mailbox, ENVELOPE_PS_YOURS, NULL);
		break;
	case LANE_REST:
		send_rest(peer, pieces, (size_t)n);
		break;
	case LANE_BROKEN:
		/* So that its transport hears of it. */
		shutdown(peer->fd, SHUT_RDWR);
		leave_lane(peer);
		break;
	}
}

static void
pass_on(struct peer *peer, const struct pieces *pieces)
{
	for (unsigned i = 0; i < pieces->n; i++)
		send_frame(peer, pieces->origin, &pieces->of[i]);
}

void
deliver_forget(struct peer *peer)
{
	struct pieces *pieces = peer->pieces;

	if (pieces == NULL)
		return;
	peer->pieces = NULL;
	TAILQ_REMOVE(&peer->pubsub->dirty, peer, dirty);
	pieces->next = peer->pubsub->spare;
	peer->pubsub->spare = pieces;
}

size_t
deliver_collected(const struct peer *peer)
{
	return peer->pieces == NULL ? 0 : peer->pieces->size;
}

void
deliver_flush_peer(struct peer *peer)
{
	struct pieces *pieces = peer->pieces;

	if (pieces == NULL)
		return;
	if (peer->fd == -1)
		pass_on(peer, pieces);
	else
		switch (lane_take(peer->lane, peer->generation, pieces->n)) {
		case LANE_TAKEN:
			write_lane(peer, pieces);
			break;
		case LANE_PASSED:
			pass_on(peer, pieces);
			break;
		case LANE_GONE:
			leave_lane(peer);
			break;
		}
	deliver_forget(peer);
}

static struct pieces *
pieces_begin(struct peer *peer, unsigned origin)
{
	struct pieces *pieces = peer->pubsub->spare;

	if (pieces == NULL)
		pieces = xmalloc(sizeof *pieces);
	else
		peer->pubsub->spare = pieces->next;
	pieces->origin = origin;
	pieces->n = 0;
	pieces->size = 0;
	peer->pieces = pieces;
	TAILQ_INSERT_TAIL(&peer->pubsub->dirty, peer, dirty);
	return pieces;
}

static void
add_piece(struct peer *peer, unsigned origin, const struct piece *piece)
{
	struct pieces *pieces = peer->pieces;

	if (pieces != NULL &&
	    (pieces->origin != origin || pieces->n == PIECES_MAX)) {
		deliver_flush_peer(peer);
		pieces = NULL;
	}
	if (pieces == NULL)
		pieces = pieces_begin(peer, origin);
	pieces->of[pieces->n++] = *piece;
	pieces->size += piece->size;
}

/* ---- one entry ---- */

/* Copied: of another worker's ring it may be overwritten at any time. */
void
outgoing_begin(struct outgoing_broadcast *out, unsigned origin,
    const struct journal_entry *entry)
{
	const struct broadcast *from = &entry->broadcast;
	size_t size = broadcast_size(from);
	char *copy = xmalloc(size + 3);

	memset(out, 0, sizeof *out);
	out->origin = origin;
	out->entry = *entry;
	out->entry.broadcast.topic.data = copy;
	copy = mempcpy(copy, from->topic.data, from->topic.size);
	*copy++ = '\0';
	out->entry.broadcast.event.data = copy;
	copy = mempcpy(copy, from->event.data, from->event.size);
	*copy++ = '\0';
	out->entry.broadcast.payload.data = copy;
	copy = mempcpy(copy, from->payload.data, from->payload.size);
	*copy = '\0';
}

void
outgoing_end(struct outgoing_broadcast *out)
{
	for (int version = FRAME_V1; version <= FRAME_V2; version++)
		free((char *)(uintptr_t)out->frames[version]);
	free(out->entry.broadcast.topic.data);
}

/* NULL: this serializer has no form for it, and its clients get nothing. */
static const char *
frame_of(struct outgoing_broadcast *out, enum frame_version version)
{
	if (!out->encoded[version]) {
		out->encoded[version] = true;
		out->frames[version] = encode_frame(
		    version, &out->entry.broadcast, &out->sizes[version]);
	}
	return out->frames[version];
}

void
deliver_to(struct subscription *sub, struct outgoing_broadcast *out,
    bool client, bool channel)
{
	struct peer *peer = sub->peer;
	bool intercepted = sub->client &&
	    subscription_intercepts(sub, &out->entry.broadcast.event);
	uint32_t what = (intercepted ? PS_DELIVER_OUT : 0) |
	    (sub->channel ? PS_DELIVER_INFO : 0);

	if (client && sub->client && !intercepted && peer->mount != NULL &&
	    frame_of(out, peer->version) != NULL)
		add_piece(peer, out->origin,
		    &(struct piece){
			.data = out->frames[peer->version],
			.size = out->sizes[peer->version],
			.number = out->entry.number,
			.topic = sub->topic,
		    });
	if (channel && what != 0)
		send_fields(peer, out, what);
}

/* ---- batches ---- */

struct batch {
	struct pubsub *pubsub;
	unsigned n;
	size_t size;
	struct outgoing_broadcast of[BATCH_MAX];
};

static void
flush(struct batch *batch)
{
	struct pubsub *pubsub = batch->pubsub;
	struct shared_worker *self = &pubsub->shared->workers[pubsub->self];
	struct peer *peer;

	while ((peer = TAILQ_FIRST(&pubsub->dirty)) != NULL)
		deliver_flush_peer(peer);
	for (unsigned i = 0; i < batch->n; i++)
		outgoing_end(&batch->of[i]);
	batch->n = 0;
	batch->size = 0;
	for (unsigned i = 0; i < pubsub->shared->nworkers; i++)
		atomic_store_explicit(&self->progress[i],
		    pubsub_position(pubsub, i), memory_order_release);
	if (!TAILQ_EMPTY(&pubsub->full))
		event_active(pubsub->deliver_event, EV_TIMEOUT, 0);
}

void
deliver_behind(struct pubsub *pubsub, unsigned origin, uint64_t position)
{
	struct shared *shared = pubsub->shared;
	uint64_t base = atomic_load(&shared->workers[origin].base);

	pubsub->bases[origin] = base;
	pubsub->readers[origin] = (struct journal_reader){
		.journal = shared->journals[origin],
		.next = position > base ? position - base + 1 : 1,
	};
}

static void
deliver_entry(
    struct batch *batch, unsigned origin, const struct journal_entry *entry)
{
	struct pubsub *pubsub = batch->pubsub;
	struct topic *topic = subscribers_of(pubsub, &entry->broadcast.topic);
	struct outgoing_broadcast *out;
	struct subscription *sub;

	if (topic == NULL)
		return;
	out = &batch->of[batch->n++];
	outgoing_begin(out, origin, entry);
	out->entry.number += pubsub->bases[origin];
	if (!journal_is_valid(&pubsub->readers[origin])) {
		outgoing_end(out);
		batch->n--;
		return; /* the next read will say so */
	}
	batch->size += entry->broadcast.payload.size;
	TAILQ_FOREACH (sub, &topic->subscribers, of_topic)
		if (sub->peer->ready &&
		    (entry->connection == 0 ||
			sub->peer->connection != entry->connection) &&
		    !behind_falls(sub->peer, origin))
			deliver_to(sub, out, true, true);
}

/*
 * The ring was faster: who wanted something of it may have missed it. Nobody
 * can know, so all who are subscribed to anything are told.
 */
static void
overrun(struct pubsub *pubsub, unsigned origin)
{
	const struct journal *journal = pubsub->shared->journals[origin];
	struct peer *peer, *next;

	log_warnx("the journal of pubsub %u was overwritten before it was read",
	    origin + 1);
	deliver_behind(pubsub, origin, 0);
	pubsub->readers[origin].next = journal_head(journal) + 1;
	for (peer = TAILQ_FIRST(&pubsub->peers); peer != NULL; peer = next) {
		next = TAILQ_NEXT(peer, entry);
		/* Who is behind will find out. */
		if (!RB_EMPTY(&peer->topics) && peer->behind == NULL)
			mailbox_send(peer->mailbox, ENVELOPE_PS_OVERRUN, NULL);
	}
}

/* ---- all journals as one ---- */

#define TICKETS_AHEAD (1U << 24) /* given while we look; more is nonsense */

/*
 * Who publishes something after something else was accepted, in whichever
 * journal, may count on that order. Entries have tickets of one row for that.
 * Tickets are looked at before the ends of the journals: what was accepted
 * before an entry with an earlier ticket was even begun is then seen, too.
 */
struct round {
	uint32_t end; /* entries with this ticket or a later one wait */
	uint64_t last[PUBSUB_MAX];    /* numbers */
	uint32_t tickets[PUBSUB_MAX]; /* of the next entry of each ... */
	bool there[PUBSUB_MAX];       /* ... if there is one in this round */
};

static void
round_look(const struct pubsub *pubsub, struct round *round, unsigned origin)
{
	const struct journal_reader *reader = &pubsub->readers[origin];
	uint32_t ticket = 0;

	switch (journal_peek(reader, &ticket)) {
	case JOURNAL_OK:
		round->there[origin] = reader->next <= round->last[origin] &&
		    ticket - round->end >= TICKETS_AHEAD;
		break;
	case JOURNAL_OVERRUN: /* to be found out about now */
		round->there[origin] = true;
		ticket = round->end - INT32_MAX;
		break;
	case JOURNAL_END:
		round->there[origin] = false;
		break;
	}
	round->tickets[origin] = ticket;
}

/* Up to where they end just now: others may append as fast as we read. */
static void
round_begin(const struct pubsub *pubsub, struct round *round)
{
	const struct shared *shared = pubsub->shared;

	round->end = atomic_load(&shared->all->ticket);
	for (unsigned i = 0; i < shared->nworkers; i++)
		round->last[i] = journal_head(pubsub->readers[i].journal);
	for (unsigned i = 0; i < shared->nworkers; i++)
		round_look(pubsub, round, i);
}

/* Whose entry is next; -1: none is. */
static int
round_next(const struct pubsub *pubsub, const struct round *round)
{
	int next = -1;

	for (unsigned i = 0; i < pubsub->shared->nworkers; i++)
		if (round->there[i] &&
		    (next == -1 ||
			ticket_before(round->tickets[i], round->tickets[next])))
			next = (int)i;
	return next;
}

static void
deliver_next(struct batch *batch, unsigned origin)
{
	struct pubsub *pubsub = batch->pubsub;
	struct journal_entry entry;

	switch (journal_read(&pubsub->readers[origin], &entry)) {
	case JOURNAL_OK:
		deliver_entry(batch, origin, &entry);
		break;
	case JOURNAL_OVERRUN:
		overrun(pubsub, origin);
		break;
	case JOURNAL_END:
		break;
	}
	if (batch->n == BATCH_MAX || batch->size > BATCH_SIZE)
		flush(batch);
}

/* Something came that a ticket keeps for the next round. */
static bool
is_more(const struct pubsub *pubsub)
{
	for (unsigned i = 0; i < pubsub->shared->nworkers; i++)
		if (pubsub->readers[i].next <=
		    journal_head(pubsub->readers[i].journal))
			return true;
	return false;
}

void
deliver_all(struct pubsub *pubsub)
{
	static struct batch batch;
	struct round round;
	int origin;

	batch.pubsub = pubsub;
	pubsub->undelivered = 0;
	behind_round(pubsub);
	round_begin(pubsub, &round);
	while ((origin = round_next(pubsub, &round)) != -1) {
		deliver_next(&batch, (unsigned)origin);
		round_look(pubsub, &round, (unsigned)origin);
	}
	flush(&batch);
	if (is_more(pubsub))
		event_active(pubsub->deliver_event, EV_TIMEOUT, 0);
}
