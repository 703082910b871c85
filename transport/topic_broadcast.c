/*
 * topic_broadcast.c - broadcasts: to the client of this connection, to its
 * channels that intercept or subscribe, and out to pubsub.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "transport/topic_private.h"
#include "transport/transport.h"

#define EXTRAS_MAX 1000 /* other topics that a channel may subscribe to */

static struct extra *
extra_find(struct topic *topic, const struct text *name)
{
	struct extra *extra;

	LIST_FOREACH (extra, &topic->extras, entry)
		if (text_equal(&extra->name, name))
			return extra;
	return NULL;
}

/* False: there are too many. */
bool
topic_subscribe(struct topic *topic, const struct text *name)
{
	struct extra *extra = extra_find(topic, name);

	if (topic->nextras == EXTRAS_MAX) {
		log_warnx("channel %s subscribes more than %d times",
		    topic->name.data, EXTRAS_MAX);
		return false;
	}
	topic->nextras++;
	if (extra == NULL) {
		extra = xcalloc(1, sizeof *extra);
		extra->name.data = xmemdup(name->data, name->size);
		extra->name.size = name->size;
		LIST_INSERT_HEAD(&topic->extras, extra, entry);
	}
	extra->times++;
	topic_hold(topic);
	pubsub_subscribe(
	    topic->transport->pubsub, name, topic_confirmed, topic);
	return true;
}

static void
extra_unsubscribe(struct topic *topic, struct extra *extra)
{
	topic->nextras -= extra->times;
	while (extra->times-- > 0) {
		topic_hold(topic);
		pubsub_unsubscribe(topic->transport->pubsub, &extra->name,
		    topic_confirmed, topic);
	}
	LIST_REMOVE(extra, entry);
	free(extra->name.data);
	free(extra);
}

void
topic_unsubscribe(struct topic *topic, const struct text *name)
{
	struct extra *extra = extra_find(topic, name);

	if (extra != NULL)
		extra_unsubscribe(topic, extra);
}

void
topic_unsubscribe_extras(struct topic *topic)
{
	while (!LIST_EMPTY(&topic->extras))
		extra_unsubscribe(topic, LIST_FIRST(&topic->extras));
}

void
topic_unsubscribe_all(struct topic *topic)
{
	topic_unsubscribe_extras(topic);
	if (!topic->subscribed)
		return;
	topic->subscribed = false;
	topic_hold(topic);
	pubsub_unsubscribe(
	    topic->transport->pubsub, &topic->name, topic_confirmed, topic);
}

/* It came from another topic, or from this connection's own channels. */
static void
send_info(struct topic *topic, const struct broadcast *broadcast)
{
	struct item *item;

	if (topic_queue_is_full(topic)) {
		transport_overrun(topic->transport, "a channel's queue");
		return;
	}
	item = topic_item_new(ENVELOPE_INFO, broadcast->event.data, NULL);
	envelope_put_data(
	    &item->body, broadcast->topic.data, broadcast->topic.size);
	envelope_put_data(
	    &item->body, broadcast->event.data, broadcast->event.size);
	topic_item_put_payload(item, broadcast->kind, &broadcast->payload);
	topic_queue_add(topic, item);
}

static bool
intercepts(const struct topic *topic, const struct text *event)
{
	const char *const *listed = topic->config->callbacks->intercept;

	for (; listed != NULL && *listed != NULL; listed++)
		if (strlen(*listed) == event->size &&
		    memcmp(*listed, event->data, event->size) == 0)
			return true;
	return false;
}

/* The channel decides what its client gets of it. */
static void
send_out(struct topic *topic, const struct broadcast *broadcast)
{
	struct item *item;

	if (topic_queue_is_full(topic)) {
		transport_overrun(topic->transport, "a channel's queue");
		return;
	}
	item = topic_item_new(ENVELOPE_OUT, broadcast->event.data, NULL);
	envelope_put_data(
	    &item->body, broadcast->event.data, broadcast->event.size);
	topic_item_put_payload(item, broadcast->kind, &broadcast->payload);
	topic_queue_add(topic, item);
}

/* To this connection's own: the client, and the channels that want to know. */
static bool
deliver(struct transport *t, const struct broadcast *broadcast,
    const struct topic *except)
{
	struct topic *topic = topic_find(t, &broadcast->topic);
	struct extra *extra;

	if (topic != NULL && topic != except && topic->subscribed &&
	    intercepts(topic, &broadcast->event)) {
		send_out(topic, broadcast);
	} else if (topic != NULL && topic != except && topic->subscribed) {
		if (!frame_broadcast(&topic_frame, &broadcast->topic,
			&broadcast->event, broadcast->kind,
			&broadcast->payload))
			return false;
		topic_send(topic);
	}
	RB_FOREACH (topic, topics, &t->topics) {
		extra = topic == except ? NULL
					: extra_find(topic, &broadcast->topic);
		for (unsigned i = 0; extra != NULL && i < extra->times; i++)
			send_info(topic, broadcast);
	}
	return true;
}

/* The topic of the socket's id is subscribed, too, for nobody of ours. */
static bool
is_wanted(struct transport *t, const struct text *name)
{
	struct topic *topic;

	if (topic_find(t, name) != NULL)
		return true;
	RB_FOREACH (topic, topics, &t->topics)
		if (extra_find(topic, name) != NULL)
			return true;
	return false;
}

void
topic_deliver(struct transport *t, const struct broadcast *broadcast)
{
	if (!is_wanted(t, &broadcast->topic))
		return;
	if (transport_is_slow(t)) {
		transport_overrun(t, "the client's backlog");
		return;
	}
	deliver(t, broadcast, NULL);
}

bool
topic_broadcast(
    struct transport *t, struct envelope *envelope, const struct topic *sender)
{
	uint32_t flags = envelope_get_u32(envelope);
	struct broadcast broadcast;

	/* Others will read it: it is looked at before it leaves. To pubsub it
	 * goes with a number in the place of the flags. */
	if (!broadcast_get(envelope, &broadcast) ||
	    broadcast.kind > BENNU_BINARY ||
	    envelope->size - sizeof flags + sizeof(uint64_t) > ENVELOPE_MAX ||
	    !json_is_utf8(broadcast.topic.data, broadcast.topic.size) ||
	    !json_is_utf8(broadcast.event.data, broadcast.event.size) ||
	    (broadcast.kind == BENNU_JSON &&
		json_scan_text(broadcast.payload.data, broadcast.payload.size)
			.kind == JSON_BAD))
		return false;
	if (!deliver(
		t, &broadcast, (flags & BROADCAST_FROM) != 0 ? sender : NULL))
		return false;
	pubsub_publish(t->pubsub, &broadcast);
	transport_disconnects(t, &broadcast);
	if (transport_is_full(t))
		topic_pause_channels(t, true);
	return true;
}
