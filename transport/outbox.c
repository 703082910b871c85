/*
 * outbox.c - see outbox.h.
 */
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/xmalloc.h"
#include "transport/outbox.h"

#define KEEP_ROOM  4096      /* an empty outbox holds no more than this */
#define FILE_CHUNK (1 << 20) /* of a file, before others have their turn */

static void on_writable(int, short, void *);
static void on_flush(int, short, void *);

void
outbox_init(struct outbox *out, struct event_base *base, int fd,
    long long timeout, const struct outbox_callbacks *callbacks, void *arg)
{
	memset(out, 0, sizeof *out);
	out->fd = fd;
	out->file = -1;
	out->timeout = timeout;
	out->callbacks = callbacks;
	out->arg = arg;
	event_assign(&out->writable, base, fd, EV_WRITE, on_writable, out);
	event_assign(&out->flush, base, -1, 0, on_flush, out);
}

static void
drop(struct outbox *out)
{
	free(out->data);
	out->data = NULL;
	out->begin = out->end = out->room = 0;
	if (out->file != -1)
		close(out->file);
	out->file = -1;
}

void
outbox_close(struct outbox *out)
{
	out->dead = true;
	event_del(&out->writable);
	event_del(&out->flush);
	drop(out);
}

size_t
outbox_backlog(const struct outbox *out)
{
	return out->end - out->begin;
}

bool
outbox_is_empty(const struct outbox *out)
{
	return out->begin == out->end && out->file == -1;
}

/* What was written makes room at the front before more is asked for. */
static void
make_room(struct outbox *out, size_t size)
{
	if (out->room - out->end >= size)
		return;
	if (out->begin > 0) {
		memmove(
		    out->data, out->data + out->begin, out->end - out->begin);
		out->end -= out->begin;
		out->begin = 0;
	}
	if (out->room - out->end >= size)
		return;
	out->room = (out->end + size) * 3 / 2;
	out->data = xrealloc(out->data, out->room);
}

static void
schedule(struct outbox *out)
{
	if (!out->blocked && !event_pending(&out->writable, EV_WRITE, NULL))
		event_active(&out->flush, EV_TIMEOUT, 0);
}

void
outbox_add(struct outbox *out, const void *data, size_t size)
{
	if (out->dead || size == 0)
		return;
	assert(out->file == -1);
	make_room(out, size);
	memcpy(out->data + out->end, data, size);
	out->end += size;
	schedule(out);
}

void
outbox_add_front(struct outbox *out, const void *data, size_t size)
{
	if (out->dead || size == 0)
		return;
	if (out->begin < size) {
		size_t waits = out->end - out->begin;

		make_room(out, size);
		memmove(out->data + out->end + size - waits,
		    out->data + out->begin, waits);
		out->begin = out->end - waits;
		out->end += size;
	} else {
		out->begin -= size;
	}
	memcpy(out->data + out->begin, data, size);
	schedule(out);
}

void
outbox_retry(struct outbox *out)
{
	if (!out->blocked)
		return;
	out->blocked = false;
	if (!out->dead)
		schedule(out);
}

void
outbox_add_file(struct outbox *out, int fd, off_t size)
{
	if (out->dead || size == 0) {
		close(fd);
		return;
	}
	assert(out->file == -1);
	out->file = fd;
	out->file_left = size;
	schedule(out);
}

/* 1: all written, 0: the socket is full, -1: errno. */
static int
write_data(struct outbox *out)
{
	while (out->begin < out->end) {
		int more = out->file != -1 ? MSG_MORE : 0;
		ssize_t n = send(out->fd, out->data + out->begin,
		    out->end - out->begin, MSG_DONTWAIT | MSG_NOSIGNAL | more);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return errno == EAGAIN ? 0 : -1;
		out->begin += (size_t)n;
	}
	out->begin = out->end = 0;
	if (out->room > KEEP_ROOM) {
		free(out->data);
		out->data = NULL;
		out->room = 0;
	}
	return 1;
}

static int
write_file(struct outbox *out)
{
	size_t chunk = 0;

	while (out->file != -1 && chunk < FILE_CHUNK) {
		ssize_t n = sendfile(out->fd, out->file, NULL,
		    (size_t)(out->file_left < FILE_CHUNK ? out->file_left
							 : FILE_CHUNK));

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return errno == EAGAIN ? 0 : -1;
		if (n == 0) { /* it shrank: the promised length is broken */
			errno = EIO;
			return -1;
		}
		chunk += (size_t)n;
		out->file_left -= n;
		if (out->file_left == 0) {
			close(out->file);
			out->file = -1;
		}
	}
	return out->file == -1;
}

static void
fail(struct outbox *out, int error)
{
	outbox_close(out);
	out->callbacks->failed(error, out->arg);
}

static bool
may_write(struct outbox *out)
{
	int may = out->callbacks->may_write == NULL
	    ? 1
	    : out->callbacks->may_write(out->arg);

	if (may == 1)
		return true;
	if (may == -1)
		fail(out, EPIPE);
	else
		out->blocked = true;
	return false;
}

static void
flush(struct outbox *out)
{
	struct timeval tv = {
		.tv_sec = out->timeout / 1000,
		.tv_usec = out->timeout % 1000 * 1000,
	};
	size_t before = outbox_backlog(out);
	int done, error;

	if (out->dead || !may_write(out))
		return;
	done = write_data(out);
	if (done == 1)
		done = write_file(out);
	error = errno;
	if (out->callbacks->wrote != NULL)
		out->callbacks->wrote(before - outbox_backlog(out), out->arg);
	if (done == -1) {
		fail(out, error);
		return;
	}
	if (done == 0)
		event_add(&out->writable, &tv);
	if (done == 1)
		out->callbacks->drained(out->arg);
	else if (outbox_backlog(out) < before)
		out->callbacks->progress(out->arg);
}

static void
on_flush(int fd, short what, void *arg)
{
	struct outbox *out = arg;

	(void)fd;
	(void)what;
	if (!event_pending(&out->writable, EV_WRITE, NULL))
		flush(out);
}

/*
 * When the loop itself was held up the time may be over although the client has
 * taken something meanwhile: libevent then speaks of the time alone.
 */
static void
on_writable(int fd, short what, void *arg)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLOUT };

	if ((what & EV_TIMEOUT) != 0 && poll(&pollfd, 1, 0) != 1)
		fail(arg, ETIMEDOUT);
	else
		flush(arg);
}
