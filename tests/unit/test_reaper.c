/*
 * reaper.c: every death is told exactly once, however many come at once, and
 * signals keep what they carry.
 */
#include <sys/prctl.h>
#include <sys/wait.h>

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/process.h"
#include "common/reaper.h"
#include "tests/unit/unit.h"

#define DEADLINE 20000 /* ms */

#ifdef __SANITIZE_ADDRESS__
#define MANY 200
#else
#define MANY 1000
#endif

#define PIDS_MAX 2048

static struct event_base *base;
static struct event *tick; /* so that a deadline is looked at */
static struct reaper *reaper;

static struct {
	pid_t pid;
	int status, told;
} dead[PIDS_MAX];
static size_t ndead;

static pid_t alive[PIDS_MAX]; /* what on_sweep tries */
static size_t nalive, nsweeps;

static struct signalfd_siginfo signals[128];
static size_t nsignals;

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
}

static void
on_died(pid_t pid, int status, void *arg)
{
	for (size_t i = 0; i < ndead; i++) {
		if (dead[i].pid == pid) {
			dead[i].told++;
			return;
		}
	}
	ck_assert_uint_lt(ndead, PIDS_MAX);
	dead[ndead].pid = pid;
	dead[ndead].status = status;
	dead[ndead++].told = 1;
}

static void
on_signal(const struct signalfd_siginfo *info, void *arg)
{
	ck_assert_uint_lt(nsignals, sizeof signals / sizeof signals[0]);
	signals[nsignals++] = *info;
}

static void
on_sweep(struct reaper *r, void *arg)
{
	size_t kept = 0;

	nsweeps++;
	for (size_t i = 0; i < nalive; i++) {
		if (!reaper_try(r, alive[i]))
			alive[kept++] = alive[i];
	}
	nalive = kept;
}

static const struct reaper_callbacks without_sweep = { on_died, on_signal,
	NULL };
static const struct reaper_callbacks with_sweep = { on_died, on_signal,
	on_sweep };

static void
set_up(const struct reaper_callbacks *callbacks)
{
	struct timeval tv = { 0, 20000 };
	int listened[] = { SIGUSR1, SIGTERM, SIGRTMIN, 0 };

	base = event_base_new();
	tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
	event_add(tick, &tv);
	reaper = reaper_new(base, listened, callbacks, NULL);
}

static void
tear_down(void)
{
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
	reaper_free(reaper);
	event_free(tick);
	event_base_free(base);
}

#define UNTIL(condition)                                     \
	do {                                                 \
		long long end_ = monotonic_ms() + DEADLINE;  \
		while (!(condition)) {                       \
			ck_assert_msg(monotonic_ms() < end_, \
			    "not in time: %s", #condition);  \
			event_base_loop(base, EVLOOP_ONCE);  \
		}                                            \
	} while (0)

/* A child that lives until fd is at its end. */
static pid_t
child_waiting(int pipefd[2], int code)
{
	pid_t pid = fork();
	char c;

	ck_assert_int_ne(pid, -1);
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(pipefd[1]);
	if (read(pipefd[0], &c, 1) != 0)
		_exit(99);
	_exit(code);
}

static pid_t
child_exiting(int code)
{
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0)
		_exit(code);
	return pid;
}

