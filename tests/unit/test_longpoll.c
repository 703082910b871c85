/*
 * longpoll_body.c, the name of a session's socket, and heads of frames that are
 * read.
 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/websocket_head.h"
#include "common/xmalloc.h"
#include "tests/unit/unit.h"
#include "transport/longpoll_body.h"
#include "transport/session.h"
#include "transport/transport.h"

#define COUNT(a) (sizeof a / sizeof a[0])

/* ---- bodies ---- */

static void
note(enum websocket_opcode opcode, const char *data, size_t size, void *arg)
{
	struct json_buffer *out = arg;

	json_append_text(out, opcode == WEBSOCKET_TEXT ? "t" : "b");
	json_append_string(out, data, size);
}

/* In memory of exactly its size, so that ASan sees what is read behind. */
static bool
take(const char *body, size_t size, struct json_buffer *out)
{
	char *copy = xmalloc(size + 1);
	bool good;

	memcpy(copy, body, size);
	copy = xrealloc(copy, size == 0 ? 1 : size);
	json_append_text(out, "");
	good = longpoll_body_lines(copy, size, note, out);
	free(copy);
	return good;
}

START_TEST(bodies)
{
	static const struct {
		const char *body, *messages; /* NULL: refused */
	} cases[] = {
		{ "", "" },
		{ "[1]", "t\"[1]\"" },
		{ "[1]\n", "t\"[1]\"" },
		{ "[1]\r\n", "t\"[1]\"" },
		{ "[1]\n[2]", "t\"[1]\"t\"[2]\"" },
		{ "[1]\r\n[2]\n[3]", "t\"[1]\"t\"[2]\"t\"[3]\"" },
		{ "[1]\r[2]", "t\"[1]\\r[2]\"" },
		{ "\n[1]", "b\"\"t\"[1]\"" },
		{ "\r\n", "b\"\"" },
		{ "[1]\n\n", "t\"[1]\"b\"\"" },
		{ "QQ==", "b\"A\"" },
		{ "QUI=\r\nQUJD", "b\"AB\"b\"ABC\"" },
		{ "QUJDREVG", "b\"ABCDEF\"" },
		{ "QR==", NULL }, /* bits that are of no byte */
		{ "QQ=", NULL },
		{ "QQ", NULL },
		{ "Q===", NULL },
		{ "====", NULL },
		{ "QQ==QQ==", NULL },
		{ "QU JD", NULL },
		{ "QUJ\t", NULL },
		{ "QUJ-", NULL },
		{ "{}", NULL },
		{ " [1]", NULL },
		{ "[1]\nx", NULL },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct json_buffer out = { 0 };
		bool good = take(cases[i].body, strlen(cases[i].body), &out);

		ck_assert_msg(
		    good == (cases[i].messages != NULL), "%s", cases[i].body);
		if (good)
			ck_assert_str_eq(out.data, cases[i].messages);
		json_buffer_free(&out);
	}
}
END_TEST

static void
count(enum websocket_opcode opcode, const char *data, size_t size, void *arg)
{
	++*(int *)arg;
}

START_TEST(lines_beyond_the_limit_are_not_looked_at)
{
	char body[8 * LONGPOLL_LINES_MAX] = "";
	int n = 0;

	for (int i = 0; i < LONGPOLL_LINES_MAX; i++)
		strcat(body, "[1]\n");
	strcat(body, "!");
	ck_assert(longpoll_body_lines(body, strlen(body), count, &n));
	ck_assert_int_eq(n, LONGPOLL_LINES_MAX);
}
END_TEST

/* ---- names ---- */

START_TEST(names)
{
	char name[SESSION_NAME_SIZE];
	uint8_t nonce[SESSION_NONCE] = { 0 };

	session_name(name, nonce);
	ck_assert_str_eq(name, "lp-AAAAAAAAAAAAAAAAAAAAAA");
	memset(nonce, 0xff, sizeof nonce);
	session_name(name, nonce);
	ck_assert_str_eq(name, "lp-_____________________w");
	for (size_t i = 0; i < sizeof nonce; i++)
		nonce[i] = (uint8_t)(i * 17);
	session_name(name, nonce);
	ck_assert_str_eq(name, "lp-ABEiM0RVZneImaq7zN3u_w");
}
END_TEST

/* ---- heads ---- */

START_TEST(heads_are_read_as_they_were_written)
{
	static const size_t sizes[] = { 0, 1, 125, 126, 127, 65535, 65536,
		70000 };

	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint8_t head[WEBSOCKET_HEAD_MAX];
		size_t n = websocket_head(head, WEBSOCKET_BINARY, sizes[i]);
		char *frame = xcalloc(1, n + sizes[i]);
		enum websocket_opcode opcode;
		size_t payload;

		memcpy(frame, head, n);
		ck_assert_uint_eq(
		    websocket_head_read(frame, n + sizes[i], &opcode, &payload),
		    n);
		ck_assert_uint_eq(payload, sizes[i]);
		ck_assert_int_eq(opcode, WEBSOCKET_BINARY);
		/* Not the whole of it. */
		for (size_t cut = 0; cut < n + sizes[i]; cut += 1 + cut / 7)
			ck_assert_uint_eq(
			    websocket_head_read(frame, cut, &opcode, &payload),
			    0);
		free(frame);
	}
}
END_TEST

START_TEST(heads_of_others)
{
	static const char *const frames[] = { "\x01\x00", "\x81\x80",
		"\xc1\x00", "\x81\xff" };
	static const char huge[] = "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff";
	enum websocket_opcode opcode;
	size_t payload;

	for (size_t i = 0; i < COUNT(frames); i++)
		ck_assert_uint_eq(
		    websocket_head_read(frames[i], 2, &opcode, &payload), 0);
	ck_assert_uint_eq(
	    websocket_head_read(huge, sizeof huge - 1, &opcode, &payload), 0);
}
END_TEST

UNIT_MAIN("longpoll", bodies, lines_beyond_the_limit_are_not_looked_at, names,
    heads_are_read_as_they_were_written, heads_of_others)
