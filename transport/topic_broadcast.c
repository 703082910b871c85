/*
 * topic_broadcast.c - broadcasts: to the client of this connection, to its
 * channels that intercept or subscribe, and out to pubsub.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "pubsub/journal.h"
#include "pubsub/pubsub.h"
#include "transport/presence.h"
#include "transport/topic_private.h"
#include "transport/transport.h"

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

	if (topic->nextras == PUBSUB_EXTRAS_MAX) {
		log_warnx("channel %s subscribes more than %d times",
		    topic->name.data, PUBSUB_EXTRAS_MAX);
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
	pubsub_subscribe(topic->transport->pubsub, PART_CHANNEL, name,
	    topic_confirmed, topic);
	return true;
}

static void
extra_unsubscribe(struct topic *topic, struct extra *extra)
{
	topic->nextras -= extra->times;
	while (extra->times-- > 0) {
		topic_hold(topic);
		pubsub_unsubscribe(topic->transport->pubsub, PART_CHANNEL,
		    &extra->name, topic_confirmed, topic);
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
	pubsub_unsubscribe(topic->transport->pubsub, PART_CLIENT, &topic->name,
	    topic_confirmed, topic);
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

/* To the channels that subscribed to it, but for its sender. */
static void
deliver_info(struct transport *t, const struct broadcast *broadcast,
    const struct topic *except)
{
	struct topic *topic;
	struct extra *extra;

	RB_FOREACH (topic, topics, &t->topics) {
		extra = topic == except ? NULL
					: extra_find(topic, &broadcast->topic);
		for (unsigned i = 0; extra != NULL && i < extra->times; i++)
			send_info(topic, broadcast);
	}
}

/* The channel, or client, whose topic it is; NULL: none that may have it. */
static struct topic *
find_subscribed(struct transport *t, const struct text *name)
{
	struct topic *topic = topic_find(t, name);

	return topic != NULL && topic->subscribed ? topic : NULL;
}

/*
 * For what comes from pubsub: what it still had for an incarnation that was
 * replaced is not for the new one, since between the two there is a gap.
 */
static struct topic *
find_confirmed(struct transport *t, const struct text *name)
{
	struct topic *topic = find_subscribed(t, name);

	return topic != NULL && topic->confirmed ? topic : NULL;
}

/* What this connection's own processes broadcast goes to the others of them. */
static bool
deliver_own(struct transport *t, const struct broadcast *broadcast,
    const struct topic *except)
{
	struct topic *topic = find_subscribed(t, &broadcast->topic);

	if (topic != NULL && topic != except &&
	    intercepts(topic, &broadcast->event)) {
		send_out(topic, broadcast);
	} else if (topic != NULL && topic != except) {
		if (!frame_broadcast(&topic_frame, broadcast))
			return false;
		topic_send(topic);
	}
	deliver_info(t, broadcast, except);
	return true;
}

void
topic_deliver(
    struct transport *t, const struct broadcast *broadcast, uint32_t what)
{
	struct topic *topic = find_confirmed(t, &broadcast->topic);

	if ((what & PS_DELIVER_OUT) != 0 && topic != NULL)
		send_out(topic, broadcast);
	if ((what & PS_DELIVER_INFO) != 0)
		deliver_info(t, broadcast, NULL);
}

void
topic_deliver_frame(struct transport *t, const struct text *name,
    const char *frame, size_t size)
{
	struct topic *topic = find_confirmed(t, name);

	if (t->link == NULL || topic == NULL)
		return;
	if (transport_is_slow(t))
		transport_overrun(t, "the client's backlog");
	else if (!presence_holds_frame(topic, frame, size))
		topic_send_made(topic, frame, size);
}

/* Every journal must be able to hold it, and the envelopes on its way. */
bool
topic_broadcast_fits(
    const struct transport *t, const struct broadcast *broadcast)
{
	size_t size = broadcast_size(broadcast);
	size_t max = broadcast_max(t->config->journal_size);

	if (size <= max)
		return true;
	log_warnx("a broadcast of %zu bytes is larger than %zu, 1/%d of "
		  "journal_size",
	    size, max, BROADCAST_SHARE);
	return false;
}

bool
topic_broadcast(
    struct transport *t, struct envelope *envelope, const struct topic *sender)
{
	uint32_t flags = envelope_get_u32(envelope);
	struct broadcast broadcast;

	/* Others will read it: it is looked at before it leaves. */
	if (!broadcast_get(envelope, &broadcast) ||
	    broadcast.kind > BENNU_BINARY ||
	    !topic_broadcast_fits(t, &broadcast) ||
	    !json_is_utf8(broadcast.topic.data, broadcast.topic.size) ||
	    !json_is_utf8(broadcast.event.data, broadcast.event.size) ||
	    (broadcast.kind == BENNU_JSON &&
		json_scan_text(broadcast.payload.data, broadcast.payload.size)
			.kind == JSON_BAD))
		return false;
	if (!deliver_own(
		t, &broadcast, (flags & BROADCAST_FROM) != 0 ? sender : NULL))
		return false;
	pubsub_publish(t->pubsub, &broadcast,
	    (flags & BROADCAST_LOCAL) != 0 ? JOURNAL_LOCAL : 0);
	transport_disconnects(t, &broadcast);
	if (transport_is_full(t))
		topic_pause_channels(t, true);
	return true;
}
