/*
 * state.c - see state.h.
 */
#include <sys/queue.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/log.h"
#include "presence/state.h"

/* Bytes of log beyond twice that of the last snapshot: ... */
#define LOG_LONG     (4UL << 20)
#define LOG_TOO_LONG (64UL << 20)

#define LIST_MAX (ENVELOPE_MAX - 64)

/* One that fetch is asked about. */
struct diff {
	uint64_t number; /* of all diffs since the snapshot */
	struct text topic;
	struct json_buffer joins, leaves;
	STAILQ_ENTRY(diff) entry;
};

struct state {
	const struct state_callbacks *callbacks;
	void *arg;
	struct crdt *set;
	struct presence_log *log;
	size_t snapshot;  /* bytes that it had */
	uint64_t publish; /* the last number */
	uint64_t accepted;
	uint64_t diffs; /* since the snapshot */
	/* While the log is replayed: nothing is written, and what was told is
	 * not told again. */
	bool replaying;
	STAILQ_HEAD(, diff) unfetched;
};

/* ---- JSON ---- */

/* The members of an author's meta but those that are ours. */
static void
append_members(struct json_buffer *buffer, const struct text *meta)
{
	const char *at = meta->data + 1, *end = meta->data + meta->size;

	json_skip_space(&at, end);
	while (*at != '}') {
		struct json_span name = json_scan_value(&at, end), value;
		size_t size;
		char *text = json_decode_string(name, &size);

		json_skip_space(&at, end);
		at++; /* : */
		value = json_scan_value(&at, end);
		if (strcmp(text, "phx_ref") != 0 &&
		    strcmp(text, "phx_ref_prev") != 0) {
			json_append(buffer, ",", 1);
			json_append(buffer, name.data, name.size);
			json_append(buffer, ":", 1);
			json_append_span(buffer, value);
		}
		free(text);
		json_skip_space(&at, end);
		if (*at == ',')
			at++;
		json_skip_space(&at, end);
	}
}

/* What clients get as a meta. False: it is no object. */
static bool
complete_meta(struct json_buffer *buffer, const struct presence *presence)
{
	struct json_span span = json_scan_text(
	    presence->meta.data, presence->meta.size);
	struct text meta = text_lent(span.data, span.size);

	if (span.kind != JSON_OBJECT)
		return false;
	json_append_text(buffer, "{\"phx_ref\":");
	json_append_string(buffer, presence->ref.data, presence->ref.size);
	if (presence->prev.data != NULL) {
		json_append_text(buffer, ",\"phx_ref_prev\":");
		json_append_string(
		    buffer, presence->prev.data, presence->prev.size);
	}
	append_members(buffer, &meta);
	json_append(buffer, "}", 1);
	return true;
}

/* "key":{"metas":[meta]} as the next member. Entries of a key follow each
 * other. */
static void
append_entry(struct json_buffer *buffer, const struct text *before,
    const struct crdt_entry *entry)
{
	if (before != NULL && text_equal(before, &entry->key)) {
		buffer->size -= 2; /* "]}" */
		json_append(buffer, ",", 1);
	} else {
		if (before != NULL)
			json_append(buffer, ",", 1);
		json_append_string(buffer, entry->key.data, entry->key.size);
		json_append_text(buffer, ":{\"metas\":[");
	}
	json_append(buffer, entry->meta.data, entry->meta.size);
	json_append(buffer, "]}", 2);
}

static void
list_topic(const struct state *state, const struct text *topic,
    struct json_buffer *buffer)
{
	const struct crdt_entry *entry = crdt_topic_first(state->set, topic);
	const struct text *before = NULL;

	json_append(buffer, "{", 1);
	for (; entry != NULL && buffer->size <= LIST_MAX;
	     entry = crdt_topic_next(entry)) {
		append_entry(buffer, before, entry);
		before = &entry->key;
	}
	json_append(buffer, "}", 1);
}

