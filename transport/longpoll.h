/*
 * longpoll.h - the requests of long poll (PROTOCOL.md 6), as the transport of
 * such a request sees them: it finds the session that the client's token names,
 * hands the request over and answers what the session says; or has a new
 * session made.
 *
 * The token is signed with a key that only transports have, and says the name
 * of the session's socket. Whether there is such a session is for the socket to
 * say.
 */
#ifndef LONGPOLL_H
#define LONGPOLL_H

#include <stddef.h>

#include "common/config.h"
#include "transport/http.h"

struct longpoll; /* the request in hand, and its way to the session */
struct transport;

/* The mount whose long poll has this path, or NULL. */
const struct config_socket *longpoll_find(
    const struct config *, const char *path);
/* For http_set_body_limit. */
void longpoll_limit_body(const char *path, size_t *max, int *status, void *arg);
/* Answers the request in hand, now or later. */
void longpoll_request(struct transport *, const struct http_request *,
    const struct config_socket *);
/* The connection is to end soon: no waiting for messages any more. */
void longpoll_hurry(struct transport *);
/* The connection ends: nobody wants the answer. NULL-safe. */
void longpoll_cancel(struct transport *);

#endif /* LONGPOLL_H */
