/*
 * supervise.c: OTP's rules, kept with real processes.
 *
 * Each child is an actor with a list of lives: what it does when it is started
 * for the first, second, ... time (the last one repeats). Actors say "+a" (a is
 * ready) and "-a" (a was asked and ends) on one pipe, so that `wire` shows in
 * which order things happened; what the supervisor told is in `told`.
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/child.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/process.h"
#include "common/reaper.h"
#include "common/supervise.h"
#include "tests/unit/unit.h"

#define DEADLINE 20000 /* ms */
#define LIMIT    100   /* ms, when it has to be exceeded */
#define LONG     60000 /* ms, when it must not be */

#ifdef __SANITIZE_ADDRESS__
#define KILLS 800
#else
#define KILLS 10000
#endif

/* --- a fork that fails on demand ---------------------------------------- */

pid_t __real_fork(void);
pid_t __wrap_fork(void);

static int forks_to_fail;

pid_t
__wrap_fork(void)
{
	if (forks_to_fail == 0)
		return __real_fork();
	forks_to_fail--;
	errno = EAGAIN;
	return -1;
}

/* --- actors -------------------------------------------------------------- */

enum life {
	LIVES,            /* is ready, and ends when asked */
	DEAF,             /* is ready, and does not end when asked */
	HANGS_AT_START,   /* is never ready */
	LATE_AT_START,    /* the same, and has LIMIT to be ready */
	WAITS_AT_START,   /* says "~a", and is ready at SIGUSR2 */
	EXITS_AT_START,   /* with EXIT_START, before it is ready */
	IGNORES_AT_START, /* with EXIT_NORMAL, likewise */
	FORK_FAILS,
};

struct actor {
	char name[16];
	enum life lives[8];
	size_t nlives, nstarts;
	struct child *child;
	long long started[64]; /* ms */
};

static struct event_base *base;
static struct event *tick, *speech;
static struct reaper *reaper;
static int wire_fds[2];

static char wire[4096], told[4096];
static struct obituary last;
static int booted, gave_up, stopped, died;

static struct supervisor *sup; /* of most tests */

struct word {
	pid_t pid;
	char sign;
	char name[11];
};

static void
say(const char *name, char sign)
{
	struct word word = { .pid = getpid(), .sign = sign };

	strncpy(word.name, name, sizeof word.name - 1);
	if (write(wire_fds[1], &word, sizeof word) != sizeof word)
		_exit(99);
}

/* SIGUSR1 with a value: exit with it. SIGTERM: end, unless deaf. */
_Noreturn static void
act(const char *name, enum life life)
{
	sigset_t set;
	siginfo_t info;

	for (int sig = 1; sig < SIGRTMAX; sig++)
		signal(sig, SIG_DFL); /* those of sanitizers */
	sigfillset(&set);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);

	switch (life) {
	case LIVES:
	case DEAF:
		say(name, '+');
		break;
	case EXITS_AT_START:
		_exit(EXIT_START);
	case IGNORES_AT_START:
		_exit(EXIT_NORMAL);
	case WAITS_AT_START:
		say(name, '~');
		break;
	case HANGS_AT_START:
	case LATE_AT_START:
	case FORK_FAILS:
		break;
	}
	while (sigwaitinfo(&set, &info) != -1) {
		if (info.si_signo == SIGUSR1)
			_exit(info.si_value.sival_int);
		if (info.si_signo == SIGUSR2 && life == WAITS_AT_START)
			say(name, '+');
		if (info.si_signo == SIGTERM && life != DEAF) {
			say(name, '-');
			_exit(EXIT_SHUTDOWN);
		}
	}
	_exit(98);
}

static pid_t
actor_start(struct child *child, void *arg)
{
	struct actor *actor = arg;
	size_t i = actor->nstarts++;
	enum life life = actor->nlives == 0 ? LIVES
	    : i < actor->nlives             ? actor->lives[i]
					    : actor->lives[actor->nlives - 1];
	pid_t pid;

	actor->child = child;
	actor->started[i % 64] = monotonic_ms();
	/* All others may be as slow as the machine is. */
	if (child->spec.start_limit > 0)
		child->spec.start_limit = life == LATE_AT_START ? LIMIT : LONG;
	if (life == FORK_FAILS)
		forks_to_fail++;
	pid = fork();
	if (pid == 0)
		act(actor->name, life);
	return pid;
}

static void
append(char *log, size_t size, const char *sign, const char *name)
{
	size_t n = strlen(log);

	snprintf(log + n, size - n, "%s%s", sign, name);
}

static void
on_speech(evutil_socket_t fd, short what, void *arg)
{
	struct word word;
	char sign[2] = "";
	struct child *child;

	while (read(wire_fds[0], &word, sizeof word) == sizeof word) {
		sign[0] = word.sign;
		append(wire, sizeof wire, sign, word.name);
		if (word.sign != '+' || sup == NULL)
			continue;
		child = supervisor_find_pid(sup, word.pid);
		if (child != NULL)
			child_ready(child);
	}
}

/* --- the owner ----------------------------------------------------------- */

static void
on_ready(struct supervisor *s, struct child *child, void *arg)
{
	append(told, sizeof told, "+", child_id(child));
}

static void
on_died(struct supervisor *s, struct child *child, const struct obituary *o,
    void *arg)
{
	static const char *const sign[] = { [VERDICT_RESTART] = "!",
		[VERDICT_GONE] = "-",
		[VERDICT_GIVEN_UP] = "x" };

	ck_assert_int_eq(child_pid(child), -1);
	ck_assert(!child_is_ready(child));
	append(told, sizeof told, sign[o->verdict], child_id(child));
	last = *o;
	died++;
}

static void
on_booted(struct supervisor *s, void *arg)
{
	booted++;
}

static void
on_gave_up(struct supervisor *s, void *arg)
{
	ck_assert_uint_eq(supervisor_count_children(s).active, 0);
	gave_up++;
}

static void
on_stopped(struct supervisor *s, void *arg)
{
	ck_assert_uint_eq(supervisor_count_children(s).active, 0);
	stopped++;
	supervisor_free(s);
	if (s == sup)
		sup = NULL;
}

static const struct supervisor_callbacks callbacks = {
	.ready = on_ready,
	.died = on_died,
	.booted = on_booted,
	.gave_up = on_gave_up,
};

static void
on_reaped(pid_t pid, int status, void *arg)
{
	if (sup != NULL)
		supervisor_reap(sup, pid, status);
}

static const struct reaper_callbacks reaping = { .died = on_reaped };

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
}

