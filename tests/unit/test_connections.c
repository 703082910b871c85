/*
 * connections.c: places are given out to the limit and again, numbers rise for
 * good, and no child inherits the table.
 */
#include <check.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/connections.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

START_TEST(as_many_as_there_may_be)
{
	struct connections *all = connections_new(3);
	struct connection *one, *two, *three;

	ck_assert_ptr_nonnull(all);
	one = connections_add(all);
	two = connections_add(all);
	three = connections_add(all);
	ck_assert_ptr_nonnull(one);
	ck_assert_ptr_nonnull(two);
	ck_assert_ptr_nonnull(three);
	ck_assert(one != two && two != three && one != three);
	ck_assert_ptr_null(connections_add(all));
	connections_remove(all, two);
	ck_assert_ptr_eq(connections_add(all), two);
	ck_assert_ptr_null(connections_add(all));
	connections_free(all);
}
END_TEST

/* A place that is used again is as new, its number another one. */
START_TEST(places_are_cleared)
{
	struct connections *all = connections_new(2);
	struct connection *one = connections_add(all);

	ck_assert_uint_eq(one->number, 1);
	ck_assert_int_eq(one->fd, -1);
	one->fd = 7;
	strcpy(one->peer, "127.0.0.1:1");
	one->child = (void *)one;
	connections_remove(all, one);
	ck_assert_ptr_eq(connections_add(all), one);
	ck_assert_uint_eq(one->number, 2);
	ck_assert_int_eq(one->fd, -1);
	ck_assert_str_eq(one->peer, "");
	ck_assert_ptr_null(one->child);
	ck_assert_ptr_null(one->next_free);
	connections_free(all);
}
END_TEST

START_TEST(by_number)
{
	struct connections *all = connections_new(10);
	struct connection *one, *two;

	ck_assert_ptr_null(connections_find(all, 0));
	ck_assert_ptr_null(connections_find(all, 1));
	one = connections_add(all);
	two = connections_add(all);
	ck_assert_ptr_eq(connections_find(all, one->number), one);
	ck_assert_ptr_eq(connections_find(all, two->number), two);
	ck_assert_ptr_null(connections_find(all, 3));
	ck_assert_ptr_null(connections_find(all, UINT64_MAX));
	connections_remove(all, one);
	ck_assert_ptr_null(connections_find(all, 1));
	ck_assert_ptr_null(connections_find(all, 0));
	ck_assert_ptr_eq(connections_find(all, 2), two);
	connections_free(all);
}
END_TEST

#define PLACES 50

/* Against a list of what is in use. */
START_TEST(as_a_list)
{
	struct connections *all = connections_new(PLACES);
	struct connection *used[PLACES];
	uint64_t numbers[PLACES], last = 0;
	size_t n = 0;

	srandom(1);
	for (int step = 0; step < 20000; step++) {
		size_t i;

		if (random() % 2 == 0) {
			struct connection *added = connections_add(all);

			ck_assert_int_eq(added == NULL, n == PLACES);
			if (added == NULL)
				continue;
			ck_assert_uint_eq(added->number, ++last);
			numbers[n] = last;
			used[n++] = added;
		} else if (n > 0) {
			i = (size_t)random() % n;
			connections_remove(all, used[i]);
			ck_assert_ptr_null(connections_find(all, numbers[i]));
			used[i] = used[--n];
			numbers[i] = numbers[n];
		}
		if (n > 0) {
			i = (size_t)random() % n;
			ck_assert_uint_eq(used[i]->number, numbers[i]);
			ck_assert_ptr_eq(
			    connections_find(all, numbers[i]), used[i]);
		}
	}
	connections_free(all);
}
END_TEST

/* Room for a hundred thousand costs what is used of it. */
START_TEST(unused_places_cost_nothing)
{
	struct connections *all = connections_new(1000000);

	ck_assert_ptr_nonnull(all);
	ck_assert_ptr_nonnull(connections_add(all));
	connections_free(all);
}
END_TEST

START_TEST(no_room_at_all)
{
	errno = 0;
	ck_assert_ptr_null(
	    connections_new(SIZE_MAX / sizeof(struct connection) / 2));
	ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

static sigjmp_buf unreadable;

static void
on_fault(int sig)
{
	siglongjmp(unreadable, sig);
}

START_TEST(children_do_not_have_it)
{
	struct connections *all = connections_new(10);
	volatile struct connection *one = connections_add(all);
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		signal(SIGSEGV, on_fault);
		if (sigsetjmp(unreadable, 1) != 0)
			_exit(0);
		_exit(one->number == 1 ? 1 : 2);
	}
	tools_assert_exit(pid, 0);
	ck_assert_uint_eq(one->number, 1);
	connections_free(all);
}
END_TEST

UNIT_MAIN("connections", as_many_as_there_may_be, places_are_cleared, by_number,
    as_a_list, unused_places_cost_nothing, no_room_at_all,
    children_do_not_have_it)
