/*
 * lane.c - see lane.h. Each function looks at the word, decides what it is to
 * become, and tries again when somebody else was faster. The transport may try
 * for as long as it takes: it loses only against a worker's progress. The
 * worker may not: the page is not its own.
 */
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include "pubsub/lane.h"

#define PASSED_MAX ((UINT64_C(1) << 48) - 1)
/* A transport needs a system call between two transitions, the worker a few
 * instructions between a look and a swap: even two failures are rare. */
#define TRIES 256
/* Each failure is an acknowledgment that came within a microsecond. */
#define ACCOUNT_TRIES 1000

_Static_assert(sizeof(struct lane) <= LANE_SIZE, "a lane is a page");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a word needs no lock");

struct word {
	uint32_t generation;
	uint64_t passed;
	enum lane_holder holder;
	enum lane_state state;
};

static struct word
unpack(uint64_t bits)
{
	struct word word = {
		.generation = bits >> 52,
		.passed = bits >> 4 & PASSED_MAX,
		.holder = bits >> 2 & 3,
		.state = bits & 3,
	};

	return word;
}

static uint64_t
pack(struct word word)
{
	return (uint64_t)word.generation << 52 | word.passed << 4 |
	    (uint64_t)word.holder << 2 | word.state;
}

/* False: it has become what *seen says now. */
static bool
change(struct lane *lane, uint64_t *seen, struct word to)
{
	return atomic_compare_exchange_strong(&lane->word, seen, pack(to));
}

static bool
bytes_acked(int fd, uint64_t *acked)
{
	struct tcp_info info;
	socklen_t size = sizeof info;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == -1)
		return false;
	if (size < offsetof(struct tcp_info, tcpi_bytes_acked) +
		sizeof info.tcpi_bytes_acked) {
		errno = ENOSYS;
		return false;
	}
	*acked = info.tcpi_bytes_acked;
	return true;
}

bool
lane_account(int fd, uint64_t *account)
{
	uint64_t before, after;
	int waiting;

	if (!bytes_acked(fd, &before))
		return false;
	for (int i = 0; i < ACCOUNT_TRIES; i++) {
		if (ioctl(fd, SIOCOUTQ, &waiting) == -1 ||
		    !bytes_acked(fd, &after))
			return false;
		/* Nothing moved from the one figure to the other meanwhile. */
		if (before == after) {
			*account = after + (uint64_t)waiting;
			return true;
		}
		before = after;
	}
	errno = EAGAIN;
	return false;
}

static void
begin(struct lane *lane, uint64_t account)
{
	atomic_store(&lane->base, account);
	atomic_store(&lane->total, 0);
	atomic_store(&lane->origin, 0);
	atomic_store(&lane->last, 0);
	atomic_store(&lane->start, 0);
	atomic_store(&lane->size, 0);
	for (size_t i = 0; i < PUBSUB_MAX; i++)
		atomic_store(&lane->written[i], 0);
}

/* All that was intended is in the socket, or goes there without the worker. */
static void
finish(struct lane *lane)
{
	uint64_t origin = atomic_load(&lane->origin);

	if (atomic_load(&lane->size) > 0 && origin < PUBSUB_MAX)
		atomic_store(&lane->written[origin], atomic_load(&lane->last));
	atomic_store(&lane->size, 0);
}

/*
 * The last worker's write ended with the worker. Whether it went in wholly or
 * not at all is settled here; false: in part, and its rest is missing (or the
 * account is impossible, which is for the next worker to say).
 */
static bool
settle(struct lane *lane)
{
	uint64_t in = atomic_load(&lane->total) - atomic_load(&lane->start);
	uint64_t size = atomic_load(&lane->size);

	if (in != size && in > 0 && size > 0)
		return false;
	if (in == size)
		finish(lane);
	atomic_store(&lane->size, 0);
	return true;
}

