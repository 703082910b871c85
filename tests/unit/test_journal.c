/*
 * journal.c: what was appended is read; what was overwritten, damaged or
 * interrupted is told from it, whenever a writer dies.
 */
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <check.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/tree.h"
#include "pubsub/journal.h"
#include "pubsub/slots.h"
#include "tests/unit/unit.h"

#define SMALL JOURNAL_SIZE_MIN
#define HEAD  64 /* bytes in front of an entry's topic */

static struct journal *
begin(size_t size)
{
	struct journal *journal = journal_map(size);

	ck_assert_ptr_nonnull(journal);
	ck_assert(journal_open(journal, true));
	return journal;
}

/* ---- entries whose content follows from their number ---- */

static size_t
payload_size(uint64_t number, size_t max)
{
	return (size_t)(number * UINT64_C(2654435761) >> 7) % (max + 1);
}

static char
payload_byte(uint64_t number, size_t at)
{
	return (char)(number * 31 + at * 7 + (at >> 8));
}

/* buf: of max bytes; topic: of 32. */
static struct journal_entry
make(uint64_t number, char *topic, char *buf, size_t max)
{
	size_t size = payload_size(number, max);

	for (size_t i = 0; i < size; i++)
		buf[i] = payload_byte(number, i);
	snprintf(topic, 32, "room:%llu", (unsigned long long)number);
	return (struct journal_entry){
		.connection = number * 3,
		.publish = number + 5,
		.slot = (uint32_t)number ^ 0x5555,
		.flags = number % 2 == 0 ? JOURNAL_LOCAL : 0,
		.broadcast.topic = text_lent(topic, strlen(topic)),
		.broadcast.event = text_lent("new_msg", number % 8),
		.broadcast.kind = number % 3,
		.broadcast.payload = text_lent(buf, size),
	};
}

static uint64_t
append(struct journal *journal, size_t max)
{
	char topic[32], *buf = malloc(max + 1);
	struct journal_entry entry;
	uint64_t number;

	entry = make(journal_head(journal) + 1, topic, buf, max);
	number = journal_append(journal, &entry);
	free(buf);
	return number;
}

/* Is it what make() made? Also used where nothing may be asserted. */
static bool
is_right(const struct journal_entry *entry, size_t max)
{
	const struct broadcast *broadcast = &entry->broadcast;
	uint64_t number = entry->number;
	char topic[32];

	snprintf(topic, sizeof topic, "room:%llu", (unsigned long long)number);
	if (entry->connection != number * 3 || entry->publish != number + 5 ||
	    entry->slot != ((uint32_t)number ^ 0x5555) ||
	    entry->flags != (number % 2 == 0 ? JOURNAL_LOCAL : 0) ||
	    broadcast->kind != number % 3 ||
	    broadcast->topic.size != strlen(topic) ||
	    memcmp(broadcast->topic.data, topic, strlen(topic) + 1) != 0 ||
	    broadcast->event.size != number % 8 ||
	    memcmp(broadcast->event.data, "new_msg", number % 8) != 0 ||
	    broadcast->event.data[number % 8] != '\0' ||
	    broadcast->payload.size != payload_size(number, max))
		return false;
	for (size_t i = 0; i < broadcast->payload.size; i++)
		if (broadcast->payload.data[i] != payload_byte(number, i))
			return false;
	return broadcast->payload.data[broadcast->payload.size] == '\0';
}

/* Of all that is still there the contents are right, and no number is missing.
 * Returns the first. */
static uint64_t
check_all(struct journal *journal, size_t max)
{
	struct journal_reader reader = { .journal = journal };
	struct journal_entry entry;
	uint64_t first = 0, head = journal_head(journal);

	for (uint64_t n = 1; n <= head; n++) {
		enum journal_result result;

		reader.next = n;
		result = journal_read(&reader, &entry);
		if (result == JOURNAL_OVERRUN && first == 0)
			continue;
		ck_assert_int_eq(result, JOURNAL_OK);
		ck_assert_uint_eq(entry.number, n);
		ck_assert(is_right(&entry, max));
		ck_assert(journal_is_valid(&reader));
		if (first == 0)
			first = n;
	}
	ck_assert_int_eq(journal_read(&reader, &entry), JOURNAL_END);
	return first;
}

/* ---- reading and writing ---- */

