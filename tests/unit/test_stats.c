/*
 * Counters in shared memory: many who add at once, names that do not fit, and
 * kill -9 at any moment.
 */
#include <sys/mman.h>

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/stats.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

static struct stats *stats;

static void
set_up(void)
{
	stats = stats_map();
	ck_assert_ptr_nonnull(stats);
}

static struct stats_value
counter(const char *name, uint64_t n)
{
	struct stats_value value = { .kind = STATS_COUNTER, .n = n };

	snprintf(value.name, sizeof value.name, "%s", name);
	return value;
}

static struct stats_value
histogram(const char *name, double observed)
{
	struct stats_value value = { .kind = STATS_HISTOGRAM };

	snprintf(value.name, sizeof value.name, "%s", name);
	value.sum = observed;
	value.buckets[stats_bucket(observed)] = 1;
	return value;
}

static void
count(const char *name, uint64_t n)
{
	struct stats_value value = counter(name, n);

	stats_add(stats, &value);
}

/* How many have this name, and the last of them. */
static unsigned
find(const char *name, struct stats_value *value)
{
	struct stats_value found;
	unsigned n = 0;

	for (size_t i = 0; i < STATS_NAMES_MAX; i++)
		if (stats_get(stats, i, &found) &&
		    strcmp(found.name, name) == 0) {
			*value = found;
			n++;
		}
	return n;
}

static uint64_t
own(enum stats_own which)
{
	const char *name;

	return stats_get_own(stats, which, &name);
}

START_TEST(names)
{
	static const char *const good[] = { "a", "_", "Z9", "visits_total",
		"counting", "bennu", "summary" };
	static const char *const bad[] = { "", "9a", "a-b", "a b", "a:b", "é",
		"bennu_joins_total", "bennu_", "x_bucket", "x_sum", "x_count",
		"_count", "a{b=\"c\"}", "a\nb" };
	char longest[STATS_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		ck_assert_msg(stats_name_is_good(good[i], strlen(good[i])),
		    "%s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_msg(
		    !stats_name_is_good(bad[i], strlen(bad[i])), "%s", bad[i]);
	ck_assert(!stats_name_is_good("a\0b", 3));
	memset(longest, 'a', sizeof longest);
	ck_assert(stats_name_is_good(longest, STATS_NAME_MAX));
	ck_assert(!stats_name_is_good(longest, STATS_NAME_MAX + 1));
}
END_TEST

START_TEST(buckets)
{
	ck_assert_uint_eq(stats_bucket(-1), 0);
	ck_assert_uint_eq(stats_bucket(0.001), 0);
	ck_assert_uint_eq(stats_bucket(0.0011), 1);
	ck_assert_uint_eq(stats_bucket(10000), STATS_BUCKETS - 2);
	ck_assert_uint_eq(stats_bucket(10001), STATS_BUCKETS - 1);
	ck_assert_str_eq(stats_bound(0), "0.001");
	ck_assert_str_eq(stats_bound(STATS_BUCKETS - 2), "10000");
	ck_assert_str_eq(stats_bound(STATS_BUCKETS - 1), "+Inf");
	/* What the text says is what is compared. */
	for (size_t i = 0; i < STATS_BUCKETS - 1; i++) {
		double bound = strtod(stats_bound(i), NULL);

		ck_assert_uint_eq(stats_bucket(bound), i);
		ck_assert_uint_eq(stats_bucket(bound * 1.001), i + 1);
	}
}
END_TEST

START_TEST(adds)
{
	char longest[STATS_NAME_MAX + 1];
	struct stats_value value;

	set_up();
	memset(longest, 'x', STATS_NAME_MAX);
	longest[STATS_NAME_MAX] = '\0';
	count("a", 2);
	count("a", 3);
	count("ab", 0);
	count(longest, UINT64_MAX);
	ck_assert_uint_eq(find("a", &value), 1);
	ck_assert_uint_eq(value.n, 5);
	ck_assert_int_eq(value.kind, STATS_COUNTER);
	ck_assert_uint_eq(find("ab", &value), 1);
	ck_assert_uint_eq(value.n, 0);
	ck_assert_uint_eq(find(longest, &value), 1);
	ck_assert_uint_eq(value.n, UINT64_MAX);

	value = histogram("h", 1.5);
	stats_add(stats, &value);
	value = histogram("h", 3);
	stats_add(stats, &value);
	ck_assert_uint_eq(find("h", &value), 1);
	ck_assert_int_eq(value.kind, STATS_HISTOGRAM);
	ck_assert_double_eq(value.sum, 4.5);
	ck_assert_uint_eq(value.buckets[stats_bucket(2)], 1);
	ck_assert_uint_eq(value.buckets[stats_bucket(3)], 1);
	ck_assert_uint_eq(own(STATS_DROPPED_METRICS), 0);

	stats_own(stats, STATS_JOINS);
	ck_assert_uint_eq(own(STATS_JOINS), 1);
}
END_TEST

START_TEST(without_memory)
{
	struct stats_value value = counter("a", 1);

	stats_add(NULL, &value);
	stats_own(NULL, STATS_JOINS);
	stats_inherit(NULL, false);
}
END_TEST

START_TEST(another_kind)
{
	struct stats_value value = histogram("a", 1);

	set_up();
	count("a", 1);
	stats_add(stats, &value);
	ck_assert_uint_eq(own(STATS_DROPPED_METRICS), 1);
	ck_assert_uint_eq(find("a", &value), 1);
	ck_assert_int_eq(value.kind, STATS_COUNTER);
	ck_assert_uint_eq(value.n, 1);
}
END_TEST

START_TEST(too_many_names)
{
	struct stats_value value;
	char name[16];

	set_up();
	for (int i = 0; i < STATS_NAMES_MAX + 10; i++) {
		snprintf(name, sizeof name, "n%d", i);
		count(name, 1);
	}
	ck_assert_uint_eq(own(STATS_DROPPED_METRICS), 10);
	for (int i = 0; i < STATS_NAMES_MAX; i++) {
		snprintf(name, sizeof name, "n%d", i);
		count(name, 1);
		ck_assert_uint_eq(find(name, &value), 1);
		ck_assert_uint_eq(value.n, 2);
	}
	ck_assert_uint_eq(own(STATS_DROPPED_METRICS), 10);
}
END_TEST

/* ---- many processes ---- */

#define PROCESSES 8
#define NAMES     100
#define ROUNDS    500

static void
add_all(unsigned seed)
{
	struct stats_value value;
	char name[16];

	for (unsigned i = 0; i < ROUNDS * NAMES; i++) {
		/* All come to the new names at about the same time. */
		snprintf(name, sizeof name, "n%u", (i / 2 + seed % 2) % NAMES);
		if (i % 2 == 0) {
			count(name, 1);
			continue;
		}
		name[0] = 'h';
		value = histogram(name, 0.5);
		stats_add(stats, &value);
	}
}

START_TEST(many_at_once)
{
	struct stats_value value = { 0 };
	pid_t pids[PROCESSES];
	uint64_t counted = 0, observed = 0;
	double sum = 0;
	char name[16];

	set_up();
	for (unsigned i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			add_all(i);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < PROCESSES; i++)
		tools_assert_exit(pids[i], 0);
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "n%u", i);
		ck_assert_uint_eq(find(name, &value), 1);
		counted += value.n;
		name[0] = 'h';
		ck_assert_uint_eq(find(name, &value), 1);
		observed += value.buckets[stats_bucket(0.5)];
		sum += value.sum;
	}
	ck_assert_uint_eq(counted, PROCESSES * ROUNDS * NAMES / 2);
	ck_assert_uint_eq(observed, PROCESSES * ROUNDS * NAMES / 2);
	ck_assert_double_eq(sum, (double)observed / 2);
	ck_assert_uint_eq(own(STATS_DROPPED_METRICS), 0);
}
END_TEST

