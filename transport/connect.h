/*
 * connect.h - may this client connect? Asked of the application's connect,
 * which runs in another process (channel/connector.h).
 *
 * Meanwhile the connection is paused, but for its end: a client that goes away
 * ends the transport. What it sends ahead is kept.
 */
#ifndef TRANSPORT_CONNECT_H
#define TRANSPORT_CONNECT_H

#include <stdbool.h>

#include "common/config.h"
#include "common/message.h"
#include "transport/http.h"

struct transport;
struct connect; /* a question that is open */

struct connect_question {
	const struct config_socket *socket;
	const struct http_request *request;
	const struct text *token; /* data is NULL: none */
	/*
	 * Subscribe to the socket's id, so that the answer comes when that is
	 * confirmed. Not for a request that will be refused anyway.
	 */
	bool subscribe;
};

/*
 * status 0: accepted, and t->connected has what came of it. Else the status of
 * the answer: 403, 500 (it crashed), 503 (pubsub does not confirm in time).
 */
typedef void (*connect_done_cb)(struct transport *, int status);

/*
 * Takes t->connected.params and transport, which are set. done comes from the
 * event loop; it is for done to go on: PAUSE_CONNECT is lifted behind it.
 */
void connect_ask(
    struct transport *, const struct connect_question *, connect_done_cb);
/* The connection ends: nobody wants to know any more. NULL-safe. */
void connect_cancel(struct transport *);

#endif /* TRANSPORT_CONNECT_H */
