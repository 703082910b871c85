/*
 * token.c, term_*.c: tokens of Phoenix (token_vectors.mjs, which knows nothing
 * of this code), what is tampered with, what is hostile although it is signed.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/token.h"
#include "common/xmalloc.h"
#include "tests/unit/token_vectors.h"
#include "tests/unit/unit.h"

#define SIGNED_AT INT64_C(1700000000123)
#define TEXT(s)   s, sizeof(s) - 1

static const struct token_key *
vector_key(void)
{
	static struct token_key key;
	static bool is_made;

	if (!is_made)
		token_key_derive(&key, TEXT(VECTOR_SECRET), TEXT(VECTOR_SALT));
	is_made = true;
	return &key;
}

static enum token_result
verify(const char *token, int64_t max_age, int64_t now, char **json)
{
	size_t size;
	enum token_result result = token_verify(
	    vector_key(), token, strlen(token), max_age, now, json, &size);

	if (result == TOKEN_OK)
		ck_assert_uint_eq(strlen(*json), size);
	return result;
}

static void
assert_holds(const char *token, const char *wanted)
{
	char *json;

	ck_assert_int_eq(
	    verify(token, TOKEN_OWN_AGE, SIGNED_AT + 1, &json), TOKEN_OK);
	ck_assert_str_eq(json, wanted);
	free(json);
}

static void
assert_result(
    const char *token, int64_t max_age, int64_t now, enum token_result wanted)
{
	char *json = NULL;

	ck_assert_int_eq(verify(token, max_age, now, &json), wanted);
	free(json);
}

START_TEST(test_key)
{
	const struct token_key *key = vector_key();
	char hex[2 * TOKEN_KEY_BYTES + 1];

	for (size_t i = 0; i < TOKEN_KEY_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", key->bytes[i]);
	ck_assert_str_eq(hex, VECTOR_KEY);
}
END_TEST

START_TEST(test_tokens_of_phoenix)
{
	assert_holds(VECTOR_NUMBER, "99");
	assert_holds(VECTOR_STRING, "\"Zo\xc3\xab\"");
	assert_holds(VECTOR_OBJECT,
	    "{\"admin\":false,\"at\":1.5,\"id\":12345678901234567890,"
	    "\"none\":null,\"tags\":[\"a\",-7,[]]}");
	assert_holds(VECTOR_HUGE, VECTOR_HUGE_JSON);
	assert_holds(VECTOR_FOREVER, "1");
	assert_holds(VECTOR_PAIR, "\"u1\"");
	assert_holds(VECTOR_MAP, "\"u1\"");
	assert_holds(VECTOR_MAP_TURNED, "\"u1\"");
	assert_holds(VECTOR_ERLANG,
	    "{\"role\":\"admin\",\"pair\":[1,null],\"bytes\":[1,2,255]}");
	assert_result(VECTOR_PID, TOKEN_ANY_AGE, SIGNED_AT, TOKEN_NO_JSON);
}
END_TEST

static void
assert_signs(const char *json, int64_t max_age, const char *wanted)
{
	char *token = token_sign(
	    vector_key(), json, strlen(json), SIGNED_AT, max_age);

	ck_assert_ptr_nonnull(token);
	ck_assert_str_eq(token, wanted);
	free(token);
}

/* Byte for byte what Phoenix would have made. */
START_TEST(test_sign)
{
	assert_signs("99", TOKEN_DAY, VECTOR_NUMBER);
	assert_signs(" \"Zo\\u00eb\"", TOKEN_DAY, VECTOR_STRING);
	assert_signs("{\"tags\": [\"a\", -7, []], \"admin\": true,"
		     "\"none\": null, \"id\": 12345678901234567890,"
		     "\"at\": 15e-1, \"adm\\u0069n\": false}",
	    TOKEN_DAY, VECTOR_OBJECT);
	assert_signs("1", TOKEN_ANY_AGE, VECTOR_FOREVER);
	assert_signs(VECTOR_HUGE_JSON, TOKEN_DAY, VECTOR_HUGE);
}
END_TEST