static void
add_for_ever(unsigned seed)
{
	char name[16];

	for (unsigned i = seed;; i++) {
		snprintf(name, sizeof name, "n%u", i % (2 * STATS_NAMES_MAX));
		count(name, 1);
	}
}

/* Whenever they are killed: the others can read and count. */
START_TEST(killed_at_any_moment)
{
	struct stats_value value;
	pid_t pids[4];
	unsigned n;

	for (unsigned i = 0; i < 200; i++) {
		set_up();
		for (unsigned k = 0; k < 4; k++) {
			pids[k] = fork();
			if (pids[k] == 0)
				add_for_ever(k * 16);
		}
		usleep(i * 10);
		for (unsigned k = 0; k < 4; k++)
			kill(pids[k], SIGKILL);
		for (unsigned k = 0; k < 4; k++)
			tools_assert_killed(pids[k], SIGKILL);
		count("mine", 7);
		n = find("mine", &value);
		if (n == 0)
			ck_assert_uint_gt(own(STATS_DROPPED_METRICS), 0);
		else
			ck_assert_uint_eq(value.n, 7);
		ck_assert_uint_le(n, 1);
		ck_assert_int_eq(munmap(stats, 1), 0);
	}
}
END_TEST

/* Who was taken over writes anything: it is read without harm. */
START_TEST(scribbled)
{
	struct stats_value value;

	for (unsigned byte = 0; byte < 256; byte++) {
		set_up();
		count("a", 1);
		memset(stats, (int)byte, 60000);
		count("a", 1);
		count("b", 1);
		for (size_t i = 0; i < STATS_NAMES_MAX; i++)
			if (stats_get(stats, i, &value))
				ck_assert(stats_name_is_good(
				    value.name, strlen(value.name)));
	}
}
END_TEST

static bool
child_has_it(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(msync(stats, 4096, MS_ASYNC) == 0 ? 0 : 1);
	return WEXITSTATUS(tools_wait(pid)) == 0;
}

START_TEST(inherited_or_not)
{
	set_up();
	ck_assert(child_has_it());
	stats_inherit(stats, false);
	ck_assert(!child_has_it());
	stats_inherit(stats, true);
	ck_assert(child_has_it());
}
END_TEST

UNIT_MAIN("stats", names, buckets, adds, without_memory, another_kind,
    too_many_names, many_at_once, killed_at_any_moment, scribbled,
    inherited_or_not)
