/*
 * websocket_head.h - the head of a WebSocket frame that a server sends (RFC
 * 6455): not masked, not fragmented. Transports write frames, and so do pubsub
 * workers.
 */
#ifndef WEBSOCKET_HEAD_H
#define WEBSOCKET_HEAD_H

#include <stddef.h>
#include <stdint.h>

enum websocket_opcode {
	WEBSOCKET_TEXT = 1,
	WEBSOCKET_BINARY = 2,
	WEBSOCKET_CLOSE = 8,
	WEBSOCKET_PING = 9,
	WEBSOCKET_PONG = 10,
};

/* Returns its size. */
#define WEBSOCKET_HEAD_MAX 10
size_t websocket_head(
    uint8_t head[WEBSOCKET_HEAD_MAX], enum websocket_opcode, size_t payload);

/*
 * Of a frame that websocket_head has begun: the size of its head, or 0 when it
 * is none, or not whole.
 */
size_t websocket_head_read(
    const char *frame, size_t size, enum websocket_opcode *, size_t *payload);

#endif /* WEBSOCKET_HEAD_H */
