/*
 * connector.h - the connect role: a process that lasts and runs the connect
 * callbacks of the application's sockets, one at a time, for all transports.
 *
 * A transport connects to its socket, asks (ENVELOPE_CONNECT) and is told when
 * its turn comes (CONNECT_BEGUN), then what came of it (CONNECTED). So it knows
 * whose callback it was that killed the process: if it was another's it asks
 * again.
 */
#ifndef CONNECTOR_H
#define CONNECTOR_H

#include <stddef.h>

#include "common/config.h"
#include "common/process.h"

/* Its descriptors, beside the standard ones. */
#define CONNECTOR_FD_LISTEN  PROCESS_FD       /* transports connect here */
#define CONNECTOR_FD_MAILBOX (PROCESS_FD + 1) /* to the supervisor */
#define CONNECTOR_NFDS       2

struct connector_start {
	const struct config *config;
	unsigned number; /* "connect 1" */
};

/* arg: struct connector_start. For process_fork. */
_Noreturn void connector_run(void *arg);

#endif /* CONNECTOR_H */
