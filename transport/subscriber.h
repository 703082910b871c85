/*
 * subscriber.h - the transport as a subscriber of its pubsub worker: its lane,
 * on which the worker writes broadcasts straight to the client, and what comes
 * by the mailbox instead.
 */
#ifndef SUBSCRIBER_H
#define SUBSCRIBER_H

#include <stdbool.h>
#include <stddef.h>

struct transport;

void subscriber_start(struct transport *);
/* The client speaks WebSocket now: broadcasts may go to it. */
void subscriber_serves(struct transport *);
/* The socket is given up. */
void subscriber_ends(struct transport *);

/* For the outbox, around each write. 1: it may; 0: later, it will be told; -1:
 * the worker found the socket broken. */
int subscriber_may_write(void *arg);
void subscriber_wrote(size_t bytes, void *arg);

/* While something is not confirmed, broadcasts come by the mailbox, in order
 * with the confirmation. */
void subscriber_hold(struct transport *);
void subscriber_confirmed(struct transport *);

#endif /* SUBSCRIBER_H */