START_TEST(test_age)
{
	const int64_t day = INT64_C(86400) * 1000, end = SIGNED_AT + day;
	const int64_t far = INT64_MAX;

	/* Its own. */
	assert_result(VECTOR_NUMBER, TOKEN_OWN_AGE, end, TOKEN_OK);
	assert_result(VECTOR_NUMBER, TOKEN_OWN_AGE, end + 1, TOKEN_EXPIRED);
	assert_result(VECTOR_PAIR, TOKEN_OWN_AGE, end, TOKEN_OK);
	assert_result(VECTOR_PAIR, TOKEN_OWN_AGE, end + 1, TOKEN_EXPIRED);
	assert_result(VECTOR_MAP, TOKEN_OWN_AGE, end + 1, TOKEN_EXPIRED);
	assert_result(VECTOR_FOREVER, TOKEN_OWN_AGE, far, TOKEN_OK);
	assert_result(VECTOR_HALF, TOKEN_OWN_AGE, SIGNED_AT + 500, TOKEN_OK);
	assert_result(
	    VECTOR_HALF, TOKEN_OWN_AGE, SIGNED_AT + 501, TOKEN_EXPIRED);
	/* That of who asks, more or less than its own. */
	assert_result(VECTOR_NUMBER, 1, SIGNED_AT + 1000, TOKEN_OK);
	assert_result(VECTOR_NUMBER, 1, SIGNED_AT + 1001, TOKEN_EXPIRED);
	assert_result(VECTOR_NUMBER, 2 * 86400, end + day, TOKEN_OK);
	assert_result(VECTOR_FOREVER, 1, SIGNED_AT + 1001, TOKEN_EXPIRED);
	assert_result(VECTOR_NUMBER, TOKEN_ANY_AGE, far, TOKEN_OK);
	assert_result(VECTOR_NUMBER, INT64_MAX, far, TOKEN_OK);
	assert_result(VECTOR_NUMBER, INT64_MAX / 1000, far, TOKEN_OK);
	assert_result(VECTOR_NUMBER, 0, SIGNED_AT, TOKEN_EXPIRED);
	assert_result(VECTOR_NUMBER, -3, SIGNED_AT, TOKEN_EXPIRED);
	assert_result(VECTOR_NUMBER, INT64_MIN, SIGNED_AT, TOKEN_EXPIRED);
	assert_result(
	    VECTOR_NUMBER, INT64_MIN / 1000 - 1, SIGNED_AT, TOKEN_EXPIRED);
	/* A clock that was ahead. */
	assert_result(VECTOR_NUMBER, 1, SIGNED_AT - day, TOKEN_OK);
}
END_TEST

START_TEST(test_missing)
{
	char *json;
	size_t size;

	ck_assert_int_eq(
	    token_verify(vector_key(), NULL, 0, 1, 0, &json, &size),
	    TOKEN_MISSING);
	assert_result("", TOKEN_ANY_AGE, 0, TOKEN_INVALID);
	assert_result("SFMyNTY..", TOKEN_ANY_AGE, 0, TOKEN_INVALID);
}
END_TEST

START_TEST(test_other_key)
{
	struct token_key key;
	char *json;
	size_t size;

	token_key_derive(&key, TEXT(VECTOR_SECRET), TEXT("user sockeT"));
	ck_assert_int_eq(token_verify(&key, TEXT(VECTOR_NUMBER), TOKEN_ANY_AGE,
			     0, &json, &size),
	    TOKEN_INVALID);
	token_key_derive(&key, TEXT(VECTOR_SECRET "0"), TEXT(VECTOR_SALT));
	ck_assert_int_eq(token_verify(&key, TEXT(VECTOR_NUMBER), TOKEN_ANY_AGE,
			     0, &json, &size),
	    TOKEN_INVALID);
}
END_TEST

/* Every byte, to every other value; also to those that mean the same bits. */
START_TEST(test_tampered)
{
	char token[] = VECTOR_NUMBER;

	for (size_t i = 0; i < sizeof token - 1; i++) {
		char was = token[i];

		for (int c = 0; c < 256; c++) {
			char *json;
			size_t size;

			token[i] = (char)c;
			if (token[i] == was)
				continue;
			ck_assert_int_eq(
			    token_verify(vector_key(), token, sizeof token - 1,
				TOKEN_ANY_AGE, SIGNED_AT, &json, &size),
			    TOKEN_INVALID);
		}
		token[i] = was;
	}
	assert_result(token, TOKEN_ANY_AGE, SIGNED_AT, TOKEN_OK);
}
END_TEST

