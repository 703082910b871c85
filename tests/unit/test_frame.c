/*
 * frame.c: the exact bytes of Phoenix's serializers (PROTOCOL.md 2.1 to 2.4),
 * and what of a client's bytes is a message.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/tree.h"
#include "tests/unit/unit.h"
#include "transport/frame.h"

static struct frame frame;

static struct text
text(const char *s)
{
	return text_lent(s, strlen(s));
}

static void
assert_bytes(enum websocket_opcode opcode, const char *bytes, size_t size)
{
	ck_assert_int_eq(frame.opcode, opcode);
	ck_assert_uint_eq(frame.body.size, size);
	ck_assert_mem_eq(frame.body.data, bytes, size);
}

static void
assert_text(const char *expected)
{
	ck_assert_str_eq(frame.body.data, expected);
	assert_bytes(WEBSOCKET_TEXT, expected, strlen(expected));
}

#define ASSERT_BINARY(literal) \
	assert_bytes(WEBSOCKET_BINARY, literal, sizeof literal - 1)

static bool
push(const char *join_ref, const char *topic, const char *event,
    enum bennu_kind kind, const char *payload)
{
	struct text t = text(topic), e = text(event), p = text(payload);

	return frame_push(&frame, join_ref, &t, &e, kind, &p);
}

static bool
broadcast(const char *topic, const char *event, enum bennu_kind kind,
    const char *payload)
{
	const struct broadcast made = {
		.topic = text(topic),
		.event = text(event),
		.kind = kind,
		.payload = text(payload),
	};

	return frame_broadcast(&frame, &made);
}

static bool
reply(const char *join_ref, const char *ref, const char *topic,
    const char *status, enum bennu_kind kind, const char *response)
{
	struct text t = text(topic), s = text(status), r = text(response);

	return frame_reply(&frame, join_ref, ref, &t, &s, kind, &r);
}

static void
end(const char *join_ref, const char *topic, const char *event,
    const char *payload)
{
	struct text t = text(topic);

	frame_end(&frame, join_ref, &t, event, payload);
}

/* ---- V2 ---- */

START_TEST(v2_text)
{
	ck_assert(push("\"1\"", "room:1", "new_msg", BENNU_JSON, "{\"a\":1}"));
	assert_text("[\"1\",null,\"room:1\",\"new_msg\",{\"a\":1}]");
	ck_assert(push(NULL, "a\"b\n", "e", BENNU_JSON, "{}"));
	assert_text("[null,null,\"a\\\"b\\n\",\"e\",{}]");
	ck_assert(broadcast("room:1", "new_msg", BENNU_JSON, "{}"));
	assert_text("[null,null,\"room:1\",\"new_msg\",{}]");
	ck_assert(reply("\"1\"", "\"2\"", "room:1", "ok", BENNU_JSON, "[7]"));
	assert_text("[\"1\",\"2\",\"room:1\",\"phx_reply\","
		    "{\"status\":\"ok\",\"response\":[7]}]");
	ck_assert(reply("7", NULL, "t", "any \"word\"", BENNU_JSON, "null"));
	assert_text("[7,null,\"t\",\"phx_reply\","
		    "{\"status\":\"any \\\"word\\\"\",\"response\":null}]");
	end("\"1\"", "room:1", "phx_close", "{}");
	assert_text("[\"1\",\"1\",\"room:1\",\"phx_close\",{}]");
	end(NULL, "room:1", "phx_error", "{\"reason\":\"channel_crash\"}");
	assert_text("[null,null,\"room:1\",\"phx_error\","
		    "{\"reason\":\"channel_crash\"}]");
	json_buffer_free(&frame.body);
}
END_TEST

