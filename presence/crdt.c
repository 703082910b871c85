/*
 * crdt.c - the set, and what is our own in it; see crdt.h.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/crdt_private.h"

#define HISTORY_FIRST 64 /* removals: the first room of a history */

static int
owner_compare(const struct crdt_entry *a, const struct crdt_entry *b)
{
	int order = crdt_number_compare(a->owner, b->owner);

	if (order == 0)
		order = crdt_number_compare(a->channel, b->channel);
	if (order == 0)
		order = crdt_name_compare(&a->topic, &b->topic);
	return order == 0 ? text_compare(&a->key, &b->key) : order;
}
TREE_GENERATE(crdt_owners, crdt_entry, by_owner, owner_compare)

/* ---- the set ---- */

struct crdt *
crdt_new(const struct text *node, uint64_t epoch)
{
	struct crdt *crdt = xcalloc(1, sizeof *crdt);

	assert(crdt_node_is_sane(node));
	crdt->own = crdt_replica_new(node, epoch);
	crdt->own->up = true;
	RB_INIT(&crdt->owners);
	RB_INIT(&crdt->nodes);
	RB_INIT(&crdt->topics);
	TAILQ_INIT(&crdt->forgotten);
	crdt_limit(crdt, CRDT_HISTORY, CRDT_PART);
	return crdt;
}

void
crdt_limit(struct crdt *crdt, size_t history, size_t part)
{
	/* Nothing was removed yet that would have to be left out. */
	assert(crdt->history.n == 0 && history > 0);
	crdt->history.max = history;
	crdt->part = part;
}

void
crdt_free(struct crdt *crdt)
{
	if (crdt == NULL)
		return;
	assert(!crdt->busy);
	crdt_replicas_free(crdt);
	crdt_replica_clear(crdt, crdt->own);
	crdt_replica_free(crdt->own);
	assert(crdt->bytes == 0 && crdt->visible == 0);
	free(crdt->history.at);
	free(crdt);
}

size_t
crdt_count(const struct crdt *crdt)
{
	return crdt->visible;
}

size_t
crdt_own_count(const struct crdt *crdt)
{
	return crdt->own_entries;
}

size_t
crdt_bytes(const struct crdt *crdt)
{
	return crdt->bytes;
}

/* ---- the own replica ---- */

static void
history_grow(struct crdt_history *history)
{
	size_t room = history->room == 0 ? HISTORY_FIRST : history->room * 2;
	struct crdt_removal *at;

	if (room > history->max)
		room = history->max;
	at = xmalloc(room * sizeof *at);
	for (size_t i = 0; i < history->n; i++)
		at[i] = history->at[(history->first + i) % history->room];
	free(history->at);
	history->at = at;
	history->room = room;
	history->first = 0;
}

static void
history_add(struct crdt_history *history, uint64_t clock, uint64_t dot)
{
	if (history->n == history->room && history->room < history->max)
		history_grow(history);
	if (history->n == history->room) {
		history->floor = history->at[history->first].clock;
		history->first = (history->first + 1) % history->room;
		history->n--;
	}
	history->at[(history->first + history->n++) % history->room] =
	    (struct crdt_removal){ clock, dot };
}

static uint64_t
clock_tick(struct crdt *crdt)
{
	crdt->own->clock++;
	crdt->own->seen = crdt->own->clock;
	return crdt->own->clock;
}

/* Is its place free? */
static bool
own_insert(struct crdt *crdt, struct crdt_entry *entry)
{
	if (RB_INSERT(crdt_owners, &crdt->owners, entry) != NULL)
		return false;
	if (!crdt_dot_insert(entry)) {
		RB_REMOVE(crdt_owners, &crdt->owners, entry);
		return false;
	}
	crdt_entry_show(crdt, entry);
	crdt->own_entries++;
	return true;
}

static struct crdt_fields
presence_fields(uint64_t dot, uint64_t owner, const struct presence *presence)
{
	assert(presence->topic.data != NULL && presence->key.data != NULL &&
	    presence->ref.data != NULL && presence->meta.data != NULL);
	return (struct crdt_fields){ dot, owner, presence->channel,
		presence->topic, presence->key, presence->ref, presence->prev,
		presence->meta };
}

const struct crdt_entry *
crdt_add(struct crdt *crdt, uint64_t owner, const struct presence *presence)
{
	struct crdt_fields fields;
	struct crdt_entry *entry;
	bool inserted;

	assert(!crdt->busy);
	fields = presence_fields(clock_tick(crdt), owner, presence);
	entry = crdt_entry_new(crdt, crdt->own, &fields);
	inserted = own_insert(crdt, entry);
	assert(inserted);
	return entry;
}

