/*
 * The set of those present. The last test but one lets three replicas live
 * through random changes, losses, delays, partitions and deaths; it says its
 * seed when it fails, and BENNU_CRDT_SEED=N runs that one again
 * (BENNU_CRDT_RUNS=N runs more or fewer).
 */
#include <sys/random.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/json.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/crdt.h"
#include "unit.h"

static struct text
text(const char *s)
{
	return text_lent(s, strlen(s));
}

static bool
text_is(const struct text *is, const char *s)
{
	struct text other = text(s);

	return text_equal(is, &other);
}

static struct presence
presence(uint64_t channel, const char *topic, const char *key, const char *ref)
{
	return (struct presence){ channel, text(topic), text(key), text(ref),
		{ 0 }, text("{\"a\":1}") };
}

static struct crdt *
set(const char *node, uint64_t epoch)
{
	struct text name = text(node);

	return crdt_new(&name, epoch);
}

static const struct crdt_entry *
add(struct crdt *crdt, uint64_t owner, uint64_t channel, const char *topic,
    const char *key, const char *ref)
{
	struct presence p = presence(channel, topic, key, ref);

	return crdt_add(crdt, owner, &p);
}

static const struct crdt_entry *
find(struct crdt *crdt, uint64_t owner, uint64_t channel, const char *topic,
    const char *key)
{
	struct text t = text(topic), k = text(key);

	return crdt_find(crdt, owner, channel, &t, &k);
}

/* The refs of a topic in their order, "a b c". */
static const char *
refs(const struct crdt *crdt, const char *topic)
{
	static char line[4096];
	struct text t = text(topic);
	const struct crdt_entry *entry = crdt_topic_first(crdt, &t);
	size_t n = 0;

	line[0] = '\0';
	for (; entry != NULL; entry = crdt_topic_next(entry))
		n += (size_t)snprintf(line + n, sizeof line - n, "%s%s",
		    n == 0 ? "" : " ", entry->ref.data);
	return line;
}

/* What callbacks said: "topic +a +b -c; ...". */
struct story {
	char line[8192];
	size_t n;
};

static void
tell_refs(struct story *story, char sign, const struct crdt_entry *const *list,
    size_t n)
{
	for (size_t i = 0; i < n; i++)
		story->n += (size_t)snprintf(story->line + story->n,
		    sizeof story->line - story->n, " %c%s", sign,
		    list[i]->ref.data);
}

static void
on_diff(const struct crdt_diff *diff, void *arg)
{
	struct story *story = arg;

	story->n += (size_t)snprintf(story->line + story->n,
	    sizeof story->line - story->n, "%s%s", story->n == 0 ? "" : "; ",
	    diff->topic->data);
	tell_refs(story, '+', diff->joins, diff->njoins);
	tell_refs(story, '-', diff->leaves, diff->nleaves);
}

static struct story story;

static void
story_begin(void)
{
	memset(&story, 0, sizeof story);
}

static bool
up(struct crdt *crdt, const char *node, uint64_t epoch)
{
	struct text name = text(node);

	story_begin();
	return crdt_replica_up(crdt, &name, epoch, on_diff, &story);
}

static void
down(struct crdt *crdt, const char *node, uint64_t epoch)
{
	struct text name = text(node);

	story_begin();
	crdt_replica_down(crdt, &name, epoch, on_diff, &story);
}

static void
forget(struct crdt *crdt, const char *node, uint64_t epoch)
{
	struct text name = text(node);

	story_begin();
	crdt_replica_forget(crdt, &name, epoch, on_diff, &story);
}

/* Messages that were written. */
#define MESSAGES 256
struct messages {
	size_t n;
	void *data[MESSAGES];
	size_t size[MESSAGES];
};

static void
on_part(const void *data, size_t size, void *arg)
{
	struct messages *messages = arg;

	ck_assert_uint_lt(messages->n, MESSAGES);
	messages->data[messages->n] = xmemdup(data, size);
	messages->size[messages->n++] = size;
}

static void
messages_free(struct messages *messages)
{
	while (messages->n > 0)
		free(messages->data[--messages->n]);
}

static struct messages
since(struct crdt *crdt, uint64_t clock)
{
	struct crdt_clock known = crdt_clock(crdt);
	struct messages messages = { 0 };

	known.clock = known.seen = clock;
	crdt_write(crdt, &known, on_part, &messages);
	return messages;
}

static enum crdt_merge
merge_one(struct crdt *crdt, const struct messages *messages, size_t i)
{
	story_begin();
	ck_assert_uint_lt(i, messages->n);
	return crdt_merge(
	    crdt, messages->data[i], messages->size[i], on_diff, &story);
}

/* What is new at "from" behind that clock goes to "to", as one message. */
static enum crdt_merge
send(struct crdt *from, uint64_t clock, struct crdt *to)
{
	struct messages messages = since(from, clock);
	enum crdt_merge verdict;

	ck_assert_uint_eq(messages.n, 1);
	verdict = merge_one(to, &messages, 0);
	messages_free(&messages);
	return verdict;
}

static struct crdt_clock
known(struct crdt *crdt, const char *node)
{
	struct text name = text(node);
	struct crdt_clock clock;

	ck_assert(crdt_replica_find(crdt, &name, &clock));
	return clock;
}

/* ---- the own replica ---- */

START_TEST(own_entries)
{
	struct crdt *a = set("a", 7);
	struct text ref = text("r2"), meta = text("{}");
	const struct crdt_entry *entry;

	ck_assert_ptr_null(find(a, 1, 2, "t", "k"));
	entry = add(a, 1, 2, "t", "k", "r1");
	ck_assert_ptr_eq(find(a, 1, 2, "t", "k"), entry);
	ck_assert_ptr_null(find(a, 1, 3, "t", "k"));
	ck_assert_ptr_null(find(a, 2, 2, "t", "k"));
	ck_assert_ptr_null(find(a, 1, 2, "t", "l"));
	ck_assert_ptr_null(find(a, 1, 2, "s", "k"));
	ck_assert(text_is(&entry->topic, "t") && text_is(&entry->key, "k"));
	ck_assert(text_is(&entry->ref, "r1") && entry->prev.data == NULL);
	ck_assert(text_is(&entry->meta, "{\"a\":1}"));
	ck_assert(text_is(crdt_entry_node(entry), "a"));
	ck_assert_uint_eq(entry->dot, 1);
	ck_assert_uint_eq(crdt_count(a), 1);
	ck_assert_uint_gt(crdt_bytes(a), sizeof *entry);

	entry = crdt_update(a, entry, &ref, &entry->ref, &meta);
	ck_assert_ptr_eq(find(a, 1, 2, "t", "k"), entry);
	ck_assert(text_is(&entry->ref, "r2") && text_is(&entry->prev, "r1"));
	ck_assert(text_is(&entry->meta, "{}"));
	ck_assert_uint_eq(crdt_clock(a).clock, 3);
	ck_assert_uint_eq(entry->dot, 3);
	ck_assert_uint_eq(crdt_count(a), 1);
	ck_assert_uint_eq(crdt_own_count(a), 1);

	crdt_remove(a, entry);
	ck_assert_ptr_null(find(a, 1, 2, "t", "k"));
	ck_assert_uint_eq(crdt_count(a), 0);
	ck_assert_uint_eq(crdt_own_count(a), 0);
	ck_assert_uint_eq(crdt_bytes(a), 0);
	ck_assert_uint_eq(crdt_clock(a).clock, 4);
	ck_assert_uint_eq(crdt_clock(a).seen, 4);
	ck_assert_uint_eq(crdt_clock(a).epoch, 7);
	crdt_free(a);
	crdt_free(NULL);
}
END_TEST

