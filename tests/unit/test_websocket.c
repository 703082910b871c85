/*
 * websocket.c: what a client may send, what it may not, and when that is told.
 * Every conversation is fed whole, byte by byte, in random parts, and with a
 * pause behind each message; what comes out may not depend on it.
 */
#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "tests/unit/unit.h"
#include "transport/utf8.h"
#include "transport/websocket.h"

#define COUNT(a) (sizeof a / sizeof a[0])

#define MAX_FRAME    70000
#define MAX_MESSAGE  80000
#define RANDOM_FEEDS 20
#define FRAMES_MAX   8

/* First bytes of heads. */
#define FIN    0x80
#define RSV1   0x40
#define RSV2   0x20
#define RSV3   0x10
#define CONT   0x00
#define TEXT   0x01
#define BINARY 0x02
#define CLOSE  0x08
#define PING   0x09
#define PONG   0x0a

#define MAX_FRAGMENTS (1U << 20)

static const struct websocket_limits limits = {
	.max_frame = MAX_FRAME,
	.max_message = MAX_MESSAGE,
	.max_fragments = MAX_FRAGMENTS,
};

/* How a test writes a frame that is not an ordinary one. */
enum form {
	MASKED,
	UNMASKED,
	LENGTH_16,  /* the length in 2 bytes, whatever it is */
	LENGTH_64,  /* in 8 */
	NO_PAYLOAD, /* only the head, up to the mask */
	NO_MASK,    /* only the head, and it is cut off before the mask */
};

struct frame {
	unsigned first;
	const char *data; /* NULL: `size` times x */
	size_t size;
	enum form form;
	uint64_t announced; /* 0: size */
};

#define F(first, text)                                  \
	{                                               \
		first, text, sizeof text - 1, MASKED, 0 \
	}
#define X(first, size)                       \
	{                                    \
		first, NULL, size, MASKED, 0 \
	}

struct wire_case {
	const char *name;
	struct frame frames[FRAMES_MAX]; /* up to one without a first byte */
	const char *expected;
};

/* CONT without FIN is 0 too: it needs something to be told by. */
static bool
is_frame(const struct frame *frame)
{
	return frame->first != 0 || frame->data != NULL || frame->size != 0;
}

static void
put_byte(struct json_buffer *out, unsigned byte)
{
	char c = (char)byte;

	json_append(out, &c, 1);
}

static void
put_length(struct json_buffer *out, const struct frame *frame)
{
	uint64_t n = frame->announced != 0 ? frame->announced : frame->size;
	unsigned mask = frame->form == UNMASKED ? 0 : 0x80;
	int bytes = n < 126 ? 0 : n < 65536 ? 2 : 8;

	if (frame->form == LENGTH_16)
		bytes = 2;
	if (frame->form == LENGTH_64)
		bytes = 8;
	put_byte(out, mask | (bytes == 0 ? n : bytes == 2 ? 126 : 127));
	while (bytes-- > 0)
		put_byte(out, (n >> (8 * bytes)) & 0xff);
}

static void
put_frame(struct json_buffer *out, const struct frame *frame)
{
	static const unsigned char mask[4] = { 0x37, 0xfa, 0x21, 0x3d };

	put_byte(out, frame->first);
	put_length(out, frame);
	if (frame->form == NO_MASK)
		return;
	if (frame->form != UNMASKED)
		json_append(out, (const char *)mask, sizeof mask);
	if (frame->form == NO_PAYLOAD)
		return;
	for (size_t i = 0; i < frame->size; i++) {
		unsigned c = frame->data == NULL
		    ? 'x'
		    : (unsigned char)frame->data[i];

		put_byte(out, frame->form == UNMASKED ? c : c ^ mask[i % 4]);
	}
}

/* What came out, as text. */
struct transcript {
	struct json_buffer out;
	bool pausing; /* behind each message */
};

static void
put_data(struct json_buffer *out, const char *data, size_t size)
{
	char line[64];

	if (size > 16 && memcmp(data, data + 1, size - 1) == 0) {
		snprintf(line, sizeof line, " %c*%zu", data[0], size);
		json_append_text(out, line);
		size = 0;
	} else if (size > 0) {
		json_append_text(out, " ");
	}
	for (size_t i = 0; i < size; i++) {
		unsigned char c = data[i];

		if (c > ' ' && c < 0x7f)
			put_byte(out, c);
		else {
			snprintf(line, sizeof line, "<%02x>", c);
			json_append_text(out, line);
		}
	}
	json_append_text(out, "\n");
}

