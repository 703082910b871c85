/*
 * phoenix.c - see phoenix.h.
 */
#include <string.h>

#include "pubsub/pubsub.h"
#include "transport/frame.h"
#include "transport/phoenix.h"
#include "transport/topic.h"
#include "transport/transport.h"

static struct frame frame; /* the one that is being made */

/* What a client sent, with its payload apart. */
struct incoming {
	struct message msg;
	enum bennu_kind kind;
	struct text payload;
};

static bool
text_is(const struct text *text, const char *s)
{
	return text->data != NULL && text->size == strlen(s) &&
	    memcmp(text->data, s, text->size) == 0;
}

static void
reply(struct transport *t, const char *join_ref, const struct message *msg,
    const char *status, const char *response)
{
	frame_protocol_reply(&frame, join_ref, msg->ref.data,
	    msg->topic_json.data, status, response);
	transport_send(t, frame.opcode, frame.body.data, frame.body.size);
	frame_sent(&frame);
}

static void
unmatched_topic(struct transport *t, const struct message *msg)
{
	reply(t, NULL, msg, "error", "{\"reason\":\"unmatched topic\"}");
}

static void
on_join(struct transport *t, const struct incoming *in, struct topic *topic)
{
	const struct message *msg = &in->msg;
	const struct config_channel *config = config_find_channel(
	    t->socket, msg->topic.data, msg->topic.size);

	if (config == NULL) {
		unmatched_topic(t, msg);
		return;
	}
	if ((topic == NULL && t->ntopics >= t->socket->max_channels) ||
	    supervisor_count_children(t->channels).specs >=
		t->socket->max_channels + PUBSUB_ENDING_MAX) {
		reply(t, msg->join_ref.data, msg, "error",
		    "{\"reason\":\"too many channels joined\"}");
		return;
	}
	if (t->kept_bytes + in->payload.size + msg->join_ref.size +
		msg->ref.size >
	    t->config->queues_max_bytes) {
		reply(t, msg->join_ref.data, msg, "error",
		    "{\"reason\":\"params too large\"}");
		return;
	}
	if (!transport_rate(t, &t->joins, t->socket->join_rate, "join_rate"))
		return;
	topic_join(t, config, msg, in->kind, &in->payload);
}

/* Is the message meant for this incarnation of the channel? */
static bool
join_ref_fits(const struct topic *topic, const struct message *msg)
{
	return message_ref_is_null(&msg->join_ref) ||
	    strcmp(msg->join_ref.data, topic->join_ref) == 0;
}

static void
on_message(struct transport *t, const struct incoming *in)
{
	const struct message *msg = &in->msg;
	struct topic *topic;

	if (text_is(&msg->topic, "phoenix") &&
	    text_is(&msg->event, "heartbeat")) {
		reply(t, NULL, msg, "ok", "{}");
		return;
	}
	if (msg->topic.data == NULL) {
		unmatched_topic(t, msg);
		return;
	}
	topic = topic_find(t, &msg->topic);
	if (text_is(&msg->event, "phx_join"))
		on_join(t, in, topic);
	else if (topic != NULL && !join_ref_fits(topic, msg))
		return; /* stale: meant for an incarnation that is gone */
	else if (text_is(&msg->event, "phx_leave") && topic != NULL)
		topic_leave(topic, msg);
	else if (text_is(&msg->event, "phx_leave"))
		reply(t, msg->join_ref.data, msg, "ok", "{}");
	else if (topic != NULL)
		topic_push(topic, msg, in->kind, &in->payload);
	else
		unmatched_topic(t, msg);
}

void
phoenix_message(struct transport *t, enum websocket_opcode opcode,
    const char *data, size_t size)
{
	struct incoming in;

	if (!transport_rate(t, &t->events, t->socket->event_rate, "event_rate"))
		return;
	if (!frame_parse(&in.msg, opcode, data, size, &in.kind, &in.payload)) {
		transport_close(t, 1011, "a malformed message");
		return;
	}
	on_message(t, &in);
	message_clear(&in.msg);
}
