/*
 * term.c - see term.h.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/term.h"
#include "common/xmalloc.h"

#define BIG_LIMBS  128             /* of 32 bits, in an integer */
#define BIG_BYTES  (4 * BIG_LIMBS) /* also more than SMALL_BIG holds */
#define BIG_CHUNKS 138             /* of 9 digits, in as many bits */
#define ATOM_CHARS 255             /* Erlang's own limit */

enum tag {
	TAG_NEW_FLOAT = 70,
	TAG_VERSION = 131,
	TAG_SMALL_INTEGER = 97,
	TAG_INTEGER = 98,
	TAG_ATOM = 100, /* Latin-1, until Erlang/OTP 25 */
	TAG_SMALL_TUPLE = 104,
	TAG_LARGE_TUPLE = 105,
	TAG_NIL = 106,
	TAG_STRING = 107, /* a list of bytes */
	TAG_LIST = 108,
	TAG_BINARY = 109,
	TAG_SMALL_BIG = 110,
	TAG_LARGE_BIG = 111,
	TAG_SMALL_ATOM = 115, /* Latin-1 */
	TAG_MAP = 116,
	TAG_ATOM_UTF8 = 118,
	TAG_SMALL_ATOM_UTF8 = 119,
	/* Good terms that JSON does not know. */
	TAG_NEW_PORT = 89,
	TAG_NEW_PID = 88,
	TAG_NEWER_REFERENCE = 90,
	TAG_BIT_BINARY = 77,
	TAG_REFERENCE = 101,
	TAG_PORT = 102,
	TAG_PID = 103,
	TAG_NEW_FUN = 112,
	TAG_EXPORT = 113,
	TAG_NEW_REFERENCE = 114,
	TAG_V4_PORT = 120,
};

/* The magnitude of an integer, the lowest limb first. */
struct big {
	uint32_t limbs[BIG_LIMBS];
	size_t n;
};

/* ---- putting ---- */

static void
put_u8(struct json_buffer *out, unsigned value)
{
	char byte = (char)value;

	json_append(out, &byte, 1);
}

static void
put_u32(struct json_buffer *out, uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		put_u8(out, value >> shift & 0xff);
}

static void
put_u64(struct json_buffer *out, uint64_t value)
{
	put_u32(out, (uint32_t)(value >> 32));
	put_u32(out, (uint32_t)value);
}

void
term_append_version(struct json_buffer *out)
{
	put_u8(out, TAG_VERSION);
}

void
term_append_tuple(struct json_buffer *out, unsigned arity)
{
	put_u8(out, TAG_SMALL_TUPLE);
	put_u8(out, arity);
}

/* Every Erlang since R16 reads this form. */
void
term_append_atom(struct json_buffer *out, const char *name)
{
	put_u8(out, TAG_SMALL_ATOM_UTF8);
	put_u8(out, (unsigned)strlen(name));
	json_append_text(out, name);
}

static void
put_big(struct json_buffer *out, const struct big *big, bool negative)
{
	size_t bytes = 4 * big->n;

	while (bytes > 0 &&
	    (big->limbs[(bytes - 1) / 4] >> (bytes - 1) % 4 * 8 & 0xff) == 0)
		bytes--;
	if (bytes <= 255) {
		put_u8(out, TAG_SMALL_BIG);
		put_u8(out, (unsigned)bytes);
	} else {
		put_u8(out, TAG_LARGE_BIG);
		put_u32(out, (uint32_t)bytes);
	}
	put_u8(out, negative);
	for (size_t i = 0; i < bytes; i++)
		put_u8(out, big->limbs[i / 4] >> i % 4 * 8 & 0xff);
}

void
term_append_integer(struct json_buffer *out, int64_t value)
{
	uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	const struct big big = {
		.limbs = { (uint32_t)magnitude, (uint32_t)(magnitude >> 32) },
		.n = 2,
	};

	if (value >= 0 && value <= UINT8_MAX) {
		put_u8(out, TAG_SMALL_INTEGER);
		put_u8(out, (unsigned)value);
	} else if (value >= INT32_MIN && value <= INT32_MAX) {
		put_u8(out, TAG_INTEGER);
		put_u32(out, (uint32_t)value);
	} else {
		put_big(out, &big, value < 0);
	}
}

/* ---- JSON to a term ---- */

/* A member of an object; name is its spelling in JSON without escapes that
 * need not be. */
struct member {
	char *name;
	size_t size;
	size_t number;
	struct json_span value;
};

