/*
 * shared.c and slots.c: who has which of the memory, and which slots are taken.
 */
#include <sys/wait.h>

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/tree.h"
#include "pubsub/journal.h"
#include "pubsub/lane.h"
#include "pubsub/shared.h"
#include "pubsub/slots.h"
#include "tests/unit/unit.h"

#define WORKERS 3
#define SLOTS   50

static struct shared *
make(void)
{
	struct shared *shared = shared_new(WORKERS, SLOTS, JOURNAL_SIZE_MIN);

	ck_assert_ptr_nonnull(shared);
	return shared;
}

START_TEST(refuses_nonsense)
{
	static const struct {
		unsigned nworkers;
		size_t nslots, journal_size;
	} bad[] = {
		{ 0, SLOTS, JOURNAL_SIZE_MIN },
		{ PUBSUB_MAX + 1, SLOTS, JOURNAL_SIZE_MIN },
		{ WORKERS, 0, JOURNAL_SIZE_MIN },
		{ WORKERS, (size_t)SLOTS_MAX + 1, JOURNAL_SIZE_MIN },
		{ WORKERS, SIZE_MAX, JOURNAL_SIZE_MIN },
		{ WORKERS, SLOTS, 0 },
		{ WORKERS, SLOTS, 100000 },
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		errno = 0;
		ck_assert_ptr_null(shared_new(
		    bad[i].nworkers, bad[i].nslots, bad[i].journal_size));
		ck_assert_int_eq(errno, EINVAL);
	}
	shared_free(NULL);
}
END_TEST

START_TEST(begins_zeroed)
{
	struct shared *shared = make();

	ck_assert_uint_eq(shared->nworkers, WORKERS);
	ck_assert_uint_eq(shared->nslots, SLOTS);
	for (size_t i = 0; i < SLOTS; i++) {
		ck_assert_uint_eq(shared->slots[i].connection, 0);
		ck_assert_uint_eq(shared_lane(shared, i)->word, 0);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		ck_assert_uint_eq(shared->workers[i].epoch, 0);
		ck_assert_uint_eq(
		    shared->workers[i].interest[INTEREST_BUCKETS - 1], 0);
		ck_assert_uint_eq(journal_head(shared->journals[i]), 0);
	}
	shared_free(shared);
}
END_TEST

/* As many as there may be; nothing of it is touched. */
START_TEST(largest)
{
	struct shared *shared = shared_new(PUBSUB_MAX, 100000, 64 << 20);

	ck_assert_ptr_nonnull(shared);
	shared->slots[99999].connection = 1;
	shared_lane(shared, 99999)->word = 1;
	shared_free(shared);
}
END_TEST

/* ---- who has it ---- */

static bool
is_mapped(const void *address)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to, at = (unsigned long)(uintptr_t)address;
	char line[512];
	bool found = false;

	if (maps == NULL)
		_exit(99);
	while (fgets(line, sizeof line, maps) != NULL)
		if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from <= at &&
		    at < to)
			found = true;
	fclose(maps);
	return found;
}

/* How many of its parts, beside the lanes, this process has. */
static int
count_parts(const struct shared *shared)
{
	int n = 0;

	n += is_mapped(shared->slots);
	n += is_mapped(shared->slots + SLOTS - 1);
	n += is_mapped(shared->workers);
	n += is_mapped(&shared->workers[WORKERS - 1].interest[4095]);
	return n;
}

static int
count_lanes(const struct shared *shared)
{
	int n = 0;

	for (uint32_t i = 0; i < SLOTS; i++)
		n += is_mapped(shared_lane(shared, i));
	return n;
}

static int
count_journals(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	int n = 0;

	if (maps == NULL)
		_exit(99);
	while (fgets(line, sizeof line, maps) != NULL)
		n += strstr(line, "/memfd:journal") != NULL;
	fclose(maps);
	return n;
}

