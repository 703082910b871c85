/*
 * listener.c - listening sockets and accept.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/log.h"
#include "common/process.h"
#include "common/xmalloc.h"
#include "supervisor/listener.h"

#define ACCEPTS_PER_TURN 64
#define BACKLOG          4096
#define SEND_BUFFER      (256 * 1024) /* bytes */
#define DEFER_ACCEPT     10           /* s */
#define REST_MIN         100          /* ms */
#define REST_MAX         1000         /* ms */

struct listener {
	struct listeners *all;
	int fd; /* -1: stopped */
	char address[ADDRESS_TEXT_MAX];
	struct event readable;
	/* Of a unix socket that we made, to remove no other's. */
	char *path;
	dev_t dev;
	ino_t ino;
};

struct listeners {
	struct listener **list; /* each by itself: events stay where they are */
	size_t n;
	pid_t owner; /* who may remove files */
	listeners_cb callback;
	void *arg;
	bool started, paused;
	struct event resume;
	/* A shortage of descriptors or memory. */
	bool is_short;
	unsigned rest;         /* ms of the next pause */
	long long short_since; /* ms */
};

static void
set_option(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof value) == -1)
		log_warn("%s", name);
}

#define SET_OPTION(fd, level, option, value) \
	set_option(fd, level, option, value, #option)

/* Accepted connections inherit these. */
static void
set_inherited_options(int fd, int family)
{
	if (family != AF_INET && family != AF_INET6)
		return;
	SET_OPTION(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	SET_OPTION(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, DEFER_ACCEPT);
	SET_OPTION(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
}

static struct listener *
add_listener(struct listeners *all, int fd, const char *address)
{
	struct listener *listener = xcalloc(1, sizeof *listener);

	listener->all = all;
	listener->fd = fd;
	strlcpy(listener->address, address, sizeof listener->address);
	all->list = xrealloc(all->list, (all->n + 1) * sizeof(*all->list));
	all->list[all->n++] = listener;
	return listener;
}

/* The address that a socket has got, which says the port. */
static void
format_own_address(int fd, char text[ADDRESS_TEXT_MAX])
{
	struct sockaddr_storage storage = { .ss_family = AF_UNSPEC };
	socklen_t size = sizeof storage;

	if (getsockname(fd, (struct sockaddr *)&storage, &size) == -1)
		log_warn("getsockname");
	address_format((struct sockaddr *)&storage, size, text);
}

static const char *
advice_for(int error)
{
	if (error == EADDRINUSE)
		return "; another server listens there, or choose another port";
	if (error == EEXIST)
		return "; it is no socket: remove it, or choose another path";
	if (error == EACCES)
		return "; ports below 1024 need root or systemd's socket, a path a directory that may be written";
	if (error == EADDRNOTAVAIL)
		return "; this machine has no such address";
	return "";
}

static int
open_tcp(struct listeners *all, const struct address *address)
{
	int family = address->storage.ss_family, fd, saved;
	char text[ADDRESS_TEXT_MAX];

	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	SET_OPTION(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (family == AF_INET6)
		SET_OPTION(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	set_inherited_options(fd, family);
	if (bind(fd, (const struct sockaddr *)&address->storage,
		address->size) == -1 ||
	    listen(fd, BACKLOG) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	format_own_address(fd, text);
	add_listener(all, fd, text);
	return 0;
}

/*
 * Removes the socket of a server that is gone: nobody answers there. -1 with
 * errno EADDRINUSE when somebody does, or when it is no socket at all.
 */
static int
remove_stale(const struct address *address)
{
	const struct sockaddr_un *un =
	    (const struct sockaddr_un *)&address->storage;
	struct stat st;
	int fd, rc;

	if (lstat(un->sun_path, &st) == -1)
		return errno == ENOENT ? 0 : -1;
	if (!S_ISSOCK(st.st_mode)) {
		errno = EEXIST;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	rc = connect(fd, (const struct sockaddr *)un, address->size);
	if (rc == -1 && errno == ECONNREFUSED)
		rc = unlink(un->sun_path);
	else if (rc == 0 || errno == EAGAIN || errno == EPROTOTYPE) {
		errno = EADDRINUSE;
		rc = -1;
	}
	close(fd);
	return rc;
}

/* As bind, with mode 0666 from the start. */
static int
bind_unix(int fd, const struct address *address)
{
	mode_t mask = umask(0111);
	int rc = bind(
	    fd, (const struct sockaddr *)&address->storage, address->size);
	int saved = errno;

	umask(mask);
	errno = saved;
	return rc;
}

static int
open_unix(struct listeners *all, const struct address *address)
{
	const struct sockaddr_un *un =
	    (const struct sockaddr_un *)&address->storage;
	struct listener *listener;
	char text[ADDRESS_TEXT_MAX];
	struct stat st;
	int fd, saved;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if (bind_unix(fd, address) == -1 &&
	    (errno != EADDRINUSE || remove_stale(address) == -1 ||
		bind_unix(fd, address) == -1))
		goto fail;
	if (listen(fd, BACKLOG) == -1 || lstat(un->sun_path, &st) == -1) {
		saved = errno;
		unlink(un->sun_path);
		errno = saved;
		goto fail;
	}
	format_own_address(fd, text);
	listener = add_listener(all, fd, text);
	listener->path = xstrdup(un->sun_path);
	listener->dev = st.st_dev;
	listener->ino = st.st_ino;
	return 0;
fail:
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static bool
is_ipv6_loopback(const struct address *address)
{
	return address->storage.ss_family == AF_INET6 &&
	    IN6_IS_ADDR_LOOPBACK(
		&((const struct sockaddr_in6 *)&address->storage)->sin6_addr);
}

static int
open_address(struct listeners *all, const char *text, bool alone, char **error)
{
	struct address address;
	const char *why = address_parse(text, &address);
	int rc;

	if (why != NULL) {
		*error = xasprintf("listen %s: %s", text, why);
		return -1;
	}
	if (address_is_tcp(&address))
		rc = open_tcp(all, &address);
	else
		rc = open_unix(all, &address);
	if (rc == 0)
		return 0;
	if (!alone && is_ipv6_loopback(&address) &&
	    (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
		log_warn("listen %s: left out", text);
		return 0;
	}
	*error = xasprintf(
	    "listen %s: %s%s", text, strerror(errno), advice_for(errno));
	return -1;
}

struct listeners *
listeners_open(char *const *addresses, size_t n, char **error)
{
	struct listeners *all = xcalloc(1, sizeof *all);

	all->owner = getpid();
	for (size_t i = 0; i < n; i++) {
		if (open_address(all, addresses[i], n == 1, error) == -1) {
			listeners_free(all);
			return NULL;
		}
	}
	return all;
}

static int
get_option(int fd, int option)
{
	int value = -1;
	socklen_t size = sizeof value;

	if (getsockopt(fd, SOL_SOCKET, option, &value, &size) == -1)
		return -1;
	return value;
}

static int
set_flags(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) == -1)
		return -1;
	return 0;
}

int
listeners_adopt(struct listeners *all, int fd, char **error)
{
	char text[ADDRESS_TEXT_MAX];

	assert(!all->started);
	if (get_option(fd, SO_ACCEPTCONN) != 1 ||
	    get_option(fd, SO_TYPE) != SOCK_STREAM) {
		*error = xasprintf(
		    "descriptor %d is no listening stream socket", fd);
		return -1;
	}
	if (set_flags(fd) == -1) {
		*error = xasprintf("descriptor %d: %s", fd, strerror(errno));
		return -1;
	}
	set_inherited_options(fd, get_option(fd, SO_DOMAIN));
	format_own_address(fd, text);
	add_listener(all, fd, text);
	return 0;
}

size_t
listeners_count(const struct listeners *all)
{
	return all->n;
}

const char *
listeners_address(const struct listeners *all, size_t i)
{
	assert(i < all->n);
	return all->list[i]->address;
}

int
listeners_fd(const struct listeners *all, size_t i)
{
	assert(i < all->n);
	return all->list[i]->fd;
}

/* Descriptors or memory are short: clients wait in the kernel meanwhile. */
static void
rest(struct listeners *all)
{
	if (!all->is_short) {
		log_warn("accept: no new connections until some end");
		all->is_short = true;
		all->short_since = monotonic_ms();
		all->rest = REST_MIN;
	}
	listeners_pause(all, all->rest);
	all->rest = all->rest * 2 < REST_MAX ? all->rest * 2 : REST_MAX;
}

static void
end_shortage(struct listeners *all)
{
	all->is_short = false;
	log_info("accept: connections are accepted again, after %lld ms",
	    monotonic_ms() - all->short_since);
}

static void
deliver(
    struct listeners *all, int fd, const struct sockaddr *sa, socklen_t size)
{
	char peer[ADDRESS_TEXT_MAX] = "unix";

	/* The name of a client's unix socket is the client's to choose. */
	if (sa->sa_family != AF_UNIX)
		address_format(sa, size, peer);
	all->callback(fd, sa, size, peer, all->arg);
}

/* Is it the fault of this one connection? accept(2) names them. */
static bool
is_of_connection(int error)
{
	switch (error) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENONET:
	case EOPNOTSUPP:
	case ETIMEDOUT:
	case EPERM:
		return true;
	}
	return false;
}

static void
accept_connections(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;
	struct listeners *all = listener->all;

	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
		socklen_t size = sizeof sa;
		int client;

		/* The callback may have paused or stopped us. */
		if (all->paused || listener->fd == -1)
			return;
		client = accept4(listener->fd, (struct sockaddr *)&sa, &size,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (client != -1) {
			deliver(all, client, (struct sockaddr *)&sa, size);
			continue;
		}
		if (errno == EAGAIN)
			break;
		if (!is_of_connection(errno)) {
			rest(all);
			return;
		}
	}
	/* Not at the first that was accepted: the next may fail again. */
	if (all->is_short)
		end_shortage(all);
}

static void
listen_all(struct listeners *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->list[i]->fd != -1 &&
		    event_add(&all->list[i]->readable, NULL) == -1)
			fatalx("event_add");
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	listeners_resume(arg);
}

void
listeners_start(struct listeners *all, struct event_base *base,
    listeners_cb callback, void *arg)
{
	assert(!all->started);
	all->callback = callback;
	all->arg = arg;
	all->started = true;
	for (size_t i = 0; i < all->n; i++)
		event_assign(&all->list[i]->readable, base, all->list[i]->fd,
		    EV_READ | EV_PERSIST, accept_connections, all->list[i]);
	evtimer_assign(&all->resume, base, on_resume, all);
	listen_all(all);
}

void
listeners_pause(struct listeners *all, unsigned ms)
{
	struct timeval tv = { .tv_sec = ms / 1000,
		.tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	assert(all->started);
	all->paused = true;
	for (size_t i = 0; i < all->n; i++)
		event_del(&all->list[i]->readable);
	event_del(&all->resume);
	if (ms > 0 && event_add(&all->resume, &tv) == -1)
		fatalx("event_add");
}

void
listeners_resume(struct listeners *all)
{
	assert(all->started);
	event_del(&all->resume);
	all->paused = false;
	listen_all(all);
}

/* Removes the file only when it is still the one that we made. */
static void
remove_path(const struct listener *listener)
{
	struct stat st;

	if (listener->path == NULL || listener->all->owner != getpid())
		return;
	if (lstat(listener->path, &st) == -1 || st.st_dev != listener->dev ||
	    st.st_ino != listener->ino)
		return;
	/* After a change of user it may not go; the next start replaces it. */
	if (unlink(listener->path) == -1)
		log_info("%s: stays: %s", listener->path, strerror(errno));
}

void
listeners_stop(struct listeners *all)
{
	if (all->started) {
		for (size_t i = 0; i < all->n; i++)
			event_del(&all->list[i]->readable);
		event_del(&all->resume);
	}
	for (size_t i = 0; i < all->n; i++) {
		if (all->list[i]->fd == -1)
			continue;
		remove_path(all->list[i]);
		close(all->list[i]->fd);
		all->list[i]->fd = -1;
	}
}

void
listeners_free(struct listeners *all)
{
	if (all == NULL)
		return;
	listeners_stop(all);
	for (size_t i = 0; i < all->n; i++) {
		free(all->list[i]->path);
		free(all->list[i]);
	}
	free(all->list);
	free(all);
}