static void
on_message(struct websocket *websocket, enum websocket_opcode opcode,
    const char *data, size_t size, void *arg)
{
	struct transcript *transcript = arg;

	json_append_text(
	    &transcript->out, opcode == WEBSOCKET_TEXT ? "text" : "binary");
	put_data(&transcript->out, data, size);
	if (transcript->pausing)
		websocket_pause(websocket);
}

static void
on_send(struct websocket *websocket, const void *frame, size_t size, void *arg)
{
	struct transcript *transcript = arg;
	const unsigned char *bytes = frame;

	ck_assert_uint_ge(size, 2);
	ck_assert_uint_eq(bytes[0], FIN | PONG);
	ck_assert_uint_eq(bytes[1], size - 2);
	json_append_text(&transcript->out, "pong");
	put_data(&transcript->out, (const char *)bytes + 2, size - 2);
}

static void
on_closed(struct websocket *websocket, unsigned code, bool by_client, void *arg)
{
	struct transcript *transcript = arg;
	char line[64];

	snprintf(line, sizeof line, "%s %u\n", by_client ? "client" : "closed",
	    code);
	json_append_text(&transcript->out, line);
}

static const struct websocket_callbacks callbacks = {
	.message = on_message,
	.send = on_send,
	.closed = on_closed,
};

static bool
is_closed(const struct transcript *transcript)
{
	return transcript->out.data != NULL &&
	    (strstr(transcript->out.data, "closed ") != NULL ||
		strstr(transcript->out.data, "client ") != NULL);
}

/* Feeds a part; what a pause leaves over is fed again. */
static void
feed_part(struct websocket *websocket, struct transcript *transcript,
    const char *data, size_t size)
{
	size_t n = 0;

	for (;;) {
		n += websocket_feed(websocket, data + n, size - n);
		ck_assert_uint_le(n, size);
		if (is_closed(transcript)) {
			ck_assert_uint_eq(
			    websocket_feed(websocket, data, size), 0);
			return;
		}
		if (n == size)
			break;
		ck_assert(transcript->pausing);
		ck_assert_uint_eq(
		    websocket_feed(websocket, data + n, size - n), 0);
		websocket_resume(websocket);
	}
	websocket_resume(websocket);
}

/* part: how many bytes at once; 0: any number of them. */
static void
converse(const struct json_buffer *wire, size_t part, bool pausing,
    const char *name, const char *expected)
{
	struct transcript transcript = { .pausing = pausing };
	struct websocket *websocket = websocket_new(
	    &limits, &callbacks, &transcript);
	size_t n, at = 0;

	while (at < wire->size && !is_closed(&transcript)) {
		n = part != 0 ? part : 1 + (size_t)rand() % 40;
		if (n > wire->size - at)
			n = wire->size - at;
		feed_part(websocket, &transcript, wire->data + at, n);
		at += n;
	}
	websocket_free(websocket);
	json_append(&transcript.out, "", 0);
	ck_assert_msg(strcmp(transcript.out.data, expected) == 0,
	    "%s (parts of %zu): '%s' instead of '%s'", name, part,
	    transcript.out.data, expected);
	json_buffer_free(&transcript.out);
}

static void
converse_all(
    const struct json_buffer *wire, const char *name, const char *expected)
{
	converse(wire, wire->size, false, name, expected);
	converse(wire, wire->size, true, name, expected);
	converse(wire, 1, false, name, expected);
	for (int i = 0; i < RANDOM_FEEDS; i++)
		converse(wire, 0, i % 2 == 1, name, expected);
}

static void
run_cases(const struct wire_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct json_buffer wire = { 0 };

		for (size_t k = 0;
		     k < FRAMES_MAX && is_frame(&cases[i].frames[k]); k++)
			put_frame(&wire, &cases[i].frames[k]);
		converse_all(&wire, cases[i].name, cases[i].expected);
		json_buffer_free(&wire);
	}
}