START_TEST(test_truncated)
{
	char token[] = VECTOR_NUMBER "A";

	assert_result(token, TOKEN_ANY_AGE, SIGNED_AT, TOKEN_INVALID);
	assert_result(VECTOR_NUMBER "=", TOKEN_ANY_AGE, 0, TOKEN_INVALID);
	assert_result(VECTOR_NUMBER ".", TOKEN_ANY_AGE, 0, TOKEN_INVALID);
	for (size_t n = strlen(VECTOR_NUMBER); n > 0; n--) {
		token[n - 1] = '\0';
		assert_result(token, TOKEN_ANY_AGE, SIGNED_AT, TOKEN_INVALID);
	}
	for (size_t n = 1; n < strlen(VECTOR_NUMBER); n++)
		assert_result(
		    &VECTOR_NUMBER[n], TOKEN_ANY_AGE, SIGNED_AT, TOKEN_INVALID);
}
END_TEST

static void
assert_no_sign(const char *json, size_t size, int error)
{
	errno = 0;
	ck_assert_ptr_null(
	    token_sign(vector_key(), json, size, SIGNED_AT, TOKEN_DAY));
	ck_assert_int_eq(errno, error);
}

static void
assert_round(const char *json, size_t size)
{
	char *token = token_sign(
	    vector_key(), json, size, SIGNED_AT, TOKEN_ANY_AGE);
	char *back;

	ck_assert_ptr_nonnull(token);
	ck_assert_uint_le(strlen(token), TOKEN_MAX);
	ck_assert_int_eq(
	    verify(token, TOKEN_OWN_AGE, SIGNED_AT, &back), TOKEN_OK);
	ck_assert_uint_eq(strlen(back), size);
	ck_assert_mem_eq(back, json, size);
	free(back);
	free(token);
}

static void
assert_same(const char *json)
{
	assert_round(json, strlen(json));
}

START_TEST(test_round)
{
	static const char *const same[] = { "0", "-1", "255", "256",
		"2147483647", "2147483648", "-2147483648", "-2147483649",
		"4294967295", "4294967296", "9223372036854775807",
		"9223372036854775808", "-9223372036854775807",
		"-9223372036854775808", "18446744073709551616",
		"1000000000000000000000000000000000000", "0.1", "1.0", "-0.0",
		"-2.5", "1e+22", "4.94065645841247e-324",
		"1.7976931348623157e+308", "0.30000000000000004", "\"\"",
		"\"\\u0000\\\"\\\\\"", "[]", "{}", "[[],{},[{\"\":[\"\"]}]]",
		"[true,false,null]", "[\"true\",\"nil\"]",
		"{\"a\":1,\"aa\":2,\"b\":{\"c\":[3]}}" };

	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
		assert_same(same[i]);
}
END_TEST

/* n openings, and as many closings around what is between. */
static char *
nest(size_t n, const char *open, const char *inside, const char *close)
{
	struct json_buffer text = { 0 };

	for (size_t i = 0; i < n; i++)
		json_append_text(&text, open);
	json_append_text(&text, inside);
	for (size_t i = 0; i < n; i++)
		json_append_text(&text, close);
	return text.data;
}

