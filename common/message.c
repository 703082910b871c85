/*
 * message.c - see message.h. On the way of every message: one pass over the
 * text, one allocation.
 */
#include <stdlib.h>
#include <string.h>

#include "common/message.h"
#include "common/xmalloc.h"

/* The places in the array. */
enum part {
	PART_JOIN_REF,
	PART_REF,
	PART_TOPIC,
	PART_EVENT,
	PART_PAYLOAD,
	PARTS,
};

/* One JSON value and the comma or bracket behind it, which is returned. */
static char
scan_part(struct json_span *part, const char **at, const char *end)
{
	*part = json_scan_value(at, end);
	json_skip_space(at, end);
	if (part->kind == JSON_BAD || *at == end)
		return '\0';
	return *(*at)++;
}

static bool
scan_parts(struct json_span *parts, const char *data, size_t size)
{
	const char *p = data, *end;
	struct json_span further;
	size_t n = 0;
	char behind;

	if (size == 0)
		return false; /* data may be NULL */
	end = data + size;
	json_skip_space(&p, end);
	if (p == end || *p++ != '[')
		return false;
	do {
		behind = scan_part(n < PARTS ? &parts[n] : &further, &p, end);
		n++;
	} while (behind == ',');
	json_skip_space(&p, end);
	return behind == ']' && p == end && n >= PARTS;
}

/* Ends the text that was put from *at to end, and moves *at behind it. */
static struct text
end_text(char **at, char *end)
{
	struct text text = { *at, end - *at };

	*end = '\0';
	*at = end + 1;
	return text;
}

/* A value that will be compared: strings in their one spelling. */
static struct text
put_value(char **at, struct json_span part)
{
	if (part.kind == JSON_STRING)
		return end_text(at, json_put_canonical(*at, part));
	return end_text(at, json_put_compact(*at, part));
}

static struct text
put_string(char **at, struct json_span part)
{
	if (part.kind != JSON_STRING)
		return (struct text){ NULL, 0 };
	return end_text(at, json_put_decoded(*at, part));
}

/* All parts lie in one block. */
static void
make_message(struct message *message, const struct json_span parts[PARTS])
{
	size_t room = PARTS + 1; /* NULs; the topic comes twice */
	char *p;

	for (size_t i = 0; i < PARTS; i++)
		room += parts[i].size;
	p = message->block = xmalloc(room + parts[PART_TOPIC].size);
	message->join_ref = put_value(&p, parts[PART_JOIN_REF]);
	message->ref = put_value(&p, parts[PART_REF]);
	message->topic = put_string(&p, parts[PART_TOPIC]);
	message->topic_json = put_value(&p, parts[PART_TOPIC]);
	message->event = put_string(&p, parts[PART_EVENT]);
	message->payload = end_text(
	    &p, json_put_compact(p, parts[PART_PAYLOAD]));
}

bool
message_parse_v2(struct message *message, const char *data, size_t size)
{
	struct json_span parts[PARTS];

	*message = (struct message){ 0 };
	if (!scan_parts(parts, data, size))
		return false;
	make_message(message, parts);
	return true;
}

/* Puts a member of a V1 object in its place; others are of no interest. */
static void
place_member(struct json_span parts[PARTS], struct json_span name,
    struct json_span value)
{
	static const char *const names[PARTS] = {
		[PART_JOIN_REF] = "join_ref",
		[PART_REF] = "ref",
		[PART_TOPIC] = "topic",
		[PART_EVENT] = "event",
		[PART_PAYLOAD] = "payload",
	};
	size_t size;
	char *decoded = json_decode_string(name, &size);

	for (size_t i = 0; i < PARTS; i++)
		if (strlen(names[i]) == size &&
		    memcmp(names[i], decoded, size) == 0)
			parts[i] = value; /* of a repeated name the last */
	free(decoded);
}

/* {"topic": ..., "event": ..., "payload": ..., "ref": ..., "join_ref": ...} */
static bool
scan_members(struct json_span parts[PARTS], const char *at, const char *end)
{
	char next = ',';

	at++; /* { */
	json_skip_space(&at, end);
	while (*at != '}' && next == ',') {
		struct json_span name, value;

		name = json_scan_value(&at, end);
		json_skip_space(&at, end);
		at++; /* : */
		value = json_scan_value(&at, end);
		place_member(parts, name, value);
		json_skip_space(&at, end);
		next = *at;
		if (next == ',')
			at++;
		json_skip_space(&at, end);
	}
	return parts[PART_REF].kind != JSON_BAD &&
	    parts[PART_TOPIC].kind != JSON_BAD &&
	    parts[PART_EVENT].kind != JSON_BAD &&
	    parts[PART_PAYLOAD].kind != JSON_BAD;
}