/* The topic as it came, also when it is no string. */
START_TEST(v2_protocol_replies)
{
	frame_protocol_reply(&frame, NULL, "\"9\"", "\"phoenix\"", "ok", "{}");
	assert_text("[null,\"9\",\"phoenix\",\"phx_reply\","
		    "{\"status\":\"ok\",\"response\":{}}]");
	frame_protocol_reply(&frame, NULL, "5", "{\"no\":1}", "error",
	    "{\"reason\":\"unmatched topic\"}");
	assert_text("[null,5,{\"no\":1},\"phx_reply\",{\"status\":\"error\","
		    "\"response\":{\"reason\":\"unmatched topic\"}}]");
	json_buffer_free(&frame.body);
}
END_TEST

START_TEST(v2_binary)
{
	ck_assert(push("\"12\"", "room:1", "ev", BENNU_BINARY, "data"));
	ASSERT_BINARY("\x00\x02\x06\x02"
		      "12"
		      "room:1"
		      "ev"
		      "data");
	ck_assert(broadcast("room:1", "ev", BENNU_BINARY, "data"));
	ASSERT_BINARY("\x02\x06\x02"
		      "room:1"
		      "ev"
		      "data");
	ck_assert(reply("\"1\"", "\"23\"", "room:1", "ok", BENNU_BINARY, "x"));
	ASSERT_BINARY("\x01\x01\x02\x06\x02"
		      "1"
		      "23"
		      "room:1"
		      "ok"
		      "x");
	ck_assert(push("\"1\"", "t", "e", BENNU_BINARY, ""));
	ASSERT_BINARY("\x00\x01\x01\x01"
		      "1te");
	json_buffer_free(&frame.body);
}
END_TEST

/* Characters of a string, nothing for null, the text of what else it is. */
START_TEST(v2_binary_refs)
{
	ck_assert(push(NULL, "t", "e", BENNU_BINARY, "d"));
	ASSERT_BINARY("\x00\x00\x01\x01"
		      "ted");
	ck_assert(push("null", "t", "e", BENNU_BINARY, "d"));
	ASSERT_BINARY("\x00\x00\x01\x01"
		      "ted");
	ck_assert(push("17", "t", "e", BENNU_BINARY, "d"));
	ASSERT_BINARY("\x00\x02\x01\x01"
		      "17ted");
	ck_assert(push("\"a\\n\\u0000\xc3\xa4\"", "t", "e", BENNU_BINARY, "d"));
	ASSERT_BINARY("\x00\x05\x01\x01"
		      "a\n\0\xc3\xa4"
		      "ted");
	ck_assert(reply(NULL, "\"\"", "t", "ok", BENNU_BINARY, "d"));
	ASSERT_BINARY("\x01\x00\x00\x01\x02"
		      "tokd");
	json_buffer_free(&frame.body);
}
END_TEST

START_TEST(payloads_may_hold_anything)
{
	struct broadcast made = {
		.topic = text_lent("a\0b", 3),
		.event = text_lent("\0", 1),
		.kind = BENNU_BINARY,
		.payload = text_lent("\0\xff\n", 3),
	};

	ck_assert(frame_broadcast(&frame, &made));
	ASSERT_BINARY("\x02\x03\x01"
		      "a\0b"
		      "\0"
		      "\0\xff\n");
	made.kind = BENNU_JSON;
	made.payload = text("{}");
	ck_assert(frame_broadcast(&frame, &made));
	assert_text("[null,null,\"a\\u0000b\",\"\\u0000\",{}]");
	json_buffer_free(&frame.body);
}
END_TEST

