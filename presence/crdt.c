/*
 * crdt.c - what is in the set, and how it is found; see crdt.h.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/crdt_private.h"

#define HISTORY_FIRST 64 /* removals: the first room of a history */

static int
dot_compare(const struct crdt_entry *a, const struct crdt_entry *b)
{
	return a->dot < b->dot ? -1 : a->dot > b->dot;
}
TREE_GENERATE(crdt_dots, crdt_entry, by_dot, dot_compare)

static int
number_compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* A topic's name is kept once, so most are equal by address. */
static int
name_compare(const struct text *a, const struct text *b)
{
	return a->data == b->data && a->size == b->size ? 0
							: text_compare(a, b);
}

static int
owner_compare(const struct crdt_entry *a, const struct crdt_entry *b)
{
	int order = number_compare(a->owner, b->owner);

	if (order == 0)
		order = number_compare(a->channel, b->channel);
	if (order == 0)
		order = name_compare(&a->topic, &b->topic);
	return order == 0 ? text_compare(&a->key, &b->key) : order;
}
TREE_GENERATE(crdt_owners, crdt_entry, by_owner, owner_compare)

/* Within a topic. What is looked for may have no replica: it is the first. */
static int
key_compare(const struct crdt_entry *a, const struct crdt_entry *b)
{
	int order = text_compare(&a->key, &b->key);

	if (order != 0)
		return order;
	if (a->replica == NULL || b->replica == NULL)
		return (a->replica != NULL) - (b->replica != NULL);
	order = name_compare(&a->replica->node, &b->replica->node);
	return order == 0 ? number_compare(a->dot, b->dot) : order;
}
TREE_GENERATE(crdt_keys, crdt_entry, by_key, key_compare)

static int
topic_compare(const struct crdt_topic *a, const struct crdt_topic *b)
{
	return text_compare(&a->name, &b->name);
}
TREE_GENERATE(crdt_topics, crdt_topic, by_name, topic_compare)

static int
node_compare(const struct crdt_replica *a, const struct crdt_replica *b)
{
	return text_compare(&a->node, &b->node);
}
TREE_GENERATE(crdt_nodes, crdt_replica, by_node, node_compare)

/* Const trees are only read; the macros do not know. */
static struct crdt *mutable(const struct crdt *crdt)
{
	return (struct crdt *)(uintptr_t)crdt;
}

static struct crdt_entry *
entry_mutable(const struct crdt_entry *entry)
{
	return (struct crdt_entry *)(uintptr_t)entry;
}

/* ---- topics ---- */

static struct crdt_topic *
topic_find(const struct crdt *crdt, const struct text *name)
{
	struct crdt_topic like = { .name = *name };

	return RB_FIND(crdt_topics, &mutable(crdt)->topics, &like);
}

static struct crdt_topic *
topic_take(struct crdt *crdt, const struct text *name)
{
	struct crdt_topic *topic = topic_find(crdt, name);

	if (topic == NULL) {
		topic = xcalloc(1, sizeof *topic);
		topic->name.data = xmemdup(name->data, name->size);
		topic->name.size = name->size;
		RB_INIT(&topic->visible);
		RB_INSERT(crdt_topics, &crdt->topics, topic);
		crdt->bytes += sizeof *topic + name->size + 1;
	}
	topic->entries++;
	return topic;
}

static void
topic_release(struct crdt *crdt, struct crdt_topic *topic)
{
	assert(topic->entries > 0);
	if (--topic->entries > 0)
		return;
	assert(RB_EMPTY(&topic->visible));
	RB_REMOVE(crdt_topics, &crdt->topics, topic);
	crdt->bytes -= sizeof *topic + topic->name.size + 1;
	free(topic->name.data);
	free(topic);
}

/* ---- entries ---- */

/* In one block with its strings, each with a NUL behind it. */
static size_t
entry_size(const struct crdt_fields *fields)
{
	return sizeof(struct crdt_entry) + fields->key.size + fields->ref.size +
	    fields->meta.size + 3 +
	    (fields->prev.data == NULL ? 0 : fields->prev.size + 1);
}

static char *
put_text(char *at, struct text *to, const struct text *from)
{
	if (from->data == NULL)
		return at;
	to->data = at;
	to->size = from->size;
	if (from->size > 0)
		memcpy(at, from->data, from->size);
	at[from->size] = '\0';
	return at + from->size + 1;
}

