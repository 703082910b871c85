/*
 * session.h - a long-poll session (PROTOCOL.md 6): a transport without a
 * connection, which outlives the requests that lead to it.
 *
 * It is forked for the first request of a client and inherits the other end of
 * a mailbox of that request's transport, by which it learns who the client is.
 * Transports of later requests find it by its socket in the run directory,
 * whose name only the client's token tells (longpoll.h).
 *
 * What the channels and pubsub say waits here for a poll, within backlog_max;
 * what clients post is dealt with one message at a time.
 */
#ifndef SESSION_H
#define SESSION_H

#include <stdint.h>

struct session;
struct transport;

/* ---- its socket ---- */

#define SESSION_PREFIX    "lp-"
#define SESSION_NAME_SIZE (sizeof SESSION_PREFIX + 22)
#define SESSION_PATH_SIZE 108 /* as sockets allow */

/* In the run directory. nonce: SESSION_NONCE bytes. */
void session_name(char[SESSION_NAME_SIZE], const uint8_t *nonce);

/* ---- in its process ---- */

/* opener: the mailbox of who wants it. */
void session_begin(struct transport *, int opener);
/* The transport's deadline: does anybody still poll? */
void session_check(struct transport *);
/* The transport ends: nobody reaches it any more. */
void session_end(struct transport *);

#endif /* SESSION_H */