static bool put_value(struct json_buffer *, struct json_span, unsigned);

/* False: it has too many limbs. */
static bool
big_add_digits(struct big *big, const char *digits, size_t n)
{
	uint64_t factor = 1, carry = 0;

	for (size_t i = 0; i < n; i++) {
		factor *= 10;
		carry = 10 * carry + (uint64_t)(digits[i] - '0');
	}
	for (size_t i = 0; i < big->n; i++) {
		carry += big->limbs[i] * factor;
		big->limbs[i] = (uint32_t)carry;
		carry >>= 32;
	}
	if (carry == 0)
		return true;
	if (big->n == BIG_LIMBS)
		return false;
	big->limbs[big->n++] = (uint32_t)carry;
	return true;
}

static bool
put_integer(struct json_buffer *out, struct json_span span)
{
	bool negative = *span.data == '-';
	const char *digits = span.data + negative;
	size_t n = span.size - negative, step;
	struct big big = { .n = 0 };
	int64_t value;

	for (size_t i = 0; i < n; i += step) {
		step = n - i < 9 ? n - i : 9;
		if (!big_add_digits(&big, digits + i, step)) {
			errno = ERANGE;
			return false;
		}
	}
	if (big.n > 2 || (big.n == 2 && big.limbs[1] > INT32_MAX)) {
		put_big(out, &big, negative);
		return true;
	}
	value = (int64_t)((uint64_t)big.limbs[1] << 32 | big.limbs[0]);
	term_append_integer(out, negative ? -value : value);
	return true;
}

static bool
put_float(struct json_buffer *out, struct json_span span)
{
	char *text = xmemdup(span.data, span.size);
	double value = strtod(text, NULL);
	uint64_t bits;

	free(text);
	if (!isfinite(value)) {
		errno = ERANGE;
		return false;
	}
	memcpy(&bits, &value, sizeof bits);
	put_u8(out, TAG_NEW_FLOAT);
	put_u64(out, bits);
	return true;
}

static bool
put_number(struct json_buffer *out, struct json_span span)
{
	for (size_t i = 0; i < span.size; i++)
		if (strchr(".eE", span.data[i]) != NULL)
			return put_float(out, span);
	return put_integer(out, span);
}

static void
put_binary(struct json_buffer *out, const char *data, size_t size)
{
	put_u8(out, TAG_BINARY);
	put_u32(out, (uint32_t)size);
	json_append(out, data, size);
}

static void
put_string(struct json_buffer *out, struct json_span span)
{
	size_t size;
	char *text = json_decode_string(span, &size);

	put_binary(out, text, size);
	free(text);
}

/* At the next element or member, or at what ends them, which is passed. */
static bool
next_element(const char **at, const char *end)
{
	json_skip_space(at, end);
	if (**at == ',')
		++*at;
	else if (**at == ']' || **at == '}')
		return false;
	json_skip_space(at, end);
	return true;
}

static void
set_u32(struct json_buffer *out, size_t where, uint32_t value)
{
	for (size_t i = 0; i < 4; i++)
		out->data[where + i] = (char)(value >> (24 - 8 * i));
}

static bool
put_array(struct json_buffer *out, struct json_span span, unsigned depth)
{
	const char *at = span.data + 1, *end = span.data + span.size;
	size_t start = out->size;
	uint32_t n = 0;

	put_u8(out, TAG_LIST);
	put_u32(out, 0);
	for (; next_element(&at, end); n++)
		if (!put_value(out, json_scan_value(&at, end), depth))
			return false;
	if (n == 0)
		out->size = start;
	else
		set_u32(out, start + 1, n);
	put_u8(out, TAG_NIL);
	return true;
}

static int
compare_texts(const void *a, size_t a_size, const void *b, size_t b_size)
{
	size_t n = a_size < b_size ? a_size : b_size;
	int order = n == 0 ? 0 : memcmp(a, b, n);

	return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* By name, then as they came. */
static int
compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int order = compare_texts(x->name, x->size, y->name, y->size);

	return order != 0 ? order : (x->number > y->number ? 1 : -1);
}

static struct member *
scan_members(struct json_span span, size_t *n)
{
	const char *at = span.data + 1, *end = span.data + span.size;
	struct member *members = NULL, *member;
	size_t room = 0;

	for (*n = 0; next_element(&at, end); ++*n) {
		if (*n == room) {
			room = room == 0 ? 8 : 2 * room;
			members = xrealloc(members, room * sizeof *members);
		}
		member = &members[*n];
		member->number = *n;
		member->name = json_decode_string(
		    json_scan_value(&at, end), &member->size);
		json_skip_space(&at, end);
		at++; /* the colon */
		member->value = json_scan_value(&at, end);
	}
	return members;
}

