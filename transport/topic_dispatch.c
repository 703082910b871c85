/*
 * topic_dispatch.c - what a channel says to its transport: one function for
 * each envelope. False is nonsense, and the channel is killed for it.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "transport/count.h"
#include "transport/inspect.h"
#include "transport/metrics.h"
#include "transport/presence.h"
#include "transport/token.h"
#include "transport/topic_private.h"
#include "transport/transport.h"

#define KEPT_MAX 10000 /* messages that a channel may keep to answer later */

static void
forget_kept(struct topic *topic, struct kept *kept)
{
	RB_REMOVE(kept_tree, &topic->kept, kept);
	topic->nkept--;
	topic->transport->kept_bytes -= strlen(kept->ref);
	free(kept->ref);
	free(kept);
}

void
topic_forget_all_kept(struct topic *topic)
{
	while (!RB_EMPTY(&topic->kept))
		forget_kept(topic, RB_ROOT(&topic->kept));
}

static void
on_subscribed(void *arg)
{
	struct topic *topic = arg;

	topic->confirmed = true;
	topic_confirmed(topic);
}

static bool
on_first_join(struct topic *topic, bool accepted, enum bennu_kind kind,
    const struct text *response)
{
	const struct text status = accepted ? text_lent("ok", 2)
					    : text_lent("error", 5);

	/* Before it counts as joined: without a form this is a crash of it. */
	if (!frame_reply(&topic_frame, topic->join_ref, topic->ref,
		&topic->name, &status, kind, response))
		return false;
	if (accepted) {
		topic->state = TOPIC_JOINED;
		topic->transport->unjoined_since = 0;
		topic->subscribed = true;
		topic_hold(topic);
		pubsub_subscribe(topic->transport->pubsub, PART_CLIENT,
		    &topic->name, on_subscribed, topic);
	}
	topic_send(topic);
	stats_own(topic->transport->start->stats,
	    accepted ? STATS_JOINS : STATS_JOINS_REFUSED);
	if (accepted) {
		topic_close_replaced(topic);
		child_ready(topic->child);
		return true;
	}
	topic->refused = true;
	topic_join_failed(topic, NULL);
	return true;
}

static bool
on_joined(struct topic *topic, struct envelope *envelope)
{
	bool accepted = envelope_get_u32(envelope) != 0;
	enum bennu_kind kind = envelope_get_u32(envelope);
	struct text response;

	response = envelope_get_text(envelope);
	if (!envelope_end(envelope))
		return false;
	if (topic->state == TOPIC_JOINING && !topic->refused)
		return on_first_join(topic, accepted, kind, &response);
	if (topic->state != TOPIC_REJOINING)
		return false;
	topic->rejoin_by = 0;
	if (!accepted) {
		topic->refused = true; /* it exits, and is given up */
		return true;
	}
	topic->state = TOPIC_JOINED;
	child_ready(topic->child);
	topic_send_next(topic);
	return true;
}

static struct kept *
kept_find(struct topic *topic, uint32_t handle)
{
	struct kept key = { .handle = handle };

	return RB_FIND(kept_tree, &topic->kept, &key);
}

static bool
on_reply(struct topic *topic, struct envelope *envelope)
{
	uint32_t handle = envelope_get_u32(envelope);
	struct text status, response;
	enum bennu_kind kind;
	const struct kept *kept;
	const char *ref;

	status = envelope_get_text(envelope);
	kind = envelope_get_u32(envelope);
	response = envelope_get_text(envelope);
	if (!envelope_end(envelope))
		return false;
	if (handle == 0) {
		if (topic->in_hand == NULL || topic->replied ||
		    topic->in_hand->type != ENVELOPE_IN)
			return false;
		topic->replied = true;
		ref = topic->in_hand->ref;
	} else {
		kept = kept_find(topic, handle);
		if (kept == NULL)
			return false;
		ref = kept->ref;
	}
	if (!frame_reply(&topic_frame, topic->push_ref, ref, &topic->name,
		&status, kind, &response))
		return false;
	topic_send(topic);
	return true;
}

static bool
on_keep(struct topic *topic, struct envelope *envelope)
{
	uint32_t handle = envelope_get_u32(envelope);
	struct kept *kept;

	if (!envelope_end(envelope) || topic->in_hand == NULL ||
	    topic->in_hand->type != ENVELOPE_IN || handle <= topic->last_handle)
		return false;
	if (topic->nkept == KEPT_MAX ||
	    topic->transport->kept_bytes >
		topic->transport->config->queues_max_bytes) {
		log_warnx("channel %s keeps %u messages, that is too many; "
			  "is a bennu_ref_free missing?",
		    topic->name.data, topic->nkept);
		return false;
	}
	topic->last_handle = handle;
	topic->nkept++;
	kept = xcalloc(1, sizeof *kept);
	kept->handle = handle;
	kept->ref = xstrdup(topic->in_hand->ref);
	topic->transport->kept_bytes += strlen(kept->ref);
	kept->wants_reply = topic->in_hand->wants_reply;
	RB_INSERT(kept_tree, &topic->kept, kept);
	return true;
}

static bool
on_forget(struct topic *topic, struct envelope *envelope)
{
	struct kept *kept = kept_find(topic, envelope_get_u32(envelope));

	if (!envelope_end(envelope) || kept == NULL)
		return false;
	forget_kept(topic, kept);
	return true;
}

