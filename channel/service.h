/*
 * service.h - the service role: a process of the application that lasts, under
 * the supervisor; a client of a pubsub worker, as transports are.
 *
 * It has a connection number and a slot of its own, new ones for each process,
 * so that what it publishes is accepted once and what it hears comes once,
 * whatever becomes of its worker. It knows the slot by its number only: the
 * author's code has nothing of what pubsub workers share.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <stdint.h>

#include "common/config.h"
#include "common/process.h"
#include "pubsub/client.h"

/* Its descriptors, beside the standard ones. */
#define SERVICE_FD_MAILBOX (PROCESS_FD + 1) /* to the supervisor */

struct service_start {
	const struct config_service *config;
	const struct config *server;
	struct pubsub_identity pubsub;
	const char *presence_path; /* of presence's socket; NULL: none */
};

/* arg: struct service_start. For process_fork. */
_Noreturn void service_run(void *arg);

#endif /* SERVICE_H */