static struct crdt_entry *
entry_new(struct crdt *crdt, struct crdt_replica *replica,
    const struct crdt_fields *fields)
{
	size_t size = entry_size(fields);
	struct crdt_entry *entry = xmalloc(size);
	char *at = (char *)(entry + 1);

	memset(entry, 0, sizeof *entry);
	at = put_text(at, &entry->key, &fields->key);
	at = put_text(at, &entry->ref, &fields->ref);
	at = put_text(at, &entry->prev, &fields->prev);
	at = put_text(at, &entry->meta, &fields->meta);
	assert(at == (char *)entry + size);
	entry->owner = fields->owner;
	entry->channel = fields->channel;
	entry->dot = fields->dot;
	entry->replica = replica;
	entry->of = topic_take(crdt, &fields->topic);
	entry->topic = entry->of->name;
	crdt->bytes += size;
	return entry;
}

static struct crdt_fields
entry_fields(const struct crdt_entry *entry)
{
	return (struct crdt_fields){ entry->dot, entry->owner, entry->channel,
		entry->topic, entry->key, entry->ref, entry->prev,
		entry->meta };
}

static void
entry_free(struct crdt *crdt, struct crdt_entry *entry)
{
	struct crdt_fields fields = entry_fields(entry);

	crdt->bytes -= entry_size(&fields);
	topic_release(crdt, entry->of);
	free(entry);
}

static void
entry_show(struct crdt *crdt, struct crdt_entry *entry)
{
	struct crdt_entry *other;

	other = RB_INSERT(crdt_keys, &entry->of->visible, entry);
	assert(other == NULL);
	crdt->visible++;
}

static void
entry_hide(struct crdt *crdt, struct crdt_entry *entry)
{
	RB_REMOVE(crdt_keys, &entry->of->visible, entry);
	crdt->visible--;
}

/* ---- the set ---- */

bool
crdt_node_is_sane(const struct text *node)
{
	return node->size > 0 && node->size <= CRDT_NODE_MAX &&
	    json_is_utf8(node->data, node->size);
}

static struct crdt_replica *
replica_new(const struct text *node, uint64_t epoch)
{
	struct crdt_replica *replica = xcalloc(1, sizeof *replica);

	replica->node.data = xmemdup(node->data, node->size);
	replica->node.size = node->size;
	replica->epoch = epoch;
	RB_INIT(&replica->entries);
	return replica;
}

static void
replica_free(struct crdt_replica *replica)
{
	assert(RB_EMPTY(&replica->entries));
	free(replica->node.data);
	free(replica);
}

