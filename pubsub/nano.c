/*
 * nano.c - see nano.h.
 */
#include <sys/stat.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "pubsub/nano.h"

#define LIBRARY   "libnanomsg.so.5"
#define RECONNECT 50 /* ms between nanomsg's own tries to connect */

static bool
find(void *library, const char *name, void *function)
{
	void *found = dlsym(library, name);

	/* POSIX has functions in void pointers, ISO C does not. */
	*(void **)function = found;
	return found != NULL;
}

static bool
find_all(void *library, struct nano *nano)
{
	return find(library, "nn_socket", &nano->socket) &&
	    find(library, "nn_close", &nano->close) &&
	    find(library, "nn_setsockopt", &nano->setsockopt) &&
	    find(library, "nn_getsockopt", &nano->getsockopt) &&
	    find(library, "nn_bind", &nano->bind) &&
	    find(library, "nn_connect", &nano->connect) &&
	    find(library, "nn_shutdown", &nano->shutdown) &&
	    find(library, "nn_send", &nano->send) &&
	    find(library, "nn_recv", &nano->recv) &&
	    find(library, "nn_freemsg", &nano->freemsg) &&
	    find(library, "nn_get_statistic", &nano->get_statistic) &&
	    find(library, "nn_errno", &nano->error) &&
	    find(library, "nn_strerror", &nano->strerror);
}

const struct nano *
nano_load(void)
{
	static struct nano nano;
	static void *library;

	if (library != NULL)
		return &nano;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (library != NULL && find_all(library, &nano))
		return &nano;
	log_warnx("nanomsg is needed (Debian: libnanomsg5): %s", dlerror());
	if (library != NULL)
		dlclose(library);
	library = NULL;
	return NULL;
}

static void
warn(const struct nano *nano, const char *what, const char *path)
{
	log_warnx("%s: %s: %s", path, what, nano->strerror(nano->error()));
}

static char *
address(const char *path)
{
	return xasprintf("ipc://%s", path);
}

static int
bind_file(const struct nano *nano, int socket, const char *path)
{
	char *to = address(path);
	mode_t mask = umask(0177); /* the file is made by nn_bind itself */
	int endpoint;

	unlink(path);
	endpoint = nano->bind(socket, to);
	umask(mask);
	free(to);
	return endpoint;
}

int
nano_publisher(const struct nano *nano, const char *path, int send_buffer)
{
	int socket = nano->socket(AF_SP, NN_PUB);

	if (socket == -1) {
		warn(nano, "nn_socket", path);
		return -1;
	}
	if (nano->setsockopt(socket, NN_SOL_SOCKET, NN_SNDBUF, &send_buffer,
		sizeof send_buffer) != -1 &&
	    bind_file(nano, socket, path) != -1)
		return socket;
	warn(nano, "nn_bind", path);
	nano->close(socket);
	return -1;
}

int
nano_subscriber(const struct nano *nano, int size_max, int *fd)
{
	static const int reconnect = RECONNECT;
	int socket = nano->socket(AF_SP, NN_SUB);
	size_t size = sizeof *fd;

	if (socket == -1) {
		warn(nano, "nn_socket", "SUB");
		return -1;
	}
	if (nano->setsockopt(socket, NN_SUB, NN_SUB_SUBSCRIBE, "", 0) != -1 &&
	    nano->setsockopt(socket, NN_SOL_SOCKET, NN_RCVMAXSIZE, &size_max,
		sizeof size_max) != -1 &&
	    nano->setsockopt(socket, NN_SOL_SOCKET, NN_RECONNECT_IVL,
		&reconnect, sizeof reconnect) != -1 &&
	    nano->getsockopt(socket, NN_SOL_SOCKET, NN_RCVFD, fd, &size) != -1)
		return socket;
	warn(nano, "options", "SUB");
	nano->close(socket);
	return -1;
}

void
nano_connect(
    const struct nano *nano, int socket, int *endpoint, const char *path)
{
	char *to = address(path);

	if (*endpoint != -1 && nano->shutdown(socket, *endpoint) == -1)
		warn(nano, "nn_shutdown", path);
	*endpoint = nano->connect(socket, to);
	if (*endpoint == -1)
		warn(nano, "nn_connect", path);
	free(to);
}

bool
nano_has_peers(const struct nano *nano, int socket)
{
	return nano->get_statistic(socket, NN_STAT_CURRENT_CONNECTIONS) > 0;
}
