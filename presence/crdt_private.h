/*
 * crdt_private.h - the parts of the set, for the files that make it.
 */
#ifndef PRESENCE_CRDT_PRIVATE_H
#define PRESENCE_CRDT_PRIVATE_H

#include <sys/queue.h>
#include <sys/tree.h>

#include "presence/crdt.h"

RB_HEAD(crdt_dots, crdt_entry);
RB_HEAD(crdt_owners, crdt_entry);
RB_HEAD(crdt_keys, crdt_entry);

struct crdt_topic {
	struct text name;
	size_t entries; /* seen or not; the last one takes it with it */
	struct crdt_keys visible;
	RB_ENTRY(crdt_topic) by_name;
};
RB_HEAD(crdt_topics, crdt_topic);

struct crdt_replica {
	struct text node;
	uint64_t epoch;
	uint64_t clock;
	uint64_t seen;
	bool up;
	bool forgotten; /* and so in that list, down and without entries */
	struct crdt_dots entries;
	RB_ENTRY(crdt_replica) by_node;
	TAILQ_ENTRY(crdt_replica) in_forgotten;
};
RB_HEAD(crdt_nodes, crdt_replica);

/* An own entry that was removed, and the clock of that. */
struct crdt_removal {
	uint64_t clock;
	uint64_t dot;
};

/* A ring; all removals behind "floor" are in it. */
struct crdt_history {
	struct crdt_removal *at;
	size_t room, first, n, max;
	uint64_t floor;
};

struct crdt {
	struct crdt_replica *own; /* in none of the lists */
	struct crdt_owners owners;
	struct crdt_history history;
	struct crdt_nodes nodes;
	size_t nnodes; /* not forgotten */
	TAILQ_HEAD(, crdt_replica) forgotten;
	size_t nforgotten;
	struct crdt_topics topics;
	size_t visible, own_entries, bytes;
	size_t part;
	bool busy; /* a callback runs */
};

/* What changes in the view. */
struct crdt_changes {
	struct crdt_entry **joins, **leaves;
	size_t njoins, nleaves;
	size_t joins_room, leaves_room;
};

/* All but the entry's place; everything is copied. */
struct crdt_fields {
	uint64_t dot, owner, channel;
	struct text topic, key, ref, prev, meta;
};

/* ---- crdt_entry.c ---- */

/* Names that are kept once are mostly equal by address. */
int crdt_name_compare(const struct text *, const struct text *);
/* Within a topic. What is looked for may have no replica: it is the first. */
int crdt_key_compare(const struct crdt_entry *, const struct crdt_entry *);

/* In no list yet. */
struct crdt_entry *crdt_entry_new(
    struct crdt *, struct crdt_replica *, const struct crdt_fields *);
struct crdt_fields crdt_entry_fields(const struct crdt_entry *);
void crdt_entry_free(struct crdt *, struct crdt_entry *);
/* Of its topic. */
void crdt_entry_show(struct crdt *, struct crdt_entry *);
void crdt_entry_hide(struct crdt *, struct crdt_entry *);

/* Of its replica; false: there is one with that dot. */
bool crdt_dot_insert(struct crdt_entry *);
void crdt_dot_remove(struct crdt_entry *);
/* The first entry with at least that dot. */
struct crdt_entry *crdt_dot_from(struct crdt_replica *, uint64_t dot);
struct crdt_entry *crdt_dot_find(struct crdt_replica *, uint64_t dot);
struct crdt_entry *crdt_dot_next(struct crdt_entry *);

/* ---- crdt_replica.c ---- */

bool crdt_node_is_sane(const struct text *);
struct crdt_replica *crdt_replica_new(const struct text *node, uint64_t epoch);
void crdt_replica_free(struct crdt_replica *); /* it is empty */
void crdt_replica_clear(struct crdt *, struct crdt_replica *);
void crdt_replicas_free(struct crdt *); /* of the others */
struct crdt_clock crdt_replica_clock(const struct crdt_replica *);
/* NULL: not known, or forgotten. */
struct crdt_replica *crdt_replica_get(
    const struct crdt *, const struct text *node);

/* Another's entry comes or goes; what is visible of that is noted. */
void crdt_insert(struct crdt *, struct crdt_replica *,
    const struct crdt_fields *, struct crdt_changes *);
void crdt_drop(struct crdt *, struct crdt_entry *, struct crdt_changes *);
/* Calls back, topic by topic, and frees what left. */
void crdt_tell(struct crdt *, struct crdt_changes *, crdt_diff_cb, void *arg);

/* ---- everywhere ---- */

/* Const trees are only read; the macros do not know. */
static inline struct crdt *
crdt_mutable(const struct crdt *crdt)
{
	return (struct crdt *)(uintptr_t)crdt;
}

static inline struct crdt_entry *
crdt_entry_mutable(const struct crdt_entry *entry)
{
	return (struct crdt_entry *)(uintptr_t)entry;
}

static inline int
crdt_number_compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

#endif /* PRESENCE_CRDT_PRIVATE_H */