START_TEST(own_orders)
{
	struct crdt *a = set("a", 1);
	const struct crdt_entry *entry;
	char line[64] = "";

	add(a, 5, 2, "y", "k", "1");
	add(a, 5, 1, "z", "k", "2");
	add(a, 5, 2, "x", "l", "3");
	add(a, 5, 2, "x", "k", "4");
	add(a, 9, 2, "x", "k", "5");
	add(a, UINT64_MAX, UINT64_MAX, "", "", "6");

	for (entry = crdt_channel_first(a, 5, 2); entry != NULL;
	     entry = crdt_channel_next(entry))
		strcat(line, entry->ref.data);
	ck_assert_str_eq(line, "431");
	strcpy(line, "");
	for (entry = crdt_owner_first(a, 5); entry != NULL;
	     entry = crdt_owner_next(entry))
		strcat(line, entry->ref.data);
	ck_assert_str_eq(line, "2431");
	strcpy(line, "");
	for (entry = crdt_own_first(a); entry != NULL;
	     entry = crdt_own_next(entry))
		strcat(line, entry->ref.data);
	ck_assert_str_eq(line, "123456");

	ck_assert_ptr_null(crdt_channel_first(a, 5, 3));
	ck_assert_ptr_null(crdt_channel_first(a, 5, 0));
	ck_assert_ptr_null(crdt_owner_first(a, 6));
	ck_assert_str_eq(crdt_owner_beyond(a, 0)->ref.data, "2");
	ck_assert_str_eq(crdt_owner_beyond(a, 5)->ref.data, "5");
	ck_assert_str_eq(crdt_owner_beyond(a, 9)->ref.data, "6");
	ck_assert_ptr_null(crdt_owner_beyond(a, UINT64_MAX));
	ck_assert_str_eq(
	    crdt_channel_first(a, UINT64_MAX, UINT64_MAX)->ref.data, "6");
	crdt_free(a);
}
END_TEST

START_TEST(keys_of_a_topic)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);
	struct text topic = text("t"), key = text("k");
	const struct crdt_entry *entry;
	char line[64] = "";

	add(b, 1, 1, "t", "k", "b1");
	add(b, 1, 1, "t", "j", "b2");
	add(a, 1, 1, "t", "l", "a1");
	add(a, 2, 1, "t", "k", "a2");
	add(a, 1, 1, "t", "k", "a3");
	add(a, 1, 1, "u", "k", "a4");
	add(a, 1, 1, "t", "kk", "a5");
	add(a, 1, 1, "t", "", "a6");
	ck_assert(up(a, "b", 1));
	ck_assert_int_eq(send(b, 0, a), CRDT_MERGED);
	ck_assert_str_eq(refs(a, "t"), "a6 b2 a2 a3 b1 a5 a1");
	for (entry = crdt_key_first(a, &topic, &key); entry != NULL;
	     entry = crdt_key_next(entry))
		strcat(line, entry->ref.data);
	ck_assert_str_eq(line, "a2a3b1");
	key = text("ka");
	ck_assert_ptr_null(crdt_key_first(a, &topic, &key));
	key = text("z");
	ck_assert_ptr_null(crdt_key_first(a, &topic, &key));
	topic = text("none");
	ck_assert_ptr_null(crdt_key_first(a, &topic, &key));
	ck_assert_ptr_null(crdt_topic_first(a, &topic));
	crdt_free(a);
	crdt_free(b);
}
END_TEST

START_TEST(names_with_any_bytes)
{
	struct crdt *a = set("a", 1);
	struct text long_key = text_lent("k\0x", 3), key = text("k");
	struct presence p = presence(1, "t", "", "1");

	p.key = long_key;
	crdt_add(a, 1, &p);
	p.key = key;
	p.ref = text("2");
	crdt_add(a, 1, &p);
	ck_assert_str_eq(crdt_key_first(a, &p.topic, &long_key)->ref.data, "1");
	ck_assert_str_eq(crdt_key_first(a, &p.topic, &key)->ref.data, "2");
	ck_assert_ptr_null(crdt_key_next(crdt_key_first(a, &p.topic, &key)));
	crdt_free(a);
}
END_TEST

/* ---- deltas ---- */