START_TEST(begins_empty)
{
	struct journal *journal = begin(SMALL);
	struct journal_reader reader = { .journal = journal, .next = 1 };
	struct journal_entry entry;

	ck_assert_uint_eq(journal_epoch(journal), 1);
	ck_assert_uint_eq(journal_head(journal), 0);
	ck_assert_uint_eq(journal_map_size(journal), SMALL);
	ck_assert_int_eq(journal_read(&reader, &entry), JOURNAL_END);
	ck_assert_uint_eq(reader.epoch, 1);
	ck_assert(!journal_is_valid(&reader));
	reader.next = 0;
	ck_assert_int_eq(journal_read(&reader, &entry), JOURNAL_OVERRUN);
	reader.next = UINT64_MAX;
	ck_assert_int_eq(journal_read(&reader, &entry), JOURNAL_END);
	/* Opened again before anything was written. */
	ck_assert(journal_open(journal, false));
	ck_assert(journal_open(journal, true));
	ck_assert_uint_eq(journal_epoch(journal), 1);
	journal_unmap(journal);
}
END_TEST

START_TEST(refuses_bad_sizes)
{
	static const size_t sizes[] = { 0, 1, 4096, SMALL / 2, SMALL - 1,
		SMALL + 1, SMALL * 3, (size_t)JOURNAL_SIZE_MAX * 2, SIZE_MAX };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		errno = 0;
		ck_assert_ptr_null(journal_map(sizes[i]));
		ck_assert_int_eq(errno, EINVAL);
	}
	journal_unmap(NULL);
}
END_TEST

static void
assert_text(struct text got, const char *data, size_t size)
{
	ck_assert_uint_eq(got.size, size);
	ck_assert_ptr_nonnull(got.data);
	if (size > 0)
		ck_assert_mem_eq(got.data, data, size);
	ck_assert_int_eq(got.data[size], '\0');
}

START_TEST(round_trips)
{
	static const struct {
		const char *data;
		size_t size;
	} texts[] = { { "", 0 }, { "a\0b", 3 }, { "\0", 1 }, { "\0\0\0\0", 4 },
		{ "0123456789012345678901234567890123456789", 40 },
		{ "\xff\xfe\x80", 3 }, { NULL, 0 } };
	const size_t n = sizeof texts / sizeof texts[0];
	struct journal *journal = begin(SMALL);
	struct journal_reader reader = { .journal = journal, .next = 1 };

	for (size_t i = 0; i < n * n * n; i++) {
		size_t t = i % n, e = i / n % n, p = i / n / n;
		struct journal_entry entry = {
			.connection = i * UINT64_C(0x100000001),
			.publish = UINT64_MAX - i,
			.slot = i % 2 == 0 ? SLOT_NONE : (uint32_t)i,
			.flags = (uint32_t)(i % 2) * JOURNAL_LOCAL,
			.broadcast.topic = text_lent(
			    texts[t].data, texts[t].size),
			.broadcast.event = text_lent(
			    texts[e].data, texts[e].size),
			.broadcast.kind = (uint32_t)(i % 3),
			.broadcast.payload = text_lent(
			    texts[p].data, texts[p].size),
		};
		struct journal_entry got;

		ck_assert_uint_eq(journal_append(journal, &entry), i + 1);
		ck_assert_uint_eq(journal_head(journal), i + 1);
		ck_assert_int_eq(journal_read(&reader, &got), JOURNAL_OK);
		ck_assert_uint_eq(got.number, i + 1);
		ck_assert_uint_eq(got.connection, entry.connection);
		ck_assert_uint_eq(got.publish, entry.publish);
		ck_assert_uint_eq(got.slot, entry.slot);
		ck_assert_uint_eq(got.flags, entry.flags);
		ck_assert_uint_eq(got.broadcast.kind, entry.broadcast.kind);
		assert_text(got.broadcast.topic, texts[t].data, texts[t].size);
		assert_text(got.broadcast.event, texts[e].data, texts[e].size);
		assert_text(
		    got.broadcast.payload, texts[p].data, texts[p].size);
		ck_assert(journal_is_valid(&reader));
		ck_assert_int_eq(journal_read(&reader, &got), JOURNAL_END);
	}
	journal_unmap(journal);
}
END_TEST

/* Sizes that have nothing to do with that of the ring: each place in it is once
 * an entry's beginning, middle and end. */
