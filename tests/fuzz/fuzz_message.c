/*
 * Any bytes as a message: what is taken must mean the same when it is sent
 * back, and each of its parts must be what message.h says.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_json(const struct text *text)
{
	struct json_span span = json_scan_text(text->data, text->size);

	assert(span.kind != JSON_BAD);
	assert(span.size == text->size);
	assert(!span.spaced);
	assert(text->data[text->size] == '\0');
}

static void
check_string(const struct text *text)
{
	if (text->data == NULL)
		return;
	assert(json_is_utf8(text->data, text->size));
	assert(text->data[text->size] == '\0');
}

static void
check_same(const struct message *a, const struct message *b)
{
	assert(text_equal(&a->join_ref, &b->join_ref));
	assert(text_equal(&a->topic, &b->topic));
	assert(text_equal(&a->topic_json, &b->topic_json));
	assert(text_equal(&a->event, &b->event));
	assert(text_equal(&a->payload, &b->payload));
}

static void
check_echo(const struct message *message)
{
	struct json_buffer b = { 0 };
	struct message echo;

	message_append_push(&b, message->join_ref.data, &message->topic,
	    message->event.data, message->event.size, message->payload.data,
	    message->payload.size);
	assert(message_parse_v2(&echo, b.data, b.size));
	check_same(message, &echo);
	assert(message_ref_is_null(&echo.ref));
	message_clear(&echo);
	json_buffer_free(&b);
}

static void
check_reply(const struct message *message)
{
	struct json_buffer b = { 0 };
	struct message reply;

	message_append_reply(&b, message->join_ref.data, message->ref.data,
	    message->topic_json.data, "ok", 2, message->payload.data,
	    message->payload.size);
	assert(message_parse_v2(&reply, b.data, b.size));
	assert(text_equal(&reply.join_ref, &message->join_ref));
	assert(text_equal(&reply.ref, &message->ref));
	assert(text_equal(&reply.topic_json, &message->topic_json));
	message_clear(&reply);
	json_buffer_free(&b);
}

/* Bytes that are no UTF-8 are made so. */
static void
check_encoding(const char *data, size_t size)
{
	struct json_buffer b = { 0 };
	struct json_span span;
	size_t decoded_size;
	char *decoded;

	json_append_string(&b, data, size);
	span = json_scan_text(b.data, b.size);
	assert(span.kind == JSON_STRING);
	decoded = json_decode_string(span, &decoded_size);
	assert(json_is_utf8(decoded, decoded_size));
	if (json_is_utf8(data, size))
		assert(
		    decoded_size == size && memcmp(decoded, data, size) == 0);
	free(decoded);
	json_buffer_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const char *data = (const char *)bytes;
	struct message message;

	check_encoding(data, size);
	if (!message_parse_v2(&message, data, size))
		return 0;
	assert(json_scan_text(data, size).kind == JSON_ARRAY);
	check_json(&message.join_ref);
	check_json(&message.ref);
	check_json(&message.topic_json);
	check_json(&message.payload);
	check_string(&message.topic);
	check_string(&message.event);
	check_reply(&message);
	if (message.topic.data != NULL && message.event.data != NULL)
		check_echo(&message);
	message_clear(&message);
	return 0;
}
