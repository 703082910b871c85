/*
 * crdt.h - who is present, on this node and on all others: an observed-remove
 * set that nodes keep alike by telling each other deltas.
 *
 * A replica is a node and its epoch; an epoch is larger than all before it (a
 * node takes a new one when it starts without its state: the time does).
 * Each replica writes only its own entries, and each of its changes (an add, a
 * removal) has a number, rising by one: its clock. The number of an add is the
 * entry's dot. What is known of a replica is therefore two numbers and no more:
 *
 *	its entries here with a dot up to "clock" are those that were
 *	there, at its own place, when its clock was "seen" (>= clock)
 *
 * and a message is merged only when that stays true, with seen never falling:
 * so what was removed cannot come back, in whatever order messages arrive, how
 * often, or how few of them. Both numbers differ only while a large state is
 * under way in parts, and after a replica was forgotten.
 *
 * Who talks to whom, and when a node is taken for dead, is the caller's.
 */
#ifndef PRESENCE_CRDT_H
#define PRESENCE_CRDT_H

#include <sys/tree.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/envelope.h"
#include "common/message.h"
#include "presence/client.h"

#define CRDT_NODE_MAX     255        /* bytes of a node's name */
#define CRDT_REPLICAS_MAX 1024       /* nodes, without those forgotten */
#define CRDT_FORGOTTEN    256        /* ... of which the numbers are kept */
#define CRDT_HISTORY      65536      /* own removals that a delta may reach */
#define CRDT_PART         (1U << 20) /* a message ends behind that many bytes */

struct crdt;
struct crdt_replica;
struct crdt_topic;

struct crdt_entry {
	struct text topic;
	struct text key;
	struct text ref;
	struct text prev; /* data NULL: none */
	struct text meta; /* JSON of an object */
	uint64_t owner;   /* connection, at its own node */
	uint64_t channel; /* likewise */
	uint64_t dot;     /* 1 and up, unique in its replica */
	/* private */
	struct crdt_replica *replica;
	struct crdt_topic *of;
	RB_ENTRY(crdt_entry) by_dot;   /* of the replica */
	RB_ENTRY(crdt_entry) by_owner; /* own ones */
	RB_ENTRY(crdt_entry) by_key;   /* of the topic, when it is visible */
};

/* What is known of a replica; of one's own, clock and seen are equal. */
struct crdt_clock {
	struct text node; /* lent */
	uint64_t epoch;
	uint64_t clock;
	uint64_t seen;
	bool up;
};

/* node: 1 to CRDT_NODE_MAX bytes of UTF-8. It is empty, at clock 0. */
struct crdt *crdt_new(const struct text *node, uint64_t epoch);
void crdt_free(struct crdt *);
/*
 * Other limits than CRDT_HISTORY (at least 1) and CRDT_PART, before anything is
 * removed.
 */
void crdt_limit(struct crdt *, size_t history, size_t part);

/* ---- the own replica ---- */

/*
 * The owner's channel must not track that key on that topic yet. All fields of
 * the presence must be as in presence_client_track. Copied.
 */
const struct crdt_entry *crdt_add(
    struct crdt *, uint64_t owner, const struct presence *);
/* An entry of our own; it is freed. */
void crdt_remove(struct crdt *, const struct crdt_entry *);
/* Both, for the same owner, channel, topic and key: the old one is freed, the
 * parameters may lie in it. */
const struct crdt_entry *crdt_update(struct crdt *, const struct crdt_entry *,
    const struct text *ref, const struct text *prev, const struct text *meta);

/*
 * For a successor with the same epoch: what its predecessor had. The dots are
 * as they were (any order), the clock is the last one that the predecessor had
 * given out. Log records that follow may be done again by add and remove: they
 * get the same numbers. False, and nothing happens, when dot is 0 or used, or
 * the place (owner, channel, topic, key) is taken. Peers that do not know that
 * clock yet get a state, as the removals before it are not known.
 */
bool crdt_restore(
    struct crdt *, uint64_t owner, const struct presence *, uint64_t dot);
void crdt_restore_clock(struct crdt *, uint64_t clock);
struct crdt_clock crdt_clock(const struct crdt *);

/*
 * Own entries. NULL: none (left). Take the next before you remove one.
 */
const struct crdt_entry *crdt_find(const struct crdt *, uint64_t owner,
    uint64_t channel, const struct text *topic, const struct text *key);
/* A channel's, topic by topic. */
const struct crdt_entry *crdt_channel_first(
    const struct crdt *, uint64_t owner, uint64_t channel);
