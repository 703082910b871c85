/*
 * message.h - a message of the Phoenix Channels protocol in its JSON forms:
 * version 2 is [join_ref, ref, topic, event, payload] (Phoenix's V2
 * serializer), version 1 an object with these names.
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/json.h"

/* Strings here have a NUL behind them and may have NULs inside. */
struct text {
	char *data; /* NULL: none */
	size_t size;
};

/* What a client sent. Owns its parts. */
struct message {
	/*
	 * JSON text without white space, as it goes back: "\"1\"", "null", "7".
	 * Strings are brought to one spelling, so that bytes can be compared:
	 * "\u0031" is "1", but 1 is not "1".
	 */
	struct text join_ref;
	struct text ref;
	/*
	 * Decoded, when it is a JSON string; else topic.data is NULL and
	 * topic_json says what it was.
	 */
	struct text topic;
	struct text topic_json; /* always there */
	struct text event;      /* data is NULL when it was no string */
	struct text payload;    /* JSON text without white space */
	char *block;            /* private: all of the above lies in it */
};

/* False when it is malformed (PROTOCOL.md 2.4): nothing is to be freed then. */
bool message_parse_v2(struct message *, const char *, size_t);
/* The object of Phoenix's V1 serializer; a join_ref that is absent is null. */
bool message_parse_v1(struct message *, const char *, size_t);
void message_clear(struct message *);

/* Is this ref (of a message) null? */
bool message_ref_is_null(const struct text *);
bool text_equal(const struct text *, const struct text *);

/*
 * Frames to the client, appended to a buffer. refs are JSON text as in struct
 * message, or NULL for null; topic and event are plain; payload and response
 * are JSON text (already without white space).
 */
void message_append_push(struct json_buffer *, const char *join_ref,
    const struct text *topic, const char *event, size_t event_size,
    const char *payload, size_t payload_size);
/* status: "ok", "error" or any other word (plain text, not JSON). */
void message_append_reply(struct json_buffer *, const char *join_ref,
    const char *ref, const char *topic_json, const char *status,
    size_t status_size, const char *response, size_t response_size);
/* phx_close and phx_error: join_ref stands in the place of ref, too. */
void message_append_end(struct json_buffer *, const char *join_ref,
    const struct text *topic, const char *event, const char *payload);

/*
 * The same in V1: {"topic", "event", "payload", "ref"}. topic is JSON text,
 * event plain, payload JSON text; ref is JSON text, or NULL for null.
 */
void message_append_v1(struct json_buffer *, const char *ref,
    const char *topic_json, const struct text *event,
    const struct text *payload);

#endif /* MESSAGE_H */
