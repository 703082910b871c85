/*
 * test_presence_state.c - who is where, what is told of it, and what a
 * successor makes of the log. Lists and diffs are merged as a client would.
 */
#include <sys/mman.h>
#include <sys/stat.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/log.h"
#include "presence/state.h"
#include "tests/unit/unit.h"

#define OWNER    7
#define DIFF_MAX 100000

/* What was published: as pubsub, which takes no number twice. */
static struct {
	uint64_t last;
	unsigned n, again;
	char topic[64];
	char *payload;
} told;

/* What fetch was asked. */
static struct {
	unsigned n;
	uint64_t diff;
	char topic[64];
	char *joins, *leaves;
} asked;

static int files[PRESENCE_LOG_FILES];
static struct state *state;

static bool
on_fetches(const struct text *topic, void *arg)
{
	return strncmp(topic->data, "fetched:", 8) == 0;
}

static void
on_fetch(uint64_t diff, const struct text *topic, const struct text *joins,
    const struct text *leaves, void *arg)
{
	asked.n++;
	asked.diff = diff;
	snprintf(asked.topic, sizeof asked.topic, "%s", topic->data);
	free(asked.joins);
	free(asked.leaves);
	asked.joins = xmemdup(joins->data, joins->size);
	asked.leaves = xmemdup(leaves->data, leaves->size);
}

static void
on_publish(uint64_t number, const struct text *topic,
    const struct text *payload, void *arg)
{
	if (number <= told.last) {
		told.again++;
		return;
	}
	ck_assert_uint_eq(number, told.last + 1);
	told.last = number;
	told.n++;
	snprintf(told.topic, sizeof told.topic, "%s", topic->data);
	free(told.payload);
	told.payload = xmemdup(payload->data, payload->size);
}

static const struct state_callbacks callbacks = {
	.diff_max = DIFF_MAX,
	.fetches = on_fetches,
	.fetch = on_fetch,
	.publish = on_publish,
};

static struct state *
open_state(uint64_t accepted)
{
	static const struct text node = { (char *)"node", 4 };

	return state_open(files, &node, accepted, &callbacks, NULL);
}

/* kill -9, and a successor. */
static void
die(uint64_t accepted)
{
	state_free(state);
	state = open_state(accepted);
}

static void
setup(void)
{
	memset(&told, 0, sizeof told);
	memset(&asked, 0, sizeof asked);
	ck_assert_int_eq(presence_log_files(files), 0);
	state = open_state(0);
}

static void
teardown(void)
{
	state_free(state);
	for (int i = 0; i < PRESENCE_LOG_FILES; i++)
		close(files[i]);
	free(told.payload);
	free(asked.joins);
	free(asked.leaves);
}

static struct text
text(const char *s)
{
	return text_lent(s, strlen(s));
}

static void
track(uint64_t channel, const char *topic, const char *key, const char *ref,
    const char *prev, const char *meta)
{
	const struct presence presence = {
		.channel = channel,
		.topic = text(topic),
		.key = text(key),
		.ref = text(ref),
		.prev = prev == NULL ? (struct text){ 0 } : text(prev),
		.meta = text(meta),
	};

	ck_assert(state_track(state, OWNER, &presence));
}

static void
untrack(uint64_t channel, const char *topic, const char *key)
{
	const struct text t = text(topic), k = text(key);

	state_untrack(state, OWNER, channel, &t, &k);
}

static void
assert_list(const char *topic, const char *expected)
{
	const struct text t = text(topic);
	struct json_buffer list = { 0 };

	state_list(state, &t, NULL, &list);
	ck_assert_str_eq(list.data, expected);
	json_buffer_free(&list);
}

START_TEST(track_update_untrack)
{
	setup();
	track(1, "t", "k", "r1", NULL, "{ \"a\": [1, 2] }");
	ck_assert_str_eq(told.payload,
	    "{\"joins\":{\"k\":{\"metas\":[{\"phx_ref\":\"r1\",\"a\":[1,2]}]}}"
	    ",\"leaves\":{}}");
	track(1, "t", "k", "r2", "r1", "{}");
	ck_assert_str_eq(told.payload,
	    "{\"joins\":{\"k\":{\"metas\":[{\"phx_ref\":\"r2\","
	    "\"phx_ref_prev\":\"r1\"}]}},\"leaves\":{\"k\":{\"metas\":["
	    "{\"phx_ref\":\"r1\",\"a\":[1,2]}]}}}");
	assert_list("t",
	    "{\"k\":{\"metas\":[{\"phx_ref\":\"r2\",\"phx_ref_prev\":\"r1\"}]}}");
	untrack(1, "t", "k");
	ck_assert_str_eq(told.payload,
	    "{\"joins\":{},\"leaves\":{\"k\":{\"metas\":[{\"phx_ref\":\"r2\","
	    "\"phx_ref_prev\":\"r1\"}]}}}");
	assert_list("t", "{}");
	untrack(1, "t", "k");
	ck_assert_uint_eq(told.n, 3);
	teardown();
}
END_TEST

