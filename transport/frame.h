/*
 * frame.h - messages to and from the client in the forms of Phoenix's V2
 * serializer: JSON text, and binary for payloads that are bytes.
 */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>

#include <bennu/channel.h>

#include "common/json.h"
#include "common/message.h"
#include "transport/websocket.h"

/* A message to the client. Reused: each call begins it anew. */
struct frame {
	enum websocket_opcode opcode;
	struct json_buffer body;
};

/*
 * refs are JSON text, or NULL for null. False: a binary form cannot hold it,
 * since a field is longer than 255 bytes.
 */
bool frame_push(struct frame *, const char *join_ref, const struct text *topic,
    const struct text *event, enum bennu_kind, const struct text *payload);
bool frame_broadcast(struct frame *, const struct text *topic,
    const struct text *event, enum bennu_kind, const struct text *payload);
bool frame_reply(struct frame *, const char *join_ref, const char *ref,
    const struct text *topic, const struct text *status, enum bennu_kind,
    const struct text *response);
/* The protocol's own replies: topic is JSON text, response is JSON text. */
void frame_protocol_reply(struct frame *, const char *join_ref, const char *ref,
    const char *topic_json, const char *status, const char *response);
/* phx_close, phx_error. */
void frame_end(struct frame *, const char *join_ref, const struct text *topic,
    const char *event, const char *payload);

/*
 * A binary message of the client (kind 0); payload is lent of the bytes. False:
 * malformed, and nothing is to be freed.
 */
bool frame_parse_binary(
    struct message *, const char *, size_t, struct text *payload);

#endif /* FRAME_H */
