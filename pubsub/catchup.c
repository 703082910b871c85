/*
 * catchup.c - a connection that registers again, since its worker died: what
 * the dead one had accepted and not given to it, it gets now, once.
 *
 * Who got what is known exactly. What went by the mailbox, the transport has
 * received, or not (HELLO says up to where; the mailbox keeps order). What went
 * by the lane stands in the lane. What went into a mailbox stands in the slot:
 * if all of it was received, nothing is missing up to the progress of the dead
 * worker.
 */
#include <sys/socket.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "pubsub/lane.h"
#include "pubsub/pubsub_private.h"

static uint64_t
max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* How far the worker had got that it was with before, if that is known. */
static uint64_t
was_given(const struct peer *peer, enum part part, unsigned origin)
{
	const struct pubsub *pubsub = peer->pubsub;
	const struct shared_worker *worker =
	    &pubsub->shared->workers[pubsub->self];
	uint64_t epoch;

	if (peer->slot == NULL ||
	    peer->received[part][origin] <
		atomic_load(&peer->slot->queued[part][origin]))
		return 0; /* not all that was given has come */
	if (atomic_load(&peer->slot->is_behind))
		return atomic_load(&peer->slot->given[origin]);
	epoch = atomic_load(&peer->slot->epoch);
	if (epoch == 0 || epoch >= pubsub->epoch ||
	    pubsub->epoch - epoch > SHARED_EPOCHS)
		return 0;
	return atomic_load(&worker->ended[epoch % SHARED_EPOCHS][origin]);
}

/* It has all entries up to this that were for it, in this part. */
static uint64_t
has_up_to(const struct peer *peer, enum part part, unsigned origin)
{
	uint64_t has = max(
	    peer->received[part][origin], was_given(peer, part, origin));

	if (part == PART_CLIENT && peer->lane != NULL)
		has = max(has, lane_written(peer->lane, origin));
	return has;
}

/* Does the subscription miss this entry? */
static bool
misses(const struct subscription *sub, enum part part, unsigned origin,
    uint64_t number, uint64_t has)
{
	const uint64_t *since = sub->since[part];

	return since != NULL && number > since[origin] && number > has;
}

/* The first number that one of its subscriptions may miss. */
static uint64_t
begin_of(struct peer *peer, enum part part, unsigned origin)
{
	uint64_t begin = UINT64_MAX, has = has_up_to(peer, part, origin);
	struct subscription *sub;

	RB_FOREACH (sub, subscription_tree, &peer->topics)
		if (sub->since[part] != NULL &&
		    max(sub->since[part][origin], has) < begin)
			begin = max(sub->since[part][origin], has);
	return begin == UINT64_MAX ? begin : begin + 1;
}

/* Those of a journal from a number on, for one connection. */
struct missed {
	struct peer *peer;
	struct journal_reader reader;
	uint64_t base; /* of its numbers */
	struct journal_entry entry;
	struct subscription *sub;
};

static void
missed_begin(
    struct missed *missed, struct peer *peer, unsigned origin, uint64_t from)
{
	struct journal *journal = peer->pubsub->shared->journals[origin];

	uint64_t base = peer->pubsub->bases[origin];

	/* Before its base it is as gone as what was overwritten: number 0. */
	*missed = (struct missed){
		.peer = peer,
		.base = base,
		.reader = {
			.journal = journal,
			.epoch = journal_epoch(journal),
			.next = from > base ? from - base : 0,
		},
	};
}

/* The next one up to `last` that it is subscribed to and did not send itself.
 */
static enum journal_result
missed_next(struct missed *missed, uint64_t last)
{
	enum journal_result result;

	while (missed->base + missed->reader.next <= last) {
		result = journal_read(&missed->reader, &missed->entry);
		if (result != JOURNAL_OK)
			return result;
		missed->entry.number += missed->base;
		if (missed->entry.connection != 0 &&
		    missed->entry.connection == missed->peer->connection)
			continue;
		missed->sub = subscription_find(
		    missed->peer, &missed->entry.broadcast.topic);
		if (missed->sub != NULL)
			return JOURNAL_OK;
	}
	return JOURNAL_END;
}

