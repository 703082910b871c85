/*
 * encode.h - a broadcast as the frame that a client gets, in the form of the
 * serializer that it speaks (PROTOCOL.md 2: all refs are null).
 */
#ifndef ENCODE_H
#define ENCODE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/json.h"
#include "common/websocket_head.h"
#include "pubsub/broadcast.h"

/* Phoenix's serializers, by their vsn. */
enum frame_version {
	FRAME_V1 = 1, /* ~> 1.0.0 */
	FRAME_V2 = 2, /* ~> 2.0.0 */
};

#define FRAME_FIELD_MAX 255 /* bytes of a field of a binary frame */

/*
 * The body of the frame, appended. False: there is no form for it: a field of a
 * binary frame is longer than FRAME_FIELD_MAX, or V1 has no binary frames.
 */
bool encode_broadcast(struct json_buffer *, enum frame_version,
    const struct broadcast *, enum websocket_opcode *);

/* The same with its head: *size bytes, to be freed; NULL: no form. */
char *encode_frame(enum frame_version, const struct broadcast *, size_t *size);

#endif /* ENCODE_H */