START_TEST(deltas)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);
	struct text ref = text("2"), meta = text("{}");
	const struct crdt_entry *entry;

	ck_assert(up(b, "a", 1));
	entry = add(a, 1, 1, "t", "k", "1");
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t +1");
	ck_assert_int_eq(send(a, 0, b), CRDT_OLD);
	ck_assert_str_eq(story.line, "");

	/* An update is one diff. */
	crdt_update(a, entry, &ref, &entry->ref, &meta);
	ck_assert_int_eq(send(a, 1, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t +2 -1");
	ck_assert_str_eq(refs(b, "t"), "2");
	ck_assert_uint_eq(known(b, "a").clock, 3);

	/* What comes and goes between two deltas is in none. */
	entry = add(a, 1, 1, "t", "l", "3");
	crdt_remove(a, entry);
	ck_assert_int_eq(send(a, 3, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "");
	ck_assert_uint_eq(known(b, "a").clock, 5);

	crdt_remove(a, find(a, 1, 1, "t", "k"));
	ck_assert_int_eq(send(a, 5, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t -2");
	ck_assert_uint_eq(crdt_count(b), 0);
	ck_assert_uint_eq(crdt_bytes(b), 0);
	ck_assert_uint_eq(since(a, 6).n, 0);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

START_TEST(fields_travel)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);
	struct presence p = presence(77, "t\xc3\xa9", "constructor", "r");
	struct text topic = p.topic;
	const struct crdt_entry *entry;

	p.prev = text("");
	p.meta = text("{\"x\":[1,2],\"y\":\"\\u0000\"}");
	crdt_add(a, UINT64_MAX - 1, &p);
	ck_assert(up(b, "a", 1));
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	entry = crdt_topic_first(b, &topic);
	ck_assert(text_equal(&entry->topic, &p.topic));
	ck_assert(text_equal(&entry->key, &p.key));
	ck_assert(text_equal(&entry->ref, &p.ref));
	ck_assert(entry->prev.data != NULL && entry->prev.size == 0);
	ck_assert(text_equal(&entry->meta, &p.meta));
	ck_assert_uint_eq(entry->owner, UINT64_MAX - 1);
	ck_assert_uint_eq(entry->channel, 77);
	ck_assert_uint_eq(entry->dot, 1);
	ck_assert(text_is(crdt_entry_node(entry), "a"));
	/* It is not one of our own. */
	ck_assert_ptr_null(crdt_find(b, UINT64_MAX - 1, 77, &p.topic, &p.key));
	ck_assert_ptr_null(crdt_owner_beyond(b, 0));
	ck_assert_uint_eq(crdt_own_count(b), 0);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

START_TEST(one_diff_for_a_topic)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);
	struct text ref = text("9"), meta = text("{}");
	const struct crdt_entry *entry;

	ck_assert(up(b, "a", 1));
	add(a, 1, 1, "t", "k", "1");
	add(a, 1, 1, "u", "k", "2");
	add(a, 1, 2, "t", "j", "3");
	add(a, 2, 2, "s", "k", "4");
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "s +4; t +3 +1; u +2");
	entry = find(a, 1, 1, "u", "k");
	crdt_update(a, entry, &ref, &entry->ref, &meta);
	crdt_remove(a, find(a, 1, 1, "t", "k"));
	crdt_remove(a, find(a, 1, 2, "t", "j"));
	add(a, 2, 3, "v", "k", "5");
	ck_assert_int_eq(send(a, 4, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t -3 -1; u +9 -2; v +5");
	crdt_free(a);
	crdt_free(b);
}
END_TEST

START_TEST(order_of_deltas)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);
	struct messages first, second, third, both;

	ck_assert(up(b, "a", 1));
	add(a, 1, 1, "t", "k", "1");
	first = since(a, 0);
	add(a, 1, 1, "t", "l", "2");
	second = since(a, 1);
	crdt_remove(a, find(a, 1, 1, "t", "k"));
	third = since(a, 2);
	both = since(a, 1);

	ck_assert_int_eq(merge_one(b, &second, 0), CRDT_GAP);
	ck_assert_int_eq(merge_one(b, &third, 0), CRDT_GAP);
	ck_assert_uint_eq(crdt_count(b), 0);
	ck_assert_int_eq(merge_one(b, &first, 0), CRDT_MERGED);
	ck_assert_int_eq(merge_one(b, &third, 0), CRDT_GAP);
	ck_assert_int_eq(merge_one(b, &both, 0), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t +2 -1");
	/* All that is late: what is removed stays removed. */
	ck_assert_int_eq(merge_one(b, &first, 0), CRDT_OLD);
	ck_assert_int_eq(merge_one(b, &second, 0), CRDT_OLD);
	ck_assert_int_eq(merge_one(b, &third, 0), CRDT_OLD);
	ck_assert_int_eq(merge_one(b, &both, 0), CRDT_OLD);
	ck_assert_str_eq(refs(b, "t"), "2");
	messages_free(&first);
	messages_free(&second);
	messages_free(&third);
	messages_free(&both);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

/* A delta that begins before what is known, and so has some of it again. */
START_TEST(overlap)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);

	ck_assert(up(b, "a", 1));
	for (int i = 0; i < 4; i++) {
		char name[2] = { (char)('a' + i), '\0' };

		add(a, 1, 1, "t", name, name);
	}
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	crdt_remove(a, find(a, 1, 1, "t", "a"));
	crdt_remove(a, find(a, 1, 1, "t", "c"));
	add(a, 1, 1, "t", "e", "e");
	ck_assert_int_eq(send(a, 2, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t +e -a -c");
	ck_assert_str_eq(refs(b, "t"), "b d e");
	crdt_free(a);
	crdt_free(b);
}
END_TEST

START_TEST(removals_long_ago)
{
	struct crdt *a = set("a", 1), *b = set("b", 1), *c = set("c", 1);
	char name[16];

	crdt_limit(a, 100, CRDT_PART);
	ck_assert(up(b, "a", 1));
	ck_assert(up(c, "a", 1));
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof name, "%03d", i);
		add(a, 1, 1, "t", name, name);
	}
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	ck_assert_int_eq(send(a, 0, c), CRDT_MERGED);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "%03d", i);
		crdt_remove(a, find(a, 1, 1, "t", name));
	}
	/* All in a delta, then more than it can reach: a state. */
	ck_assert_int_eq(send(a, 200, b), CRDT_MERGED);
	ck_assert_uint_eq(crdt_count(b), 100);
	crdt_remove(a, find(a, 1, 1, "t", "100"));
	ck_assert_int_eq(send(a, 200, c), CRDT_MERGED);
	ck_assert_uint_eq(crdt_count(c), 99);
	ck_assert_int_eq(send(a, 300, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t -100");
	ck_assert_uint_eq(known(b, "a").clock, known(c, "a").clock);
	crdt_free(a);
	crdt_free(b);
	crdt_free(c);
}
END_TEST

/* ---- large states ---- */

static struct crdt *
ten(const char *node)
{
	struct crdt *crdt = set(node, 1);

	crdt_limit(crdt, 1, 1);
	for (int i = 0; i < 10; i++) {
		char name[2] = { (char)('a' + i), '\0' };

		add(crdt, 1, 1, "t", name, name);
	}
	return crdt;
}

START_TEST(parts)
{
	struct crdt *a = ten("a"), *b = set("b", 1);
	struct messages messages;

	ck_assert(up(b, "a", 1));
	crdt_remove(a, find(a, 1, 1, "t", "c"));
	messages = since(a, 0);
	ck_assert_uint_eq(messages.n, 9);
	ck_assert_int_eq(merge_one(b, &messages, 1), CRDT_GAP);
	for (size_t i = 0; i < messages.n; i++) {
		ck_assert_int_eq(merge_one(b, &messages, i), CRDT_MERGED);
		ck_assert_int_eq(merge_one(b, &messages, i), CRDT_OLD);
		ck_assert_uint_eq(known(b, "a").seen, 11);
	}
	ck_assert_str_eq(refs(b, "t"), "a b d e f g h i j");
	ck_assert_uint_eq(known(b, "a").clock, 11);
	messages_free(&messages);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

/* What went while one knew less must not stay, wherever one stands. */
START_TEST(parts_for_one_who_knows_much)
{
	struct crdt *a = ten("a"), *b = set("b", 1);
	struct messages messages = since(a, 0), late;
	struct crdt_clock at;

	ck_assert(up(b, "a", 1));
	for (size_t i = 0; i < messages.n; i++)
		ck_assert_int_eq(merge_one(b, &messages, i), CRDT_MERGED);
	messages_free(&messages);
	crdt_remove(a, find(a, 1, 1, "t", "a"));
	late = since(a, 10);
	crdt_remove(a, find(a, 1, 1, "t", "h"));
	crdt_remove(a, find(a, 1, 1, "t", "j"));
	at = known(b, "a");
	crdt_write(a, &at, on_part, &messages);
	ck_assert_uint_eq(messages.n, 7);
	ck_assert_int_eq(merge_one(b, &messages, 0), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t -a");
	/* The entries behind stay; but what was said earlier counts no more. */
	ck_assert_str_eq(refs(b, "t"), "b c d e f g h i j");
	ck_assert_uint_eq(known(b, "a").clock, 2);
	ck_assert_uint_eq(known(b, "a").seen, 13);
	ck_assert_int_eq(merge_one(b, &late, 0), CRDT_OLD);
	for (size_t i = 1; i < messages.n; i++)
		ck_assert_int_eq(merge_one(b, &messages, i), CRDT_MERGED);
	ck_assert_str_eq(refs(b, "t"), "b c d e f g i");
	ck_assert_uint_eq(known(b, "a").clock, 13);
	messages_free(&messages);
	messages_free(&late);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

/* A part that was lost, and time went on: it is asked for from there. */
START_TEST(parts_with_a_hole)
{
	struct crdt *a = ten("a"), *b = set("b", 1);
	struct messages messages = since(a, 0);
	struct crdt_clock at;

	ck_assert(up(b, "a", 1));
	ck_assert_int_eq(merge_one(b, &messages, 0), CRDT_MERGED);
	ck_assert_int_eq(merge_one(b, &messages, 1), CRDT_MERGED);
	ck_assert_int_eq(merge_one(b, &messages, 3), CRDT_GAP);
	messages_free(&messages);
	crdt_remove(a, find(a, 1, 1, "t", "a"));
	at = known(b, "a");
	ck_assert_uint_eq(at.clock, 2);
	ck_assert_uint_eq(at.seen, 10);
	crdt_write(a, &at, on_part, &messages);
	for (size_t i = 0; i < messages.n; i++)
		ck_assert_int_eq(merge_one(b, &messages, i), CRDT_MERGED);
	ck_assert_str_eq(refs(b, "t"), "b c d e f g h i j");
	messages_free(&messages);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

/* ---- replicas ---- */

START_TEST(down_and_up)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);

	add(a, 1, 1, "t", "k", "1");
	ck_assert_int_eq(send(a, 0, b), CRDT_UNKNOWN);
	ck_assert(up(b, "a", 1));
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	ck_assert(up(b, "a", 1));
	ck_assert_str_eq(story.line, "");
	down(b, "a", 2); /* of another epoch */
	ck_assert_str_eq(story.line, "");
	down(b, "a", 1);
	ck_assert_str_eq(story.line, "t -1");
	ck_assert_str_eq(refs(b, "t"), "");
	ck_assert_uint_eq(crdt_count(b), 0);
	ck_assert(!known(b, "a").up);
	down(b, "a", 1);
	ck_assert_str_eq(story.line, "");
	/* What happens meanwhile is known, but not seen. */
	crdt_remove(a, find(a, 1, 1, "t", "k"));
	add(a, 1, 1, "t", "k", "2");
	ck_assert_int_eq(send(a, 1, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "");
	ck_assert_str_eq(refs(b, "t"), "");
	ck_assert(up(b, "a", 1));
	ck_assert_str_eq(story.line, "t +2");
	ck_assert_str_eq(refs(b, "t"), "2");
	down(b, "none", 1);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

START_TEST(forgotten)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);
	struct text name = text("a");
	struct messages late;
	struct crdt_clock clock;

	ck_assert(up(b, "a", 1));
	add(a, 1, 1, "t", "k", "1");
	add(a, 1, 1, "t", "l", "2");
	late = since(a, 0);
	crdt_remove(a, find(a, 1, 1, "t", "k"));
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	forget(b, "a", 2);
	ck_assert_str_eq(refs(b, "t"), "2");
	forget(b, "a", 1);
	ck_assert_str_eq(story.line, "t -2");
	ck_assert_uint_eq(crdt_bytes(b), 0);
	ck_assert(!crdt_replica_find(b, &name, &clock));
	ck_assert(!crdt_replica_next(b, NULL, &clock));
	ck_assert_int_eq(merge_one(b, &late, 0), CRDT_UNKNOWN);
	/* It comes again; what it said before it was forgotten is late. */
	ck_assert(up(b, "a", 1));
	ck_assert_str_eq(story.line, "");
	ck_assert_int_eq(merge_one(b, &late, 0), CRDT_OLD);
	ck_assert_uint_eq(known(b, "a").clock, 0);
	ck_assert_uint_eq(known(b, "a").seen, 3);
	add(a, 1, 1, "t", "m", "3");
	ck_assert_int_eq(send(a, 3, b), CRDT_GAP);
	clock = known(b, "a");
	messages_free(&late);
	crdt_write(a, &clock, on_part, &late);
	ck_assert_int_eq(merge_one(b, &late, 0), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t +2 +3");
	/* Those that are down are freed silently. */
	down(b, "a", 1);
	forget(b, "a", 1);
	ck_assert_str_eq(story.line, "");
	ck_assert_uint_eq(crdt_bytes(b), 0);
	ck_assert(up(b, "a", 2));
	ck_assert_uint_eq(known(b, "a").seen, 0);
	messages_free(&late);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

START_TEST(another_epoch)
{
	struct crdt *a = set("a", 5), *again = set("a", 6), *b = set("b", 1);

	add(a, 1, 1, "t", "k", "1");
	add(again, 1, 1, "t", "k", "2");
	ck_assert(up(b, "a", 5));
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	ck_assert_int_eq(send(again, 0, b), CRDT_UNKNOWN);
	ck_assert_str_eq(refs(b, "t"), "1");
	ck_assert(up(b, "a", 6));
	ck_assert_str_eq(story.line, "t -1");
	ck_assert_int_eq(send(again, 0, b), CRDT_MERGED);
	ck_assert_str_eq(refs(b, "t"), "2");
	/* The dead one's last words. */
	add(a, 1, 1, "t", "l", "3");
	ck_assert(!up(b, "a", 5));
	ck_assert_int_eq(send(a, 0, b), CRDT_OLD);
	ck_assert_int_eq(send(a, 1, b), CRDT_OLD);
	down(b, "a", 5);
	forget(b, "a", 5);
	ck_assert_str_eq(refs(b, "t"), "2");
	forget(b, "a", 6);
	ck_assert(!up(b, "a", 5));
	crdt_free(a);
	crdt_free(again);
	crdt_free(b);
}
END_TEST

START_TEST(our_own_name)
{
	struct crdt *a = set("a", 5), *other = set("a", 6);

	add(a, 1, 1, "t", "k", "1");
	ck_assert(!up(a, "a", 5));
	ck_assert(!up(a, "a", 6));
	ck_assert_int_eq(send(a, 0, a), CRDT_OWN);
	ck_assert_int_eq(send(a, 0, other), CRDT_OWN);
	ck_assert_str_eq(refs(a, "t"), "1");
	ck_assert(!up(a, "", 1));
	ck_assert(!up(a, "\xff", 1));
	crdt_free(a);
	crdt_free(other);
}
END_TEST

START_TEST(many_replicas)
{
	struct crdt *a = set("a", 1);
	struct crdt_clock clock;
	struct text name;
	char node[16];
	size_t n = 0;

	for (int i = 0; i < CRDT_REPLICAS_MAX; i++) {
		snprintf(node, sizeof node, "n%04d", i);
		ck_assert(up(a, node, 1));
	}
	ck_assert(!up(a, "more", 1));
	ck_assert(up(a, "n0000", 2));
	for (bool is = crdt_replica_next(a, NULL, &clock); is;
	     is = crdt_replica_next(a, &name, &clock)) {
		snprintf(node, sizeof node, "n%04zu", n++);
		ck_assert(text_is(&clock.node, node));
		name = clock.node;
	}
	ck_assert_uint_eq(n, CRDT_REPLICAS_MAX);
	/* Of those forgotten the oldest are unknown again, epoch and all. */
	for (int i = 0; i < CRDT_FORGOTTEN + 1; i++) {
		snprintf(node, sizeof node, "n%04d", i);
		forget(a, node, i == 0 ? 2 : 1);
	}
	name = text("n0000");
	ck_assert(crdt_replica_next(a, &name, &clock));
	snprintf(node, sizeof node, "n%04d", CRDT_FORGOTTEN + 1);
	ck_assert(text_is(&clock.node, node));
	ck_assert(up(a, "n0000", 1));
	ck_assert(!up(a, "n0001", 0));
	ck_assert(up(a, "more", 1));
	crdt_free(a);
}
END_TEST

START_TEST(clocks_travel)
{
	struct crdt *a = set("a", 3);
	struct envelope_writer writer = { 0 };
	struct crdt_clock clock, back = { 0 };
	struct envelope envelope = { 0 };

	add(a, 1, 1, "t", "k", "1");
	clock = crdt_clock(a);
	crdt_clock_put(&writer, &clock);
	envelope.data = writer.data + ENVELOPE_HEAD;
	for (size_t i = 0; i <= writer.size - ENVELOPE_HEAD; i++) {
		envelope.size = i;
		envelope.at = 0;
		envelope.bad = false;
		ck_assert_int_eq(crdt_clock_get(&envelope, &back),
		    i == writer.size - ENVELOPE_HEAD);
	}
	ck_assert(envelope_end(&envelope) && text_is(&back.node, "a"));
	ck_assert(back.epoch == 3 && back.clock == 1 && back.seen == 1);
	envelope_writer_free(&writer);
	/* More of it here than seen there. */
	clock.clock = 2;
	crdt_clock_put(&writer, &clock);
	envelope.data = writer.data + ENVELOPE_HEAD;
	envelope.at = 0;
	ck_assert(!crdt_clock_get(&envelope, &back));
	ck_assert_uint_eq(back.clock, 1);
	envelope_writer_free(&writer);
	crdt_free(a);
}
END_TEST

/* ---- a successor ---- */

START_TEST(restored)
{
	struct crdt *a = set("a", 3), *next = set("a", 3), *b = set("b", 1);
	struct presence p = presence(1, "t", "l", "2");
	struct messages messages;

	ck_assert(up(b, "a", 3));
	add(a, 1, 1, "t", "k", "1");
	add(a, 1, 1, "t", "l", "2");
	add(a, 1, 1, "t", "m", "3");
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	crdt_remove(a, find(a, 1, 1, "t", "k"));

	ck_assert(!crdt_restore(next, 1, &p, 0));
	ck_assert(crdt_restore(next, 1, &p, 2));
	ck_assert(!crdt_restore(next, 1, &p, 3)); /* the place is taken */
	p.key = text("m");
	p.ref = text("3");
	ck_assert(!crdt_restore(next, 1, &p, 2)); /* the dot is */
	ck_assert(crdt_restore(next, 1, &p, 3));
	ck_assert_uint_eq(crdt_clock(next).clock, 3);
	crdt_restore_clock(next, 2);
	ck_assert_uint_eq(crdt_clock(next).clock, 3);
	crdt_restore_clock(next, 4);
	/* It goes on where the other one ended. */
	ck_assert_uint_eq(add(a, 1, 1, "t", "n", "4")->dot,
	    add(next, 1, 1, "t", "n", "4")->dot);
	crdt_remove(a, find(a, 1, 1, "t", "m"));
	crdt_remove(next, find(next, 1, 1, "t", "m"));
	ck_assert_uint_eq(crdt_clock(next).clock, crdt_clock(a).clock);
	/* Removals of before are not known: who knew 3 gets all. */
	ck_assert_int_eq(send(next, 3, b), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t +4 -1 -3");
	ck_assert_int_eq(send(a, 0, b), CRDT_OLD);
	ck_assert_str_eq(refs(b, "t"), "2 4");
	/* Who knew 4, only that. */
	messages = since(next, 4);
	crdt_free(b);
	b = set("b", 1);
	ck_assert(up(b, "a", 3));
	ck_assert_int_eq(merge_one(b, &messages, 0), CRDT_GAP);
	messages_free(&messages);
	crdt_free(a);
	crdt_free(next);
	crdt_free(b);
}
END_TEST

/* ---- hostile bytes ---- */

/* A message with one thing wrong; all is right as it begins. */
struct forged {
	uint32_t magic;
	const char *node;
	uint64_t since, from, to, asof;
	uint32_t removed;
	uint64_t removed_dot, dots[2];
	const char *topic, *key, *ref, *prev, *meta;
	size_t less, more; /* bytes at the end */
};

static const struct forged right = { 0x42435201U, "a", 2, 2, 5, 5, 1, 1,
	{ 3, 5 }, "t", "k", "r", NULL, "{}", 0, 0 };

static void
forge(struct envelope_writer *writer, const struct forged *forged)
{
	envelope_put_u32(writer, forged->magic);
	envelope_put_string(writer, forged->node);
	envelope_put_u64(writer, 1);
	envelope_put_u64(writer, forged->since);
	envelope_put_u64(writer, forged->from);
	envelope_put_u64(writer, forged->to);
	envelope_put_u64(writer, forged->asof);
	envelope_put_u32(writer, forged->removed);
	if (forged->removed > 0)
		envelope_put_u64(writer, forged->removed_dot);
	for (int i = 0; i < 2; i++) {
		envelope_put_u64(writer, forged->dots[i]);
		envelope_put_u64(writer, 1);
		envelope_put_u64(writer, 1);
		envelope_put_string(writer, forged->topic);
		envelope_put_string(writer, forged->key);
		envelope_put_string(writer, forged->ref);
		envelope_put_string(writer, forged->prev);
		envelope_put_string(writer, forged->meta);
	}
	envelope_put_u64(writer, 0);
	envelope_put_raw(writer, "xxxxxxxx", forged->more);
	writer->size -= forged->less;
}

/* b knows two entries of a. */
static struct crdt *
knowing(void)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);

	ck_assert(up(b, "a", 1));
	add(a, 1, 1, "t", "1", "1");
	add(a, 1, 1, "t", "2", "2");
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	crdt_free(a);
	return b;
}

static enum crdt_merge
merge_forged(struct crdt *b, const struct forged *forged)
{
	struct envelope_writer writer = { 0 };
	enum crdt_merge verdict;
	void *data;

	forge(&writer, forged);
	data = xmalloc(writer.size - ENVELOPE_HEAD);
	memcpy(data, writer.data + ENVELOPE_HEAD, writer.size - ENVELOPE_HEAD);
	story_begin();
	verdict = crdt_merge(
	    b, data, writer.size - ENVELOPE_HEAD, on_diff, &story);
	free(data);
	envelope_writer_free(&writer);
	return verdict;
}

static void
expect_bad(struct forged forged)
{
	struct crdt *b = knowing();

	ck_assert_int_eq(merge_forged(b, &forged), CRDT_BAD);
	ck_assert_str_eq(story.line, "");
	ck_assert_str_eq(refs(b, "t"), "1 2");
	ck_assert_uint_eq(known(b, "a").clock, 2);
	ck_assert_uint_eq(known(b, "a").seen, 2);
	crdt_free(b);
}

#define BAD(field, ...)                        \
	do {                                   \
		struct forged forged_ = right; \
		forged_.field = __VA_ARGS__;   \
		expect_bad(forged_);           \
	} while (0)

START_TEST(bad_fields)
{
	struct crdt *b = knowing();
	char node[CRDT_NODE_MAX + 2];

	ck_assert_int_eq(merge_forged(b, &right), CRDT_MERGED);
	ck_assert_str_eq(story.line, "t +r +r -1");
	crdt_free(b);

	memset(node, 'n', sizeof node - 1);
	node[sizeof node - 1] = '\0';
	BAD(magic, 0x01524342U);
	BAD(node, "");
	BAD(node, NULL);
	BAD(node, "\xff");
	BAD(node, node);
	BAD(since, 1);
	BAD(since, 6);
	BAD(from, 3);
	BAD(to, 6);
	BAD(to, 4);
	BAD(to, 1);
	BAD(asof, 4);
	BAD(asof, 0);
	BAD(removed, 2);
	BAD(removed, 0xffffffff);
	BAD(removed_dot, 0);
	BAD(removed_dot, 3);
	BAD(dots[0], 2);
	BAD(dots[0], 0);
	BAD(dots[0], 5);
	BAD(dots[1], 3);
	BAD(dots[1], 6);
	BAD(dots[1], UINT64_MAX);
	BAD(topic, NULL);
	BAD(topic, "\xc3");
	BAD(key, NULL);
	BAD(key, "\xed\xa0\x80");
	BAD(ref, NULL);
	BAD(ref, "");
	BAD(ref, "\x80");
	BAD(prev, "\x80");
	BAD(meta, NULL);
	BAD(meta, "");
	BAD(meta, "[]");
	BAD(meta, "{} {}");
	BAD(meta, "{\"a\"}");
	BAD(less, 1);
	BAD(less, 8);
	BAD(more, 1);
	BAD(more, 8);
}
END_TEST

/* Sane, though no replica says so: the largest numbers there are. */
START_TEST(largest_numbers)
{
	struct forged forged = right;
	struct crdt *b = knowing();

	forged.to = forged.asof = UINT64_MAX;
	forged.dots[1] = UINT64_MAX;
	ck_assert_int_eq(merge_forged(b, &forged), CRDT_MERGED);
	ck_assert_str_eq(refs(b, "t"), "2 r r");
	forged.from = forged.since = forged.asof;
	ck_assert_int_eq(merge_forged(b, &forged), CRDT_BAD);
	forged = right;
	forged.since = forged.from = 0;
	forged.removed = 0;
	forged.asof = UINT64_MAX;
	ck_assert_int_eq(merge_forged(b, &forged), CRDT_OLD);
	crdt_free(b);
}
END_TEST

START_TEST(prefixes)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);
	struct crdt_clock clock;
	struct messages messages;

	ck_assert(up(b, "a", 1));
	add(a, 1, 1, "t", "1", "1");
	ck_assert_int_eq(send(a, 0, b), CRDT_MERGED);
	crdt_remove(a, find(a, 1, 1, "t", "1"));
	add(a, 1, 1, "t", "2", "2");
	add(a, 1, 1, "u", "3", "3");
	messages = since(a, 1);
	for (size_t i = 0; i < messages.size[0]; i++) {
		void *part = xmalloc(i);

		memcpy(part, messages.data[0], i);
		ck_assert_int_eq(
		    crdt_merge(b, part, i, on_diff, &story), CRDT_BAD);
		crdt_message_of(part, i, &clock);
		free(part);
		ck_assert_str_eq(refs(b, "t"), "1");
		ck_assert_uint_eq(known(b, "a").clock, 1);
	}
	ck_assert(crdt_message_of(messages.data[0], messages.size[0], &clock));
	ck_assert(text_is(&clock.node, "a") && clock.epoch == 1);
	ck_assert(clock.clock == 4 && clock.seen == 4);
	ck_assert_int_eq(merge_one(b, &messages, 0), CRDT_MERGED);
	messages_free(&messages);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

/* ---- random ---- */

static uint64_t dice;

static uint64_t
roll64(void)
{
	uint64_t z = dice += 0x9e3779b97f4a7c15U;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

static size_t
roll(size_t n)
{
	return roll64() % n;
}

static bool
chance(unsigned percent)
{
	return roll(100) < percent;
}

static uint64_t
number_of(const char *variable, uint64_t otherwise)
{
	const char *value = getenv(variable);

	return value == NULL ? otherwise : strtoull(value, NULL, 10);
}

static uint64_t
seed_of_day(void)
{
	uint64_t seed = 0;

	if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
		ck_abort_msg("getrandom");
	return number_of("BENNU_CRDT_SEED", seed);
}

static size_t visible_sum; /* joins without leaves */

static void
on_diff_sum(const struct crdt_diff *diff, void *arg)
{
	ck_assert(diff->njoins + diff->nleaves > 0);
	visible_sum += diff->njoins;
	visible_sum -= diff->nleaves;
}

START_TEST(mutations)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);
	struct text node = text("a");
	struct messages messages;
	unsigned merged = 0;
	char name[8];

	dice = seed_of_day();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof name, "%02d", i);
		add(a, 1, 1, i % 3 == 0 ? "t" : "u", name, name);
	}
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "%02d", i * 2);
		crdt_remove(a, find(a, 1, 1, i * 2 % 3 == 0 ? "t" : "u", name));
	}
	messages = since(a, 15);
	for (int run = 0; run < 50000; run++) {
		char *bytes = xmalloc(messages.size[0]);

		memcpy(bytes, messages.data[0], messages.size[0]);
		for (size_t n = roll(4) + 1; n > 0; n--)
			bytes[roll(messages.size[0])] ^= (char)(1U << roll(8));
		ck_assert(crdt_replica_up(b, &node, 1, on_diff_sum, NULL));
		if (chance(50)) {
			struct messages state = { 0 };

			crdt_write_state(a, on_part, &state);
			crdt_merge(
			    b, state.data[0], state.size[0], on_diff_sum, NULL);
			messages_free(&state);
		}
		if (crdt_merge(b, bytes, messages.size[0], on_diff_sum, NULL) ==
		    CRDT_MERGED)
			merged++;
		free(bytes);
		ck_assert_msg(visible_sum == crdt_count(b),
		    "BENNU_CRDT_SEED of run %d", run);
		if (chance(20)) {
			struct text copy = node;

			crdt_replica_forget(b, &copy, 1, on_diff_sum, NULL);
			ck_assert_uint_eq(crdt_count(b), 0);
			crdt_free(b);
			b = set("b", 1);
		}
	}
	ck_assert_uint_gt(merged, 0);
	messages_free(&messages);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

