/*
 * lane.c: every transition of the word from every word there is; a worker that
 * dies, and a transport that acts, at each instruction of the other; pages that
 * lie. Two processes at full speed are in test_lane_stress.c.
 */
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "pubsub/lane.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

#define STATES  4
#define HOLDERS 4 /* one is none */
#define GEN     77U
#define PASSED  1000U /* before each transition */
#define MAX_48  ((UINT64_C(1) << 48) - 1)

enum {
	FAST = LANE_FAST,
	OWED = LANE_OWED,
	QUEUED = LANE_QUEUED,
	CLOSED = LANE_CLOSED,
};
enum { NOBODY = LANE_NOBODY, PUBSUB = LANE_PUBSUB, TRANSPORT = LANE_TRANSPORT };

/* What two processes have in common. */
static struct world {
	struct lane lane;
	atomic_bool begun, done;
	/* What the functions of the two said; 0: not called. */
	int take, give, hold, queue, closed;
	int fd;
	size_t size, sent;
	bool sends;
} * world;

static char frame[1 << 20];

static uint64_t
word_of(uint64_t generation, uint64_t passed, unsigned holder, unsigned state)
{
	return generation << 52 | passed << 4 | holder << 2 | state;
}

static void
set_word(struct lane *lane, uint64_t word)
{
	atomic_store(&lane->word, word);
}

static void
assert_word(const struct lane *lane, uint64_t word)
{
	uint64_t is = atomic_load(&lane->word);

	ck_assert_msg(is == word, "word is %#jx, expected %#jx", (uintmax_t)is,
	    (uintmax_t)word);
}

static unsigned
state_of(const struct lane *lane)
{
	return atomic_load(&lane->word) & 3;
}

static unsigned
holder_of(const struct lane *lane)
{
	return atomic_load(&lane->word) >> 2 & 3;
}

static uint64_t
passed_of(const struct lane *lane)
{
	return atomic_load(&lane->word) >> 4 & MAX_48;
}

/* ---- the table ---- */

struct to {
	int said;
	unsigned holder, state;
	uint64_t more; /* passed */
};

#define GONE                       \
	{                          \
		LANE_GONE, 0, 0, 0 \
	}
#define BROKEN                       \
	{                            \
		LANE_BROKEN, 0, 0, 0 \
	}

START_TEST(take_from_every_word)
{
	static const struct to table[STATES][HOLDERS] = {
		[FAST] = { { LANE_TAKEN, PUBSUB, FAST, 0 }, GONE,
		    { LANE_PASSED, TRANSPORT, QUEUED, 3 }, GONE },
		[OWED] = { { LANE_PASSED, NOBODY, OWED, 3 }, GONE, GONE, GONE },
		[QUEUED] = { { LANE_PASSED, NOBODY, QUEUED, 3 }, GONE,
		    { LANE_PASSED, TRANSPORT, QUEUED, 3 }, GONE },
		[CLOSED] = { GONE, GONE, GONE, GONE },
	};

	for (unsigned state = 0; state < STATES; state++)
		for (unsigned holder = 0; holder < HOLDERS; holder++) {
			const struct to *to = &table[state][holder];
			uint64_t was = word_of(GEN, PASSED, holder, state);
			struct lane lane = { 0 };

			set_word(&lane, was);
			ck_assert_int_eq(
			    lane_take(&lane, GEN + 1, 3), LANE_GONE);
			ck_assert_int_eq(
			    lane_take(&lane, GEN - 1, 3), LANE_GONE);
			ck_assert_int_eq(
			    lane_take(&lane, GEN + 4096, 3), LANE_GONE);
			assert_word(&lane, was);
			ck_assert_int_eq(lane_take(&lane, GEN, 3), to->said);
			assert_word(&lane,
			    to->said == LANE_GONE
				? was
				: word_of(GEN, PASSED + to->more, to->holder,
				      to->state));
		}
}
END_TEST

/* Of 100 bytes intended so many are written, or there is an error. */
static void
check_give(const struct to table[STATES][HOLDERS], size_t bytes, bool error)
{
	for (unsigned state = 0; state < STATES; state++)
		for (unsigned holder = 0; holder < HOLDERS; holder++) {
			const struct to *to = &table[state][holder];
			uint64_t was = word_of(GEN, PASSED, holder, state);
			bool stays = to->said == LANE_BROKEN && to->state == 0;
			struct lane lane = { .total = 5 };

			lane_intend(&lane, 3, 9, 100);
			set_word(&lane, was);
			ck_assert_int_eq(
			    lane_give(&lane, GEN + 1, bytes, error),
			    LANE_BROKEN);
			ck_assert_uint_eq(lane.total, 5);
			assert_word(&lane, was);
			ck_assert_int_eq(
			    lane_give(&lane, GEN, bytes, error), to->said);
			assert_word(&lane,
			    stays ? was
				  : word_of(GEN, PASSED + to->more, to->holder,
					to->state));
			ck_assert_uint_eq(lane.total, stays ? 5 : 5 + bytes);
			ck_assert_uint_eq(lane_written(&lane, 3),
			    !stays && bytes == 100 ? 9 : 0);
			ck_assert_uint_eq(
			    lane.size, !stays && bytes == 100 ? 0 : 100);
		}
}

#define NOT_HELD                               \
	{                                      \
		BROKEN, BROKEN, BROKEN, BROKEN \
	}
#define CLOSES                                 \
	{                                      \
		LANE_BROKEN, NOBODY, CLOSED, 0 \
	}

