/*
 * topic_out.c - what a topic sends to its client, and what it holds
 * back until pubsub has confirmed.
 */
#include <assert.h>

#include "transport/subscriber.h"
#include "transport/topic_private.h"
#include "transport/transport.h"

struct frame topic_frame;

bool
topic_holds_too_much(const struct topic *topic)
{
	return topic->held.size > topic->transport->config->backlog_max;
}

/* At its place in the channel's stream; a whole frame, in two parts. */
static void
send_or_hold(struct topic *topic, const void *head, size_t head_size,
    const char *body, size_t size)
{
	if (topic->holding == 0) {
		transport_send_frames(topic->transport, head, head_size);
		transport_send_frames(topic->transport, body, size);
		return;
	}
	json_append(&topic->held, head, head_size);
	json_append(&topic->held, body, size);
	if (topic_holds_too_much(topic) && topic->mailbox != NULL)
		mailbox_pause(topic->mailbox);
}

void
topic_send(struct topic *topic)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];

	if (topic->replaced)
		return;
	send_or_hold(topic, head,
	    websocket_head(head, topic_frame.opcode, topic_frame.body.size),
	    topic_frame.body.data, topic_frame.body.size);
	frame_sent(&topic_frame);
}

void
topic_send_made(struct topic *topic, const char *frame, size_t size)
{
	if (!topic->replaced)
		send_or_hold(topic, NULL, 0, frame, size);
}

void
topic_send_reply(struct topic *topic, const char *join_ref, const char *ref,
    const char *status, const char *response)
{
	frame_protocol_reply(
	    &topic_frame, join_ref, ref, topic->name_json, status, response);
	topic_send(topic);
}

void
topic_send_end(struct topic *topic, const char *join_ref, const char *event,
    const char *payload)
{
	frame_end(&topic_frame, join_ref, &topic->name, event, payload);
	topic_send(topic);
}

void
topic_hold(struct topic *topic)
{
	topic->holding++;
	subscriber_hold(topic->transport);
}

static void
let_go_of_held(struct topic *topic)
{
	if (topic->held.size > 0 && !topic->replaced)
		transport_send_frames(
		    topic->transport, topic->held.data, topic->held.size);
	json_buffer_free(&topic->held);
	if (topic->state != TOPIC_JOINING)
		topic_join_answered(topic);
	if (topic->state == TOPIC_ENDED)
		topic_free(topic);
	else if (topic->mailbox != NULL && !transport_is_full(topic->transport))
		mailbox_resume(topic->mailbox);
}

/* pubsub has confirmed. */
void
topic_confirmed(void *arg)
{
	struct topic *topic = arg;
	struct transport *t = topic->transport;

	assert(topic->holding > 0);
	if (--topic->holding == 0)
		let_go_of_held(topic);
	subscriber_confirmed(t);
}
