/*
 * crdt_replica.c - the other nodes: how their entries become seen and are no
 * longer; see crdt.h.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/crdt_private.h"

static int
node_compare(const struct crdt_replica *a, const struct crdt_replica *b)
{
	return text_compare(&a->node, &b->node);
}
TREE_GENERATE(crdt_nodes, crdt_replica, by_node, node_compare)

bool
crdt_node_is_sane(const struct text *node)
{
	return node->size > 0 && node->size <= CRDT_NODE_MAX &&
	    json_is_utf8(node->data, node->size);
}

struct crdt_replica *
crdt_replica_new(const struct text *node, uint64_t epoch)
{
	struct crdt_replica *replica = xcalloc(1, sizeof *replica);

	replica->node.data = xmemdup(node->data, node->size);
	replica->node.size = node->size;
	replica->epoch = epoch;
	RB_INIT(&replica->entries);
	return replica;
}

void
crdt_replica_free(struct crdt_replica *replica)
{
	assert(RB_EMPTY(&replica->entries));
	free(replica->node.data);
	free(replica);
}

void
crdt_replica_clear(struct crdt *crdt, struct crdt_replica *replica)
{
	struct crdt_entry *entry;

	while ((entry = RB_ROOT(&replica->entries)) != NULL) {
		crdt_dot_remove(entry);
		if (replica->up)
			crdt_entry_hide(crdt, entry);
		crdt_entry_free(crdt, entry);
	}
}

void
crdt_replicas_free(struct crdt *crdt)
{
	struct crdt_replica *replica;

	while ((replica = RB_ROOT(&crdt->nodes)) != NULL) {
		RB_REMOVE(crdt_nodes, &crdt->nodes, replica);
		crdt_replica_clear(crdt, replica);
		crdt_replica_free(replica);
	}
}

struct crdt_clock
crdt_replica_clock(const struct crdt_replica *replica)
{
	return (struct crdt_clock){ replica->node, replica->epoch,
		replica->clock, replica->seen, replica->up };
}

/* ---- what changes in the view ---- */

static void
note(struct crdt_entry ***list, size_t *n, size_t *room,
    struct crdt_entry *entry)
{
	if (*n == *room) {
		*room = *room == 0 ? 16 : *room * 2;
		*list = xrealloc(*list, *room * sizeof(struct crdt_entry *));
	}
	(*list)[(*n)++] = entry;
}

static void
entry_join(
    struct crdt *crdt, struct crdt_entry *entry, struct crdt_changes *changes)
{
	crdt_entry_show(crdt, entry);
	note(&changes->joins, &changes->njoins, &changes->joins_room, entry);
}

static void
entry_leave(
    struct crdt *crdt, struct crdt_entry *entry, struct crdt_changes *changes)
{
	crdt_entry_hide(crdt, entry);
	note(&changes->leaves, &changes->nleaves, &changes->leaves_room, entry);
}

void
crdt_insert(struct crdt *crdt, struct crdt_replica *replica,
    const struct crdt_fields *fields, struct crdt_changes *changes)
{
	struct crdt_entry *entry = crdt_entry_new(crdt, replica, fields);
	bool inserted = crdt_dot_insert(entry);

	assert(inserted);
	if (replica->up)
		entry_join(crdt, entry, changes);
}

/* Who saw it leave has not read it yet: then it lives until that is told. */
void
crdt_drop(
    struct crdt *crdt, struct crdt_entry *entry, struct crdt_changes *changes)
{
	struct crdt_replica *replica = entry->replica;

	crdt_dot_remove(entry);
	if (replica->up)
		entry_leave(crdt, entry, changes);
	else
		crdt_entry_free(crdt, entry);
}

static int
change_compare(const void *a, const void *b)
{
	const struct crdt_entry *const *x = a, *const *y = b;
	int order = crdt_name_compare(&(*x)->topic, &(*y)->topic);

	return order == 0 ? crdt_key_compare(*x, *y) : order;
}

/* The topic of the first one in either list; the lists are in that order. */
static struct crdt_topic *
first_topic(const struct crdt_entry *join, const struct crdt_entry *leave)
{
	assert(join != NULL || leave != NULL);
	if (join == NULL)
		return leave->of;
	if (leave == NULL)
		return join->of;
	return crdt_name_compare(&join->topic, &leave->topic) < 0 ? join->of
								  : leave->of;
}

/* Behind those of that topic. */
static size_t
topic_end(struct crdt_entry **list, size_t n, size_t at,
    const struct crdt_topic *topic)
{
	while (at < n && list[at]->of == topic)
		at++;
	return at;
}

static void
tell_topics(struct crdt_changes *changes, crdt_diff_cb cb, void *arg)
{
	struct crdt_entry **joins = changes->joins, **leaves = changes->leaves;
	size_t njoins = changes->njoins, nleaves = changes->nleaves;
	size_t join = 0, leave = 0;

	while (join < njoins || leave < nleaves) {
		struct crdt_topic *topic = first_topic(
		    join < njoins ? joins[join] : NULL,
		    leave < nleaves ? leaves[leave] : NULL);
		size_t join_end = topic_end(joins, njoins, join, topic);
		size_t leave_end = topic_end(leaves, nleaves, leave, topic);
		struct crdt_diff diff = { .topic = &topic->name,
			.njoins = join_end - join,
			.nleaves = leave_end - leave };

		if (diff.njoins > 0)
			diff.joins = (const void *)&joins[join];
		if (diff.nleaves > 0)
			diff.leaves = (const void *)&leaves[leave];
		cb(&diff, arg);
		join = join_end;
		leave = leave_end;
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
		crdt_entry_free(crdt, changes->leaves[i]);
	free(changes->joins);
	free(changes->leaves);
}

/* ---- up, down, forgotten ---- */

/* With those forgotten. */
static struct crdt_replica *
node_find(const struct crdt *crdt, const struct text *node)
{
	struct crdt_replica like = { .node = *node };

	return RB_FIND(crdt_nodes, &crdt_mutable(crdt)->nodes, &like);
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
		replica = crdt_replica_new(node, epoch);
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
		for (entry = crdt_dot_from(replica, 0); entry != NULL;
		     entry = crdt_dot_next(entry))
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
	for (entry = crdt_dot_from(replica, 0); entry != NULL;
	     entry = crdt_dot_next(entry))
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
		crdt_replica_free(oldest);
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
	struct crdt_nodes *nodes = &crdt_mutable(crdt)->nodes;
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
	*clock = crdt_replica_clock(replica);
	return true;
}

bool
crdt_replica_find(
    const struct crdt *crdt, const struct text *node, struct crdt_clock *clock)
{
	struct crdt_replica *replica = crdt_replica_get(crdt, node);

	if (replica == NULL)
		return false;
	*clock = crdt_replica_clock(replica);
	return true;
}
