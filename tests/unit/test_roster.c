/*
 * roster.c: what a worker leaves to its successor.
 */
#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "pubsub/roster.h"
#include "tests/unit/unit.h"

#define MAX 1000

static struct roster
open_roster(uint64_t *map)
{
	struct roster roster;

	roster_open(&roster, map, MAX);
	return roster;
}

static void
forget(struct roster *roster)
{
	free(roster->free);
	free(roster->missing);
}

START_TEST(first_worker_misses_nobody)
{
	uint64_t *map = roster_map(MAX);
	struct roster first = open_roster(map);

	ck_assert_uint_eq(first.nmissing, 0);
	ck_assert_uint_eq(roster_add(&first, 7), 0);
	ck_assert_uint_eq(first.nmissing, 0);
	forget(&first);
	munmap(map, MAX * sizeof *map);
}
END_TEST

START_TEST(successor_waits_for_all_who_were_there)
{
	uint64_t *map = roster_map(MAX);
	struct roster first = open_roster(map), second;
	size_t places[MAX];

	for (uint64_t i = 0; i < MAX; i++)
		places[i] = roster_add(&first, 5000 - i);
	ck_assert_uint_eq(roster_add(&first, 9999), ROSTER_NONE);
	/* These have left in time. */
	for (size_t i = 0; i < 10; i++)
		roster_remove(&first, places[i * 7]);
	second = open_roster(map);
	ck_assert_uint_eq(second.nmissing, MAX - 10);
	roster_add(&second, 1); /* a stranger */
	ck_assert_uint_eq(second.nmissing, MAX - 10);
	for (uint64_t i = 0; i < MAX; i++)
		if (i % 7 != 0 || i >= 70) {
			size_t before = second.nmissing;

			roster_add(&second, 5000 - i);
			ck_assert_uint_eq(second.nmissing, before - 1);
			if (i % 2 == 0)
				roster_add(&second, 5000 - i); /* twice */
			ck_assert_uint_eq(second.nmissing, before - 1);
		}
	ck_assert_uint_eq(second.nmissing, 0);
	forget(&first);
	forget(&second);
	munmap(map, MAX * sizeof *map);
}
END_TEST

UNIT_MAIN("roster", first_worker_misses_nobody,
    successor_waits_for_all_who_were_there)