START_TEST(wraps_around)
{
	static const size_t max[] = { 0, 200, 3000, 16000 };

	for (size_t i = 0; i < sizeof max / sizeof max[0]; i++) {
		struct journal *journal = begin(SMALL);
		struct journal_reader reader = { .journal = journal,
			.next = 1 };
		struct journal_entry entry;

		for (uint64_t n = 1; n <= 2000; n++) {
			ck_assert_uint_eq(append(journal, max[i]), n);
			ck_assert_int_eq(
			    journal_read(&reader, &entry), JOURNAL_OK);
			ck_assert_uint_eq(entry.number, n);
			ck_assert(is_right(&entry, max[i]));
		}
		ck_assert(journal_open(journal, true));
		ck_assert_uint_eq(journal_head(journal), 2000);
		ck_assert_uint_gt(check_all(journal, max[i]), 1);
		journal_unmap(journal);
	}
}
END_TEST

START_TEST(slow_reader_is_overrun)
{
	struct journal *journal = begin(SMALL);
	struct journal_reader reader = { .journal = journal, .next = 1 };
	struct journal_entry first, entry;
	uint64_t oldest;

	append(journal, 300);
	ck_assert_int_eq(journal_read(&reader, &first), JOURNAL_OK);
	/* What was lent is right as long as it is said to be. */
	for (;;) {
		append(journal, 300);
		if (!journal_is_valid(&reader))
			break;
		ck_assert(is_right(&first, 300));
		ck_assert_uint_lt(journal_head(journal), SMALL / 96);
	}
	ck_assert_uint_gt(journal_head(journal), SMALL / 448);
	oldest = check_all(journal, 300);
	ck_assert_uint_gt(oldest, 1);
	/* The rest is there, one after the other. */
	reader.next = 1;
	ck_assert_int_eq(journal_read(&reader, &entry), JOURNAL_OVERRUN);
	ck_assert_int_eq(journal_read(&reader, &entry), JOURNAL_OVERRUN);
	reader.next = oldest;
	while (reader.next <= journal_head(journal))
		ck_assert_int_eq(journal_read(&reader, &entry), JOURNAL_OK);
	/* Numbers of which not even the place in the index is left. */
	for (int i = 0; i < 10000; i++)
		append(journal, 300);
	oldest = check_all(journal, 300);
	for (reader.next = 1; reader.next < oldest; reader.next++)
		ck_assert_int_eq(
		    journal_read(&reader, &entry), JOURNAL_OVERRUN);
	journal_unmap(journal);
}
END_TEST

START_TEST(largest_entry)
{
	struct journal *journal = begin(SMALL);
	struct journal_reader reader = { .journal = journal, .next = 1 };
	size_t max = journal_entry_max(journal);
	char *buf = malloc(max);
	struct journal_entry entry = { 0 }, got;
	struct text *texts[] = { &entry.broadcast.topic, &entry.broadcast.event,
		&entry.broadcast.payload };
	uint64_t number = 0;

	ck_assert_uint_gt(max, SMALL / 4 - 128);
	ck_assert_uint_le(max, SMALL / 4);
	memset(buf, 'x', max);
	for (int round = 0; round < 10; round++)
		for (size_t i = 0; i < 3; i++) {
			*texts[i] = text_lent(buf, max);
			*texts[(i + 1) % 3] = text_lent("", 1);
			ck_assert_uint_eq(journal_append(journal, &entry), 0);
			texts[(i + 1) % 3]->size = 0;
			texts[i]->size = SIZE_MAX;
			ck_assert_uint_eq(journal_append(journal, &entry), 0);
			*texts[(i + 1) % 3] = *texts[i]; /* sum: SIZE_MAX - 1 */
			ck_assert_uint_eq(journal_append(journal, &entry), 0);
			texts[i]->size = max + 1;
			texts[(i + 1) % 3]->size = 0;
			ck_assert_uint_eq(journal_append(journal, &entry), 0);
			texts[i]->size = max;
			ck_assert_uint_eq(
			    journal_append(journal, &entry), ++number);
			ck_assert_int_eq(
			    journal_read(&reader, &got), JOURNAL_OK);
			ck_assert_uint_eq(got.number, number);
			ck_assert_uint_eq(got.broadcast.topic.size +
				got.broadcast.event.size +
				got.broadcast.payload.size,
			    max);
			texts[i]->size = 0;
		}
	ck_assert(journal_open(journal, true));
	free(buf);
	journal_unmap(journal);
}
END_TEST