static const struct wire_case plain_cases[] = {
	{ "text", { F(FIN | TEXT, "Hello") }, "text Hello\n" },
	{ "empty text", { F(FIN | TEXT, "") }, "text\n" },
	{ "empty binary", { F(FIN | BINARY, "") }, "binary\n" },
	{ "binary", { F(FIN | BINARY, "\0\xff") }, "binary <00><ff>\n" },
	{ "125", { X(FIN | TEXT, 125) }, "text x*125\n" },
	{ "126", { X(FIN | TEXT, 126) }, "text x*126\n" },
	{ "127", { X(FIN | BINARY, 127) }, "binary x*127\n" },
	{ "128", { X(FIN | TEXT, 128) }, "text x*128\n" },
	{ "4095", { X(FIN | TEXT, 4095) }, "text x*4095\n" },
	{ "4096", { X(FIN | TEXT, 4096) }, "text x*4096\n" },
	{ "4097", { X(FIN | BINARY, 4097) }, "binary x*4097\n" },
	{ "65535", { X(FIN | TEXT, 65535) }, "text x*65535\n" },
	{ "65536", { X(FIN | BINARY, 65536) }, "binary x*65536\n" },
	{ "several",
	    { F(FIN | TEXT, "a"), F(FIN | BINARY, "b"), F(FIN | TEXT, ""),
		F(FIN | TEXT, "c") },
	    "text a\nbinary b\ntext\ntext c\n" },
	/* lengths need not be written in their shortest form */
	{ "long 5", { { FIN | TEXT, "Hello", 5, LENGTH_16, 0 } },
	    "text Hello\n" },
	{ "longer 5", { { FIN | TEXT, "Hello", 5, LENGTH_64, 0 } },
	    "text Hello\n" },
	{ "longer 0", { { FIN | TEXT, "", 0, LENGTH_64, 0 } }, "text\n" },
	{ "longer 300", { { FIN | TEXT, NULL, 300, LENGTH_64, 0 } },
	    "text x*300\n" },
};

static const struct wire_case control_cases[] = {
	{ "ping", { F(FIN | PING, "hi") }, "pong hi\n" },
	{ "empty ping", { F(FIN | PING, "") }, "pong\n" },
	{ "ping of bytes", { F(FIN | PING, "\0\xff\xfe") },
	    "pong <00><ff><fe>\n" },
	{ "ping of 125", { X(FIN | PING, 125) }, "pong x*125\n" },
	{ "ping of 126", { X(FIN | PING, 126) }, "closed 1002\n" },
	{ "ping, longer", { { FIN | PING, "a", 1, LENGTH_16, 0 } },
	    "closed 1002\n" },
	{ "ping of 2^40", { { FIN | PING, "", 0, LENGTH_64, 1ULL << 40 } },
	    "closed 1002\n" },
	{ "pings in order",
	    { F(FIN | PING, "1"), F(FIN | PING, "2"), F(FIN | PING, "3") },
	    "pong 1\npong 2\npong 3\n" },
	{ "pong", { F(FIN | PONG, "x"), F(FIN | PONG, ""), F(FIN | PING, "y") },
	    "pong y\n" },
	{ "pong of 126", { X(FIN | PONG, 126) }, "closed 1002\n" },
	{ "cut ping", { F(PING, "a"), F(FIN | CONT, "b") }, "closed 1002\n" },
	{ "cut pong", { F(PONG, "a"), F(FIN | CONT, "b") }, "closed 1002\n" },
	{ "cut close", { F(CLOSE, "\x03\xe8") }, "closed 1002\n" },
	{ "close of 126", { X(FIN | CLOSE, 126) }, "closed 1002\n" },
};