/* 255 bytes fit, 256 do not; text frames have no limit. */
START_TEST(v2_fields_of_255_bytes)
{
	char fits[256], ref[258], longer[257], longer_ref[259];
	const unsigned char *head;

	memset(fits, 'f', 255);
	fits[255] = '\0';
	memset(longer, 'l', 256);
	longer[256] = '\0';
	snprintf(ref, sizeof ref, "\"%s\"", fits);
	snprintf(longer_ref, sizeof longer_ref, "\"%s\"", longer);

	ck_assert(push(ref, fits, fits, BENNU_BINARY, "d"));
	ck_assert_uint_eq(frame.body.size, 4 + 3 * 255 + 1);
	head = (const unsigned char *)frame.body.data;
	ck_assert(head[1] == 255 && head[2] == 255 && head[3] == 255);
	ck_assert(reply(ref, ref, fits, fits, BENNU_BINARY, "d"));
	ck_assert_uint_eq(frame.body.size, 5 + 4 * 255 + 1);
	ck_assert(broadcast(fits, fits, BENNU_BINARY, "d"));
	ck_assert_uint_eq(frame.body.size, 3 + 2 * 255 + 1);

	ck_assert(!push(longer_ref, "t", "e", BENNU_BINARY, "d"));
	ck_assert(!push(ref, longer, "e", BENNU_BINARY, "d"));
	ck_assert(!push(ref, "t", longer, BENNU_BINARY, "d"));
	ck_assert(!reply(longer_ref, ref, "t", "ok", BENNU_BINARY, "d"));
	ck_assert(!reply(ref, longer_ref, "t", "ok", BENNU_BINARY, "d"));
	ck_assert(!reply(ref, ref, longer, "ok", BENNU_BINARY, "d"));
	ck_assert(!reply(ref, ref, "t", longer, BENNU_BINARY, "d"));
	ck_assert(!broadcast(longer, "e", BENNU_BINARY, "d"));
	ck_assert(!broadcast("t", longer, BENNU_BINARY, "d"));

	ck_assert(push(longer_ref, longer, longer, BENNU_JSON, "{}"));
	ck_assert(reply(ref, longer_ref, longer, longer, BENNU_JSON, "{}"));
	ck_assert(broadcast(longer, longer, BENNU_JSON, "{}"));
	json_buffer_free(&frame.body);
}
END_TEST

/* ---- V1 ---- */

START_TEST(v1_text)
{
	frame_speak(FRAME_V1);
	ck_assert(push("\"1\"", "room:1", "new_msg", BENNU_JSON, "[1]"));
	assert_text("{\"topic\":\"room:1\",\"event\":\"new_msg\","
		    "\"payload\":[1],\"ref\":null}");
	ck_assert(broadcast("a\"", "e\n", BENNU_JSON, "{}"));
	assert_text("{\"topic\":\"a\\\"\",\"event\":\"e\\n\","
		    "\"payload\":{},\"ref\":null}");
	ck_assert(reply("\"1\"", "\"2\"", "room:1", "ok", BENNU_JSON, "{}"));
	assert_text("{\"topic\":\"room:1\",\"event\":\"phx_reply\","
		    "\"payload\":{\"status\":\"ok\",\"response\":{}},"
		    "\"ref\":\"2\"}");
	frame_protocol_reply(&frame, NULL, "9", "7", "error", "{}");
	assert_text("{\"topic\":7,\"event\":\"phx_reply\","
		    "\"payload\":{\"status\":\"error\",\"response\":{}},"
		    "\"ref\":9}");
	end(NULL, "room:1", "phx_close", "{}");
	assert_text("{\"topic\":\"room:1\",\"event\":\"phx_close\","
		    "\"payload\":{},\"ref\":null}");
	end("\"1\"", "room:1", "phx_close", "{}");
	assert_text("{\"topic\":\"room:1\",\"event\":\"phx_close\","
		    "\"payload\":{},\"ref\":\"1\"}");
	json_buffer_free(&frame.body);
}
END_TEST

START_TEST(v1_has_no_binary_frames)
{
	frame_speak(FRAME_V1);
	ck_assert(!push("\"1\"", "t", "e", BENNU_BINARY, "d"));
	ck_assert(!broadcast("t", "e", BENNU_BINARY, "d"));
	ck_assert(!reply("\"1\"", "\"2\"", "t", "ok", BENNU_BINARY, "d"));
	json_buffer_free(&frame.body);
}
END_TEST

/* ---- what clients send ---- */

static struct message msg;
static enum bennu_kind kind;
static struct text payload;