#define UNTIL(condition)                                             \
	do {                                                         \
		long long end_ = monotonic_ms() + DEADLINE;          \
		while (!(condition)) {                               \
			ck_assert_msg(monotonic_ms() < end_,         \
			    "not in time: %s; wire '%s', told '%s'", \
			    #condition, wire, told);                 \
			event_base_loop(base, EVLOOP_ONCE);          \
		}                                                    \
	} while (0)

static void
forget(void)
{
	wire[0] = told[0] = '\0';
	booted = gave_up = stopped = died = 0;
	memset(&last, 0, sizeof last);
}

static void
set_up(void)
{
	struct timeval tv = { 0, 10000 };
	int none[] = { 0 };

	/* Check's handler would end the whole group for a child. */
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	log_setlevel(LOG_LEVEL_ERROR);
	base = event_base_new();
	tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
	event_add(tick, &tv);
	reaper = reaper_new(base, none, &reaping, NULL);
	ck_assert_int_eq(pipe2(wire_fds, O_NONBLOCK | O_CLOEXEC), 0);
	speech = event_new(
	    base, wire_fds[0], EV_READ | EV_PERSIST, on_speech, NULL);
	event_add(speech, NULL);
	forget();
}

/* What was said is in the pipe, but may not have been read yet. */
#define assert_wire(expected)                     \
	do {                                      \
		on_speech(-1, 0, NULL);           \
		ck_assert_str_eq(wire, expected); \
	} while (0)

static void
assert_no_process(void)
{
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}

static void
tear_down(void)
{
	assert_no_process();
	reaper_free(reaper);
	event_free(speech);
	event_free(tick);
	event_base_free(base);
	close(wire_fds[0]);
	close(wire_fds[1]);
}

static struct supervisor_flags
flags_of(enum strategy strategy)
{
	struct supervisor_flags flags = {
		.name = "test_sup",
		.strategy = strategy,
		.intensity = 100,
		.period = 60,
	};

	return flags;
}

static struct child_spec
spec_of(struct actor *actor, const char *name, enum restart restart)
{
	struct child_spec spec = {
		.id = name,
		.start = actor_start,
		.arg = actor,
		.restart = restart,
		.shutdown = LONG,
		.start_limit = LONG,
		.intensity = 100,
		.period = 60,
	};

	strlcpy(actor->name, name, sizeof actor->name);
	return spec;
}

#define LET(actor, ...)                                             \
	do {                                                        \
		const enum life lives_[] = { __VA_ARGS__ };         \
		memcpy((actor)->lives, lives_, sizeof lives_);      \
		(actor)->nlives = sizeof lives_ / sizeof lives_[0]; \
	} while (0)

/* Three actors, of which b may be told what to do. */
static struct actor a, b, c;
static struct child_spec specs[3];

static void
cast(enum restart restart)
{
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	memset(&c, 0, sizeof c);
	specs[0] = spec_of(&a, "a", RESTART_PERMANENT);
	specs[1] = spec_of(&b, "b", restart);
	specs[2] = spec_of(&c, "c", RESTART_PERMANENT);
}

static bool
all_ready(void)
{
	struct actor *actors[] = { &a, &b, &c };

	for (size_t i = 0; i < 3; i++) {
		if (actors[i]->child == NULL || actors[i]->child->untold ||
		    !child_is_ready(actors[i]->child))
			return false;
	}
	return true;
}

/* Starts the three and awaits them. */
static void
play(const struct supervisor_flags *flags)
{
	size_t n = flags->strategy == DYNAMIC ? 0 : 3;

	sup = supervisor_start(base, flags, &callbacks, NULL, specs, n);
	ck_assert_ptr_nonnull(sup);
	UNTIL(booted == 1);
	for (size_t i = n; i < 3; i++) {
		ck_assert_ptr_nonnull(supervisor_start_child(sup, &specs[i]));
		UNTIL(strlen(told) == 2 * (i + 1));
	}
	assert_wire("+a+b+c");
	ck_assert_str_eq(told, "+a+b+c");
	ck_assert(all_ready());
}

static void
close_play(void)
{
	int before = stopped;

	supervisor_stop(sup, on_stopped, NULL);
	UNTIL(stopped > before);
	on_speech(-1, 0, NULL);
	assert_no_process();
}

static void
await_zombie(pid_t pid)
{
	siginfo_t info;

	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

struct death {
	int code, sig;
};

static void
die(struct child *child, struct death how)
{
	union sigval value = { .sival_int = how.code };
	pid_t pid = child_pid(child);

	if (how.sig != 0)
		ck_assert_int_eq(kill(pid, how.sig), 0);
	else
		ck_assert_int_eq(sigqueue(pid, SIGUSR1, value), 0);
}

static const struct death killed = { 0, SIGKILL };

static void
assert_died_of(struct death how)
{
	if (how.sig != 0) {
		ck_assert(WIFSIGNALED(last.status));
		ck_assert_int_eq(WTERMSIG(last.status), how.sig);
	} else {
		ck_assert(WIFEXITED(last.status));
		ck_assert_int_eq(WEXITSTATUS(last.status), how.code);
	}
}

/* --- every strategy, every way to die, every restart type --------------- */

static const enum strategy strategies[] = { ONE_FOR_ONE, ONE_FOR_ALL,
	REST_FOR_ONE, DYNAMIC };
static const enum restart restarts[] = { RESTART_PERMANENT, RESTART_TRANSIENT,
	RESTART_TEMPORARY };
static const struct death deaths[] = { { EXIT_NORMAL, 0 }, { EXIT_SHUTDOWN, 0 },
	{ EXIT_CRASH, 0 }, { EXIT_START, 0 }, { 77, 0 }, { 0, SIGSEGV },
	{ 0, SIGABRT }, { 0, SIGKILL }, { 0, SIGHUP } };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool
restarts_after(enum restart restart, struct death how)
{
	bool normal = how.sig == 0 &&
	    (how.code == EXIT_NORMAL || how.code == EXIT_SHUTDOWN);

	return restart == RESTART_PERMANENT ||
	    (restart == RESTART_TRANSIENT && !normal);
}

/* What is seen on the wire when b dies and is restarted. */
static const char *
wire_of(enum strategy strategy)
{
	switch (strategy) {
	case ONE_FOR_ONE:
	case DYNAMIC:
		return "+b";
	case ONE_FOR_ALL:
		return "-c-a+a+b+c";
	case REST_FOR_ONE:
		return "-c+b+c";
	}
	return NULL;
}

static const char *
told_of(enum strategy strategy)
{
	switch (strategy) {
	case ONE_FOR_ONE:
	case DYNAMIC:
		return "!b+b";
	case ONE_FOR_ALL:
		return "!b!c!a+a+b+c";
	case REST_FOR_ONE:
		return "!b!c+b+c";
	}
	return NULL;
}

static void
assert_stopped_in_order(enum strategy strategy, bool with_b)
{
	if (strategy != DYNAMIC) {
		assert_wire(with_b ? "-c-b-a" : "-c-a");
		ck_assert_str_eq(told, with_b ? "-c-b-a" : "-c-a");
		return;
	}
	ck_assert_uint_eq(strlen(wire), with_b ? 6 : 4);
	ck_assert_uint_eq(strlen(told), with_b ? 6 : 4);
}

static void
b_dies(enum strategy strategy, enum restart restart, struct death how)
{
	struct supervisor_flags flags = flags_of(strategy);
	bool again = restarts_after(restart, how);
	size_t known = 3;

	forget();
	cast(restart);
	play(&flags);
	forget();
	die(b.child, how);
	if (again) {
		UNTIL(strcmp(told, told_of(strategy)) == 0);
		assert_wire(wire_of(strategy));
		ck_assert(all_ready());
	} else {
		UNTIL(died == 1);
		ck_assert_str_eq(told, "-b");
		assert_died_of(how);
		ck_assert(!last.asked && !last.hung && last.ready);
		ck_assert_uint_eq(last.restarts, 0);
		if (strategy == DYNAMIC || restart == RESTART_TEMPORARY)
			known = 2;
	}
	ck_assert_uint_eq(supervisor_count_children(sup).specs, known);
	ck_assert_uint_eq(supervisor_count_children(sup).active, again ? 3 : 2);

	forget();
	close_play();
	assert_stopped_in_order(strategy, again);
	ck_assert_uint_eq(b.nstarts, again ? 2 : 1);
	ck_assert_int_eq(gave_up, 0);
}

START_TEST(every_death)
{
	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++)
		for (size_t j = 0; j < COUNT(restarts); j++)
			for (size_t k = 0; k < COUNT(deaths); k++)
				b_dies(strategies[i], restarts[j], deaths[k]);
	tear_down();
}
END_TEST

/* --- a restart that fails ------------------------------------------------ */

/* b dies, fails to start in the given way, and starts then. */
static void
b_fails_once(enum strategy strategy, enum restart restart, enum life way)
{
	struct supervisor_flags flags = flags_of(strategy);
	bool again = way != IGNORES_AT_START;

	forget();
	cast(restart);
	LET(&b, LIVES, way, LIVES);
	play(&flags);
	forget();
	die(b.child, killed);
	if (!again) {
		/* OTP's ignore: gone, and that is well. */
		UNTIL(last.verdict == VERDICT_GONE && died > 0 && !last.ready);
		UNTIL(strategy == ONE_FOR_ONE || strategy == DYNAMIC ||
		    strstr(wire, "+c") != NULL);
		ck_assert_int_eq(last.status, 0);
		ck_assert_uint_eq(b.nstarts, 2);
	} else {
		UNTIL(b.nstarts == 3 && all_ready());
		ck_assert_int_ge(b.started[2] - b.started[1], 10);
		ck_assert_uint_eq(b.child->backoff, 0); /* since it is ready */
	}
	ck_assert_int_eq(gave_up, 0);
	close_play();
}

START_TEST(every_failed_start)
{
	static const enum life ways[] = { LATE_AT_START, EXITS_AT_START,
		IGNORES_AT_START, FORK_FAILS };

	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++)
		for (size_t j = 0; j < COUNT(ways); j++) {
			b_fails_once(strategies[i], RESTART_PERMANENT, ways[j]);
			b_fails_once(strategies[i], RESTART_TRANSIENT, ways[j]);
		}
	tear_down();
}
END_TEST

/* Each failed try counts, and is told with what it was. */
START_TEST(failed_starts_count)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);

	set_up();
	cast(RESTART_PERMANENT);
	flags.intensity = 3;
	LET(&b, LIVES, EXITS_AT_START, LATE_AT_START, FORK_FAILS);
	play(&flags);
	forget();
	die(b.child, killed);
	UNTIL(gave_up == 1);
	/* The second fork that fails is the fourth try, and one too many. */
	ck_assert_str_eq(told, "!b!b!bxb-c-a");
	ck_assert_uint_eq(b.nstarts, 4);
	close_play();
	tear_down();
}
END_TEST

