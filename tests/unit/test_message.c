/*
 * message.c: messages in, frames out.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/message.h"
#include "common/xmalloc.h"
#include "tests/unit/unit.h"

#define COUNT(a) (sizeof a / sizeof a[0])

/* From a copy of exactly its size, so that a sanitizer sees what is beyond. */
static bool
parse_exact(struct message *message, const char *data, size_t size)
{
	char *copy = malloc(size == 0 ? 1 : size);
	bool good;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, data, size);
	good = message_parse_v2(message, copy, size);
	free(copy);
	return good;
}

static void
parse(struct message *message, const char *text)
{
	ck_assert_msg(parse_exact(message, text, strlen(text)), "%s", text);
}

static void
assert_text(const struct text *text, const char *expected)
{
	ck_assert_ptr_nonnull(text->data);
	ck_assert_str_eq(text->data, expected);
	ck_assert_uint_eq(text->size, strlen(expected));
}

START_TEST(plain)
{
	struct message m;

	parse(&m, "[\"3\",\"7\",\"ping:12\",\"ping\",{\"n\":12345}]");
	assert_text(&m.join_ref, "\"3\"");
	assert_text(&m.ref, "\"7\"");
	assert_text(&m.topic, "ping:12");
	assert_text(&m.topic_json, "\"ping:12\"");
	assert_text(&m.event, "ping");
	assert_text(&m.payload, "{\"n\":12345}");
	message_clear(&m);
	ck_assert_ptr_null(m.payload.data);
	message_clear(&m); /* harmless */
}
END_TEST

START_TEST(white_space)
{
	struct message m;

	parse(&m,
	    " [ [ 1 , 2 ] ,\t{ \"a b\" : 1 }\n, \"t t\" , \"e e\" ,\r\n"
	    "{ \"x y\" : [ 1 , \" \\\" \" ] } , 6 , [ ] ] \n");
	assert_text(&m.join_ref, "[1,2]");
	assert_text(&m.ref, "{\"a b\":1}");
	assert_text(&m.topic, "t t");
	assert_text(&m.event, "e e");
	assert_text(&m.payload, "{\"x y\":[1,\" \\\" \"]}");
	message_clear(&m);
}
END_TEST

START_TEST(refs)
{
	static const char *const pairs[][2] = {
		{ "null", "null" },
		{ "true", "true" },
		{ "7", "7" },
		{ "-1.50e+007", "-1.50e+007" },
		{ "123456789012345678901234567890",
		    "123456789012345678901234567890" },
		{ "\"\"", "\"\"" },
		{ "\"\\u0031\"", "\"1\"" },
		{ "\"\\/\\u000A\\u0000\\u0022\"", "\"/\\n\\u0000\\\"\"" },
		{ "\"\\u00e9\\ud83d\\ude00\"", "\"\xc3\xa9\xf0\x9f\x98\x80\"" },
		{ "[]", "[]" },
	};
	struct message m;
	char text[128];

	for (size_t i = 0; i < COUNT(pairs); i++) {
		snprintf(text, sizeof text, "[%s,%s,%s,\"e\",1]", pairs[i][0],
		    pairs[i][0], pairs[i][0]);
		parse(&m, text);
		assert_text(&m.join_ref, pairs[i][1]);
		assert_text(&m.ref, pairs[i][1]);
		assert_text(&m.topic_json, pairs[i][1]);
		ck_assert(text_equal(&m.join_ref, &m.ref));
		ck_assert_int_eq(message_ref_is_null(&m.ref), i == 0);
		message_clear(&m);
	}
}
END_TEST

START_TEST(equality)
{
	struct message m;
	struct text none = { NULL, 0 }, empty = { "", 0 };
	struct text a = { "a\0b", 3 }, b = { "a\0c", 3 };

	parse(&m, "[\"1\",1,\"null\",\"e\",null]");
	ck_assert(!text_equal(&m.join_ref, &m.ref));
	ck_assert(!message_ref_is_null(&m.topic_json));
	message_clear(&m);
	ck_assert(text_equal(&none, &none));
	ck_assert(!text_equal(&none, &empty));
	ck_assert(!text_equal(&empty, &none));
	ck_assert(text_equal(&empty, &empty));
	ck_assert(text_equal(&a, &a));
	ck_assert(!text_equal(&a, &b));
}
END_TEST

