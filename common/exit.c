/*
 * exit.c - see exit.h.
 */
#include <sys/wait.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/exit.h"

bool
exit_is_normal(int status)
{
	if (!WIFEXITED(status))
		return false;
	return WEXITSTATUS(status) == EXIT_NORMAL ||
	    WEXITSTATUS(status) == EXIT_SHUTDOWN;
}

static const char *
exited_string(int code, char *buf, size_t size)
{
	const char *name = NULL;

	if (code == EXIT_NORMAL)
		name = "normal";
	else if (code == EXIT_SHUTDOWN)
		name = "shutdown";
	else if (code == EXIT_START)
		name = "could not start";

	if (name != NULL)
		snprintf(buf, size, "%s", name);
	else
		snprintf(buf, size, "exit %d", code);
	return buf;
}

const char *
exit_string(int status, char *buf, size_t size)
{
	int sig;

	if (WIFEXITED(status))
		return exited_string(WEXITSTATUS(status), buf, size);
	if (!WIFSIGNALED(status)) {
		snprintf(buf, size, "wait status 0x%x", status);
		return buf;
	}
	sig = WTERMSIG(status);
	if (sig == SIGKILL)
		snprintf(buf, size, "killed");
	else
		snprintf(buf, size, "signal %d (%s%s)", sig, strsignal(sig),
		    WCOREDUMP(status) ? ", core dumped" : "");
	return buf;
}
