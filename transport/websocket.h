/*
 * websocket.h - the frames of one WebSocket, server side (RFC 6455), on wslay.
 *
 * It does no I/O: bytes are fed in, messages and control frames come out of
 * callbacks; what is to be sent is handed over as whole frames, each in one
 * buffer, since the unit on the wire is a frame in one sendmsg(2) (other
 * writers may share the socket).
 */
#ifndef WEBSOCKET_H
#define WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/websocket_head.h"

struct websocket;

struct websocket_limits {
	size_t max_frame; /* bytes of payload; more is 1009 at the frame head */
	size_t max_message;     /* bytes put together of several frames; more is
				   1009 at the head of the frame that exceeds it */
	unsigned max_fragments; /* frames of one message; more is 1009 */
};

/* websocket_feed and websocket_free may not be called from these. */
struct websocket_callbacks {
	/* A whole message; text is valid UTF-8. Lent during the call. */
	void (*message)(struct websocket *, enum websocket_opcode, const char *,
	    size_t, void *arg);
	/*
	 * A control frame that must be sent (a pong): a whole frame, lent. A
	 * Close is not sent this way: see closed.
	 */
	void (*send)(struct websocket *, const void *, size_t, void *arg);
	/* A ping or pong came; NULL: nobody wants to know. */
	void (*control)(struct websocket *, void *arg);
	/*
	 * The client closed (code is what to answer with: 1000), or broke the
	 * rules (1002, 1007, 1009): the owner sends a Close frame with that
	 * code behind what it still has to send, and feeds no more. Once.
	 */
	void (*closed)(
	    struct websocket *, unsigned code, bool by_client, void *arg);
};

struct websocket *websocket_new(const struct websocket_limits *,
    const struct websocket_callbacks *, void *);
void websocket_free(struct websocket *);

/*
 * Feeds bytes. Returns how many were taken: all, unless the websocket is paused
 * or closed, or became so: none is taken behind the frame at which it did. A
 * paused one is to be fed the rest later.
 */
size_t websocket_feed(struct websocket *, const void *, size_t);
/* The key of bennu.conf whose limit a code of 1009 is due to; else NULL. */
const char *websocket_limit(const struct websocket *);
/* Has a message or frame begun that is not complete? */
bool websocket_in_message(const struct websocket *);
void websocket_pause(struct websocket *);
void websocket_resume(struct websocket *);

#endif /* WEBSOCKET_H */
