/*
 * client.h - a process's way to its pubsub worker: subscribe, publish, and what
 * comes.
 *
 * The connection is made when it is first needed. When the worker dies it is
 * made again: what was wanted is told anew, with what had come of it, and what
 * was published and not accepted is sent again. So nothing that was accepted is
 * lost, and nothing comes twice.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/message.h"
#include "pubsub/broadcast.h"
#include "pubsub/encode.h"
#include "pubsub/slots.h"

struct event_base;
struct lane;
struct pubsub_client;

struct pubsub_callbacks {
	/* A broadcast for channels that subscribed to its topic or intercept
	 * it. what: PS_DELIVER_*. */
	void (*deliver)(const struct broadcast *, uint32_t what, void *arg);
	/* Of a topic whose broadcasts go to the client: a whole frame. */
	void (*frame)(
	    const struct text *topic, const char *, size_t, void *arg);
	/* Bytes that go to the client before anything else. */
	void (*rest)(const char *, size_t, void *arg);
	/* The lane is free, or may be: try again. */
	void (*lane_free)(void *arg);
	/* Broadcasts were missed. */
	void (*overrun)(void *arg);
	/* All publishes have been accepted. */
	void (*idle)(void *arg);
	/* Is what came taken, so far that more may come? False:
	 * pubsub_client_room will be called. NULL: it is. */
	bool (*has_room)(void *arg);
};

/* Who we are. */
struct pubsub_identity {
	const char *path;    /* the worker's socket, lent */
	uint64_t connection; /* 0: a tool */
	uint32_t slot;       /* SLOT_NONE: none */
};

struct pubsub_client *pubsub_client_new(struct event_base *,
    const struct pubsub_identity *, const struct pubsub_callbacks *, void *arg);
void pubsub_client_free(struct pubsub_client *);

/*
 * Once, before PART_CLIENT of anything is wanted: there is a client, at this
 * mount and with this serializer, at the other end of fd (lent); the worker may
 * write to it when the lane says so. lane NULL: frames come by the callback
 * only. False: likewise, since this socket cannot have one: the lane is nothing
 * to anybody.
 */
bool pubsub_client_serves(struct pubsub_client *, uint32_t mount,
    enum frame_version, int fd, struct lane *);
/* The client is gone. */
void pubsub_client_serves_nobody(struct pubsub_client *);
/* Frames that came since the worker knows of the lane: for lane_release. */
uint64_t pubsub_client_received(const struct pubsub_client *);

/*
 * Counted: a topic is subscribed to once for each part, however often it is
 * asked for. The callback comes when the worker has confirmed, never from
 * inside the call.
 */
typedef void (*pubsub_confirm_cb)(void *arg);
void pubsub_subscribe(struct pubsub_client *, enum part,
    const struct text *topic, pubsub_confirm_cb, void *arg);
void pubsub_unsubscribe(struct pubsub_client *, enum part,
    const struct text *topic, pubsub_confirm_cb, void *arg);

/* To everybody but this process. flags: JOURNAL_*. */
void pubsub_publish(
    struct pubsub_client *, const struct broadcast *, uint32_t flags);
/* Less waits now: the worker may hear of it. */
void pubsub_client_room(struct pubsub_client *);
/*
 * The same under a number of the caller's own, larger than all before: who
 * keeps them for a successor with the same identity, which publishes again what
 * may not have been accepted. pubsub_last: the last number.
 */
void pubsub_publish_as(struct pubsub_client *, uint64_t number,
    const struct broadcast *, uint32_t flags);
uint64_t pubsub_last(const struct pubsub_client *);
/* A predecessor used numbers up to this one. */
void pubsub_go_on(struct pubsub_client *, uint64_t last);
/* Memory of publishes that were not accepted yet: bytes. */
size_t pubsub_unaccepted(const struct pubsub_client *);

#endif /* CLIENT_H */
