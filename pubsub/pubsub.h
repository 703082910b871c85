/*
 * pubsub.h - the pubsub role: a worker that accepts broadcasts into its journal
 * and gives what all journals hold to its connections.
 *
 * There is a pool of workers; each connection belongs to one of them.
 * Transports hold a mailbox to their worker, and hand it their client's socket:
 * a broadcast goes round the transport, straight to the client (lane.h).
 * Subscriptions belong to connections: the transport itself knows which of its
 * channels they are for, and delivers a broadcast of its own channels to its
 * own client, so that the worker leaves the sender's connection out.
 */
#ifndef PUBSUB_H
#define PUBSUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/process.h"

struct config;
struct shared;

/* Its descriptors, beside the standard ones. */
#define PUBSUB_FD_LISTEN  PROCESS_FD       /* transports connect here */
#define PUBSUB_FD_MAILBOX (PROCESS_FD + 1) /* to the supervisor */
#define PUBSUB_NFDS       2

/*
 * Topics that a peer may subscribe to; who wants more is let go. A transport
 * may have its socket's id, and max_channels of these:
 */
#define PUBSUB_EXTRAS_MAX 1000   /* topics of a channel, beside its own */
#define PUBSUB_ENDING_MAX 16     /* channels that end, beyond max_channels */
#define PUBSUB_TOPICS_MAX 100000 /* of a peer that serves no client */

struct pubsub_start {
	unsigned number;    /* "pubsub 1" */
	size_t backlog_max; /* bytes that may wait for one transport */
	const struct config *config;
	struct shared *shared;
	/* Where the sockets of the tree are. */
	const char *run_directory;
	/* A predecessor died by a signal that attacks on memory end in. */
	bool suspicious;
};

/* arg: struct pubsub_start. For process_fork. */
_Noreturn void pubsub_run(void *arg);

#endif /* PUBSUB_H */
