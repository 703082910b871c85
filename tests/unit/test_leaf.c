/*
 * leaf.c: a permanent worker, its end, and who connects to it.
 */
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <check.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/envelope.h"
#include "common/exit.h"
#include "common/leaf.h"
#include "common/mailbox.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

#define FD_LISTEN  PROCESS_FD
#define FD_MAILBOX (PROCESS_FD + 1)
#define BACKLOG    64
#define ROOM       4 /* descriptors that it has left for who connects */

static char directory[64];
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static int listen_fd, supervisor_fd, log_fd;
static pid_t pid;

/* ---- the worker ---- */

struct worker {
	struct leaf leaf;
	unsigned pause; /* ms after each; 0: none */
	struct guest *last;
};

struct guest {
	struct worker *worker;
	struct event *readable;
	int fd;
};

static void
guest_free(struct guest *guest)
{
	event_free(guest->readable);
	close(guest->fd);
	free(guest);
}

/* The one who came last goes. */
static bool
make_room(void *arg)
{
	struct worker *worker = arg;

	guest_free(worker->last);
	return true;
}

/* A byte is asked for the next one, the end is the end. */
static void
on_guest(evutil_socket_t fd, short what, void *arg)
{
	struct guest *guest = arg;
	char byte;

	if (read(guest->fd, &byte, 1) == 1) {
		leaf_resume(&guest->worker->leaf);
		return;
	}
	guest_free(guest);
}

static void
on_connected(int fd, void *arg)
{
	struct worker *worker = arg;
	struct guest *guest = calloc(1, sizeof *guest);

	if (leaf_is_spare(&worker->leaf, fd))
		abort();
	guest->worker = worker;
	guest->fd = fd;
	worker->last = guest;
	guest->readable = event_new(
	    worker->leaf.base, fd, EV_READ | EV_PERSIST, on_guest, guest);
	event_add(guest->readable, NULL);
	if (write(fd, "!", 1) != 1)
		abort();
	if (worker->pause > 0)
		leaf_pause(&worker->leaf, worker->pause);
}

static void
on_end(void *arg)
{
	_exit(EXIT_NORMAL);
}

/* The descriptors that are open, ROOM, and the spare ones. */
static void
limit_descriptors(void)
{
	struct rlimit limit;
	int lowest = dup(STDERR_FILENO);

	close(lowest);
	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		abort();
	limit.rlim_cur = (rlim_t)lowest + ROOM + LEAF_SPARE;
	if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
		abort();
}

struct worker_start {
	unsigned pause;
	bool limited, own_end, makes_room;
};

static void worker_run(void *) __attribute__((__noreturn__));

static void
worker_run(void *arg)
{
	const struct worker_start *start = arg;
	struct worker worker = {
		.leaf.end = start->own_end ? on_end : NULL,
		.leaf.make_room = start->makes_room ? make_room : NULL,
		.leaf.arg = &worker,
		.pause = start->pause,
	};

	leaf_begin(&worker.leaf, "leaf", FD_MAILBOX);
	if (start->limited)
		limit_descriptors();
	leaf_listen(&worker.leaf, FD_LISTEN, on_connected);
	leaf_started(&worker.leaf);
	event_base_dispatch(worker.leaf.base);
	abort();
}

/* ---- this side ---- */