START_TEST(give_from_every_word)
{
	static const struct to whole[STATES][HOLDERS] = {
		[FAST] = { BROKEN, { LANE_FREE, NOBODY, FAST, 0 }, BROKEN,
		    BROKEN },
		[OWED] = NOT_HELD,
		[QUEUED] = { BROKEN, { LANE_YOURS, NOBODY, QUEUED, 0 }, BROKEN,
		    BROKEN },
		[CLOSED] = { BROKEN, CLOSES, BROKEN, BROKEN },
	};
	static const struct to part[STATES][HOLDERS] = {
		[FAST] = { BROKEN, { LANE_REST, NOBODY, OWED, 1 }, BROKEN,
		    BROKEN },
		[OWED] = NOT_HELD,
		[QUEUED] = { BROKEN, { LANE_REST, NOBODY, OWED, 1 }, BROKEN,
		    BROKEN },
		[CLOSED] = { BROKEN, CLOSES, BROKEN, BROKEN },
	};
	static const struct to error[STATES][HOLDERS] = {
		[FAST] = { BROKEN, CLOSES, BROKEN, BROKEN },
		[OWED] = NOT_HELD,
		[QUEUED] = { BROKEN, CLOSES, BROKEN, BROKEN },
		[CLOSED] = { BROKEN, CLOSES, BROKEN, BROKEN },
	};

	check_give(whole, 100, false);
	check_give(part, 99, false);
	check_give(part, 0, false);
	check_give(error, 0, true);
	check_give(error, 1, true);
}
END_TEST

START_TEST(give_of_nothing_intended)
{
	struct lane lane = { .word = word_of(GEN, 0, PUBSUB, FAST) };

	ck_assert_int_eq(lane_give(&lane, GEN, 0, false), LANE_FREE);
	assert_word(&lane, word_of(GEN, 0, NOBODY, FAST));
}
END_TEST

/* Words that a transport may find, and what it makes of them. */
START_TEST(hold_from_every_word)
{
	static const struct {
		unsigned holder, state;
		struct to to;
	} table[] = {
		{ NOBODY, FAST, { true, TRANSPORT, FAST, 0 } },
		{ PUBSUB, FAST, { false, PUBSUB, QUEUED, 0 } },
		{ NOBODY, QUEUED, { true, TRANSPORT, QUEUED, 0 } },
		{ PUBSUB, QUEUED, { false, PUBSUB, QUEUED, 0 } },
		{ NOBODY, OWED, { false, NOBODY, OWED, 0 } },
		{ NOBODY, CLOSED, { false, NOBODY, CLOSED, 0 } },
		{ PUBSUB, CLOSED, { false, PUBSUB, CLOSED, 0 } },
		{ TRANSPORT, CLOSED, { true, TRANSPORT, CLOSED, 0 } },
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct lane lane = { 0 };

		set_word(&lane,
		    word_of(GEN, PASSED, table[i].holder, table[i].state));
		ck_assert_int_eq(lane_hold(&lane), table[i].to.said);
		assert_word(&lane,
		    word_of(
			GEN, PASSED, table[i].to.holder, table[i].to.state));
	}
}
END_TEST

START_TEST(release_from_every_word)
{
	static const struct {
		unsigned holder, state;
		unsigned busy, behind, done; /* states that follow */
	} table[] = {
		{ TRANSPORT, FAST, QUEUED, QUEUED, FAST },
		{ TRANSPORT, QUEUED, QUEUED, QUEUED, FAST },
		{ TRANSPORT, CLOSED, CLOSED, CLOSED, CLOSED },
		{ NOBODY, FAST, FAST, FAST, FAST },
		{ NOBODY, QUEUED, QUEUED, QUEUED, FAST },
		{ NOBODY, OWED, OWED, OWED, OWED },
		{ NOBODY, CLOSED, CLOSED, CLOSED, CLOSED },
		{ PUBSUB, FAST, FAST, FAST, FAST },
		{ PUBSUB, QUEUED, QUEUED, QUEUED, QUEUED },
		{ PUBSUB, CLOSED, CLOSED, CLOSED, CLOSED },
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		unsigned holder = table[i].holder, state = table[i].state;
		bool held = holder == TRANSPORT;
		unsigned then = held && state != CLOSED ? NOBODY : holder;
		uint64_t was = word_of(GEN, PASSED, holder, state);
		struct lane lane = { .total = 7 };
		size_t bytes = held ? 50 : 0;

		set_word(&lane, was);
		lane_release(&lane, bytes, false, PASSED);
		assert_word(&lane, word_of(GEN, PASSED, then, table[i].busy));
		ck_assert_uint_eq(lane.total, 7 + bytes);
		set_word(&lane, was);
		lane_release(&lane, 0, true, PASSED - 1);
		assert_word(&lane, word_of(GEN, PASSED, then, table[i].behind));
		set_word(&lane, was);
		lane_release(&lane, bytes, true, PASSED);
		assert_word(&lane, word_of(GEN, PASSED, then, table[i].done));
		ck_assert_uint_eq(lane.total, 7 + 2 * bytes);
	}
}
END_TEST