static void
list_key(const struct crdt_entry *entry, struct json_buffer *buffer)
{
	const char *comma = "";

	if (entry == NULL) {
		json_append_text(buffer, "[]");
		return;
	}
	json_append_text(buffer, "{\"metas\":[");
	for (; entry != NULL && buffer->size <= LIST_MAX;
	     entry = crdt_key_next(entry)) {
		json_append_text(buffer, comma);
		json_append(buffer, entry->meta.data, entry->meta.size);
		comma = ",";
	}
	json_append_text(buffer, "]}");
}

bool
state_list(const struct state *state, const struct text *topic,
    const struct text *key, struct json_buffer *buffer)
{
	if (key == NULL)
		list_topic(state, topic, buffer);
	else
		list_key(crdt_key_first(state->set, topic, key), buffer);
	return buffer->size <= LIST_MAX;
}

/* ---- diffs ---- */

static struct diff *
diff_new(const struct text *topic)
{
	struct diff *diff = xcalloc(1, sizeof *diff);

	diff->topic.data = xmemdup(topic->data, topic->size);
	diff->topic.size = topic->size;
	json_append(&diff->joins, "{", 1);
	json_append(&diff->leaves, "{", 1);
	return diff;
}

static void
diff_free(struct diff *diff)
{
	free(diff->topic.data);
	json_buffer_free(&diff->joins);
	json_buffer_free(&diff->leaves);
	free(diff);
}

static struct text
text_of(const struct json_buffer *buffer)
{
	return (struct text){ buffer->data, buffer->size };
}

/* What pubsub has accepted needs no second time. */
static void
publish(struct state *state, uint64_t number, const struct text *topic,
    const struct text *joins, const struct text *leaves)
{
	struct json_buffer payload = { 0 };
	struct text text;

	state->publish = number;
	if (number <= state->accepted)
		return;
	json_append_text(&payload, "{\"joins\":");
	json_append(&payload, joins->data, joins->size);
	json_append_text(&payload, ",\"leaves\":");
	json_append(&payload, leaves->data, leaves->size);
	json_append(&payload, "}", 1);
	text = text_of(&payload);
	state->callbacks->publish(number, topic, &text, state->arg);
	json_buffer_free(&payload);
}

/* Takes the diff. number 0: fetch is asked. */
static void
diff_leaves(struct state *state, struct diff *diff, uint64_t number)
{
	struct text joins, leaves;

	json_append(&diff->joins, "}", 1);
	json_append(&diff->leaves, "}", 1);
	joins = text_of(&diff->joins);
	leaves = text_of(&diff->leaves);
	diff->number = state->diffs++;
	if (number != 0) {
		publish(state, number, &diff->topic, &joins, &leaves);
		diff_free(diff);
		return;
	}
	STAILQ_INSERT_TAIL(&state->unfetched, diff, entry);
	if (!state->replaying)
		state->callbacks->fetch(
		    diff->number, &diff->topic, &joins, &leaves, state->arg);
}

/* The first one that fetch was asked about has its answer. False: it is
 * another one, or none. */
static bool
fetched(struct state *state, uint64_t number, uint64_t diff,
    const struct text *joins, const struct text *leaves)
{
	struct diff *first = STAILQ_FIRST(&state->unfetched);

	if (first == NULL || first->number != diff)
		return false;
	STAILQ_REMOVE_HEAD(&state->unfetched, entry);
	publish(state, number, &first->topic, joins, leaves);
	diff_free(first);
	return true;
}

/* ---- changes: the same when they are made and when they are replayed ---- */

/* meta is what clients get. */
static void
apply_track(struct state *state, uint64_t number, uint64_t owner,
    const struct presence *presence)
{
	const struct crdt_entry *entry = crdt_find(state->set, owner,
	    presence->channel, &presence->topic, &presence->key);
	struct diff *diff = diff_new(&presence->topic);

	if (entry == NULL) {
		entry = crdt_add(state->set, owner, presence);
	} else {
		append_entry(&diff->leaves, NULL, entry);
		entry = crdt_update(state->set, entry, &presence->ref,
		    &presence->prev, &presence->meta);
	}
	append_entry(&diff->joins, NULL, entry);
	diff_leaves(state, diff, number);
}