/* ---- readers in other processes ---- */

/* With a sanitizer an instruction becomes many: less is tried. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STRIDE 41
#define MANY   30000
#else
#define STRIDE 1
#define MANY   200000
#endif
#define READERS 4
#define PACE    2000 /* entries, some times what the ring holds */

static void *
map_shared(size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(map, MAP_FAILED);
	return map;
}

/* Copies what is lent, and looks at it when it is known to be valid. */
static bool
read_copy(struct journal_reader *reader, char *copy, size_t max,
    struct journal_entry *entry, bool *overrun)
{
	struct text *payload = &entry->broadcast.payload;
	struct text *topic = &entry->broadcast.topic;
	struct text *event = &entry->broadcast.event;
	uint64_t next = reader->next;
	enum journal_result result = journal_read(reader, entry);

	if (result == JOURNAL_END)
		return true;
	*overrun = result == JOURNAL_OVERRUN;
	if (*overrun)
		return true;
	if (payload->size > max || topic->size > 30 || event->size > 7)
		return false; /* it was checked before it was lent */
	memcpy(copy, topic->data, topic->size + 1);
	memcpy(copy + 32, event->data, event->size + 1);
	memcpy(copy + 64, payload->data, payload->size + 1);
	*overrun = !journal_is_valid(reader);
	if (*overrun)
		return true;
	topic->data = copy;
	event->data = copy + 32;
	payload->data = copy + 64;
	return entry->number == next && is_right(entry, max);
}

/* nread: of this reader. Returns an exit status. */
static int
read_along(struct journal *journal, size_t max, _Atomic uint64_t *nread)
{
	struct journal_reader reader = { .journal = journal, .next = 1 };
	struct journal_entry entry;
	char copy[1024];

	while (reader.next <= MANY) {
		bool overrun = false;
		uint64_t next = reader.next;

		if (!read_copy(&reader, copy, max, &entry, &overrun))
			return 1;
		if (overrun)
			reader.next = journal_head(journal);
		else if (reader.next == next)
			sched_yield();
		else
			atomic_fetch_add(nread, 1);
		if (reader.next < next)
			return 2;
	}
	return 0;
}

static pid_t
fork_reader(struct journal *journal, size_t max, _Atomic uint64_t *nread)
{
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		signal(SIGALRM, SIG_DFL);
		alarm(UNIT_TIMEOUT);
		journal_protect(journal);
		_exit(read_along(journal, max, nread));
	}
	return pid;
}

START_TEST(many_readers_and_a_fast_writer)
{
	struct journal *journal = begin(SMALL * 2);
	const size_t max = 500, size = READERS * sizeof(uint64_t);
	_Atomic uint64_t *nread = map_shared(size);
	uint64_t before[READERS] = { 0 };
	pid_t pids[READERS];
	int status;

	journal_inherit(journal, true);
	for (int i = 0; i < READERS; i++)
		pids[i] = fork_reader(journal, max, &nread[i]);
	for (uint64_t n = 1; n <= MANY; n++) {
		ck_assert_uint_eq(append(journal, max), n);
		/* However late they run, each has its share. */
		for (int i = 0; n % PACE == 0 && i < READERS; i++) {
			while (nread[i] == before[i])
				sched_yield();
			before[i] = nread[i];
		}
	}
	for (int i = 0; i < READERS; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
		ck_assert_uint_ge(nread[i], MANY / PACE);
	}
	munmap((void *)nread, size);
	journal_unmap(journal);
}
END_TEST

/* ---- writers that die ---- */

/* returned: what the writer was told. */
static pid_t
fork_writer(struct journal *journal, size_t max, _Atomic uint64_t *returned)
{
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid != 0)
		return pid;
	if (!journal_open(journal, false))
		_exit(1);
	for (;;)
		atomic_store(returned, append(journal, max));
}