START_TEST(queue_and_close_from_every_word)
{
	static const struct {
		unsigned holder, state;
		struct to queue, close;
	} table[] = {
		{ NOBODY, FAST, { true, NOBODY, QUEUED, 0 },
		    { true, TRANSPORT, CLOSED, 0 } },
		{ PUBSUB, FAST, { false, PUBSUB, QUEUED, 0 },
		    { false, PUBSUB, CLOSED, 0 } },
		{ TRANSPORT, FAST, { true, TRANSPORT, QUEUED, 0 },
		    { true, TRANSPORT, CLOSED, 0 } },
		{ NOBODY, QUEUED, { true, NOBODY, QUEUED, 0 },
		    { true, TRANSPORT, CLOSED, 0 } },
		{ PUBSUB, QUEUED, { false, PUBSUB, QUEUED, 0 },
		    { false, PUBSUB, CLOSED, 0 } },
		{ TRANSPORT, QUEUED, { true, TRANSPORT, QUEUED, 0 },
		    { true, TRANSPORT, CLOSED, 0 } },
		{ NOBODY, OWED, { true, NOBODY, OWED, 0 },
		    { false, NOBODY, CLOSED, 0 } },
		{ NOBODY, CLOSED, { true, NOBODY, CLOSED, 0 },
		    { false, NOBODY, CLOSED, 0 } },
		{ PUBSUB, CLOSED, { false, PUBSUB, CLOSED, 0 },
		    { false, PUBSUB, CLOSED, 0 } },
		{ TRANSPORT, CLOSED, { true, TRANSPORT, CLOSED, 0 },
		    { true, TRANSPORT, CLOSED, 0 } },
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		const struct to *queue = &table[i].queue,
				*close = &table[i].close;
		uint64_t was = word_of(
		    GEN, PASSED, table[i].holder, table[i].state);
		struct lane lane = { 0 };

		set_word(&lane, was);
		ck_assert_int_eq(lane_is_closed(&lane), was % 4 == CLOSED);
		ck_assert_int_eq(lane_queue(&lane), queue->said);
		assert_word(
		    &lane, word_of(GEN, PASSED, queue->holder, queue->state));
		set_word(&lane, was);
		ck_assert_int_eq(lane_close(&lane), close->said);
		assert_word(
		    &lane, word_of(GEN, PASSED, close->holder, close->state));
		ck_assert(lane_is_closed(&lane));
	}
}
END_TEST

START_TEST(rest_from_every_word)
{
	for (unsigned state = 0; state < STATES; state++) {
		struct lane lane = { 0 };
		bool owed = state == OWED;

		lane_intend(&lane, 2, 9, 100);
		set_word(&lane, word_of(GEN, PASSED, NOBODY, state));
		lane_rest(&lane);
		assert_word(
		    &lane, word_of(GEN, PASSED, NOBODY, owed ? QUEUED : state));
		ck_assert_uint_eq(lane_written(&lane, 2), owed ? 9 : 0);
		ck_assert_uint_eq(lane.size, owed ? 0 : 100);
	}
}
END_TEST

/* ---- generations ---- */

START_TEST(first_registration_begins_anew)
{
	struct lane lane;
	unsigned origin;
	uint64_t last;
	size_t size, in;

	for (unsigned state = 0; state < STATES; state++)
		for (unsigned holder = 0; holder < HOLDERS; holder++) {
			memset(&lane, 0x5a, sizeof lane);
			set_word(&lane, word_of(GEN, PASSED, holder, state));
			ck_assert_uint_eq(
			    lane_register(&lane, true, 12345), GEN + 1);
			assert_word(&lane, word_of(GEN + 1, 0, NOBODY, QUEUED));
			ck_assert_uint_eq(lane.base, 12345);
			ck_assert_uint_eq(lane.total, 0);
			for (unsigned i = 0; i < PUBSUB_MAX; i++)
				ck_assert_uint_eq(lane_written(&lane, i), 0);
			ck_assert(!lane_interrupted(
			    &lane, 12345, &origin, &last, &size, &in));
		}
}
END_TEST

/* A worker that has not heard yet that its connection is gone. */
START_TEST(worker_of_the_last_connection_is_shut_out)
{
	struct lane lane = { 0 };
	uint32_t old = lane_register(&lane, true, 0), new;

	lane_release(&lane, 0, true, 0);
	ck_assert_int_eq(lane_take(&lane, old, 1), LANE_TAKEN);
	lane_intend(&lane, 1, 4, 10);
	new = lane_register(&lane, true, 500);
	ck_assert_int_eq(lane_give(&lane, old, 10, false), LANE_BROKEN);
	ck_assert_uint_eq(lane.total, 0);
	ck_assert_uint_eq(lane_written(&lane, 1), 0);
	ck_assert_int_eq(lane_take(&lane, old, 1), LANE_GONE);
	assert_word(&lane, word_of(new, 0, NOBODY, QUEUED));
}
END_TEST

START_TEST(generations_wrap)
{
	struct lane lane = { 0 };
	uint32_t first, generation;

	/* Nobody has registered. */
	for (uint32_t i = 0; i < 5000; i++)
		ck_assert_int_eq(lane_take(&lane, i, 1), LANE_GONE);
	ck_assert_int_eq(lane_give(&lane, 0, 0, false), LANE_BROKEN);
	first = generation = lane_register(&lane, true, 0);
	ck_assert_uint_eq(first, 1);
	for (uint32_t i = 1; i < 10000; i++) {
		uint32_t next = lane_register(&lane, i % 3 == 0, 0);

		ck_assert_uint_eq(
		    next, generation == 4095 ? 1 : generation + 1);
		ck_assert_int_eq(lane_take(&lane, generation, 1), LANE_GONE);
		ck_assert_int_eq(lane_take(&lane, next, 1), LANE_PASSED);
		ck_assert_int_eq(lane_take(&lane, 0, 1), LANE_GONE);
		assert_word(&lane, word_of(next, 1, NOBODY, QUEUED));
		generation = next;
	}
}
END_TEST