static void
apply_untrack(
    struct state *state, uint64_t number, const struct crdt_entry *entry)
{
	struct diff *diff = diff_new(&entry->topic);

	append_entry(&diff->leaves, NULL, entry);
	crdt_remove(state->set, entry);
	diff_leaves(state, diff, number);
}

/* Is it of that diff's topic, and has it room there? One always has. */
static bool
belongs(const struct state *state, const struct diff *diff,
    const struct crdt_entry *entry)
{
	struct json_buffer member = { 0 };
	size_t size;

	if (!text_equal(&entry->topic, &diff->topic))
		return false;
	append_entry(&member, NULL, entry);
	size = diff->topic.size + diff->leaves.size + member.size;
	json_buffer_free(&member);
	return diff->leaves.size == 1 ||
	    size + sizeof ",}{}" <= state->callbacks->diff_max;
}

/* Of that topic, from its first entry on. A channel has a key there once. */
static void
apply_drop(struct state *state, uint64_t number, const struct crdt_entry *entry)
{
	struct diff *diff = diff_new(&entry->topic);
	const struct crdt_entry *next;

	for (; entry != NULL && belongs(state, diff, entry); entry = next) {
		next = crdt_channel_next(entry);
		if (diff->leaves.size > 1)
			json_append(&diff->leaves, ",", 1);
		append_entry(&diff->leaves, NULL, entry);
		crdt_remove(state->set, entry);
	}
	diff_leaves(state, diff, number);
}

/* ---- the log ---- */

static struct presence
presence_of(const struct crdt_entry *entry)
{
	return (struct presence){
		.channel = entry->channel,
		.topic = entry->topic,
		.key = entry->key,
		.ref = entry->ref,
		.prev = entry->prev,
		.meta = entry->meta,
	};
}

static bool
replay_base(struct state *state, struct envelope *envelope)
{
	uint64_t epoch = envelope_get_u64(envelope);
	uint64_t clock = envelope_get_u64(envelope);
	uint64_t number = envelope_get_u64(envelope);
	struct crdt_clock own = crdt_clock(state->set);
	struct text node = own.node;
	struct crdt *set;

	if (!envelope_end(envelope) || own.clock != 0)
		return false;
	set = crdt_new(&node, epoch);
	crdt_restore_clock(set, clock);
	crdt_free(state->set);
	state->set = set;
	state->publish = number;
	return true;
}

static bool
replay_entry(struct state *state, struct envelope *envelope)
{
	uint64_t owner = envelope_get_u64(envelope);
	uint64_t dot = envelope_get_u64(envelope);
	struct presence presence;

	return presence_get(envelope, &presence) &&
	    crdt_restore(state->set, owner, &presence, dot);
}

static bool
replay_track(struct state *state, struct envelope *envelope)
{
	uint64_t number = envelope_get_u64(envelope);
	uint64_t owner = envelope_get_u64(envelope);
	struct presence presence;

	if (!presence_get(envelope, &presence))
		return false;
	apply_track(state, number, owner, &presence);
	return true;
}

static bool
replay_untrack(struct state *state, struct envelope *envelope)
{
	uint64_t number = envelope_get_u64(envelope);
	uint64_t owner = envelope_get_u64(envelope);
	uint64_t channel = envelope_get_u64(envelope);
	struct text topic = envelope_get_text(envelope);
	struct text key = envelope_get_text(envelope);
	const struct crdt_entry *entry;

	entry = crdt_find(state->set, owner, channel, &topic, &key);
	if (!envelope_end(envelope) || entry == NULL)
		return false;
	apply_untrack(state, number, entry);
	return true;
}

