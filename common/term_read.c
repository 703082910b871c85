/*
 * term_read.c - see term.h.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/term.h"
#include "common/term_tags.h"
#include "common/tree.h"
#include "common/xmalloc.h"

#define BIG_CHUNKS 138 /* of 9 digits, in as many bits */
#define ATOM_CHARS 255 /* Erlang's own limit */

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
		const char two[] = { (char)(0xc0 | c >> 6),
			(char)(0x80 | (c & 0x3f)) };

		if (c >= 0x80)
			json_append(name, two, 2);
		else
			json_append(name, text + i, 1);
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
	struct text text;
	size_t offset;
};

static int
compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	return text_compare(&x->text, &y->text);
}

static bool
names_differ(struct name *names, size_t n, const struct json_buffer *out)
{
	for (size_t i = 0; i < n; i++)
		names[i].text.data = out->data + names[i].offset;
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
	name->text.size = out->size - name->offset;
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
