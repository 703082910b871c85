/*
 * drain.c: when the connections of each batch are asked, that all of them are
 * and none twice, and that nobody waits for those who are gone.
 */
#include <sys/wait.h>

#include <check.h>
#include <event2/event.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/process.h"
#include "common/supervise.h"
#include "supervisor/drain.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

/* ---- when ---- */

/* Batches of `batch`, each in its place and rising. */
static void
check_times(size_t n, unsigned batch, long long interval, long long span)
{
	const struct drain_settings settings = { batch, interval, span };
	long long *times = drain_times(&settings, n);
	long long batches = (long long)((n + batch - 1) / batch);
	long long whole = interval * batches < span ? interval * batches : span;

	for (size_t i = 0; i < n; i++) {
		long long k = (long long)(i / batch);
		long long from = whole * k / batches;
		long long to = whole * (k + 1) / batches;

		if (i % batch == 0)
			ck_assert_int_eq(times[i], from);
		else
			ck_assert_int_ge(times[i], times[i - 1]);
		ck_assert_int_ge(times[i], from);
		ck_assert(times[i] < to || times[i] == from);
	}
	free(times);
}

START_TEST(batches_have_their_places)
{
	check_times(0, 10, 1000, 5000);
	check_times(1, 10, 1000, 5000);
	check_times(10, 10, 1000, 5000);
	check_times(11, 10, 1000, 5000);
	check_times(30, 10, 1000, 30000);
	check_times(5000, 1000, 1000, 20000);
	check_times(7, 1, 1000, 100000);
	check_times(7, 1000000, 86400000, 86400000);
}
END_TEST

START_TEST(all_are_asked_within_the_span)
{
	check_times(1000, 10, 1000, 500);
	check_times(1000, 1, 86400000, 3);
	check_times(100, 10, 1000, 0);
	check_times(100, 10, 0, 20000);
	check_times(1000000, 1, 86400000, 20000);
}
END_TEST

/* A few of many are asked almost at once. */
START_TEST(a_batch_that_is_not_full_takes_less)
{
	const struct drain_settings settings = { 1000, 1000, 20000 };
	long long *times = drain_times(&settings, 10);

	ck_assert_int_eq(times[0], 0);
	ck_assert_int_lt(times[9], 10);
	free(times);
	times = drain_times(&settings, 1100);
	ck_assert_int_eq(times[1000], 1000);
	ck_assert_int_lt(times[1099], 1100);
	free(times);
}
END_TEST

START_TEST(a_batch_is_spread_over_its_interval)
{
	const struct drain_settings settings = { 1000, 100000, 1000000 };
	long long *times = drain_times(&settings, 1000);
	unsigned quarters[4] = { 0 };

	for (size_t i = 0; i < 1000; i++)
		quarters[times[i] / 25000]++;
	/* 250 each, give or take: 100 off is 7 standard deviations. */
	for (size_t i = 0; i < 4; i++)
		ck_assert(quarters[i] > 150 && quarters[i] < 350);
	free(times);
}
END_TEST

/* ---- who ---- */

#define CHILDREN_MAX 100

struct fixture {
	struct event_base *base;
	struct supervisor *supervisor;
	struct drain *drain;
	struct child *children[CHILDREN_MAX];
	unsigned asked[CHILDREN_MAX]; /* how often */
	size_t order[CHILDREN_MAX];   /* who, as they were asked */
	size_t n, nasked;
	unsigned done;
};

struct place {
	struct fixture *fixture;
	size_t i;
};

static pid_t
start(struct child *child, void *arg)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void
note_asked(struct child *child, void *arg)
{
	const struct place *place = arg;
	struct fixture *f = place->fixture;

	f->asked[place->i]++;
	f->order[f->nasked++] = place->i;
}

static void
on_died(struct supervisor *sup, struct child *child,
    const struct obituary *obituary, void *arg)
{
	struct fixture *f = arg;

	if (f->drain != NULL)
		drain_died(f->drain);
}

static void
on_done(void *arg)
{
	struct fixture *f = arg;

	f->done++;
}

static void
set_up(struct fixture *f, size_t n)
{
	static struct place places[CHILDREN_MAX];
	static const struct supervisor_callbacks callbacks = {
		.died = on_died,
	};
	const struct supervisor_flags flags = {
		.name = "test_sup",
		.strategy = DYNAMIC,
		.max_children = CHILDREN_MAX,
		.quiet = true,
	};
	struct child_spec spec = {
		.id = "child",
		.start = start,
		.ask = note_asked,
		.restart = RESTART_TEMPORARY,
		.shutdown = 60000,
	};

	f->base = event_base_new();
	f->supervisor = supervisor_start(
	    f->base, &flags, &callbacks, f, NULL, 0);
	ck_assert_ptr_nonnull(f->supervisor);
	for (size_t i = 0; i < n; i++) {
		places[i] = (struct place){ f, i };
		spec.arg = &places[i];
		f->children[i] = supervisor_start_child(f->supervisor, &spec);
		ck_assert_ptr_nonnull(f->children[i]);
	}
	f->n = n;
	tools_settle(f->base);
}

