/*
 * behind.c - connections that are behind the journals: since their worker died,
 * or was stopped, more waits for them than may be handed over at once. They
 * read the journals at the pace at which they take what they get: a piece, then
 * the question whether there is room, and the next one behind the answer. What
 * waits so lies in the journals and nowhere else; when the ring overtakes it,
 * it is lost, and they are told.
 *
 * Otherwise all are given everything at once, and the bound of the backlog says
 * what becomes of those who are too slow.
 */
#include <event2/event.h>
#include <stdlib.h>

#include "common/process.h"
#include "common/xmalloc.h"
#include "pubsub/pubsub_private.h"

#define PIECE_MAX   (128U << 10) /* bytes that are given unasked */
#define LOOKED_MAX  2000 /* entries looked at before others have their turn */
#define TICK        1000 /* ms, to notice that we were stopped */
#define STALL       300  /* ms that a tick may come late */
#define RECOVER_MIN 2000 /* ms that it takes to give what had waited */
#define RECOVER_MAX 10000

/* ---- how much may wait ---- */

/* Of the messages of its channels' queues. */
static unsigned
messages_max(const struct pubsub *pubsub)
{
	return (unsigned)pubsub->start->config->queue_max_messages / 4 + 1;
}

static size_t
bytes_max(const struct peer *peer)
{
	size_t max = peer->pubsub->start->config->backlog_max / 2;

	return peer->behind != NULL && max > PIECE_MAX ? PIECE_MAX : max;
}

static void
forget_waiting(struct peer *peer)
{
	for (int part = 0; part < PARTS; part++)
		peer->waiting[part] = 0;
	peer->messages = 0;
}

/* Frames of the batch in hand: `more`. */
static bool
is_enough(const struct peer *peer, size_t more)
{
	size_t max = bytes_max(peer);

	return peer->waiting[PART_CLIENT] + more > max ||
	    peer->waiting[PART_CHANNEL] > max ||
	    peer->messages > messages_max(peer->pubsub);
}

/* ---- a worker that had been stopped ---- */

static void
recover(struct pubsub *pubsub, long long until)
{
	pubsub->recovers_until = until;
	pubsub->recovery++;
}

static void
notice_stall(struct pubsub *pubsub, long long now)
{
	long long late = now - pubsub->tick_ms - TICK;

	if (pubsub->tick_ms == 0 || late < STALL)
		return;
	if (late < RECOVER_MIN)
		late = RECOVER_MIN;
	if (late > RECOVER_MAX)
		late = RECOVER_MAX;
	recover(pubsub, now + late);
	pubsub->tick_ms = now;
}

static void
on_tick(int fd, short what, void *arg)
{
	struct pubsub *pubsub = arg;
	long long now = monotonic_ms();

	(void)fd;
	(void)what;
	notice_stall(pubsub, now);
	pubsub->tick_ms = now;
}

void
behind_round(struct pubsub *pubsub)
{
	long long now = monotonic_ms();

	notice_stall(pubsub, now);
	pubsub->recovers = now < pubsub->recovers_until;
}

/* ---- who is behind ---- */

/* How far it has got, for a successor: before the progress says more. */
static void
note(struct peer *peer)
{
	const struct behind *behind = peer->behind;
	const struct shared *shared = peer->pubsub->shared;

	if (peer->slot == NULL)
		return;
	for (unsigned i = 0; i < shared->nworkers; i++)
		atomic_store_explicit(&peer->slot->given[i],
		    behind->bases[i] + behind->readers[i].next - 1,
		    memory_order_relaxed);
	atomic_store(&peer->slot->is_behind, true);
}

static void
ask_for_room(struct peer *peer)
{
	peer->behind->asked = true;
	mailbox_send(peer->mailbox, ENVELOPE_PS_ENOUGH, NULL);
}

/* The worker's own position. */
static void
set_level(struct peer *peer, unsigned origin)
{
	const struct pubsub *pubsub = peer->pubsub;
	struct behind *behind = peer->behind;

	behind->bases[origin] = pubsub->bases[origin];
	behind->readers[origin] = pubsub->readers[origin];
	if (behind->readers[origin].epoch == 0)
		behind->readers[origin].epoch = journal_epoch(
		    pubsub->shared->journals[origin]);
}

static bool
is_level(const struct peer *peer, unsigned origin)
{
	const struct pubsub *pubsub = peer->pubsub;
	const struct behind *behind = peer->behind;

	return behind->bases[origin] == pubsub->bases[origin] &&
	    behind->readers[origin].next >= pubsub->readers[origin].next;
}

struct behind *
behind_new(struct peer *peer)
{
	peer->behind = xcalloc(1, sizeof *peer->behind);
	for (unsigned i = 0; i < peer->pubsub->shared->nworkers; i++)
		set_level(peer, i);
	return peer->behind;
}

void
behind_free(struct peer *peer)
{
	if (peer->behind == NULL)
		return;
	if (peer->behind->listed)
		TAILQ_REMOVE(&peer->pubsub->behind, peer, of_behind);
	free(peer->behind);
	peer->behind = NULL;
}

