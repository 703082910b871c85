/*
 * publish.h - POST /bennu/broadcast: a broadcast from outside, by whoever has
 * the token of the file that `broadcast_token_file` names:
 *
 *	Authorization: Bearer <token>
 *	Content-Type: application/json
 *
 *	{"topic":"room:lobby","event":"shout","payload":{"body":"hi"}}
 *
 * It is answered when pubsub has accepted it.
 */
#ifndef PUBLISH_H
#define PUBLISH_H

#include <stdbool.h>

#include "transport/http.h"

#define PUBLISH_PATH "/bennu/broadcast"

struct transport;
struct publishing; /* waits for pubsub */

/* Is there such a route, and is this it? */
bool publish_is_route(const struct transport *, const char *path);
/* Answers the request in hand, now or later. */
void publish_respond(struct transport *, const struct http_request *);
/* pubsub has accepted all. */
void publish_accepted(struct transport *);
/* The connection ends: nobody waits any more; what was published leaves. */
void publish_cancel(struct transport *);

#endif /* PUBLISH_H */
