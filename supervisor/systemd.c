/*
 * systemd.c - $NOTIFY_SOCKET and $LISTEN_FDS.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "supervisor/systemd.h"

#define FIRST_FD 3

void
systemd_notify(const char *state)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t size;
	socklen_t length;
	int fd;

	if (path == NULL || path[0] == '\0')
		return;
	size = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || size >= sizeof un.sun_path) {
		log_warnx("NOTIFY_SOCKET '%s' is no socket", path);
		return;
	}
	memcpy(un.sun_path, path, size);
	if (path[0] == '@') /* an abstract name, without a NUL at its end */
		un.sun_path[0] = '\0';
	length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1 ||
	    sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
		(struct sockaddr *)&un, length) == -1)
		log_warn("systemd is not told %s", state);
	if (fd != -1)
		close(fd);
}

/* A whole number above 0, or -1. */
static long
parse_variable(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long n;

	if (text == NULL || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	n = strtol(text, &end, 10);
	return *end == '\0' && errno == 0 && n > 0 ? n : -1;
}

static int
take_fds(int *fds, size_t max)
{
	long n = parse_variable("LISTEN_FDS");

	if (n == -1 || (size_t)n > max) {
		log_warnx("LISTEN_FDS '%s' must be 1 to %zu",
		    getenv("LISTEN_FDS") != NULL ? getenv("LISTEN_FDS") : "",
		    max);
		return -1;
	}
	for (int i = 0; i < (int)n; i++) {
		if (fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC) == -1) {
			log_warn("descriptor %d of systemd", FIRST_FD + i);
			return -1;
		}
		fds[i] = FIRST_FD + i;
	}
	return (int)n;
}

int
systemd_listen_fds(int *fds, size_t max)
{
	int n = 0;

	/* They may be meant for a process that forked us. */
	if (parse_variable("LISTEN_PID") == (long)getpid())
		n = take_fds(fds, max);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return n;
}