static void
end(struct fixture *f, size_t i)
{
	pid_t pid = child_pid(f->children[i]);

	kill(pid, SIGKILL);
	ck_assert(supervisor_reap(f->supervisor, pid, tools_wait(pid)));
}

static void
begin(struct fixture *f, unsigned batch, long long interval, long long span)
{
	const struct drain_settings settings = { batch, interval, span };

	f->drain = drain_start(f->base, f->supervisor, &settings, on_done, f);
	ck_assert_uint_eq(f->done, 0);
}

START_TEST(all_are_asked_once)
{
	static struct fixture f; /* stays reachable: no leak */
	bool rising = true;

	set_up(&f, CHILDREN_MAX);
	begin(&f, 10, 2, 1000);
	UNTIL(f.base, f.done > 0);
	tools_settle(f.base);
	ck_assert_uint_eq(f.done, 1);
	for (size_t i = 0; i < f.n; i++)
		ck_assert_uint_eq(f.asked[i], 1);
	for (size_t i = 1; i < f.n; i++)
		rising &= f.order[i] > f.order[i - 1];
	ck_assert(!rising);
	for (size_t i = 0; i < f.n; i++)
		end(&f, i);
	ck_assert_uint_eq(f.done, 1);
}
END_TEST

START_TEST(a_batch_waits_for_its_interval)
{
	static struct fixture f; /* stays reachable: no leak */
	long long began = monotonic_ms();

	set_up(&f, 6);
	begin(&f, 2, 100, 10000);
	UNTIL(f.base, f.nasked >= 3);
	ck_assert_int_ge(monotonic_ms() - began, 100);
	UNTIL(f.base, f.nasked >= 5);
	ck_assert_int_ge(monotonic_ms() - began, 200);
	UNTIL(f.base, f.done > 0);
	ck_assert_uint_eq(f.nasked, 6);
}
END_TEST

START_TEST(there_is_nobody)
{
	static struct fixture f; /* stays reachable: no leak */

	set_up(&f, 0);
	begin(&f, 1, 60000, 600000);
	UNTIL(f.base, f.done > 0);
	drain_died(f.drain);
	drain_hurry(f.drain);
	tools_settle(f.base);
	ck_assert_uint_eq(f.done, 1);
}
END_TEST

/*
 * Whoever it is that is next: when all who have not been asked have died there
 * is no interval. The one who was asked may live on.
 */
START_TEST(who_dies_is_not_waited_for)
{
	static struct fixture f; /* stays reachable: no leak */

	set_up(&f, 10);
	begin(&f, 1, 60000, 600000);
	UNTIL(f.base, f.nasked > 0);
	ck_assert_uint_eq(f.nasked, 1);
	for (size_t i = 0; i < f.n; i++) {
		if (i == f.order[0])
			continue;
		ck_assert_uint_eq(f.done, 0);
		end(&f, i);
	}
	UNTIL(f.base, f.done > 0);
	end(&f, f.order[0]);
	tools_settle(f.base);
	ck_assert_uint_eq(f.done, 1);
	ck_assert_uint_eq(f.nasked, 1);
}
END_TEST

START_TEST(in_a_hurry_there_are_no_intervals)
{
	static struct fixture f; /* stays reachable: no leak */

	set_up(&f, 10);
	begin(&f, 3, 60000, 600000);
	UNTIL(f.base, f.nasked > 0);
	ck_assert_uint_le(f.nasked, 3);
	end(&f, f.order[0]);
	drain_hurry(f.drain);
	UNTIL(f.base, f.done > 0);
	ck_assert_uint_eq(f.nasked, 10);
	drain_hurry(f.drain);
	tools_settle(f.base);
	ck_assert_uint_eq(f.done, 1);
}
END_TEST

UNIT_MAIN("drain", batches_have_their_places, all_are_asked_within_the_span,
    a_batch_that_is_not_full_takes_less, a_batch_is_spread_over_its_interval,
    all_are_asked_once, a_batch_waits_for_its_interval, there_is_nobody,
    who_dies_is_not_waited_for, in_a_hurry_there_are_no_intervals)
