/*
 * exit.c: wait statuses and their names. Statuses come from real processes.
 */
#include <sys/wait.h>

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "tests/unit/unit.h"

/* The wait status of a process that exits with code, or dies by sig. */
static int
status_of(int code, int sig)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		if (sig != 0) {
			signal(sig, SIG_DFL); /* Check handles some */
			raise(sig);
		}
		_exit(code);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void
assert_string(int status, const char *prefix)
{
	char buf[128];

	exit_string(status, buf, sizeof buf);
	ck_assert_msg(strncmp(buf, prefix, strlen(prefix)) == 0,
	    "'%s' does not begin with '%s'", buf, prefix);
}

START_TEST(normal_ends)
{
	ck_assert(exit_is_normal(status_of(EXIT_NORMAL, 0)));
	ck_assert(exit_is_normal(status_of(EXIT_SHUTDOWN, 0)));
}
END_TEST

START_TEST(crashes)
{
	ck_assert(!exit_is_normal(status_of(EXIT_CRASH, 0)));
	ck_assert(!exit_is_normal(status_of(EXIT_START, 0)));
	ck_assert(!exit_is_normal(status_of(77, 0)));
	ck_assert(!exit_is_normal(status_of(0, SIGKILL)));
	ck_assert(!exit_is_normal(status_of(0, SIGTERM)));
}
END_TEST

START_TEST(names)
{
	assert_string(status_of(EXIT_NORMAL, 0), "normal");
	assert_string(status_of(EXIT_SHUTDOWN, 0), "shutdown");
	assert_string(status_of(EXIT_START, 0), "could not start");
	assert_string(status_of(77, 0), "exit 77");
	assert_string(status_of(0, SIGKILL), "killed");
	assert_string(status_of(0, SIGTERM), "signal 15 (Terminated");
}
END_TEST

UNIT_MAIN("exit", normal_ends, crashes, names)
