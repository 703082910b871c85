/*
 * crdt_private.h - the parts of the set, for crdt.c (what is in it) and
 * crdt_merge.c (messages).
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

bool crdt_node_is_sane(const struct text *);
/* NULL: not known, or forgotten. */
struct crdt_replica *crdt_replica_get(
    const struct crdt *, const struct text *node);

/* The first entry with at least that dot. */
struct crdt_entry *crdt_dot_from(struct crdt_replica *, uint64_t dot);
struct crdt_entry *crdt_dot_next(struct crdt_entry *);
struct crdt_entry *crdt_dot_find(struct crdt_replica *, uint64_t dot);
/* Another's entry comes or goes; what is visible of that is noted. */
void crdt_insert(struct crdt *, struct crdt_replica *,
    const struct crdt_fields *, struct crdt_changes *);
void crdt_drop(struct crdt *, struct crdt_entry *, struct crdt_changes *);
/* Calls back, topic by topic, and frees what left. */
void crdt_tell(struct crdt *, struct crdt_changes *, crdt_diff_cb, void *arg);

#endif /* PRESENCE_CRDT_PRIVATE_H */