static struct obituary seen[16];

static void
on_died_noting(struct supervisor *s, struct child *child,
    const struct obituary *o, void *arg)
{
	ck_assert_int_lt(died, 16);
	seen[died] = *o;
	on_died(s, child, o, arg);
}

static const struct supervisor_callbacks noting = {
	.ready = on_ready,
	.died = on_died_noting,
	.booted = on_booted,
	.gave_up = on_gave_up,
};

START_TEST(obituaries)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);
	struct obituary *o = seen;

	set_up();
	cast(RESTART_PERMANENT);
	flags.intensity = 5;
	flags.period = 30;
	LET(&b, LIVES, LATE_AT_START, DEAF);
	specs[1].shutdown = LIMIT;
	sup = supervisor_start(base, &flags, &noting, NULL, specs, 3);
	UNTIL(booted == 1);
	die(b.child, (struct death){ 0, SIGSEGV });
	UNTIL(died == 2 && all_ready());
	ck_assert(o->ready && !o->hung && !o->asked);
	ck_assert_int_eq(WTERMSIG(o->status), SIGSEGV);
	ck_assert_int_eq(o->verdict, VERDICT_RESTART);
	ck_assert_uint_eq(o->restarts, 1);
	ck_assert_uint_eq(o->intensity, 5);
	ck_assert_uint_eq(o->period, 30);
	o++; /* it was not ready in time */
	ck_assert(!o->ready && o->hung && !o->asked);
	ck_assert_int_eq(WTERMSIG(o->status), SIGKILL);
	ck_assert_uint_eq(o->restarts, 2);
	o++; /* it did not end in time */
	supervisor_terminate_child(sup, b.child);
	UNTIL(died == 3);
	ck_assert(o->ready && o->hung && o->asked);
	ck_assert_int_eq(WTERMSIG(o->status), SIGKILL);
	ck_assert_int_eq(o->verdict, VERDICT_GONE);
	close_play();
	tear_down();
}
END_TEST

/* --- boot ---------------------------------------------------------------- */

START_TEST(boot_that_fails)
{
	static const enum life ways[] = { LATE_AT_START, EXITS_AT_START,
		FORK_FAILS };

	set_up();
	for (size_t i = 0; i < 3; i++)
		for (size_t j = 0; j < COUNT(ways); j++) {
			struct supervisor_flags flags = flags_of(strategies[i]);

			forget();
			cast(RESTART_PERMANENT);
			flags.escalation = ESCALATE_BACK_OFF;
			LET(&c, ways[j]);
			sup = supervisor_start(
			    base, &flags, &callbacks, NULL, specs, 3);
			UNTIL(gave_up == 1);
			assert_wire("+a+b-b-a");
			ck_assert_str_eq(told, "+a+b-c-b-a");
			ck_assert_int_eq(booted, 0);
			ck_assert_uint_eq(c.nstarts, 1);
			errno = 0;
			ck_assert_ptr_null(
			    supervisor_start_child(sup, &specs[0]));
			ck_assert_int_eq(errno, ESHUTDOWN);
			close_play();
			ck_assert_int_eq(stopped, 1);
			ck_assert_int_eq(gave_up, 1);
		}
	tear_down();
}
END_TEST

START_TEST(boot_of_none_and_of_ids_that_clash)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);

	set_up();
	sup = supervisor_start(base, &flags, &callbacks, NULL, NULL, 0);
	UNTIL(booted == 1);
	close_play();

	cast(RESTART_PERMANENT);
	specs[2].id = "a";
	errno = 0;
	ck_assert_ptr_null(
	    supervisor_start(base, &flags, &callbacks, NULL, specs, 3));
	ck_assert_int_eq(errno, EEXIST);
	tear_down();
}
END_TEST

/* One that is not needed does not hold up the others. */
START_TEST(boot_with_one_that_is_not_needed)
{
	struct supervisor_flags flags = flags_of(REST_FOR_ONE);

	set_up();
	cast(RESTART_PERMANENT);
	LET(&b, IGNORES_AT_START);
	sup = supervisor_start(base, &flags, &callbacks, NULL, specs, 3);
	UNTIL(booted == 1);
	ck_assert_str_eq(told, "+a-b+c");
	ck_assert_uint_eq(supervisor_count_children(sup).specs, 3);
	ck_assert_uint_eq(supervisor_count_children(sup).active, 2);
	close_play();
	tear_down();
}
END_TEST

START_TEST(boot_waits_for_each)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ALL);

	set_up();
	cast(RESTART_PERMANENT);
	LET(&b, WAITS_AT_START);
	sup = supervisor_start(base, &flags, &callbacks, NULL, specs, 3);
	UNTIL(strcmp(wire, "+a~b") == 0 && strcmp(told, "+a") == 0);
	/* a dies meanwhile: that waits until all were started. */
	die(a.child, killed);
	UNTIL(child_pid(a.child) == -1);
	ck_assert_int_eq(died, 0);
	ck_assert_uint_eq(c.nstarts, 0);
	LET(&b, WAITS_AT_START, LIVES);
	kill(child_pid(b.child), SIGUSR2);
	UNTIL(strcmp(told, "+a+b+c!a!c!b+a+b+c") == 0);
	ck_assert_int_eq(booted, 1);
	close_play();
	tear_down();
}
END_TEST

/* Ready once forked. */
START_TEST(boot_without_start_limit)
{
	struct supervisor_flags flags = flags_of(REST_FOR_ONE);

	set_up();
	cast(RESTART_PERMANENT);
	for (size_t i = 0; i < 3; i++)
		specs[i].start_limit = 0;
	LET(&b, HANGS_AT_START);
	sup = supervisor_start(base, &flags, &callbacks, NULL, specs, 3);
	ck_assert_str_eq(told, ""); /* nothing from inside of a call */
	UNTIL(booted == 1);
	ck_assert_str_eq(told, "+a+b+c");
	UNTIL(strlen(wire) == 4);
	close_play();
	ck_assert_str_eq(told, "+a+b+c-c-b-a");
	tear_down();
}
END_TEST

START_TEST(stop_while_booting)
{
	set_up();
	for (size_t i = 0; i < 3; i++) {
		struct supervisor_flags flags = flags_of(strategies[i]);

		forget();
		cast(RESTART_PERMANENT);
		LET(&b, HANGS_AT_START); /* for LONG, so it must be killed */
		sup = supervisor_start(
		    base, &flags, &callbacks, NULL, specs, 3);
		UNTIL(b.nstarts == 1);
		UNTIL(strcmp(told, "+a") == 0);
		close_play();
		assert_wire("+a-a");
		ck_assert_str_eq(told, "+a-b-a");
		ck_assert_uint_eq(c.nstarts, 0);
		ck_assert_int_eq(booted, 0);
	}
	/* Before anything was started, too. */
	for (size_t i = 0; i < 3; i++) {
		struct supervisor_flags flags = flags_of(strategies[i]);

		forget();
		cast(RESTART_PERMANENT);
		sup = supervisor_start(
		    base, &flags, &callbacks, NULL, specs, 3);
		close_play();
		ck_assert_uint_eq(a.nstarts, 0);
	}
	tear_down();
}
END_TEST

/* --- one restart for many deaths ---------------------------------------- */

START_TEST(deaths_within_a_group_restart)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ALL);

	set_up();
	cast(RESTART_PERMANENT);
	flags.intensity = 1; /* two would be too many */
	play(&flags);
	forget();
	die(b.child, killed);
	die(c.child, killed);
	await_zombie(child_pid(b.child));
	await_zombie(child_pid(c.child));
	UNTIL(strstr(told, "+a+b+c") != NULL);
	assert_wire("-a+a+b+c");
	ck_assert_int_eq(died, 3);
	ck_assert_int_eq(gave_up, 0);
	close_play();
	tear_down();
}
END_TEST

/* a is no part of the restart of b and c: its death comes to its own. */
START_TEST(deaths_beside_a_group_restart)
{
	struct supervisor_flags flags = flags_of(REST_FOR_ONE);

	set_up();
	cast(RESTART_PERMANENT);
	LET(&c, LIVES, WAITS_AT_START, LIVES);
	play(&flags);
	forget();
	die(b.child, killed);
	UNTIL(strstr(wire, "~c") != NULL);
	die(a.child, killed);
	UNTIL(child_pid(a.child) == -1);
	ck_assert_str_eq(told, "!b!c+b");
	kill(child_pid(c.child), SIGUSR2);
	UNTIL(strcmp(told, "!b!c+b+c!a!c!b+a+b+c") == 0);
	close_play();
	tear_down();
}
END_TEST

