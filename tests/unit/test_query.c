/*
 * query.c: query parameters as Plug reads them, and hostile ones.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "tests/unit/unit.h"
#include "transport/query.h"

#define COUNT(a) (sizeof a / sizeof a[0])

static const char *const good[][2] = {
	/* plain */
	{ "", "{}" },
	{ "a=1", "{\"a\":\"1\"}" },
	{ "a=1&b=2", "{\"a\":\"1\",\"b\":\"2\"}" },
	{ "a=1&a=2", "{\"a\":\"2\"}" },
	{ "a", "{\"a\":\"\"}" },
	{ "a=", "{\"a\":\"\"}" },
	{ "=", "{\"\":\"\"}" },
	{ "=v", "{\"\":\"v\"}" },
	{ "a=b=c", "{\"a\":\"b=c\"}" },
	{ "&&a=1&&&b=2&", "{\"a\":\"1\",\"b\":\"2\"}" },
	{ "vsn=2.0.0&token=x.y-z_",
	    "{\"vsn\":\"2.0.0\",\"token\":\"x.y-z_\"}" },
	/* escapes */
	{ "my+field=q1%212%22%27w%245%267%2Fz8%29%3F",
	    "{\"my field\":\"q1!2\\\"'w$5&7/z8)?\"}" },
	{ "a=%2b%2B+", "{\"a\":\"++ \"}" },
	{ "a=%C3%A9\xc3\xa9", "{\"a\":\"\xc3\xa9\xc3\xa9\"}" },
	{ "a=%c3\xa9", "{\"a\":\"\xc3\xa9\"}" },
	{ "a%00b=%00%0a", "{\"a\\u0000b\":\"\\u0000\\n\"}" },
	{ "a%3Db%26=1", "{\"a=b&\":\"1\"}" },
	/* objects and lists */
	{ "a[b]=1", "{\"a\":{\"b\":\"1\"}}" },
	{ "a%5Bb%5D=1", "{\"a\":{\"b\":\"1\"}}" },
	{ "a[b]", "{\"a\":{\"b\":\"\"}}" },
	{ "a[b][c]=1", "{\"a\":{\"b\":{\"c\":\"1\"}}}" },
	{ "a[b]=1&c=2&a[d]=3&a[b]=4",
	    "{\"a\":{\"b\":\"4\",\"d\":\"3\"},\"c\":\"2\"}" },
	{ "a[]=1&a[]=2", "{\"a\":[\"1\",\"2\"]}" },
	{ "a[]", "{\"a\":[\"\"]}" },
	{ "a[b][]=1&a[b][]=2", "{\"a\":{\"b\":[\"1\",\"2\"]}}" },
	{ "a[][b]=1&a[][b]=2", "{\"a\":[{\"b\":\"1\"},{\"b\":\"2\"}]}" },
	{ "a[][b][]=1", "{\"a\":[{\"b\":[\"1\"]}]}" },
	{ "a[][]=1", "{\"a\":[[\"1\"]]}" },
	{ "[a]=1", "{\"\":{\"a\":\"1\"}}" },
	{ "[]=1", "{\"\":[\"1\"]}" },
	/* brackets that do not match */
	{ "a[b=1", "{\"a[b\":\"1\"}" },
	{ "a[b]c=1", "{\"a[b]c\":\"1\"}" },
	{ "a]=1", "{\"a\":\"1\"}" },
	{ "]=1", "{\"\":\"1\"}" },
	{ "[=1", "{\"[\":\"1\"}" },
	{ "a[b[c]=1", "{\"a\":{\"b[c\":\"1\"}}" },
	{ "a[b]]=1", "{\"a\":{\"b]\":\"1\"}}" },
	{ "a[b]c[d]=1", "{\"a\":{\"b]c[d\":\"1\"}}" },
	/* the last use of a name decides what it is */
	{ "x[]=1&x[y]=1", "{\"x\":{\"y\":\"1\"}}" },
	{ "x[y][][w]=2&x[y]=1", "{\"x\":{\"y\":\"1\"}}" },
	{ "x=1&x[y]=1", "{\"x\":{\"y\":\"1\"}}" },
	{ "x[y]=1&x[z]=2&x=3", "{\"x\":\"3\"}" },
	{ "x[y]=1&x[]=2&x[]=3", "{\"x\":[\"2\",\"3\"]}" },
	/* names that mean something elsewhere */
	{ "constructor=1&__proto__[a]=2",
	    "{\"constructor\":\"1\",\"__proto__\":{\"a\":\"2\"}}" },
};

START_TEST(decoded)
{
	size_t size;
	char *json;

	for (size_t i = 0; i < COUNT(good); i++) {
		json = query_to_json(good[i][0], &size);
		ck_assert_msg(json != NULL, "%s", good[i][0]);
		ck_assert_str_eq(json, good[i][1]);
		ck_assert_uint_eq(size, strlen(json));
		free(json);
	}
}
END_TEST

