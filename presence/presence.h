/*
 * presence.h - the presence role: who is where, on which topic, and what of it
 * changes (Phoenix.Presence on Phoenix.Tracker).
 *
 * Transports tell it what their channels track; a presence ends with the
 * channel's process, or with its transport. Each change leaves at once, as a
 * broadcast presence_diff, through a pubsub worker. When presence dies its
 * successor goes on from the log, and hears from all transports what there is.
 */
#ifndef PRESENCE_H
#define PRESENCE_H

#include "common/config.h"
#include "common/process.h"
#include "presence/log.h"
#include "pubsub/client.h"
#include "pubsub/shared.h"

/* Its descriptors, beside the standard ones. */
#define PRESENCE_FD_LISTEN  PROCESS_FD       /* transports connect here */
#define PRESENCE_FD_MAILBOX (PROCESS_FD + 1) /* to the supervisor */
#define PRESENCE_FD_LOG     (PROCESS_FD + 2) /* PRESENCE_LOG_FILES of them */
#define PRESENCE_NFDS       (2 + PRESENCE_LOG_FILES)

struct presence_start {
	const struct config *config;
	/* The same for all processes of this role, one after the other: what
	 * one has published its successor does not publish again. */
	struct pubsub_identity pubsub;
	/* Of which it has the slots only: who is alive. */
	const struct shared *shared;
	const char *fetch_path; /* NULL: no channel has a fetch */
};

/* arg: struct presence_start. For process_fork. */
_Noreturn void presence_run(void *arg);

#endif /* PRESENCE_H */
