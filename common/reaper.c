/*
 * reaper.c - see reaper.h.
 */
#include <sys/types.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/process.h"
#include "common/reaper.h"
#include "common/xmalloc.h"

#define SWEEP_EVERY 100 /* ms */
#define SWEEP_AGAIN 1   /* ms, when a sweep left some for the next turn */
#define SWEEP_LOOKS 8   /* deaths found one by one before the owner is asked */
#define SWEEP_MOST  64  /* likewise, in one turn of the loop */
#define SWEEP_TURN  10  /* ms, and no longer than this */

#define SIGNALS_AT_ONCE 16
#define READS_AT_ONCE   8

struct reaper {
	struct reaper_callbacks callbacks;
	void *arg;
	int fd;
	struct event readable;
	struct event sweep;
	bool sweep_pending;
	bool sweep_goes_on; /* the timer is for the rest of the last one */
	long long swept;    /* ms, when the last one began; -1 = never */
	int depth;          /* > 0: callbacks may be running */
	bool freed;         /* by one of them */
};

static void
destroy(struct reaper *reaper)
{
	event_del(&reaper->readable);
	event_del(&reaper->sweep);
	close(reaper->fd);
	free(reaper);
}

static void
enter(struct reaper *reaper)
{
	reaper->depth++;
}

static void
leave(struct reaper *reaper)
{
	if (--reaper->depth == 0 && reaper->freed)
		destroy(reaper);
}

static void
arm_sweep(struct reaper *reaper, long long in)
{
	struct timeval tv = { in / 1000, in % 1000 * 1000 };

	reaper->sweep_pending = true;
	if (evtimer_add(&reaper->sweep, &tv) == -1)
		fatalx("reaper: no timer");
}

/*
 * Reaps up to n of whatever is dead, orphans included. True when there may be
 * more: each look walks the living before the first dead, hence the clock.
 */
static bool
look(struct reaper *reaper, int n)
{
	long long until = monotonic_ms() + SWEEP_TURN;
	int status;
	pid_t pid;

	for (int i = 0; i < n && monotonic_ms() <= until; i++) {
		pid = waitpid(-1, &status, WNOHANG);
		if (pid <= 0)
			return false;
		reaper->callbacks.died(pid, status, reaper->arg);
		if (reaper->freed)
			return false;
	}
	return true;
}

static void
sweep(struct reaper *reaper)
{
	bool goes_on = reaper->sweep_goes_on;

	reaper->sweep_goes_on = false;
	if (!goes_on) {
		reaper->swept = monotonic_ms();
		if (!look(reaper, SWEEP_LOOKS))
			return;
		if (reaper->callbacks.sweep != NULL)
			reaper->callbacks.sweep(reaper, reaper->arg);
		if (reaper->freed)
			return;
	}
	if (look(reaper, SWEEP_MOST)) {
		reaper->sweep_goes_on = true;
		arm_sweep(reaper, SWEEP_AGAIN);
	}
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct reaper *reaper = arg;

	enter(reaper);
	reaper->sweep_pending = false;
	sweep(reaper);
	leave(reaper);
}

/* SIGCHLDs came, perhaps for more deaths than they were. */
static void
want_sweep(struct reaper *reaper)
{
	long long ago = monotonic_ms() - reaper->swept;

	if (reaper->sweep_pending)
		return;
	if (reaper->swept == -1 || ago >= SWEEP_EVERY)
		sweep(reaper);
	else
		arm_sweep(reaper, SWEEP_EVERY - ago);
}

static void
handle_signal(struct reaper *reaper, const struct signalfd_siginfo *info)
{
	if (info->ssi_signo != SIGCHLD) {
		if (reaper->callbacks.signalled != NULL)
			reaper->callbacks.signalled(info, reaper->arg);
		return;
	}
	/* 0: from outside of our pid namespace. */
	if (info->ssi_pid > 0)
		reaper_try(reaper, (pid_t)info->ssi_pid);
}

/* Returns how many signals there were. */
static size_t
read_signals(struct reaper *reaper, bool *deaths)
{
	struct signalfd_siginfo infos[SIGNALS_AT_ONCE];
	ssize_t size = read(reaper->fd, infos, sizeof infos);
	size_t n;

	if (size == -1) {
		if (errno != EAGAIN && errno != EINTR)
			fatal("reaper: signalfd");
		return 0;
	}
	n = (size_t)size / sizeof *infos;
	for (size_t i = 0; i < n && !reaper->freed; i++) {
		if (infos[i].ssi_signo == SIGCHLD)
			*deaths = true;
		handle_signal(reaper, &infos[i]);
	}
	return n;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct reaper *reaper = arg;
	bool deaths = false;

	enter(reaper);
	for (int i = 0; i < READS_AT_ONCE && !reaper->freed; i++) {
		if (read_signals(reaper, &deaths) < SIGNALS_AT_ONCE)
			break;
	}
	if (deaths && !reaper->freed)
		want_sweep(reaper);
	leave(reaper);
}

/*
 * A SIGCHLD that is ignored (nohup and some init scripts leave it so) makes the
 * kernel reap in our place. Stops are not news.
 */
static void
reset_sigchld(void)
{
	struct sigaction action = { .sa_flags = SA_NOCLDSTOP };

	action.sa_handler = SIG_DFL;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGCHLD, &action, NULL) == -1)
		fatal("reaper: sigaction");
}

struct reaper *
reaper_new(struct event_base *base, const int *signals,
    const struct reaper_callbacks *callbacks, void *arg)
{
	struct reaper *reaper = xcalloc(1, sizeof *reaper);
	sigset_t set;

	assert(callbacks->died != NULL);
	reaper->callbacks = *callbacks;
	reaper->arg = arg;
	reaper->swept = -1;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (; *signals != 0; signals++)
		sigaddset(&set, *signals);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		fatal("reaper: sigprocmask");
	reset_sigchld();

	reaper->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (reaper->fd == -1)
		fatal("reaper: signalfd");
	if (event_assign(&reaper->readable, base, reaper->fd,
		EV_READ | EV_PERSIST, on_readable, reaper) == -1 ||
	    event_add(&reaper->readable, NULL) == -1 ||
	    evtimer_assign(&reaper->sweep, base, on_sweep, reaper) == -1)
		fatalx("reaper: no event");
	return reaper;
}

void
reaper_free(struct reaper *reaper)
{
	if (reaper == NULL)
		return;
	reaper->freed = true;
	if (reaper->depth == 0)
		destroy(reaper);
}

bool
reaper_try(struct reaper *reaper, pid_t pid)
{
	int status;

	assert(pid > 0);
	if (waitpid(pid, &status, WNOHANG) != pid)
		return false;
	enter(reaper);
	reaper->callbacks.died(pid, status, reaper->arg);
	leave(reaper);
	return true;
}