const struct crdt_entry *crdt_channel_next(const struct crdt_entry *);
/* An owner's, channel by channel, in each topic by topic. */
const struct crdt_entry *crdt_owner_first(const struct crdt *, uint64_t owner);
const struct crdt_entry *crdt_owner_next(const struct crdt_entry *);
/* The first entry of the next larger owner. */
const struct crdt_entry *crdt_owner_beyond(const struct crdt *, uint64_t owner);
/* All, by dots. */
const struct crdt_entry *crdt_own_first(const struct crdt *);
const struct crdt_entry *crdt_own_next(const struct crdt_entry *);

/* ---- what can be seen: of ourselves, and of replicas that are up ---- */

/* A topic's, key by key; those of a key by node and dot. */
const struct crdt_entry *crdt_topic_first(
    const struct crdt *, const struct text *topic);
const struct crdt_entry *crdt_topic_next(const struct crdt_entry *);
/* Those of one key. */
const struct crdt_entry *crdt_key_first(
    const struct crdt *, const struct text *topic, const struct text *key);
const struct crdt_entry *crdt_key_next(const struct crdt_entry *);

size_t crdt_count(const struct crdt *);     /* what can be seen */
size_t crdt_own_count(const struct crdt *); /* of that, our own */
size_t crdt_bytes(const struct crdt *);     /* of all entries, seen or not */
/* Whose it is. */
const struct text *crdt_entry_node(const struct crdt_entry *);

/* ---- the others ---- */

/*
 * What became visible and what no longer is in one topic, by one call below:
 * one presence_diff; not both parts are empty, and both are in the order of
 * crdt_topic_first. What left
 * is freed when the callback has returned; the set is already as it will be,
 * and must not be changed meanwhile.
 */
struct crdt_diff {
	const struct text *topic;
	const struct crdt_entry *const *joins;
	size_t njoins;
	const struct crdt_entry *const *leaves;
	size_t nleaves;
};
typedef void (*crdt_diff_cb)(const struct crdt_diff *, void *);

/*
 * A node was heard of in this epoch: its entries join. Begins to know it; ends
 * an earlier epoch of that node, whose entries leave for good. False: it is
 * our own name, an earlier epoch, or there are too many.
 */
bool crdt_replica_up(struct crdt *, const struct text *node, uint64_t epoch,
    crdt_diff_cb, void *);
/* Its entries leave; they are kept, and what is merged meanwhile, too. */
void crdt_replica_down(struct crdt *, const struct text *node, uint64_t epoch,
    crdt_diff_cb, void *);
/*
 * The same for good: the entries are freed. The numbers of those CRDT_FORGOTTEN
 * that were forgotten last are kept, so that they can come again, but nothing
 * that was removed; of the others nothing is known any more.
 */
void crdt_replica_forget(struct crdt *, const struct text *node, uint64_t epoch,
    crdt_diff_cb, void *);

/* Replicas in the order of their names, our own not among them: the first one
 * behind that name (NULL: of all). False: none. */
bool crdt_replica_next(
    const struct crdt *, const struct text *node, struct crdt_clock *);
bool crdt_replica_find(
    const struct crdt *, const struct text *node, struct crdt_clock *);

/* As fields of an envelope; false when they are not sane, and nothing is set.
 * "up" does not travel. */
void crdt_clock_put(struct envelope_writer *, const struct crdt_clock *);
bool crdt_clock_get(struct envelope *, struct crdt_clock *);

/* ---- messages ---- */

/*
 * What of our own replica somebody lacks who knows that much of it: a delta, or
 * all of it (a state) when they know another epoch or too little. Usually one
 * message; a large one comes in parts, to be merged one behind the other, so
 * they need a way that keeps the order, and no second question before the last
 * one. Nothing when nothing is lacking. Our crdt_clock of before gives the
 * delta for everybody. Nobody may know more of us than a successor will: log
 * first.
 */
typedef void (*crdt_part_cb)(const void *, size_t, void *);
void crdt_write(
    const struct crdt *, const struct crdt_clock *, crdt_part_cb, void *);
/* All of it. */
void crdt_write_state(const struct crdt *, crdt_part_cb, void *);

enum crdt_merge {
	CRDT_MERGED,
	CRDT_OLD,     /* nothing new: late, twice, or of an earlier epoch */
	CRDT_GAP,     /* something before it is missing: ask the replica for
			 what follows its crdt_clock here */
	CRDT_UNKNOWN, /* of a node or an epoch not known: crdt_replica_up first
		       */
	CRDT_OWN,     /* of a node of our name: an echo, or, when the epoch is
			 another, somebody who has it, too */
	CRDT_BAD,     /* not a message */
};

/* Only what is merged changes anything. */
enum crdt_merge crdt_merge(
    struct crdt *, const void *, size_t, crdt_diff_cb, void *);
/* Whose message is it? node is lent from the message; clock and seen are what
 * it leads to. False: not a message. Looks at the head only. */
bool crdt_message_of(const void *, size_t, struct crdt_clock *);

#endif /* PRESENCE_CRDT_H */
