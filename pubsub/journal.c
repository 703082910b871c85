/*
 * journal.c - see journal.h.
 *
 * Offsets count all bytes of an epoch and never wrap; in memory the ring is
 * mapped twice, back to back, so that an entry lies in one piece wherever it
 * begins. Every entry's offset is in an index, by number, which is longer than
 * entries that the ring can hold.
 *
 * The writer may be killed between any two instructions:
 *
 *   claimed   first says which bytes will be written, so that readers of what
 *             lay there know; it never goes back
 *             then the entry is written, and where the next one will begin
 *   head      its number: by this store the entry is there
 *   settled   its number again, so that a head that was overwritten by mistake
 *             differs from one whose next entry was interrupted
 */
#include <sys/mman.h>

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/tree.h"
#include "common/xmalloc.h"
#include "pubsub/journal.h"

#define ALIGN      32 /* of entries; the sum takes so many bytes at a time */
#define MAGIC      0x4c4e524aU
#define KIND_SHIFT 16
#define KIND_BELOW ((1U << KIND_SHIFT) - 1)
#define ENTRY_MIN  96 /* bytes of one with three empty texts */

/* An entry: this, and topic, event and payload, each with a NUL behind it. */
struct entry_head {
	uint64_t sum; /* of the whole entry with 0 here, its offset and epoch */
	uint64_t number;
	uint64_t connection;
	uint64_t publish;
	uint32_t magic;
	uint32_t before; /* bytes of the entry before it */
	uint32_t slot;
	uint32_t flags; /* the kind in its upper half */
	uint32_t ticket;
	uint32_t topic; /* sizes */
	uint32_t event;
	uint32_t payload;
};
static_assert(sizeof(struct entry_head) == 64, "no holes");
static_assert(sizeof(struct entry_head) % ALIGN == 0, "summed by itself");
static_assert(sizeof(struct entry_head) + 3 <= ENTRY_MIN, "ENTRY_MIN");

/* In front of the ring. */
struct front {
	alignas(64) _Atomic uint64_t head;
	_Atomic uint64_t settled;
	_Atomic uint64_t claimed; /* an offset */
	_Atomic uint64_t epoch;
	_Atomic uint64_t renewing; /* a new epoch is being begun */
	/* Of number n, at n % size of the index. */
	alignas(64) _Atomic uint64_t starts[];
};

struct journal {
	struct front *front;
	uint8_t *ring;
	uint64_t size;       /* of the ring */
	uint64_t index_mask; /* size of the index - 1 */
	size_t mapped;       /* bytes of address space */

	/* The writer's own copy: nobody else can spoil it. */
	bool opened;
	uint64_t epoch;
	uint64_t number;  /* of the last entry */
	uint64_t end;     /* its end */
	uint64_t claimed; /* >= end: a predecessor may have been interrupted */
	uint32_t before;  /* bytes of the last entry */
};

/* ---- the memory ---- */

