/*
 * endpoint.h - the application's HTTP handlers, as the transport sees them:
 * what is answered here (no such method, OPTIONS, CORS) and the process that
 * answers the rest.
 *
 * The process is forked for the first request that needs it and kept for the
 * connection. It has one request at a time, since the next one is not read
 * before the answer to this one has left.
 */
#ifndef TRANSPORT_ENDPOINT_H
#define TRANSPORT_ENDPOINT_H

#include <sys/types.h>
#include <stdbool.h>

#include "transport/http.h"

struct transport;
struct endpoint; /* the process, and the request in its hands */

/*
 * Is the request one for the application? Then it is answered, now or later;
 * else it is somebody else's to answer.
 */
bool endpoint_request(struct transport *, const struct http_request *);
/* pubsub has accepted all: what waited for that goes on. */
void endpoint_published(struct transport *);
/* Is a request being answered? */
bool endpoint_is_busy(const struct transport *);
/* The connection is to end soon: the answer may not take as long as usual. */
void endpoint_hurry(struct transport *);
/* The process ends in order; transport_ended is told. */
void endpoint_stop(struct transport *);
/* A process was reaped: reads its last words first. False: not ours. */
bool endpoint_reap(struct transport *, pid_t, int status);
/* kill -9, as the page asks for. */
void endpoint_kill(struct transport *);

#endif /* TRANSPORT_ENDPOINT_H */
