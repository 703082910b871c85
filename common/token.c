/*
 * token.c - see token.h.
 */
#include <nettle/hmac.h>
#include <nettle/pbkdf2.h>

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/token.h"
#include "common/xmalloc.h"

#define ROUNDS     1000
#define HEAD       "SFMyNTY." /* "HS256" */
#define HEAD_SIZE  (sizeof HEAD - 1)
#define MAC_SIZE   SHA256_DIGEST_SIZE
#define MAC_CHARS  43
#define DIRTY_SIZE 4096 /* more of the stack than the hashes use */

/* Nobody forks with what the hashes left on the stack. */
static void __attribute__((__noinline__)) wipe_stack(void)
{
	char dirty[DIRTY_SIZE];

	explicit_bzero(dirty, sizeof dirty);
}

void
token_key_derive(struct token_key *key, const void *secret, size_t secret_size,
    const void *salt, size_t salt_size)
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_set_key(&ctx, secret_size, secret);
	pbkdf2(&ctx, (nettle_hash_update_func *)hmac_sha256_update,
	    (nettle_hash_digest_func *)hmac_sha256_digest, MAC_SIZE, ROUNDS,
	    salt_size, salt, sizeof key->bytes, key->bytes);
	explicit_bzero(&ctx, sizeof ctx);
	wipe_stack();
}

/* ---- base64url, without padding ---- */

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void
append_base64(struct json_buffer *out, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i += 3) {
		size_t n = size - i < 3 ? size - i : 3;
		uint32_t bits = (uint32_t)bytes[i] << 16 |
		    (n > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
		    (n > 2 ? bytes[i + 2] : 0);

		for (size_t k = 0; k <= n; k++)
			json_append(
			    out, &alphabet[bits >> (18 - 6 * k) & 63], 1);
	}
}

/* False: it is none, or not in the one form that the bytes have. */
static bool
decode_base64(const char *text, size_t size, uint8_t *bytes)
{
	uint32_t bits = 0;

	if (size % 4 == 1)
		return false;
	for (size_t i = 0; i < size; i++) {
		const char *c = memchr(alphabet, text[i], 64);

		if (c == NULL)
			return false;
		bits = bits << 6 | (uint32_t)(c - alphabet);
		if (i % 4 != 0)
			*bytes++ = (uint8_t)(bits >> (6 - i % 4 * 2));
	}
	/* What the last character says beyond the last byte. */
	return size % 4 == 0 || (bits & (size % 4 == 2 ? 15 : 3)) == 0;
}

/* ---- the signature ---- */

static void
append_mac(struct json_buffer *out, const struct token_key *key,
    const char *text, size_t size)
{
	struct hmac_sha256_ctx ctx;
	uint8_t mac[MAC_SIZE];

	hmac_sha256_set_key(&ctx, sizeof key->bytes, key->bytes);
	hmac_sha256_update(&ctx, size, (const uint8_t *)text);
	hmac_sha256_digest(&ctx, sizeof mac, mac);
	explicit_bzero(&ctx, sizeof ctx);
	wipe_stack();
	append_base64(out, mac, sizeof mac);
}

/* However early they differ, it takes the same time. */
static bool
same_mac(const char *a, const char *b)
{
	unsigned char differs = 0;

	for (size_t i = 0; i < MAC_CHARS; i++)
		differs |= (unsigned char)(a[i] ^ b[i]);
	return differs == 0;
}

static bool
is_signed(
    const struct token_key *key, const char *text, size_t size, const char *mac)
{
	struct json_buffer good = { 0 };
	bool same;

	json_buffer_reserve(&good, MAC_CHARS + 1);
	append_mac(&good, key, text, size);
	same = same_mac(good.data, mac);
	/* What it should have been is worth as much as a token. */
	explicit_bzero(good.data, good.size);
	json_buffer_free(&good);
	return same;
}

/* ---- sign ---- */

static void
append_age(struct json_buffer *out, int64_t max_age)
{
	assert(max_age >= 0 || max_age == TOKEN_ANY_AGE);
	if (max_age == TOKEN_ANY_AGE)
		term_append_atom(out, "infinity");
	else
		term_append_integer(out, max_age);
}

static bool
append_message(struct json_buffer *out, const char *json, size_t size,
    int64_t signed_at_ms, int64_t max_age)
{
	term_append_version(out);
	term_append_tuple(out, 3);
	if (!term_append_json(out, json, size))
		return false;
	term_append_integer(out, signed_at_ms);
	append_age(out, max_age);
	return true;
}

char *
token_sign(const struct token_key *key, const char *json, size_t size,
    int64_t signed_at_ms, int64_t max_age)
{
	struct json_buffer message = { 0 }, token = { 0 };

	if (append_message(&message, json, size, signed_at_ms, max_age)) {
		assert(message.size <= TOKEN_TERM_MAX);
		json_append_text(&token, HEAD);
		append_base64(&token, message.data, message.size);
		size = token.size;
		json_append_text(&token, ".");
		append_mac(&token, key, token.data, size);
	}
	json_buffer_free(&message);
	return token.data;
}

/* ---- verify ---- */

static int64_t
to_ms(int64_t seconds)
{
	int64_t ms;

	if (!__builtin_mul_overflow(seconds, 1000, &ms))
		return ms;
	return seconds < 0 ? INT64_MIN : INT64_MAX;
}