/* The temporary are not restarted with others, the ended transient are. */
START_TEST(who_is_restarted_with_others)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ALL);

	set_up();
	cast(RESTART_TEMPORARY);
	specs[2].restart = RESTART_TRANSIENT;
	play(&flags);
	die(c.child, (struct death){ EXIT_NORMAL, 0 });
	UNTIL(died == 1);
	forget();
	die(a.child, killed);
	UNTIL(strcmp(told, "!a-b+a+c") == 0);
	ck_assert_uint_eq(supervisor_count_children(sup).specs, 2);
	forget();
	close_play();
	assert_wire("-c-a");
	tear_down();
}
END_TEST

/* --- stop ---------------------------------------------------------------- */

START_TEST(deaf_children_are_killed)
{
	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++) {
		struct supervisor_flags flags = flags_of(strategies[i]);

		forget();
		cast(RESTART_PERMANENT);
		LET(&b, DEAF);
		specs[1].shutdown = LIMIT;
		play(&flags);
		forget();
		if (strategies[i] == ONE_FOR_ALL) {
			die(c.child, killed);
			UNTIL(strcmp(told, "!c!b!a+a+b+c") == 0);
			forget();
		}
		close_play();
		ck_assert_int_eq(died, 3);
		if (strategies[i] != DYNAMIC) {
			assert_wire("-c-a");
			ck_assert_str_eq(told, "-c-b-a");
		}
	}
	tear_down();
}
END_TEST

START_TEST(brutal_kill)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);

	set_up();
	cast(RESTART_PERMANENT);
	specs[1].shutdown = SHUTDOWN_BRUTAL_KILL;
	sup = supervisor_start(base, &flags, &noting, NULL, specs, 3);
	UNTIL(booted == 1);
	forget();
	close_play();
	assert_wire("-c-a");
	ck_assert_str_eq(told, "-c-b-a");
	ck_assert_int_eq(WTERMSIG(seen[1].status), SIGKILL);
	ck_assert(seen[1].asked && !seen[1].hung);
	tear_down();
}
END_TEST

START_TEST(infinity)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);

	set_up();
	cast(RESTART_PERMANENT);
	LET(&b, DEAF);
	specs[1].shutdown = SHUTDOWN_INFINITY;
	play(&flags);
	forget();
	supervisor_stop(sup, on_stopped, NULL);
	UNTIL(strcmp(told, "-c") == 0);
	UNTIL(b.child->asked);
	ck_assert_int_eq(b.child->deadline, -1);
	child_kill(b.child);
	UNTIL(stopped == 1);
	ck_assert_str_eq(told, "-c-b-a");
	tear_down();
}
END_TEST

static void
ask_by_signal(struct child *child, void *arg)
{
	append(told, sizeof told, "?", child_id(child));
	die(child, (struct death){ EXIT_SHUTDOWN, 0 });
}

/* Dynamic children are all asked before any is awaited. */
START_TEST(dynamic_children_are_asked_at_once)
{
	struct supervisor_flags flags = flags_of(DYNAMIC);

	set_up();
	cast(RESTART_PERMANENT);
	for (size_t i = 0; i < 3; i++)
		specs[i].ask = ask_by_signal;
	play(&flags);
	forget();
	close_play();
	ck_assert_int_eq(strncmp(told, "?a?b?c-", 7), 0);
	ck_assert_int_eq(died, 3);
	tear_down();
}
END_TEST

START_TEST(stop_twice_and_of_none)
{
	struct supervisor_flags flags = flags_of(DYNAMIC);

	set_up();
	sup = supervisor_start(base, &flags, &callbacks, NULL, NULL, 0);
	UNTIL(booted == 1);
	supervisor_stop(sup, on_stopped, NULL);
	supervisor_stop(sup, NULL, NULL);
	UNTIL(stopped == 1);

	forget();
	flags.strategy = REST_FOR_ONE;
	cast(RESTART_TRANSIENT);
	play(&flags);
	supervisor_stop(sup, on_stopped, NULL);
	supervisor_stop(sup, on_stopped, NULL);
	UNTIL(stopped == 1);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(stopped, 1);
	tear_down();
}
END_TEST

/* --- intensity ----------------------------------------------------------- */

START_TEST(the_period_has_an_edge)
{
	struct restarts r = { 0 };

	/* Two within 5 s: the edge belongs to the period, as in OTP. */
	ck_assert_uint_eq(restarts_add(&r, 2, 5, 1000), 1);
	ck_assert_uint_eq(restarts_add(&r, 2, 5, 1000), 2);
	ck_assert_uint_eq(restarts_add(&r, 2, 5, 6000), 3);
	ck_assert_uint_eq(restarts_add(&r, 2, 5, 6001), 2);
	ck_assert_uint_eq(restarts_add(&r, 2, 5, 11001), 2);
	ck_assert_uint_eq(restarts_add(&r, 2, 5, 20000), 1);
	/* The ring does not grow beyond what it needs. */
	for (int i = 0; i < 100; i++)
		ck_assert_uint_le(restarts_add(&r, 2, 5, 20000 + i), 3);
	ck_assert_uint_le(r.size, 3);
	free(r.times);

	memset(&r, 0, sizeof r);
	for (unsigned i = 1; i <= 100; i++)
		ck_assert_uint_eq(restarts_add(&r, 100000, 10, i), i);
	ck_assert_uint_eq(restarts_add(&r, 100000, 10, 10050), 52);
	free(r.times);

	memset(&r, 0, sizeof r);
	for (unsigned i = 1; i <= 1000; i++)
		ck_assert_uint_eq(restarts_add(&r, 0, 1, i), i);
	ck_assert_uint_eq(restarts_add(&r, 0, 1, 2001), 1);
	ck_assert_ptr_null(r.times);
}
END_TEST

static void
exhaust(enum strategy strategy, enum intensity_scope scope)
{
	struct supervisor_flags flags = flags_of(strategy);
	bool only_b = strategy == DYNAMIC && scope == INTENSITY_PER_CHILD;

	forget();
	cast(RESTART_TRANSIENT);
	flags.scope = scope;
	if (scope == INTENSITY_PER_CHILD) {
		flags.intensity = 1;
		specs[1].intensity = 3;
	} else {
		flags.intensity = 3;
		specs[1].intensity = 1;
	}
	play(&flags);
	for (unsigned i = 1; i <= 3; i++) {
		forget();
		die(b.child, (struct death){ 77, 0 });
		UNTIL(strcmp(told, told_of(strategy)) == 0);
		ck_assert_int_eq(gave_up, 0);
	}
	/* Those that end as they should do not count. */
	forget();
	die(b.child, (struct death){ 77, 0 });
	if (only_b) {
		UNTIL(died == 1);
		ck_assert_str_eq(told, "xb");
		ck_assert_uint_eq(supervisor_count_children(sup).specs, 2);
		ck_assert_uint_eq(supervisor_count_children(sup).active, 2);
		ck_assert_uint_eq(last.restarts, 4);
		ck_assert_uint_eq(last.intensity, 3);
		ck_assert_uint_eq(last.period, 60);
	} else {
		UNTIL(gave_up == 1);
		if (strategy != DYNAMIC) {
			ck_assert_str_eq(told, "xb-c-a");
			assert_wire("-c-a");
		}
		ck_assert_int_eq(died, 3);
	}
	close_play();
	ck_assert_int_eq(gave_up, only_b ? 0 : 1);
	ck_assert_uint_eq(b.nstarts, 4);
}

START_TEST(intensity_per_supervisor)
{
	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++)
		exhaust(strategies[i], INTENSITY_PER_SUPERVISOR);
	tear_down();
}
END_TEST

START_TEST(intensity_per_child)
{
	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++)
		exhaust(strategies[i], INTENSITY_PER_CHILD);
	tear_down();
}
END_TEST

/* Per supervisor the deaths of all add up; per child they do not. */
START_TEST(whose_restarts_count)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);
	struct actor *actors[] = { &a, &b, &c };

	set_up();
	for (int scope = 0; scope < 2; scope++) {
		forget();
		cast(RESTART_PERMANENT);
		flags.scope = scope == 0 ? INTENSITY_PER_SUPERVISOR
					 : INTENSITY_PER_CHILD;
		flags.intensity = 2;
		for (size_t i = 0; i < 3; i++)
			specs[i].intensity = 1;
		play(&flags);
		for (size_t i = 0; i < 3; i++) {
			int before = died;

			die(actors[i]->child, killed);
			UNTIL(died > before && (gave_up == 1 || all_ready()));
			if (gave_up == 1)
				break;
		}
		ck_assert_int_eq(gave_up, scope == 0);
		close_play();
	}
	tear_down();
}
END_TEST

