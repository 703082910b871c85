/*
 * listener.c: real sockets and clients on one event base.
 */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/process.h"
#include "supervisor/listener.h"
#include "tests/unit/unit.h"

#define DEADLINE    10000 /* ms */
#define CLIENTS_MAX 256

/* What the callback got. */
static struct {
	int fds[CLIENTS_MAX];
	char peers[CLIENTS_MAX][ADDRESS_TEXT_MAX];
	size_t n;
	size_t pause_at, stop_at; /* 0: never */
} got;

static struct event_base *base;
static struct listeners *listeners;
static char directory[64];

/* ---- tries to accept that fail, for want of descriptors ---- */

#define FAILURES_MAX 16

int __real_accept4(int, struct sockaddr *, socklen_t *, int);
int __wrap_accept4(int, struct sockaddr *, socklen_t *, int);

/* When, and how long the turn of the loop may have begun before. */
static struct {
	long long at, turn; /* ms */
} failures[FAILURES_MAX];
static size_t nfailures;
static long long turn;

int
__wrap_accept4(int fd, struct sockaddr *sa, socklen_t *size, int flags)
{
	int client = __real_accept4(fd, sa, size, flags), error = errno;

	if (client == -1 && error == EMFILE) {
		ck_assert_uint_lt(nfailures, FAILURES_MAX);
		failures[nfailures].at = monotonic_ms();
		failures[nfailures++].turn = turn;
	}
	errno = error;
	return client;
}

/* ---- what all need ---- */

static void
on_connection(int fd, const struct sockaddr *sa, socklen_t size,
    const char *peer, void *arg)
{
	ck_assert_ptr_eq(arg, &got);
	ck_assert_uint_lt(got.n, CLIENTS_MAX);
	ck_assert_uint_ge(size, sizeof(sa_family_t));
	got.fds[got.n] = fd;
	snprintf(got.peers[got.n++], ADDRESS_TEXT_MAX, "%s", peer);
	if (got.n == got.pause_at)
		listeners_pause(listeners, 0);
	if (got.n == got.stop_at)
		listeners_stop(listeners);
}

static void
open_all(char *const *addresses, size_t n)
{
	char *error = NULL;

	listeners = listeners_open(addresses, n, &error);
	ck_assert_msg(listeners != NULL, "%s", error);
	base = event_base_new();
	ck_assert_ptr_nonnull(base);
	listeners_start(listeners, base, on_connection, &got);
}

static void
open_one(const char *address)
{
	char *addresses[] = { (char *)address };

	open_all(addresses, 1);
}

static void
close_all(void)
{
	for (size_t i = 0; i < got.n; i++)
		close(got.fds[i]);
	listeners_free(listeners);
	event_base_free(base);
}

