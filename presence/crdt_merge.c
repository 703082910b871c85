/*
 * crdt_merge.c - what replicas tell each other; see crdt.h.
 *
 * A message says: "of my entries with a dot up to 'from', those named here went
 * behind clock 'since'; with a dot behind 'from' and up to 'to' there are
 * these, and no others; all that as of my clock 'asof'". Who knows as much as
 * 'from' and 'since' knows afterwards as much as 'to' and 'asof'. A state is
 * that from and since 0. What follows the first part of a large one has since =
 * asof: all that went was said in the first.
 */
#include <assert.h>
#include <string.h>

#include "common/json.h"
#include "common/tree.h"
#include "presence/crdt_private.h"

#define MAGIC 0x42435201U /* also tells another order of bytes */

struct head {
	struct text node;
	uint64_t epoch, since, from, to, asof;
	uint32_t removed; /* so many dots follow, then entries, then dot 0 */
};

/* ---- writing ---- */

void
crdt_clock_put(struct envelope_writer *writer, const struct crdt_clock *clock)
{
	envelope_put_text(writer, &clock->node);
	envelope_put_u64(writer, clock->epoch);
	envelope_put_u64(writer, clock->clock);
	envelope_put_u64(writer, clock->seen);
}

/* Returns the place of "to", which is not known before the entries are. */
static size_t
put_head(struct envelope_writer *writer, const struct head *head)
{
	envelope_put_u32(writer, MAGIC);
	envelope_put_text(writer, &head->node);
	envelope_put_u64(writer, head->epoch);
	envelope_put_u64(writer, head->since);
	envelope_put_u64(writer, head->from);
	envelope_put_u64(writer, head->to);
	envelope_put_u64(writer, head->asof);
	envelope_put_u32(writer, head->removed);
	return writer->size - sizeof head->removed - 2 * sizeof head->to;
}

static void
put_entry(struct envelope_writer *writer, const struct crdt_entry *entry)
{
	envelope_put_u64(writer, entry->dot);
	envelope_put_u64(writer, entry->owner);
	envelope_put_u64(writer, entry->channel);
	envelope_put_text(writer, &entry->topic);
	envelope_put_text(writer, &entry->key);
	envelope_put_text(writer, &entry->ref);
	envelope_put_text(writer, &entry->prev);
	envelope_put_text(writer, &entry->meta);
}

/*
 * The dots up to "from" that went behind "since", counted, and put when there
 * is a writer. The newest first: so far one has to look.
 */
static uint32_t
put_removed(const struct crdt_history *history, uint64_t since, uint64_t from,
    struct envelope_writer *writer)
{
	uint32_t found = 0;

	for (size_t i = history->n; i > 0; i--) {
		const struct crdt_removal *removal =
		    &history->at[(history->first + i - 1) % history->room];

		if (removal->clock <= since)
			break;
		if (removal->dot > from)
			continue;
		found++;
		if (writer != NULL)
			envelope_put_u64(writer, removal->dot);
	}
	return found;
}

/* One message behind head->from; says up to where it goes. */
static uint64_t
write_part(
    const struct crdt *crdt, struct head *head, crdt_part_cb cb, void *arg)
{
	struct envelope_writer writer = { 0 };
	struct crdt_entry *entry;
	size_t to_at;

	head->removed = put_removed(
	    &crdt->history, head->since, head->from, NULL);
	to_at = put_head(&writer, head);
	put_removed(&crdt->history, head->since, head->from, &writer);
	head->to = head->from;
	entry = head->from == UINT64_MAX
	    ? NULL
	    : crdt_dot_from(crdt->own, head->from + 1);
	while (entry != NULL) {
		put_entry(&writer, entry);
		head->to = entry->dot;
		entry = crdt_dot_next(entry);
		if (writer.size > crdt->part)
			break;
	}
	if (entry == NULL)
		head->to = head->asof;
	envelope_put_u64(&writer, 0);
	memcpy(writer.data + to_at, &head->to, sizeof head->to);
	cb(writer.data + ENVELOPE_HEAD, writer.size - ENVELOPE_HEAD, arg);
	envelope_writer_free(&writer);
	return head->to;
}