START_TEST(test_sign_limits)
{
	char *text = xmalloc(TERM_MAX + 1);
	char *deep = nest(TERM_DEPTH, "[", "1", "]");

	assert_same(deep);
	free(deep);
	deep = nest(TERM_DEPTH + 1, "{\"a\":", "1", "}");
	assert_no_sign(deep, strlen(deep), E2BIG);
	free(deep);

	memset(text, 'x', TERM_MAX + 1);
	text[0] = text[TERM_MAX - 4] = '"';
	assert_round(text, TERM_MAX - 3);
	text[TERM_MAX - 4] = 'x';
	text[TERM_MAX] = '"';
	assert_no_sign(text, TERM_MAX + 1, E2BIG);
	/* JSON that is larger as a term. */
	memcpy(text, "[1.5", 4);
	for (size_t i = 4; i < TERM_MAX - 4; i += 4)
		memcpy(text + i, ",2e1", 4);
	text[TERM_MAX - 4] = ']';
	assert_no_sign(text, TERM_MAX - 3, E2BIG);

	memset(text, '9', TERM_MAX);
	assert_round(text, 1233);
	assert_no_sign(text, 1234, ERANGE);
	assert_no_sign(text, TERM_MAX, ERANGE);
	assert_no_sign(TEXT("1e999"), ERANGE);
	free(text);
	assert_no_sign(TEXT(""), EINVAL);
	assert_no_sign(TEXT("{"), EINVAL);
	assert_no_sign(TEXT("[1,]"), EINVAL);
	assert_no_sign(TEXT("\"\xff\""), EINVAL);
	assert_no_sign(TEXT("1 2"), EINVAL);
}
END_TEST

START_TEST(test_huge)
{
	char *token = xmalloc(TOKEN_MAX + 2);

	memset(token, 'A', TOKEN_MAX + 1);
	token[TOKEN_MAX + 1] = '\0';
	memcpy(token, "SFMyNTY.", 8);
	token[TOKEN_MAX + 1 - 44] = '.';
	assert_result(token, TOKEN_ANY_AGE, 0, TOKEN_INVALID);
	token[TOKEN_MAX - 44] = '.';
	token[TOKEN_MAX] = '\0';
	assert_result(token, TOKEN_ANY_AGE, 0, TOKEN_INVALID);
	free(token);
}
END_TEST

/* ---- terms that were signed by somebody whom nobody should trust ---- */

/* A message of this data, signed at 1 ms, good for ever. */
static enum token_result
read_data(const char *data, size_t size, char **json)
{
	static const char end[] = "\x61\x01\x77\x08infinity";
	struct json_buffer message = { 0 };
	enum token_result result;
	size_t json_size;

	json_append(&message, TEXT("\x83\x68\x03"));
	json_append(&message, data, size);
	json_append(&message, TEXT(end));
	*json = NULL;
	result = token_read((const uint8_t *)message.data, message.size,
	    TOKEN_OWN_AGE, 0, json, &json_size);
	json_buffer_free(&message);
	return result;
}

static void
assert_data(const char *data, size_t size, const char *wanted)
{
	char *json;

	ck_assert_int_eq(read_data(data, size, &json), TOKEN_OK);
	ck_assert_str_eq(json, wanted);
	free(json);
}

static void
assert_no_data(const char *data, size_t size, enum token_result wanted)
{
	char *json;

	ck_assert_int_eq(read_data(data, size, &json), wanted);
	ck_assert_ptr_null(json);
}

START_TEST(test_terms)
{
	/* Both widths of atoms in both character sets. */
	assert_data(TEXT("\x64\0\2\xe9x"), "\"\xc3\xa9x\"");
	assert_data(TEXT("\x73\2\xe9x"), "\"\xc3\xa9x\"");
	assert_data(TEXT("\x76\0\3\xc3\xa9x"), "\"\xc3\xa9x\"");
	assert_data(TEXT("\x77\3\xc3\xa9x"), "\"\xc3\xa9x\"");
	assert_data(TEXT("\x77\0"), "\"\"");
	assert_data(TEXT("\x73\3nil"), "null");
	assert_data(TEXT("\x64\0\4true"), "true");
	assert_data(TEXT("\x76\0\5\x66\x61lse"), "false");
	/* As keys they are only names. */
	assert_data(TEXT("\x74\0\0\0\1\x77\3nil\x6a"), "{\"nil\":[]}");
	/* Integers that Erlang would not spell so. */
	assert_data(TEXT("\x6e\0\1"), "0");
	assert_data(TEXT("\x6e\3\0\1\0\0"), "1");
	assert_data(TEXT("\x6f\0\0\0\1\1\7"), "-7");
	assert_data(TEXT("\x69\0\0\0\1\x61\1"), "[1]");
	assert_data(TEXT("\x68\0"), "[]");
	assert_data(TEXT("\x6b\0\0"), "[]");
}
END_TEST

