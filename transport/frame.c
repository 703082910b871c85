/*
 * frame.c - see frame.h. The layouts are those of PROTOCOL.md 2.1 and 2.2.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/tree.h"
#include "common/xmalloc.h"
#include "transport/frame.h"

enum binary_kind {
	BINARY_PUSH,
	BINARY_REPLY,
};

static enum frame_version version = FRAME_V2;

void
frame_speak(enum frame_version asked)
{
	version = asked;
}

enum frame_version
frame_spoken(void)
{
	return version;
}

#define KEEP_ROOM 16384 /* a frame that was sent holds no more than this */

void
frame_sent(struct frame *frame)
{
	if (frame->body.room > KEEP_ROOM)
		json_buffer_free(&frame->body);
}

static struct json_buffer *
begin(struct frame *frame, enum websocket_opcode opcode)
{
	frame->opcode = opcode;
	frame->body.size = 0;
	return &frame->body;
}

/* A ref as binary frames have it: the characters of a string, nothing for null,
 * the text of everything else. */
static struct text
plain_ref(const char *ref)
{
	struct text text = { NULL, 0 };
	struct json_span span;

	if (ref == NULL)
		return (struct text){ xstrdup(""), 0 };
	span = json_scan_text(ref, strlen(ref));
	if (span.kind == JSON_STRING)
		text.data = json_decode_string(span, &text.size);
	else if (span.kind == JSON_NULL)
		text.data = xstrdup("");
	else
		text = (struct text){ xstrdup(ref), strlen(ref) };
	return text;
}

/* kind, the sizes, the fields, the data. */
static bool
append_binary(struct frame *frame, enum binary_kind kind,
    const struct text *const *fields, size_t n, const struct text *data)
{
	struct json_buffer *body = begin(frame, WEBSOCKET_BINARY);
	char byte = (char)kind;

	json_append(body, &byte, 1);
	for (size_t i = 0; i < n; i++) {
		if (fields[i]->size > FRAME_FIELD_MAX)
			return false;
		byte = (char)(unsigned char)fields[i]->size;
		json_append(body, &byte, 1);
	}
	for (size_t i = 0; i < n; i++)
		json_append(body, fields[i]->data, fields[i]->size);
	json_append(body, data->data, data->size);
	return true;
}

/* A push or a broadcast in V1, which has no join_ref. */
static bool
append_v1(struct frame *frame, const char *ref, const struct text *topic,
    const struct text *event, const struct text *payload)
{
	struct json_buffer topic_json = { 0 };

	json_append_string(&topic_json, topic->data, topic->size);
	message_append_v1(
	    begin(frame, WEBSOCKET_TEXT), ref, topic_json.data, event, payload);
	json_buffer_free(&topic_json);
	return true;
}

bool
frame_push(struct frame *frame, const char *join_ref, const struct text *topic,
    const struct text *event, enum bennu_kind kind, const struct text *payload)
{
	struct text join;
	bool fits;

	if (version == FRAME_V1)
		return kind == BENNU_JSON &&
		    append_v1(frame, NULL, topic, event, payload);
	if (kind == BENNU_JSON) {
		message_append_push(begin(frame, WEBSOCKET_TEXT), join_ref,
		    topic, event->data, event->size, payload->data,
		    payload->size);
		return true;
	}
	join = plain_ref(join_ref);
	fits = append_binary(frame, BINARY_PUSH,
	    (const struct text *const[]){ &join, topic, event }, 3, payload);
	free(join.data);
	return fits;
}

bool
frame_broadcast(struct frame *frame, const struct broadcast *broadcast)
{
	struct json_buffer *body = begin(frame, WEBSOCKET_TEXT);

	return encode_broadcast(body, version, broadcast, &frame->opcode);
}

static bool
append_binary_reply(struct frame *frame, const char *join_ref, const char *ref,
    const struct text *topic, const struct text *status,
    const struct text *response)
{
	struct text join = plain_ref(join_ref), plain = plain_ref(ref);
	bool fits;

	fits = append_binary(frame, BINARY_REPLY,
	    (const struct text *const[]){ &join, &plain, topic, status }, 4,
	    response);
	free(join.data);
	free(plain.data);
	return fits;
}