struct crdt *
crdt_new(const struct text *node, uint64_t epoch)
{
	struct crdt *crdt = xcalloc(1, sizeof *crdt);

	assert(crdt_node_is_sane(node));
	crdt->own = replica_new(node, epoch);
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

static void
replica_clear(struct crdt *crdt, struct crdt_replica *replica)
{
	struct crdt_entry *entry;

	while ((entry = RB_ROOT(&replica->entries)) != NULL) {
		RB_REMOVE(crdt_dots, &replica->entries, entry);
		if (replica->up)
			entry_hide(crdt, entry);
		entry_free(crdt, entry);
	}
}

void
crdt_free(struct crdt *crdt)
{
	struct crdt_replica *replica;

	if (crdt == NULL)
		return;
	assert(!crdt->busy);
	while ((replica = RB_ROOT(&crdt->nodes)) != NULL) {
		RB_REMOVE(crdt_nodes, &crdt->nodes, replica);
		replica_clear(crdt, replica);
		replica_free(replica);
	}
	replica_clear(crdt, crdt->own);
	replica_free(crdt->own);
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

const struct text *
crdt_entry_node(const struct crdt_entry *entry)
{
	return &entry->replica->node;
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
	if (RB_INSERT(crdt_dots, &crdt->own->entries, entry) != NULL) {
		RB_REMOVE(crdt_owners, &crdt->owners, entry);
		return false;
	}
	entry_show(crdt, entry);
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
	entry = entry_new(crdt, crdt->own, &fields);
	inserted = own_insert(crdt, entry);
	assert(inserted);
	return entry;
}

void
crdt_remove(struct crdt *crdt, const struct crdt_entry *removed)
{
	struct crdt_entry *entry = entry_mutable(removed);

	assert(!crdt->busy && entry->replica == crdt->own);
	history_add(&crdt->history, clock_tick(crdt), entry->dot);
	RB_REMOVE(crdt_owners, &crdt->owners, entry);
	RB_REMOVE(crdt_dots, &crdt->own->entries, entry);
	entry_hide(crdt, entry);
	crdt->own_entries--;
	entry_free(crdt, entry);
}

const struct crdt_entry *
crdt_update(struct crdt *crdt, const struct crdt_entry *old,
    const struct text *ref, const struct text *prev, const struct text *meta)
{
	struct crdt_fields fields = entry_fields(old);
	struct crdt_entry *entry;
	bool inserted;

	/* The removal comes first: its number lies between the two dots. */
	fields.dot = crdt->own->clock + 2;
	fields.ref = *ref;
	fields.prev = prev == NULL ? (struct text){ 0 } : *prev;
	fields.meta = *meta;
	entry = entry_new(crdt, crdt->own, &fields);
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
	entry = entry_new(crdt, crdt->own, &fields);
	if (!own_insert(crdt, entry)) {
		entry_free(crdt, entry);
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

static struct crdt_clock
replica_clock(const struct crdt_replica *replica)
{
	return (struct crdt_clock){ replica->node, replica->epoch,
		replica->clock, replica->seen, replica->up };
}

struct crdt_clock
crdt_clock(const struct crdt *crdt)
{
	return replica_clock(crdt->own);
}

/* ---- looking for entries ---- */

const struct crdt_entry *
crdt_find(const struct crdt *crdt, uint64_t owner, uint64_t channel,
    const struct text *topic, const struct text *key)
{
	struct crdt_entry like = {
		.owner = owner, .channel = channel, .topic = *topic, .key = *key
	};

	return RB_FIND(crdt_owners, &mutable(crdt)->owners, &like);
}

/* The empty name comes before all others. */
static const struct crdt_entry *
owners_from(const struct crdt *crdt, uint64_t owner, uint64_t channel)
{
	struct crdt_entry like = { .owner = owner,
		.channel = channel,
		.topic = text_lent("", 0),
		.key = text_lent("", 0) };

	return RB_NFIND(crdt_owners, &mutable(crdt)->owners, &like);
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
	    crdt_owners, NULL, entry_mutable(entry));

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
	return RB_MIN(crdt_dots, &crdt->own->entries);
}

const struct crdt_entry *
crdt_own_next(const struct crdt_entry *entry)
{
	return crdt_dot_next(entry_mutable(entry));
}

const struct crdt_entry *
crdt_topic_first(const struct crdt *crdt, const struct text *name)
{
	struct crdt_topic *topic = topic_find(crdt, name);

	return topic == NULL ? NULL : RB_MIN(crdt_keys, &topic->visible);
}

const struct crdt_entry *
crdt_topic_next(const struct crdt_entry *entry)
{
	return RB_NEXT(crdt_keys, NULL, entry_mutable(entry));
}

const struct crdt_entry *
crdt_key_first(
    const struct crdt *crdt, const struct text *name, const struct text *key)
{
	struct crdt_topic *topic = topic_find(crdt, name);
	struct crdt_entry like = { .key = *key };
	struct crdt_entry *entry;

	if (topic == NULL)
		return NULL;
	entry = RB_NFIND(crdt_keys, &topic->visible, &like);
	return entry == NULL || !text_equal(&entry->key, key) ? NULL : entry;
}

const struct crdt_entry *
crdt_key_next(const struct crdt_entry *entry)
{
	const struct crdt_entry *next = crdt_topic_next(entry);

	return next == NULL || !text_equal(&next->key, &entry->key) ? NULL
								    : next;
}

/* ---- changes of the others ---- */

struct crdt_entry *
crdt_dot_from(struct crdt_replica *replica, uint64_t dot)
{
	struct crdt_entry like = { .dot = dot };

	return RB_NFIND(crdt_dots, &replica->entries, &like);
}

struct crdt_entry *
crdt_dot_find(struct crdt_replica *replica, uint64_t dot)
{
	struct crdt_entry like = { .dot = dot };

	return RB_FIND(crdt_dots, &replica->entries, &like);
}

struct crdt_entry *
crdt_dot_next(struct crdt_entry *entry)
{
	return RB_NEXT(crdt_dots, NULL, entry);
}

static void
note(struct crdt_entry ***list, size_t *n, size_t *room,
    struct crdt_entry *entry)
{
	if (*n == *room) {
		*room = *room == 0 ? 16 : *room * 2;
		*list = xrealloc(*list, *room * sizeof **list);
	}
	(*list)[(*n)++] = entry;
}

static void
entry_join(
    struct crdt *crdt, struct crdt_entry *entry, struct crdt_changes *changes)
{
	entry_show(crdt, entry);
	note(&changes->joins, &changes->njoins, &changes->joins_room, entry);
}

static void
entry_leave(
    struct crdt *crdt, struct crdt_entry *entry, struct crdt_changes *changes)
{
	entry_hide(crdt, entry);
	note(&changes->leaves, &changes->nleaves, &changes->leaves_room, entry);
}

void
crdt_insert(struct crdt *crdt, struct crdt_replica *replica,
    const struct crdt_fields *fields, struct crdt_changes *changes)
{
	struct crdt_entry *entry = entry_new(crdt, replica, fields);
	struct crdt_entry *other;

	other = RB_INSERT(crdt_dots, &replica->entries, entry);
	assert(other == NULL);
	if (replica->up)
		entry_join(crdt, entry, changes);
}

/* Who saw it leave has not read it yet: then it lives until that is told. */
void
crdt_drop(
    struct crdt *crdt, struct crdt_entry *entry, struct crdt_changes *changes)
{
	struct crdt_replica *replica = entry->replica;

	RB_REMOVE(crdt_dots, &replica->entries, entry);
	if (replica->up)
		entry_leave(crdt, entry, changes);
	else
		entry_free(crdt, entry);
}

static int
change_compare(const void *a, const void *b)
{
	const struct crdt_entry *const *x = a, *const *y = b;
	int order = name_compare(&(*x)->topic, &(*y)->topic);

	return order == 0 ? key_compare(*x, *y) : order;
}

/* How many of a sorted list are of that topic? */
static size_t
run_of(struct crdt_entry **list, size_t n, const struct crdt_topic *topic)
{
	size_t run = 0;

	while (run < n && list[run]->of == topic)
		run++;
	return run;
}

static void
tell_topics(struct crdt_changes *changes, crdt_diff_cb cb, void *arg)
{
	struct crdt_entry **joins = changes->joins, **leaves = changes->leaves;
	size_t njoins = changes->njoins, nleaves = changes->nleaves;

	while (njoins + nleaves > 0) {
		struct crdt_diff diff;
		struct crdt_topic *topic;

		if (nleaves == 0 ||
		    (njoins > 0 &&
			name_compare(&joins[0]->topic, &leaves[0]->topic) < 0))
			topic = joins[0]->of;
		else
			topic = leaves[0]->of;
		diff.topic = &topic->name;
		diff.joins = (const struct crdt_entry *const *)joins;
		diff.njoins = run_of(joins, njoins, topic);
		diff.leaves = (const struct crdt_entry *const *)leaves;
		diff.nleaves = run_of(leaves, nleaves, topic);
		cb(&diff, arg);
		joins += diff.njoins;
		njoins -= diff.njoins;
		leaves += diff.nleaves;
		nleaves -= diff.nleaves;
	}
}

static void
change_sort(struct crdt_entry **list, size_t n)
{
	if (n > 1)
		qsort(list, n, sizeof(struct crdt_entry *), change_compare);
}

static void
tell(
    struct crdt *crdt, struct crdt_changes *changes, crdt_diff_cb cb, void *arg)
{
	if (cb == NULL)
		return;
	change_sort(changes->joins, changes->njoins);
	change_sort(changes->leaves, changes->nleaves);
	crdt->busy = true;
	tell_topics(changes, cb, arg);
	crdt->busy = false;
}

void
crdt_tell(
    struct crdt *crdt, struct crdt_changes *changes, crdt_diff_cb cb, void *arg)
{
	tell(crdt, changes, cb, arg);
	for (size_t i = 0; i < changes->nleaves; i++)
		entry_free(crdt, changes->leaves[i]);
	free(changes->joins);
	free(changes->leaves);
}

/* ---- the others ---- */

/* With those forgotten. */
static struct crdt_replica *
node_find(const struct crdt *crdt, const struct text *node)
{
	struct crdt_replica like = { .node = *node };

	return RB_FIND(crdt_nodes, &mutable(crdt)->nodes, &like);
}

struct crdt_replica *
crdt_replica_get(const struct crdt *crdt, const struct text *node)
{
	struct crdt_replica *replica = node_find(crdt, node);

	return replica == NULL || replica->forgotten ? NULL : replica;
}

/* Known from now on, and down. */
static struct crdt_replica *
replica_add(struct crdt *crdt, const struct text *node, uint64_t epoch)
{
	struct crdt_replica *replica = node_find(crdt, node);

	if (crdt->nnodes == CRDT_REPLICAS_MAX)
		return NULL;
	if (replica == NULL) {
		replica = replica_new(node, epoch);
		RB_INSERT(crdt_nodes, &crdt->nodes, replica);
	} else {
		TAILQ_REMOVE(&crdt->forgotten, replica, in_forgotten);
		crdt->nforgotten--;
		replica->forgotten = false;
	}
	crdt->nnodes++;
	return replica;
}

static void
drop_all(struct crdt *crdt, struct crdt_replica *replica,
    struct crdt_changes *changes)
{
	struct crdt_entry *entry;

	while ((entry = RB_ROOT(&replica->entries)) != NULL)
		crdt_drop(crdt, entry, changes);
}

bool
crdt_replica_up(struct crdt *crdt, const struct text *node, uint64_t epoch,
    crdt_diff_cb cb, void *arg)
{
	struct crdt_changes changes = { 0 };
	struct crdt_replica *replica;
	struct crdt_entry *entry;

	assert(!crdt->busy);
	if (!crdt_node_is_sane(node) || text_equal(node, &crdt->own->node))
		return false;
	replica = node_find(crdt, node);
	if (replica != NULL && epoch < replica->epoch)
		return false;
	if (replica == NULL || replica->forgotten)
		replica = replica_add(crdt, node, epoch);
	if (replica == NULL)
		return false;
	if (epoch > replica->epoch) {
		drop_all(crdt, replica, &changes);
		replica->epoch = epoch;
		replica->clock = replica->seen = 0;
	}
	if (!replica->up) {
		replica->up = true;
		RB_FOREACH (entry, crdt_dots, &replica->entries)
			entry_join(crdt, entry, &changes);
	}
	crdt_tell(crdt, &changes, cb, arg);
	return true;
}

static void
replica_hide(
    struct crdt *crdt, struct crdt_replica *replica, crdt_diff_cb cb, void *arg)
{
	struct crdt_changes changes = { 0 };
	struct crdt_entry *entry;

	if (!replica->up)
		return;
	RB_FOREACH (entry, crdt_dots, &replica->entries)
		entry_leave(crdt, entry, &changes);
	replica->up = false;
	/* Not crdt_tell: they stay. */
	tell(crdt, &changes, cb, arg);
	free(changes.leaves);
}

void
crdt_replica_down(struct crdt *crdt, const struct text *node, uint64_t epoch,
    crdt_diff_cb cb, void *arg)
{
	struct crdt_replica *replica = crdt_replica_get(crdt, node);

	assert(!crdt->busy);
	if (replica != NULL && replica->epoch == epoch)
		replica_hide(crdt, replica, cb, arg);
}

static void
forgotten_trim(struct crdt *crdt)
{
	struct crdt_replica *oldest;

	while (crdt->nforgotten > CRDT_FORGOTTEN) {
		oldest = TAILQ_FIRST(&crdt->forgotten);
		TAILQ_REMOVE(&crdt->forgotten, oldest, in_forgotten);
		crdt->nforgotten--;
		RB_REMOVE(crdt_nodes, &crdt->nodes, oldest);
		replica_free(oldest);
	}
}

void
crdt_replica_forget(struct crdt *crdt, const struct text *node, uint64_t epoch,
    crdt_diff_cb cb, void *arg)
{
	struct crdt_replica *replica = crdt_replica_get(crdt, node);
	struct crdt_changes changes = { 0 };

	assert(!crdt->busy);
	if (replica == NULL || replica->epoch != epoch)
		return;
	drop_all(crdt, replica, &changes);
	crdt_tell(crdt, &changes, cb, arg);
	replica->up = false;
	/* Only all of it, and as of what was seen or later, may come now. */
	replica->clock = 0;
	replica->forgotten = true;
	TAILQ_INSERT_TAIL(&crdt->forgotten, replica, in_forgotten);
	crdt->nforgotten++;
	crdt->nnodes--;
	forgotten_trim(crdt);
}

bool
crdt_replica_next(
    const struct crdt *crdt, const struct text *node, struct crdt_clock *clock)
{
	struct crdt_nodes *nodes = &mutable(crdt)->nodes;
	struct crdt_replica like, *replica;

	if (node == NULL) {
		replica = RB_MIN(crdt_nodes, nodes);
	} else {
		like.node = *node;
		replica = RB_NFIND(crdt_nodes, nodes, &like);
		if (replica != NULL && text_equal(&replica->node, node))
			replica = RB_NEXT(crdt_nodes, nodes, replica);
	}
	while (replica != NULL && replica->forgotten)
		replica = RB_NEXT(crdt_nodes, nodes, replica);
	if (replica == NULL)
		return false;
	*clock = replica_clock(replica);
	return true;
}

bool
crdt_replica_find(
    const struct crdt *crdt, const struct text *node, struct crdt_clock *clock)
{
	struct crdt_replica *replica = crdt_replica_get(crdt, node);

	if (replica == NULL)
		return false;
	*clock = replica_clock(replica);
	return true;
}