START_TEST(test_no_json)
{
	assert_no_data(TEXT("\x6d\0\0\0\1\xff"), TOKEN_NO_JSON);
	assert_no_data(TEXT("\x4d\0\0\0\1\3\x80"), TOKEN_NO_JSON);
	assert_no_data(TEXT("\x58"), TOKEN_NO_JSON);
	assert_no_data(TEXT("\x70"), TOKEN_NO_JSON);
	assert_no_data(TEXT("\x71"), TOKEN_NO_JSON);
	assert_no_data(TEXT("\x5a"), TOKEN_NO_JSON);
	/* An improper list; keys that are no names, or the same one. */
	assert_no_data(TEXT("\x6c\0\0\0\1\x61\1\x61\2"), TOKEN_NO_JSON);
	assert_no_data(TEXT("\x74\0\0\0\1\x61\1\x61\2"), TOKEN_NO_JSON);
	assert_no_data(TEXT("\x74\0\0\0\3\x77\1\x61\x61\1\x77\1\x62\x61\1"
			    "\x6d\0\0\0\1\x61\x61\2"),
	    TOKEN_NO_JSON);
}
END_TEST

START_TEST(test_hostile_terms)
{
	static const char nan[] = "\x46\x7f\xf8\0\0\0\0\0\0";
	static const char inf[] = "\x46\x7f\xf0\0\0\0\0\0\0";
	char *deep = nest(TERM_DEPTH + 1, "\x68\1", "\x6a", "");
	char *good = nest(TERM_DEPTH, "\x68\1", "\x6a", "");
	char *json;

	ck_assert_int_eq(read_data(good, strlen(good), &json), TOKEN_OK);
	free(json);
	assert_no_data(deep, strlen(deep), TOKEN_INVALID);
	free(good);
	free(deep);
	/* Sizes without what they promise. */
	assert_no_data(TEXT("\x6d\xff\xff\xff\xff"), TOKEN_INVALID);
	assert_no_data(TEXT("\x6c\xff\xff\xff\xff"), TOKEN_INVALID);
	assert_no_data(TEXT("\x69\xff\xff\xff\xff"), TOKEN_INVALID);
	assert_no_data(TEXT("\x6f\xff\xff\xff\xff\0"), TOKEN_INVALID);
	assert_no_data(TEXT("\x6f\0\0\2\1\0"), TOKEN_INVALID);
	assert_no_data(TEXT("\x6e\1\2\1"), TOKEN_INVALID);
	assert_no_data(TEXT("\x6b\xff\xff"), TOKEN_INVALID);
	assert_no_data(TEXT("\x77\xff"), TOKEN_INVALID);
	assert_no_data(TEXT("\x77\1\xff"), TOKEN_INVALID);
	assert_no_data(TEXT(nan), TOKEN_INVALID);
	assert_no_data(TEXT(inf), TOKEN_INVALID);
	/* Compressed, nested versions, unknown tags, nothing. */
	assert_no_data(TEXT("\x50\0\0\0\1"), TOKEN_INVALID);
	assert_no_data(TEXT("\x83\x61\1"), TOKEN_INVALID);
	assert_no_data(TEXT("\xff"), TOKEN_INVALID);
	assert_no_data(TEXT("\0"), TOKEN_INVALID);
	/* A second term, which moves the time to where the age should be. */
	assert_no_data(TEXT("\x61\1\x61\1"), TOKEN_INVALID);
}
END_TEST

static enum token_result
read_message(const char *message, size_t size)
{
	char *json = NULL;
	size_t json_size;
	enum token_result result = token_read((const uint8_t *)message, size,
	    TOKEN_OWN_AGE, 5, &json, &json_size);

	free(json);
	return result;
}

#define assert_message(message, wanted) \
	ck_assert_int_eq(read_message(TEXT(message)), wanted)

