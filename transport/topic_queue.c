/*
 * topic_queue.c - the messages that wait for a channel, and the one that it
 * has in hand.
 */
#include <stdlib.h>

#include "common/xmalloc.h"
#include "transport/topic_private.h"
#include "transport/transport.h"

void
topic_item_free(struct item *item)
{
	if (item == NULL)
		return;
	envelope_writer_free(&item->body);
	free(item->event);
	free(item->ref);
	free(item);
}

bool
topic_queue_is_full(const struct topic *topic)
{
	const struct config *config = topic->transport->config;

	return topic->queue_messages >= config->queue_max_messages ||
	    (topic->queue_messages > 1 &&
		(topic->queue_bytes > config->queue_max_bytes ||
		    topic->transport->queued > config->queues_max_bytes));
}

bool
topic_queues_have_room(struct transport *t)
{
	const struct config *config = t->config;
	struct topic *topic;

	if (t->queued > config->queues_max_bytes / 2)
		return false;
	RB_FOREACH (topic, topics, &t->topics)
		if (topic->queue_messages > config->queue_max_messages / 2 ||
		    topic->queue_bytes > config->queue_max_bytes / 2)
			return false;
	return true;
}

/* The client is read while no channel's queue is full. */
void
topic_queue_has_room(struct topic *topic)
{
	struct transport *t = topic->transport;
	struct topic *other;

	if (topic->full_since == 0)
		return;
	topic->full_since = 0;
	RB_FOREACH (other, topics, &t->topics)
		if (other->full_since != 0)
			return;
	transport_resume(t, PAUSE_QUEUE);
}

static void
watch_queue(struct topic *topic)
{
	if (!topic->listed || !topic_queue_is_full(topic)) {
		topic_queue_has_room(topic);
		return;
	}
	if (topic->full_since == 0)
		topic->full_since = monotonic_ms();
	transport_pause(topic->transport, PAUSE_QUEUE);
	transport_watch_hung(topic->transport);
}

/* One queue that shrinks may make room for the others, too. */
static void
watch_queues(struct transport *t)
{
	struct topic *topic;

	if ((t->paused & PAUSE_QUEUE) == 0)
		return;
	RB_FOREACH (topic, topics, &t->topics)
		watch_queue(topic);
}

void
topic_queue_add(struct topic *topic, struct item *item)
{
	STAILQ_INSERT_TAIL(&topic->queue, item, entry);
	topic->queue_bytes += item->body.size;
	topic->transport->queued += item->body.size;
	topic->queue_messages++;
	watch_queue(topic);
	topic_send_next(topic);
}

static struct item *
queue_take(struct topic *topic)
{
	struct item *item = STAILQ_FIRST(&topic->queue);

	STAILQ_REMOVE_HEAD(&topic->queue, entry);
	topic->queue_bytes -= item->body.size;
	topic->transport->queued -= item->body.size;
	topic->queue_messages--;
	if (topic->full_since != 0)
		topic->full_since = monotonic_ms(); /* slow, but not hung */
	watch_queues(topic->transport);
	pubsub_client_room(topic->transport->pubsub);
	return item;
}

/* The next message goes to the channel when its hands are empty. */
void
topic_send_next(struct topic *topic)
{
	struct envelope_writer writer = { 0 };
	struct item *item;

	if (topic->state != TOPIC_JOINED || topic->in_hand != NULL ||
	    topic->mailbox == NULL || topic->stop != 0 || topic->dead ||
	    STAILQ_EMPTY(&topic->queue))
		return;
	item = queue_take(topic);
	topic->in_hand = item;
	topic->replied = false;
	free(topic->last_event);
	topic->last_event = xstrdup(item->event);
	if (item->type == ENVELOPE_END) {
		supervisor_terminate_child(
		    topic->transport->channels, topic->child);
		return;
	}
	/* Kept here, too, until it is done: see settle_crash. */
	envelope_put_raw(&writer, item->body.data + ENVELOPE_HEAD,
	    item->body.size - ENVELOPE_HEAD);
	mailbox_send(topic->mailbox, item->type, &writer);
}

struct item *
topic_item_new(
    enum envelope_type type, const char *event, const struct text *ref)
{
	struct item *item = xcalloc(1, sizeof *item);

	item->type = type;
	item->event = xstrdup(event);
	if (ref != NULL) {
		item->ref = xstrdup(ref->data);
		item->wants_reply = !message_ref_is_null(ref);
	}
	return item;
}

void
topic_item_put_payload(
    struct item *item, enum bennu_kind kind, const struct text *payload)
{
	envelope_put_u32(&item->body, kind);
	envelope_put_data(&item->body, payload->data, payload->size);
}

void
topic_push(struct topic *topic, const struct message *msg, enum bennu_kind kind,
    const struct text *payload)
{
	/* An event that is no string is one that nobody handles. */
	const struct text none = text_lent("", 0);
	const struct text *event = msg->event.data == NULL ? &none
							   : &msg->event;
	struct item *item;

	if (topic->leaving)
		return; /* vanishes (PROTOCOL.md 3, rule 4) */
	item = topic_item_new(ENVELOPE_IN, event->data, &msg->ref);
	envelope_put_data(&item->body, event->data, event->size);
	envelope_put_string(&item->body, item->wants_reply ? item->ref : NULL);
	topic_item_put_payload(item, kind, payload);
	topic_queue_add(topic, item);
}

void
topic_leave(struct topic *topic, const struct message *msg)
{
	if (topic->leaving)
		return;
	topic->leaving = true;
	topic->leave_join_ref = xstrdup(msg->join_ref.data);
	topic->leave_ref = xstrdup(msg->ref.data);
	topic_queue_add(topic, topic_item_new(ENVELOPE_END, "phx_leave", NULL));
}
