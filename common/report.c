/*
 * report.c - see report.h. The words are those of OTP's reports, so that who
 * knows them recognises them.
 */
#include <sys/wait.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/child.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/report.h"

static const char *
restart_name(enum restart restart)
{
	switch (restart) {
	case RESTART_PERMANENT:
		return "permanent";
	case RESTART_TRANSIENT:
		return "transient";
	case RESTART_TEMPORARY:
		return "temporary";
	}
	return "?";
}

/* Did it end as it should? Else OTP reports it. */
static bool
ended_well(const struct child *child)
{
	int status = child->status;

	if (child->dead_pid == -1)
		return child->error == 0;
	if (child->hung)
		return false;
	if (child_is_ignore(child))
		return true;
	if (!child->asked)
		return child->ready && exit_is_normal(status) &&
		    child->spec.restart != RESTART_PERMANENT;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return child->killed;
	/* Who does not handle SIGTERM ends by it. */
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)
		return true;
	return exit_is_normal(status);
}

static const char *
context_of(const struct child *child)
{
	if (ended_well(child))
		return "ended";
	if (child->asked)
		return "shutdown_error";
	return child->ready ? "child_terminated" : "start_error";
}

static const char *
reason_of(const struct child *child, char *buf, size_t size)
{
	char status[128];

	if (child->dead_pid == -1) {
		snprintf(buf, size, "fork: %s", strerror(child->error));
		return buf;
	}
	exit_string(child->status, status, sizeof status);
	if (child->hung && child->asked)
		snprintf(buf, size, "%s, did not end in %d ms", status,
		    child->spec.shutdown);
	else if (child->hung)
		snprintf(buf, size, "%s, was not ready in %d ms", status,
		    child->spec.start_limit);
	else
		snprintf(buf, size, "%s", status);
	return buf;
}

/* ", restart 1 of 10 in 10 s, after 20 ms", or nothing. */
static const char *
restarts_of(const struct obituary *o, long long pause, char *buf, size_t size)
{
	char after[64] = "";

	buf[0] = '\0';
	if (o->restarts == 0)
		return buf;
	if (o->verdict == VERDICT_GIVEN_UP)
		snprintf(after, sizeof after, ": given up");
	else if (pause > 0)
		snprintf(after, sizeof after, ", after %lld ms", pause);
	if (o->intensity == 0)
		snprintf(buf, size, ", restart %u%s", o->restarts, after);
	else
		snprintf(buf, size, ", restart %u of %u in %u s%s", o->restarts,
		    o->intensity, o->period, after);
	return buf;
}

void
report_ready(const struct supervisor_flags *flags, const struct child *child)
{
	const char *restart = restart_name(child->spec.restart);
	const char *id = child->spec.id;
	int pid = (int)child->pid;

	if (flags->quiet)
		log_debug(
		    "%s: started: %s[%d] %s", flags->name, id, pid, restart);
	else
		log_info(
		    "%s: started: %s[%d] %s", flags->name, id, pid, restart);
}

void
report_death(const struct supervisor_flags *flags, const struct child *child,
    const struct obituary *o, long long pause, const char *more)
{
	char reason[192], restarts[128], line[1024], pid[16] = "";

	if (child->dead_pid == -1 && child->error == 0)
		return; /* it was told when it died */
	if (child->dead_pid != -1)
		snprintf(pid, sizeof pid, "[%d]", (int)child->dead_pid);
	snprintf(line, sizeof line, "%s: %s: %.300s%s %s: %s%s%s", flags->name,
	    context_of(child), child->spec.id, pid,
	    restart_name(child->spec.restart),
	    reason_of(child, reason, sizeof reason),
	    restarts_of(o, pause, restarts, sizeof restarts), more);
	if (!ended_well(child))
		log_warnx("%s", line);
	else if (flags->quiet)
		log_debug("%s", line);
	else
		log_info("%s", line);
}

void
report_shutdown(const struct supervisor_flags *flags, const struct child *child,
    const char *why)
{
	log_warnx("%s: shutdown: %s: %s", flags->name, why, child->spec.id);
}
