/*
 * encode.c - see encode.h.
 */
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>

#include "common/message.h"
#include "common/xmalloc.h"
#include "pubsub/encode.h"

#define BINARY_BROADCAST 2 /* kind of a binary frame: PROTOCOL.md 2.2 */

static void
append_v1(struct json_buffer *body, const struct broadcast *broadcast)
{
	struct json_buffer topic = { 0 };

	json_append_string(
	    &topic, broadcast->topic.data, broadcast->topic.size);
	message_append_v1(
	    body, NULL, topic.data, &broadcast->event, &broadcast->payload);
	json_buffer_free(&topic);
}

/* kind, the sizes, the fields, the data. */
static bool
append_binary(struct json_buffer *body, const struct broadcast *broadcast)
{
	const struct text *topic = &broadcast->topic,
			  *event = &broadcast->event;
	const char head[] = {
		BINARY_BROADCAST,
		(char)(unsigned char)topic->size,
		(char)(unsigned char)event->size,
	};

	if (topic->size > FRAME_FIELD_MAX || event->size > FRAME_FIELD_MAX)
		return false;
	json_append(body, head, sizeof head);
	json_append(body, topic->data, topic->size);
	json_append(body, event->data, event->size);
	json_append(body, broadcast->payload.data, broadcast->payload.size);
	return true;
}

bool
encode_broadcast(struct json_buffer *body, enum frame_version version,
    const struct broadcast *broadcast, enum websocket_opcode *opcode)
{
	*opcode = WEBSOCKET_TEXT;
	if (broadcast->kind == BENNU_BINARY) {
		*opcode = WEBSOCKET_BINARY;
		return version == FRAME_V2 && append_binary(body, broadcast);
	}
	if (version == FRAME_V1)
		append_v1(body, broadcast);
	else
		message_append_push(body, NULL, &broadcast->topic,
		    broadcast->event.data, broadcast->event.size,
		    broadcast->payload.data, broadcast->payload.size);
	return true;
}

char *
encode_frame(
    enum frame_version version, const struct broadcast *broadcast, size_t *size)
{
	char room[WEBSOCKET_HEAD_MAX] = { 0 };
	uint8_t head[WEBSOCKET_HEAD_MAX];
	struct json_buffer frame = { 0 };
	enum websocket_opcode opcode;
	size_t n;

	/* The head's size is known behind the body. */
	json_append(&frame, room, sizeof room);
	if (!encode_broadcast(&frame, version, broadcast, &opcode)) {
		json_buffer_free(&frame);
		return NULL;
	}
	n = websocket_head(head, opcode, frame.size - sizeof room);
	*size = frame.size - sizeof room + n;
	memmove(frame.data + n, frame.data + sizeof room, *size - n);
	memcpy(frame.data, head, n);
	return frame.data;
}
