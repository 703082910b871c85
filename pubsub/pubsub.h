/*
 * pubsub.h - the pubsub role: which connection wants which topic, and the
 * broadcasts that go to them.
 *
 * One worker, so far; each transport that has joined a topic holds a mailbox to
 * it. Subscriptions belong to connections: the transport itself knows which of
 * its channels they are for, and delivers a broadcast of its own channels to
 * its own client, so that the worker leaves the sender's connection out.
 */
#ifndef PUBSUB_H
#define PUBSUB_H

#include <stddef.h>
#include <stdint.h>

#include "common/process.h"

/* Its descriptors, beside the standard ones. */
#define PUBSUB_FD_LISTEN  PROCESS_FD       /* transports connect here */
#define PUBSUB_FD_MAILBOX (PROCESS_FD + 1) /* to the supervisor */
#define PUBSUB_NFDS       2

struct pubsub_start {
	unsigned number;    /* "pubsub 1" */
	size_t backlog_max; /* bytes that may wait for one transport */
	/* Whom its predecessor served, and it serves: roster.h. NULL: it waits
	 * for nobody. */
	uint64_t *roster;
	size_t roster_max;
};

/* arg: struct pubsub_start. For process_fork. */
_Noreturn void pubsub_run(void *arg);

#endif /* PUBSUB_H */