static const struct wire_case reserved_cases[] = {
	{ "rsv1", { F(FIN | RSV1 | TEXT, "a") }, "closed 1002\n" },
	{ "rsv2", { F(FIN | RSV2 | BINARY, "a") }, "closed 1002\n" },
	{ "rsv3", { F(FIN | RSV3 | PING, "a") }, "closed 1002\n" },
	{ "rsv1+2+3", { F(FIN | RSV1 | RSV2 | RSV3 | CLOSE, "") },
	    "closed 1002\n" },
	{ "rsv after text",
	    { F(FIN | TEXT, "a"), F(FIN | RSV2 | TEXT, "b"),
		F(FIN | PING, "c") },
	    "text a\nclosed 1002\n" },
	{ "rsv in a message", { F(TEXT, "a"), F(FIN | RSV1 | CONT, "b") },
	    "closed 1002\n" },
	{ "3", { F(FIN | 3, "") }, "closed 1002\n" },
	{ "4", { F(FIN | 4, "a") }, "closed 1002\n" },
	{ "5", { F(FIN | TEXT, "x"), F(FIN | 5, "a"), F(FIN | PING, "") },
	    "text x\nclosed 1002\n" },
	{ "6", { F(FIN | 6, "a") }, "closed 1002\n" },
	{ "7", { F(7, "a") }, "closed 1002\n" },
	{ "11", { F(FIN | 11, "") }, "closed 1002\n" },
	{ "12", { F(FIN | 12, "a") }, "closed 1002\n" },
	{ "13", { F(FIN | TEXT, "x"), F(FIN | 13, "a"), F(FIN | PING, "") },
	    "text x\nclosed 1002\n" },
	{ "14", { F(FIN | 14, "a") }, "closed 1002\n" },
	{ "15", { F(15, "a") }, "closed 1002\n" },
	{ "unmasked", { { FIN | TEXT, "Hello", 5, UNMASKED, 0 } },
	    "closed 1002\n" },
	{ "unmasked empty", { { FIN | TEXT, "", 0, UNMASKED, 0 } },
	    "closed 1002\n" },
	{ "unmasked ping", { { FIN | PING, "a", 1, UNMASKED, 0 } },
	    "closed 1002\n" },
	{ "unmasked close", { { FIN | CLOSE, "", 0, UNMASKED, 0 } },
	    "closed 1002\n" },
};

static const struct wire_case fragment_cases[] = {
	{ "two", { F(TEXT, "Hel"), F(FIN | CONT, "lo") }, "text Hello\n" },
	{ "binary", { F(BINARY, "a"), F(CONT, "\xff"), F(FIN | CONT, "c") },
	    "binary a<ff>c\n" },
	{ "empty ones", { F(TEXT, ""), F(CONT, ""), F(FIN | CONT, "") },
	    "text\n" },
	{ "empty around", { F(TEXT, ""), F(CONT, "mid"), F(FIN | CONT, "") },
	    "text mid\n" },
	{ "ping between",
	    { F(TEXT, "a"), F(FIN | PING, "p"), F(FIN | CONT, "b") },
	    "pong p\ntext ab\n" },
	{ "pings and pongs between",
	    { F(TEXT, "a"), F(FIN | PING, "1"), F(CONT, "b"),
		F(FIN | PONG, "2"), F(FIN | PING, "3"), F(FIN | CONT, "c"),
		F(FIN | TEXT, "d") },
	    "pong 1\npong 3\ntext abc\ntext d\n" },
	{ "close between",
	    { F(TEXT, "a"), F(FIN | CLOSE, "\x03\xe8"), F(FIN | CONT, "b") },
	    "client 1000\n" },
	{ "no begin", { F(FIN | CONT, "a"), F(FIN | TEXT, "b") },
	    "closed 1002\n" },
	{ "no begin, unfinished", { F(CONT, "a") }, "closed 1002\n" },
	{ "after a message", { F(FIN | TEXT, "a"), F(FIN | CONT, "b") },
	    "text a\nclosed 1002\n" },
	{ "after a fragmented one",
	    { F(TEXT, "a"), F(FIN | CONT, "b"), F(CONT, "c") },
	    "text ab\nclosed 1002\n" },
	{ "text in text", { F(TEXT, "a"), F(FIN | TEXT, "b") },
	    "closed 1002\n" },
	{ "binary in text",
	    { F(TEXT, "a"), F(CONT, "b"), F(FIN | BINARY, "c") },
	    "closed 1002\n" },
	{ "text in binary", { F(BINARY, "a"), F(TEXT, "b") }, "closed 1002\n" },
};

/* U+03BA U+1F79 U+03C3 U+03BC U+03B5, and a character of four bytes. */
#define KOSME    "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
#define KOSME_IS "<ce><ba><e1><bd><b9><cf><83><ce><bc><ce><b5>"