/* In memory of exactly its size, which AddressSanitizer guards. */
static bool
parse(enum websocket_opcode opcode, const char *data, size_t size, char **copy)
{
	bool parsed;

	*copy = calloc(1, size == 0 ? 1 : size);
	memcpy(*copy, data, size);
	memset(&msg, 0xaa, sizeof msg);
	payload = (struct text){ NULL, 0 };
	parsed = frame_parse(&msg, opcode, *copy, size, &kind, &payload);
	return parsed;
}

static void
assert_part(const struct text *part, const char *expected)
{
	ck_assert_uint_eq(part->size, strlen(expected));
	ck_assert_mem_eq(part->data, expected, part->size);
}

static void
assert_message(
    const char *join_ref, const char *ref, const char *topic, const char *event)
{
	assert_part(&msg.join_ref, join_ref);
	assert_part(&msg.ref, ref);
	assert_part(&msg.topic, topic);
	assert_part(&msg.event, event);
}

static void
assert_refused(enum websocket_opcode opcode, const char *data, size_t size)
{
	char *copy;

	ck_assert_msg(
	    !parse(opcode, data, size, &copy), "%zu bytes were taken", size);
	free(copy);
}

#define BINARY(literal) WEBSOCKET_BINARY, literal, sizeof literal - 1
#define TEXT(literal)   WEBSOCKET_TEXT, literal, sizeof literal - 1

START_TEST(binary_messages)
{
	char *copy;

	ck_assert(parse(BINARY("\x00\x01\x02\x06\x04"
			       "1"
			       "23"
			       "room:1"
			       "push"
			       "d\0\xff"),
	    &copy));
	ck_assert_int_eq(kind, BENNU_BINARY);
	assert_message("\"1\"", "\"23\"", "room:1", "push");
	ck_assert_uint_eq(payload.size, 3);
	ck_assert_mem_eq(payload.data, "d\0\xff", 3);
	ck_assert_ptr_eq(payload.data, copy + 5 + 13);
	message_clear(&msg);
	free(copy);

	/* All empty: refs are "", not null. */
	ck_assert(parse(BINARY("\0\0\0\0\0"), &copy));
	assert_message("\"\"", "\"\"", "", "");
	ck_assert(!message_ref_is_null(&msg.join_ref));
	ck_assert_uint_eq(payload.size, 0);
	message_clear(&msg);
	free(copy);

	/* Spelled as in text: a join by text finds its push in binary. */
	ck_assert(parse(BINARY("\x00\x04\x01\x01\x01"
			       "\"\n\xc3\xa4"
			       "rte"),
	    &copy));
	assert_message("\"\\\"\\n\xc3\xa4\"", "\"r\"", "t", "e");
	message_clear(&msg);
	free(copy);
}
END_TEST

START_TEST(binary_fields_of_255_bytes)
{
	char data[5 + 4 * 255 + 2] = { 0, '\xff', '\xff', '\xff', '\xff' };
	char *copy;

	memset(data + 5, 'x', sizeof data - 5);
	ck_assert(parse(WEBSOCKET_BINARY, data, sizeof data, &copy));
	ck_assert_uint_eq(msg.topic.size, 255);
	ck_assert_uint_eq(msg.event.size, 255);
	ck_assert_uint_eq(msg.ref.size, 257);
	ck_assert_uint_eq(payload.size, 2);
	message_clear(&msg);
	free(copy);
	assert_refused(WEBSOCKET_BINARY, data, sizeof data - 3);
}
END_TEST