START_TEST(closed_is_final_in_all_generations)
{
	static const unsigned holders[] = { NOBODY, PUBSUB, TRANSPORT };

	for (size_t i = 0; i < 3; i++) {
		struct lane lane = { 0 };
		bool mine = holders[i] == TRANSPORT;
		uint32_t generation;

		set_word(&lane, word_of(4000, 8, holders[i], CLOSED));
		for (unsigned n = 0; n < 5000; n++) {
			generation = lane_register(&lane, false, 0);
			ck_assert(lane_is_closed(&lane));
			ck_assert_int_eq(
			    lane_take(&lane, generation, 1), LANE_GONE);
			ck_assert_int_eq(lane_give(&lane, generation, 0, false),
			    LANE_BROKEN);
			ck_assert(lane_hold(&lane) == mine);
			ck_assert(lane_close(&lane) == mine);
			lane_rest(&lane);
			lane_queue(&lane);
			lane_release(&lane, 0, true, 0);
			ck_assert(lane_is_closed(&lane));
		}
	}
}
END_TEST

START_TEST(passed_does_not_overflow)
{
	struct lane lane = { 0 };
	uint64_t full = word_of(GEN, MAX_48, NOBODY, QUEUED);

	set_word(&lane, word_of(GEN, MAX_48 - 3, NOBODY, QUEUED));
	ck_assert_int_eq(lane_take(&lane, GEN, 4), LANE_GONE);
	ck_assert_int_eq(lane_take(&lane, GEN, UINT64_MAX), LANE_GONE);
	ck_assert_int_eq(lane_take(&lane, GEN, 3), LANE_PASSED);
	assert_word(&lane, full);
	ck_assert_int_eq(lane_take(&lane, GEN, 1), LANE_GONE);
	assert_word(&lane, full);
	/* A short write is one frame more. */
	lane_intend(&lane, 0, 1, 100);
	set_word(&lane, word_of(GEN, MAX_48, PUBSUB, FAST));
	ck_assert_int_eq(lane_give(&lane, GEN, 40, false), LANE_BROKEN);
	assert_word(&lane, word_of(GEN, MAX_48, NOBODY, CLOSED));
}
END_TEST

/* ---- lies ---- */

START_TEST(interrupted_by_nonsense)
{
	unsigned origin = 99;
	uint64_t last;
	size_t size, in;
	struct lane lane = { .word = word_of(GEN, 1, NOBODY, OWED) };

	/* Nothing intended. */
	ck_assert(lane_interrupted(&lane, 100, &origin, &last, &size, &in));
	ck_assert_uint_gt(in, size);
	ck_assert(lane_interrupted(&lane, 0, &origin, &last, &size, &in));
	ck_assert_uint_gt(in, size);
	/* An origin that there is not. */
	lane_intend(&lane, 0, 5, 100);
	for (uint64_t bad = PUBSUB_MAX; bad != 0; bad <<= 1) {
		atomic_store(&lane.origin, bad);
		ck_assert(
		    lane_interrupted(&lane, 50, &origin, &last, &size, &in));
		ck_assert_uint_lt(origin, PUBSUB_MAX);
		ck_assert_uint_gt(in, size);
	}
	/* The account is less than what was written before, or too much. */
	atomic_store(&lane.origin, 0);
	atomic_store(&lane.base, 1000);
	ck_assert(lane_interrupted(&lane, 999, &origin, &last, &size, &in));
	ck_assert_uint_gt(in, size);
	ck_assert(lane_interrupted(&lane, 1101, &origin, &last, &size, &in));
	ck_assert_uint_gt(in, size);
	ck_assert(lane_interrupted(&lane, 1100, &origin, &last, &size, &in));
	ck_assert_uint_eq(in, size);
}
END_TEST

/* An origin that there is not is no place to write to. */
START_TEST(written_stays_on_the_page)
{
	struct {
		struct lane lane;
		uint64_t behind[PUBSUB_MAX];
	} page = { 0 }, before;

	for (uint64_t bad = PUBSUB_MAX; bad != 0; bad <<= 1) {
		lane_intend(&page.lane, 0, 5, 100);
		atomic_store(&page.lane.origin, bad);
		atomic_store(&page.lane.total, 0);
		set_word(&page.lane, word_of(GEN, 1, PUBSUB, FAST));
		memcpy(&before, &page, sizeof page);
		ck_assert_int_eq(
		    lane_give(&page.lane, GEN, 100, false), LANE_FREE);
		ck_assert_mem_eq(page.lane.written, before.lane.written,
		    sizeof page.lane.written);
		ck_assert_mem_eq(
		    page.behind, before.behind, sizeof page.behind);
	}
}
END_TEST

START_TEST(more_written_than_intended)
{
	struct lane lane = { .total = 5 };

	lane_intend(&lane, 3, 9, 100);
	set_word(&lane, word_of(GEN, 0, PUBSUB, FAST));
	atomic_store(&lane.size, 99);
	ck_assert_int_eq(lane_give(&lane, GEN, 100, false), LANE_BROKEN);
	ck_assert_uint_eq(lane.total, 5);
	ck_assert_uint_eq(lane_written(&lane, 3), 0);
}
END_TEST

START_TEST(account_that_is_impossible_is_told)
{
	unsigned origin;
	uint64_t last;
	size_t size, in;
	struct lane lane = { 0 };
	uint32_t generation = lane_register(&lane, true, 1000);

	lane_release(&lane, 0, true, 0);
	ck_assert_int_eq(lane_take(&lane, generation, 1), LANE_TAKEN);
	lane_intend(&lane, 0, 5, 100);
	/* Somebody wrote who had no right to. */
	lane_register(&lane, false, 1101);
	ck_assert_uint_eq(state_of(&lane), OWED);
	ck_assert(lane_interrupted(&lane, 1101, &origin, &last, &size, &in));
	ck_assert_uint_gt(in, size);
}
END_TEST