START_TEST(no_strings)
{
	static const char *const values[] = { "null", "false", "7", "[\"t\"]",
		"{\"t\":1}" };
	struct message m;
	char text[64];

	for (size_t i = 0; i < COUNT(values); i++) {
		snprintf(text, sizeof text, "[null,\"1\",%s,%s,\"p\"]",
		    values[i], values[i]);
		parse(&m, text);
		ck_assert_ptr_null(m.topic.data);
		assert_text(&m.topic_json, values[i]);
		ck_assert_ptr_null(m.event.data);
		assert_text(&m.payload, "\"p\"");
		message_clear(&m);
	}
}
END_TEST

START_TEST(characters)
{
	struct message m;

	parse(&m, "[1,2,\"a\\u0000b\\\"\",\"\\u00e9\\n\",\"\\u0031\\u2028\"]");
	ck_assert_uint_eq(m.topic.size, 4);
	ck_assert_mem_eq(m.topic.data, "a\0b\"", 5);
	assert_text(&m.topic_json, "\"a\\u0000b\\\"\"");
	assert_text(&m.event, "\xc3\xa9\n");
	assert_text(&m.payload, "\"\\u0031\\u2028\""); /* as it came */
	message_clear(&m);
}
END_TEST

static const char *const malformed[] = {
	"",
	" ",
	"null",
	"\"[1,2,3,4,5]\"",
	"{\"topic\":\"t\",\"event\":\"e\",\"payload\":{},\"ref\":null}",
	"[]",
	"[1,2,3,4]",
	"[1,2,3,4,]",
	"[1,2,3,4,5",
	"[1,2,3,4,5,",
	"[1,2,3,4,5,]",
	"[1,2,3,4,5,6,x]",
	"[1,2,3,4,5}",
	"[1,2,3,4,5]]",
	"[1,2,3,4,5] 6",
	"[1,2,3,4,5][]",
	"[1,2,,4,5]",
	"[1 2,3,4,5,6]",
	"[,1,2,3,4,5]",
	"[1,2,\"\\ud800\",4,5]",
	"[1,2,\"\xff\",4,5]",
	"[1,2,\"t\",\"e\",01]",
	"[1,2,\"t\",\"e\",{\"a\":1,}]",
	"\xef\xbb\xbf[1,2,3,4,5]",
};

START_TEST(malformed_messages)
{
	struct message m;

	for (size_t i = 0; i < COUNT(malformed); i++)
		ck_assert_msg(
		    !parse_exact(&m, malformed[i], strlen(malformed[i])), "%s",
		    malformed[i]);
	ck_assert(!parse_exact(&m, "[1,2,3,4,5]\0", 12));
	ck_assert(!message_parse_v2(&m, NULL, 0));
	message_clear(&m); /* nothing to free, and harmless */
}
END_TEST

static const char *const messages[] = {
	"[\"3\",\"7\",\"ping:12\",\"ping\",{\"n\":12345}]",
	"[null,\"1\",\"room:\\u00e9\xc3\xa9\",\"phx_join\",{\"a\":[true]}]",
	"[ null , 1 , \"t\" , \"e\" , { \"a\" : \"b\\n\" } , 6 ]",
	"[1,[{}],{\"t\":[]},null,\"\\ud83d\\ude00\"]",
};

START_TEST(prefixes)
{
	struct message m;

	for (size_t i = 0; i < COUNT(messages); i++)
		for (size_t n = 0; n < strlen(messages[i]); n++)
			ck_assert(!parse_exact(&m, messages[i], n));
}
END_TEST

/* Sent back, a message means the same. */
static void
check_echo(const struct message *m)
{
	struct json_buffer b = { 0 };
	struct message echo;

	if (m->topic.data == NULL || m->event.data == NULL)
		return;
	message_append_push(&b, m->join_ref.data, &m->topic, m->event.data,
	    m->event.size, m->payload.data, m->payload.size);
	ck_assert(parse_exact(&echo, b.data, b.size));
	ck_assert(text_equal(&m->join_ref, &echo.join_ref));
	ck_assert(message_ref_is_null(&echo.ref));
	ck_assert(text_equal(&m->topic, &echo.topic));
	ck_assert(text_equal(&m->topic_json, &echo.topic_json));
	ck_assert(text_equal(&m->event, &echo.event));
	ck_assert(text_equal(&m->payload, &echo.payload));
	message_clear(&echo);
	json_buffer_free(&b);
}