START_TEST(intensity_0_is_unlimited)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);

	set_up();
	cast(RESTART_PERMANENT);
	flags.intensity = 0;
	play(&flags);
	for (unsigned i = 1; i <= 60; i++) {
		forget();
		die(b.child, killed);
		UNTIL(died == 1 && all_ready());
		ck_assert_int_eq(last.verdict, VERDICT_RESTART);
		ck_assert_uint_eq(last.restarts, i);
		ck_assert_uint_eq(b.child->backoff, 0);
	}
	close_play();
	tear_down();
}
END_TEST

/* --- back-off ------------------------------------------------------------ */

START_TEST(back_off)
{
	static const int pauses[] = { 0, 0, 10, 20, 40, 50, 50, 50 };

	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++) {
		struct supervisor_flags flags = flags_of(strategies[i]);

		forget();
		cast(RESTART_PERMANENT);
		flags.escalation = ESCALATE_BACK_OFF;
		flags.intensity = 2;
		flags.period = 60;
		flags.backoff_max = 50;
		play(&flags);
		for (size_t j = 0; j < COUNT(pauses); j++) {
			long long now = monotonic_ms();
			size_t starts = b.nstarts;

			die(b.child, killed);
			UNTIL(b.nstarts == starts + 1 && all_ready());
			ck_assert_uint_eq(
			    b.child->backoff, (unsigned)pauses[j]);
			ck_assert_int_ge(b.started[starts] - now, pauses[j]);
		}
		ck_assert_int_eq(gave_up, 0);
		close_play();
	}
	tear_down();
}
END_TEST

static void
on_alarm(evutil_socket_t fd, short what, void *arg)
{
	*(bool *)arg = true;
}

/* Who has run for longer than a period starts afresh. The period is short only
 * when it has to pass. */
START_TEST(back_off_is_forgotten)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);
	struct timeval tv = { 1, 100000 };
	bool late = false;
	size_t starts;

	set_up();
	cast(RESTART_PERMANENT);
	flags.escalation = ESCALATE_BACK_OFF;
	flags.scope = INTENSITY_PER_CHILD;
	specs[1].intensity = 1;
	play(&flags);
	for (int i = 0; i < 4; i++) {
		starts = b.nstarts;
		die(b.child, killed);
		UNTIL(b.nstarts == starts + 1 && all_ready());
	}
	ck_assert(b.child->backing_off);
	ck_assert_uint_eq(b.child->backoff, 40);
	b.child->spec.period = 1;
	event_base_once(base, -1, EV_TIMEOUT, on_alarm, &late, &tv);
	UNTIL(late);
	die(b.child, killed);
	UNTIL(b.nstarts == starts + 2 && all_ready());
	ck_assert(!b.child->backing_off);
	ck_assert_uint_eq(b.child->backoff, 0);
	close_play();
	tear_down();
}
END_TEST

/* Forks that fail go on under ESCALATE_BACK_OFF for as long as it takes. */
START_TEST(forks_that_fail_back_off)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ALL);

	set_up();
	cast(RESTART_PERMANENT);
	flags.escalation = ESCALATE_BACK_OFF;
	flags.intensity = 2;
	flags.backoff_max = 20;
	LET(&b, LIVES, FORK_FAILS, FORK_FAILS, FORK_FAILS, FORK_FAILS,
	    FORK_FAILS, LIVES);
	play(&flags);
	forget();
	die(b.child, killed);
	UNTIL(b.nstarts == 7 && all_ready());
	/* Nobody is told of a death that was none. */
	ck_assert_int_eq(strncmp(told, "!b!c!a+a!a+a!a", 14), 0);
	ck_assert_int_ge(b.started[6] - b.started[1], 10 + 4 * 20);
	close_play();
	tear_down();
}
END_TEST

/* --- start_child, terminate_child, child_kill ---------------------------- */

START_TEST(start_child_errors)
{
	struct supervisor_flags flags = flags_of(DYNAMIC);
	struct actor d = { .nlives = 0 };
	struct child_spec spec = spec_of(&d, "d", RESTART_PERMANENT);

	set_up();
	cast(RESTART_PERMANENT);
	flags.max_children = 3;
	play(&flags);
	errno = 0;
	ck_assert_ptr_null(supervisor_start_child(sup, &spec));
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_uint_eq(d.nstarts, 0);

	/* A place that is free again is used again. */
	supervisor_terminate_child(sup, b.child);
	UNTIL(died == 1);
	forks_to_fail = 1;
	errno = 0;
	ck_assert_ptr_null(supervisor_start_child(sup, &spec));
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_uint_eq(supervisor_count_children(sup).specs, 2);
	ck_assert_ptr_nonnull(supervisor_start_child(sup, &spec));
	/* In a dynamic supervisor an id may occur often. */
	ck_assert_ptr_null(supervisor_start_child(sup, &spec));
	ck_assert_int_eq(errno, ENOSPC);
	UNTIL(child_is_ready(d.child));
	supervisor_stop(sup, on_stopped, NULL);
	errno = 0;
	ck_assert_ptr_null(supervisor_start_child(sup, &spec));
	ck_assert_int_eq(errno, ESHUTDOWN);
	UNTIL(stopped == 1);
	tear_down();
}
END_TEST

START_TEST(start_child_of_static)
{
	set_up();
	for (size_t i = 0; i < 3; i++) {
		struct supervisor_flags flags = flags_of(strategies[i]);
		struct actor d = { .nlives = 0 }, e = { .nlives = 0 };
		struct child_spec ds = spec_of(&d, "d", RESTART_PERMANENT);
		struct child_spec es = spec_of(&e, "e", RESTART_PERMANENT);

		forget();
		cast(RESTART_PERMANENT);
		play(&flags);
		errno = 0;
		ck_assert_ptr_null(supervisor_start_child(sup, &specs[1]));
		ck_assert_int_eq(errno, EEXIST);
		forks_to_fail = 1;
		ck_assert_ptr_null(supervisor_start_child(sup, &ds));
		ck_assert_int_eq(errno, EAGAIN);
		ck_assert_uint_eq(supervisor_count_children(sup).specs, 3);

		forget();
		d.nstarts = 0;
		LET(&d, WAITS_AT_START, LIVES);
		ck_assert_ptr_nonnull(supervisor_start_child(sup, &ds));
		ck_assert_ptr_nonnull(supervisor_start_child(sup, &es));
		/* e waits until d is ready. */
		ck_assert_uint_eq(d.nstarts, 1);
		ck_assert_uint_eq(e.nstarts, 0);
		UNTIL(strcmp(wire, "~d") == 0);
		kill(child_pid(d.child), SIGUSR2);
		UNTIL(strcmp(told, "+d+e") == 0);
		/* They belong to the others now. */
		if (strategies[i] == REST_FOR_ONE) {
			forget();
			die(c.child, killed);
			UNTIL(strcmp(told, "!c!e!d+c+d+e") == 0);
		}
		forget();
		close_play();
		assert_wire("-e-d-c-b-a");
	}
	tear_down();
}
END_TEST

/* The first start of an added child is not tried again, whatever its type. */
START_TEST(added_child_that_fails)
{
	static const enum life ways[] = { EXITS_AT_START, LATE_AT_START };

	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++)
		for (size_t j = 0; j < COUNT(ways); j++) {
			struct supervisor_flags flags = flags_of(strategies[i]);
			struct actor d = { .nlives = 0 };
			struct child_spec spec = spec_of(
			    &d, "d", RESTART_PERMANENT);

			forget();
			cast(RESTART_PERMANENT);
			play(&flags);
			forget();
			LET(&d, ways[j]);
			ck_assert_ptr_nonnull(
			    supervisor_start_child(sup, &spec));
			UNTIL(died == 1);
			ck_assert_str_eq(told, "-d");
			ck_assert(!last.ready);
			ck_assert_int_eq(last.hung, ways[j] == LATE_AT_START);
			ck_assert_uint_eq(
			    supervisor_count_children(sup).specs, 3);
			close_play();
			ck_assert_uint_eq(d.nstarts, 1);
		}
	tear_down();
}
END_TEST

