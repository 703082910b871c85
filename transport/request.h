/*
 * request.h - what the transport answers to HTTP: the WebSocket handshake, the
 * files of the page, and, where the configuration says so, the tree and kill.
 */
#ifndef REQUEST_H
#define REQUEST_H

struct transport;

/* The connection is ready for its first request. */
void request_begin(struct transport *);
/* What came is no request, or beyond a limit (else NULL): this status, then the
 * end. */
void request_refuse(struct transport *, int status, const char *limit);
/* The answer has left. */
void request_sent(struct transport *);
/* No request came, or not the whole of one, in time. */
void request_timeout(struct transport *);

#endif /* REQUEST_H */