static void
make_world(void)
{
	world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(world, MAP_FAILED);
}

/* Scribbles all over the page, for ever. */
static void
scribble(void)
{
	_Atomic uint64_t *page = (_Atomic uint64_t *)&world->lane;
	size_t n = sizeof world->lane / sizeof *page;
	uint64_t x = 88172645463325252;

	for (;;) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		/* Mostly words that look right. */
		if (x >> 60 < 12)
			atomic_store(
			    page, word_of(GEN, x >> 20 & 1, x >> 8 & 1, x & 2));
		else
			atomic_store(&page[x >> 32 & 15], x & 0xff);
		atomic_store(&page[(x >> 40) % n], x);
	}
}

/* The worker comes back from each call, with one of its answers. Not all of it
 * is refused at sight: until then, however late the scribbler runs. */
START_TEST(page_that_never_holds_still)
{
	unsigned takes[4] = { 0 }, gives[5] = { 0 }, origin;
	long long end = monotonic_ms() + TOOLS_DEADLINE;
	uint64_t last;
	size_t size, in;
	pid_t pid;

	make_world();
	world->done = false;
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0)
		scribble();
	for (unsigned i = 0; i < 20000 || takes[LANE_GONE] == 0 ||
	     takes[LANE_TAKEN] + takes[LANE_PASSED] == 0 ||
	     gives[LANE_BROKEN] == 0;
	     i++) {
		enum lane_take take = lane_take(&world->lane, GEN, 1 + i % 16);
		enum lane_given give;

		ck_assert_int_ge(take, LANE_TAKEN);
		ck_assert_int_le(take, LANE_GONE);
		takes[take]++;
		lane_intend(&world->lane, i % PUBSUB_MAX, i, 1 + i % 100);
		give = lane_give(&world->lane, GEN, i % 50, i % 100 == 0);
		ck_assert_int_ge(give, LANE_FREE);
		ck_assert_int_le(give, LANE_BROKEN);
		gives[give]++;
		if (lane_interrupted(
			&world->lane, i, &origin, &last, &size, &in))
			ck_assert_uint_lt(origin, PUBSUB_MAX);
		lane_written(&world->lane, i % PUBSUB_MAX);
		ck_assert_int_lt(monotonic_ms(), end);
	}
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	tools_assert_killed(pid, SIGKILL);
}
END_TEST

/* ---- step by step ---- */

/* Without Check's assertions, each of which writes to a file. */
static void
step(pid_t pid)
{
	int status = 0;

	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == -1 ||
	    waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    WSTOPSIG(status) != SIGTRAP)
		ck_abort_msg("status 0x%x at a step", status);
}

/* The two take turns: without the other processors they are faster. */
static void
stay_here(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	sched_setaffinity(0, sizeof set, &set);
}

static void
wait_stopped(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP,
	    "status 0x%x: ptrace is not allowed, or it failed", status);
}

/* A child that runs the function again and again, and stops before each. */
static pid_t
step_fork(void (*run)(void))
{
	pid_t pid;

	stay_here();
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == -1)
			_exit(EXIT_FAILURE);
		for (;;) {
			raise(SIGSTOP);
			world->begun = true;
			run();
			world->done = true;
		}
	}
	wait_stopped(pid);
	return pid;
}

/* To the first instruction. */
static void
step_begin(pid_t pid)
{
	world->begun = world->done = false;
	while (!world->begun)
		step(pid);
}