/* Waits until it is dead, and leaves it so. */
static void
await_zombie(pid_t pid)
{
	siginfo_t info;

	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void
assert_told_once(const pid_t *pids, size_t n, int code)
{
	ck_assert_uint_eq(ndead, n);
	for (size_t i = 0; i < n; i++) {
		size_t j = 0;

		while (j < ndead && dead[j].pid != pids[i])
			j++;
		ck_assert_msg(j < ndead, "%d was not told", (int)pids[i]);
		ck_assert_int_eq(dead[j].told, 1);
		ck_assert(WIFEXITED(dead[j].status));
		ck_assert_int_eq(WEXITSTATUS(dead[j].status), code);
	}
}

static void
many_at_once(const struct reaper_callbacks *callbacks)
{
	static pid_t pids[MANY];
	int fds[2];

	set_up(callbacks);
	ck_assert_int_eq(pipe(fds), 0);
	for (size_t i = 0; i < MANY; i++)
		pids[i] = alive[nalive++] = child_waiting(fds, 3);
	close(fds[0]);
	close(fds[1]);
	for (size_t i = 0; i < MANY; i++)
		await_zombie(pids[i]);
	UNTIL(ndead == MANY);
	assert_told_once(pids, MANY, 3);
	tear_down();
}

START_TEST(many_deaths_at_once)
{
	many_at_once(&without_sweep);
}
END_TEST

START_TEST(many_deaths_with_the_owners_help)
{
	many_at_once(&with_sweep);
	ck_assert_uint_ge(nsweeps, 1);
}
END_TEST

/* They die while the loop runs, so that signals and sweeps mix. */
START_TEST(many_deaths_one_after_the_other)
{
	static pid_t pids[MANY];

	set_up(&with_sweep);
	for (size_t i = 0; i < MANY; i++) {
		pids[i] = alive[nalive++] = child_exiting(5);
		event_base_loop(base, EVLOOP_NONBLOCK);
		/* What died is not to be tried: its pid may be another's. */
		for (size_t j = 0; j < ndead; j++) {
			for (size_t k = 0; k < nalive; k++) {
				if (alive[k] == dead[j].pid)
					alive[k--] = alive[--nalive];
			}
		}
	}
	UNTIL(ndead == MANY);
	assert_told_once(pids, MANY, 5);
	tear_down();
}
END_TEST

#define ORPHANS 150

static void
bear_orphans(int hold[2], int out)
{
	pid_t pids[ORPHANS];

	for (size_t i = 0; i < ORPHANS; i++) {
		pids[i] = fork();
		if (pids[i] == -1)
			_exit(98);
		if (pids[i] == 0) {
			char c;

			close(hold[1]);
			close(out);
			_exit(read(hold[0], &c, 1) == 0 ? 7 : 99);
		}
	}
	/* Less than PIPE_BUF: in one piece. */
	_exit(write(out, pids, sizeof pids) == sizeof pids ? 0 : 97);
}

START_TEST(orphans)
{
	pid_t mother, pids[ORPHANS];
	int hold[2], out[2];

	ck_assert_uint_le(sizeof pids, PIPE_BUF);
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	set_up(&with_sweep);
	ck_assert_int_eq(pipe(hold), 0);
	ck_assert_int_eq(pipe(out), 0);
	mother = fork();
	ck_assert_int_ne(mother, -1);
	if (mother == 0)
		bear_orphans(hold, out[1]);
	ck_assert_int_eq(read(out[0], pids, sizeof pids), sizeof pids);
	UNTIL(ndead == 1);
	ck_assert_int_eq(dead[0].pid, mother);
	ck_assert_int_eq(dead[0].status, 0);

	ndead = 0;
	close(hold[0]);
	close(hold[1]);
	UNTIL(ndead == ORPHANS);
	assert_told_once(pids, ORPHANS, 7);
	close(out[0]);
	close(out[1]);
	tear_down();
}
END_TEST

START_TEST(signals_keep_their_values)
{
	union sigval value = { .sival_int = 4242 };

	set_up(&without_sweep);
	ck_assert_int_eq(sigqueue(getpid(), SIGUSR1, value), 0);
	ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
	UNTIL(nsignals == 2);
	ck_assert_int_eq(signals[0].ssi_signo, SIGUSR1);
	ck_assert_int_eq(signals[0].ssi_code, SI_QUEUE);
	ck_assert_int_eq(signals[0].ssi_int, 4242);
	ck_assert_int_eq(signals[0].ssi_pid, getpid());
	ck_assert_int_eq(signals[1].ssi_signo, SIGTERM);
	ck_assert_int_eq(signals[1].ssi_code, SI_USER);

	/* More than one read takes, in the order they were sent. */
	nsignals = 0;
	for (value.sival_int = 0; value.sival_int < 100; value.sival_int++)
		ck_assert_int_eq(sigqueue(getpid(), SIGRTMIN, value), 0);
	UNTIL(nsignals == 100);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(signals[i].ssi_int, i);
	ck_assert_uint_eq(ndead, 0);
	tear_down();
}
END_TEST

/* Anybody may send SIGCHLD, a stop sends one, and none of it is a death. */
START_TEST(not_every_sigchld_is_a_death)
{
	union sigval value = { .sival_int = 1 };
	int fds[2];
	pid_t pid;

	set_up(&without_sweep);
	ck_assert_int_eq(pipe(fds), 0);
	pid = child_waiting(fds, 0);
	ck_assert_int_eq(kill(getpid(), SIGCHLD), 0);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(sigqueue(getpid(), SIGCHLD, value), 0);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	/* A fence: what was sent before it has been read by then. */
	ck_assert_int_eq(sigqueue(getpid(), SIGRTMIN, value), 0);
	UNTIL(nsignals == 1);
	ck_assert_uint_eq(ndead, 0);
	ck_assert(!reaper_try(reaper, pid));

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	UNTIL(ndead == 1);
	ck_assert_int_eq(dead[0].pid, pid);
	ck_assert_int_eq(dead[0].told, 1);
	ck_assert(WIFSIGNALED(dead[0].status));
	close(fds[0]);
	close(fds[1]);
	tear_down();
}
END_TEST

START_TEST(trying_tells_once)
{
	pid_t pid;

	set_up(&without_sweep);
	pid = child_exiting(4);
	await_zombie(pid);
	ck_assert(reaper_try(reaper, pid));
	ck_assert(!reaper_try(reaper, pid));
	assert_told_once(&pid, 1, 4);
	/* The SIGCHLD of it is still to be read. */
	ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
	UNTIL(nsignals == 1);
	assert_told_once(&pid, 1, 4);
	tear_down();
}
END_TEST

/* The sweep's 100 ms are for what si_pid does not say: one turn of the loop. */
START_TEST(single_deaths_are_told_at_once)
{
	set_up(&without_sweep);
	for (size_t i = 0; i < 21; i++) {
		await_zombie(child_exiting(0));
		event_base_loop(base, EVLOOP_NONBLOCK);
		ck_assert_uint_eq(ndead, i + 1);
	}
	tear_down();
}
END_TEST

START_TEST(an_ignored_sigchld_is_cured)
{
	pid_t pid;

	signal(SIGCHLD, SIG_IGN);
	set_up(&without_sweep);
	pid = child_exiting(6);
	UNTIL(ndead == 1);
	assert_told_once(&pid, 1, 6);
	tear_down();
}
END_TEST

static void
free_on_death(pid_t pid, int status, void *arg)
{
	on_died(pid, status, arg);
	reaper_free(reaper);
}

static void
free_on_signal(const struct signalfd_siginfo *info, void *arg)
{
	on_signal(info, arg);
	reaper_free(reaper);
}

START_TEST(freed_by_its_callback)
{
	static const struct reaper_callbacks frees = { free_on_death,
		free_on_signal, NULL };
	pid_t pids[20];

	set_up(&frees);
	for (size_t i = 0; i < 20; i++)
		pids[i] = child_exiting(0);
	for (size_t i = 0; i < 20; i++)
		await_zombie(pids[i]);
	UNTIL(ndead == 1);
	for (size_t i = 0; i < 19; i++)
		ck_assert_int_gt(waitpid(-1, NULL, 0), 0);
	event_free(tick);
	event_base_free(base);

	set_up(&frees);
	ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
	ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
	UNTIL(nsignals == 1);
	reaper = NULL;
	tear_down();
}
END_TEST

UNIT_MAIN("reaper", many_deaths_at_once, many_deaths_with_the_owners_help,
    many_deaths_one_after_the_other, orphans, signals_keep_their_values,
    not_every_sigchld_is_a_death, trying_tells_once,
    single_deaths_are_told_at_once, an_ignored_sigchld_is_cured,
    freed_by_its_callback)