uint32_t
lane_register(struct lane *lane, bool first, uint64_t account)
{
	uint64_t seen = atomic_load(&lane->word);
	struct word word = unpack(seen);
	bool owed = false;

	if (!first) {
		assert(
		    word.holder != LANE_TRANSPORT || word.state == LANE_CLOSED);
		atomic_store(&lane->total, account - atomic_load(&lane->base));
		if (word.holder == LANE_PUBSUB || word.state == LANE_OWED)
			owed = !settle(lane);
	}
	do {
		word = unpack(seen);
		word.generation = word.generation % LANE_GENERATION + 1;
		word.passed = owed;
		if (first || word.holder == LANE_PUBSUB)
			word.holder = LANE_NOBODY;
		if (first || word.state != LANE_CLOSED)
			word.state = owed ? LANE_OWED : LANE_QUEUED;
	} while (!change(lane, &seen, word));
	/* Not before a worker of the last connection was shut out. */
	if (first)
		begin(lane, account);
	return word.generation;
}

bool
lane_hold(struct lane *lane)
{
	uint64_t seen = atomic_load(&lane->word);
	struct word word;
	bool held;

	do {
		word = unpack(seen);
		if (word.state == LANE_CLOSED)
			return word.holder == LANE_TRANSPORT;
		if (word.state == LANE_OWED)
			return false;
		assert(word.holder != LANE_TRANSPORT);
		held = word.holder == LANE_NOBODY;
		if (held)
			word.holder = LANE_TRANSPORT;
		else
			word.state = LANE_QUEUED; /* so that it says YOURS */
	} while (!change(lane, &seen, word));
	return held;
}

void
lane_release(struct lane *lane, size_t bytes, bool idle, uint64_t received)
{
	uint64_t seen = atomic_load(&lane->word);
	struct word word = unpack(seen);
	bool held = word.holder == LANE_TRANSPORT;

	assert(held || bytes == 0);
	if (bytes > 0)
		atomic_fetch_add(&lane->total, bytes);
	do {
		word = unpack(seen);
		if (word.state == LANE_CLOSED)
			return;
		idle = idle && word.passed == received;
		if (!held &&
		    (!idle || word.state != LANE_QUEUED ||
			word.holder != LANE_NOBODY))
			return;
		word.holder = LANE_NOBODY;
		word.state = idle ? LANE_FAST : LANE_QUEUED;
	} while (!change(lane, &seen, word));
}

void
lane_rest(struct lane *lane)
{
	uint64_t seen = atomic_load(&lane->word);
	struct word word = unpack(seen);

	if (word.state != LANE_OWED)
		return;
	finish(lane);
	do {
		word = unpack(seen);
		word.state = LANE_QUEUED;
	} while (!change(lane, &seen, word));
}

bool
lane_queue(struct lane *lane)
{
	uint64_t seen = atomic_load(&lane->word);
	struct word word;

	do {
		word = unpack(seen);
		if (word.state == LANE_FAST)
			word.state = LANE_QUEUED;
	} while (!change(lane, &seen, word));
	return word.holder != LANE_PUBSUB;
}

bool
lane_close(struct lane *lane)
{
	uint64_t seen = atomic_load(&lane->word);
	struct word word;

	do {
		word = unpack(seen);
		if (word.state == LANE_CLOSED)
			break;
		if (word.state != LANE_OWED && word.holder == LANE_NOBODY)
			word.holder = LANE_TRANSPORT;
		word.state = LANE_CLOSED;
	} while (!change(lane, &seen, word));
	return word.holder == LANE_TRANSPORT;
}

bool
lane_is_closed(const struct lane *lane)
{
	return unpack(atomic_load(&lane->word)).state == LANE_CLOSED;
}