static const struct wire_case text_cases[] = {
	{ "valid", { F(FIN | TEXT, KOSME) }, "text " KOSME_IS "\n" },
	{ "cut in a character",
	    { F(TEXT, "\xce"), F(CONT, "\xba\xe1\xbd"), F(FIN | PING, ""),
		F(FIN | CONT, "\xb9") },
	    "pong\ntext <ce><ba><e1><bd><b9>\n" },
	{ "empty inside a character",
	    { F(TEXT, "\xf0\x90"), F(CONT, ""), F(FIN | CONT, "\x80\x80") },
	    "text <f0><90><80><80>\n" },
	{ "the ends",
	    { F(FIN | TEXT,
		"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80"
		"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"
		"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf") },
	    "text <7f><c2><80><df><bf><e0><a0><80><ed><9f><bf><ee><80><80>"
	    "<ef><bf><bf><f0><90><80><80><f4><8f><bf><bf>\n" },
	{ "NUL", { F(FIN | TEXT, "a\0b") }, "text a<00>b\n" },
	{ "invalid", { F(FIN | TEXT, "abcdefghijk\xff") }, "closed 1007\n" },
	{ "lone continuation", { F(FIN | TEXT, "\x80") }, "closed 1007\n" },
	{ "overlong 2", { F(FIN | TEXT, "\xc0\xaf") }, "closed 1007\n" },
	{ "overlong 2b", { F(FIN | TEXT, "\xc1\xbf") }, "closed 1007\n" },
	{ "overlong 3", { F(FIN | TEXT, "\xe0\x9f\xbf") }, "closed 1007\n" },
	{ "overlong 4", { F(FIN | TEXT, "\xf0\x8f\xbf\xbf") },
	    "closed 1007\n" },
	{ "low surrogate", { F(FIN | TEXT, "\xed\xa0\x80") }, "closed 1007\n" },
	{ "high surrogate", { F(FIN | TEXT, "\xed\xbf\xbf") },
	    "closed 1007\n" },
	{ "above U+10FFFF", { F(FIN | TEXT, "\xf4\x90\x80\x80") },
	    "closed 1007\n" },
	{ "five bytes", { F(FIN | TEXT, "\xf8\x88\x80\x80\x80") },
	    "closed 1007\n" },
	{ "cut off", { F(FIN | TEXT, "\xce") }, "closed 1007\n" },
	{ "cut off by ASCII",
	    { F(FIN | TEXT,
		"\xe1\xbd"
		"abc") },
	    "closed 1007\n" },
	{ "cut off at the end", { F(TEXT, "\xe1"), F(FIN | CONT, "\xbd") },
	    "closed 1007\n" },
	{ "second fragment", { F(TEXT, KOSME), F(FIN | CONT, "\xed\xa0") },
	    "closed 1007\n" },
	/* told as soon as it is known, the rest need not come */
	{ "at once",
	    { F(TEXT, "ok"), { FIN | CONT, "\xf4\x90", 2, MASKED, 9 } },
	    "closed 1007\n" },
	{ "before the next frame", { F(TEXT, "\xff"), F(FIN | PING, "a") },
	    "closed 1007\n" },
	{ "state ends with the message",
	    { F(FIN | BINARY, "\xe1\xbd"), F(FIN | TEXT, "\xc2\x80") },
	    "binary <e1><bd>\ntext <c2><80>\n" },
	{ "binary is not judged", { F(BINARY, "\xff"), F(FIN | CONT, "\xed") },
	    "binary <ff><ed>\n" },
};

static const struct wire_case close_cases[] = {
	{ "empty", { F(FIN | CLOSE, "") }, "client 1000\n" },
	{ "1000", { F(FIN | CLOSE, "\x03\xe8") }, "client 1000\n" },
	{ "with reason",
	    { F(FIN | CLOSE,
		"\x03\xe8"
		"bye " KOSME) },
	    "client 1000\n" },
	{ "with 123 bytes of reason",
	    { F(FIN | CLOSE,
		"\x03\xe9"
		"0123456789012345678901234567890123456789012345678901234567890"
		"12345678901234567890123456789012345678901234567890123456789012") },
	    "client 1000\n" },
	{ "only once",
	    { F(FIN | CLOSE, ""), F(FIN | CLOSE, ""), F(FIN | PING, "a") },
	    "client 1000\n" },
	{ "nothing behind it",
	    { F(FIN | TEXT, "a"), F(FIN | CLOSE, ""), F(FIN | TEXT, "b") },
	    "text a\nclient 1000\n" },
	{ "one byte", { F(FIN | CLOSE, "\x03") }, "closed 1002\n" },
	{ "reason is not UTF-8", { F(FIN | CLOSE, "\x03\xe8\xce\xba\xff") },
	    "closed 1007\n" },
	{ "reason is cut off", { F(FIN | CLOSE, "\x03\xe8\xce") },
	    "closed 1007\n" },
};