static void
kill_and_wait(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

START_TEST(writers_killed_at_random)
{
	struct journal *journal = begin(SMALL);
	_Atomic uint64_t *returned = map_shared(sizeof *returned);
	const size_t max = 2000;

	journal_inherit(journal, true);
	srand(1);
	for (int round = 0; round < 200; round++) {
		uint64_t until = atomic_load(returned) + 1 +
		    (uint64_t)rand() % 100;
		pid_t pid = fork_writer(journal, max, returned);

		while (atomic_load(returned) < until)
			ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
		for (volatile int i = rand() % 5000; i > 0; i--)
			continue;
		kill_and_wait(pid);
		ck_assert(journal_open(journal, round % 2 == 0));
		ck_assert(journal_open(journal, true));
		ck_assert_uint_ge(journal_head(journal), *returned);
		ck_assert_uint_le(journal_head(journal), *returned + 1);
		check_all(journal, max);
		atomic_store(returned, append(journal, max));
	}
	ck_assert_uint_eq(journal_epoch(journal), 1);
	journal_unmap(journal);
	munmap((void *)returned, sizeof *returned);
}
END_TEST

/* A writer appends once, and is killed behind that many instructions. False: it
 * had appended before. */
static bool
kill_behind(struct journal *journal, size_t max, unsigned long instructions)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		char topic[32], buf[512];
		struct journal_entry entry = make(
		    journal_head(journal) + 1, topic, buf, max);

		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		journal_append(journal, &entry);
		raise(SIGSTOP);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	while (instructions-- > 0) {
		ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSTOPPED(status));
		if (WSTOPSIG(status) == SIGSTOP)
			break;
		ck_assert_int_eq(WSTOPSIG(status), SIGTRAP);
	}
	kill_and_wait(pid);
	return WSTOPSIG(status) == SIGTRAP;
}

START_TEST(writers_killed_at_each_instruction)
{
	struct journal *journal = begin(SMALL);
	const size_t max = 100;
	unsigned long at = 1, absent = 0, present = 0;

	journal_inherit(journal, true);
	for (int i = 0; i < 2000; i++)
		append(journal, max);
	for (;; at += STRIDE) {
		uint64_t head = journal_head(journal);
		bool killed = kill_behind(journal, max, at);

		if (journal_head(journal) == head)
			absent++;
		else
			present++;
		ck_assert(journal_open(journal, true));
		ck_assert_uint_le(journal_head(journal), head + 1);
		if (at % 16 == 0)
			check_all(journal, max);
		/* The same content: the same instructions, nearly. */
		append(journal, max);
		ck_assert_uint_le(journal_head(journal), head + 2);
		if (!killed)
			break;
	}
	ck_assert_uint_eq(journal_epoch(journal), 1);
	check_all(journal, max);
	ck_assert_uint_gt(absent, 20);
	ck_assert_uint_gt(present, STRIDE == 1 ? 1 : 0);
	journal_unmap(journal);
}
END_TEST

/* ---- damage ---- */

#define FEW 21 /* entries; odd: a flipped bit of the last number loses one */

static void
append_few(struct journal *journal)
{
	for (int i = 0; i < FEW; i++)
		ck_assert_uint_ne(append(journal, 60), 0);
}

/* An entry's bytes, from its head to where the next one begins. */
static unsigned char *
entry_bytes(const struct journal *journal, uint64_t number, size_t *size)
{
	struct journal_reader reader = { .journal = journal, .next = number };
	struct journal_entry entry;
	size_t texts;

	ck_assert_int_eq(journal_read(&reader, &entry), JOURNAL_OK);
	texts = entry.broadcast.topic.size + entry.broadcast.event.size +
	    entry.broadcast.payload.size + 3;
	*size = (HEAD + texts + 31) / 32 * 32;
	return (unsigned char *)entry.broadcast.topic.data - HEAD;
}

static enum journal_result
read_number(const struct journal *journal, uint64_t number)
{
	struct journal_reader reader = { .journal = journal, .next = number };
	struct journal_entry entry;

	return journal_read(&reader, &entry);
}

START_TEST(damaged_entries_are_found)
{
	static const uint64_t numbers[] = { 1, 2, FEW / 2, FEW - 1, FEW };
	struct journal *journal = begin(SMALL);
	uint64_t epoch = 1;

	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		size_t size = 1;

		for (size_t at = 0; at < size; at++) {
			unsigned char *bytes;

			append_few(journal);
			bytes = entry_bytes(journal, numbers[i], &size);
			bytes[at] ^= (unsigned char)(1U << at % 8);
			ck_assert_int_eq(
			    read_number(journal, numbers[i]), JOURNAL_OVERRUN);
			if (numbers[i] != 1)
				ck_assert_int_eq(
				    read_number(journal, numbers[i] - 1),
				    JOURNAL_OK);
			/* The last one is looked at in any case. */
			ck_assert(!journal_open(journal, numbers[i] != FEW));
			ck_assert_uint_gt(journal_epoch(journal), epoch);
			epoch = journal_epoch(journal);
			ck_assert_uint_eq(journal_head(journal), 0);
			ck_assert_int_eq(read_number(journal, 1), JOURNAL_END);
		}
	}
	append_few(journal);
	ck_assert(journal_open(journal, true));
	ck_assert_uint_eq(check_all(journal, 60), 1);
	journal_unmap(journal);
}
END_TEST