static bool
replay_drop(struct state *state, struct envelope *envelope)
{
	uint64_t number = envelope_get_u64(envelope);
	uint64_t owner = envelope_get_u64(envelope);
	uint64_t channel = envelope_get_u64(envelope);
	struct text topic = envelope_get_text(envelope);
	const struct crdt_entry *entry;

	if (!envelope_end(envelope))
		return false;
	entry = crdt_channel_first(state->set, owner, channel);
	while (entry != NULL && !text_equal(&entry->topic, &topic))
		entry = crdt_channel_next(entry);
	if (entry == NULL)
		return false;
	apply_drop(state, number, entry);
	return true;
}

static bool
replay_publish(struct state *state, struct envelope *envelope)
{
	uint64_t number = envelope_get_u64(envelope);
	uint64_t diff = envelope_get_u64(envelope);
	struct text joins = envelope_get_text(envelope);
	struct text leaves = envelope_get_text(envelope);

	return envelope_end(envelope) &&
	    fetched(state, number, diff, &joins, &leaves);
}

static bool
replay(enum presence_record type, struct envelope *envelope, void *arg)
{
	struct state *state = arg;

	switch (type) {
	case RECORD_BASE:
		return replay_base(state, envelope);
	case RECORD_ENTRY:
		return replay_entry(state, envelope);
	case RECORD_TRACK:
		return replay_track(state, envelope);
	case RECORD_UNTRACK:
		return replay_untrack(state, envelope);
	case RECORD_DROP:
		return replay_drop(state, envelope);
	case RECORD_PUBLISH:
		return replay_publish(state, envelope);
	}
	return false;
}

static void
append_base(struct state *state)
{
	struct crdt_clock clock = crdt_clock(state->set);
	struct envelope_writer writer = { 0 };

	envelope_put_u64(&writer, clock.epoch);
	envelope_put_u64(&writer, clock.clock);
	envelope_put_u64(&writer, state->publish);
	presence_log_append(state->log, RECORD_BASE, &writer);
}

void
state_compact(struct state *state)
{
	const struct crdt_entry *entry = crdt_own_first(state->set);

	assert(STAILQ_EMPTY(&state->unfetched));
	presence_log_begin(state->log);
	append_base(state);
	for (; entry != NULL; entry = crdt_own_next(entry)) {
		struct presence presence = presence_of(entry);
		struct envelope_writer writer = { 0 };

		envelope_put_u64(&writer, entry->owner);
		envelope_put_u64(&writer, entry->dot);
		presence_put(&writer, &presence);
		presence_log_append(state->log, RECORD_ENTRY, &writer);
	}
	presence_log_end(state->log);
	state->snapshot = presence_log_size(state->log);
	state->diffs = 0;
}

bool
state_is_long(const struct state *state)
{
	return presence_log_size(state->log) > 2 * state->snapshot + LOG_LONG;
}

bool
state_is_too_long(const struct state *state)
{
	return presence_log_size(state->log) >
	    4 * state->snapshot + LOG_TOO_LONG;
}

void
state_accepted(struct state *state)
{
	state->accepted = state->publish;
}

/* ---- its life ---- */