START_TEST(messages)
{
	run_cases(plain_cases, COUNT(plain_cases));
}
END_TEST

START_TEST(control_frames)
{
	run_cases(control_cases, COUNT(control_cases));
}
END_TEST

START_TEST(what_is_reserved)
{
	run_cases(reserved_cases, COUNT(reserved_cases));
}
END_TEST

START_TEST(fragments)
{
	run_cases(fragment_cases, COUNT(fragment_cases));
}
END_TEST

START_TEST(text)
{
	run_cases(text_cases, COUNT(text_cases));
}
END_TEST

START_TEST(closing)
{
	run_cases(close_cases, COUNT(close_cases));
}
END_TEST

/* All 65,536 of them. */
START_TEST(close_codes)
{
	for (unsigned code = 0; code <= 0xffff; code++) {
		bool good = (code >= 1000 && code <= 1003) ||
		    (code >= 1007 && code <= 1011) ||
		    (code >= 3000 && code <= 4999);
		const char payload[] = { (char)(code >> 8), (char)code };
		const struct frame frame = { FIN | CLOSE, payload, 2, MASKED,
			0 };
		struct json_buffer wire = { 0 };
		char name[16];

		snprintf(name, sizeof name, "%u", code);
		put_frame(&wire, &frame);
		converse(&wire, wire.size, false, name,
		    good ? "client 1000\n" : "closed 1002\n");
		json_buffer_free(&wire);
	}
}
END_TEST

static const struct wire_case limit_cases[] = {
	{ "largest", { X(FIN | TEXT, MAX_FRAME) }, "text x*70000\n" },
	{ "too large", { { FIN | TEXT, NULL, 0, NO_MASK, MAX_FRAME + 1 } },
	    "closed 1009\n" },
	{ "too large for 16 bits",
	    { { FIN | BINARY, "", 0, NO_MASK, 1ULL << 32 } }, "closed 1009\n" },
	{ "2^63 - 1", { { FIN | TEXT, "", 0, NO_MASK, INT64_MAX } },
	    "closed 1009\n" },
	{ "2^63", { { FIN | TEXT, "", 0, NO_MASK, 1ULL << 63 } },
	    "closed 1002\n" },
	{ "2^64 - 1", { { FIN | TEXT, "", 0, NO_MASK, UINT64_MAX } },
	    "closed 1002\n" },
	{ "largest sum",
	    { X(BINARY, 60000), X(FIN | CONT, 20000), F(FIN | TEXT, "a") },
	    "binary x*80000\ntext a\n" },
	{ "sum too large",
	    { X(TEXT, 60000), F(FIN | PING, "p"),
		{ FIN | CONT, "", 0, NO_MASK, 20001 } },
	    "pong p\nclosed 1009\n" },
	{ "nothing more fits",
	    { X(TEXT, 60000), X(CONT, 20000), F(CONT, ""),
		{ FIN | CONT, "", 0, NO_MASK, 1 } },
	    "closed 1009\n" },
	{ "each message anew",
	    { X(TEXT, 60000), X(FIN | CONT, 20000), X(TEXT, 60000),
		X(FIN | CONT, 20000) },
	    "text x*80000\ntext x*80000\n" },
};

START_TEST(sizes)
{
	run_cases(limit_cases, COUNT(limit_cases));
}
END_TEST

/* The limit of a message is below that of a frame. */
START_TEST(sizes_of_one_frame)
{
	static const struct websocket_limits small = { 100, 10, 9 };
	static const struct frame whole = X(FIN | TEXT, 100);
	static const struct frame first = { TEXT, "", 0, NO_MASK, 11 };
	struct transcript transcript = { 0 };
	struct websocket *websocket = websocket_new(
	    &small, &callbacks, &transcript);
	struct json_buffer wire = { 0 };

	put_frame(&wire, &whole);
	put_frame(&wire, &first);
	ck_assert_uint_eq(
	    websocket_feed(websocket, wire.data, wire.size), wire.size);
	ck_assert_str_eq(transcript.out.data, "text x*100\nclosed 1009\n");
	websocket_free(websocket);
	json_buffer_free(&wire);
	json_buffer_free(&transcript.out);
}
END_TEST