START_TEST(members_that_are_ours)
{
	setup();
	track(1, "t", "k", "r1", NULL,
	    "{\"phx_ref\":\"x\",\"b\":{\"phx_ref\":1},\"phx_ref_prev\":2,"
	    "\"\\u0070hx_ref\":3,\"big\":123456789012345678901234567890}");
	assert_list("t",
	    "{\"k\":{\"metas\":[{\"phx_ref\":\"r1\",\"b\":{\"phx_ref\":1},"
	    "\"big\":123456789012345678901234567890}]}}");
	teardown();
}
END_TEST

START_TEST(meta_must_be_an_object)
{
	static const char *const bad[] = { "", "[]", "1", "null", "{", "{}}",
		"\"{}\"", "{\"a\":}" };

	setup();

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		const struct presence presence = {
			.channel = 1,
			.topic = text("t"),
			.key = text("k"),
			.ref = text("r"),
			.meta = text(bad[i]),
		};

		ck_assert(!state_track(state, OWNER, &presence));
	}
	ck_assert_uint_eq(told.n, 0);
	assert_list("t", "{}");
	teardown();
}
END_TEST

START_TEST(keys_of_all_kinds)
{
	const struct text t = text("t"), k = text("k"), none = text("none");
	struct json_buffer list = { 0 };

	setup();

	track(1, "t", "", "r1", NULL, "{}");
	track(1, "t", "\"\n", "r2", NULL, "{}");
	track(1, "t", "k", "r3", NULL, "{}");
	track(2, "t", "k", "r4", NULL, "{}");
	assert_list("t",
	    "{\"\":{\"metas\":[{\"phx_ref\":\"r1\"}]},"
	    "\"\\\"\\n\":{\"metas\":[{\"phx_ref\":\"r2\"}]},"
	    "\"k\":{\"metas\":[{\"phx_ref\":\"r3\"},{\"phx_ref\":\"r4\"}]}}");
	state_list(state, &t, &k, &list);
	ck_assert_str_eq(list.data,
	    "{\"metas\":[{\"phx_ref\":\"r3\"},{\"phx_ref\":\"r4\"}]}");
	list.size = 0;
	state_list(state, &t, &none, &list);
	ck_assert_str_eq(list.data, "[]");
	json_buffer_free(&list);
	teardown();
}
END_TEST

START_TEST(a_channel_goes_in_one_diff_for_each_topic)
{
	setup();
	track(1, "t", "a", "r1", NULL, "{}");
	track(1, "t", "b", "r2", NULL, "{}");
	track(1, "u", "c", "r3", NULL, "{}");
	track(2, "t", "a", "r4", NULL, "{}");
	ck_assert_uint_eq(told.n, 4);
	state_drop(state, OWNER, 1);
	ck_assert_uint_eq(told.n, 6);
	ck_assert_str_eq(told.topic, "u");
	assert_list("t", "{\"a\":{\"metas\":[{\"phx_ref\":\"r4\"}]}}");
	assert_list("u", "{}");
	state_drop_owner(state, OWNER);
	ck_assert_str_eq(told.payload,
	    "{\"joins\":{},\"leaves\":{\"a\":{\"metas\":[{\"phx_ref\":\"r4\"}]}}"
	    "}");
	ck_assert_uint_eq(told.n, 7);
	teardown();
}
END_TEST

/* Its successor, too, makes the same parts of what was not accepted. */
START_TEST(what_is_too_large_for_one_diff_goes_in_parts)
{
	char key[16], *meta = xcalloc(1, 30001);
	const char *last;

	setup();
	memset(meta, ' ', 30000);
	memcpy(meta, "{\"m\":\"", 6);
	memcpy(meta + 29998, "\"}", 2);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(key, sizeof key, "k%u", i);
		track(1, "t", key, key, NULL, meta);
	}
	state_accepted(state);
	state_drop(state, OWNER, 1);
	ck_assert_uint_eq(told.n, 14); /* 3, 3, 3 and 1 */
	last = "{\"joins\":{},\"leaves\":{\"k9\":";
	ck_assert_int_eq(strncmp(told.payload, last, strlen(last)), 0);
	assert_list("t", "{}");
	told.last = told.n = 11;
	die(11);
	ck_assert_uint_eq(told.n, 14);
	ck_assert_int_eq(strncmp(told.payload, last, strlen(last)), 0);
	ck_assert_uint_lt(strlen(told.payload), DIFF_MAX);
	free(meta);
	teardown();
}
END_TEST

