/*
 * systemd.c: a socket in systemd's place, and descriptors as it passes them.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/systemd.h"
#include "tests/unit/unit.h"

/* A datagram socket bound to the path; an abstract one when it begins with @.
 */
static int
bind_notify(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
	    strlen(path));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	ck_assert_int_ne(fd, -1);
	memcpy(un.sun_path, path, strlen(path));
	if (path[0] == '@')
		un.sun_path[0] = '\0';
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, size), 0);
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", path, 1), 0);
	return fd;
}

static void
assert_notified(int fd, const char *expected)
{
	char text[64] = "";
	/* A datagram of a unix socket is there when sendto has returned. */
	ssize_t n = recv(fd, text, sizeof text - 1, 0);

	ck_assert_int_eq(n, (ssize_t)strlen(expected));
	ck_assert_str_eq(text, expected);
}

START_TEST(notify_path)
{
	char directory[] = "/tmp/bennu-test-systemd-XXXXXX", path[64];
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/notify", directory);
	fd = bind_notify(path);
	systemd_notify("READY=1");
	systemd_notify("STATUS=a\nSTOPPING=1");
	assert_notified(fd, "READY=1");
	assert_notified(fd, "STATUS=a\nSTOPPING=1");
	close(fd);
	/* Nobody is there any more: logged, no more. */
	systemd_notify("READY=1");
	unlink(path);
	rmdir(directory);
}
END_TEST

START_TEST(notify_abstract)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "@bennu-test-systemd-%d", (int)getpid());
	fd = bind_notify(path);
	systemd_notify("READY=1");
	assert_notified(fd, "READY=1");
	close(fd);
}
END_TEST

START_TEST(notify_nobody)
{
	char path[200];
	int lowest = dup(STDERR_FILENO);

	close(lowest);
	unsetenv("NOTIFY_SOCKET");
	systemd_notify("READY=1");
	setenv("NOTIFY_SOCKET", "", 1);
	systemd_notify("READY=1");
	setenv("NOTIFY_SOCKET", "relative", 1);
	systemd_notify("READY=1");
	memset(path, 'a', sizeof path - 1);
	path[0] = '/';
	path[sizeof path - 1] = '\0';
	setenv("NOTIFY_SOCKET", path, 1);
	systemd_notify("READY=1");
	/* No descriptor was left open by any of them. */
	ck_assert_int_eq(dup(STDERR_FILENO), lowest);
}
END_TEST

/*
 * What follows runs in a process of its own, as it puts descriptors where Check
 * may have its own.
 */
#define REQUIRE(condition)                                                  \
	do {                                                                \
		if (!(condition)) {                                         \
			fprintf(                                            \
			    stderr, "line %d: %s\n", __LINE__, #condition); \
			_exit(1);                                           \
		}                                                           \
	} while (0)

static void
run_child(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		REQUIRE(dup2(STDERR_FILENO, 3) == 3);
		REQUIRE(dup2(STDERR_FILENO, 4) == 4);
		run();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

static void
set_variables(const char *pid, const char *fds)
{
	char own[32];

	snprintf(own, sizeof own, "%d", (int)getpid());
	setenv("LISTEN_PID", pid != NULL ? pid : own, 1);
	setenv("LISTEN_FDS", fds, 1);
	setenv("LISTEN_FDNAMES", "a:b", 1);
}

static void
require_unset(void)
{
	REQUIRE(getenv("LISTEN_PID") == NULL);
	REQUIRE(getenv("LISTEN_FDS") == NULL);
	REQUIRE(getenv("LISTEN_FDNAMES") == NULL);
}

static void
take_two(void)
{
	int fds[4] = { -1, -1, -1, -1 };

	set_variables(NULL, "2");
	REQUIRE(systemd_listen_fds(fds, 4) == 2);
	REQUIRE(fds[0] == 3 && fds[1] == 4 && fds[2] == -1);
	REQUIRE(fcntl(3, F_GETFD) == FD_CLOEXEC);
	REQUIRE(fcntl(4, F_GETFD) == FD_CLOEXEC);
	require_unset();
	REQUIRE(systemd_listen_fds(fds, 4) == 0);
}

static void
leave_those_of_others(void)
{
	int fds[4] = { -1, -1, -1, -1 };

	set_variables("1", "2");
	REQUIRE(systemd_listen_fds(fds, 4) == 0);
	require_unset();
	REQUIRE(fcntl(3, F_GETFD) == 0);
	set_variables("", "2");
	REQUIRE(systemd_listen_fds(fds, 4) == 0);
	set_variables("x", "2");
	REQUIRE(systemd_listen_fds(fds, 4) == 0);
	REQUIRE(fds[0] == -1);
}

static void
refuse_wrong(void)
{
	static const char *const wrong[] = { "", "0", "-1", "x", "2x", "5",
		"99999999999999999999", "4294967298" };
	int fds[4];

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		set_variables(NULL, wrong[i]);
		REQUIRE(systemd_listen_fds(fds, 4) == -1);
		require_unset();
	}
	/* One of them is not open. */
	close(4);
	set_variables(NULL, "2");
	REQUIRE(systemd_listen_fds(fds, 4) == -1);
}

START_TEST(listen_fds)
{
	run_child(take_two);
}
END_TEST

START_TEST(listen_fds_of_others)
{
	run_child(leave_those_of_others);
}
END_TEST

START_TEST(listen_fds_wrong)
{
	run_child(refuse_wrong);
}
END_TEST

UNIT_MAIN("systemd", notify_path, notify_abstract, notify_nobody, listen_fds,
    listen_fds_of_others, listen_fds_wrong)
