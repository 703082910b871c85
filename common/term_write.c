/*
 * term_write.c - see term.h.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/term.h"
#include "common/term_tags.h"
#include "common/tree.h"
#include "common/xmalloc.h"

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
	struct text name;
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

/* By name, then as they came. */
static int
compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int order = text_compare(&x->name, &y->name);

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
		member->name.data = json_decode_string(
		    json_scan_value(&at, end), &member->name.size);
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
		    text_compare(&members[i].name, &members[i + 1].name) == 0)
			continue;
		put_binary(out, members[i].name.data, members[i].name.size);
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
		free(members[i].name.data);
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
