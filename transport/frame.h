/*
 * frame.h - messages to and from the client, in the forms of the serializer
 * that it has asked for: V2 as JSON text, or binary for payloads that are
 * bytes; V1 as JSON text only.
 */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>

#include <bennu/channel.h>

#include "common/json.h"
#include "common/message.h"
#include "pubsub/encode.h"
#include "transport/websocket.h"

/* A process has one client, which speaks one serializer. */
void frame_speak(enum frame_version);
enum frame_version frame_spoken(void);

/* A message to the client. Reused: each call begins it anew. */
struct frame {
	enum websocket_opcode opcode;
	struct json_buffer body;
};

/*
 * refs are JSON text, or NULL for null. False: there is no form for it. A field
 * of a binary frame is longer than 255 bytes, or V1 has no binary frames.
 */
bool frame_push(struct frame *, const char *join_ref, const struct text *topic,
    const struct text *event, enum bennu_kind, const struct text *payload);
bool frame_broadcast(struct frame *, const struct broadcast *);
bool frame_reply(struct frame *, const char *join_ref, const char *ref,
    const struct text *topic, const struct text *status, enum bennu_kind,
    const struct text *response);
/* The protocol's own replies: topic is JSON text, response is JSON text. */
void frame_protocol_reply(struct frame *, const char *join_ref, const char *ref,
    const char *topic_json, const char *status, const char *response);
/* phx_close, phx_error. */
void frame_end(struct frame *, const char *join_ref, const struct text *topic,
    const char *event, const char *payload);

/* It was copied: one that was large gives its memory back. */
void frame_sent(struct frame *);

/*
 * A message of the client. A binary one of V2 has bytes as its payload: *kind
 * says so, and *payload is lent of them; else it is lent of the message. False:
 * malformed, and nothing is to be freed.
 */
bool frame_parse(struct message *, enum websocket_opcode, const char *, size_t,
    enum bennu_kind *, struct text *payload);

#endif /* FRAME_H */
