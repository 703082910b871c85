/*
 * timer.c: timers fire in the order of their times, those of one time as they
 * were set, whatever was cancelled in between.
 */
#include <check.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel/timer.h"
#include "tests/unit/unit.h"

static void
clear(struct timers *timers)
{
	while (timers_next(timers) != -1)
		free(timers_pop(timers).event);
	free(timers->heap);
}

static void
assert_pop(struct timers *timers, unsigned id, long long due)
{
	struct timer timer = timers_pop(timers);

	ck_assert_uint_eq(timer.id, id);
	ck_assert_int_eq(timer.due, due);
	free(timer.event);
}

START_TEST(none)
{
	struct timers timers = { 0 };

	ck_assert_int_eq(timers_next(&timers), -1);
	ck_assert_int_eq(timers_due(&timers, 0), -1);
	ck_assert_int_eq(timers_due(&timers, 1), -1);
	timers_cancel(&timers, 0);
	timers_cancel(&timers, 1);
	ck_assert_uint_eq(timers.n, 0);
	clear(&timers);
}
END_TEST

START_TEST(one)
{
	struct timers timers = { 0 };
	char event[] = "tick";
	int data;
	unsigned id = timers_add(&timers, 50, event, &data);
	struct timer timer;

	ck_assert_uint_ne(id, 0);
	event[0] = 'x'; /* it was copied */
	ck_assert_int_eq(timers_next(&timers), 50);
	ck_assert_int_eq(timers_due(&timers, id), 50);
	ck_assert_int_eq(timers_due(&timers, id + 1), -1);
	timer = timers_pop(&timers);
	ck_assert_str_eq(timer.event, "tick");
	ck_assert_ptr_eq(timer.data, &data);
	ck_assert_uint_eq(timer.id, id);
	ck_assert_int_eq(timers_next(&timers), -1);
	ck_assert_int_eq(timers_due(&timers, id), -1);
	free(timer.event);
	clear(&timers);
}
END_TEST

START_TEST(equal_times_as_they_were_set)
{
	struct timers timers = { 0 };
	unsigned ids[100];

	for (size_t i = 0; i < 100; i++)
		ids[i] = timers_add(&timers, 7, "e", NULL);
	for (size_t i = 0; i < 100; i++)
		assert_pop(&timers, ids[i], 7);
	clear(&timers);
}
END_TEST

START_TEST(numbers_wrap_without_zero)
{
	struct timers timers = { .last_id = UINT_MAX - 1 };

	ck_assert_uint_eq(timers_add(&timers, 1, "e", NULL), UINT_MAX);
	ck_assert_uint_eq(timers_add(&timers, 2, "e", NULL), 1);
	clear(&timers);
}
END_TEST

/* The model: a sorted list of what the heap should hold. */
#define MODEL_MAX 400

struct item {
	long long due;
	unsigned id;
};

static struct item model[MODEL_MAX];
static size_t nmodel;

static void
model_add(long long due, unsigned id)
{
	size_t i = nmodel++;

	/* Numbers rise: behind all of the same time. */
	while (i > 0 && model[i - 1].due > due) {
		model[i] = model[i - 1];
		i--;
	}
	model[i].due = due;
	model[i].id = id;
}

static void
model_remove(size_t i)
{
	memmove(model + i, model + i + 1, (--nmodel - i) * sizeof model[0]);
}

static void
assert_heap(const struct timers *timers)
{
	bool ordered = true;

	ck_assert_uint_eq(timers->n, nmodel);
	for (size_t i = 1; i < timers->n; i++) {
		const struct timer *parent = &timers->heap[(i - 1) / 2];
		const struct timer *child = &timers->heap[i];

		ordered &= parent->due < child->due ||
		    (parent->due == child->due && parent->id < child->id);
	}
	ck_assert(ordered);
	ck_assert_int_eq(timers_next(timers), nmodel == 0 ? -1 : model[0].due);
}

static void
random_step(struct timers *timers)
{
	long choice = random() % 10;
	size_t i;

	if (nmodel < MODEL_MAX && (choice < 5 || nmodel == 0)) {
		/* Few different times, so that many are equal. */
		long long due = random() % 60;

		model_add(due, timers_add(timers, due, "e", NULL));
	} else if (choice < 8) {
		assert_pop(timers, model[0].id, model[0].due);
		model_remove(0);
	} else {
		i = (size_t)random() % nmodel;
		ck_assert_int_eq(timers_due(timers, model[i].id), model[i].due);
		timers_cancel(timers, model[i].id);
		ck_assert_int_eq(timers_due(timers, model[i].id), -1);
		model_remove(i);
	}
}

START_TEST(as_a_sorted_list)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		struct timers timers = { 0 };

		srandom(seed);
		nmodel = 0;
		for (int step = 0; step < 3000; step++) {
			random_step(&timers);
			assert_heap(&timers);
		}
		while (nmodel > 0) {
			assert_pop(&timers, model[0].id, model[0].due);
			model_remove(0);
			assert_heap(&timers);
		}
		clear(&timers);
	}
}
END_TEST

UNIT_MAIN("timer", none, one, equal_times_as_they_were_set,
    numbers_wrap_without_zero, as_a_sorted_list)
