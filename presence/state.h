/*
 * state.h - who is where, and what of it has been told: the set (crdt.h), the
 * log that a successor goes on with, and the diffs that follow from changes.
 */
#ifndef PRESENCE_STATE_H
#define PRESENCE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/json.h"
#include "common/message.h"
#include "presence/client.h"
#include "presence/crdt.h"

struct state;

struct state_callbacks {
	/* Bytes of a topic, and of joins and leaves in a diff. */
	size_t diff_max;
	/* Is fetch to be asked about this topic's diffs? */
	bool (*fetches)(const struct text *topic, void *arg);
	/* Then it is, and state_fetched is due for each, in order. joins and
	 * leaves: JSON of objects. */
	void (*fetch)(uint64_t diff, const struct text *topic,
	    const struct text *joins, const struct text *leaves, void *arg);
	/* A diff leaves, under this number. payload: JSON. */
	void (*publish)(uint64_t number, const struct text *topic,
	    const struct text *payload, void *arg);
};

/*
 * A successor finds in the log's files (log.h) what there was: what pubsub had
 * not accepted is published again, what fetch had not answered is asked again.
 * accepted: the last number that pubsub has accepted of us; a first one is
 * larger. node: the name of this node.
 */
struct state *state_open(const int *files, const struct text *node,
    uint64_t accepted, const struct state_callbacks *, void *arg);
void state_free(struct state *);

/* In place of what the channel tracks there already, if so. False: meta is no
 * object. Nothing happens when it has this ref already. */
bool state_track(struct state *, uint64_t owner, const struct presence *);
void state_untrack(struct state *, uint64_t owner, uint64_t channel,
    const struct text *topic, const struct text *key);
/* All of a channel: a diff for each topic; more when they are too large. */
void state_drop(struct state *, uint64_t owner, uint64_t channel);
void state_drop_owner(struct state *, uint64_t owner);
const struct crdt *state_set(const struct state *);

void state_fetched(struct state *, uint64_t diff, const struct text *topic,
    const struct text *joins, const struct text *leaves);
/* pubsub has accepted everything. */
void state_accepted(struct state *);
/* The log is long: when all is accepted and fetched, state_compact. */
bool state_is_long(const struct state *);
/* So long that nothing more should come before that. */
bool state_is_too_long(const struct state *);
void state_compact(struct state *);

/* The list of a topic, appended; or what a key of it has: {"metas":[...]}, [].
 * False: it is larger than an envelope, and not whole. */
bool state_list(const struct state *, const struct text *topic,
    const struct text *key, struct json_buffer *);

#endif /* PRESENCE_STATE_H */