static void
write_parts(const struct crdt *crdt, uint64_t from, uint64_t since,
    crdt_part_cb cb, void *arg)
{
	const struct crdt_replica *own = crdt->own;
	struct head head = { .node = own->node,
		.epoch = own->epoch,
		.since = since,
		.from = from,
		.asof = own->clock };

	while (write_part(crdt, &head, cb, arg) < head.asof) {
		head.from = head.to;
		head.since = head.asof;
	}
}

void
crdt_write(const struct crdt *crdt, const struct crdt_clock *known,
    crdt_part_cb cb, void *arg)
{
	const struct crdt_replica *own = crdt->own;

	if (known->epoch != own->epoch || known->seen > own->clock ||
	    known->clock > known->seen || known->seen < crdt->history.floor)
		crdt_write_state(crdt, cb, arg);
	else if (known->clock < own->clock)
		write_parts(crdt, known->clock, known->seen, cb, arg);
}

void
crdt_write_state(const struct crdt *crdt, crdt_part_cb cb, void *arg)
{
	if (crdt->own->clock > 0)
		write_parts(crdt, 0, 0, cb, arg);
}

/* ---- reading ---- */

bool
crdt_clock_get(struct envelope *envelope, struct crdt_clock *into)
{
	struct crdt_clock clock = { .node = envelope_get_text(envelope) };

	clock.epoch = envelope_get_u64(envelope);
	clock.clock = envelope_get_u64(envelope);
	clock.seen = envelope_get_u64(envelope);
	if (envelope->bad || !crdt_node_is_sane(&clock.node) ||
	    clock.clock > clock.seen)
		return false;
	*into = clock;
	return true;
}

static bool
get_head(struct envelope *envelope, struct head *head)
{
	uint32_t magic = envelope_get_u32(envelope);

	head->node = envelope_get_text(envelope);
	head->epoch = envelope_get_u64(envelope);
	head->since = envelope_get_u64(envelope);
	head->from = envelope_get_u64(envelope);
	head->to = envelope_get_u64(envelope);
	head->asof = envelope_get_u64(envelope);
	head->removed = envelope_get_u32(envelope);
	return !envelope->bad && magic == MAGIC &&
	    crdt_node_is_sane(&head->node) && head->from <= head->since &&
	    head->from <= head->to && head->since <= head->asof &&
	    head->to <= head->asof;
}

/* False: there are no more, or it is bad. */
static bool
get_entry(struct envelope *envelope, struct crdt_fields *fields)
{
	fields->dot = envelope_get_u64(envelope);
	if (fields->dot == 0)
		return false;
	fields->owner = envelope_get_u64(envelope);
	fields->channel = envelope_get_u64(envelope);
	fields->topic = envelope_get_text(envelope);
	fields->key = envelope_get_text(envelope);
	fields->ref = envelope_get_text(envelope);
	fields->prev = envelope_get_optional_text(envelope);
	fields->meta = envelope_get_text(envelope);
	return !envelope->bad;
}

static bool
is_utf8(const struct text *text)
{
	return json_is_utf8(text->data, text->size);
}

static bool
fields_are_sane(const struct crdt_fields *fields)
{
	struct json_span meta = json_scan_text(
	    fields->meta.data, fields->meta.size);

	return is_utf8(&fields->topic) && is_utf8(&fields->key) &&
	    fields->ref.size > 0 && is_utf8(&fields->ref) &&
	    (fields->prev.data == NULL || is_utf8(&fields->prev)) &&
	    meta.kind == JSON_OBJECT;
}

/* Is all of it as a replica would write it? Merging then cannot fail. */
static bool
message_is_sane(struct envelope envelope)
{
	struct crdt_fields fields;
	struct head head;
	uint64_t last;

	if (!get_head(&envelope, &head))
		return false;
	for (uint32_t i = 0; i < head.removed; i++) {
		uint64_t dot = envelope_get_u64(&envelope);

		if (envelope.bad || dot == 0 || dot > head.from)
			return false;
	}
	for (last = head.from; get_entry(&envelope, &fields); last = fields.dot)
		if (fields.dot <= last || fields.dot > head.to ||
		    !fields_are_sane(&fields))
			return false;
	return envelope_end(&envelope);
}