/* Runs in a child; false is its failure. */
static int
in_child(bool (*run)(struct shared *), struct shared *shared)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(run(shared) ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static bool
has_nothing(struct shared *shared)
{
	return count_parts(shared) == 0 && count_lanes(shared) == 0 &&
	    count_journals() == 0;
}

static bool
has_all(struct shared *shared)
{
	return count_parts(shared) == 4 && count_lanes(shared) == SLOTS &&
	    count_journals() > 0;
}

static bool
has_lane_7(struct shared *shared)
{
	if (count_parts(shared) != 0 || count_lanes(shared) != 1 ||
	    count_journals() != 0 || !is_mapped(shared_lane(shared, 7)))
		return false;
	shared_lane(shared, 7)->word = 77;
	/* What it forks has not even that. */
	shared_inherit_lane(shared, 7, false);
	return in_child(has_nothing, shared) == 0;
}

static bool
reads_lane_6(struct shared *shared)
{
	return shared_lane(shared, 6)->word == 0;
}

START_TEST(inherited_by_whom_it_is_meant_for)
{
	struct shared *shared = make();

	ck_assert(has_all(shared));
	ck_assert_int_eq(in_child(has_nothing, shared), 0);
	shared_inherit(shared, true);
	ck_assert_int_eq(in_child(has_all, shared), 0);
	shared_inherit(shared, false);
	ck_assert_int_eq(in_child(has_nothing, shared), 0);

	shared_inherit_lane(shared, 7, true);
	ck_assert_int_eq(in_child(has_lane_7, shared), 0);
	ck_assert_int_eq(WTERMSIG(in_child(reads_lane_6, shared)), SIGSEGV);
	shared_inherit_lane(shared, 7, false);
	ck_assert_uint_eq(shared_lane(shared, 7)->word, 77);
	ck_assert_int_eq(in_child(has_nothing, shared), 0);
	/* A worker comes back while transports are forked. */
	shared_inherit(shared, true);
	ck_assert_int_eq(in_child(has_all, shared), 0);
	shared_inherit(shared, false);
	shared_free(shared);
}
END_TEST

static uint64_t
append(struct shared *shared, unsigned worker)
{
	struct journal_entry entry = { .connection = 5 };

	journal_open(shared->journals[worker], false);
	return journal_append(shared->journals[worker], &entry);
}

static bool
works_as_1(struct shared *shared)
{
	struct journal_reader reader = { .next = 1 };
	struct journal_entry entry;

	shared_own(shared, 1);
	shared->workers[1].progress[2] = 12;
	shared->slots[3].accepted = 13;
	shared_lane(shared, 4)->written[1] = 14;
	reader.journal = shared->journals[0];
	return append(shared, 1) == 1 &&
	    journal_read(&reader, &entry) == JOURNAL_OK;
}

static bool
spoils_2(struct shared *shared)
{
	shared_own(shared, 1);
	return append(shared, 2) != 0;
}

START_TEST(workers_share_it)
{
	struct shared *shared = make();

	append(shared, 0);
	shared_inherit(shared, true);
	ck_assert_int_eq(in_child(works_as_1, shared), 0);
	ck_assert_int_eq(WTERMSIG(in_child(spoils_2, shared)), SIGSEGV);
	ck_assert_uint_eq(shared->workers[1].progress[2], 12);
	ck_assert_uint_eq(shared->slots[3].accepted, 13);
	ck_assert_uint_eq(shared_lane(shared, 4)->written[1], 14);
	ck_assert_uint_eq(journal_head(shared->journals[1]), 1);
	ck_assert_uint_eq(journal_head(shared->journals[2]), 0);
	shared_free(shared);
}
END_TEST

/* ---- interest ---- */

static unsigned
bucket_of(const char *data, size_t size)
{
	struct text topic = text_lent(data, size);
	unsigned bucket = interest_bucket(&topic);

	ck_assert_uint_lt(bucket, INTEREST_BUCKETS);
	return bucket;
}

START_TEST(topics_are_spread)
{
	static unsigned counts[INTEREST_BUCKETS];
	static const char *const around[][2] = { { "room:", "" }, { "", "" },
		{ "user:", ":inbox" },
		{ "a/very/long/topic/with/", "/in/its/middle/and/behind/it" } };
	const int n = INTEREST_BUCKETS * 16;

	for (size_t f = 0; f < sizeof around / sizeof around[0]; f++) {
		unsigned most = 0, empty = 0;

		memset(counts, 0, sizeof counts);
		for (int i = 0; i < n; i++) {
			char topic[128];

			snprintf(topic, sizeof topic, "%s%d%s", around[f][0], i,
			    around[f][1]);
			counts[bucket_of(topic, strlen(topic))]++;
		}
		for (int i = 0; i < INTEREST_BUCKETS; i++) {
			most = counts[i] > most ? counts[i] : most;
			empty += counts[i] == 0;
		}
		/* 16 in each; of chance one has 37 or so, none is empty. */
		ck_assert_uint_lt(most, 48);
		ck_assert_uint_lt(empty, 4);
	}
}
END_TEST

START_TEST(topics_of_all_sorts)
{
	char copy[] = "xroom:lobby";

	ck_assert_uint_eq(bucket_of("room:lobby", 10), bucket_of(copy + 1, 10));
	ck_assert_uint_ne(bucket_of("room:lobby", 10), bucket_of(copy, 10));
	ck_assert_uint_ne(bucket_of("a\0b", 3), bucket_of("a\0c", 3));
	ck_assert_uint_ne(bucket_of("a\0", 2), bucket_of("a", 1));
	ck_assert_uint_eq(bucket_of("", 0), bucket_of(NULL, 0));
	ck_assert_uint_ne(bucket_of("\xff", 1), bucket_of("\x7f", 1));
}
END_TEST

/* ---- slots ---- */

START_TEST(slots_until_none_is_left)
{
	struct shared *shared = make();
	struct slots *slots = slots_new(shared);
	bool taken[SLOTS] = { false };

	for (uint64_t i = 1; i <= SLOTS; i++) {
		uint32_t slot = slot_take(slots, i * 100);

		ck_assert_uint_lt(slot, SLOTS);
		ck_assert(!taken[slot]);
		taken[slot] = true;
		ck_assert_uint_eq(shared->slots[slot].connection, i * 100);
	}
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(slot_take(slots, 9999), SLOT_NONE);
	slot_free(slots, 17);
	ck_assert_uint_eq(shared->slots[17].connection, 0);
	ck_assert_uint_eq(slot_take(slots, 8888), 17);
	ck_assert_uint_eq(shared->slots[17].connection, 8888);
	ck_assert_uint_eq(slot_take(slots, 9999), SLOT_NONE);
	slots_free(slots);
	slots_free(NULL);
	shared_free(shared);
}
END_TEST

static void
assert_new(const struct slot *slot, uint64_t connection)
{
	ck_assert_uint_eq(slot->connection, connection);
	ck_assert_int_eq(slot->pid, 0);
	ck_assert_uint_eq(slot->accepted, 0);
	for (int part = 0; part < PARTS; part++)
		for (int i = 0; i < PUBSUB_MAX; i++)
			ck_assert_uint_eq(slot->queued[part][i], 0);
}

/* Nothing of its last connection is left, whatever workers write there, also
 * when it is free. */
START_TEST(slots_begin_zeroed)
{
	struct shared *shared = make();
	struct slots *slots = slots_new(shared);
	uint32_t first = slot_take(slots, 1), second = slot_take(slots, 2);

	memset((void *)&shared->slots[first], 0xff, sizeof(struct slot));
	memset((void *)&shared->slots[second], 0xee, sizeof(struct slot));
	slot_free(slots, first);
	slot_free(slots, second);
	memset((void *)shared->slots, 0xdd, SLOTS * sizeof(struct slot));
	for (uint64_t i = 1; i <= SLOTS; i++) {
		uint32_t slot = slot_take(slots, i);

		ck_assert_uint_lt(slot, SLOTS);
		assert_new(&shared->slots[slot], i);
	}
	ck_assert_uint_eq(slot_take(slots, 9999), SLOT_NONE);
	slots_free(slots);
	shared_free(shared);
}
END_TEST

START_TEST(slots_come_and_go)
{
	struct shared *shared = make();
	struct slots *slots = slots_new(shared);
	uint64_t owner[SLOTS] = { 0 };
	uint32_t used = 0, highest = 0;

	srand(3);
	for (uint64_t n = 1; n < 100000; n++) {
		uint32_t slot = (uint32_t)rand() % SLOTS;

		if (owner[slot] != 0) {
			ck_assert_uint_eq(
			    shared->slots[slot].connection, owner[slot]);
			slot_free(slots, slot);
			owner[slot] = 0;
			used--;
		}
		if (rand() % 3 == 0)
			continue;
		slot = slot_take(slots, n);
		ck_assert_uint_lt(slot, SLOTS);
		ck_assert_uint_eq(owner[slot], 0);
		owner[slot] = n;
		highest = slot > highest ? slot : highest;
		used++;
		if (used == SLOTS)
			ck_assert_uint_eq(slot_take(slots, n), SLOT_NONE);
	}
	ck_assert_uint_gt(highest, 10);
	slots_free(slots);
	shared_free(shared);
}
END_TEST

static bool
frees_twice(struct shared *shared)
{
	struct slots *slots = slots_new(shared);
	uint32_t slot = slot_take(slots, 1);

	signal(SIGABRT, SIG_DFL);
	fclose(stderr);
	slot_take(slots, 2);
	slot_free(slots, slot);
	slot_free(slots, slot);
	return true;
}

static bool
frees_what_was_never_taken(struct shared *shared)
{
	struct slots *slots = slots_new(shared);

	signal(SIGABRT, SIG_DFL);
	fclose(stderr);
	slot_take(slots, 1);
	slot_free(slots, 1);
	return true;
}

START_TEST(slots_are_freed_once)
{
	struct shared *shared = make();

	shared_inherit(shared, true);
	ck_assert_int_eq(WTERMSIG(in_child(frees_twice, shared)), SIGABRT);
	ck_assert_int_eq(
	    WTERMSIG(in_child(frees_what_was_never_taken, shared)), SIGABRT);
	shared_free(shared);
}
END_TEST

UNIT_MAIN("shared", refuses_nonsense, begins_zeroed, largest,
    inherited_by_whom_it_is_meant_for, workers_share_it, topics_are_spread,
    topics_of_all_sorts, slots_until_none_is_left, slots_begin_zeroed,
    slots_come_and_go, slots_are_freed_once)