/* topic and response are JSON text. */
static void
append_reply(struct frame *frame, const char *join_ref, const char *ref,
    const char *topic_json, const struct text *status,
    const struct text *response)
{
	struct json_buffer *body = begin(frame, WEBSOCKET_TEXT);
	const struct text event = text_lent("phx_reply", 9);
	struct json_buffer payload = { 0 };
	struct text text;

	if (version == FRAME_V2) {
		message_append_reply(body, join_ref, ref, topic_json,
		    status->data, status->size, response->data, response->size);
		return;
	}
	json_append_text(&payload, "{\"status\":");
	json_append_string(&payload, status->data, status->size);
	json_append_text(&payload, ",\"response\":");
	json_append(&payload, response->data, response->size);
	json_append_text(&payload, "}");
	text = text_lent(payload.data, payload.size);
	message_append_v1(body, ref, topic_json, &event, &text);
	json_buffer_free(&payload);
}

bool
frame_reply(struct frame *frame, const char *join_ref, const char *ref,
    const struct text *topic, const struct text *status, enum bennu_kind kind,
    const struct text *response)
{
	struct json_buffer topic_json = { 0 };

	if (kind != BENNU_JSON)
		return version == FRAME_V2 &&
		    append_binary_reply(
			frame, join_ref, ref, topic, status, response);
	json_append_string(&topic_json, topic->data, topic->size);
	append_reply(frame, join_ref, ref, topic_json.data, status, response);
	json_buffer_free(&topic_json);
	return true;
}

void
frame_protocol_reply(struct frame *frame, const char *join_ref, const char *ref,
    const char *topic_json, const char *status, const char *response)
{
	const struct text status_text = text_lent(status, strlen(status));
	const struct text response_text = text_lent(response, strlen(response));

	append_reply(
	    frame, join_ref, ref, topic_json, &status_text, &response_text);
}

void
frame_end(struct frame *frame, const char *join_ref, const struct text *topic,
    const char *event, const char *payload)
{
	const struct text event_text = text_lent(event, strlen(event));
	const struct text payload_text = text_lent(payload, strlen(payload));

	if (version == FRAME_V1)
		append_v1(frame, join_ref, topic, &event_text, &payload_text);
	else
		message_append_end(begin(frame, WEBSOCKET_TEXT), join_ref,
		    topic, event, payload);
}

static bool
parse_binary(
    struct message *msg, const char *data, size_t size, struct text *payload)
{
	const unsigned char *head = (const unsigned char *)data;
	struct json_buffer text = { 0 };
	size_t at = 5;
	bool parsed;

	if (size < at || head[0] != BINARY_PUSH ||
	    size - at < (size_t)head[1] + head[2] + head[3] + head[4])
		return false;
	/* By way of the text form, so that one place makes a struct message
	 * and refs have one spelling. */
	json_append_text(&text, "[");
	for (size_t i = 1; i <= 4; i++) {
		if (!json_is_utf8(data + at, head[i])) {
			json_buffer_free(&text);
			return false;
		}
		json_append_string(&text, data + at, head[i]);
		json_append_text(&text, ",");
		at += head[i];
	}
	json_append_text(&text, "{}]");
	parsed = message_parse_v2(msg, text.data, text.size);
	json_buffer_free(&text);
	payload->data = (char *)(uintptr_t)data + at;
	payload->size = size - at;
	return parsed;
}

bool
frame_parse(struct message *msg, enum websocket_opcode opcode, const char *data,
    size_t size, enum bennu_kind *kind, struct text *payload)
{
	*kind = BENNU_JSON;
	if (version == FRAME_V2 && opcode == WEBSOCKET_BINARY) {
		*kind = BENNU_BINARY;
		return parse_binary(msg, data, size, payload);
	}
	if (!(version == FRAME_V1 ? message_parse_v1 : message_parse_v2)(
		msg, data, size))
		return false;
	*payload = msg->payload;
	return true;
}
