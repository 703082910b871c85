/*
 * client.h - a process's way to pubsub: subscribe, publish, and what comes.
 *
 * The connection is made when it is first needed. When the worker dies it is
 * made again: what is wanted is subscribed again, and publishes that were not
 * accepted are sent again once all transports have subscribed. What the worker
 * had accepted and not yet passed on is lost with it, and what it was passing
 * on may come twice to some: the journal of ARCHITECTURE.md will end both.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/message.h"
#include "pubsub/broadcast.h"

struct event_base;
struct pubsub_client;

struct pubsub_callbacks {
	/* A broadcast on a topic that this process subscribed to. */
	void (*deliver)(const struct broadcast *, void *arg);
	/* The worker had let go of us: broadcasts were missed. */
	void (*overrun)(void *arg);
	/* All publishes have been accepted. */
	void (*idle)(void *arg);
};

/* path: the worker's socket, lent. connection: who we are, for its log. */
struct pubsub_client *pubsub_client_new(struct event_base *, const char *path,
    uint64_t connection, const struct pubsub_callbacks *, void *arg);
void pubsub_client_free(struct pubsub_client *);

/*
 * Counted: a topic is subscribed to once, however often it is asked for. The
 * callback comes when the worker has confirmed, never from inside the call.
 */
typedef void (*pubsub_confirm_cb)(void *arg);
void pubsub_subscribe(struct pubsub_client *, const struct text *topic,
    pubsub_confirm_cb, void *arg);
void pubsub_unsubscribe(struct pubsub_client *, const struct text *topic,
    pubsub_confirm_cb, void *arg);

/* To everybody but this process. */
void pubsub_publish(struct pubsub_client *, const struct broadcast *);
/* Bytes of publishes that were not accepted yet. */
size_t pubsub_unaccepted(const struct pubsub_client *);

#endif /* CLIENT_H */
