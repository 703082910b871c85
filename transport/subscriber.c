/*
 * subscriber.c - see subscriber.h.
 */
#include <sys/mman.h>

#include <assert.h>

#include "common/log.h"
#include "pubsub/lane.h"
#include "transport/endpoint.h"
#include "transport/frame.h"
#include "transport/link.h"
#include "transport/publish.h"
#include "transport/subscriber.h"
#include "transport/transport.h"

/* ---- the lane ---- */

/* Does nothing of ours wait, so that the worker may write? */
static bool
is_idle(const struct transport *t)
{
	return t->mode == MODE_WEBSOCKET && t->unconfirmed == 0 &&
	    outbox_is_empty(&t->outbox);
}

static void
release(struct transport *t, size_t bytes)
{
	lane_release(
	    t->lane, bytes, is_idle(t), pubsub_client_received(t->pubsub));
}

/* Nothing is left to be written: the worker may. */
static void
release_if_idle(struct transport *t)
{
	if (t->lane != NULL && is_idle(t))
		release(t, 0);
}

int
subscriber_may_write(void *arg)
{
	struct transport *t = arg;

	if (t->lane == NULL)
		return 1;
	if (!lane_hold(t->lane))
		return lane_is_closed(t->lane) ? -1 : 0;
	/* What waits is the last word: nobody writes behind it. */
	if (t->mode != MODE_WEBSOCKET)
		lane_close(t->lane);
	return 1;
}

void
subscriber_wrote(size_t bytes, void *arg)
{
	struct transport *t = arg;

	if (t->lane != NULL)
		release(t, bytes);
	pubsub_client_room(t->pubsub);
}

void
subscriber_hold(struct transport *t)
{
	if (t->unconfirmed++ == 0 && t->lane != NULL)
		lane_queue(t->lane);
}

void
subscriber_confirmed(struct transport *t)
{
	assert(t->unconfirmed > 0);
	t->unconfirmed--;
	release_if_idle(t);
	pubsub_client_room(t->pubsub);
}

/* ---- what comes ---- */

static void
on_deliver(const struct broadcast *broadcast, uint32_t what, void *arg)
{
	struct transport *t = arg;

	if (t->link != NULL && !transport_disconnects(t, broadcast))
		topic_deliver(t, broadcast, what);
}

static void
on_frame(const struct text *topic, const char *frame, size_t size, void *arg)
{
	struct transport *t = arg;

	topic_deliver_frame(t, topic, frame, size);
	release_if_idle(t);
}

static void
on_rest(const char *rest, size_t size, void *arg)
{
	struct transport *t = arg;

	if (t->lane == NULL)
		return;
	lane_rest(t->lane);
	outbox_add_front(&t->outbox, rest, size);
	outbox_retry(&t->outbox);
}

static void
on_lane_free(void *arg)
{
	struct transport *t = arg;

	outbox_retry(&t->outbox);
	release_if_idle(t);
}

static void
on_missed(void *arg)
{
	struct transport *t = arg;

	if (t->link != NULL)
		transport_overrun(t, "what waited at pubsub");
}

static void
on_published(void *arg)
{
	struct transport *t = arg;

	if (!transport_is_full(t))
		topic_pause_channels(t, false);
	endpoint_published(t);
	publish_accepted(t);
	transport_ended(t);
}

/* What pubsub gives at once must not make anything full. */
static bool
has_room(void *arg)
{
	struct transport *t = arg;

	return t->link == NULL ||
	    (t->unconfirmed == 0 &&
		t->link->backlog(t) <= t->config->backlog_max / 4 &&
		topic_queues_have_room(t));
}

/* ---- its life ---- */

void
subscriber_start(struct transport *t)
{
	static const struct pubsub_callbacks callbacks = {
		.deliver = on_deliver,
		.frame = on_frame,
		.rest = on_rest,
		.lane_free = on_lane_free,
		.overrun = on_missed,
		.idle = on_published,
		.has_room = has_room,
	};
	const struct pubsub_identity identity = {
		.path = t->start->pubsub_path,
		.connection = t->start->connection,
		.slot = t->start->slot,
	};

	/* No process that runs an author's code has it. */
	if (t->start->lane != NULL &&
	    madvise(t->start->lane, LANE_SIZE, MADV_DONTFORK) == -1)
		fatal("madvise of the lane");
	t->pubsub = pubsub_client_new(t->base, &identity, &callbacks, t);
}

/* TLS would be ours to write: no lane then. So far there is none. A long-poll
 * session has neither a lane nor a socket. */
void
subscriber_serves(struct transport *t)
{
	t->lane = t->start->lane;
	if (!pubsub_client_serves(t->pubsub,
		(uint32_t)(t->socket - t->config->sockets), frame_spoken(),
		t->fd, t->lane))
		t->lane = NULL;
}

void
subscriber_ends(struct transport *t)
{
	if (t->lane != NULL)
		lane_close(t->lane);
	t->lane = NULL;
	pubsub_client_serves_nobody(t->pubsub);
}
