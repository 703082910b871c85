/*
 * json.c: what is JSON and what is not, and texts made and taken apart again.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "tests/unit/unit.h"

/* A literal that may have NULs inside. */
struct sample {
	const char *data;
	size_t size;
};
#define SAMPLE(s)               \
	{                       \
		s, sizeof s - 1 \
	}
#define COUNT(a) (sizeof a / sizeof a[0])

/* A copy of exactly its size, so that a sanitizer sees each byte too many. */
static char *
exact_copy(const char *data, size_t size)
{
	char *copy = malloc(size == 0 ? 1 : size);

	ck_assert_ptr_nonnull(copy);
	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

static enum json_kind
scan_exact(const char *data, size_t size)
{
	char *copy = exact_copy(data, size);
	struct json_span span = json_scan_text(copy, size);

	if (span.kind == JSON_BAD) {
		ck_assert_ptr_null(span.data);
	} else {
		ck_assert(span.data >= copy);
		ck_assert(span.size > 0);
		ck_assert(span.data + span.size <= copy + size);
	}
	free(copy);
	return span.kind;
}

static const struct {
	enum json_kind kind;
	struct sample text;
} valid[] = {
	{ JSON_NULL, SAMPLE("null") },
	{ JSON_NULL, SAMPLE(" \t\r\nnull \t\r\n") },
	{ JSON_TRUE, SAMPLE("true") },
	{ JSON_FALSE, SAMPLE("false") },
	{ JSON_NUMBER, SAMPLE("0") },
	{ JSON_NUMBER, SAMPLE("-0") },
	{ JSON_NUMBER, SAMPLE("7") },
	{ JSON_NUMBER, SAMPLE("-1234567890123456789012345678901234567890") },
	{ JSON_NUMBER, SAMPLE("0.5") },
	{ JSON_NUMBER, SAMPLE("-0.00") },
	{ JSON_NUMBER, SAMPLE("10.01") },
	{ JSON_NUMBER, SAMPLE("0e0") },
	{ JSON_NUMBER, SAMPLE("1E+2") },
	{ JSON_NUMBER, SAMPLE("1e-200000") },
	{ JSON_NUMBER, SAMPLE("1.5e00") },
	{ JSON_STRING, SAMPLE("\"\"") },
	{ JSON_STRING, SAMPLE("\"a\"") },
	{ JSON_STRING, SAMPLE("\"\x7f\"") },
	{ JSON_STRING, SAMPLE("\"/ \\/ \\\" \\\\ \\b \\f \\n \\r \\t\"") },
	{ JSON_STRING, SAMPLE("\"\\u0000\"") },
	{ JSON_STRING, SAMPLE("\"\\uabcd\\uEF01\\uD7FF\\uE000\\uffff\"") },
	{ JSON_STRING, SAMPLE("\"\\ud800\\udc00\\uDBFF\\uDFFF\"") },
	{ JSON_STRING, SAMPLE("\"\xc2\x80 \xdf\xbf\"") },
	{ JSON_STRING, SAMPLE("\"\xe0\xa0\x80 \xef\xbf\xbf\"") },
	{ JSON_STRING, SAMPLE("\"\xed\x9f\xbf \xee\x80\x80\"") },
	{ JSON_STRING, SAMPLE("\"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\"") },
	{ JSON_STRING, SAMPLE("\"\xe2\x80\xa8\xe2\x80\xa9\"") },
	{ JSON_STRING, SAMPLE("\"0123456789abcdef0123456789abcdef\"") },
	{ JSON_ARRAY, SAMPLE("[]") },
	{ JSON_ARRAY, SAMPLE("[ ]") },
	{ JSON_ARRAY, SAMPLE("[[],{},[{}],{\"a\":[]}]") },
	{ JSON_ARRAY, SAMPLE("[1,\"a\",null,true,false,-1e5]") },
	{ JSON_ARRAY, SAMPLE(" [ 1 , [ 2 ] ] ") },
	{ JSON_OBJECT, SAMPLE("{}") },
	{ JSON_OBJECT, SAMPLE("{\n}") },
	{ JSON_OBJECT, SAMPLE("{\"\":0}") },
	{ JSON_OBJECT, SAMPLE("{\"a\":1,\"a\":2}") },
	{ JSON_OBJECT,
	    SAMPLE("{ \"a\" : { \"b\" : [ { } ] } , \"\\n\" : 1 }") },
};

START_TEST(accepts)
{
	for (size_t i = 0; i < COUNT(valid); i++)
		ck_assert_msg(scan_exact(valid[i].text.data,
				  valid[i].text.size) == valid[i].kind,
		    "%s", valid[i].text.data);
}
END_TEST

static const struct sample invalid[] = {
	/* nothing, or something else */
	SAMPLE(""),
	SAMPLE(" "),
	SAMPLE("\0"),
	SAMPLE("null\0"),
	SAMPLE("[1]\0"),
	SAMPLE("\xef\xbb\xbf[]"), /* a byte order mark */
	SAMPLE("\xff\xfe[\0]\0"), /* UTF-16 */
	SAMPLE("\f[]"),
	SAMPLE("[\v]"),
	SAMPLE("\xc2\xa0[]"),
	SAMPLE("[\xe2\x81\xa0]"),
	SAMPLE("/**/1"),
	SAMPLE("[1]//"),
	SAMPLE("#1"),
	SAMPLE("a"),
	SAMPLE("'a'"),
	SAMPLE("\xe9"),
	SAMPLE("<null>"),
	/* words */
	SAMPLE("nul"),
	SAMPLE("nulL"),
	SAMPLE("Null"),
	SAMPLE("nulll"),
	SAMPLE("null0"),
	SAMPLE("tru"),
	SAMPLE("True"),
	SAMPLE("fals"),
	SAMPLE("undefined"),
	SAMPLE("NaN"),
	SAMPLE("Infinity"),
	SAMPLE("-Infinity"),
	SAMPLE("[nu ll]"),
	/* numbers */
	SAMPLE("-"),
	SAMPLE("+1"),
	SAMPLE("--1"),
	SAMPLE("- 1"),
	SAMPLE("-a"),
	SAMPLE("00"),
	SAMPLE("01"),
	SAMPLE("-01"),
	SAMPLE("-00.1"),
	SAMPLE(".5"),
	SAMPLE("-.5"),
	SAMPLE("1."),
	SAMPLE("1.e1"),
	SAMPLE("1.a"),
	SAMPLE("1..2"),
	SAMPLE("1.2.3"),
	SAMPLE("1e"),
	SAMPLE("1E+"),
	SAMPLE("1e-"),
	SAMPLE("1e+-1"),
	SAMPLE("1e1.5"),
	SAMPLE("1e1e1"),
	SAMPLE("e1"),
	SAMPLE("0x1"),
	SAMPLE("1 000"),
	SAMPLE("1_000"),
	SAMPLE("1a"),
	SAMPLE("0f"),
	SAMPLE("\xef\xbc\x91"), /* a wide 1 */
	/* strings */
	SAMPLE("\""),
	SAMPLE("\"a"),
	SAMPLE("\"\\\""),
	SAMPLE("\"\\"),
	SAMPLE("\"\\a\""),
	SAMPLE("\"\\'\""),
	SAMPLE("\"\\0\""),
	SAMPLE("\"\\x41\""),
	SAMPLE("\"\\U0041\""),
	SAMPLE("\"\\\n\""),
	SAMPLE("\"\\\xc3\xa9\""),
	SAMPLE("\"\\u\""),
	SAMPLE("\"\\u004\""),
	SAMPLE("\"\\u00g1\""),
	SAMPLE("\"\\u-041\""),
	SAMPLE("\"\\u 041\""),
	SAMPLE("\"\t\""),
	SAMPLE("\"\n\""),
	SAMPLE("\"\0\""),
	SAMPLE("\"\x1f\""),
	SAMPLE("\"01234567\x01\""),
	SAMPLE("\"a\"\""),
	SAMPLE("\"a\" \"b\""),
	/* surrogates */
	SAMPLE("\"\\ud800\""),
	SAMPLE("\"\\udbffa\""),
	SAMPLE("\"\\udc00\""),
	SAMPLE("\"\\udfff\\ud800\""),
	SAMPLE("\"\\ud800\\ud800\\udc00\""),
	SAMPLE("\"\\ud800\\u0041\""),
	SAMPLE("\"\\ud800\\n\""),
	SAMPLE("\"\\ud800\\\""),
	SAMPLE("\"\\ud800udc00\""),
	SAMPLE("\"\\ud800\\udc0\""),
	SAMPLE("\"\\ud800\\udc0g\""),
	SAMPLE("\"\\ud800\\"),
	SAMPLE("\"\\ud800\\u"),
	/* UTF-8 */
	SAMPLE("\"\x80\""),
	SAMPLE("\"\xbf\""),
	SAMPLE("\"\xc0\x80\""),
	SAMPLE("\"\xc1\xbf\""),
	SAMPLE("\"\xc2\""),
	SAMPLE("\"\xc2\x20\""),
	SAMPLE("\"\xc2\xc2\x80\""),
	SAMPLE("\"\xe0\x80\x80\""),
	SAMPLE("\"\xe0\x9f\xbf\""),
	SAMPLE("\"\xe2\x82\""),
	SAMPLE("\"\xe2\x82\x20\""),
	SAMPLE("\"\xed\xa0\x80\""),
	SAMPLE("\"\xed\xbf\xbf\""),
	SAMPLE("\"\xf0\x80\x80\x80\""),
	SAMPLE("\"\xf0\x8f\xbf\xbf\""),
	SAMPLE("\"\xf0\x9f\x98\""),
	SAMPLE("\"\xf0\x9f\x98\x20\""),
	SAMPLE("\"\xf4\x90\x80\x80\""),
	SAMPLE("\"\xf5\x80\x80\x80\""),
	SAMPLE("\"\xf8\x88\x80\x80\x80\""),
	SAMPLE("\"\xfe\""),
	SAMPLE("\"\xff\""),
	SAMPLE("{\"\xff\":1}"),
	/* arrays */
	SAMPLE("["),
	SAMPLE("]"),
	SAMPLE("[1"),
	SAMPLE("[1,"),
	SAMPLE("[1,]"),
	SAMPLE("[,1]"),
	SAMPLE("[,]"),
	SAMPLE("[1,,2]"),
	SAMPLE("[1 2]"),
	SAMPLE("[1;2]"),
	SAMPLE("[1:2]"),
	SAMPLE("[\"a\":1]"),
	SAMPLE("[1]]"),
	SAMPLE("[[1]"),
	SAMPLE("[1}"),
	SAMPLE("[{]}"),
	SAMPLE("[][]"),
	SAMPLE("[],"),
	SAMPLE("[(1)]"),
	/* objects */
	SAMPLE("{"),
	SAMPLE("}"),
	SAMPLE("{]"),
	SAMPLE("{,}"),
	SAMPLE("{\"a\"}"),
	SAMPLE("{\"a\":}"),
	SAMPLE("{\"a\":1"),
	SAMPLE("{\"a\":1,"),
	SAMPLE("{\"a\":1,}"),
	SAMPLE("{\"a\":1,,\"b\":2}"),
	SAMPLE("{\"a\" 1}"),
	SAMPLE("{\"a\",1}"),
	SAMPLE("{\"a\"::1}"),
	SAMPLE("{\"a\":1 \"b\":2}"),
	SAMPLE("{\"a\":1:2}"),
	SAMPLE("{\"a\":1]"),
	SAMPLE("{a:1}"),
	SAMPLE("{'a':1}"),
	SAMPLE("{1:1}"),
	SAMPLE("{null:1}"),
	SAMPLE("{[]:1}"),
	SAMPLE("{:1}"),
	SAMPLE("{1}"),
	SAMPLE("{}{}"),
	SAMPLE("{\"a\":{}}}"),
};

START_TEST(refuses)
{
	for (size_t i = 0; i < COUNT(invalid); i++)
		ck_assert_msg(
		    scan_exact(invalid[i].data, invalid[i].size) == JSON_BAD,
		    "sample %zu: %s", i, invalid[i].data);
	ck_assert_int_eq(json_scan_text(NULL, 0).kind, JSON_BAD);
}
END_TEST

/* A special byte is seen wherever it stands: the scanner reads by eights. */
START_TEST(every_place)
{
	static const char bad[] = { '\0', '\x1f', '\n', '"', '\\', '\x80',
		'\xff' };
	char text[40];

	for (size_t size = 2; size <= sizeof text; size++) {
		for (size_t at = 1; at + 1 < size; at++) {
			memset(text, '~', size);
			text[0] = text[size - 1] = '"';
			ck_assert_int_eq(scan_exact(text, size), JSON_STRING);
			for (size_t i = 0; i < sizeof bad; i++) {
				text[at] = bad[i];
				ck_assert_int_eq(
				    scan_exact(text, size), JSON_BAD);
			}
		}
	}
}
END_TEST

/* Every byte as the only one of a string. */
START_TEST(every_byte)
{
	char text[3] = "\"?\"";
	bool good;

	for (int c = 0; c < 256; c++) {
		text[1] = c;
		good = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
		ck_assert_int_eq(
		    scan_exact(text, 3), good ? JSON_STRING : JSON_BAD);
	}
}
END_TEST

/* As UTF-8, also where there is none: surrogates, above U+10FFFF. */
static size_t
spell_point(unsigned char *s, unsigned c)
{
	if (c < 0x800) {
		s[0] = 0xc0 | c >> 6;
		s[1] = 0x80 | (c & 0x3f);
		return 2;
	}
	if (c < 0x10000) {
		s[0] = 0xe0 | c >> 12;
		s[1] = 0x80 | (c >> 6 & 0x3f);
		s[2] = 0x80 | (c & 0x3f);
		return 3;
	}
	s[0] = 0xf0 | c >> 18;
	s[1] = 0x80 | (c >> 12 & 0x3f);
	s[2] = 0x80 | (c >> 6 & 0x3f);
	s[3] = 0x80 | (c & 0x3f);
	return 4;
}

/* A million assertions would take Check half a minute. */
START_TEST(every_point)
{
	char s[4];
	size_t size;
	bool good;

	for (unsigned c = 0x80; c < 0x140000; c++) {
		size = spell_point((unsigned char *)s, c);
		good = (c < 0xd800 || c > 0xdfff) && c < 0x110000;
		if (json_is_utf8(s, size) != good)
			ck_abort_msg("U+%04X", c);
		if (json_is_utf8(s, size - 1))
			ck_abort_msg("U+%04X cut short", c);
	}
}
END_TEST

/* Deeper than any stack; both kinds, so that each level's bit counts. */
static char *
deep_text(size_t depth, size_t *size)
{
	char *text = xmalloc(depth * 6), *p = text;

	for (size_t i = 0; i < depth; i++) {
		if (i % 3 == 1) {
			memcpy(p, "{\"\":", 4);
			p += 4;
		} else {
			*p++ = '[';
		}
	}
	*p++ = '1';
	for (size_t i = depth; i-- > 0;)
		*p++ = i % 3 == 1 ? '}' : ']';
	*size = p - text;
	return text;
}

START_TEST(depth)
{
	static const size_t depths[] = { 1, 2, 62, 63, 64, 65, 66, 127, 128,
		129, 191, 192, 193, 639, 640, 641, 5000, 1000000 };
	size_t size;
	char *text, *p;

	for (size_t i = 0; i < COUNT(depths); i++) {
		text = deep_text(depths[i], &size);
		ck_assert_int_eq(scan_exact(text, size), JSON_ARRAY);
		ck_assert_int_eq(scan_exact(text, size - 1), JSON_BAD);
		/* one bracket of the other kind, at a level near the middle */
		p = text + size - 1 - depths[i] / 2;
		*p = *p == ']' ? '}' : ']';
		ck_assert_int_eq(scan_exact(text, size), JSON_BAD);
		free(text);
	}
}
END_TEST

/* In and out of levels around the places where words are spilled. */
START_TEST(up_and_down)
{
	struct json_buffer b = { 0 };

	for (int i = 0; i < 127; i++)
		json_append_text(&b, i % 2 == 0 ? "[" : "{\"a\":");
	for (int i = 0; i < 10; i++)
		json_append_text(&b, "[{\"b\":[[[1],2],{}]},3],");
	json_append_text(&b, "4");
	for (int i = 127; i-- > 0;)
		json_append_text(&b, i % 2 == 0 ? "]" : "}");
	ck_assert_int_eq(scan_exact(b.data, b.size), JSON_ARRAY);
	for (size_t i = 0; i < b.size; i++)
		ck_assert_int_eq(scan_exact(b.data, i), JSON_BAD);
	json_buffer_free(&b);
}
END_TEST

/* 10 MB of openings: refused at once and with the memory given back. */
START_TEST(flood)
{
	size_t size = 10 * 1000 * 1000;
	struct timespec begin, end;
	char *text = xmalloc(size);

	memset(text, '[', size);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	ck_assert_int_eq(json_scan_text(text, size).kind, JSON_BAD);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	ck_assert_int_lt(end.tv_sec - begin.tv_sec, 5);
	free(text);
}
END_TEST

static const struct sample prefixed[] = {
	SAMPLE("[\"3\",\"7\",\"ping:12\",\"ping\",{\"n\":12345}]"),
	SAMPLE("{\"a\":[true,false,null,-1.5e+10,\"\\u00e9\\ud83d\\ude00\"]}"),
	SAMPLE("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 and plain text\\n\""),
	SAMPLE("[ [ ] , { } , { \"k\" : [ 0 ] } ]"),
};

START_TEST(prefixes)
{
	for (size_t i = 0; i < COUNT(prefixed); i++) {
		ck_assert_int_ne(
		    scan_exact(prefixed[i].data, prefixed[i].size), JSON_BAD);
		for (size_t size = 0; size < prefixed[i].size; size++)
			ck_assert_int_eq(
			    scan_exact(prefixed[i].data, size), JSON_BAD);
	}
}
END_TEST

/* One value of several: where it ends, what it was. */
START_TEST(values)
{
	const char text[] = " 12 ,[1, 2]\t{\"a b\":1}\"x\" -]";
	const char *p = text, *end = text + sizeof text - 1;
	struct json_span span = json_scan_value(&p, end);

	ck_assert_int_eq(span.kind, JSON_NUMBER);
	ck_assert_int_eq(span.size, 2);
	ck_assert(!span.spaced);
	ck_assert_int_eq(*p, ' ');
	json_skip_space(&p, end);
	ck_assert_int_eq(*p++, ',');
	span = json_scan_value(&p, end);
	ck_assert_int_eq(span.kind, JSON_ARRAY);
	ck_assert(span.spaced);
	ck_assert_int_eq(*p, '\t');
	span = json_scan_value(&p, end);
	ck_assert_int_eq(span.kind, JSON_OBJECT);
	ck_assert_mem_eq(span.data, "{\"a b\":1}", span.size);
	ck_assert(!span.spaced);
	span = json_scan_value(&p, end);
	ck_assert_int_eq(span.kind, JSON_STRING);
	span = json_scan_value(&p, end);
	ck_assert_int_eq(span.kind, JSON_BAD);
	ck_assert_ptr_eq(p, end - 3); /* stays */
	json_skip_space(&p, end);
	ck_assert_ptr_eq(p, end - 2);
	p = end;
	json_skip_space(&p, end);
	ck_assert_ptr_eq(p, end);
	ck_assert_int_eq(json_scan_value(&p, end).kind, JSON_BAD);
}
END_TEST

START_TEST(spaced)
{
	static const char *const yes[] = { "[ ]", "[1 ]", "[ 1]", "[1 ,2]",
		"[1, 2]", "{ }", "{ \"a\":1}", "{\"a\" :1}", "{\"a\": 1}",
		"{\"a\":1 }", "{\"a\":1,\n\"b\":2}", "[[[\t]]]" };
	static const char *const no[] = { " [] ", "\n1\n", "\" a \"",
		"[\" \",{\" \":\" \"}]\r\n" };

	for (size_t i = 0; i < COUNT(yes); i++)
		ck_assert_msg(json_scan_text(yes[i], strlen(yes[i])).spaced,
		    "%s", yes[i]);
	for (size_t i = 0; i < COUNT(no); i++)
		ck_assert_msg(
		    !json_scan_text(no[i], strlen(no[i])).spaced, "%s", no[i]);
}
END_TEST

START_TEST(compact)
{
	static const char *const pairs[][2] = {
		{ "1", "1" },
		{ " [ ] ", "[]" },
		{ "[1, \"a b\" ,\t{ \"c d\" :\r\n null } ]",
		    "[1,\"a b\",{\"c d\":null}]" },
		{ "[ \" \\\" , \\\\\" , \" \xc3\xa9 \" ]",
		    "[\" \\\" , \\\\\",\" \xc3\xa9 \"]" },
	};
	struct json_buffer b = { 0 };

	for (size_t i = 0; i < COUNT(pairs); i++) {
		b.size = 0;
		json_append_span(
		    &b, json_scan_text(pairs[i][0], strlen(pairs[i][0])));
		ck_assert_str_eq(b.data, pairs[i][1]);
		ck_assert_uint_eq(b.size, strlen(pairs[i][1]));
	}
	json_buffer_free(&b);
}
END_TEST

static void
assert_decoded(const char *text, const char *expected, size_t size)
{
	size_t got;
	char *data = json_decode_string(
	    json_scan_text(text, strlen(text)), &got);

	ck_assert_uint_eq(got, size);
	ck_assert_mem_eq(data, expected, size + 1);
	free(data);
}

START_TEST(decode)
{
	assert_decoded("\"\"", "", 0);
	assert_decoded(" \"plain\" ", "plain", 5);
	assert_decoded("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
	assert_decoded("\"a\\u0000b\"", "a\0b", 3);
	assert_decoded("\"\\u007f\\u0080\\u07FF\"", "\x7f\xc2\x80\xdf\xbf", 5);
	assert_decoded("\"\\u0800\\uffff\"", "\xe0\xa0\x80\xef\xbf\xbf", 6);
	assert_decoded("\"\\ud800\\udc00\"", "\xf0\x90\x80\x80", 4);
	assert_decoded("\"\\udbff\\udfff!\"", "\xf4\x8f\xbf\xbf!", 5);
	assert_decoded(
	    "\"\xe2\x82\xac\\u20ac\"", "\xe2\x82\xac\xe2\x82\xac", 6);
}
END_TEST

static void
assert_encoded(const char *data, size_t size, const char *expected)
{
	struct json_buffer b = { 0 };
	char *copy = exact_copy(data, size);

	json_append_string(&b, copy, size);
	ck_assert_str_eq(b.data, expected);
	ck_assert_uint_eq(b.size, strlen(expected));
	json_buffer_free(&b);
	free(copy);
}

START_TEST(encode)
{
	struct json_buffer b = { 0 };

	assert_encoded("", 0, "\"\"");
	assert_encoded("a/b", 3, "\"a/b\"");
	assert_encoded("\"\\", 2, "\"\\\"\\\\\"");
	assert_encoded("\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\"");
	assert_encoded(
	    "\0\x01\v\x1f\x7f", 5, "\"\\u0000\\u0001\\u000b\\u001f\x7f\"");
	assert_encoded(
	    "\xe2\x80\xa8\xe2\x80\xa9", 6, "\"\xe2\x80\xa8\xe2\x80\xa9\"");
	assert_encoded("\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\"");
	assert_encoded("\xff", 1, "\"\xef\xbf\xbd\"");
	assert_encoded("a\xe2\x82", 3, "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
	assert_encoded(
	    "\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	json_append_string(&b, NULL, 0);
	ck_assert_str_eq(b.data, "\"\"");
	json_buffer_free(&b);
}
END_TEST

START_TEST(canonical)
{
	static const char *const pairs[][2] = {
		{ "\"1\"", "\"1\"" },
		{ "\"\\u0031\"", "\"1\"" },
		{ "\"\\/\\u002f/\"", "\"///\"" },
		{ "\"\\u0022\\u005c\\u000A\"", "\"\\\"\\\\\\n\"" },
		{ "\"\\u000B\\u007F\"", "\"\\u000b\x7f\"" },
		{ "\"\\u00E9\xc3\xa9\"", "\"\xc3\xa9\xc3\xa9\"" },
		{ "\"\\uD83D\\uDE00\"", "\"\xf0\x9f\x98\x80\"" },
	};
	char out[64], *end;

	for (size_t i = 0; i < COUNT(pairs); i++) {
		end = json_put_canonical(
		    out, json_scan_text(pairs[i][0], strlen(pairs[i][0])));
		ck_assert(end - out <= (ptrdiff_t)strlen(pairs[i][0]));
		*end = '\0';
		ck_assert_str_eq(out, pairs[i][1]);
	}
}
END_TEST

START_TEST(buffer)
{
	struct json_buffer b = { 0 };

	json_append(&b, NULL, 0);
	ck_assert_str_eq(b.data, "");
	for (int i = 0; i < 1000; i++)
		json_append_text(&b, "0123456789");
	ck_assert_uint_eq(b.size, 10000);
	ck_assert_uint_eq(strlen(b.data), 10000);
	json_buffer_free(&b);
	ck_assert_ptr_null(b.data);
	ck_assert_uint_eq(b.size, 0);
	ck_assert_uint_eq(b.room, 0);
}
END_TEST

/* What is taken as good can be worked with, and stays good. */
static void
check_good(struct json_span span)
{
	struct json_buffer b = { 0 }, again = { 0 };
	struct json_span copy;
	char *data;
	size_t size;

	json_append_span(&b, span);
	copy = json_scan_text(b.data, b.size);
	ck_assert_int_eq(copy.kind, span.kind);
	ck_assert(!copy.spaced);
	if (span.kind == JSON_STRING) {
		data = json_decode_string(span, &size);
		ck_assert(json_is_utf8(data, size));
		json_append_string(&again, data, size);
		free(data);
		data = xmalloc(span.size);
		size = json_put_canonical(data, span) - data;
		ck_assert_uint_eq(size, again.size);
		ck_assert_mem_eq(data, again.data, size);
		free(data);
	}
	json_buffer_free(&b);
	json_buffer_free(&again);
}

static void
mutate(char *text, size_t *size)
{
	static const char bytes[] =
	    "[]{}\",:\\u0dD8c-+.eEtfn \n\x80\xc3\xe2\xf0";
	size_t at = random() % *size;

	switch (random() % 4) {
	case 0:
		text[at] = random();
		break;
	case 1:
		text[at] = bytes[random() % sizeof bytes];
		break;
	case 2:
		memmove(text + at, text + at + 1, *size - at - 1);
		if (*size > 1)
			--*size;
		break;
	case 3:
		text[at] = text[random() % *size];
		break;
	}
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
	unsigned good = 0;
	char text[128], *copy;
	struct json_span span;
	size_t size;

	seed_random();
	for (unsigned i = 0; i < 100000; i++) {
		size = prefixed[i % COUNT(prefixed)].size;
		memcpy(text, prefixed[i % COUNT(prefixed)].data, size);
		for (long n = random() % 4; n >= 0; n--)
			mutate(text, &size);
		copy = exact_copy(text, size);
		span = json_scan_text(copy, size);
		if (span.kind != JSON_BAD) {
			check_good(span);
			good++;
		}
		free(copy);
	}
	/* else the rounds above say nothing */
	ck_assert_uint_gt(good, 1000);
	ck_assert_uint_lt(good, 90000);
}
END_TEST

UNIT_MAIN("json", accepts, refuses, every_place, every_byte, every_point, depth,
    up_and_down, flood, prefixes, values, spaced, compact, decode, encode,
    canonical, buffer, mutations)