/* In the order of their names, as Erlang itself has small maps. */
static bool
put_members(struct json_buffer *out, const struct member *members, size_t n,
    unsigned depth)
{
	size_t start = out->size;
	uint32_t pairs = 0;

	put_u8(out, TAG_MAP);
	put_u32(out, 0);
	for (size_t i = 0; i < n; i++) {
		if (i + 1 < n &&
		    compare_texts(members[i].name, members[i].size,
			members[i + 1].name, members[i + 1].size) == 0)
			continue;
		put_binary(out, members[i].name, members[i].size);
		if (!put_value(out, members[i].value, depth))
			return false;
		pairs++;
	}
	set_u32(out, start + 1, pairs);
	return true;
}

static bool
put_object(struct json_buffer *out, struct json_span span, unsigned depth)
{
	size_t n;
	struct member *members = scan_members(span, &n);
	bool done;

	if (n > 1)
		qsort(members, n, sizeof *members, compare_members);
	done = put_members(out, members, n, depth);
	for (size_t i = 0; i < n; i++)
		free(members[i].name);
	free(members);
	return done;
}

/* depth: how many more may lie in each other. */
static bool
put_value(struct json_buffer *out, struct json_span span, unsigned depth)
{
	if (out->size > TERM_MAX) {
		errno = E2BIG;
		return false;
	}
	switch (span.kind) {
	case JSON_BAD:
		break;
	case JSON_NULL:
		term_append_atom(out, "nil");
		return true;
	case JSON_FALSE:
		term_append_atom(out, "false");
		return true;
	case JSON_TRUE:
		term_append_atom(out, "true");
		return true;
	case JSON_NUMBER:
		return put_number(out, span);
	case JSON_STRING:
		put_string(out, span);
		return true;
	case JSON_ARRAY:
	case JSON_OBJECT:
		if (depth == 0) {
			errno = E2BIG;
			return false;
		}
		return span.kind == JSON_ARRAY
		    ? put_array(out, span, depth - 1)
		    : put_object(out, span, depth - 1);
	}
	errno = EINVAL;
	return false;
}

bool
term_append_json(struct json_buffer *out, const char *json, size_t size)
{
	struct json_buffer term = { 0 };
	bool done;

	if (size > TERM_MAX) {
		errno = E2BIG;
		return false;
	}
	done = put_value(&term, json_scan_text(json, size), TERM_DEPTH);
	if (done && term.size > TERM_MAX) {
		errno = E2BIG;
		done = false;
	}
	if (done)
		json_append(out, term.data, term.size);
	json_buffer_free(&term);
	return done;
}

/* ---- getting ---- */

static size_t
left(const struct term_reader *in)
{
	return (size_t)(in->end - in->at);
}

/* -1: there is none. */
static int
peek_tag(const struct term_reader *in)
{
	return in->at == in->end ? -1 : *in->at;
}

static bool
get_number(struct term_reader *in, unsigned bytes, uint64_t *value)
{
	if (left(in) < bytes)
		return false;
	for (*value = 0; bytes > 0; bytes--)
		*value = *value << 8 | *in->at++;
	return true;
}

/* So many bytes, the number of which stands before them. */
static const char *
get_sized(struct term_reader *in, unsigned bytes, size_t *size)
{
	const uint8_t *start;
	uint64_t n;

	if (!get_number(in, bytes, &n) || left(in) < n)
		return NULL;
	start = in->at;
	in->at += n;
	*size = n;
	return (const char *)start;
}

/* A tag and the number behind it. */
static bool
get_head(struct term_reader *in, enum tag tag, unsigned bytes, uint32_t *n)
{
	struct term_reader ahead = *in;
	uint64_t value;

	if (peek_tag(&ahead) != (int)tag)
		return false;
	ahead.at++;
	if (!get_number(&ahead, bytes, &value))
		return false;
	*n = (uint32_t)value;
	*in = ahead;
	return true;
}

bool
term_read_version(struct term_reader *in)
{
	if (peek_tag(in) != TAG_VERSION)
		return false;
	in->at++;
	return true;
}

bool
term_read_tuple(struct term_reader *in, uint32_t *arity)
{
	return get_head(in, TAG_SMALL_TUPLE, 1, arity) ||
	    get_head(in, TAG_LARGE_TUPLE, 4, arity);
}