static void
make_directory(void)
{
	snprintf(
	    directory, sizeof directory, "/tmp/bennu-test-listener-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
}

static const char *
unix_address(void)
{
	static char text[ADDRESS_TEXT_MAX];

	snprintf(text, sizeof text, "unix:%s/s", directory);
	return text;
}

static const char *
unix_path(void)
{
	return unix_address() + strlen("unix:");
}

/* Connects without waiting for the server; sends a byte, as it defers. */
static int
connect_to(const char *text)
{
	struct address address;
	int fd;

	ck_assert_ptr_null(address_parse(text, &address));
	fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(
	    connect(fd, (struct sockaddr *)&address.storage, address.size), 0);
	ck_assert_int_eq(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	return fd;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
}

/* Runs the loop until the number is reached, or the time is over. */
static bool
wait_until(const size_t *number, size_t n, int ms)
{
	struct timeval tick = { .tv_usec = 10000 };
	struct event *timer = event_new(base, -1, EV_PERSIST, on_tick, NULL);
	long long end = monotonic_ms() + ms;

	event_add(timer, &tick);
	while (*number < n && (turn = monotonic_ms()) < end)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(timer);
	return *number >= n;
}

/* So many connections. */
static bool
wait_for(size_t n, int ms)
{
	return wait_until(&got.n, n, ms);
}

static bool
wait_for_failures(size_t n)
{
	return wait_until(&nfailures, n, DEADLINE);
}

static int
option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t size = sizeof value;

	ck_assert_int_eq(getsockopt(fd, level, option, &value, &size), 0);
	return value;
}

static void
assert_accepts(const char *prefix)
{
	char own[ADDRESS_TEXT_MAX];
	struct sockaddr_storage sa;
	socklen_t size = sizeof sa;
	int client = connect_to(listeners_address(listeners, 0));

	ck_assert(wait_for(1, DEADLINE));
	ck_assert_int_eq(fcntl(got.fds[0], F_GETFD), FD_CLOEXEC);
	ck_assert_int_ne(fcntl(got.fds[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(getsockname(client, (struct sockaddr *)&sa, &size), 0);
	address_format((struct sockaddr *)&sa, size, own);
	ck_assert_str_eq(got.peers[0], own);
	ck_assert_int_eq(strncmp(own, prefix, strlen(prefix)), 0);
	close(client);
}

START_TEST(ipv4)
{
	int fd;

	open_one("127.0.0.1:0");
	ck_assert_uint_eq(listeners_count(listeners), 1);
	ck_assert_str_ne(listeners_address(listeners, 0), "127.0.0.1:0");
	assert_accepts("127.0.0.1:");
	fd = listeners_fd(listeners, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_gt(option_of(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_REUSEADDR), 1);
	fd = got.fds[0];
	ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_SNDBUF),
	    option_of(listeners_fd(listeners, 0), SOL_SOCKET, SO_SNDBUF));
	ck_assert_int_ge(option_of(fd, SOL_SOCKET, SO_SNDBUF), 256 * 1024);
	close_all();
}
END_TEST

START_TEST(ipv6)
{
	open_one("[::1]:0");
	assert_accepts("[::1]:");
	ck_assert_int_eq(
	    option_of(listeners_fd(listeners, 0), IPPROTO_IPV6, IPV6_V6ONLY),
	    1);
	close_all();
}
END_TEST

START_TEST(unix_socket)
{
	struct stat st;
	mode_t mask = umask(0077);

	make_directory();
	open_one(unix_address());
	ck_assert_int_eq(umask(mask), 0077);
	assert_accepts("unix");
	ck_assert_int_eq(lstat(unix_path(), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0666);
	close_all();
	ck_assert_int_eq(lstat(unix_path(), &st), -1);
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(all_kinds)
{
	char *addresses[] = { "127.0.0.1:0", "[::1]:0", NULL };
	int clients[3];

	make_directory();
	addresses[2] = (char *)unix_address();
	open_all(addresses, 3);
	ck_assert_uint_eq(listeners_count(listeners), 3);
	for (size_t i = 0; i < 3; i++)
		clients[i] = connect_to(listeners_address(listeners, i));
	ck_assert(wait_for(3, DEADLINE));
	for (size_t i = 0; i < 3; i++)
		close(clients[i]);
	close_all();
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

/* A silent connection stays in the kernel. */
START_TEST(silence)
{
	struct address address;
	int fd;

	open_one("127.0.0.1:0");
	address_parse(listeners_address(listeners, 0), &address);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(
	    connect(fd, (struct sockaddr *)&address.storage, address.size), 0);
	ck_assert(!wait_for(1, 100));
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	ck_assert(wait_for(1, DEADLINE));
	close(fd);
	close_all();
}
END_TEST

static void
assert_refused(const char *first, const char *second, const char *expected)
{
	char *addresses[] = { (char *)first, (char *)second };
	char *error = NULL;

	ck_assert_ptr_null(listeners_open(addresses, 2, &error));
	ck_assert_ptr_nonnull(error);
	ck_assert_msg(
	    strstr(error, expected) != NULL, "%s: no %s", error, expected);
	free(error);
}

START_TEST(refused)
{
	struct stat st;

	make_directory();
	open_one("127.0.0.1:0");
	/* What was opened before is closed and removed again. */
	assert_refused(unix_address(), listeners_address(listeners, 0),
	    "Address already in use; another server");
	ck_assert_int_eq(lstat(unix_path(), &st), -1);
	assert_refused(
	    "127.0.0.1:0", "nonsense", "listen nonsense: an address");
	assert_refused("127.0.0.1:0", "192.0.2.1:1", "no such address");
	assert_refused(
	    "127.0.0.1:0", "unix:/no/such/dir/s", "No such file or directory");
	close_all();
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(live_unix_socket)
{
	make_directory();
	open_one(unix_address());
	assert_refused("127.0.0.1:0", unix_address(),
	    "Address already in use; another server");
	/* It was not removed. */
	close(connect_to(unix_address()));
	close_all();
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(stale_unix_socket)
{
	struct address address;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	make_directory();
	ck_assert_ptr_null(address_parse(unix_address(), &address));
	ck_assert_int_eq(
	    bind(fd, (struct sockaddr *)&address.storage, address.size), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	close(fd);
	open_one(unix_address());
	assert_accepts("unix");
	close_all();
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(file_in_the_way)
{
	int fd;

	make_directory();
	fd = open(unix_path(), O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ne(fd, -1);
	close(fd);
	assert_refused("127.0.0.1:0", unix_address(), "it is no socket");
	ck_assert_int_eq(unlink(unix_path()), 0);
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

/* Another server's socket at our path is not ours to remove. */
START_TEST(replaced_unix_socket)
{
	struct listeners *other;
	char *address = (char *)unix_address(), *error;

	make_directory();
	address = (char *)unix_address();
	open_one(address);
	ck_assert_int_eq(unlink(unix_path()), 0);
	other = listeners_open(&address, 1, &error);
	ck_assert_ptr_nonnull(other);
	close_all();
	ck_assert_int_eq(access(unix_path(), F_OK), 0);
	listeners_free(other);
	ck_assert_int_eq(access(unix_path(), F_OK), -1);
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(stop_in_a_child)
{
	int status;
	pid_t pid;

	make_directory();
	open_one(unix_address());
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		/* It has the parent's epoll; only the files matter here. */
		listeners_stop(listeners);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(access(unix_path(), F_OK), 0);
	close_all();
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

static void
connect_many(int *clients, size_t n)
{
	for (size_t i = 0; i < n; i++)
		clients[i] = connect_to(listeners_address(listeners, 0));
}

static void
close_many(const int *clients, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(clients[i]);
}

/* The byte that each has sent is acknowledged: so they can be accepted. */
static void
await_arrival(const int *clients, size_t n)
{
	long long end = monotonic_ms() + DEADLINE;
	int left;

	for (size_t i = 0; i < n; i++)
		while (ioctl(clients[i], SIOCOUTQ, &left) == 0 && left > 0) {
			ck_assert_int_lt(monotonic_ms(), end);
			poll(NULL, 0, 1);
		}
}

START_TEST(turns)
{
	int clients[130];

	open_one("127.0.0.1:0");
	connect_many(clients, 130);
	await_arrival(clients, 130);
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	ck_assert_uint_eq(got.n, 64);
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	ck_assert_uint_eq(got.n, 128);
	ck_assert(wait_for(130, DEADLINE));
	close_many(clients, 130);
	close_all();
}
END_TEST

START_TEST(pause_and_resume)
{
	int clients[5];
	long long start;

	open_one("127.0.0.1:0");
	connect_many(clients, 5);
	got.pause_at = 2;
	ck_assert(wait_for(2, DEADLINE));
	ck_assert(!wait_for(3, 150));
	got.pause_at = 3;
	listeners_resume(listeners);
	ck_assert(wait_for(3, DEADLINE));
	start = monotonic_ms();
	listeners_pause(listeners, 200);
	ck_assert(wait_for(5, DEADLINE));
	ck_assert_int_ge(monotonic_ms() - start, 190);
	close_many(clients, 5);
	close_all();
}
END_TEST

START_TEST(stop_in_the_callback)
{
	int clients[3];
	char address[ADDRESS_TEXT_MAX];

	open_one("127.0.0.1:0");
	snprintf(
	    address, sizeof address, "%s", listeners_address(listeners, 0));
	connect_many(clients, 3);
	got.stop_at = 1;
	ck_assert(wait_for(1, DEADLINE));
	ck_assert(!wait_for(2, 100));
	ck_assert_int_eq(listeners_fd(listeners, 0), -1);
	listeners_stop(listeners);
	close_many(clients, 3);
	close_all();
}
END_TEST

/* Lines that were logged from catch_log on. */
static int log_fd, log_saved;

static void
catch_log(void)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	ck_assert_int_ne(log_fd, -1);
	log_saved = dup(STDERR_FILENO);
	ck_assert_int_eq(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
}

static unsigned
count_lines(const char *what)
{
	char text[8192];
	unsigned lines = 0;
	ssize_t n = pread(log_fd, text, sizeof text - 1, 0);

	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	for (char *p = text; (p = strstr(p, what)) != NULL; p++)
		lines++;
	return lines;
}

static void
set_max_fds(rlim_t n)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* It rests for longer each time, and says so once. */
START_TEST(shortage)
{
	static const int rests[] = { 100, 200, 400, 800 };
	const size_t tries = sizeof rests / sizeof rests[0];
	struct rlimit before;
	int client, next;

	open_one("127.0.0.1:0");
	catch_log();
	client = connect_to(listeners_address(listeners, 0));
	next = dup(client);
	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	set_max_fds((rlim_t)next);
	for (size_t i = 0; i < tries; i++)
		ck_assert(wait_for_failures(i + 1));
	ck_assert_uint_eq(got.n, 0);
	ck_assert_uint_eq(count_lines("no new connections until"), 1);
	ck_assert_uint_eq(count_lines("again"), 0);
	set_max_fds(before.rlim_cur);
	ck_assert(wait_for(1, DEADLINE));
	ck_assert_uint_eq(nfailures, tries);
	failures[tries].at = monotonic_ms();
	for (size_t i = 0; i < tries; i++)
		ck_assert_int_ge(
		    failures[i + 1].at - failures[i].turn, rests[i] - 10);
	ck_assert_uint_eq(count_lines("no new connections until"), 1);
	ck_assert_uint_eq(count_lines("accepted again, after"), 1);
	dup2(log_saved, STDERR_FILENO);
	close(log_saved);
	close(log_fd);
	close(client);
	close_all();
}
END_TEST

START_TEST(adopted)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char *error = NULL;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	listeners = listeners_open(NULL, 0, &error);
	ck_assert_ptr_nonnull(listeners);
	ck_assert_int_eq(listeners_adopt(listeners, fd, &error), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	base = event_base_new();
	listeners_start(listeners, base, on_connection, &got);
	assert_accepts("127.0.0.1:");
	ck_assert_int_eq(option_of(got.fds[0], IPPROTO_TCP, TCP_NODELAY), 1);
	close_all();
}
END_TEST

static void
assert_not_adopted(int fd)
{
	char *error = NULL;

	ck_assert_int_eq(listeners_adopt(listeners, fd, &error), -1);
	ck_assert_ptr_nonnull(error);
	ck_assert_ptr_nonnull(strstr(error, "is no listening stream socket"));
	free(error);
	ck_assert_int_ne(fcntl(fd, F_GETFD), -1);
}

START_TEST(not_adopted)
{
	char *error = NULL;
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	int idle = socket(AF_INET, SOCK_STREAM, 0);
	int file = open("/dev/null", O_RDONLY);

	listeners = listeners_open(NULL, 0, &error);
	ck_assert_ptr_nonnull(listeners);
	assert_not_adopted(udp);
	assert_not_adopted(idle);
	assert_not_adopted(file);
	ck_assert_uint_eq(listeners_count(listeners), 0);
	listeners_free(listeners);
	listeners_free(NULL);
	close(udp);
	close(idle);
	close(file);
}
END_TEST

UNIT_MAIN("listener", ipv4, ipv6, unix_socket, all_kinds, silence, refused,
    live_unix_socket, stale_unix_socket, file_in_the_way, replaced_unix_socket,
    stop_in_a_child, turns, pause_and_resume, stop_in_the_callback, shortage,
    adopted, not_adopted)
