/*
 * endpoint.h - the endpoint role: one process for one connection that asks for
 * the application's routes, in which the author's handlers run.
 */
#ifndef CHANNEL_ENDPOINT_H
#define CHANNEL_ENDPOINT_H

#include <stdatomic.h>
#include <stdint.h>

#include <bennu/endpoint.h>

#include "common/config.h"
#include "common/envelope.h"
#include "common/process.h"

/* Its descriptors, beside the standard ones. */
#define ENDPOINT_FD_MAILBOX PROCESS_FD /* to its transport */
#define ENDPOINT_NFDS       1

#define ENDPOINT_BODY_MAX    (ENVELOPE_MAX - (1U << 20)) /* of an answer */
#define ENDPOINT_HEADERS_MAX 100                         /* likewise */
#define ENDPOINT_SHUTDOWN    5000 /* ms that it may take to end */

/*
 * What an endpoint is born with. It lies in the transport's memory, of which
 * the child has its copy.
 */
struct endpoint_start {
	const struct config_endpoint *config;
	const struct config *server;
	uint64_t connection; /* number of its transport */
	const char *peer;
	/*
	 * In memory that both share: the number of the request that was begun
	 * last. The transport reads it when the process is dead, and believes
	 * it no more than it must.
	 */
	_Atomic uint32_t *begun;
};

/* arg: struct endpoint_start. For process_fork. */
_Noreturn void endpoint_run(void *arg);

#endif /* CHANNEL_ENDPOINT_H */