bool
term_read_map(struct term_reader *in, uint32_t *pairs)
{
	return get_head(in, TAG_MAP, 4, pairs);
}

bool
term_read_float(struct term_reader *in, double *value)
{
	struct term_reader ahead = *in;
	uint64_t bits;

	if (peek_tag(&ahead) != TAG_NEW_FLOAT)
		return false;
	ahead.at++;
	if (!get_number(&ahead, 8, &bits))
		return false;
	memcpy(value, &bits, sizeof *value);
	if (!isfinite(*value))
		return false;
	*in = ahead;
	return true;
}

/* The magnitude of any integer. */
static bool
get_big(struct term_reader *in, struct big *big, bool *negative)
{
	unsigned bytes = peek_tag(in) == TAG_LARGE_BIG ? 4 : 1;
	uint64_t size, sign;

	in->at++;
	if (!get_number(in, bytes, &size) || !get_number(in, 1, &sign) ||
	    sign > 1 || size > BIG_BYTES || left(in) < size)
		return false;
	*negative = sign == 1;
	big->n = (size + 3) / 4;
	memset(big->limbs, 0, sizeof big->limbs);
	for (size_t i = 0; i < size; i++)
		big->limbs[i / 4] |= (uint32_t)*in->at++ << i % 4 * 8;
	while (big->n > 0 && big->limbs[big->n - 1] == 0)
		big->n--;
	return true;
}

static bool
get_integer(struct term_reader *in, struct big *big, bool *negative)
{
	int tag = peek_tag(in);
	uint64_t value;
	int32_t small;

	if (tag == TAG_SMALL_BIG || tag == TAG_LARGE_BIG)
		return get_big(in, big, negative);
	if (tag != TAG_SMALL_INTEGER && tag != TAG_INTEGER)
		return false;
	in->at++;
	if (!get_number(in, tag == TAG_INTEGER ? 4 : 1, &value))
		return false;
	small = (int32_t)(uint32_t)value;
	*negative = small < 0;
	big->limbs[0] = small < 0 ? 0 - (uint32_t)small : (uint32_t)small;
	big->n = big->limbs[0] != 0;
	return true;
}

bool
term_read_integer(struct term_reader *in, int64_t *value)
{
	struct term_reader ahead = *in;
	uint64_t magnitude = 0;
	bool negative;
	struct big big;

	if (!get_integer(&ahead, &big, &negative) || big.n > 2)
		return false;
	for (size_t i = big.n; i > 0; i--)
		magnitude = magnitude << 32 | big.limbs[i - 1];
	if (magnitude > INT64_MAX)
		return false;
	*value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
	*in = ahead;
	return true;
}

/* ---- atoms ---- */

static size_t
count_chars(const char *text, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < size; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

/* The name of an atom, in UTF-8. */
static bool
get_atom(struct term_reader *in, struct json_buffer *name)
{
	int tag = peek_tag(in);
	bool is_small = tag == TAG_SMALL_ATOM || tag == TAG_SMALL_ATOM_UTF8;
	bool is_utf8 = tag == TAG_ATOM_UTF8 || tag == TAG_SMALL_ATOM_UTF8;
	const char *text;
	size_t size;

	if (!is_small && !is_utf8 && tag != TAG_ATOM)
		return false;
	in->at++;
	text = get_sized(in, is_small ? 1 : 2, &size);
	if (text == NULL)
		return false;
	if (is_utf8) {
		json_append(name, text, size);
		return json_is_utf8(text, size) &&
		    count_chars(text, size) <= ATOM_CHARS;
	}
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x80)
			put_u8(name, 0xc0 | c >> 6);
		put_u8(name, c >= 0x80 ? 0x80 | (c & 0x3f) : c);
	}
	return size <= ATOM_CHARS;
}

bool
term_read_atom(struct term_reader *in, const char *wanted)
{
	struct term_reader ahead = *in;
	struct json_buffer name = { 0 };
	bool same = get_atom(&ahead, &name) && name.size == strlen(wanted) &&
	    (name.size == 0 || memcmp(name.data, wanted, name.size) == 0);

	json_buffer_free(&name);
	if (same)
		*in = ahead;
	return same;
}

/* ---- a term to JSON ---- */

static enum term_result read_value(
    struct term_reader *, struct json_buffer *, unsigned);

