/*
 * slots.c - see slots.h.
 */
#include <sys/mman.h>

#include <assert.h>
#include <stdlib.h>

#include "common/xmalloc.h"
#include "pubsub/slots.h"

/* Which are free is not told by the slots themselves: workers write there. */
struct slots {
	struct shared *shared;
	uint32_t *next; /* of a free one: the next free one; else TAKEN. Not in
			   children */
	uint32_t free;  /* the first, or SLOT_NONE */
	uint32_t used;  /* those behind were never taken, and are untouched */
};

#define TAKEN (SLOT_NONE - 1)

static size_t
next_size(const struct slots *slots)
{
	return slots->shared->nslots * sizeof *slots->next;
}

struct slots *
slots_new(struct shared *shared)
{
	struct slots *slots = xcalloc(1, sizeof *slots);
	void *map;

	slots->shared = shared;
	slots->free = SLOT_NONE;
	map = mmap(NULL, next_size(slots), PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		free(slots);
		return NULL;
	}
	slots->next = map;
	if (madvise(map, next_size(slots), MADV_DONTFORK) == -1)
		fatal("madvise");
	return slots;
}

void
slots_free(struct slots *slots)
{
	if (slots == NULL)
		return;
	munmap(slots->next, next_size(slots));
	free(slots);
}

/* The connection comes last: who finds its number finds the rest zeroed. */
static void
begin(struct slot *slot, uint64_t connection)
{
	atomic_store(&slot->pid, 0);
	atomic_store(&slot->accepted, 0);
	atomic_store(&slot->epoch, 0);
	atomic_store(&slot->is_behind, false);
	for (int part = 0; part < PARTS; part++)
		for (int i = 0; i < PUBSUB_MAX; i++)
			atomic_store_explicit(
			    &slot->queued[part][i], 0, memory_order_relaxed);
	atomic_store(&slot->connection, connection);
}

uint32_t
slot_take(struct slots *slots, uint64_t connection)
{
	uint32_t taken = slots->free;

	assert(connection != 0);
	if (taken != SLOT_NONE)
		slots->free = slots->next[taken];
	else if (slots->used < slots->shared->nslots)
		taken = slots->used++;
	else
		return SLOT_NONE;
	slots->next[taken] = TAKEN;
	begin(&slots->shared->slots[taken], connection);
	return taken;
}

void
slot_free(struct slots *slots, uint32_t slot)
{
	assert(slot < slots->used && slots->next[slot] == TAKEN);
	atomic_store(&slots->shared->slots[slot].connection, 0);
	atomic_store(&slots->shared->slots[slot].pid, 0);
	slots->next[slot] = slots->free;
	slots->free = slot;
}