static struct envelope
envelope_of(const void *data, size_t size)
{
	return (struct envelope){ .data = data, .size = size };
}

bool
crdt_message_of(const void *data, size_t size, struct crdt_clock *clock)
{
	struct envelope envelope = envelope_of(data, size);
	struct head head;

	if (!get_head(&envelope, &head))
		return false;
	*clock = (struct crdt_clock){ head.node, head.epoch, head.to, head.asof,
		true };
	return true;
}

/* ---- merging ---- */

/*
 * A part of a large one, as of later, is taken even when it does not reach as
 * far as what is known: the entries behind it stay until the next parts have
 * come, which tell of them, too.
 */
static enum crdt_merge
judge(const struct crdt_replica *replica, const struct head *head)
{
	if (head->epoch > replica->epoch)
		return CRDT_UNKNOWN;
	if (head->epoch < replica->epoch || head->asof < replica->seen ||
	    (head->asof == replica->seen && head->to <= replica->clock))
		return CRDT_OLD;
	if (head->from > replica->clock || head->since > replica->seen)
		return CRDT_GAP;
	return CRDT_MERGED;
}

static void
merge_removed(struct crdt *crdt, struct crdt_replica *replica,
    struct envelope *envelope, uint32_t removed, struct crdt_changes *changes)
{
	while (removed-- > 0) {
		struct crdt_entry *entry = crdt_dot_find(
		    replica, envelope_get_u64(envelope));

		if (entry != NULL)
			crdt_drop(crdt, entry, changes);
	}
}

/* From that entry up to that dot: they are not in the message, so they went. */
static struct crdt_entry *
drop_up_to(struct crdt *crdt, struct crdt_entry *entry, uint64_t dot,
    struct crdt_changes *changes)
{
	while (entry != NULL && entry->dot <= dot) {
		struct crdt_entry *next = crdt_dot_next(entry);

		crdt_drop(crdt, entry, changes);
		entry = next;
	}
	return entry;
}

/* Both sides are in the order of dots. */
static void
merge_entries(struct crdt *crdt, struct crdt_replica *replica,
    struct envelope *envelope, const struct head *head,
    struct crdt_changes *changes)
{
	struct crdt_entry *entry = NULL;
	struct crdt_fields fields;

	if (head->from < UINT64_MAX)
		entry = crdt_dot_from(replica, head->from + 1);
	while (get_entry(envelope, &fields)) {
		entry = drop_up_to(crdt, entry, fields.dot - 1, changes);
		if (entry != NULL && entry->dot == fields.dot)
			entry = crdt_dot_next(entry);
		else
			crdt_insert(crdt, replica, &fields, changes);
	}
	drop_up_to(crdt, entry, head->to, changes);
}

static void
merge(struct crdt *crdt, struct crdt_replica *replica,
    struct envelope *envelope, crdt_diff_cb cb, void *arg)
{
	struct crdt_changes changes = { 0 };
	struct head head;
	bool sane = get_head(envelope, &head);

	assert(sane);
	merge_removed(crdt, replica, envelope, head.removed, &changes);
	merge_entries(crdt, replica, envelope, &head, &changes);
	assert(envelope_end(envelope));
	replica->clock = head.to;
	replica->seen = head.asof;
	crdt_tell(crdt, &changes, cb, arg);
}

enum crdt_merge
crdt_merge(struct crdt *crdt, const void *data, size_t size, crdt_diff_cb cb,
    void *arg)
{
	struct envelope envelope = envelope_of(data, size), peek = envelope;
	struct crdt_replica *replica;
	enum crdt_merge verdict;
	struct head head;

	assert(!crdt->busy);
	if (!message_is_sane(envelope) || !get_head(&peek, &head))
		return CRDT_BAD;
	if (text_equal(&head.node, &crdt->own->node))
		return CRDT_OWN;
	replica = crdt_replica_get(crdt, &head.node);
	if (replica == NULL)
		return CRDT_UNKNOWN;
	verdict = judge(replica, &head);
	if (verdict == CRDT_MERGED)
		merge(crdt, replica, &envelope, cb, arg);
	return verdict;
}