struct area {
	unsigned char *data;
	size_t size;
};

/* The mappings of the journal: what lies in front with the ring, and the ring
 * again. */
static size_t
find_areas(struct area areas[2])
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned long from, to;
	size_t n = 0;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof line, maps) != NULL)
		if (strstr(line, "/memfd:journal") != NULL) {
			ck_assert_int_eq(
			    sscanf(line, "%lx-%lx", &from, &to), 2);
			ck_assert_uint_lt(n, 2);
			areas[n].data = (unsigned char *)from;
			areas[n++].size = to - from;
		}
	fclose(maps);
	return n;
}

/* Of what lies in front of the ring each byte either does not matter, or its
 * damage is found. */
START_TEST(damage_in_front_is_found)
{
	struct journal *journal = begin(SMALL);
	struct area areas[2];
	uint64_t found = 0, epoch = 1;

	ck_assert_uint_eq(find_areas(areas), 2);
	ck_assert_uint_eq(areas[1].size, SMALL);
	append_few(journal);
	for (size_t at = 0; at < areas[0].size - SMALL; at++) {
		unsigned char old = areas[0].data[at];

		areas[0].data[at] ^= (unsigned char)(1U << at % 8);
		if (journal_open(journal, true)) {
			ck_assert_uint_eq(journal_head(journal), FEW);
			ck_assert_uint_eq(check_all(journal, 60), 1);
			areas[0].data[at] = old;
			continue;
		}
		found++;
		ck_assert_uint_gt(journal_epoch(journal), epoch);
		epoch = journal_epoch(journal);
		ck_assert_uint_eq(journal_head(journal), 0);
		append_few(journal);
	}
	/* At least each byte of the places of those that are there. */
	ck_assert_uint_ge(found, FEW * sizeof(uint64_t));
	journal_unmap(journal);
}
END_TEST

/* Whatever lies there, nobody crashes or goes round and round. */
START_TEST(garbage)
{
	struct journal *journal = begin(SMALL);
	struct area areas[2];
	uint64_t ok = 0;

	find_areas(areas);
	srand(2);
	for (int round = 0; round < 300; round++) {
		size_t from = (size_t)rand() % areas[0].size;
		size_t many = (size_t)rand() % (round % 3 == 0 ? 70000 : 300);

		for (int i = 0; i < 300; i++)
			append(journal, 200);
		/* In front more often than its share. */
		if (round % 2 == 0)
			from %= 4096;
		for (size_t i = from; i < areas[0].size && i < from + many; i++)
			areas[0].data[i] = round % 5 == 0
			    ? 0xff
			    : (unsigned char)rand();
		for (uint64_t n = 0; n < 1000; n++)
			ok += read_number(journal, n) == JOURNAL_OK;
		for (int i = 0; i < 10; i++)
			append(journal, 200);
		for (uint64_t n = 0; n < 1000; n++)
			ok += read_number(journal, journal_head(journal) - n) ==
			    JOURNAL_OK;
		journal_open(journal, round % 4 == 0);
		ck_assert_uint_ne(append(journal, 200), 0);
	}
	/* Damage of one place does not take the others with it. */
	ck_assert_uint_gt(ok, 1000);
	journal_unmap(journal);
}
END_TEST

START_TEST(lengths_are_not_believed)
{
	struct journal *journal = begin(SMALL);
	size_t size;

	append_few(journal);
	for (size_t word = 0; word < HEAD / sizeof(uint32_t); word++) {
		unsigned char *bytes = entry_bytes(journal, 7, &size);
		uint32_t old,
		    bad[] = { UINT32_MAX, 0x80000000U, SMALL / 4, SMALL, 0, 1 };

		memcpy(&old, bytes + word * 4, sizeof old);
		for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
			if (bad[i] == old)
				continue;
			memcpy(bytes + word * 4, &bad[i], sizeof old);
			ck_assert_int_eq(
			    read_number(journal, 7), JOURNAL_OVERRUN);
		}
		memcpy(bytes + word * 4, &old, sizeof old);
		ck_assert_int_eq(read_number(journal, 7), JOURNAL_OK);
	}
	journal_unmap(journal);
}
END_TEST

