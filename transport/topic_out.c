/*
 * topic_out.c - what a topic sends to its client, and what it holds
 * back until pubsub has confirmed.
 */
#include <assert.h>

#include "transport/topic_private.h"
#include "transport/transport.h"

struct frame topic_frame;

bool
topic_holds_too_much(const struct topic *topic)
{
	return topic->held.size > topic->transport->config->backlog_max;
}

/* The frame that was made, at its place in the channel's stream. */
void
topic_send(struct topic *topic)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];
	size_t n;

	if (topic->replaced)
		return;
	if (topic->holding == 0) {
		transport_send(topic->transport, topic_frame.opcode,
		    topic_frame.body.data, topic_frame.body.size);
		frame_sent(&topic_frame);
		return;
	}
	n = websocket_head(head, topic_frame.opcode, topic_frame.body.size);
	json_append(&topic->held, (const char *)head, n);
	json_append(&topic->held, topic_frame.body.data, topic_frame.body.size);
	frame_sent(&topic_frame);
	if (topic_holds_too_much(topic) && topic->mailbox != NULL)
		mailbox_pause(topic->mailbox);
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
}

/* pubsub has confirmed. */
void
topic_confirmed(void *arg)
{
	struct topic *topic = arg;

	assert(topic->holding > 0);
	if (--topic->holding > 0)
		return;
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