/* The nine lowest digits, which are taken off. */
static uint32_t
big_take_digits(struct big *big)
{
	uint64_t rest = 0;

	for (size_t i = big->n; i > 0; i--) {
		rest = rest << 32 | big->limbs[i - 1];
		big->limbs[i - 1] = (uint32_t)(rest / 1000000000);
		rest %= 1000000000;
	}
	while (big->n > 0 && big->limbs[big->n - 1] == 0)
		big->n--;
	return (uint32_t)rest;
}

static enum term_result
read_integer(struct term_reader *in, struct json_buffer *out)
{
	uint32_t chunks[BIG_CHUNKS] = { 0 };
	struct big big;
	bool negative;
	char text[16];
	size_t n = 0;

	if (!get_integer(in, &big, &negative))
		return TERM_BAD;
	if (negative && big.n > 0)
		json_append_text(out, "-");
	do
		chunks[n++] = big_take_digits(&big);
	while (big.n > 0);
	snprintf(text, sizeof text, "%u", (unsigned)chunks[n - 1]);
	json_append_text(out, text);
	for (size_t i = n - 1; i > 0; i--) {
		snprintf(text, sizeof text, "%09u", (unsigned)chunks[i - 1]);
		json_append_text(out, text);
	}
	return TERM_OK;
}

/* The shortest digits that mean it, and never those of an integer. */
static enum term_result
read_float(struct term_reader *in, struct json_buffer *out)
{
	char text[40];
	double value;
	int digits = 15;

	if (!term_read_float(in, &value))
		return TERM_BAD;
	do
		snprintf(text, sizeof text, "%.*g", digits, value);
	while (digits++ < 17 && strtod(text, NULL) != value);
	json_append_text(out, text);
	if (strpbrk(text, ".e") == NULL)
		json_append_text(out, ".0");
	return TERM_OK;
}

static enum term_result
read_binary(struct term_reader *in, struct json_buffer *out)
{
	const char *text;
	size_t size;

	in->at++;
	text = get_sized(in, 4, &size);
	if (text == NULL)
		return TERM_BAD;
	if (!json_is_utf8(text, size))
		return TERM_NO_JSON;
	json_append_string(out, text, size);
	return TERM_OK;
}

static enum term_result
read_name(struct term_reader *in, struct json_buffer *out)
{
	struct json_buffer name = { 0 };
	bool is_atom = get_atom(in, &name);

	if (is_atom)
		json_append_string(
		    out, name.size == 0 ? "" : name.data, name.size);
	json_buffer_free(&name);
	return is_atom ? TERM_OK : TERM_BAD;
}

static enum term_result
read_atom(struct term_reader *in, struct json_buffer *out)
{
	if (term_read_atom(in, "nil"))
		json_append_text(out, "null");
	else if (term_read_atom(in, "true"))
		json_append_text(out, "true");
	else if (term_read_atom(in, "false"))
		json_append_text(out, "false");
	else
		return read_name(in, out);
	return TERM_OK;
}

static enum term_result
read_bytes(struct term_reader *in, struct json_buffer *out)
{
	const char *bytes;
	char text[8];
	size_t size;

	in->at++;
	bytes = get_sized(in, 2, &size);
	if (bytes == NULL)
		return TERM_BAD;
	json_append_text(out, "[");
	for (size_t i = 0; i < size; i++) {
		snprintf(text, sizeof text, "%s%u", i == 0 ? "" : ",",
		    (unsigned)(unsigned char)bytes[i]);
		json_append_text(out, text);
	}
	json_append_text(out, "]");
	return TERM_OK;
}

static enum term_result
read_elements(
    struct term_reader *in, struct json_buffer *out, uint32_t n, unsigned depth)
{
	enum term_result result = TERM_OK;

	json_append_text(out, "[");
	for (uint32_t i = 0; i < n && result == TERM_OK; i++) {
		if (i > 0)
			json_append_text(out, ",");
		result = read_value(in, out, depth);
	}
	json_append_text(out, "]");
	return result;
}

static enum term_result
read_list(struct term_reader *in, struct json_buffer *out, unsigned depth)
{
	enum term_result result;
	uint32_t n;

	if (!get_head(in, TAG_LIST, 4, &n))
		return TERM_BAD;
	result = read_elements(in, out, n, depth);
	if (result != TERM_OK)
		return result;
	if (peek_tag(in) != TAG_NIL)
		return left(in) == 0 ? TERM_BAD : TERM_NO_JSON;
	in->at++;
	return TERM_OK;
}