/* It waited for its turn, and then its fork failed. */
START_TEST(added_child_whose_fork_fails_later)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ALL);
	struct actor d = { .nlives = 0 }, e = { .nlives = 0 };
	struct child_spec ds = spec_of(&d, "d", RESTART_PERMANENT);
	struct child_spec es = spec_of(&e, "e", RESTART_PERMANENT);

	set_up();
	cast(RESTART_PERMANENT);
	LET(&d, FORK_FAILS);
	sup = supervisor_start(base, &flags, &callbacks, NULL, specs, 3);
	ck_assert_ptr_nonnull(supervisor_start_child(sup, &ds));
	ck_assert_ptr_nonnull(supervisor_start_child(sup, &es));
	UNTIL(booted == 1);
	ck_assert_str_eq(told, "+a+b+c-d+e");
	ck_assert_int_eq(last.pid, -1);
	close_play();
	assert_wire("+a+b+c+e-e-c-b-a");
	tear_down();
}
END_TEST

START_TEST(terminate_child)
{
	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++)
		for (size_t j = 0; j < COUNT(restarts); j++) {
			struct supervisor_flags flags = flags_of(strategies[i]);
			bool kept = strategies[i] != DYNAMIC &&
			    restarts[j] != RESTART_TEMPORARY;

			forget();
			cast(restarts[j]);
			play(&flags);
			forget();
			supervisor_terminate_child(sup, b.child);
			ck_assert_int_eq(died, 0);
			UNTIL(died == 1);
			on_speech(-1, 0, NULL);
			ck_assert_str_eq(told, "-b");
			assert_wire("-b");
			ck_assert(last.asked && !last.hung);
			ck_assert_uint_eq(
			    supervisor_count_children(sup).specs, kept ? 3 : 2);
			if (kept) /* again: nothing */
				supervisor_terminate_child(sup, b.child);
			/* It stays away when the others are restarted. */
			if (strategies[i] == ONE_FOR_ALL) {
				forget();
				die(c.child, killed);
				UNTIL(strcmp(told, "!c!a+a+c") == 0);
			}
			forget();
			close_play();
			ck_assert_int_eq(died, 2);
			ck_assert_uint_eq(b.nstarts, 1);
		}
	tear_down();
}
END_TEST

/* Between two lives: nothing dies, but the owner is told that this is all. */
START_TEST(terminate_child_that_pauses)
{
	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++) {
		struct supervisor_flags flags = flags_of(strategies[i]);

		forget();
		cast(RESTART_PERMANENT);
		flags.intensity = 0;
		flags.backoff_max = 1000000;
		LET(&b, LIVES, FORK_FAILS);
		play(&flags);
		forget();
		b.child->backoff = 400000; /* a pause longer than the test */
		b.child->backing_off = true;
		die(b.child, killed);
		UNTIL(strchr(told, '!') != NULL);
		if (strategies[i] == ONE_FOR_ALL)
			UNTIL(died == 3);
		if (strategies[i] == REST_FOR_ONE)
			UNTIL(died == 2);
		ck_assert_int_eq(b.child->state, CHILD_PAUSED);
		supervisor_terminate_child(sup, b.child);
		UNTIL(last.verdict == VERDICT_GONE);
		ck_assert_int_eq(last.pid, -1);
		close_play();
		ck_assert_uint_eq(b.nstarts, 1);
	}
	tear_down();
}
END_TEST

START_TEST(stop_while_children_pause)
{
	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++) {
		struct supervisor_flags flags = flags_of(strategies[i]);

		forget();
		cast(RESTART_PERMANENT);
		flags.backoff_max = 1000000;
		play(&flags);
		forget();
		b.child->backoff = 400000;
		b.child->backing_off = true;
		die(b.child, killed);
		UNTIL(strchr(told, '!') != NULL);
		close_play();
		/* Each was told that it is gone, once. */
		ck_assert_ptr_nonnull(strstr(told, "-a"));
		ck_assert_ptr_nonnull(strstr(told, "-b"));
		ck_assert_ptr_nonnull(strstr(told, "-c"));
		ck_assert_uint_eq(b.nstarts, 1);
	}
	tear_down();
}
END_TEST

START_TEST(killed_by_its_owner)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);

	set_up();
	cast(RESTART_PERMANENT);
	play(&flags);
	forget();
	child_kill(b.child);
	UNTIL(strcmp(told, "!b+b") == 0);
	ck_assert_int_eq(WTERMSIG(last.status), SIGKILL);
	ck_assert(!last.hung && !last.asked);
	ck_assert_uint_eq(last.restarts, 1);
	supervisor_terminate_child(sup, b.child);
	UNTIL(died == 2);
	child_kill(b.child); /* not running: nothing */
	close_play();
	tear_down();
}
END_TEST

static void
count_one(struct child *child, void *arg)
{
	size_t *n = arg;

	ck_assert_ptr_eq(child_supervisor(child), sup);
	ck_assert_ptr_eq(supervisor_find_pid(sup, child_pid(child)), child);
	(*n)++;
}

static void
kill_and_reap(struct child *child, void *arg)
{
	await_zombie(child_pid(child));
	ck_assert(reaper_try(reaper, child_pid(child)));
	ck_assert_int_eq(child_pid(child), -1);
}

START_TEST(which_children)
{
	struct supervisor_flags flags = flags_of(DYNAMIC);
	size_t n = 0;

	set_up();
	cast(RESTART_TEMPORARY);
	specs[0].restart = specs[2].restart = RESTART_TEMPORARY;
	play(&flags);
	supervisor_which_children(sup, count_one, &n);
	ck_assert_uint_eq(n, 3);
	ck_assert_str_eq(child_id(a.child), "a");
	ck_assert_ptr_eq(child_arg(a.child), &a);
	ck_assert_ptr_null(supervisor_find_pid(sup, getpid()));
	ck_assert_ptr_null(supervisor_find_pid(sup, -1));
	ck_assert(!supervisor_reap(sup, getpid(), 0));

	/* What is reaped meanwhile, as a sweep does, is freed later. */
	forget();
	child_kill(a.child);
	child_kill(b.child);
	child_kill(c.child);
	supervisor_which_children(sup, kill_and_reap, NULL);
	ck_assert_int_eq(died, 0);
	UNTIL(died == 3);
	ck_assert_uint_eq(supervisor_count_children(sup).specs, 0);
	close_play();
	tear_down();
}
END_TEST

/* --- what callbacks may do ----------------------------------------------- */

static struct actor extra;
static enum { DO_TERMINATE, DO_START, DO_KILL, DO_STOP } deed;

static void
on_died_doing(struct supervisor *s, struct child *child,
    const struct obituary *o, void *arg)
{
	static struct child_spec spec;

	on_died(s, child, o, arg);
	if (died != 1)
		return;
	switch (deed) {
	case DO_TERMINATE:
		supervisor_terminate_child(s, child);
		supervisor_terminate_child(s, c.child);
		break;
	case DO_START:
		memset(&extra, 0, sizeof extra);
		spec = spec_of(&extra, "d", RESTART_TEMPORARY);
		ck_assert_ptr_nonnull(supervisor_start_child(s, &spec));
		break;
	case DO_KILL:
		child_kill(child); /* not running: nothing */
		child_kill(c.child);
		break;
	case DO_STOP:
		supervisor_stop(s, on_stopped, NULL);
		break;
	}
}

static const struct supervisor_callbacks doing = {
	.ready = on_ready,
	.died = on_died_doing,
	.booted = on_booted,
	.gave_up = on_gave_up,
};

static void
doing_play(enum strategy strategy, enum restart restart)
{
	struct supervisor_flags flags = flags_of(strategy);
	size_t n = strategy == DYNAMIC ? 0 : 3;

	forget();
	cast(restart);
	specs[2].restart = restart;
	sup = supervisor_start(base, &flags, &doing, NULL, specs, n);
	for (size_t i = n; i < 3; i++)
		ck_assert_ptr_nonnull(supervisor_start_child(sup, &specs[i]));
	UNTIL(booted == 1 && all_ready());
	forget();
	die(b.child, killed);
	switch (deed) {
	case DO_TERMINATE:
		/* b and c end for good; a lives, or lives again. */
		UNTIL(strstr(told, "-b") != NULL && strstr(told, "-c") != NULL);
		UNTIL(strategy != ONE_FOR_ALL || restart == RESTART_TEMPORARY ||
		    a.nstarts == 2);
		UNTIL(child_is_ready(a.child));
		break;
	case DO_START:
		UNTIL(strstr(told, "+d") != NULL);
		break;
	case DO_KILL:
		UNTIL(died >= 2);
		UNTIL(restart == RESTART_TEMPORARY || all_ready());
		break;
	case DO_STOP:
		UNTIL(stopped == 1);
		assert_no_process();
		return;
	}
	close_play();
}