/* One more than fit an envelope. */
START_TEST(a_list_that_is_too_large)
{
	const size_t size = ENVELOPE_MAX / 16;
	const struct text t = text("t"), u = text("u"), same = text("same");
	struct json_buffer list = { 0 };
	char key[16], *meta = xcalloc(1, size + 1);

	setup();
	memset(meta, 'x', size);
	memcpy(meta, "{\"m\":\"", 6);
	memcpy(meta + size - 2, "\"}", 2);
	for (unsigned i = 0; i < 16; i++) {
		ck_assert(state_list(state, &t, NULL, &list));
		json_buffer_free(&list);
		snprintf(key, sizeof key, "k%u", i);
		track(i, "t", key, key, NULL, meta);
		track(i, "u", "same", key, NULL, meta);
	}
	ck_assert(!state_list(state, &t, NULL, &list));
	json_buffer_free(&list);
	ck_assert(!state_list(state, &u, &same, &list));
	json_buffer_free(&list);
	free(meta);
	teardown();
}
END_TEST

/* ---- a successor ---- */

START_TEST(a_successor_goes_on)
{
	setup();
	track(1, "t", "a", "r1", NULL, "{}");
	track(1, "t", "b", "r2", NULL, "{}");
	state_accepted(state);
	track(1, "t", "a", "r3", "r1", "{}");
	untrack(1, "t", "b");
	/* One of the last two had been accepted. */
	told.last = 3;
	die(3);
	ck_assert_uint_eq(told.last, 4);
	ck_assert_uint_eq(told.again, 0);
	ck_assert_str_eq(told.payload,
	    "{\"joins\":{},\"leaves\":{\"b\":{\"metas\":[{\"phx_ref\":\"r2\"}]}}"
	    "}");
	assert_list("t",
	    "{\"a\":{\"metas\":[{\"phx_ref\":\"r3\",\"phx_ref_prev\":\"r1\"}]}}");
	state_drop(state, OWNER, 1);
	ck_assert_uint_eq(told.last, 5);
	teardown();
}
END_TEST

START_TEST(a_successor_of_a_snapshot)
{
	setup();
	track(1, "t", "a", "r1", NULL, "{}");
	track(2, "t", "b", "r2", NULL, "{\"x\":1}");
	untrack(1, "t", "a");
	state_accepted(state);
	state_compact(state);
	track(3, "t", "c", "r3", NULL, "{}");
	die(0);
	ck_assert_uint_eq(told.again, 1);
	assert_list("t",
	    "{\"b\":{\"metas\":[{\"phx_ref\":\"r2\",\"x\":1}]},"
	    "\"c\":{\"metas\":[{\"phx_ref\":\"r3\"}]}}");
	state_accepted(state);
	state_compact(state);
	state_compact(state);
	die(4);
	assert_list("t",
	    "{\"b\":{\"metas\":[{\"phx_ref\":\"r2\",\"x\":1}]},"
	    "\"c\":{\"metas\":[{\"phx_ref\":\"r3\"}]}}");
	track(4, "t", "d", "r4", NULL, "{}");
	ck_assert_uint_eq(told.last, 5);
	teardown();
}
END_TEST

/* Whatever of the log is there: it is what was at some time, and goes on. */
START_TEST(a_log_that_ends_anywhere)
{
	struct stat whole;
	unsigned states = 0;
	size_t before = SIZE_MAX;
	char *copy;

	setup();

	track(1, "t", "a", "r1", NULL, "{}");
	track(1, "t", "b", "r2", NULL, "{}");
	untrack(1, "t", "a");
	state_drop(state, OWNER, 1);
	ck_assert_int_eq(fstat(files[0], &whole), 0);
	copy = xmalloc((size_t)whole.st_size);
	ck_assert_int_eq(
	    pread(files[0], copy, (size_t)whole.st_size, 0), whole.st_size);
	for (off_t size = 24; size <= whole.st_size; size++) {
		static const char *const lists[] = {
			"{}",
			"{\"a\":{\"metas\":[{\"phx_ref\":\"r1\"}]}}",
			"{\"a\":{\"metas\":[{\"phx_ref\":\"r1\"}]},"
			"\"b\":{\"metas\":[{\"phx_ref\":\"r2\"}]}}",
			"{\"b\":{\"metas\":[{\"phx_ref\":\"r2\"}]}}",
			"{}",
		};

		state_free(state);
		ck_assert_int_eq(pwrite(files[0], copy, (size_t)size, 0), size);
		ck_assert_int_eq(ftruncate(files[0], size), 0);
		told.last = told.n = 0;
		state = open_state(0);
		ck_assert_uint_lt(told.n, 5);
		assert_list("t", lists[told.n]);
		if (told.n != before)
			states++;
		before = told.n;
		/* The number of a record that is lost may be in the journal. */
		told.last = 9;
		die(9);
		track(2, "u", "z", "r9", NULL, "{}");
		ck_assert_uint_eq(told.last, 10);
	}
	ck_assert_uint_eq(states, 5);
	free(copy);
	teardown();
}
END_TEST

