/*
 * leaf.c - see leaf.h.
 */
#include <sys/resource.h>
#include <sys/socket.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/leaf.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "common/reaper.h"

/* ---- its end ---- */

static void
end(struct leaf *leaf)
{
	if (leaf->end == NULL)
		_exit(EXIT_SHUTDOWN);
	leaf->end(leaf->arg);
}

static void
on_supervisor(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct leaf *leaf = arg;

	if (envelope != NULL)
		fatalx("envelope %s from the supervisor",
		    envelope_name(envelope->type));
	mailbox_free(mailbox);
	leaf->supervisor = NULL;
	end(leaf);
}

/* What an author's code forked. */
static void
on_died(pid_t pid, int status, void *arg)
{
	(void)arg;
	log_debug("a child ended: %d, status %d", (int)pid, status);
}

static void
on_signal(const struct signalfd_siginfo *info, void *arg)
{
	if (info->ssi_signo == SIGTERM)
		end(arg);
}

/* ---- its beginning ---- */

void
leaf_begin(struct leaf *leaf, const char *name, int fd)
{
	static const int signals[] = { SIGTERM, 0 };
	static const struct reaper_callbacks callbacks = {
		.died = on_died,
		.signalled = on_signal,
	};

	log_init(name);
	process_title("%s", name);
	leaf->base = event_base_new();
	if (leaf->base == NULL)
		fatalx("event_base_new");
	if (reaper_new(leaf->base, signals, &callbacks, leaf) == NULL)
		fatal("signals");
	leaf->supervisor = mailbox_new(fd, on_supervisor, leaf);
	mailbox_attach(leaf->supervisor, leaf->base);
}

void
leaf_started(struct leaf *leaf)
{
	if (leaf->supervisor != NULL)
		mailbox_send(leaf->supervisor, ENVELOPE_STARTED, NULL);
}

/* ---- who connects ---- */

static void
begin_shortage(struct leaf *leaf)
{
	if (!leaf->is_short) {
		log_warn("accept: who connects waits until others are gone");
		leaf->is_short = true;
		leaf->short_since = monotonic_ms();
	}
	leaf_pause(leaf, LEAF_PAUSE);
}

static void
end_shortage(struct leaf *leaf)
{
	if (!leaf->is_short)
		return;
	leaf->is_short = false;
	log_info("accept: nobody waits any more, after %lld ms",
	    monotonic_ms() - leaf->short_since);
}

/* A full table is said before an empty backlog. */
static bool
somebody_waits(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return poll(&pollfd, 1, 0) == 1;
}

bool
leaf_is_spare(const struct leaf *leaf, int fd)
{
	return fd >= leaf->spare;
}

static bool
has_room(const struct leaf *leaf)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

	if (fd == -1)
		return false;
	close(fd);
	return !leaf_is_spare(leaf, fd);
}

/* As accept(2). */
static int
let_in(struct leaf *leaf, int fd)
{
	if (!has_room(leaf)) {
		errno = EAGAIN;
		if (!somebody_waits(fd))
			return -1;
		errno = EMFILE;
		if (leaf->make_room == NULL || !leaf->make_room(leaf->arg))
			return -1;
	}
	return accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void
on_connect(int fd, short what, void *arg)
{
	struct leaf *leaf = arg;

	(void)what;
	while (!leaf->paused) {
		int peer = let_in(leaf, fd), error = errno;

		if (peer != -1) {
			leaf->connected(peer, leaf->arg);
			continue;
		}
		if (error == EAGAIN || !somebody_waits(fd))
			break;
		if (error != EINTR && error != ECONNABORTED) {
			errno = error;
			begin_shortage(leaf);
			return;
		}
	}
	/* Not at the first that was let in: the next may fail again. */
	end_shortage(leaf);
}

static void
on_resume(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	leaf_resume(arg);
}

void
leaf_listen(struct leaf *leaf, int fd, void (*connected)(int fd, void *arg))
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		fatal("RLIMIT_NOFILE");
	leaf->spare = limit.rlim_cur > INT_MAX
	    ? INT_MAX
	    : (int)limit.rlim_cur - LEAF_SPARE;
	leaf->connected = connected;
	leaf->readable = event_new(
	    leaf->base, fd, EV_READ | EV_PERSIST, on_connect, leaf);
	leaf->resume = event_new(leaf->base, -1, 0, on_resume, leaf);
	if (leaf->readable == NULL || leaf->resume == NULL)
		fatalx("event_new");
	leaf_resume(leaf);
}

void
leaf_pause(struct leaf *leaf, unsigned ms)
{
	struct timeval tv = {
		.tv_sec = ms / 1000,
		.tv_usec = (suseconds_t)(ms % 1000) * 1000,
	};

	leaf->paused = true;
	event_del(leaf->readable);
	if (event_add(leaf->resume, &tv) == -1)
		fatalx("event_add");
}

void
leaf_resume(struct leaf *leaf)
{
	leaf->paused = false;
	event_del(leaf->resume);
	if (event_add(leaf->readable, NULL) == -1)
		fatalx("event_add");
}
