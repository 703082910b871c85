/*
 * shared.c - see shared.h.
 */
#include <sys/mman.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/xmalloc.h"
#include "pubsub/journal.h"
#include "pubsub/lane.h"
#include "pubsub/shared.h"
#include "pubsub/slots.h"

static_assert(sizeof(struct lane) <= LANE_SIZE, "a lane fits its page");
static_assert(
    (INTEREST_BUCKETS & (INTEREST_BUCKETS - 1)) == 0, "a power of two");

/* A part of it. No child has it before shared_inherit. */
static void *
map_part(size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	if (madvise(map, size, MADV_DONTFORK) == -1)
		fatal("madvise");
	return map;
}

static void
unmap_part(void *map, size_t size)
{
	if (map != NULL)
		munmap(map, size);
}

static void
inherit_part(void *map, size_t size, bool inherit)
{
	if (madvise(map, size, inherit ? MADV_DOFORK : MADV_DONTFORK) == -1)
		fatal("madvise of pubsub's memory");
}

static size_t
slots_size(const struct shared *shared)
{
	return shared->nslots * sizeof *shared->slots;
}

static size_t
lanes_size(const struct shared *shared)
{
	return shared->nslots * LANE_SIZE;
}

static size_t
workers_size(const struct shared *shared)
{
	return shared->nworkers * sizeof *shared->workers + sizeof *shared->all;
}

static bool
map_all(struct shared *shared, size_t journal_size)
{
	shared->slots = map_part(slots_size(shared));
	if (shared->slots == NULL)
		return false;
	shared->lanes = map_part(lanes_size(shared));
	if (shared->lanes == NULL)
		return false;
	shared->workers = map_part(workers_size(shared));
	if (shared->workers == NULL)
		return false;
	shared->all = (struct shared_all *)(shared->workers + shared->nworkers);
	for (unsigned i = 0; i < shared->nworkers; i++) {
		shared->journals[i] = journal_map(journal_size);
		if (shared->journals[i] == NULL)
			return false;
	}
	return true;
}

struct shared *
shared_new(unsigned nworkers, size_t nslots, size_t journal_size)
{
	struct shared *shared;
	int saved;

	/* Of a larger page a transport would have its neighbours' lanes. */
	if (nworkers == 0 || nworkers > PUBSUB_MAX || nslots == 0 ||
	    nslots > SLOTS_MAX || sysconf(_SC_PAGESIZE) > LANE_SIZE) {
		errno = EINVAL;
		return NULL;
	}
	shared = xcalloc(1, sizeof *shared);
	shared->nworkers = nworkers;
	shared->nslots = nslots;
	if (map_all(shared, journal_size))
		return shared;
	saved = errno;
	shared_free(shared);
	errno = saved;
	return NULL;
}

void
shared_free(struct shared *shared)
{
	if (shared == NULL)
		return;
	unmap_part(shared->slots, slots_size(shared));
	unmap_part(shared->lanes, lanes_size(shared));
	unmap_part(shared->workers, workers_size(shared));
	for (unsigned i = 0; i < shared->nworkers; i++)
		journal_unmap(shared->journals[i]);
	free(shared);
}

void
shared_inherit(struct shared *shared, bool inherit)
{
	inherit_part(shared->slots, slots_size(shared), inherit);
	inherit_part(shared->lanes, lanes_size(shared), inherit);
	inherit_part(shared->workers, workers_size(shared), inherit);
	for (unsigned i = 0; i < shared->nworkers; i++)
		journal_inherit(shared->journals[i], inherit);
}

void
shared_inherit_slots(struct shared *shared, bool inherit)
{
	inherit_part(shared->slots, slots_size(shared), inherit);
}

void
shared_protect_slots(const struct shared *shared)
{
	if (mprotect(shared->slots, slots_size(shared), PROT_READ) == -1)
		fatal("mprotect of the slots");
}

struct lane *
shared_lane(const struct shared *shared, uint32_t slot)
{
	assert(slot < shared->nslots);
	return (
	    struct lane *)((char *)shared->lanes + (size_t)slot * LANE_SIZE);
}

void
shared_inherit_lane(struct shared *shared, uint32_t slot, bool inherit)
{
	inherit_part(shared_lane(shared, slot), LANE_SIZE, inherit);
}

void
shared_own(struct shared *shared, unsigned self)
{
	for (unsigned i = 0; i < shared->nworkers; i++)
		if (i != self)
			journal_protect(shared->journals[i]);
}

/* FNV-1a, whose upper half is folded in: short topics differ in their ends. */
unsigned
interest_bucket(const struct text *topic)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < topic->size; i++)
		hash = (hash ^ (unsigned char)topic->data[i]) *
		    UINT64_C(0x100000001b3);
	return (unsigned)(hash ^ hash >> 20 ^ hash >> 40) &
	    (INTEREST_BUCKETS - 1);
}