START_TEST(a_log_that_was_damaged)
{
	struct stat whole;

	setup();

	track(1, "t", "a", "r1", NULL, "{}");
	ck_assert_int_eq(fstat(files[0], &whole), 0);
	track(1, "t", "b", "r2", NULL, "{}");
	track(1, "t", "c", "r3", NULL, "{}");
	ck_assert_int_eq(pwrite(files[0], "x", 1, whole.st_size + 40), 1);
	die(3);
	assert_list("t", "{\"a\":{\"metas\":[{\"phx_ref\":\"r1\"}]}}");
	track(1, "t", "b", "r2", NULL, "{}");
	ck_assert_uint_eq(told.last, 4);
	teardown();
}
END_TEST

/* ---- fetch ---- */

static void
answer(const char *joins, const char *leaves)
{
	const struct text topic = text(asked.topic);
	const struct text j = text(joins), l = text(leaves);

	state_fetched(state, asked.diff, &topic, &j, &l);
}

START_TEST(fetch_adds)
{
	setup();
	track(1, "fetched:1", "a", "r1", NULL, "{}");
	ck_assert_uint_eq(told.n, 0);
	ck_assert_str_eq(
	    asked.joins, "{\"a\":{\"metas\":[{\"phx_ref\":\"r1\"}]}}");
	ck_assert_str_eq(asked.leaves, "{}");
	/* Others do not wait for it. */
	track(1, "t", "a", "r2", NULL, "{}");
	ck_assert_uint_eq(told.n, 1);
	answer("{\"more\":1}", "{}");
	ck_assert_str_eq(told.topic, "fetched:1");
	ck_assert_str_eq(
	    told.payload, "{\"joins\":{\"more\":1},\"leaves\":{}}");
	teardown();
}
END_TEST

START_TEST(what_fetch_had_not_answered_is_asked_again)
{
	setup();
	track(1, "fetched:1", "a", "r1", NULL, "{}");
	track(1, "t", "a", "r2", NULL, "{}");
	track(1, "fetched:1", "b", "r3", NULL, "{}");
	state_fetched(state, 0, &(struct text){ (char *)"fetched:1", 9 },
	    &(struct text){ (char *)"{\"x\":1}", 7 },
	    &(struct text){ (char *)"{}", 2 });
	ck_assert_uint_eq(told.last, 2);
	asked.n = 0;
	told.last = 1; /* the answer was not accepted */
	die(1);
	ck_assert_str_eq(told.payload, "{\"joins\":{\"x\":1},\"leaves\":{}}");
	ck_assert_uint_eq(told.last, 2);
	ck_assert_uint_eq(asked.n, 1);
	ck_assert_str_eq(
	    asked.joins, "{\"b\":{\"metas\":[{\"phx_ref\":\"r3\"}]}}");
	answer("{\"y\":1}", "{}");
	ck_assert_uint_eq(told.last, 3);
	/* A channel with presences on both kinds of topics. */
	state_drop(state, OWNER, 1);
	ck_assert_str_eq(told.topic, "t");
	ck_assert_uint_eq(told.last, 4);
	answer("{}", "{\"z\":1}");
	ck_assert_uint_eq(told.last, 5);
	teardown();
}
END_TEST

UNIT_MAIN("presence_state", track_update_untrack, members_that_are_ours,
    meta_must_be_an_object, keys_of_all_kinds,
    a_channel_goes_in_one_diff_for_each_topic,
    what_is_too_large_for_one_diff_goes_in_parts, a_list_that_is_too_large,
    a_successor_goes_on, a_successor_of_a_snapshot, a_log_that_ends_anywhere,
    a_log_that_was_damaged, fetch_adds,
    what_fetch_had_not_answered_is_asked_again)
