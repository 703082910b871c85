/*
 * nano.h - libnanomsg, loaded by the process that needs it.
 *
 * Only leaves of the tree (pubsub workers, adapters, tools) may have it:
 * nanomsg starts a thread at its first socket, and nothing may be forked after
 * that. So it is no library that the program is linked with: supervisor,
 * transports and channels neither map nor relocate it.
 *
 * nanomsg 1.1.5 aborts its process when a peer sends what is not its protocol;
 * endpoints lie in the run directory, which is Bennu's user's alone.
 */
#ifndef NANO_H
#define NANO_H

#include <stdbool.h>
#include <stddef.h>

/* For the constants and the types: nothing of it is called by its name. */
#include <nanomsg/nn.h>
#include <nanomsg/pubsub.h>

/* nn_socket(3), ... */
struct nano {
	__typeof__(&nn_socket) socket;
	__typeof__(&nn_close) close;
	__typeof__(&nn_setsockopt) setsockopt;
	__typeof__(&nn_getsockopt) getsockopt;
	__typeof__(&nn_bind) bind;
	__typeof__(&nn_connect) connect;
	__typeof__(&nn_shutdown) shutdown;
	__typeof__(&nn_send) send;
	__typeof__(&nn_recv) recv;
	__typeof__(&nn_freemsg) freemsg;
	__typeof__(&nn_get_statistic) get_statistic;
	__typeof__(&nn_errno) error;
	__typeof__(&nn_strerror) strerror;
};

/* NULL: it is not there; said in the log, why. */
const struct nano *nano_load(void);

/*
 * These say in the log what failed. Sockets are their owner's, who closes them.
 */
/* A PUB socket bound to path, a file of mode 0600; one that a dead predecessor
 * left there is removed. -1: failed. */
int nano_publisher(const struct nano *, const char *path, int send_buffer);
/*
 * A SUB socket for all messages, connected to nothing yet. Larger messages cost
 * the link. *fd: readable when there is one. -1: failed.
 */
int nano_subscriber(const struct nano *, int size_max, int *fd);

/*
 * The link of a subscriber to path: *endpoint, -1 for none, is given up and a
 * new one made. nanomsg makes broken links again by itself, but with bytes that
 * it had read ahead from the old one: what is connected in this way is clean.
 */
void nano_connect(
    const struct nano *, int socket, int *endpoint, const char *path);

/* Are there any whom a publisher's messages reach? */
bool nano_has_peers(const struct nano *, int socket);

#endif /* NANO_H */