START_TEST(malformed_binary)
{
	assert_refused(BINARY(""));
	assert_refused(BINARY("\x01\0\0\0\0")); /* a reply */
	assert_refused(BINARY("\x02\0\0\0\0")); /* a broadcast */
	assert_refused(BINARY("\x03\x01\x01\x01\x01"
			      "jrte{}"));
	assert_refused(BINARY("\x04\x01\x01\x01\x01"
			      "jrte{}"));
	assert_refused(BINARY("\xff\0\0\0\0"));
	assert_refused(BINARY("\x00\x01\0\0\0"));
	assert_refused(BINARY("\x00\0\0\0\x01"));
	assert_refused(BINARY("\x00\xff\xff\xff\xff"
			      "abc"));
	assert_refused(BINARY("\x00\x01\x01\x01\x01"
			      "\xff"
			      "rte"));
	assert_refused(BINARY("\x00\x01\x01\x01\x01"
			      "j"
			      "\x80"
			      "te"));
	assert_refused(BINARY("\x00\x01\x01\x01\x01"
			      "jr"
			      "\xc3"
			      "e"));
	assert_refused(BINARY("\x00\x01\x01\x01\x03"
			      "jrt"
			      "\xed\xa0\x80"));
	/* Whole, but cut by the sizes. */
	assert_refused(BINARY("\x00\x00\x00\x01\x01"
			      "\xc3\xa4"));
	assert_refused(BINARY("[null,null,\"t\",\"e\",{}]"));
}
END_TEST

/* Only from where its fields are there is it a message. */
START_TEST(every_prefix_of_a_binary_message)
{
	static const char whole[] = "\x00\x01\x02\x06\x04"
				    "1"
				    "23"
				    "room:1"
				    "push"
				    "data";

	for (size_t n = 0; n < sizeof whole; n++) {
		char *copy;
		bool parsed = parse(WEBSOCKET_BINARY, whole, n, &copy);

		ck_assert_int_eq(parsed, n >= 5 + 13);
		if (parsed) {
			ck_assert_uint_eq(payload.size, n - 18);
			message_clear(&msg);
		}
		free(copy);
	}
}
END_TEST

START_TEST(text_messages)
{
	char *copy;

	ck_assert(
	    parse(TEXT(" [\"1\", 2, \"t\", \"e\", {\"a\": 1} ] "), &copy));
	ck_assert_int_eq(kind, BENNU_JSON);
	assert_message("\"1\"", "2", "t", "e");
	assert_part(&payload, "{\"a\":1}");
	message_clear(&msg);
	free(copy);
	assert_refused(TEXT(""));
	assert_refused(TEXT("{\"topic\":\"t\",\"event\":\"e\","
			    "\"payload\":{},\"ref\":null}"));
	assert_refused(TEXT("[null,null,\"t\",\"e\"]"));
	assert_refused(TEXT("\x00\0\0\0\0"));
}
END_TEST

/* A binary frame of V1 is decoded as a text one. */
START_TEST(v1_messages)
{
	static const char object[] = "{\"topic\":\"t\",\"event\":\"e\","
				     "\"payload\":[ ],\"ref\":\"1\"}";
	const enum websocket_opcode opcodes[] = { WEBSOCKET_TEXT,
		WEBSOCKET_BINARY };

	frame_speak(FRAME_V1);
	for (size_t i = 0; i < 2; i++) {
		char *copy;

		ck_assert(parse(opcodes[i], object, sizeof object - 1, &copy));
		ck_assert_int_eq(kind, BENNU_JSON);
		assert_message("null", "\"1\"", "t", "e");
		assert_part(&payload, "[]");
		message_clear(&msg);
		free(copy);
	}
	assert_refused(TEXT("[null,null,\"t\",\"e\",{}]"));
	assert_refused(BINARY("\x00\0\0\0\0"));
	assert_refused(TEXT("{\"topic\":\"t\",\"event\":\"e\",\"ref\":1}"));
}
END_TEST

UNIT_MAIN("frame", v2_text, v2_protocol_replies, v2_binary, v2_binary_refs,
    payloads_may_hold_anything, v2_fields_of_255_bytes, v1_text,
    v1_has_no_binary_frames, binary_messages, binary_fields_of_255_bytes,
    malformed_binary, every_prefix_of_a_binary_message, text_messages,
    v1_messages)