START_TEST(callbacks_may_call)
{
	static const enum restart some[] = { RESTART_PERMANENT,
		RESTART_TEMPORARY };

	set_up();
	for (size_t i = 0; i < COUNT(strategies); i++)
		for (size_t j = 0; j < COUNT(some); j++)
			for (int k = DO_TERMINATE; k <= DO_STOP; k++) {
				deed = k;
				doing_play(strategies[i], some[j]);
			}
	tear_down();
}
END_TEST

static void
on_gave_up_freeing(struct supervisor *s, void *arg)
{
	on_gave_up(s, arg);
	supervisor_free(s);
	sup = NULL;
}

START_TEST(freed_by_gave_up)
{
	static const struct supervisor_callbacks frees = {
		.gave_up = on_gave_up_freeing
	};
	struct supervisor_flags flags = flags_of(ONE_FOR_ALL);

	set_up();
	cast(RESTART_PERMANENT);
	LET(&c, EXITS_AT_START);
	sup = supervisor_start(base, &flags, &frees, NULL, specs, 3);
	UNTIL(gave_up == 1);
	tear_down();
}
END_TEST

/* --- memory -------------------------------------------------------------- */

/* Is the page in the mappings of a forked process? */
static bool
inherited(const void *page)
{
	unsigned char in_core;
	void *start = (void *)((size_t)page & ~(size_t)4095);
	int status;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0)
		_exit(mincore(start, 1, &in_core) == 0 ? 1 : 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status) == 1;
}

START_TEST(children_do_not_inherit_the_table)
{
	struct supervisor_flags flags = flags_of(DYNAMIC);

	set_up();
	cast(RESTART_TEMPORARY);
	flags.max_children = 10000;
	play(&flags);
	ck_assert(!inherited(a.child));
	close_play();

	forget();
	cast(RESTART_TEMPORARY);
	flags.max_children = 0;
	play(&flags);
	ck_assert(inherited(a.child));
	close_play();
	tear_down();
}
END_TEST

START_TEST(tables)
{
	static const size_t limits[] = { 0, 500 };
	struct child_spec spec = { .id = "x", .start = actor_start };
	struct child *children[500];

	for (size_t i = 0; i < COUNT(limits); i++) {
		struct child_table table;

		ck_assert_int_eq(child_table_init(&table, limits[i]), 0);
		for (int round = 0; round < 3; round++) {
			for (pid_t j = 0; j < 500; j++) {
				children[j] = child_new(&table, &spec);
				ck_assert_ptr_nonnull(children[j]);
				child_set_pid(&table, children[j], 1 + j * 16);
				child_set_deadline(
				    &table, children[j], 1 + (j * 7919) % 503);
			}
			if (limits[i] != 0)
				ck_assert_ptr_null(child_new(&table, &spec));
			for (pid_t j = 0; j < 500; j++)
				ck_assert_ptr_eq(
				    child_find_pid(&table, 1 + j * 16),
				    children[j]);
			ck_assert_ptr_null(child_find_pid(&table, 2));
			for (long long before = 0, n = 0; n < 500; n++) {
				struct child *first = child_first_deadline(
				    &table);

				ck_assert_int_ge(first->deadline, before);
				before = first->deadline;
				child_set_deadline(&table, first, -1);
			}
			ck_assert_ptr_null(child_first_deadline(&table));
			for (pid_t j = 0; j < 500; j++) {
				child_clear_pid(&table, children[j]);
				ck_assert_ptr_null(
				    child_find_pid(&table, 1 + j * 16));
				child_free(&table, children[j]);
			}
			ck_assert_uint_eq(table.n, 0);
		}
		child_table_free(&table);
	}
}
END_TEST

/* --- the log ------------------------------------------------------------- */

static int log_fd, stderr_fd;

static void
capture(void)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	ck_assert_int_ne(log_fd, -1);
	ck_assert_int_ne(stderr_fd, -1);
	dup2(log_fd, STDERR_FILENO);
}

static void
captured(char *text, size_t size)
{
	ssize_t n = pread(log_fd, text, size - 1, 0);

	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	close(log_fd);
}

#define assert_logged(text, ...)                            \
	do {                                                \
		char line_[256];                            \
		snprintf(line_, sizeof line_, __VA_ARGS__); \
		ck_assert_msg(strstr(text, line_) != NULL,  \
		    "no line '%s' in:\n%s", line_, text);   \
	} while (0)

START_TEST(log_lines)
{
	struct supervisor_flags flags = flags_of(ONE_FOR_ONE);
	char text[8192];
	int first, second, third;

	set_up();
	log_setlevel(LOG_LEVEL_INFO);
	capture();
	cast(RESTART_PERMANENT);
	flags.name = "bennu_sup";
	flags.intensity = 3;
	flags.period = 10;
	LET(&b, LIVES, LIVES, FORK_FAILS, EXITS_AT_START);
	play(&flags);
	first = child_pid(b.child);
	forget();
	die(b.child, (struct death){ 0, SIGSEGV });
	UNTIL(strcmp(told, "!b+b") == 0);
	second = child_pid(b.child);
	third = child_pid(a.child);
	die(b.child, (struct death){ EXIT_NORMAL, 0 });
	UNTIL(gave_up == 1);
	captured(text, sizeof text);
	assert_logged(text, ": bennu_sup: started: b[%d] permanent\n", first);
	assert_logged(text,
	    ": bennu_sup: child_terminated: b[%d] permanent: signal 11 "
	    "(Segmentation fault), restart 1 of 3 in 10 s\n",
	    first);
	/* A permanent child must not end, not even normally. */
	assert_logged(text,
	    ": bennu_sup: child_terminated: b[%d] permanent: normal, "
	    "restart 2 of 3 in 10 s\n",
	    second);
	assert_logged(text,
	    ": bennu_sup: start_error: b permanent: fork: Resource "
	    "temporarily unavailable, restart 3 of 3 in 10 s, after 10 ms\n");
	assert_logged(text,
	    "permanent: could not start, restart 4 of 3 in "
	    "10 s: given up\n");
	assert_logged(
	    text, ": bennu_sup: shutdown: reached_max_restart_intensity: b\n");
	assert_logged(
	    text, ": bennu_sup: ended: a[%d] permanent: shutdown\n", third);
	close_play();
	tear_down();
}
END_TEST

static void
describe(struct child *child, char *buf, size_t size, void *arg)
{
	ck_assert_str_eq(buf, "");
	snprintf(buf, size, ", in the middle of %s", child_id(child));
}