START_TEST(malformed)
{
	static const char *const bad[] = { "%", "a=%", "a=%4", "a=%4g", "a=%g4",
		"a=% 41", "a=%-1", "%zz=1", "a=1&b=%", "a=%4&b", "a=%&41",
		"a%5=1", "a=%ff", "%ff=1", "a=\xff", "a=%c3", "a=%c3&b=%a9",
		"a%c3=%a9", "a=%ed%a0%80", "a=%c0%80", "a[%e2%82]=1" };
	size_t size;

	for (size_t i = 0; i < COUNT(bad); i++) {
		errno = 0;
		ck_assert_msg(
		    query_to_json(bad[i], &size) == NULL, "%s", bad[i]);
		ck_assert_int_eq(errno, EINVAL);
		ck_assert_ptr_null(query_get(bad[i], "a"));
		ck_assert_int_eq(errno, EINVAL);
	}
}
END_TEST

static void
assert_get(const char *query, const char *name, const char *value)
{
	char *got = query_get(query, name);

	ck_assert_msg(got != NULL, "%s in %s", name, query);
	ck_assert_str_eq(got, value);
	free(got);
}

static void
assert_no(const char *query, const char *name, int error)
{
	errno = 0;
	ck_assert_ptr_null(query_get(query, name));
	ck_assert_int_eq(errno, error);
}

START_TEST(get)
{
	assert_get("a=1&vsn=2.0.0", "vsn", "2.0.0");
	assert_get("vsn=1&vsn=2", "vsn", "2");
	assert_get("vsn[]=1&vsn=2", "vsn", "2");
	assert_get("vsn", "vsn", "");
	assert_get("t%6fken=a%2Bb+c", "token", "a+b c");
	assert_no("", "vsn", ENOENT);
	assert_no("vs=1&vsnn=2&VSN=3&vsn%00=4", "vsn", ENOENT);
	assert_no("a[vsn]=1", "vsn", ENOENT);
	assert_no("vsn[]=2.0.0", "vsn", EINVAL);
	assert_no("vsn[a]=2.0.0", "vsn", EINVAL);
	assert_no("vsn=2.0.0%00x", "vsn", EINVAL);
}
END_TEST

/* "name" and n times a text. */
static char *
repeat(const char *name, const char *text, size_t n)
{
	struct json_buffer b = { 0 };

	json_append_text(&b, name);
	while (n-- > 0)
		json_append_text(&b, text);
	return b.data;
}

START_TEST(limits)
{
	static const struct {
		const char *name, *text;
		size_t n;
		bool good;
	} rows[] = {
		{ "a", "[a]", 32, true },
		{ "a", "[a]", 33, false },
		{ "a", "[a]", 33000, false },
		{ "a", "[]", 32, true },
		{ "a", "[]", 33, false },
		{ "a", "[]", 50000, false },
		{ "a", "[", 100000, true }, /* one name */
		{ "a", "]", 100000, true },
		{ "a", "&a", 999, true },
		{ "a", "&a", 1000, false },
		{ "a", "&a[]=1", 999, true },
		{ "", "&", 100000, true },
		{ "a", "&&", 1000, true },
		{ "a", "&a[b]=1&a=1", 499, true },
	};
	char *query, *json;
	size_t size;

	for (size_t i = 0; i < COUNT(rows); i++) {
		query = repeat(rows[i].name, rows[i].text, rows[i].n);
		json = query_to_json(query, &size);
		ck_assert_msg((json != NULL) == rows[i].good, "row %zu", i);
		if (json != NULL)
			ck_assert_int_eq(
			    json_scan_text(json, size).kind, JSON_OBJECT);
		free(json);
		free(query);
	}
}
END_TEST

/* The dearest that the limits allow: many long names that differ late. */
START_TEST(expensive)
{
	struct timespec begin, end;
	struct json_buffer b = { 0 };
	char name[400], *json;
	size_t size;

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "%s%0100d", i == 0 ? "" : "&", i);
		json_append_text(&b, name);
		for (int depth = 0; depth < 32; depth++)
			json_append_text(&b, depth % 2 == 0 ? "[]" : "[b]");
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	json = query_to_json(b.data, &size);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	ck_assert_ptr_nonnull(json);
	ck_assert_int_lt(end.tv_sec - begin.tv_sec, 3);
	free(json);
	json_buffer_free(&b);
}
END_TEST

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
	static const char bytes[] = "&=[]%+aC3\xc3\xa9";
	unsigned fine = 0;
	char query[64], *json;
	size_t size, length;

	seed_random();
	for (unsigned i = 0; i < 100000; i++) {
		length = 1 + random() % (sizeof query - 1);
		for (size_t at = 0; at < length; at++)
			query[at] = random() % 64 == 0
			    ? random()
			    : bytes[random() %
				  (sizeof bytes - 1 - random() % 7)];
		query[length] = '\0';
		json = query_to_json(query, &size);
		free(query_get(query, "a"));
		if (json == NULL)
			continue;
		ck_assert_int_eq(json_scan_text(json, size).kind, JSON_OBJECT);
		free(json);
		fine++;
	}
	/* else the rounds above say nothing */
	ck_assert_uint_gt(fine, 1000);
	ck_assert_uint_lt(fine, 90000);
}
END_TEST

UNIT_MAIN("query", decoded, malformed, get, limits, expensive, mutations)