/* ---- three replicas in a bad world ---- */

#define NODES   3
#define TOPICS  3
#define KEYS    3
#define OWNERS  3
#define RECORDS 512
#define FLIGHT  400
#define STEPS   250

/* Every entry there ever was; its ref is its index. */
struct record {
	int node;
	uint64_t epoch, dot, removed; /* clocks; removed 0: not yet */
	uint64_t owner, channel;
	int topic, key;
	int prev; /* -1: none */
};

struct node {
	struct crdt *crdt;
	uint64_t epoch;
	struct crdt_clock published;
	bool view[RECORDS]; /* what a client made of the diffs */
	bool gone[RECORDS]; /* it saw that removed */
};

enum kind { DATA, BEAT, ASK };
struct flight {
	enum kind kind;
	int from, to;
	void *data;
	size_t size;
	struct crdt_clock clock;
};

static struct world {
	uint64_t seed;
	struct node nodes[NODES];
	struct record records[RECORDS];
	int nrecords;
	struct flight flights[FLIGHT];
	int nflights;
	bool cut[NODES][NODES];
	unsigned lost, doubled; /* percent */
	uint64_t epoch;
	unsigned merged, old, gap, restarts;
} world;

static const char *const node_names[NODES] = { "a", "b", "c" };
static const char *const topic_names[TOPICS] = { "t", "u", "v" };
static const char *const key_names[KEYS] = { "k", "l", "" };