static bool
on_push(struct topic *topic, struct envelope *envelope)
{
	struct text event, payload;
	enum bennu_kind kind;

	event = envelope_get_text(envelope);
	kind = envelope_get_u32(envelope);
	payload = envelope_get_text(envelope);
	if (!envelope_end(envelope) ||
	    !frame_push(&topic_frame, topic->push_ref, &topic->name, &event,
		kind, &payload))
		return false;
	topic_send(topic);
	return true;
}

static bool
on_subscribe(struct topic *topic, struct envelope *envelope, bool subscribe)
{
	struct text name;

	name = envelope_get_text(envelope);
	if (!envelope_end(envelope))
		return false;
	if (subscribe)
		return topic_subscribe(topic, &name);
	topic_unsubscribe(topic, &name);
	return true;
}

static bool
on_wake(struct topic *topic, struct envelope *envelope)
{
	const char *event;
	size_t size;

	event = envelope_get_data(envelope, &size);
	if (!envelope_end(envelope) || topic->waking != NULL)
		return false;
	topic->waking = xstrdup(event);
	return true;
}

static bool
on_sleep(struct topic *topic)
{
	if (topic->waking == NULL)
		return false;
	free(topic->last_event);
	topic->last_event = topic->waking;
	topic->waking = NULL;
	presence_callback_done(topic);
	return true;
}

static bool
on_done(struct topic *topic)
{
	if (topic->in_hand == NULL)
		return false;
	topic_item_free(topic->in_hand);
	topic->in_hand = NULL;
	presence_callback_done(topic);
	topic_send_next(topic);
	return true;
}

static bool
on_close(struct topic *topic)
{
	log_info("closed: channel %s wants it", topic->name.data);
	transport_close(topic->transport, 1008, "a channel wants it");
	return true;
}

static bool
on_stop(struct topic *topic, struct envelope *envelope)
{
	enum bennu_reason reason = envelope_get_u32(envelope);
	size_t size;

	envelope_get_data(envelope, &size);
	if (!envelope_end(envelope) || reason < BENNU_NORMAL ||
	    reason > BENNU_DRAINING)
		return false;
	topic->stop = reason;
	presence_callback_done(topic);
	topic_must_end(topic);
	return true;
}

/* False: nonsense, or at the wrong time. */
static bool
dispatch(struct topic *topic, struct envelope *envelope)
{
	if (envelope->type == ENVELOPE_JOINED)
		return on_joined(topic, envelope);
	if (envelope->type == ENVELOPE_SUBSCRIBE)
		return on_subscribe(topic, envelope, true);
	if (envelope->type == ENVELOPE_UNSUBSCRIBE)
		return on_subscribe(topic, envelope, false);
	if (envelope->type == ENVELOPE_STOP)
		return on_stop(topic, envelope);
	if (envelope->type == ENVELOPE_CLOSE)
		return on_close(topic);
	if (envelope->type == ENVELOPE_TALLY)
		return metrics_take(topic->transport->start->stats, envelope);
	if (envelope->type == ENVELOPE_SUBSCRIBERS)
		return count_answer(topic->transport, topic->mailbox, envelope);
	if (envelope->type == ENVELOPE_SIGN ||
	    envelope->type == ENVELOPE_VERIFY)
		return token_answer(topic->transport, topic->mailbox, envelope);
	/* A join may not say more. */
	if (topic->state != TOPIC_JOINED)
		return false;
	if (envelope->type == ENVELOPE_REPLY)
		return on_reply(topic, envelope);
	if (envelope->type == ENVELOPE_DONE)
		return on_done(topic);
	if (envelope->type == ENVELOPE_PUSH)
		return on_push(topic, envelope);
	if (envelope->type == ENVELOPE_BROADCAST)
		return topic_broadcast(topic->transport, envelope, topic);
	if (envelope->type == ENVELOPE_KEEP)
		return on_keep(topic, envelope);
	if (envelope->type == ENVELOPE_FORGET)
		return on_forget(topic, envelope);
	if (envelope->type == ENVELOPE_WAKE)
		return on_wake(topic, envelope);
	if (envelope->type == ENVELOPE_SLEEP)
		return on_sleep(topic);
	if (envelope->type == ENVELOPE_TRACK ||
	    envelope->type == ENVELOPE_UNTRACK ||
	    envelope->type == ENVELOPE_PRESENCES)
		return presence_from_channel(topic, envelope);
	if (envelope->type == ENVELOPE_DUMPED)
		return inspect_dumped(topic, envelope);
	return false;
}

void
topic_lost(struct topic *topic, const char *why)
{
	topic->mute = true;
	if (topic->dead || topic->stop != 0)
		return;
	if (why != NULL)
		log_warnx("channel %s[%d]: %s; killed", topic->name.data,
		    (int)child_pid(topic->child), why);
	child_kill(topic->child);
}

void
topic_on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct topic *topic = arg;
	const char *why;

	if (envelope == NULL) {
		why = mailbox_error(mailbox);
		topic_lost(topic, strcmp(why, "end of file") == 0 ? NULL : why);
		return;
	}
	if (topic->mute || dispatch(topic, envelope))
		return;
	topic->stop = 0;
	log_debug("channel %s: bad %s in state %d", topic->name.data,
	    envelope_name(envelope->type), (int)topic->state);
	topic_lost(topic, TOPIC_NONSENSE);
}
