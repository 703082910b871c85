/*
 * link.h - how messages get to the client and from it: what is different
 * between a WebSocket, at whose other end the client is, and a long-poll
 * session, which hands them to whoever polls (session.h).
 */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "common/websocket_head.h"

struct transport;

struct client_link {
	/* A message. */
	void (*send)(struct transport *, enum websocket_opcode, const char *,
	    size_t size);
	/* Some of them, each a whole WebSocket frame. */
	void (*send_frames)(struct transport *, const char *, size_t size);
	/* Bytes of them that wait for the client. */
	size_t (*backlog)(const struct transport *);
	/* Nothing more follows. */
	void (*close)(struct transport *, unsigned code);
	/* Stop or go on reading what the client says; not from inside. */
	void (*read)(struct transport *, bool);
};

extern const struct client_link websocket_link; /* transport.c */
extern const struct client_link session_link;   /* session.c */

#endif /* LINK_H */
