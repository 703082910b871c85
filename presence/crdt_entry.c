/*
 * crdt_entry.c - entries, and the topics in which they are seen; see crdt.h.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/crdt_private.h"

static int
dot_compare(const struct crdt_entry *a, const struct crdt_entry *b)
{
	return a->dot < b->dot ? -1 : a->dot > b->dot;
}
TREE_GENERATE(crdt_dots, crdt_entry, by_dot, dot_compare)

int
crdt_name_compare(const struct text *a, const struct text *b)
{
	return a->data == b->data && a->size == b->size ? 0
							: text_compare(a, b);
}

int
crdt_key_compare(const struct crdt_entry *a, const struct crdt_entry *b)
{
	int order = text_compare(&a->key, &b->key);

	if (order != 0)
		return order;
	if (a->replica == NULL || b->replica == NULL)
		return (a->replica != NULL) - (b->replica != NULL);
	order = crdt_name_compare(&a->replica->node, &b->replica->node);
	return order == 0 ? crdt_number_compare(a->dot, b->dot) : order;
}
TREE_GENERATE(crdt_keys, crdt_entry, by_key, crdt_key_compare)

static int
topic_compare(const struct crdt_topic *a, const struct crdt_topic *b)
{
	return text_compare(&a->name, &b->name);
}
TREE_GENERATE(crdt_topics, crdt_topic, by_name, topic_compare)

/* ---- topics ---- */

static struct crdt_topic *
topic_find(const struct crdt *crdt, const struct text *name)
{
	struct crdt_topic like = { .name = *name };

	return RB_FIND(crdt_topics, &crdt_mutable(crdt)->topics, &like);
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

struct crdt_entry *
crdt_entry_new(struct crdt *crdt, struct crdt_replica *replica,
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

struct crdt_fields
crdt_entry_fields(const struct crdt_entry *entry)
{
	return (struct crdt_fields){ entry->dot, entry->owner, entry->channel,
		entry->topic, entry->key, entry->ref, entry->prev,
		entry->meta };
}

void
crdt_entry_free(struct crdt *crdt, struct crdt_entry *entry)
{
	struct crdt_fields fields = crdt_entry_fields(entry);

	crdt->bytes -= entry_size(&fields);
	topic_release(crdt, entry->of);
	free(entry);
}

void
crdt_entry_show(struct crdt *crdt, struct crdt_entry *entry)
{
	struct crdt_entry *other;

	other = RB_INSERT(crdt_keys, &entry->of->visible, entry);
	assert(other == NULL);
	crdt->visible++;
}

void
crdt_entry_hide(struct crdt *crdt, struct crdt_entry *entry)
{
	RB_REMOVE(crdt_keys, &entry->of->visible, entry);
	crdt->visible--;
}

const struct text *
crdt_entry_node(const struct crdt_entry *entry)
{
	return &entry->replica->node;
}

/* ---- by dots ---- */

bool
crdt_dot_insert(struct crdt_entry *entry)
{
	return RB_INSERT(crdt_dots, &entry->replica->entries, entry) == NULL;
}

void
crdt_dot_remove(struct crdt_entry *entry)
{
	RB_REMOVE(crdt_dots, &entry->replica->entries, entry);
}

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

/* ---- by topics ---- */

const struct crdt_entry *
crdt_topic_first(const struct crdt *crdt, const struct text *name)
{
	struct crdt_topic *topic = topic_find(crdt, name);

	return topic == NULL ? NULL : RB_MIN(crdt_keys, &topic->visible);
}

const struct crdt_entry *
crdt_topic_next(const struct crdt_entry *entry)
{
	return RB_NEXT(crdt_keys, NULL, crdt_entry_mutable(entry));
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
