/*
 * topic_out.c - what a topic sends to its client, and what it holds
 * back until pubsub has confirmed.
 */
#include <assert.h>

#include "transport/presence.h"
#include "transport/subscriber.h"
#include "transport/topic_private.h"
#include "transport/transport.h"

struct frame topic_frame;

bool
topic_holds_too_much(const struct topic *topic)
{
	return topic->held.size > topic->transport->config->backlog_max ||
	    !STAILQ_EMPTY(&topic->deferred);
}

static void
hold(struct topic *topic, const void *data, size_t size)
{
	json_append(&topic->held, data, size);
	if (topic_holds_too_much(topic) && topic->mailbox != NULL)
		mailbox_pause(topic->mailbox);
}

static void
hold_frame(struct topic *topic, const struct frame *frame)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];

	json_append(&topic->held, (char *)head,
	    websocket_head(head, frame->opcode, frame->body.size));
	hold(topic, frame->body.data, frame->body.size);
}

void
topic_send(struct topic *topic)
{
	struct frame *frame = &topic_frame;

	if (topic->replaced)
		return;
	if (topic->holding == 0)
		transport_send(topic->transport, frame->opcode,
		    frame->body.data, frame->body.size);
	else
		hold_frame(topic, frame);
	frame_sent(frame);
}

void
topic_send_made(struct topic *topic, const char *frame, size_t size)
{
	if (topic->replaced)
		return;
	if (topic->holding == 0)
		transport_send_frames(topic->transport, frame, size);
	else
		hold(topic, frame, size);
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
	if (!presence_confirmed(topic))
		topic_lost(topic, TOPIC_NONSENSE);
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