void
crdt_remove(struct crdt *crdt, const struct crdt_entry *removed)
{
	struct crdt_entry *entry = crdt_entry_mutable(removed);

	assert(!crdt->busy && entry->replica == crdt->own);
	history_add(&crdt->history, clock_tick(crdt), entry->dot);
	RB_REMOVE(crdt_owners, &crdt->owners, entry);
	crdt_dot_remove(entry);
	crdt_entry_hide(crdt, entry);
	crdt->own_entries--;
	crdt_entry_free(crdt, entry);
}

const struct crdt_entry *
crdt_update(struct crdt *crdt, const struct crdt_entry *old,
    const struct text *ref, const struct text *prev, const struct text *meta)
{
	struct crdt_fields fields = crdt_entry_fields(old);
	struct crdt_entry *entry;
	bool inserted;

	/* The removal comes first: its number lies between the two dots. */
	fields.dot = crdt->own->clock + 2;
	fields.ref = *ref;
	fields.prev = (struct text){ 0 };
	if (prev != NULL)
		fields.prev = *prev;
	fields.meta = *meta;
	entry = crdt_entry_new(crdt, crdt->own, &fields);
	crdt_remove(crdt, old);
	clock_tick(crdt);
	inserted = own_insert(crdt, entry);
	assert(inserted && entry->dot == crdt->own->clock);
	return entry;
}

bool
crdt_restore(struct crdt *crdt, uint64_t owner, const struct presence *presence,
    uint64_t dot)
{
	struct crdt_fields fields = presence_fields(dot, owner, presence);
	struct crdt_entry *entry;

	assert(!crdt->busy);
	if (dot == 0)
		return false;
	entry = crdt_entry_new(crdt, crdt->own, &fields);
	if (!own_insert(crdt, entry)) {
		crdt_entry_free(crdt, entry);
		return false;
	}
	crdt_restore_clock(crdt, dot);
	return true;
}

void
crdt_restore_clock(struct crdt *crdt, uint64_t clock)
{
	struct crdt_replica *own = crdt->own;

	assert(!crdt->busy);
	if (clock > own->clock)
		own->clock = own->seen = clock;
	crdt->history.floor = own->clock;
	crdt->history.n = 0;
}

struct crdt_clock
crdt_clock(const struct crdt *crdt)
{
	return crdt_replica_clock(crdt->own);
}

/* ---- looking for entries ---- */

const struct crdt_entry *
crdt_find(const struct crdt *crdt, uint64_t owner, uint64_t channel,
    const struct text *topic, const struct text *key)
{
	struct crdt_entry like = {
		.owner = owner, .channel = channel, .topic = *topic, .key = *key
	};

	return RB_FIND(crdt_owners, &crdt_mutable(crdt)->owners, &like);
}

/* The empty name comes before all others. */
static const struct crdt_entry *
owners_from(const struct crdt *crdt, uint64_t owner, uint64_t channel)
{
	struct crdt_entry like = { .owner = owner,
		.channel = channel,
		.topic = text_lent("", 0),
		.key = text_lent("", 0) };

	return RB_NFIND(crdt_owners, &crdt_mutable(crdt)->owners, &like);
}

const struct crdt_entry *
crdt_channel_first(const struct crdt *crdt, uint64_t owner, uint64_t channel)
{
	const struct crdt_entry *entry = owners_from(crdt, owner, channel);

	if (entry == NULL || entry->owner != owner || entry->channel != channel)
		return NULL;
	return entry;
}

const struct crdt_entry *
crdt_channel_next(const struct crdt_entry *entry)
{
	const struct crdt_entry *next = crdt_owner_next(entry);

	return next == NULL || next->channel != entry->channel ? NULL : next;
}

const struct crdt_entry *
crdt_owner_first(const struct crdt *crdt, uint64_t owner)
{
	const struct crdt_entry *entry = owners_from(crdt, owner, 0);

	return entry == NULL || entry->owner != owner ? NULL : entry;
}

const struct crdt_entry *
crdt_owner_next(const struct crdt_entry *entry)
{
	struct crdt_entry *next = RB_NEXT(
	    crdt_owners, NULL, crdt_entry_mutable(entry));

	return next == NULL || next->owner != entry->owner ? NULL : next;
}

const struct crdt_entry *
crdt_owner_beyond(const struct crdt *crdt, uint64_t owner)
{
	return owner == UINT64_MAX ? NULL : owners_from(crdt, owner + 1, 0);
}

const struct crdt_entry *
crdt_own_first(const struct crdt *crdt)
{
	return crdt_dot_from(crdt->own, 0);
}

const struct crdt_entry *
crdt_own_next(const struct crdt_entry *entry)
{
	return crdt_dot_next(crdt_entry_mutable(entry));
}