START_TEST(new_epoch)
{
	struct journal *journal = begin(SMALL);
	struct journal_reader reader = { .journal = journal, .next = 3 };
	struct journal_reader later = reader;
	struct journal_entry entry;
	size_t size;

	append_few(journal);
	ck_assert_int_eq(journal_read(&reader, &entry), JOURNAL_OK);
	ck_assert(journal_is_valid(&reader));
	entry_bytes(journal, FEW, &size)[3] ^= 1;
	ck_assert(!journal_open(journal, false));
	/* Who was in the old epoch learns of the new one, also when numbers
	 * have come as far again. */
	for (int i = 0; i < 3; i++) {
		ck_assert(!journal_is_valid(&reader));
		ck_assert_int_eq(
		    journal_read(&reader, &entry), JOURNAL_OVERRUN);
		append_few(journal);
	}
	ck_assert_uint_eq(reader.next, 4);
	ck_assert_int_eq(journal_read(&later, &entry), JOURNAL_OK);
	ck_assert_uint_eq(later.epoch, journal_epoch(journal));
	ck_assert_uint_eq(entry.number, 3);
	ck_assert_uint_eq(check_all(journal, 60), 1);
	journal_unmap(journal);
}
END_TEST

/* Also when it is the epoch that was damaged. */
START_TEST(no_epoch_comes_twice)
{
	struct journal *journal = begin(SMALL);
	struct area areas[2];

	find_areas(areas);
	for (int round = 0; round < 10; round++) {
		uint64_t epoch = journal_epoch(journal), *words, at = 0;

		append_few(journal);
		words = (uint64_t *)(void *)areas[0].data;
		while (words[at] != epoch)
			ck_assert_uint_lt(++at, 512);
		words[at]--;
		ck_assert(!journal_open(journal, false));
		ck_assert_uint_gt(journal_epoch(journal), epoch);
	}
	journal_unmap(journal);
}
END_TEST

/* ---- who has it ---- */

/* The status of a child that runs it. */
static int
in_child(void (*run)(struct journal *), struct journal *journal)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL); /* sanitizers handle it */
		run(journal);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void
count_areas(struct journal *journal)
{
	struct area areas[2];

	(void)journal;
	_exit((int)find_areas(areas));
}

static void
write_there(struct journal *journal)
{
	if (!journal_open(journal, true))
		_exit(1);
	_exit(append(journal, 60) == FEW + 1 ? 0 : 2);
}

static void
read_protected(struct journal *journal)
{
	journal_protect(journal);
	for (uint64_t n = 1; n <= FEW; n++)
		if (read_number(journal, n) != JOURNAL_OK)
			_exit(1);
}

static void
write_protected(struct journal *journal)
{
	journal_protect(journal);
	write_there(journal);
}

START_TEST(inherited_by_whom_it_is_meant_for)
{
	struct journal *journal = begin(SMALL);

	append_few(journal);
	ck_assert_int_eq(WEXITSTATUS(in_child(count_areas, journal)), 0);
	journal_inherit(journal, true);
	ck_assert_int_eq(WEXITSTATUS(in_child(count_areas, journal)), 2);
	ck_assert_int_eq(in_child(read_protected, journal), 0);
	ck_assert_int_eq(WTERMSIG(in_child(write_protected, journal)), SIGSEGV);
	ck_assert_uint_eq(journal_head(journal), FEW);
	ck_assert_int_eq(in_child(write_there, journal), 0);
	ck_assert_uint_eq(journal_head(journal), FEW + 1);
	journal_inherit(journal, false);
	ck_assert_int_eq(WEXITSTATUS(in_child(count_areas, journal)), 0);
	journal_unmap(journal);
}
END_TEST

UNIT_MAIN("journal", begins_empty, refuses_bad_sizes, round_trips, wraps_around,
    slow_reader_is_overrun, largest_entry, many_readers_and_a_fast_writer,
    writers_killed_at_random, writers_killed_at_each_instruction,
    damaged_entries_are_found, damage_in_front_is_found, garbage,
    lengths_are_not_believed, new_epoch, no_epoch_comes_twice,
    inherited_by_whom_it_is_meant_for)