/* Asked millions of times: each ck_assert writes to a file. */
#define must(condition)                                                 \
	do {                                                            \
		if (!(condition))                                       \
			ck_abort_msg("BENNU_CRDT_SEED=%" PRIu64 ": %s", \
			    world.seed, #condition);                    \
	} while (0)

static struct text
ref_of(int record, char *buffer, size_t size)
{
	int n = snprintf(buffer, size, "r%d", record);

	return text_lent(buffer, (size_t)n);
}

static int
record_of(const struct text *ref)
{
	int record = atoi(ref->data + 1);

	must(ref->data[0] == 'r' && record >= 0 && record < world.nrecords);
	return record;
}

/* Is the entry as its node made it? */
static int
record_checked(const struct crdt_entry *entry)
{
	int i = record_of(&entry->ref);
	const struct record *record = &world.records[i];
	char meta[32];

	snprintf(meta, sizeof meta, "{\"r\":%d}", i);
	must(text_is(&entry->topic, topic_names[record->topic]));
	must(text_is(&entry->key, key_names[record->key]));
	must(text_is(&entry->meta, meta));
	must(text_is(crdt_entry_node(entry), node_names[record->node]));
	must(entry->dot == record->dot && entry->owner == record->owner);
	must(entry->channel == record->channel);
	must(record->prev < 0 ? entry->prev.data == NULL
			      : record_of(&entry->prev) == record->prev);
	return i;
}

/* ... as Phoenix's JavaScript client does it. */
static void
client_merges(const struct crdt_diff *diff, void *arg)
{
	struct node *node = arg;

	must(diff->njoins + diff->nleaves > 0);
	for (size_t i = 0; i < diff->njoins; i++) {
		int record = record_checked(diff->joins[i]);

		must(text_equal(diff->topic, &diff->joins[i]->topic));
		must(!node->view[record]);
		must(!node->gone[record]);
		node->view[record] = true;
	}
	for (size_t i = 0; i < diff->nleaves; i++) {
		int record = record_checked(diff->leaves[i]);

		must(text_equal(diff->topic, &diff->leaves[i]->topic));
		must(node->view[record]);
		node->view[record] = false;
	}
}

/* The same, when what leaves will never be there again. */
static void
client_merges_removal(const struct crdt_diff *diff, void *arg)
{
	struct node *node = arg;

	client_merges(diff, arg);
	for (size_t i = 0; i < diff->nleaves; i++)
		node->gone[record_of(&diff->leaves[i]->ref)] = true;
}

/* What a node must show of another, if that is up: all of it, but for what is
 * behind its clock, of which it may show what it had before. */
static void
check_known(const struct node *node, const struct record *record, bool shown)
{
	struct text name = text(node_names[record->node]);
	struct crdt_clock clock;
	bool was;

	if (!crdt_replica_find(node->crdt, &name, &clock) || !clock.up ||
	    clock.epoch != record->epoch) {
		must(!shown);
		return;
	}
	was = record->removed == 0 || record->removed > clock.seen;
	if (record->dot <= clock.clock)
		must(shown == was);
	else
		must(!shown || record->dot <= clock.seen);
}

static void
check_own(const struct node *node, const struct record *record, bool shown)
{
	must(shown == (record->epoch == node->epoch && record->removed == 0));
}

static void
check_node(int at)
{
	struct node *node = &world.nodes[at];
	bool shown[RECORDS] = { false };
	size_t n = 0;

	for (int i = 0; i < TOPICS; i++) {
		struct text topic = text(topic_names[i]);
		const struct crdt_entry *entry, *last = NULL;

		entry = crdt_topic_first(node->crdt, &topic);
		for (; entry != NULL; entry = crdt_topic_next(entry)) {
			must(last == NULL ||
			    text_compare(&last->key, &entry->key) <= 0);
			shown[record_checked(entry)] = true;
			last = entry;
			n++;
		}
	}
	must(n == crdt_count(node->crdt));
	for (int i = 0; i < world.nrecords; i++) {
		must(shown[i] == node->view[i]);
		if (world.records[i].node == at)
			check_own(node, &world.records[i], shown[i]);
		else
			check_known(node, &world.records[i], shown[i]);
	}
}

static void
fly(struct flight flight)
{
	if (world.nflights == FLIGHT) {
		free(flight.data); /* one more loss */
		return;
	}
	world.flights[world.nflights++] = flight;
}

struct way {
	int from, to; /* to -1: everybody */
};

static void
on_written(const void *data, size_t size, void *arg)
{
	const struct way *way = arg;

	for (int to = 0; to < NODES; to++)
		if (to != way->from && (way->to == -1 || way->to == to))
			fly((struct flight){ .kind = DATA,
			    .from = way->from,
			    .to = to,
			    .data = xmemdup(data, size),
			    .size = size });
}

static void
publish(int at)
{
	struct node *node = &world.nodes[at];
	struct way way = { at, -1 };

	crdt_write(node->crdt, &node->published, on_written, &way);
	node->published = crdt_clock(node->crdt);
}

static void
beat(int at)
{
	for (int to = 0; to < NODES; to++)
		if (to != at)
			fly((struct flight){ BEAT, at, to, NULL, 0,
			    crdt_clock(world.nodes[at].crdt) });
}

/* What this node knows of that one goes there, unless it is on its way. */
static void
ask(int at, int whom)
{
	struct text name = text(node_names[whom]);
	struct crdt_clock clock;

	for (int i = 0; i < world.nflights; i++)
		if (world.flights[i].kind == ASK &&
		    world.flights[i].from == at && world.flights[i].to == whom)
			return;
	if (!crdt_replica_find(world.nodes[at].crdt, &name, &clock))
		return;
	clock.node = (struct text){ 0 };
	fly((struct flight){ ASK, at, whom, NULL, 0, clock });
}

static bool
hear_of(int at, int whom, uint64_t epoch)
{
	struct node *node = &world.nodes[at];
	struct text name = text(node_names[whom]);

	return crdt_replica_up(
	    node->crdt, &name, epoch, client_merges_removal, node);
}

static void
arrive_data(const struct flight *flight)
{
	struct node *node = &world.nodes[flight->to];
	struct crdt_clock of;
	bool heard;

	must(crdt_message_of(flight->data, flight->size, &of));
	heard = hear_of(flight->to, flight->from, of.epoch);
	switch (crdt_merge(node->crdt, flight->data, flight->size,
	    client_merges_removal, node)) {
	case CRDT_MERGED:
		must(heard);
		world.merged++;
		return;
	case CRDT_OLD:
		world.old++;
		return;
	case CRDT_GAP:
		world.gap++;
		ask(flight->to, flight->from);
		return;
	case CRDT_UNKNOWN: /* it was an earlier epoch of one forgotten */
		must(!heard);
		return;
	case CRDT_OWN:
	case CRDT_BAD:
		must(false);
	}
}

static void
arrive_beat(const struct flight *flight)
{
	struct text name = text(node_names[flight->from]);
	struct crdt_clock clock;

	if (!hear_of(flight->to, flight->from, flight->clock.epoch))
		return;
	must(crdt_replica_find(world.nodes[flight->to].crdt, &name, &clock));
	if (clock.clock < flight->clock.clock)
		ask(flight->to, flight->from);
}

static void
arrive(const struct flight *flight)
{
	struct way way = { flight->to, flight->from };

	switch (flight->kind) {
	case DATA:
		arrive_data(flight);
		break;
	case BEAT:
		arrive_beat(flight);
		break;
	case ASK:
		crdt_write(world.nodes[flight->to].crdt, &flight->clock,
		    on_written, &way);
		break;
	}
	check_node(flight->to);
}

/* It may be lost, or come once more. */
static void
deliver(int i)
{
	struct flight flight = world.flights[i];

	if (chance(world.doubled)) {
		arrive(&flight);
		return;
	}
	world.nflights--;
	memmove(&world.flights[i], &world.flights[i + 1],
	    (size_t)(world.nflights - i) * sizeof flight);
	if (!world.cut[flight.from][flight.to] && !chance(world.lost))
		arrive(&flight);
	free(flight.data);
}

static struct presence
record_presence(int i, char *ref, char *prev, char *meta, size_t size)
{
	const struct record *record = &world.records[i];
	struct presence p = { .channel = record->channel,
		.topic = text(topic_names[record->topic]),
		.key = text(key_names[record->key]) };

	p.ref = ref_of(i, ref, size);
	if (record->prev >= 0)
		p.prev = ref_of(record->prev, prev, size);
	p.meta = text_lent(meta, (size_t)snprintf(meta, size, "{\"r\":%d}", i));
	return p;
}

static void
node_add(int at, uint64_t owner, uint64_t channel, int topic, int key)
{
	struct node *node = &world.nodes[at];
	struct record *record = &world.records[world.nrecords];
	char ref[32], prev[32], meta[32];
	struct presence p;

	*record = (struct record){ at, node->epoch, 0, 0, owner, channel, topic,
		key, -1 };
	p = record_presence(world.nrecords, ref, prev, meta, sizeof ref);
	node->view[world.nrecords++] = true;
	record->dot = crdt_add(node->crdt, owner, &p)->dot;
}

static void
node_remove(int at, const struct crdt_entry *entry)
{
	struct node *node = &world.nodes[at];
	int i = record_of(&entry->ref);

	crdt_remove(node->crdt, entry);
	world.records[i].removed = crdt_clock(node->crdt).clock;
	node->view[i] = false;
}

static void
node_update(int at, const struct crdt_entry *entry)
{
	struct node *node = &world.nodes[at];
	int old = record_of(&entry->ref), i = world.nrecords++;
	struct record *record = &world.records[i];
	char ref[32], prev[32], meta[32];
	struct presence p;

	*record = world.records[old];
	record->prev = old;
	p = record_presence(i, ref, prev, meta, sizeof ref);
	entry = crdt_update(node->crdt, entry, &p.ref, &p.prev, &p.meta);
	record->dot = entry->dot;
	world.records[old].removed = entry->dot - 1;
	node->view[old] = false;
	node->view[i] = true;
}

static void
node_changes(int at)
{
	struct node *node = &world.nodes[at];
	uint64_t owner = roll(OWNERS) + 1, channel = roll(2);
	int topic = (int)roll(TOPICS), key = (int)roll(KEYS);
	const struct crdt_entry *entry = find(
	    node->crdt, owner, channel, topic_names[topic], key_names[key]);

	if (chance(10)) /* a connection is gone */
		while ((entry = crdt_owner_first(node->crdt, owner)) != NULL)
			node_remove(at, entry);
	else if (entry != NULL && chance(50))
		node_remove(at, entry);
	else if (world.nrecords == RECORDS)
		return;
	else if (entry != NULL)
		node_update(at, entry);
	else
		node_add(at, owner, channel, topic, key);
}

static void
node_begin(int at)
{
	struct node *node = &world.nodes[at];

	crdt_free(node->crdt);
	memset(node, 0, sizeof *node);
	node->epoch = ++world.epoch;
	node->crdt = set(node_names[at], node->epoch);
	node->published = crdt_clock(node->crdt);
	crdt_limit(node->crdt, roll(15) + 1, roll(chance(50) ? 200 : 3000));
}

/* Presence died, and another one reads its log; what was known of others is
 * not in it. */
static void
node_succeed(int at)
{
	struct node *node = &world.nodes[at];
	struct crdt *old = node->crdt;
	const struct crdt_entry *entry = crdt_own_first(old);
	char ref[32], prev[32], meta[32];

	node->crdt = set(node_names[at], node->epoch);
	crdt_limit(node->crdt, roll(15) + 1, roll(1000));
	memset(node->view, 0, sizeof node->view);
	memset(node->gone, 0, sizeof node->gone);
	for (; entry != NULL; entry = crdt_own_next(entry)) {
		int i = record_of(&entry->ref);
		struct presence p = record_presence(
		    i, ref, prev, meta, sizeof ref);

		must(crdt_restore(node->crdt, entry->owner, &p, entry->dot));
		node->view[i] = true;
	}
	crdt_restore_clock(node->crdt, crdt_clock(old).clock);
	node->published = crdt_clock(node->crdt);
	crdt_free(old);
}

/* Taken for dead, rightly or not. */
static void
node_misses(int at)
{
	struct node *node = &world.nodes[at];
	int whom = (at + 1 + (int)roll(NODES - 1)) % NODES;
	struct text name = text(node_names[whom]);
	struct crdt_clock clock;

	if (!crdt_replica_find(node->crdt, &name, &clock))
		return;
	if (chance(60))
		crdt_replica_down(
		    node->crdt, &name, clock.epoch, client_merges, node);
	else
		crdt_replica_forget(
		    node->crdt, &name, clock.epoch, client_merges, node);
}

static void
step(void)
{
	int at = (int)roll(NODES);
	size_t what = roll(1000);

	if (what < 200)
		node_changes(at);
	else if (what < 350)
		publish(at);
	else if (what < 450)
		beat(at);
	else if (what < 950 && world.nflights > 0)
		/* One of the first mostly, that many parts have a chance. */
		deliver((int)roll(chance(70) && world.nflights > 3
			? 3
			: (size_t)world.nflights));
	else if (what < 950)
		return;
	else if (what < 970)
		world.cut[at][roll(NODES)] ^= true;
	else if (what < 985)
		node_misses(at);
	else if (what < 993)
		node_succeed(at);
	else {
		node_begin(at);
		world.restarts++;
	}
	check_node(at);
}

static bool
same_everywhere(void)
{
	for (int at = 0; at < NODES; at++)
		for (int i = 0; i < world.nrecords; i++) {
			const struct record *record = &world.records[i];
			const struct node *home = &world.nodes[record->node];

			if (world.nodes[at].view[i] !=
			    (record->removed == 0 &&
				record->epoch == home->epoch))
				return false;
		}
	return true;
}

/* All ways are free again, and keep their order; nothing else happens. */
static void
heal(void)
{
	memset(world.cut, 0, sizeof world.cut);
	world.lost = world.doubled = 0;
	for (int round = 0; round < 20; round++) {
		while (world.nflights > 0)
			deliver(0);
		if (round > 3 && same_everywhere())
			return;
		for (int at = 0; at < NODES; at++)
			beat(at);
	}
	must(same_everywhere());
}

static void
live(uint64_t seed)
{
	unsigned merged = world.merged, old = world.old, gap = world.gap;
	unsigned restarts = world.restarts;

	memset(&world, 0, sizeof world);
	world = (struct world){ .seed = seed,
		.merged = merged,
		.old = old,
		.gap = gap,
		.restarts = restarts };
	dice = seed;
	world.lost = (unsigned)roll(40);
	world.doubled = (unsigned)roll(40);
	for (int at = 0; at < NODES; at++)
		node_begin(at);
	for (int i = 0; i < STEPS; i++)
		step();
	heal();
	for (int at = 0; at < NODES; at++) {
		crdt_free(world.nodes[at].crdt);
		world.nodes[at].crdt = NULL;
	}
}

START_TEST(three_replicas)
{
	uint64_t seed = seed_of_day();
	bool one = getenv("BENNU_CRDT_SEED") != NULL;
	uint64_t runs = number_of("BENNU_CRDT_RUNS", one ? 1 : 2000);

	for (uint64_t i = 0; i < runs; i++)
		live(seed + i);
	printf("# %" PRIu64 " runs from seed %" PRIu64
	       ": %u messages merged, %u old, %u behind a gap, %u restarts\n",
	    runs, seed, world.merged, world.old, world.gap, world.restarts);
	fflush(stdout);
	if (runs >= 100)
		ck_assert(world.merged > 1000 && world.old > 1000 &&
		    world.gap > 100 && world.restarts > 10);
}
END_TEST

/* ---- size ---- */

#define MANY 100000

static double
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void
on_large_part(const void *data, size_t size, void *arg)
{
	ck_assert_int_eq(
	    crdt_merge(arg, data, size, on_diff_sum, NULL), CRDT_MERGED);
}

START_TEST(many_entries)
{
	struct crdt *a = set("a", 1), *b = set("b", 1);
	double at = now_us(), added, told, removed;
	struct presence p = presence(0, "room:lobby", "", "");
	char key[16], ref[24];
	size_t bytes;

	p.meta = text("{\"online_at\":1763780000,\"name\":\"somebody\"}");
	for (uint64_t i = 0; i < MANY; i++) {
		/* Not in their order. */
		p.key = text_lent(key,
		    (size_t)snprintf(
			key, sizeof key, "%" PRIu64, i * 7919 % MANY));
		p.ref = text_lent(ref,
		    (size_t)snprintf(
			ref, sizeof ref, "FzzzzABCDEF%05" PRIu64, i));
		crdt_add(a, i + 1, &p);
	}
	added = now_us() - at;
	bytes = crdt_bytes(a) / MANY;
	ck_assert_uint_eq(crdt_count(a), MANY);

	ck_assert(up(b, "a", 1));
	visible_sum = 0;
	at = now_us();
	crdt_write_state(a, on_large_part, b);
	told = now_us() - at;
	ck_assert_uint_eq(crdt_count(b), MANY);
	ck_assert_uint_eq(visible_sum, MANY);

	at = now_us();
	for (uint64_t i = 0; i < MANY; i++)
		crdt_remove(a, crdt_owner_first(a, i * 6007 % MANY + 1));
	removed = now_us() - at;
	ck_assert_uint_eq(crdt_count(a), 0);
	crdt_write_state(a, on_large_part, b);
	ck_assert_uint_eq(crdt_count(b), 0);
	ck_assert_uint_eq(visible_sum, 0);
	printf("# %d entries: add %.2f us, remove %.2f us, write and merge "
	       "%.2f us, %zu bytes each\n",
	    MANY, added / MANY, removed / MANY, told / MANY, bytes);
	fflush(stdout);
	crdt_free(a);
	crdt_free(b);
}
END_TEST

UNIT_MAIN("crdt", own_entries, own_orders, keys_of_a_topic,
    names_with_any_bytes, deltas, fields_travel, one_diff_for_a_topic,
    order_of_deltas, overlap, removals_long_ago, parts,
    parts_for_one_who_knows_much, parts_with_a_hole, down_and_up, forgotten,
    another_epoch, our_own_name, many_replicas, clocks_travel, restored,
    bad_fields, largest_numbers, prefixes, mutations, three_replicas,
    many_entries)