START_TEST(log_lines_of_the_quiet)
{
	struct supervisor_flags flags = flags_of(DYNAMIC);
	char text[8192];
	int pid;

	set_up();
	log_setlevel(LOG_LEVEL_INFO);
	capture();
	cast(RESTART_TEMPORARY);
	flags.quiet = true;
	LET(&a, DEAF);
	specs[0].shutdown = LIMIT;
	specs[1].start_limit = START_LIMIT_INFINITY;
	sup = supervisor_start(base, &flags, &callbacks, NULL, NULL, 0);
	supervisor_describe(sup, describe);
	for (size_t i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(supervisor_start_child(sup, &specs[i]));
	ck_assert_int_eq(b.child->state, CHILD_STARTING);
	ck_assert_int_eq(b.child->deadline, -1);
	UNTIL(all_ready());
	pid = child_pid(a.child);
	forget();
	die(b.child, (struct death){ EXIT_NORMAL, 0 });
	UNTIL(died == 1);
	close_play();
	captured(text, sizeof text);
	ck_assert_ptr_null(strstr(text, "started"));
	ck_assert_ptr_null(strstr(text, "ended"));
	assert_logged(text,
	    "test_sup: shutdown_error: a[%d] permanent: killed, did not end "
	    "in %d ms, in the middle of a\n",
	    pid, LIMIT);
	tear_down();
}
END_TEST

/* --- random kills -------------------------------------------------------- */

#define TREES         3
#define TREE_CHILDREN 6
#define ROOM          24

static struct supervisor *trees[TREES + 1]; /* the last one is dynamic */
static struct actor players[TREES][TREE_CHILDREN];
static char names[TREES * TREE_CHILDREN][8];
static struct actor passers[ROOM];
static size_t kills, crashes, ends, free_passers[ROOM], nfree;

static void
on_speech_of_trees(evutil_socket_t fd, short what, void *arg)
{
	struct word word;
	struct child *child;

	while (read(wire_fds[0], &word, sizeof word) == sizeof word) {
		for (size_t i = 0; i <= TREES && word.sign == '+'; i++) {
			if (trees[i] == NULL)
				continue;
			child = supervisor_find_pid(trees[i], word.pid);
			if (child != NULL)
				child_ready(child);
		}
	}
}

static void
on_reaped_of_trees(pid_t pid, int status, void *arg)
{
	size_t owners = 0;

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		kills++;
	for (size_t i = 0; i <= TREES; i++) {
		if (trees[i] != NULL && supervisor_reap(trees[i], pid, status))
			owners++;
	}
	ck_assert_uint_eq(owners, 1); /* neither an orphan nor doubled */
}

static void
on_died_of_trees(struct supervisor *s, struct child *child,
    const struct obituary *o, void *arg)
{
	if (o->ready && !o->asked)
		crashes++;
	if (s != trees[TREES] || o->verdict == VERDICT_RESTART)
		return;
	ends++;
	free_passers[nfree++] = (size_t)((struct actor *)child_arg(child) -
	    passers);
}

static void
on_stopped_of_trees(struct supervisor *s, void *arg)
{
	supervisor_free(s);
	*(struct supervisor **)arg = NULL;
}

static void
start_passer(void)
{
	struct child_spec spec;
	size_t i;

	if (nfree == 0)
		return;
	i = free_passers[--nfree];
	memset(&passers[i], 0, sizeof passers[i]);
	spec = spec_of(&passers[i], "p", restarts[rand() % 3]);
	ck_assert_ptr_nonnull(supervisor_start_child(trees[TREES], &spec));
}

struct choice {
	size_t index;
	struct child *child;
};

static void
choose(struct child *child, void *arg)
{
	struct choice *choice = arg;

	if (choice->index-- == 0)
		choice->child = child;
}

static struct child *
random_child(struct supervisor *s)
{
	size_t n = supervisor_count_children(s).specs;
	struct choice choice = { 0 };

	if (n == 0)
		return NULL;
	choice.index = (size_t)rand() % n;
	supervisor_which_children(s, choose, &choice);
	return choice.child;
}

static void
random_deed(void)
{
	struct supervisor *s = trees[rand() % (TREES + 1)];
	struct child *child = random_child(s);

	if (s == trees[TREES] && rand() % 2 == 0)
		start_passer();
	if (child == NULL || child_pid(child) == -1)
		return;
	if (s == trees[TREES] && rand() % 4 == 0) {
		supervisor_terminate_child(s, child);
		return;
	}
	kill(child_pid(child), SIGKILL);
}

static bool
whole(struct supervisor *s)
{
	struct supervisor_count count = supervisor_count_children(s);
	struct child *child;

	for (size_t i = 0; i < count.specs; i++) {
		struct choice choice = { .index = i };

		supervisor_which_children(s, choose, &choice);
		child = choice.child;
		if (!child_is_ready(child) || kill(child_pid(child), 0) == -1)
			return false;
	}
	return true;
}

static bool
all_whole(void)
{
	for (size_t i = 0; i <= TREES; i++) {
		if (!whole(trees[i]))
			return false;
	}
	return true;
}

/* The processes whose parent we are; each has to be known. 0: one was killed
 * just now and has not been reaped. */
static size_t
processes(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char path[300], text[512], state, *p;
	size_t n = 0, owners;
	int ppid;
	pid_t pid;
	FILE *f;

	ck_assert_ptr_nonnull(proc);
	while ((entry = readdir(proc)) != NULL) {
		pid = (pid_t)atoi(entry->d_name);
		snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
		if (pid <= 0 || (f = fopen(path, "re")) == NULL)
			continue;
		p = fgets(text, sizeof text, f);
		fclose(f);
		if (p == NULL || (p = strrchr(text, ')')) == NULL ||
		    sscanf(p + 1, " %c %d", &state, &ppid) != 2 ||
		    ppid != getpid())
			continue;
		if (state == 'Z') {
			closedir(proc);
			return 0;
		}
		n++;
		owners = 0;
		for (size_t i = 0; i <= TREES; i++)
			owners += supervisor_find_pid(trees[i], pid) != NULL;
		ck_assert_uint_eq(owners, 1);
	}
	closedir(proc);
	return n;
}

static void
plant_trees(void)
{
	static const struct supervisor_callbacks tree_callbacks = {
		.died = on_died_of_trees
	};
	struct child_spec tree[TREE_CHILDREN];
	struct supervisor_flags flags;

	for (size_t i = 0; i < TREES; i++) {
		flags = flags_of(strategies[i]);
		flags.intensity = 0;
		flags.backoff_max = 20;
		for (size_t j = 0; j < TREE_CHILDREN; j++) {
			char *name = names[i * TREE_CHILDREN + j];

			snprintf(
			    name, sizeof names[0], "%c%zu", (char)('a' + i), j);
			tree[j] = spec_of(
			    &players[i][j], name, restarts[rand() % 2]);
		}
		trees[i] = supervisor_start(
		    base, &flags, &tree_callbacks, NULL, tree, TREE_CHILDREN);
	}
	flags = flags_of(DYNAMIC);
	flags.intensity = 0;
	flags.backoff_max = 20;
	flags.max_children = ROOM;
	trees[TREES] = supervisor_start(
	    base, &flags, &tree_callbacks, NULL, NULL, 0);
	for (nfree = 0; nfree < ROOM; nfree++)
		free_passers[nfree] = nfree;
}

static bool
none_left(void)
{
	for (size_t i = 0; i <= TREES; i++) {
		if (trees[i] != NULL)
			return false;
	}
	return true;
}

/* Both those that ran and those that were starting: how many of each is the
 * scheduler's choice. */
static bool
all_sorts_were_killed(void)
{
	return crashes > KILLS / 4 && kills - crashes > KILLS / 100 &&
	    ends > KILLS / 100;
}

START_TEST(random_kills)
{
	static const struct reaper_callbacks reaping_trees = {
		.died = on_reaped_of_trees
	};
	unsigned seed = (unsigned)time(NULL);
	int none[] = { 0 };
	size_t expected = 0;

	if (getenv("SEED") != NULL)
		seed = (unsigned)strtoul(getenv("SEED"), NULL, 10);
	fprintf(stderr, "random_kills: SEED=%u\n", seed);
	srand(seed);
	set_up();
	reaper_free(reaper);
	reaper = reaper_new(base, none, &reaping_trees, NULL);
	event_free(speech);
	speech = event_new(
	    base, wire_fds[0], EV_READ | EV_PERSIST, on_speech_of_trees, NULL);
	event_add(speech, NULL);
	plant_trees();
	UNTIL(all_whole());
	while (kills < KILLS || !all_sorts_were_killed()) {
		for (int i = rand() % 4; i > 0; i--)
			random_deed();
		event_base_loop(
		    base, rand() % 2 == 0 ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
	}
	UNTIL(all_whole() && processes() > 0);
	for (size_t i = 0; i <= TREES; i++) {
		struct supervisor_count count = supervisor_count_children(
		    trees[i]);

		ck_assert_uint_eq(count.active, count.specs);
		if (i < TREES)
			ck_assert_uint_eq(count.specs, TREE_CHILDREN);
		expected += count.active;
	}
	UNTIL(all_whole() && processes() == expected);
	for (size_t i = 0; i <= TREES; i++)
		supervisor_stop(trees[i], on_stopped_of_trees, &trees[i]);
	UNTIL(none_left());
	ck_assert_uint_eq(nfree, ROOM);
	tear_down();
}
END_TEST

UNIT_MAIN("supervise", every_death, every_failed_start, failed_starts_count,
    obituaries, boot_that_fails, boot_of_none_and_of_ids_that_clash,
    boot_with_one_that_is_not_needed, boot_waits_for_each,
    boot_without_start_limit, stop_while_booting, deaths_within_a_group_restart,
    deaths_beside_a_group_restart, who_is_restarted_with_others,
    deaf_children_are_killed, brutal_kill, infinity,
    dynamic_children_are_asked_at_once, stop_twice_and_of_none,
    the_period_has_an_edge, intensity_per_supervisor, intensity_per_child,
    whose_restarts_count, intensity_0_is_unlimited, back_off,
    back_off_is_forgotten, forks_that_fail_back_off, start_child_errors,
    start_child_of_static, added_child_that_fails,
    added_child_whose_fork_fails_later, terminate_child,
    terminate_child_that_pauses, stop_while_children_pause, killed_by_its_owner,
    which_children, callbacks_may_call, freed_by_gave_up,
    children_do_not_inherit_the_table, tables, log_lines,
    log_lines_of_the_quiet, random_kills)