static uint64_t
new_epoch(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* What fetch had not answered. */
static void
ask_again(struct state *state)
{
	struct diff *diff;

	STAILQ_FOREACH (diff, &state->unfetched, entry) {
		struct text joins = text_of(&diff->joins);
		struct text leaves = text_of(&diff->leaves);

		state->callbacks->fetch(
		    diff->number, &diff->topic, &joins, &leaves, state->arg);
	}
}

struct state *
state_open(const int *files, const struct text *node, uint64_t accepted,
    const struct state_callbacks *callbacks, void *arg)
{
	struct state *state = xcalloc(1, sizeof *state);

	state->callbacks = callbacks;
	state->arg = arg;
	STAILQ_INIT(&state->unfetched);
	state->set = crdt_new(node, new_epoch());
	state->accepted = accepted;
	state->replaying = true;
	state->log = presence_log_open(files, replay, state);
	state->replaying = false;
	/* Numbers of a record that was lost are never used again. */
	if (state->publish < accepted)
		state->publish = accepted;
	if (crdt_clock(state->set).clock == 0)
		append_base(state);
	ask_again(state);
	return state;
}

void
state_free(struct state *state)
{
	struct diff *diff;

	while ((diff = STAILQ_FIRST(&state->unfetched)) != NULL) {
		STAILQ_REMOVE_HEAD(&state->unfetched, entry);
		diff_free(diff);
	}
	presence_log_free(state->log);
	crdt_free(state->set);
	free(state);
}

const struct crdt *
state_set(const struct state *state)
{
	return state->set;
}

/* ---- the calls ---- */

/* How the diff of a topic leaves. */
static uint64_t
next_publish(const struct state *state, const struct text *topic)
{
	return state->callbacks->fetches(topic, state->arg)
	    ? 0
	    : state->publish + 1;
}

bool
state_track(
    struct state *state, uint64_t owner, const struct presence *presence)
{
	const struct crdt_entry *old = crdt_find(state->set, owner,
	    presence->channel, &presence->topic, &presence->key);
	uint64_t number = next_publish(state, &presence->topic);
	struct presence complete = *presence;
	struct envelope_writer writer = { 0 };
	struct json_buffer meta = { 0 };

	if (old != NULL && text_equal(&old->ref, &presence->ref))
		return true;
	if (!complete_meta(&meta, presence)) {
		json_buffer_free(&meta);
		return false;
	}
	complete.meta = text_of(&meta);
	envelope_put_u64(&writer, number);
	envelope_put_u64(&writer, owner);
	presence_put(&writer, &complete);
	presence_log_append(state->log, RECORD_TRACK, &writer);
	apply_track(state, number, owner, &complete);
	json_buffer_free(&meta);
	return true;
}

void
state_untrack(struct state *state, uint64_t owner, uint64_t channel,
    const struct text *topic, const struct text *key)
{
	const struct crdt_entry *entry = crdt_find(
	    state->set, owner, channel, topic, key);
	uint64_t number = next_publish(state, topic);
	struct envelope_writer writer = { 0 };

	if (entry == NULL)
		return;
	envelope_put_u64(&writer, number);
	envelope_put_u64(&writer, owner);
	envelope_put_u64(&writer, channel);
	envelope_put_text(&writer, topic);
	envelope_put_text(&writer, key);
	presence_log_append(state->log, RECORD_UNTRACK, &writer);
	apply_untrack(state, number, entry);
}

/* Each topic by itself: fetch may be asked about one and not another. */
void
state_drop(struct state *state, uint64_t owner, uint64_t channel)
{
	const struct crdt_entry *entry;

	while (
	    (entry = crdt_channel_first(state->set, owner, channel)) != NULL) {
		uint64_t number = next_publish(state, &entry->topic);
		struct envelope_writer writer = { 0 };

		envelope_put_u64(&writer, number);
		envelope_put_u64(&writer, owner);
		envelope_put_u64(&writer, channel);
		envelope_put_text(&writer, &entry->topic);
		presence_log_append(state->log, RECORD_DROP, &writer);
		apply_drop(state, number, entry);
	}
}

void
state_drop_owner(struct state *state, uint64_t owner)
{
	const struct crdt_entry *entry;

	while ((entry = crdt_owner_first(state->set, owner)) != NULL)
		state_drop(state, owner, entry->channel);
}

void
state_fetched(struct state *state, uint64_t diff, const struct text *topic,
    const struct text *joins, const struct text *leaves)
{
	struct envelope_writer writer = { 0 };
	uint64_t number = state->publish + 1;

	envelope_put_u64(&writer, number);
	envelope_put_u64(&writer, diff);
	envelope_put_text(&writer, joins);
	envelope_put_text(&writer, leaves);
	presence_log_append(state->log, RECORD_PUBLISH, &writer);
	if (!fetched(state, number, diff, joins, leaves))
		fatalx("fetch answered for another diff of %s", topic->data);
}