/* All that is left of it. */
static void
step_finish(pid_t pid)
{
	ck_assert_int_eq(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
	wait_stopped(pid);
	ck_assert(world->done);
}

static void
step_kill(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	tools_assert_killed(pid, SIGKILL);
}

/* ---- the worker dies ---- */

static void
tcp_pair(int fds[2], int buffer)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ne(listener, -1);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&address, &size);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ne(fds[1], -1);
	if (buffer != 0)
		setsockopt(
		    fds[1], SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
	ck_assert_int_eq(connect(fds[1], (struct sockaddr *)&address, size), 0);
	fds[0] = accept(listener, NULL, NULL);
	ck_assert_int_ne(fds[0], -1);
	if (buffer != 0)
		setsockopt(
		    fds[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
	close(listener);
}

static uint64_t
account_of(int fd)
{
	uint64_t account = 0;

	ck_assert(lane_account(fd, &account));
	return account;
}

START_TEST(account_counts_what_was_written)
{
	static char buf[5000];
	uint64_t base, written = 0;
	int fds[2];

	tcp_pair(fds, 4096);
	base = account_of(fds[0]);
	for (int i = 0; i < 2000; i++) {
		ssize_t n = send(fds[0], buf, 1 + (size_t)i * 37 % sizeof buf,
		    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			written += (uint64_t)n;
		else
			ck_assert_int_eq(errno, EAGAIN);
		ck_assert_uint_eq(account_of(fds[0]) - base, written);
		recv(fds[1], buf, (size_t)i * 53 % sizeof buf, MSG_DONTWAIT);
		ck_assert_uint_eq(account_of(fds[0]) - base, written);
	}
	ck_assert_uint_gt(written, 100000);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* While acknowledgments come all the time. */
START_TEST(account_counts_while_the_client_reads)
{
	static char buf[5000];
	uint64_t base, written = 0, wrong = 0;
	int fds[2];
	pid_t pid;

	tcp_pair(fds, 0);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		close(fds[0]);
		while (read(fds[1], buf, sizeof buf) > 0)
			;
		_exit(0);
	}
	base = account_of(fds[0]);
	for (int i = 0; i < 20000; i++) {
		uint64_t account = 0;
		ssize_t n = send(fds[0], buf, 1 + (size_t)i * 37 % sizeof buf,
		    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			written += (uint64_t)n;
		if (!lane_account(fds[0], &account) ||
		    account - base != written)
			wrong++;
	}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_gt(written, 100000);
	close(fds[0]);
	close(fds[1]);
	tools_assert_exit(pid, 0);
}
END_TEST

START_TEST(account_of_what_is_no_tcp_socket)
{
	uint64_t account;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert(!lane_account(fds[0], &account));
	ck_assert_int_eq(errno, EOPNOTSUPP);
	close(fds[0]);
	close(fds[1]);
	ck_assert(!lane_account(fds[0], &account));
	ck_assert_int_eq(errno, EBADF);
}
END_TEST

static void
write_as_worker(void)
{
	ssize_t n = 0;

	world->take = lane_take(&world->lane, GEN, 1);
	if (world->take != LANE_TAKEN)
		return;
	lane_intend(&world->lane, 2, 7, world->size);
	if (world->sends)
		n = send(
		    world->fd, frame, world->size, MSG_DONTWAIT | MSG_NOSIGNAL);
	world->sent = n > 0 ? (size_t)n : 0;
	world->give = lane_give(&world->lane, GEN, world->sent, false);
}

enum { IN_NONE, IN_PART, IN_ALL, IN_KINDS };

/* What is found when it dies just now: on a copy. Which kind it was. */
static unsigned
check_death(const struct lane *lane, uint64_t account, uint64_t before)
{
	struct lane copy;
	size_t in = account - before, size = 0, told = 0;
	unsigned origin = 0;
	uint64_t last = 0;
	bool part = in > 0 && in < world->size;

	memcpy(&copy, lane, sizeof copy);
	ck_assert_uint_eq(lane_register(&copy, false, account), GEN + 1);
	assert_word(
	    &copy, word_of(GEN + 1, part, NOBODY, part ? OWED : QUEUED));
	ck_assert_uint_eq(copy.total, account - copy.base);
	ck_assert_uint_eq(lane_written(&copy, 2), in == world->size ? 7 : 6);
	ck_assert_int_eq(
	    lane_interrupted(&copy, account, &origin, &last, &size, &told),
	    part);
	if (!part) {
		ck_assert_uint_eq(copy.size, 0);
		return in == 0 ? IN_NONE : IN_ALL;
	}
	ck_assert_uint_eq(origin, 2);
	ck_assert_uint_eq(last, 7);
	ck_assert_uint_eq(size, world->size);
	ck_assert_uint_eq(told, in);
	/* And if the next one dies before the rest has come. */
	ck_assert_uint_eq(lane_register(&copy, false, account), GEN + 2);
	ck_assert(
	    lane_interrupted(&copy, account, &origin, &last, &size, &told));
	ck_assert_uint_eq(told, in);
	/* The rest comes, is written, and all is as ever. */
	ck_assert(!lane_hold(&copy));
	lane_rest(&copy);
	ck_assert_uint_eq(lane_written(&copy, 2), 7);
	ck_assert(lane_hold(&copy));
	lane_release(&copy, size - in, true, 1);
	assert_word(&copy, word_of(GEN + 2, 1, NOBODY, FAST));
	ck_assert_uint_eq(copy.total, before - copy.base + world->size);
	return IN_PART;
}

static bool
has_changed(const void *before, const void *now)
{
	return memcmp(before, now, sizeof(struct lane)) != 0;
}

/* queue: the transport wants it as soon as it is taken. */
static void
check_deaths(unsigned kinds[IN_KINDS], bool queue)
{
	uint64_t before = account_of(world->fd), now, last = before;
	struct lane seen = { 0 };
	pid_t pid;

	memset(&world->lane, 0, sizeof world->lane);
	set_word(&world->lane, word_of(GEN, 0, NOBODY, FAST));
	atomic_store(&world->lane.base, before - 4321);
	atomic_store(&world->lane.total, 4321);
	atomic_store(&world->lane.written[2], 6);
	memset(kinds, 0, IN_KINDS * sizeof *kinds);
	pid = step_fork(write_as_worker);
	step_begin(pid);
	while (!world->done) {
		if (queue && holder_of(&world->lane) == PUBSUB) {
			ck_assert(!lane_queue(&world->lane));
			queue = false;
		}
		now = account_of(world->fd);
		if (now != last || has_changed(&seen, &world->lane)) {
			last = now;
			memcpy(&seen, &world->lane, sizeof seen);
			kinds[check_death(&seen, now, before)]++;
		}
		step(pid);
	}
	kinds[check_death(&world->lane, account_of(world->fd), before)]++;
	step_kill(pid);
	ck_assert(!queue);
	ck_assert_int_eq(world->take, LANE_TAKEN);
}

START_TEST(worker_dies_at_each_instruction)
{
	unsigned kinds[IN_KINDS];
	int fds[2];

	make_world();
	for (int queue = 0; queue <= 1; queue++) {
		tcp_pair(fds, 4096);
		world->fd = fds[0];
		world->sends = true;
		world->size = 1000; /* goes in */
		check_deaths(kinds, queue);
		ck_assert_int_eq(world->give, queue ? LANE_YOURS : LANE_FREE);
		ck_assert_uint_ge(kinds[IN_NONE], 6);
		ck_assert_uint_ge(kinds[IN_ALL], 5);
		ck_assert_uint_eq(kinds[IN_PART], 0);
		world->size = sizeof frame; /* some of it */
		check_deaths(kinds, queue);
		ck_assert_int_eq(world->give, LANE_REST);
		ck_assert_uint_gt(world->sent, 0);
		ck_assert_uint_ge(kinds[IN_NONE], 6);
		ck_assert_uint_ge(kinds[IN_PART], 3);
		ck_assert_uint_eq(kinds[IN_ALL], 0);
		world->sends = false; /* the socket takes nothing */
		check_deaths(kinds, queue);
		ck_assert_int_eq(world->give, LANE_REST);
		ck_assert_uint_ge(kinds[IN_NONE], 7);
		ck_assert_uint_eq(kinds[IN_PART] + kinds[IN_ALL], 0);
		close(fds[0]);
		close(fds[1]);
	}
}
END_TEST

/* ---- the two at once ---- */

static void
pretend_to_write(void)
{
	world->take = lane_take(&world->lane, GEN, 1);
	if (world->take != LANE_TAKEN)
		return;
	lane_intend(&world->lane, 2, 7, 5);
	world->give = lane_give(&world->lane, GEN, 5, false);
}

static void
give_back(void)
{
	world->give = lane_give(&world->lane, GEN, 5, false);
}

static void
transport_queues(void)
{
	world->queue = 1 + lane_queue(&world->lane);
}

static void
transport_is_done(void)
{
	lane_release(&world->lane, 0, true, 0);
}

static void
transport_writes(void)
{
	world->hold = 1 + lane_hold(&world->lane);
	if (world->hold == 1 + true)
		lane_release(&world->lane, 3, true, 0);
}

static void
transport_closes(void)
{
	world->closed = 1 + lane_close(&world->lane);
}

enum outcome {
	OUT_PASSED = 1, /* the worker passed a frame on */
	OUT_APART,      /* it wrote, and both did not meet */
	OUT_YOURS,      /* it wrote while the transport wanted to */
	OUT_CLOSED,     /* the transport closed first */
	OUT_BROKEN,     /* it wrote when the transport closed */
	OUTCOMES,
};

/* What may have happened, and nothing else. */
static enum outcome
judge(void)
{
	const struct lane *lane = &world->lane;
	bool denied = world->queue == 1 + false || world->hold == 1 + false;
	bool wrote = world->hold == 1 + true;

	if (world->closed != 0) {
		bool mine = world->closed == 1 + true;

		ck_assert(lane_is_closed(lane));
		ck_assert_uint_eq(holder_of(lane), mine ? TRANSPORT : NOBODY);
		if (world->take == LANE_GONE) {
			ck_assert(mine);
			return OUT_CLOSED;
		}
		ck_assert_int_eq(world->take, LANE_TAKEN);
		ck_assert_int_eq(world->give, mine ? LANE_FREE : LANE_BROKEN);
		return mine ? OUT_APART : OUT_BROKEN;
	}
	ck_assert_uint_eq(holder_of(lane), NOBODY);
	if (world->take == LANE_PASSED) {
		ck_assert(!denied);
		ck_assert_uint_eq(state_of(lane), QUEUED);
		ck_assert_uint_eq(passed_of(lane), 1);
		ck_assert_uint_eq(atomic_load(&lane->total), wrote ? 3 : 0);
		return OUT_PASSED;
	}
	ck_assert_int_eq(world->take, LANE_TAKEN);
	ck_assert_uint_eq(passed_of(lane), 0);
	ck_assert_uint_eq(atomic_load(&lane->total), wrote ? 8 : 5);
	/* Exactly then, and not lost in between. */
	ck_assert_int_eq(world->give, denied ? LANE_YOURS : LANE_FREE);
	ck_assert_uint_eq(
	    state_of(lane), denied || world->queue != 0 ? QUEUED : FAST);
	return denied ? OUT_YOURS : OUT_APART;
}

struct race {
	unsigned holder, state; /* before */
	void (*stepped)(void);
	void (*other)(void); /* at once, between two steps */
	enum outcome first;  /* when the other comes first */
	enum outcome last;
	enum outcome middle; /* at least once */
};

static void
race_set_up(const struct race *race)
{
	memset(world, 0, sizeof *world);
	set_word(&world->lane, word_of(GEN, 0, race->holder, race->state));
	if (race->holder == PUBSUB) {
		world->take = LANE_TAKEN;
		lane_intend(&world->lane, 2, 7, 5);
	}
}

/* How many instructions it has: as the build made it. */
static unsigned
race_count(const struct race *race, pid_t pid)
{
	unsigned n = 0;

	race_set_up(race);
	step_begin(pid);
	for (; !world->done; n++)
		step(pid);
	step_finish(pid);
	return n;
}

static enum outcome
race_run(const struct race *race, pid_t pid, unsigned steps)
{
	race_set_up(race);
	step_begin(pid);
	for (unsigned i = 0; i < steps && !world->done; i++)
		step(pid);
	race->other();
	step_finish(pid);
	return judge();
}

START_TEST(transport_acts_between_any_two_instructions)
{
	static const struct race races[] = {
		{ NOBODY, FAST, pretend_to_write, transport_queues, OUT_PASSED,
		    OUT_APART, OUT_YOURS },
		{ NOBODY, FAST, pretend_to_write, transport_writes, OUT_APART,
		    OUT_APART, OUT_YOURS },
		{ NOBODY, QUEUED, pretend_to_write, transport_is_done,
		    OUT_APART, OUT_PASSED, OUT_PASSED },
		{ NOBODY, FAST, pretend_to_write, transport_closes, OUT_CLOSED,
		    OUT_APART, OUT_BROKEN },
		{ NOBODY, FAST, transport_queues, pretend_to_write, OUT_APART,
		    OUT_PASSED, OUT_APART },
		{ NOBODY, FAST, transport_writes, pretend_to_write, OUT_APART,
		    OUT_APART, OUT_PASSED },
		{ NOBODY, QUEUED, transport_is_done, pretend_to_write,
		    OUT_PASSED, OUT_APART, OUT_PASSED },
		{ NOBODY, FAST, transport_closes, pretend_to_write, OUT_APART,
		    OUT_CLOSED, OUT_APART },
		{ PUBSUB, FAST, transport_queues, give_back, OUT_APART,
		    OUT_YOURS, OUT_YOURS },
		{ PUBSUB, FAST, transport_writes, give_back, OUT_APART,
		    OUT_YOURS, OUT_YOURS },
		{ PUBSUB, FAST, transport_closes, give_back, OUT_APART,
		    OUT_BROKEN, OUT_BROKEN },
	};

	make_world();
	for (size_t i = 0; i < sizeof races / sizeof races[0]; i++) {
		const struct race *race = &races[i];
		unsigned n, seen[OUTCOMES] = { 0 };
		pid_t pid = step_fork(race->stepped);

		n = race_count(race, pid);
		ck_assert_uint_gt(n, 10);
		ck_assert_int_eq(race_run(race, pid, 0), race->first);
		ck_assert_int_eq(race_run(race, pid, n), race->last);
		/* All of them, or an instrumented build would take long. */
		for (unsigned at = 1; at < n; at += n <= 200 ? 1 : n / 32)
			seen[race_run(race, pid, at)]++;
		ck_assert_msg(seen[race->middle] > 0,
		    "race %zu: never outcome %d", i, race->middle);
		step_kill(pid);
	}
	tools_assert_no_children();
}
END_TEST

static void
take_once(void)
{
	world->take = lane_take(&world->lane, GEN, 1);
}

/* The word is another one at each instruction: no swap ever succeeds. */
START_TEST(worker_gives_up_on_a_word_that_changes_all_the_time)
{
	static void (*const runs[])(void) = { take_once, give_back };

	make_world();
	for (int i = 0; i < 2; i++) {
		unsigned holder = i == 0 ? NOBODY : PUBSUB;
		uint64_t passed = 0;
		pid_t pid;

		memset(world, 0, sizeof *world);
		if (i == 1)
			lane_intend(&world->lane, 2, 7, 5);
		set_word(&world->lane, word_of(GEN, 0, holder, QUEUED));
		pid = step_fork(runs[i]);
		step_begin(pid);
		while (!world->done) {
			set_word(&world->lane,
			    word_of(GEN, ++passed, holder, QUEUED));
			if (passed > 1000000)
				ck_abort_msg("it does not give up");
			step(pid);
		}
		step_kill(pid);
		if (i == 0)
			ck_assert_int_eq(world->take, LANE_GONE);
		else
			ck_assert_int_eq(world->give, LANE_BROKEN);
		assert_word(&world->lane, word_of(GEN, passed, holder, QUEUED));
	}
}
END_TEST

/* ---- the two, stopped and killed ---- */

/* Who finds the lane held goes on: it passes, or is told later. */
START_TEST(nobody_waits_for_who_holds)
{
	struct lane lane = { 0 };
	uint32_t generation = lane_register(&lane, true, 0);

	lane_release(&lane, 0, true, 0);
	/* The transport is stopped, or dead. */
	ck_assert(lane_hold(&lane));
	for (uint64_t i = 1; i <= 1000; i++) {
		ck_assert_int_eq(lane_take(&lane, generation, 1), LANE_PASSED);
		ck_assert_uint_eq(passed_of(&lane), i);
	}
	lane_release(&lane, 10, true, 0);
	ck_assert_uint_eq(state_of(&lane), QUEUED);
	lane_release(&lane, 0, true, 999);
	ck_assert_uint_eq(state_of(&lane), QUEUED);
	lane_release(&lane, 0, true, 1000);
	ck_assert_uint_eq(state_of(&lane), FAST);
	/* The worker is stopped. */
	ck_assert_int_eq(lane_take(&lane, generation, 2), LANE_TAKEN);
	lane_intend(&lane, 0, 1, 10);
	for (int i = 0; i < 1000; i++) {
		ck_assert(!lane_hold(&lane));
		lane_release(&lane, 0, true, 1000);
	}
	/* It goes on: told once, whoever asked how often. */
	ck_assert_int_eq(lane_give(&lane, generation, 10, false), LANE_YOURS);
	ck_assert_int_eq(lane_take(&lane, generation, 1), LANE_PASSED);
	ck_assert(lane_hold(&lane));
	lane_release(&lane, 1, true, 1001);
	ck_assert_int_eq(lane_take(&lane, generation, 1), LANE_TAKEN);
	ck_assert_int_eq(lane_give(&lane, generation, 0, false), LANE_FREE);
}
END_TEST

UNIT_MAIN("lane", take_from_every_word, give_from_every_word,
    give_of_nothing_intended, hold_from_every_word, release_from_every_word,
    queue_and_close_from_every_word, rest_from_every_word,
    first_registration_begins_anew, worker_of_the_last_connection_is_shut_out,
    generations_wrap, closed_is_final_in_all_generations,
    passed_does_not_overflow, interrupted_by_nonsense,
    written_stays_on_the_page, more_written_than_intended,
    account_that_is_impossible_is_told, page_that_never_holds_still,
    account_counts_what_was_written, account_counts_while_the_client_reads,
    account_of_what_is_no_tcp_socket, worker_dies_at_each_instruction,
    transport_acts_between_any_two_instructions,
    worker_gives_up_on_a_word_that_changes_all_the_time,
    nobody_waits_for_who_holds)
