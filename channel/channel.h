/*
 * channel.h - the channel role: one process for one topic of one client, in
 * which the author's callbacks run.
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include <bennu/channel.h>

#include "common/config.h"
#include "common/message.h"
#include "common/process.h"

/* Its descriptors, beside the standard ones. */
#define CHANNEL_FD_MAILBOX PROCESS_FD /* to its transport */
#define CHANNEL_NFDS       1

#define CHANNEL_DUMP_MAX (1U << 20) /* bytes that a dump may have */

/* What connect made of the client: for all its channels. */
struct connected {
	const char *transport; /* "websocket" or "longpoll" */
	struct text params;    /* JSON text: of the query */
	struct text id;        /* data is NULL: none */
	struct text assigns;   /* JSON text of an object */
};

/*
 * What a channel is born with. It lies in the transport's memory, of which the
 * child has its copy; nothing is sent to start a channel.
 */
struct channel_start {
	const struct config_channel *config;
	const struct config *server;
	uint64_t connection; /* number of its transport */
	unsigned number;     /* of the channel in its transport */
	unsigned restarts;   /* how often it crashed before */
	const struct text *topic;
	const char *join_ref; /* JSON text, under which the client knows it */
	const char *ref;      /* JSON text of the join's own ref, or NULL */
	const struct text *params;
	enum bennu_kind params_kind;
	const struct connected *connected;
};

/* arg: struct channel_start. For process_fork. */
_Noreturn void channel_run(void *arg);

#endif /* CHANNEL_H */