/* Reserves the room, then lays the file there: front, ring, ring. */
static uint8_t *
map_twice(int fd, size_t front, size_t ring)
{
	int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_FIXED;
	uint8_t *map = mmap(NULL, front + 2 * ring, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	void *parts[2];

	if (map == MAP_FAILED)
		return NULL;
	parts[0] = mmap(map, front + ring, prot, flags, fd, 0);
	parts[1] = mmap(
	    map + front + ring, ring, prot, flags, fd, (off_t)front);
	if (parts[0] != MAP_FAILED && parts[1] != MAP_FAILED)
		return map;
	munmap(map, front + 2 * ring);
	return NULL;
}

static uint8_t *
map_new(size_t front, size_t ring)
{
	int fd = memfd_create("journal", MFD_CLOEXEC), saved;
	uint8_t *map = NULL;

	if (fd == -1)
		return NULL;
	if (ftruncate(fd, (off_t)(front + ring)) == 0)
		map = map_twice(fd, front, ring);
	saved = errno;
	close(fd);
	errno = saved;
	return map;
}

struct journal *
journal_map(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t index = size / 64; /* a power of two above size / ENTRY_MIN */
	size_t front = sizeof(struct front) + index * sizeof(uint64_t);
	struct journal *journal;
	uint8_t *map;

	if (size < JOURNAL_SIZE_MIN || size > JOURNAL_SIZE_MAX ||
	    (size & (size - 1)) != 0) {
		errno = EINVAL;
		return NULL;
	}
	front = (front + page - 1) / page * page;
	map = map_new(front, size);
	if (map == NULL)
		return NULL;
	journal = xcalloc(1, sizeof *journal);
	journal->front = (struct front *)map;
	journal->ring = map + front;
	journal->size = size;
	journal->index_mask = index - 1;
	journal->mapped = front + 2 * size;
	atomic_store(&journal->front->epoch, 1);
	journal_inherit(journal, false);
	return journal;
}

void
journal_unmap(struct journal *journal)
{
	if (journal == NULL)
		return;
	munmap(journal->front, journal->mapped);
	free(journal);
}

size_t
journal_map_size(const struct journal *journal)
{
	return journal->size;
}

void
journal_inherit(struct journal *journal, bool inherit)
{
	if (madvise(journal->front, journal->mapped,
		inherit ? MADV_DOFORK : MADV_DONTFORK) == -1)
		fatal("madvise of a journal");
}

void
journal_protect(struct journal *journal)
{
	if (mprotect(journal->front, journal->mapped, PROT_READ) == -1)
		fatal("mprotect of a journal");
}

static _Atomic uint64_t *
start_of(const struct journal *journal, uint64_t number)
{
	return &journal->front->starts[number & journal->index_mask];
}

static uint8_t *
bytes_at(const struct journal *journal, uint64_t offset)
{
	return journal->ring + (offset & (journal->size - 1));
}

/* ---- entries ---- */

/* Both halves of the product: each bit goes everywhere. */
static inline uint64_t
mix(uint64_t lane, uint64_t word)
{
	unsigned __int128 product = (unsigned __int128)(lane ^ word) *
	    UINT64_C(0x9e3779b97f4a7c15);

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

struct sum {
	uint64_t a, b, c, d;
};

static inline uint64_t
word_at(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof word);
	return word;
}

/* Four at a time, which do not wait for each other. */
static inline struct sum
sum_add(struct sum sum, const uint8_t *at, size_t size)
{
	for (const uint8_t *end = at + size; at < end; at += ALIGN) {
		sum.a = mix(sum.a, word_at(at));
		sum.b = mix(sum.b, word_at(at + 8));
		sum.c = mix(sum.c, word_at(at + 16));
		sum.d = mix(sum.d, word_at(at + 24));
	}
	return sum;
}

/* head: with 0 for the sum; texts: what follows it. */
static uint64_t
entry_sum(uint64_t epoch, uint64_t offset, const struct entry_head *head,
    const uint8_t *texts, size_t size)
{
	struct sum sum = { epoch, offset, MAGIC, size };

	sum = sum_add(sum, (const uint8_t *)head, sizeof *head);
	sum = sum_add(sum, texts, size);
	return mix(mix(mix(sum.a, sum.b), sum.c), sum.d);
}

static uint64_t
limit(const struct journal *journal)
{
	return journal->size / 4;
}

static uint64_t
entry_size(uint64_t texts)
{
	uint64_t size = sizeof(struct entry_head) + texts + 3;

	return (size + ALIGN - 1) / ALIGN * ALIGN;
}

/*
 * Copies the head of the entry of that number, if it lies there whole. The
 * bytes may change meanwhile, or be anything: from the copy of the head nothing
 * follows before it was judged, and it is not read twice.
 */
static bool
entry_get(const struct journal *journal, uint64_t epoch, uint64_t number,
    uint64_t offset, struct entry_head *head, uint64_t *size)
{
	const uint8_t *at = bytes_at(journal, offset);
	uint64_t sum;

	if (offset % ALIGN != 0)
		return false;
	memcpy(head, at, sizeof *head);
	atomic_signal_fence(memory_order_seq_cst);
	*size = entry_size((uint64_t)head->topic + head->event + head->payload);
	if (head->magic != MAGIC || head->number != number ||
	    *size > limit(journal))
		return false;
	sum = head->sum;
	head->sum = 0;
	return sum ==
	    entry_sum(
		epoch, offset, head, at + sizeof *head, *size - sizeof *head);
}

static uint8_t *
put_text(uint8_t *at, const struct text *text)
{
	if (text->size > 0)
		memcpy(at, text->data, text->size);
	at[text->size] = '\0';
	return at + text->size + 1;
}

static void
entry_put(struct journal *journal, uint64_t number,
    const struct journal_entry *entry, size_t size)
{
	const struct broadcast *broadcast = &entry->broadcast;
	struct entry_head head = {
		.number = number,
		.connection = entry->connection,
		.publish = entry->publish,
		.magic = MAGIC,
		.before = journal->before,
		.slot = entry->slot,
		.flags = entry->flags | broadcast->kind << KIND_SHIFT,
		.ticket = entry->ticket,
		.topic = (uint32_t)broadcast->topic.size,
		.event = (uint32_t)broadcast->event.size,
		.payload = (uint32_t)broadcast->payload.size,
	};
	uint8_t *begin = bytes_at(journal, journal->end);
	uint8_t *texts = begin + sizeof head, *at = texts;

	at = put_text(at, &broadcast->topic);
	at = put_text(at, &broadcast->event);
	at = put_text(at, &broadcast->payload);
	memset(at, 0, (size_t)(begin + size - at));
	head.sum = entry_sum(
	    journal->epoch, journal->end, &head, texts, size - sizeof head);
	memcpy(begin, &head, sizeof head);
}

/* ---- the writer ---- */

/* An epoch is the time of its beginning, but for the first: what stands in the
 * journal may be damaged, too, and no epoch must come twice. */
static uint64_t
epoch_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Empty, with other numbers: readers of the old epoch find that it is over
 * before a byte of the ring changes. */
static void
renew(struct journal *journal)
{
	struct front *front = journal->front;

	journal->epoch = epoch_now();
	journal->number = journal->end = journal->claimed = 0;
	journal->before = 0;
	atomic_store(&front->renewing, 1);
	atomic_store(&front->head, 0);
	atomic_store(&front->settled, 0);
	atomic_store(&front->claimed, 0);
	atomic_store(start_of(journal, 1), 0);
	atomic_store(&front->epoch, journal->epoch);
	atomic_store(&front->renewing, 0);
}

/* Is entry `number`, which ends at `end`, what it should be? before: the bytes
 * of its predecessor. */
static bool
is_whole(const struct journal *journal, uint64_t number, uint64_t end,
    uint64_t *size, uint32_t *before)
{
	uint64_t start = atomic_load(start_of(journal, number));
	struct entry_head head;

	if (!entry_get(journal, journal->epoch, number, start, &head, size) ||
	    start + *size != end)
		return false;
	*before = head.before;
	if (number == 1)
		return start == 0 && *before == 0;
	return *before >= ENTRY_MIN && *before <= limit(journal) &&
	    *before <= start;
}

/* From the last entry back to the first that was not overwritten. */
static bool
are_whole(const struct journal *journal)
{
	uint64_t number = journal->number, end = journal->end, size;
	uint32_t before;

	for (;;) {
		if (!is_whole(journal, number, end, &size, &before))
			return false;
		end -= size;
		if (--number == 0 ||
		    journal->claimed - (end - before) > journal->size)
			return true;
	}
}

/* Sets the writer's own copy. */
static bool
is_sound(struct journal *journal, bool verify)
{
	struct front *front = journal->front;
	uint64_t settled = atomic_load(&front->settled), size;
	uint32_t before;

	journal->epoch = atomic_load(&front->epoch);
	journal->number = atomic_load(&front->head);
	journal->claimed = atomic_load(&front->claimed);
	journal->end = atomic_load(start_of(journal, journal->number + 1));
	journal->before = 0;
	if (journal->epoch == 0 || atomic_load(&front->renewing) != 0 ||
	    journal->number - settled > 1 || journal->claimed % ALIGN != 0 ||
	    journal->claimed < journal->end ||
	    journal->claimed - journal->end > limit(journal))
		return false;
	if (journal->number == 0)
		return journal->end == 0;
	if (!is_whole(journal, journal->number, journal->end, &size, &before))
		return false;
	journal->before = (uint32_t)size;
	return !verify || are_whole(journal);
}

bool
journal_open(struct journal *journal, bool verify)
{
	bool sound = is_sound(journal, verify);

	if (sound)
		atomic_store(&journal->front->settled, journal->number);
	else
		renew(journal);
	journal->opened = true;
	return sound;
}

size_t
journal_entry_max(const struct journal *journal)
{
	return limit(journal) - sizeof(struct entry_head) - 3;
}

/*
 * The fence is a strong one: memcpy may write large texts past the cache, and
 * only this keeps them behind the claim.
 */
static void
claim(struct journal *journal, uint64_t end)
{
	if (end > journal->claimed) {
		journal->claimed = end;
		atomic_store_explicit(
		    &journal->front->claimed, end, memory_order_relaxed);
	}
	atomic_thread_fence(memory_order_seq_cst);
}

uint64_t
journal_append(struct journal *journal, const struct journal_entry *entry)
{
	const struct broadcast *broadcast = &entry->broadcast;
	size_t max = journal_entry_max(journal), size;
	uint64_t number = journal->number + 1;

	assert(journal->opened);
	if (broadcast->topic.size > max || broadcast->event.size > max ||
	    broadcast->payload.size > max)
		return 0;
	size = broadcast_size(broadcast);
	if (size > max)
		return 0;
	size = entry_size(size);
	claim(journal, journal->end + size);
	entry_put(journal, number, entry, size);
	journal->number = number;
	journal->end += size;
	journal->before = (uint32_t)size;
	atomic_store_explicit(
	    start_of(journal, number + 1), journal->end, memory_order_relaxed);
	atomic_store_explicit(
	    &journal->front->head, number, memory_order_release);
	atomic_store_explicit(
	    &journal->front->settled, number, memory_order_release);
	return number;
}

/* ---- readers ---- */

uint64_t
journal_epoch(const struct journal *journal)
{
	return atomic_load(&journal->front->epoch);
}

uint64_t
journal_head(const struct journal *journal)
{
	return atomic_load_explicit(
	    &journal->front->head, memory_order_acquire);
}

bool
journal_is_valid(const struct journal_reader *reader)
{
	const struct front *front = reader->journal->front;
	uint64_t claimed;

	atomic_thread_fence(memory_order_acquire);
	claimed = atomic_load_explicit(&front->claimed, memory_order_relaxed);
	return claimed > reader->offset &&
	    claimed - reader->offset <= reader->journal->size &&
	    atomic_load_explicit(&front->epoch, memory_order_relaxed) ==
	    reader->epoch;
}

static void
lend(struct journal_entry *entry, const struct entry_head *head,
    const uint8_t *texts)
{
	const char *topic = (const char *)texts;
	const char *event = topic + head->topic + 1;
	const char *payload = event + head->event + 1;

	*entry = (struct journal_entry){
		.number = head->number,
		.connection = head->connection,
		.publish = head->publish,
		.slot = head->slot,
		.flags = head->flags & KIND_BELOW,
		.ticket = head->ticket,
		.broadcast.topic = text_lent(topic, head->topic),
		.broadcast.event = text_lent(event, head->event),
		.broadcast.kind = head->flags >> KIND_SHIFT,
		.broadcast.payload = text_lent(payload, head->payload),
	};
}

enum journal_result
journal_peek(const struct journal_reader *reader, uint32_t *ticket)
{
	const struct journal *journal = reader->journal;
	uint64_t epoch = journal_epoch(journal), offset;
	struct entry_head head;

	if (reader->epoch != 0 && reader->epoch != epoch)
		return JOURNAL_OVERRUN;
	if (reader->next > journal_head(journal))
		return JOURNAL_END;
	offset = atomic_load_explicit(
	    start_of(journal, reader->next), memory_order_relaxed);
	if (offset % ALIGN != 0)
		return JOURNAL_OVERRUN;
	memcpy(&head, bytes_at(journal, offset), sizeof head);
	*ticket = head.ticket;
	return head.number == reader->next ? JOURNAL_OK : JOURNAL_OVERRUN;
}

enum journal_result
journal_read(struct journal_reader *reader, struct journal_entry *entry)
{
	const struct journal *journal = reader->journal;
	uint64_t epoch = journal_epoch(journal), offset, size;
	struct entry_head head;

	if (reader->epoch == 0)
		reader->epoch = epoch;
	if (reader->epoch != epoch)
		return JOURNAL_OVERRUN;
	if (reader->next > journal_head(journal))
		return JOURNAL_END;
	offset = atomic_load_explicit(
	    start_of(journal, reader->next), memory_order_relaxed);
	if (!entry_get(journal, epoch, reader->next, offset, &head, &size))
		return JOURNAL_OVERRUN;
	reader->offset = offset;
	if (!journal_is_valid(reader))
		return JOURNAL_OVERRUN;
	lend(entry, &head, bytes_at(journal, offset) + sizeof head);
	reader->next++;
	return JOURNAL_OK;
}