/* A message in so many frames, most of them empty. */
static void
put_fragments(struct json_buffer *wire, size_t n)
{
	static const struct frame begin = F(TEXT, "");
	static const struct frame next = F(CONT, "");
	static const struct frame last = F(FIN | CONT, "end");

	put_frame(wire, &begin);
	for (size_t i = 0; i < n - 2; i++)
		put_frame(wire, &next);
	put_frame(wire, &last);
}

/* A message in 2^20 frames is taken; there may be no more of them. */
START_TEST(number_of_fragments)
{
	const size_t max = 1U << 20;
	struct json_buffer wire = { 0 };

	for (size_t more = 0; more < 2; more++) {
		put_fragments(&wire, max);
		put_fragments(&wire, max + more);
		converse(&wire, wire.size, false, "fragments",
		    more ? "text end\nclosed 1009\n" : "text end\ntext end\n");
		json_buffer_free(&wire);
	}
}
END_TEST

/* At which byte is it told? */
static void
assert_told_at(const struct frame *frames, size_t n, size_t at)
{
	struct transcript transcript = { 0 };
	struct websocket *websocket = websocket_new(
	    &limits, &callbacks, &transcript);
	struct json_buffer wire = { 0 };

	for (size_t i = 0; i < n; i++)
		put_frame(&wire, &frames[i]);
	for (size_t i = 0; i < wire.size; i++) {
		ck_assert(!is_closed(&transcript));
		ck_assert_uint_eq(
		    websocket_feed(websocket, wire.data + i, 1), 1);
		if (i + 1 == at)
			break;
	}
	ck_assert(is_closed(&transcript));
	websocket_free(websocket);
	json_buffer_free(&wire);
	json_buffer_free(&transcript.out);
}

START_TEST(told_at_once)
{
	static const struct frame reserved[] = { F(FIN | RSV1 | TEXT, "a") };
	static const struct frame unmasked[] = { { FIN | TEXT, "a", 1, UNMASKED,
	    0 } };
	static const struct frame long_ping[] = { X(FIN | PING, 126) };
	static const struct frame large[] = { X(FIN | TEXT, MAX_FRAME + 1) };
	static const struct frame not_text[] = { F(TEXT,
	    "a\xff"
	    "aaaa") };

	assert_told_at(reserved, 1, 1);
	assert_told_at(unmasked, 1, 2);
	assert_told_at(long_ping, 1, 2);
	assert_told_at(large, 1, 10);
	assert_told_at(not_text, 1, 2 + 4 + 2);
}
END_TEST

/* Feed counts the bytes up to the end of the message that was paused at. */
START_TEST(pause_takes_no_more)
{
	static const struct frame first = F(FIN | TEXT, "first");
	static const struct frame second = F(FIN | TEXT, "second");
	struct transcript transcript = { .pausing = true };
	struct websocket *websocket = websocket_new(
	    &limits, &callbacks, &transcript);
	struct json_buffer wire = { 0 };
	size_t n, boundary;

	put_frame(&wire, &first);
	boundary = wire.size;
	put_frame(&wire, &second);
	n = websocket_feed(websocket, wire.data, wire.size - 3);
	ck_assert_uint_eq(n, boundary);
	ck_assert_str_eq(transcript.out.data, "text first\n");
	ck_assert_uint_eq(websocket_feed(websocket, wire.data + n, 1), 0);
	websocket_resume(websocket);
	n += websocket_feed(websocket, wire.data + n, wire.size - n - 3);
	ck_assert_uint_eq(n, wire.size - 3);
	websocket_pause(websocket); /* in the middle of a frame */
	ck_assert_uint_eq(websocket_feed(websocket, wire.data + n, 3), 0);
	websocket_resume(websocket);
	ck_assert_uint_eq(websocket_feed(websocket, wire.data + n, 3), 3);
	ck_assert_str_eq(transcript.out.data, "text first\ntext second\n");
	websocket_free(websocket);
	json_buffer_free(&wire);
	json_buffer_free(&transcript.out);
}
END_TEST