bool
message_parse_v1(struct message *message, const char *data, size_t size)
{
	struct json_span parts[PARTS] = { 0 }, whole;

	*message = (struct message){ 0 };
	/* Once it is known to be an object its members are easy to walk. */
	whole = json_scan_text(data, size);
	parts[PART_JOIN_REF] = json_scan_text("null", 4);
	if (whole.kind != JSON_OBJECT ||
	    !scan_members(parts, whole.data, whole.data + whole.size))
		return false;
	make_message(message, parts);
	return true;
}

void
message_clear(struct message *message)
{
	free(message->block);
	*message = (struct message){ 0 };
}

bool
message_ref_is_null(const struct text *ref)
{
	return ref->size == 4 && memcmp(ref->data, "null", 4) == 0;
}

bool
text_equal(const struct text *a, const struct text *b)
{
	if (a->data == NULL || b->data == NULL)
		return a->data == b->data;
	return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

#define FRAME_FIXED 64 /* more than the fixed bytes of any frame */

/* "[join_ref,ref," and room for the rest, of about so many bytes. */
static void
append_refs(struct json_buffer *buffer, const char *join_ref, const char *ref,
    size_t rest)
{
	size_t join_ref_size, ref_size;

	if (join_ref == NULL)
		join_ref = "null";
	if (ref == NULL)
		ref = "null";
	join_ref_size = strlen(join_ref);
	ref_size = strlen(ref);
	json_buffer_reserve(
	    buffer, join_ref_size + ref_size + rest + FRAME_FIXED);
	json_append(buffer, "[", 1);
	json_append(buffer, join_ref, join_ref_size);
	json_append(buffer, ",", 1);
	json_append(buffer, ref, ref_size);
	json_append(buffer, ",", 1);
}

/* A frame, but for a reply. */
static void
append_event(struct json_buffer *buffer, const char *join_ref, const char *ref,
    const struct text *topic, struct text event, struct text payload)
{
	append_refs(
	    buffer, join_ref, ref, topic->size + event.size + payload.size);
	json_append_string(buffer, topic->data, topic->size);
	json_append(buffer, ",", 1);
	json_append_string(buffer, event.data, event.size);
	json_append(buffer, ",", 1);
	json_append(buffer, payload.data, payload.size);
	json_append(buffer, "]", 1);
}

void
message_append_push(struct json_buffer *buffer, const char *join_ref,
    const struct text *topic, const char *event, size_t event_size,
    const char *payload, size_t payload_size)
{
	append_event(buffer, join_ref, NULL, topic,
	    (struct text){ (char *)event, event_size },
	    (struct text){ (char *)payload, payload_size });
}

void
message_append_reply(struct json_buffer *buffer, const char *join_ref,
    const char *ref, const char *topic_json, const char *status,
    size_t status_size, const char *response, size_t response_size)
{
	static const char begin[] = ",\"phx_reply\",{\"status\":";
	static const char middle[] = ",\"response\":";
	size_t topic_size = strlen(topic_json);

	append_refs(
	    buffer, join_ref, ref, topic_size + status_size + response_size);
	json_append(buffer, topic_json, topic_size);
	json_append(buffer, begin, sizeof begin - 1);
	json_append_string(buffer, status, status_size);
	json_append(buffer, middle, sizeof middle - 1);
	json_append(buffer, response, response_size);
	json_append(buffer, "}]", 2);
}

void
message_append_end(struct json_buffer *buffer, const char *join_ref,
    const struct text *topic, const char *event, const char *payload)
{
	append_event(buffer, join_ref, join_ref, topic,
	    (struct text){ (char *)event, strlen(event) },
	    (struct text){ (char *)payload, strlen(payload) });
}

void
message_append_v1(struct json_buffer *buffer, const char *ref,
    const char *topic_json, const struct text *event,
    const struct text *payload)
{
	json_buffer_reserve(buffer,
	    strlen(topic_json) + event->size + payload->size + FRAME_FIXED);
	json_append_text(buffer, "{\"topic\":");
	json_append_text(buffer, topic_json);
	json_append_text(buffer, ",\"event\":");
	json_append_string(buffer, event->data, event->size);
	json_append_text(buffer, ",\"payload\":");
	json_append(buffer, payload->data, payload->size);
	json_append_text(buffer, ",\"ref\":");
	json_append_text(buffer, ref == NULL ? "null" : ref);
	json_append_text(buffer, "}");
}
