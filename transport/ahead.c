/*
 * ahead.c - see ahead.h.
 */
#include <sys/socket.h>

#include <errno.h>
#include <event2/event.h>
#include <string.h>

#include "transport/ahead.h"
#include "transport/transport.h"

#define AHEAD_MAX (64 * 1024) /* bytes that a client may send ahead */

static void
on_ahead(int fd, short what, void *arg)
{
	struct transport *t = arg;
	char data[4096];
	ssize_t n = recv(fd, data, sizeof data, MSG_DONTWAIT);

	(void)what;
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		transport_abort(
		    t, n == 0 ? "closed by the client" : strerror(errno));
		return;
	}
	transport_keep_input(t, data, (size_t)n);
	if (t->in_size >= AHEAD_MAX)
		event_del(&t->ahead);
}

void
ahead_init(struct transport *t)
{
	event_assign(
	    &t->ahead, t->base, t->fd, EV_READ | EV_PERSIST, on_ahead, t);
}

void
ahead_begin(struct transport *t)
{
	event_add(&t->ahead, NULL);
}

void
ahead_end(struct transport *t)
{
	event_del(&t->ahead);
}
