/*
 * tools.h - what tests of processes and sockets share: deadlines on an event
 * loop, children that are waited for, descriptors that are counted.
 */
#ifndef TOOLS_H
#define TOOLS_H

#include <sys/stat.h>
#include <sys/wait.h>

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/process.h"

#define TOOLS_DEADLINE 20000 /* ms that anything may take */

/* A tick keeps the loop turning, so that the deadline is looked at. */
static inline void
tools_tick(evutil_socket_t fd, short what, void *arg)
{
}

/* Turns the loop of base until the condition holds. */
#define UNTIL(base, condition)                                    \
	do {                                                      \
		const struct timeval tv_ = { 0, 20000 };          \
		long long end_ = monotonic_ms() + TOOLS_DEADLINE; \
		struct event *tick_ = event_new(                  \
		    base, -1, EV_PERSIST, tools_tick, NULL);      \
		event_add(tick_, &tv_);                           \
		while (!(condition)) {                            \
			ck_assert_msg(monotonic_ms() < end_,      \
			    "not in time: %s", #condition);       \
			event_base_loop(base, EVLOOP_ONCE);       \
		}                                                 \
		event_free(tick_);                                \
	} while (0)

/* Turns the loop until nothing is left to do at once. */
static inline void
tools_settle(struct event_base *base)
{
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* The wait status of a child that must end. */
static inline int
tools_wait(pid_t pid)
{
	long long end = monotonic_ms() + TOOLS_DEADLINE;
	int status;
	pid_t got;

	while ((got = waitpid(pid, &status, WNOHANG)) == 0) {
		ck_assert_msg(monotonic_ms() < end, "%d does not end", pid);
		poll(NULL, 0, 1);
	}
	ck_assert_int_eq(got, pid);
	return status;
}

static inline void
tools_assert_exit(pid_t pid, int code)
{
	int status = tools_wait(pid);

	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == code,
	    "status 0x%x, expected exit %d", status, code);
}

static inline void
tools_assert_killed(pid_t pid, int sig)
{
	int status = tools_wait(pid);

	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == sig,
	    "status 0x%x, expected signal %d", status, sig);
}

static inline void
tools_assert_no_children(void)
{
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}

/* Open descriptors. Also for children, which Check must not hear of. */
static inline unsigned
tools_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (dir == NULL)
		abort();
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 3;
}

/* Reads until end of file or size; the deadline is Check's. */
static inline size_t
tools_read_all(int fd, char *buf, size_t size)
{
	size_t at = 0;

	while (at < size) {
		struct pollfd pollfd = { .fd = fd, .events = POLLIN };
		ssize_t n;

		ck_assert_int_eq(poll(&pollfd, 1, TOOLS_DEADLINE), 1);
		n = read(fd, buf + at, size - at);
		if (n == -1 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	return at;
}

/* A directory of its own; the buffer holds its path. */
static inline void
tools_make_directory(char *path, size_t size)
{
	snprintf(path, size, "/tmp/bennu-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(path));
}

/* Removes a directory and the files in it. */
static inline void
tools_remove_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	ck_assert_int_eq(rmdir(path), 0);
}

#endif /* TOOLS_H */