START_TEST(test_messages)
{
	assert_message("\x83\x68\3\x61\1\x61\5\x61\1", TOKEN_OK);
	assert_message("\x83\x68\3\x61\1\x61\5\x61\0", TOKEN_EXPIRED);
	assert_message("\x83\x68\2\x61\1\x61\5", TOKEN_OK);
	assert_message("\x83\x68\3\x61\1\x61\5\x6a", TOKEN_INVALID);
	assert_message("\x83\x68\3\x61\1\x61\5\x77\3nil", TOKEN_INVALID);
	assert_message("\x83\x68\3\x61\1\x6a\x61\1", TOKEN_INVALID);
	assert_message("\x83\x68\1\x61\1", TOKEN_INVALID);
	assert_message("\x83\x68\4\x61\1\x61\5\x61\1\x61\1", TOKEN_INVALID);
	assert_message("\x83\x68\3\x61\1\x61\5\x61\1\x61", TOKEN_INVALID);
	assert_message("\x68\3\x61\1\x61\5\x61\1", TOKEN_INVALID);
	assert_message("\x83\x61\1", TOKEN_INVALID);
	assert_message("\x83\x68\3\x74\xff\xff\xff\xff", TOKEN_INVALID);
	assert_message("\x83", TOKEN_INVALID);
	assert_message("", TOKEN_INVALID);
	assert_message("\x83\x74\0\0\0\2\x77\4\x64\x61ta\x61\1"
		       "\x77\4\x64\x61ta\x61\1",
	    TOKEN_INVALID);
	assert_message("\x83\x74\0\0\0\1\x77\4\x64\x61ta\x61\1", TOKEN_INVALID);
	assert_message("\x83\x74\0\0\0\3\x77\4\x64\x61ta\x61\1", TOKEN_INVALID);
	/* Times and ages beyond int64_t. */
	assert_message(
	    "\x83\x68\3\x61\1\x6e\x9\0\0\0\0\0\0\0\0\0\1\x61\1", TOKEN_INVALID);
	assert_message(
	    "\x83\x68\3\x61\1\x61\5\x6e\x8\0\xff\xff\xff\xff\xff\xff\xff\x7f",
	    TOKEN_OK);
	assert_message(
	    "\x83\x68\3\x61\1\x61\5\x6e\x8\1\xff\xff\xff\xff\xff\xff\xff\x7f",
	    TOKEN_EXPIRED);
	assert_message(
	    "\x83\x68\3\x61\1\x61\5\x46\x7f\xe0\0\0\0\0\0\0", TOKEN_OK);
	assert_message(
	    "\x83\x68\3\x61\1\x61\5\x46\xff\xe0\0\0\0\0\0\0", TOKEN_EXPIRED);
}
END_TEST

/* Many terms that are almost good: each byte of one is changed. */
START_TEST(test_changed_terms)
{
	char message[] = "\x83\x68\3\x74\0\0\0\2\x77\1\x61\x6c\0\0\0\2\x61\1"
			 "\x62\0\1\2\3\x6a\x6d\0\0\0\1\x62\x46\0\0\0\0\0\0\0\0"
			 "\x6e\6\0\1\2\3\4\5\6\x62\0\1\x51\x80";
	const size_t size = sizeof message - 1;

	ck_assert_int_eq(read_message(message, size), TOKEN_OK);
	for (size_t i = 0; i < size; i++) {
		char was = message[i];

		for (int c = 0; c < 256; c++) {
			message[i] = (char)c;
			(void)read_message(message, size);
		}
		message[i] = was;
		ck_assert_int_eq(read_message(message, i), TOKEN_INVALID);
	}
}
END_TEST

START_TEST(test_names)
{
	ck_assert_str_eq(token_result_name(TOKEN_EXPIRED), "expired");
	ck_assert_str_eq(token_result_name(TOKEN_INVALID), "invalid");
	ck_assert_str_eq(token_result_name(TOKEN_MISSING), "missing");
}
END_TEST

UNIT_MAIN("token", test_key, test_tokens_of_phoenix, test_sign, test_age,
    test_missing, test_other_key, test_tampered, test_truncated, test_round,
    test_sign_limits, test_huge, test_terms, test_no_json, test_hostile_terms,
    test_messages, test_changed_terms, test_names)