/* UNIT_SEED repeats a run. */
static void
seed_random(void)
{
	const char *given = getenv("UNIT_SEED");
	unsigned seed = given ? atoi(given) : time(NULL);

	printf("# seed %u\n", seed);
	fflush(stdout); /* before a crash */
	srandom(seed);
}

START_TEST(mutations)
{
	static const char bytes[] = "[]{}\",:\\u0d8c- \n\x80\xc3\xe2\xf0";
	unsigned good = 0;
	struct message m;
	char text[128];
	size_t size;

	seed_random();
	for (unsigned i = 0; i < 100000; i++) {
		size = strlen(messages[i % COUNT(messages)]);
		memcpy(text, messages[i % COUNT(messages)], size);
		for (long n = random() % 3; n >= 0; n--)
			text[random() % size] = random() % 2 == 0
			    ? random()
			    : bytes[random() % sizeof bytes];
		if (!parse_exact(&m, text, size))
			continue;
		check_echo(&m);
		message_clear(&m);
		good++;
	}
	/* else the rounds above say nothing */
	ck_assert_uint_gt(good, 1000);
	ck_assert_uint_lt(good, 90000);
}
END_TEST

START_TEST(long_and_deep)
{
	static const char begin[] = "[1,2,\"t\",\"e\",";
	size_t head = sizeof begin - 1, size = 1000 * 1000, half = size / 2;
	char *text = xmalloc(head + size + 1);
	struct message m;

	memcpy(text, begin, head);
	memset(text + head, '[', half);
	memset(text + head + half, ']', half);
	text[head + size] = ']';
	ck_assert(message_parse_v2(&m, text, head + size + 1));
	ck_assert_uint_eq(m.payload.size, size);
	ck_assert_mem_eq(m.payload.data, text + head, size);
	message_clear(&m);
	ck_assert(!message_parse_v2(&m, text, head + size));
	free(text);
}
END_TEST

START_TEST(pushes)
{
	struct json_buffer b = { 0 };
	struct text topic = { "room:\"1\"\0", 9 };

	message_append_push(&b, "\"3\"", &topic, "new\nmsg", 7, "{\"a\":1}", 7);
	ck_assert_str_eq(b.data,
	    "[\"3\",null,\"room:\\\"1\\\"\\u0000\",\"new\\nmsg\",{\"a\":1}]");
	b.size = 0;
	topic.size = 4;
	message_append_push(&b, NULL, &topic, "e", 1, "{}", 2);
	ck_assert_str_eq(b.data, "[null,null,\"room\",\"e\",{}]");
	ck_assert_uint_eq(b.size, strlen(b.data));
	json_buffer_free(&b);
}
END_TEST

START_TEST(replies)
{
	struct json_buffer b = { 0 };

	message_append_reply(
	    &b, "\"3\"", "7", "\"t\\n\"", "ok", 2, "{\"n\":1}", 7);
	ck_assert_str_eq(b.data,
	    "[\"3\",7,\"t\\n\",\"phx_reply\","
	    "{\"status\":\"ok\",\"response\":{\"n\":1}}]");
	b.size = 0;
	message_append_reply(&b, NULL, NULL, "[1]", "a\"b", 3, "null", 4);
	ck_assert_str_eq(b.data,
	    "[null,null,[1],\"phx_reply\","
	    "{\"status\":\"a\\\"b\",\"response\":null}]");
	ck_assert_uint_eq(b.size, strlen(b.data));
	json_buffer_free(&b);
}
END_TEST

START_TEST(ends)
{
	struct json_buffer b = { 0 };
	struct text topic = { "t", 1 };

	json_append_text(&b, "before ");
	message_append_end(&b, "\"1\"", &topic, "phx_close", "{}");
	ck_assert_str_eq(b.data, "before [\"1\",\"1\",\"t\",\"phx_close\",{}]");
	b.size = 0;
	message_append_end(
	    &b, NULL, &topic, "phx_error", "{\"reason\":\"channel_crash\"}");
	ck_assert_str_eq(b.data,
	    "[null,null,\"t\",\"phx_error\",{\"reason\":\"channel_crash\"}]");
	json_buffer_free(&b);
}
END_TEST

UNIT_MAIN("message", plain, white_space, refs, equality, no_strings, characters,
    malformed_messages, prefixes, mutations, long_and_deep, pushes, replies,
    ends)