/* ---- a write into the socket that was interrupted ---- */

/* The frames that it consisted of, as far as its size. False: they are not
 * there any more. */
static bool
encode_again(struct peer *peer, unsigned origin, uint64_t last, size_t all,
    struct json_buffer *frames)
{
	/* The progress says nothing of what was being written. */
	uint64_t has = max(peer->received[PART_CLIENT][origin],
	    lane_written(peer->lane, origin));
	enum journal_result result = JOURNAL_OK;
	struct missed missed;

	missed_begin(&missed, peer, origin, has + 1);
	/* What the page says may be a lie, and is not worth more work. */
	while (frames->size <= all &&
	    (result = missed_next(&missed, last)) == JOURNAL_OK) {
		const struct broadcast *broadcast = &missed.entry.broadcast;
		char *frame;
		size_t size;

		if (!misses(missed.sub, PART_CLIENT, origin,
			missed.entry.number, has) ||
		    subscription_intercepts(missed.sub, &broadcast->event))
			continue;
		frame = encode_frame(peer->version, broadcast, &size);
		if (frame != NULL)
			json_append(frames, frame, size);
		free(frame);
	}
	return result == JOURNAL_END && journal_is_valid(&missed.reader);
}

/*
 * Part of a frame is in the socket: the rest must follow, or nothing ever.
 * False: which rest cannot be told.
 */
static bool
settle(struct peer *peer)
{
	struct json_buffer frames = { 0 };
	uint64_t account, last;
	size_t size, in;
	unsigned origin;
	bool settled = false;

	if (peer->fd == -1)
		return true;
	if (!lane_account(peer->fd, &account)) {
		log_warn("connection #%" PRIu64 ": the account of its socket",
		    peer->connection);
		return false;
	}
	if (!lane_interrupted(peer->lane, account, &origin, &last, &size, &in))
		return true;
	/* The page is the transport's: it may name any worker. */
	if (origin < peer->pubsub->shared->nworkers && in <= size &&
	    encode_again(peer, origin, last, size, &frames) &&
	    frames.size == size) {
		deliver_rest(peer, origin, last, frames.data + in, size - in);
		/* What follows begins behind it. */
		peer->received[PART_CLIENT][origin] = last;
		settled = true;
	} else
		log_warnx("connection #%" PRIu64 ": an interrupted write of "
			  "%zu bytes does not add up (%zu in the socket, %zu "
			  "encoded again); closed",
		    peer->connection, size, in, frames.size);
	json_buffer_free(&frames);
	return settled;
}

/* ---- what was not begun ---- */

/* Goes back to what it may miss of a journal. */
static void
set_back(struct peer *peer, unsigned origin)
{
	struct behind *behind = peer->behind;
	uint64_t from = UINT64_MAX, base = behind->bases[origin];

	for (enum part part = 0; part < PARTS; part++) {
		uint64_t begin = begin_of(peer, part, origin);

		behind->has[part][origin] = has_up_to(peer, part, origin);
		if (begin < from)
			from = begin;
	}
	/* Before its base it is as gone as what was overwritten: number 0. */
	if (from <= pubsub_position(peer->pubsub, origin))
		behind->readers[origin].next = from > base ? from - base : 0;
}

/* Those that were not confirmed before have nothing to catch up with. */
static void
begin_others(struct peer *peer)
{
	struct subscription *sub;

	RB_FOREACH (sub, subscription_tree, &peer->topics)
		for (enum part part = 0; part < PARTS; part++)
			if (sub->since[part] == NULL)
				subscription_begins(sub, part);
}

bool
catch_up(struct peer *peer)
{
	begin_others(peer);
	if (!settle(peer)) {
		shutdown(peer->fd, SHUT_RDWR);
		return false;
	}
	if (peer->missed)
		mailbox_send(peer->mailbox, ENVELOPE_PS_OVERRUN, NULL);
	behind_new(peer);
	for (unsigned i = 0; i < peer->pubsub->shared->nworkers; i++)
		if (!peer->missed)
			set_back(peer, i);
	peer->ready = true;
	behind_go_on(peer);
	return true;
}