/* How many ms it is good for, at most INT64_MAX; that is for ever. */
static bool
read_age(struct term_reader *in, int64_t *age)
{
	int64_t seconds;
	double fraction;

	if (term_read_atom(in, "infinity")) {
		*age = INT64_MAX;
	} else if (term_read_integer(in, &seconds)) {
		*age = to_ms(seconds);
	} else if (term_read_float(in, &fraction)) {
		/* Beyond it is no int64_t. */
		if (fraction * 1000 >= 9e18)
			*age = INT64_MAX;
		else if (fraction <= 0)
			*age = 0;
		else
			*age = (int64_t)(fraction * 1000);
		/* Less than a millisecond is still more than nothing. */
		if (fraction > 0 && *age == 0)
			*age = 1;
	} else {
		return false;
	}
	return true;
}

/* What a token holds; data is JSON. */
struct content {
	struct json_buffer *data;
	int64_t signed_at; /* ms */
	int64_t age;       /* ms */
};

static enum token_result
read_data(struct term_reader *in, struct content *content)
{
	switch (term_read_json(in, content->data)) {
	case TERM_OK:
		return TOKEN_OK;
	case TERM_NO_JSON:
		return TOKEN_NO_JSON;
	case TERM_BAD:
		break;
	}
	return TOKEN_INVALID;
}

static enum token_result
read_time(struct term_reader *in, struct content *content)
{
	return term_read_integer(in, &content->signed_at) ? TOKEN_OK
							  : TOKEN_INVALID;
}

/* {data, signed, max_age}; without the last one before Plug.Crypto 1.1.1. */
static enum token_result
read_tuple(struct term_reader *in, uint32_t arity, struct content *content)
{
	enum token_result result;

	if (arity != 2 && arity != 3)
		return TOKEN_INVALID;
	result = read_data(in, content);
	if (result == TOKEN_OK)
		result = read_time(in, content);
	if (result == TOKEN_OK && arity == 3 && !read_age(in, &content->age))
		result = TOKEN_INVALID;
	return result;
}

/* %{data: data, signed: signed}, of the first Phoenix with tokens on. */
static enum token_result
read_map(struct term_reader *in, uint32_t pairs, struct content *content)
{
	enum token_result result = TOKEN_OK;
	bool has_data = false, has_time = false;

	if (pairs != 2)
		return TOKEN_INVALID;
	while (result == TOKEN_OK && (!has_data || !has_time)) {
		if (!has_data && term_read_atom(in, "data")) {
			has_data = true;
			result = read_data(in, content);
		} else if (!has_time && term_read_atom(in, "signed")) {
			has_time = true;
			result = read_time(in, content);
		} else {
			result = TOKEN_INVALID;
		}
	}
	return result;
}

static enum token_result
read_content(struct term_reader *in, struct content *content)
{
	enum token_result result = TOKEN_INVALID;
	uint32_t n;

	if (!term_read_version(in))
		return TOKEN_INVALID;
	if (term_read_tuple(in, &n))
		result = read_tuple(in, n, content);
	else if (term_read_map(in, &n))
		result = read_map(in, n, content);
	if (result == TOKEN_OK && in->at != in->end)
		result = TOKEN_INVALID;
	return result;
}

static bool
has_expired(const struct content *content, int64_t max_age, int64_t now_ms)
{
	int64_t age = content->age, end;

	if (max_age == TOKEN_ANY_AGE)
		age = INT64_MAX;
	else if (max_age != TOKEN_OWN_AGE)
		age = to_ms(max_age);
	if (age == INT64_MAX)
		return false;
	if (age <= 0)
		return true;
	if (__builtin_add_overflow(content->signed_at, age, &end))
		return false;
	return end < now_ms;
}

enum token_result
token_read(const uint8_t *message, size_t message_size, int64_t max_age,
    int64_t now_ms, char **json, size_t *size)
{
	struct term_reader in = { message, message + message_size };
	struct json_buffer data = { 0 };
	struct content content = { .data = &data, .age = TOKEN_DAY * 1000 };
	enum token_result result = TOKEN_INVALID;

	if (message_size <= TOKEN_TERM_MAX)
		result = read_content(&in, &content);
	if (result == TOKEN_OK && has_expired(&content, max_age, now_ms))
		result = TOKEN_EXPIRED;
	if (result != TOKEN_OK) {
		json_buffer_free(&data);
		return result;
	}
	*json = data.data;
	*size = data.size;
	return TOKEN_OK;
}

static enum token_result
read_payload(const char *text, size_t text_size, int64_t max_age,
    int64_t now_ms, char **json, size_t *size)
{
	uint8_t *message = xmalloc(text_size / 4 * 3 + 3);
	size_t message_size = text_size * 3 / 4;
	enum token_result result = TOKEN_INVALID;

	if (decode_base64(text, text_size, message))
		result = token_read(
		    message, message_size, max_age, now_ms, json, size);
	free(message);
	return result;
}

enum token_result
token_verify(const struct token_key *key, const char *token, size_t token_size,
    int64_t max_age, int64_t now_ms, char **json, size_t *size)
{
	size_t text_size;

	if (token == NULL)
		return TOKEN_MISSING;
	if (token_size > TOKEN_MAX || token_size < HEAD_SIZE + 1 + MAC_CHARS ||
	    memcmp(token, HEAD, HEAD_SIZE) != 0)
		return TOKEN_INVALID;
	text_size = token_size - MAC_CHARS - 1;
	if (token[text_size] != '.' ||
	    !is_signed(key, token, text_size, token + text_size + 1))
		return TOKEN_INVALID;
	return read_payload(token + HEAD_SIZE, text_size - HEAD_SIZE, max_age,
	    now_ms, json, size);
}

int64_t
token_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *
token_result_name(enum token_result result)
{
	switch (result) {
	case TOKEN_OK:
		return "good";
	case TOKEN_MISSING:
		return "missing";
	case TOKEN_INVALID:
		return "invalid";
	case TOKEN_EXPIRED:
		return "expired";
	case TOKEN_NO_JSON:
		return "of data that JSON has no form for";
	}
	return "?";
}