bool
behind_falls(struct peer *peer, unsigned origin)
{
	struct pubsub *pubsub = peer->pubsub;

	if (peer->behind != NULL)
		return true;
	if (!pubsub->recovers)
		return false;
	if (peer->recovery != pubsub->recovery) {
		peer->recovery = pubsub->recovery;
		forget_waiting(peer);
	}
	if (!is_enough(peer, deliver_collected(peer)))
		return false;
	/* What was collected comes first, and its lane may take it. */
	deliver_flush_peer(peer);
	if (!is_enough(peer, 0))
		return false;
	behind_new(peer)->readers[origin].next--;
	note(peer);
	ask_for_room(peer);
	return true;
}

/* ---- what they get ---- */

static bool
wants(const struct subscription *sub, enum part part, unsigned origin,
    uint64_t number)
{
	const uint64_t *since = sub->since[part];

	return number > sub->peer->behind->has[part][origin] &&
	    (since == NULL || number > since[origin]);
}

static void
give(struct peer *peer, unsigned origin, struct journal_entry *entry)
{
	struct behind *behind = peer->behind;
	struct outgoing_broadcast out;
	struct subscription *sub;

	if (entry->connection != 0 && entry->connection == peer->connection)
		return;
	sub = subscription_find(peer, &entry->broadcast.topic);
	if (sub == NULL)
		return;
	entry->number += behind->bases[origin];
	outgoing_begin(&out, origin, entry);
	/* Else the next read will say so. */
	if (journal_is_valid(&behind->readers[origin])) {
		deliver_to(sub, &out,
		    wants(sub, PART_CLIENT, origin, entry->number),
		    wants(sub, PART_CHANNEL, origin, entry->number));
		deliver_flush_peer(peer);
	}
	outgoing_end(&out);
}

static void
give_next(struct peer *peer, unsigned origin)
{
	struct journal_entry entry;

	switch (journal_read(&peer->behind->readers[origin], &entry)) {
	case JOURNAL_OK:
		give(peer, origin, &entry);
		break;
	case JOURNAL_OVERRUN:
		mailbox_send(peer->mailbox, ENVELOPE_PS_OVERRUN, NULL);
		set_level(peer, origin);
		break;
	case JOURNAL_END:
		set_level(peer, origin);
		break;
	}
}

/* Others have their turn. */
static void
go_on_later(struct peer *peer)
{
	static const struct timeval now = { 0 };
	struct pubsub *pubsub = peer->pubsub;

	peer->behind->listed = true;
	TAILQ_INSERT_TAIL(&pubsub->behind, peer, of_behind);
	event_add(pubsub->behind_event, &now);
}

static void
is_behind_no_more(struct peer *peer)
{
	behind_free(peer);
	subscriptions_forget_since(peer);
	if (peer->slot == NULL)
		return;
	atomic_store(&peer->slot->epoch, peer->pubsub->epoch);
	atomic_store(&peer->slot->is_behind, false);
}

/* The journal of the next entry in the order of all (deliver.c); -1: it has all
 * that others have. */
static int
next_origin(const struct peer *peer)
{
	const struct behind *behind = peer->behind;
	uint32_t ticket, first = 0;
	int next = -1;

	for (unsigned i = 0; i < peer->pubsub->shared->nworkers; i++) {
		if (is_level(peer, i))
			continue;
		/* What is not there any more is told at once. */
		if (journal_peek(&behind->readers[i], &ticket) != JOURNAL_OK)
			return (int)i;
		if (next == -1 || ticket_before(ticket, first)) {
			next = (int)i;
			first = ticket;
		}
	}
	return next;
}

void
behind_go_on(struct peer *peer)
{
	unsigned looked = 0;
	int origin;

	while ((origin = next_origin(peer)) != -1 && !is_enough(peer, 0) &&
	    looked < LOOKED_MAX) {
		give_next(peer, (unsigned)origin);
		looked++;
	}
	note(peer);
	if (origin == -1)
		is_behind_no_more(peer);
	else if (is_enough(peer, 0))
		ask_for_room(peer);
	else
		go_on_later(peer);
}

bool
behind_has_room(struct peer *peer)
{
	if (peer->behind == NULL || !peer->behind->asked)
		return false;
	peer->behind->asked = false;
	forget_waiting(peer);
	behind_go_on(peer);
	return true;
}

static void
on_behind(int fd, short what, void *arg)
{
	struct pubsub *pubsub = arg;
	struct peer *peer, *last = TAILQ_LAST(&pubsub->behind, peers);

	(void)fd;
	(void)what;
	do {
		peer = TAILQ_FIRST(&pubsub->behind);
		if (peer == NULL)
			return;
		TAILQ_REMOVE(&pubsub->behind, peer, of_behind);
		peer->behind->listed = false;
		behind_go_on(peer);
	} while (peer != last);
}

void
behind_start(struct pubsub *pubsub)
{
	static const struct timeval tick = { .tv_sec = TICK / 1000 };

	TAILQ_INIT(&pubsub->behind);
	pubsub->tick_ms = monotonic_ms();
	/* What a predecessor did not accept will come soon. */
	if (pubsub->epoch > 1)
		recover(pubsub, pubsub->tick_ms + RECOVER_MIN);
	pubsub->behind_event = event_new(
	    pubsub->leaf.base, -1, 0, on_behind, pubsub);
	pubsub->tick_event = event_new(
	    pubsub->leaf.base, -1, EV_PERSIST, on_tick, pubsub);
	event_add(pubsub->tick_event, &tick);
}