static enum term_result
read_tuple(struct term_reader *in, struct json_buffer *out, unsigned depth)
{
	uint32_t n;

	if (!term_read_tuple(in, &n))
		return TERM_BAD;
	return read_elements(in, out, n, depth);
}

static enum term_result
read_key(struct term_reader *in, struct json_buffer *out)
{
	switch (peek_tag(in)) {
	case TAG_BINARY:
		return read_binary(in, out);
	case TAG_ATOM:
	case TAG_SMALL_ATOM:
	case TAG_ATOM_UTF8:
	case TAG_SMALL_ATOM_UTF8:
		return read_name(in, out);
	case -1:
		return TERM_BAD;
	default:
		return TERM_NO_JSON;
	}
}

/* Where a name stands in what was written. */
struct name {
	const char *data;
	size_t offset, size;
};

static int
compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	return compare_texts(x->data, x->size, y->data, y->size);
}

static bool
names_differ(struct name *names, size_t n, const struct json_buffer *out)
{
	for (size_t i = 0; i < n; i++)
		names[i].data = out->data + names[i].offset;
	if (n > 1)
		qsort(names, n, sizeof *names, compare_names);
	for (size_t i = 1; i < n; i++)
		if (compare_names(&names[i - 1], &names[i]) == 0)
			return false;
	return true;
}

static enum term_result
read_pair(struct term_reader *in, struct json_buffer *out, struct name *name,
    unsigned depth)
{
	enum term_result result;

	name->offset = out->size;
	result = read_key(in, out);
	name->size = out->size - name->offset;
	json_append_text(out, ":");
	return result == TERM_OK ? read_value(in, out, depth) : result;
}

static enum term_result
read_map(struct term_reader *in, struct json_buffer *out, unsigned depth)
{
	enum term_result result = TERM_OK;
	struct name *names = NULL;
	uint32_t n, room = 0;

	if (!term_read_map(in, &n))
		return TERM_BAD;
	json_append_text(out, "{");
	for (uint32_t i = 0; i < n && result == TERM_OK; i++) {
		if (i > 0)
			json_append_text(out, ",");
		if (i == room) {
			room = room == 0 ? 8 : 2 * room;
			names = xrealloc(names, room * sizeof *names);
		}
		result = read_pair(in, out, &names[i], depth);
	}
	json_append_text(out, "}");
	if (result == TERM_OK && !names_differ(names, n, out))
		result = TERM_NO_JSON;
	free(names);
	return result;
}

static enum term_result
read_nested(
    struct term_reader *in, struct json_buffer *out, int tag, unsigned depth)
{
	if (depth == 0)
		return TERM_BAD;
	if (tag == TAG_LIST)
		return read_list(in, out, depth - 1);
	if (tag == TAG_MAP)
		return read_map(in, out, depth - 1);
	return read_tuple(in, out, depth - 1);
}

static enum term_result
read_value(struct term_reader *in, struct json_buffer *out, unsigned depth)
{
	int tag = peek_tag(in);

	switch (tag) {
	case TAG_SMALL_INTEGER:
	case TAG_INTEGER:
	case TAG_SMALL_BIG:
	case TAG_LARGE_BIG:
		return read_integer(in, out);
	case TAG_NEW_FLOAT:
		return read_float(in, out);
	case TAG_BINARY:
		return read_binary(in, out);
	case TAG_ATOM:
	case TAG_SMALL_ATOM:
	case TAG_ATOM_UTF8:
	case TAG_SMALL_ATOM_UTF8:
		return read_atom(in, out);
	case TAG_STRING:
		return read_bytes(in, out);
	case TAG_NIL:
		in->at++;
		json_append_text(out, "[]");
		return TERM_OK;
	case TAG_LIST:
	case TAG_MAP:
	case TAG_SMALL_TUPLE:
	case TAG_LARGE_TUPLE:
		return read_nested(in, out, tag, depth);
	case TAG_BIT_BINARY:
	case TAG_REFERENCE:
	case TAG_NEW_REFERENCE:
	case TAG_NEWER_REFERENCE:
	case TAG_PORT:
	case TAG_NEW_PORT:
	case TAG_V4_PORT:
	case TAG_PID:
	case TAG_NEW_PID:
	case TAG_NEW_FUN:
	case TAG_EXPORT:
		return TERM_NO_JSON;
	default:
		return TERM_BAD;
	}
}

enum term_result
term_read_json(struct term_reader *in, struct json_buffer *out)
{
	return read_value(in, out, TERM_DEPTH);
}