#ifndef __SANITIZE_ADDRESS__
/* Memory follows the bytes that came, not those that were announced. */
START_TEST(memory)
{
	static const struct websocket_limits large = { 64U << 20, 64U << 20,
		9 };
	static const struct frame frame = { FIN | BINARY, "a", 1, LENGTH_64,
		64U << 20 };
	static const struct frame small = X(FIN | TEXT, 50000);
	static const struct frame ping = F(FIN | PING, "a");
	struct transcript transcript = { 0 };
	struct json_buffer wire = { 0 };
	size_t before, idle;
	struct websocket *websocket;

	put_frame(&wire, &small);
	put_frame(&wire, &ping);
	put_frame(&wire, &frame);
	json_buffer_reserve(&transcript.out, 4096);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	websocket = websocket_new(&large, &callbacks, &transcript);
	idle = mallinfo2().uordblks + mallinfo2().hblkhd;
	ck_assert_uint_le(idle - before, 512);
	websocket_feed(websocket, wire.data, wire.size - 15);
	ck_assert_uint_eq(mallinfo2().uordblks + mallinfo2().hblkhd, idle);
	websocket_feed(websocket, wire.data + wire.size - 15, 15);
	ck_assert_uint_le(
	    mallinfo2().uordblks + mallinfo2().hblkhd - idle, 8192);
	websocket_free(websocket);
	json_buffer_free(&wire);
	json_buffer_free(&transcript.out);
}
END_TEST
#define PLAIN_TESTS , memory
#else
/* The sanitizer's allocator keeps no such account. */
#define PLAIN_TESTS
#endif

START_TEST(heads)
{
	static const struct {
		size_t payload, size;
		unsigned char head[WEBSOCKET_HEAD_MAX];
	} cases[] = {
		{ 0, 2, { 0x81, 0 } },
		{ 125, 2, { 0x81, 125 } },
		{ 126, 4, { 0x81, 126, 0, 126 } },
		{ 65535, 4, { 0x81, 126, 0xff, 0xff } },
		{ 65536, 10, { 0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0 } },
		{ 0x123456789a, 10,
		    { 0x81, 127, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x9a } },
	};
	uint8_t head[WEBSOCKET_HEAD_MAX];

	for (size_t i = 0; i < COUNT(cases); i++) {
		ck_assert_uint_eq(
		    websocket_head(head, WEBSOCKET_TEXT, cases[i].payload),
		    cases[i].size);
		ck_assert_mem_eq(head, cases[i].head, cases[i].size);
	}
	websocket_head(head, WEBSOCKET_CLOSE, 2);
	ck_assert_uint_eq(head[0], 0x88);
}
END_TEST

/* utf8.c against the definition: all code points, and only those. */
START_TEST(utf8_of_all_code_points)
{
	size_t valid = 0;

	/* The last byte of four is as free as any continuation: x 64. */
	for (uint32_t bytes = 0xf0U << 16; bytes < 1U << 24; bytes++) {
		const uint8_t four[] = { bytes >> 16, bytes >> 8 & 0xff,
			bytes & 0xff, 0x80 };
		struct utf8 utf8 = { 0 };

		valid += utf8_feed(&utf8, four, 4) && utf8_end(&utf8);
	}
	ck_assert_uint_eq(valid * 64, 0x110000 - 0x10000);
	valid = 0;
	for (uint32_t bytes = 0xe0U << 16; bytes < 0xf0U << 16; bytes++) {
		const uint8_t three[] = { bytes >> 16, bytes >> 8 & 0xff,
			bytes & 0xff };
		struct utf8 utf8 = { 0 };

		valid += utf8_feed(&utf8, three, 3) && utf8_end(&utf8);
	}
	ck_assert_uint_eq(valid, 0x10000 - 0x800 - 0x800);
}
END_TEST

UNIT_MAIN("websocket", messages, control_frames, what_is_reserved, fragments,
    text, closing, close_codes, sizes, sizes_of_one_frame, number_of_fragments,
    told_at_once, pause_takes_no_more, heads,
    utf8_of_all_code_points PLAIN_TESTS)