static void
make_socket(void)
{
	tools_make_directory(directory, sizeof directory);
	ck_assert_uint_lt(
	    strlen(directory) + strlen("/leaf.sock"), sizeof address.sun_path);
	sprintf(address.sun_path, "%s/leaf.sock", directory);
	listen_fd = socket(
	    AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(
	    bind(listen_fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(listen_fd, BACKLOG), 0);
}

/* What it logs goes to a pipe. */
static void
worker_start(struct worker_start *start)
{
	struct process_spec spec = {
		.name = "leaf",
		.run = worker_run,
		.arg = start,
		.fds = { listen_fd },
		.nfds = 2,
	};
	int log[2], stderr_fd = dup(STDERR_FILENO);
	uint32_t head[2];

	ck_assert_int_eq(pipe(log), 0);
	dup2(log[1], STDERR_FILENO);
	pid = mailbox_fork(&spec, 1, &supervisor_fd);
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	close(log[1]);
	log_fd = log[0];
	ck_assert_int_ne(pid, -1);
	ck_assert_uint_eq(
	    tools_read_all(supervisor_fd, (char *)head, sizeof head),
	    sizeof head);
	ck_assert_uint_eq(head[0], ENVELOPE_STARTED);
}

static void
worker_end(void)
{
	kill(pid, SIGTERM);
	tools_assert_exit(pid, EXIT_SHUTDOWN);
	tools_assert_no_children();
	tools_remove_directory(directory);
}

static int
guest_connect(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(
	    connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

/* Whether it is let in within so many ms. */
static bool
is_let_in(int fd, int ms)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	char byte;

	if (poll(&pollfd, 1, ms) == 0)
		return false;
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	return true;
}

/* How often the end of the log, which is read, has it. */
static unsigned
count_in_log(const char *words)
{
	static char log[16384];
	static size_t size;
	unsigned n = 0;

	size += tools_read_all(log_fd, log + size, sizeof log - 1 - size);
	log[size] = '\0';
	for (const char *at = log; (at = strstr(at, words)) != NULL; at++)
		n++;
	return n;
}

START_TEST(sigterm_ends_it)
{
	make_socket();
	worker_start(&(struct worker_start){ 0 });
	worker_end();
}
END_TEST

START_TEST(the_end_of_the_supervisor_ends_it)
{
	make_socket();
	worker_start(&(struct worker_start){ 0 });
	close(supervisor_fd);
	tools_assert_exit(pid, EXIT_SHUTDOWN);
	tools_remove_directory(directory);
}
END_TEST

START_TEST(its_role_may_end_it_itself)
{
	make_socket();
	worker_start(&(struct worker_start){ .own_end = true });
	kill(pid, SIGTERM);
	tools_assert_exit(pid, EXIT_NORMAL);
	tools_remove_directory(directory);
}
END_TEST

START_TEST(an_envelope_of_the_supervisor_is_a_crash)
{
	static const uint32_t head[2] = { ENVELOPE_STARTED, 0 };

	make_socket();
	worker_start(&(struct worker_start){ 0 });
	ck_assert_int_eq(write(supervisor_fd, head, sizeof head), sizeof head);
	tools_assert_exit(pid, EXIT_CRASH);
	ck_assert_uint_eq(count_in_log("envelope STARTED"), 1);
	tools_remove_directory(directory);
}
END_TEST

START_TEST(all_who_connect_are_let_in)
{
	make_socket();
	worker_start(&(struct worker_start){ 0 });
	for (int i = 0; i < BACKLOG / 2; i++)
		ck_assert(is_let_in(guest_connect(), TOOLS_DEADLINE));
	worker_end();
}
END_TEST

/* Whoever finds no descriptor waits until another one is gone. */
START_TEST(who_finds_no_descriptor_waits)
{
	int fds[ROOM + 2];

	make_socket();
	worker_start(&(struct worker_start){ .limited = true });
	for (int i = 0; i < ROOM + 2; i++)
		fds[i] = guest_connect();
	for (int i = 0; i < ROOM; i++)
		ck_assert(is_let_in(fds[i], TOOLS_DEADLINE));
	/* Some tries fail meanwhile. */
	ck_assert(!is_let_in(fds[ROOM], LEAF_PAUSE * 4));
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		ck_assert(is_let_in(fds[ROOM + i], TOOLS_DEADLINE));
	}
	worker_end();
	ck_assert_uint_eq(count_in_log("Too many open files"), 1);
	ck_assert_uint_eq(count_in_log("nobody waits any more"), 1);
}
END_TEST

/* Who waits is let in when room can be made. */
START_TEST(room_is_made)
{
	int fds[ROOM + 2];

	make_socket();
	worker_start(
	    &(struct worker_start){ .limited = true, .makes_room = true });
	for (int i = 0; i < ROOM + 2; i++) {
		fds[i] = guest_connect();
		ck_assert(is_let_in(fds[i], TOOLS_DEADLINE));
	}
	for (int i = ROOM - 1; i <= ROOM; i++) {
		struct pollfd pollfd = { .fd = fds[i], .events = POLLRDHUP };

		ck_assert_int_eq(poll(&pollfd, 1, TOOLS_DEADLINE), 1);
	}
	ck_assert(!is_let_in(fds[0], 0));
	worker_end();
	ck_assert_uint_eq(count_in_log("Too many open files"), 0);
}
END_TEST

START_TEST(it_pauses_when_told_so)
{
	static const unsigned long_pause = TOOLS_DEADLINE * 10;
	int first, second;

	make_socket();
	worker_start(&(struct worker_start){ .pause = long_pause });
	first = guest_connect();
	second = guest_connect();
	ck_assert(is_let_in(first, TOOLS_DEADLINE));
	ck_assert(!is_let_in(second, LEAF_PAUSE));
	ck_assert_int_eq(write(first, "?", 1), 1);
	ck_assert(is_let_in(second, TOOLS_DEADLINE));
	worker_end();
}
END_TEST

START_TEST(a_pause_ends)
{
	make_socket();
	worker_start(&(struct worker_start){ .pause = 10 });
	for (int i = 0; i < 3; i++)
		ck_assert(is_let_in(guest_connect(), TOOLS_DEADLINE));
	worker_end();
}
END_TEST

UNIT_MAIN("leaf", sigterm_ends_it, the_end_of_the_supervisor_ends_it,
    its_role_may_end_it_itself, an_envelope_of_the_supervisor_is_a_crash,
    all_who_connect_are_let_in, who_finds_no_descriptor_waits, room_is_made,
    it_pauses_when_told_so, a_pause_ends)