/* What take makes of a word: LANE_GONE leaves it as it is. */
static enum lane_take
decide_take(struct word *word, uint32_t generation, uint64_t frames)
{
	bool held = word->holder == LANE_TRANSPORT;

	if (word->generation != generation || generation == 0)
		return LANE_GONE;
	if (!held && word->holder != LANE_NOBODY)
		return LANE_GONE;
	if (frames > PASSED_MAX - word->passed)
		return LANE_GONE;
	switch (word->state) {
	case LANE_FAST:
		if (!held) {
			word->holder = LANE_PUBSUB;
			return LANE_TAKEN;
		}
		word->state = LANE_QUEUED;
		break;
	case LANE_QUEUED:
		break;
	case LANE_OWED:
		if (held)
			return LANE_GONE;
		break;
	case LANE_CLOSED:
		return LANE_GONE;
	}
	word->passed += frames;
	return LANE_PASSED;
}

enum lane_take
lane_take(struct lane *lane, uint32_t generation, uint64_t frames)
{
	uint64_t seen = atomic_load(&lane->word);

	for (int i = 0; i < TRIES; i++) {
		struct word word = unpack(seen);
		enum lane_take take = decide_take(&word, generation, frames);

		if (take == LANE_GONE || change(lane, &seen, word))
			return take;
	}
	return LANE_GONE;
}

void
lane_intend(struct lane *lane, unsigned origin, uint64_t last, size_t size)
{
	assert(origin < PUBSUB_MAX && size > 0);
	atomic_store(&lane->origin, origin);
	atomic_store(&lane->last, last);
	atomic_store(&lane->start, atomic_load(&lane->total));
	/* With this it counts. */
	atomic_store(&lane->size, size);
}

/* Whether the worker holds it, as far as can be said. */
static bool
is_held(struct word word, uint32_t generation)
{
	return word.generation == generation && generation != 0 &&
	    word.holder == LANE_PUBSUB && word.state != LANE_OWED;
}

/* What give makes of a word. */
static enum lane_given
decide_give(struct word *word, bool whole, bool error)
{
	enum lane_state was = word->state;

	word->holder = LANE_NOBODY;
	if (was == LANE_CLOSED)
		return LANE_BROKEN;
	if (error || (!whole && word->passed == PASSED_MAX)) {
		word->state = LANE_CLOSED;
		return LANE_BROKEN;
	}
	if (whole)
		return was == LANE_QUEUED ? LANE_YOURS : LANE_FREE;
	word->state = LANE_OWED;
	word->passed++;
	return LANE_REST;
}

enum lane_given
lane_give(struct lane *lane, uint32_t generation, size_t bytes, bool error)
{
	uint64_t seen = atomic_load(&lane->word);
	uint64_t size = atomic_load(&lane->size);
	enum lane_given given;
	struct word word;

	/* The account of another connection, or generation, is not touched. */
	if (!is_held(unpack(seen), generation) || bytes > size)
		return LANE_BROKEN;
	if (bytes > 0)
		atomic_fetch_add(&lane->total, bytes);
	if (bytes == size)
		finish(lane);
	for (int i = 0; i < TRIES; i++) {
		word = unpack(seen);
		if (!is_held(word, generation))
			return LANE_BROKEN;
		given = decide_give(&word, bytes == size, error);
		if (change(lane, &seen, word))
			return given;
	}
	return LANE_BROKEN;
}

bool
lane_is_owed(const struct lane *lane)
{
	return unpack(atomic_load(&lane->word)).state == LANE_OWED;
}

bool
lane_interrupted(const struct lane *lane, uint64_t account, unsigned *origin,
    uint64_t *last, size_t *size, size_t *in)
{
	uint64_t of = atomic_load(&lane->origin);

	if (!lane_is_owed(lane))
		return false;
	*last = atomic_load(&lane->last);
	*size = atomic_load(&lane->size);
	*in = account - atomic_load(&lane->base) - atomic_load(&lane->start);
	*origin = (unsigned)of;
	if (of >= PUBSUB_MAX || *size == 0) {
		*origin = 0;
		*size = 0;
		*in = 1;
	}
	return true;
}

uint64_t
lane_written(const struct lane *lane, unsigned origin)
{
	assert(origin < PUBSUB_MAX);
	return atomic_load(&lane->written[origin]);
}
