/*
 * json.c - see json.h. One pass over the text, one bit for each open level; a
 * p is always within the text or at its end, NULL stands for "not JSON".
 */
#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "common/json.h"
#include "common/xmalloc.h"

#define LEVELS 64 /* bits in struct scanner's levels */

struct scanner {
	const char *end;
	/* The innermost levels, the last in bit 0; set: it is an object. */
	uint64_t levels;
	size_t depth;
	uint64_t *outer; /* full words of the levels around these */
	size_t outer_room;
	bool spaced;
};

static void
scanner_push(struct scanner *s, bool object)
{
	size_t word = s->depth / LEVELS;

	if (word > 0 && s->depth % LEVELS == 0) {
		if (word > s->outer_room) {
			s->outer_room = s->outer_room == 0 ? 8 : word * 2;
			s->outer = xrealloc(
			    s->outer, s->outer_room * sizeof *s->outer);
		}
		s->outer[word - 1] = s->levels;
	}
	s->levels = s->levels << 1 | object;
	s->depth++;
}

static void
scanner_pop(struct scanner *s)
{
	assert(s->depth > 0);
	s->depth--;
	s->levels >>= 1;
	if (s->depth > 0 && s->depth % LEVELS == 0)
		s->levels = s->outer[s->depth / LEVELS - 1];
}

static inline bool
in_object(const struct scanner *s)
{
	return s->levels & 1;
}

static inline char
closing(const struct scanner *s)
{
	return in_object(s) ? '}' : ']';
}

static inline bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline const char *
skip_space(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

/* White space between the tokens of a value. */
static inline const char *
skip_inside(struct scanner *s, const char *p)
{
	if (p < s->end && is_space(*p)) {
		s->spaced = true;
		p = skip_space(p, s->end);
	}
	return p;
}

/* Must a string scanner look at this byte? Quote, backslash, control, >= 80. */
static inline bool
is_special(char c)
{
	unsigned char u = c;

	return u < 0x20 || u >= 0x80 || u == '"' || u == '\\';
}

/*
 * The same for eight bytes: the lowest byte with its high bit set is the first
 * special one (a borrow may set those above it, never those below).
 */
static inline uint64_t
special_bytes(uint64_t word)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';

	return (word | (word - ones * 0x20) | (quote - ones) |
		   (backslash - ones)) &
	    ones * 0x80;
}

static inline const char *
skip_plain(const char *p, const char *end)
{
	uint64_t word, special;

	while (end - p >= (ptrdiff_t)sizeof word) {
		memcpy(&word, p, sizeof word);
		special = special_bytes(le64toh(word));
		if (special != 0)
			return p + __builtin_ctzll(special) / 8;
		p += sizeof word;
	}
	while (p < end && !is_special(*p))
		p++;
	return p;
}

/* One character of more than one byte (Unicode 15, table 3-7). */
static const char *
scan_utf8(const char *p, const char *end)
{
	const unsigned char *s = (const unsigned char *)p;
	unsigned char low = 0x80, high = 0xbf;
	ptrdiff_t size;

	if (s[0] < 0xc2 || s[0] > 0xf4)
		return NULL;
	size = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (end - p < size)
		return NULL;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f; /* surrogates */
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return NULL;
	for (ptrdiff_t i = 2; i < size; i++)
		if ((s[i] & 0xc0) != 0x80)
			return NULL;
	return p + size;
}

/* A UTF-16 unit from "uXXXX"; -1 when it is none. */
static int
read_unit(const char *p, const char *end)
{
	int unit = 0, digit;

	if (end - p < 5 || *p != 'u')
		return -1;
	for (int i = 1; i <= 4; i++) {
		digit = hex_digit(p[i]);
		if (digit == -1)
			return -1;
		unit = unit << 4 | digit;
	}
	return unit;
}

static inline bool
is_surrogate(int unit)
{
	return (unit & 0xf800) == 0xd800;
}

static inline bool
is_low_surrogate(int unit)
{
	return (unit & 0xfc00) == 0xdc00;
}

static int
short_escape(char c)
{
	switch (c) {
	case '"':
	case '\\':
	case '/':
		return c;
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	}
	return -1;
}

/* What is behind a backslash; its code point goes to *point. */
static const char *
scan_escape(const char *p, const char *end, int *point)
{
	int low;

	if (p == end)
		return NULL;
	if (*p != 'u') {
		*point = short_escape(*p);
		return *point == -1 ? NULL : p + 1;
	}
	*point = read_unit(p, end);
	if (*point == -1 || is_low_surrogate(*point))
		return NULL;
	p += 5;
	if (!is_surrogate(*point))
		return p;
	if (p == end || *p != '\\')
		return NULL;
	low = read_unit(p + 1, end);
	if (low == -1 || !is_low_surrogate(low))
		return NULL;
	*point = 0x10000 + ((*point & 0x3ff) << 10) + (low & 0x3ff);
	return p + 6;
}

/* From behind the opening quote to behind the closing one. */
static const char *
scan_string(const char *p, const char *end)
{
	int point;

	while (p != NULL) {
		p = skip_plain(p, end);
		if (p == end)
			return NULL;
		if (*p == '"')
			return p + 1;
		if (*p == '\\')
			p = scan_escape(p + 1, end, &point);
		else
			p = scan_utf8(p, end); /* or a control character */
	}
	return NULL;
}

/* At least one digit. */
static const char *
scan_digits(const char *p, const char *end)
{
	if (p == end || !is_digit(*p))
		return NULL;
	while (p < end && is_digit(*p))
		p++;
	return p;
}

static const char *
scan_exponent(const char *p, const char *end)
{
	if (p < end && (*p == '+' || *p == '-'))
		p++;
	return scan_digits(p, end);
}

static const char *
scan_number(const char *p, const char *end)
{
	if (*p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else
		p = scan_digits(p, end);
	if (p != NULL && p < end && *p == '.')
		p = scan_digits(p + 1, end);
	if (p != NULL && p < end && (*p == 'e' || *p == 'E'))
		p = scan_exponent(p + 1, end);
	return p;
}

static const char *
scan_word(const char *p, const char *end, const char *word, size_t size)
{
	if ((size_t)(end - p) < size || memcmp(p, word, size) != 0)
		return NULL;
	return p + size;
}

static enum json_kind
kind_of(char c)
{
	switch (c) {
	case 'n':
		return JSON_NULL;
	case 'f':
		return JSON_FALSE;
	case 't':
		return JSON_TRUE;
	case '"':
		return JSON_STRING;
	case '[':
		return JSON_ARRAY;
	case '{':
		return JSON_OBJECT;
	}
	return c == '-' || is_digit(c) ? JSON_NUMBER : JSON_BAD;
}

/* To the first value behind "name": of an object. */
static const char *
scan_name(struct scanner *s, const char *p)
{
	if (p == s->end || *p != '"')
		return NULL;
	p = scan_string(p + 1, s->end);
	if (p == NULL)
		return NULL;
	p = skip_inside(s, p);
	if (p == s->end || *p != ':')
		return NULL;
	return skip_inside(s, p + 1);
}

/*
 * From behind a value to the next one, closing the levels that end here; with
 * no level left, that is behind the whole.
 */
static const char *
scan_behind(struct scanner *s, const char *p)
{
	while (s->depth > 0) {
		p = skip_inside(s, p);
		if (p == s->end)
			return NULL;
		if (*p == ',') {
			p = skip_inside(s, p + 1);
			return in_object(s) ? scan_name(s, p) : p;
		}
		if (*p != closing(s))
			return NULL;
		scanner_pop(s);
		p++;
	}
	return p;
}

/* From an opening bracket to the first value in it, or behind an empty one. */
static const char *
scan_open(struct scanner *s, const char *p, bool object)
{
	scanner_push(s, object);
	p = skip_inside(s, p + 1);
	if (p < s->end && *p == closing(s)) {
		scanner_pop(s);
		return scan_behind(s, p + 1);
	}
	return object ? scan_name(s, p) : p;
}

static inline const char *
scan_scalar(const char *p, const char *end, enum json_kind kind)
{
	switch (kind) {
	case JSON_STRING:
		return scan_string(p + 1, end);
	case JSON_NUMBER:
		return scan_number(p, end);
	case JSON_NULL:
		return scan_word(p, end, "null", 4);
	case JSON_FALSE:
		return scan_word(p, end, "false", 5);
	case JSON_TRUE:
		return scan_word(p, end, "true", 4);
	case JSON_BAD:
	case JSON_ARRAY:
	case JSON_OBJECT:
		break;
	}
	return NULL;
}

/* From a value to the next one at any level. */
static inline const char *
scan_step(struct scanner *s, const char *p, enum json_kind kind)
{
	if (kind == JSON_ARRAY || kind == JSON_OBJECT)
		return scan_open(s, p, kind == JSON_OBJECT);
	p = scan_scalar(p, s->end, kind);
	return p == NULL ? NULL : scan_behind(s, p);
}

/* A whole array or object. */
static const char *
scan_levels(const char *p, const char *end, bool *spaced)
{
	struct scanner s = { .end = end };

	do {
		p = p == end ? NULL : scan_step(&s, p, kind_of(*p));
	} while (p != NULL && s.depth > 0);
	free(s.outer);
	*spaced = s.spaced;
	return p;
}

struct json_span
json_scan_value(const char **at, const char *end)
{
	struct json_span span = { .kind = JSON_BAD };
	const char *begin = skip_space(*at, end), *p;
	enum json_kind kind;
	bool spaced = false;

	if (begin == end)
		return span;
	kind = kind_of(*begin);
	if (kind == JSON_ARRAY || kind == JSON_OBJECT)
		p = scan_levels(begin, end, &spaced);
	else
		p = scan_scalar(begin, end, kind);
	if (p == NULL)
		return span;
	*at = p;
	return (struct json_span){ begin, p - begin, kind, spaced };
}

void
json_skip_space(const char **at, const char *end)
{
	*at = skip_space(*at, end);
}

struct json_span
json_scan_text(const char *data, size_t size)
{
	struct json_span span = { .kind = JSON_BAD };
	const char *p = data, *end;

	if (size == 0)
		return span; /* data may be NULL */
	end = data + size;
	span = json_scan_value(&p, end);
	if (skip_space(p, end) != end)
		span = (struct json_span){ .kind = JSON_BAD };
	return span;
}

bool
json_is_utf8(const char *data, size_t size)
{
	const char *p = data, *end = data + size;

	while (p < end) {
		p = skip_plain(p, end);
		if (p < end && (*p & 0x80) == 0)
			p++;
		else if (p < end)
			p = scan_utf8(p, end);
		if (p == NULL)
			return false;
	}
	return true;
}

static inline char *
put_bytes(char *out, const char *data, size_t size)
{
	memcpy(out, data, size);
	return out + size;
}

static char *
put_utf8(char *out, int point)
{
	if (point < 0x80) {
		*out++ = point;
		return out;
	}
	if (point < 0x800) {
		*out++ = 0xc0 | point >> 6;
	} else if (point < 0x10000) {
		*out++ = 0xe0 | point >> 12;
		*out++ = 0x80 | (point >> 6 & 0x3f);
	} else {
		*out++ = 0xf0 | point >> 18;
		*out++ = 0x80 | (point >> 12 & 0x3f);
		*out++ = 0x80 | (point >> 6 & 0x3f);
	}
	*out++ = 0x80 | (point & 0x3f);
	return out;
}

#define ESCAPE_MAX 6 /* bytes of the longest escape, \u001f */

/* The letter of a control character's short escape, or 0. */
static char
escape_letter(int point)
{
	switch (point) {
	case '"':
	case '\\':
		return point;
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	}
	return '\0';
}

/* A character that cannot stand in a string as it is. */
static char *
put_escape(char *out, int point)
{
	static const char digits[] = "0123456789abcdef";
	char letter = escape_letter(point);

	*out++ = '\\';
	if (letter != '\0') {
		*out++ = letter;
		return out;
	}
	out = put_bytes(out, "u00", 3);
	*out++ = digits[point >> 4];
	*out++ = digits[point & 0xf];
	return out;
}

static inline bool
needs_escape(int point)
{
	return point < 0x20 || point == '"' || point == '\\';
}

/* What is between the quotes, escapes decoded and, for respell, made anew. */
static char *
put_characters(char *out, struct json_span span, bool respell)
{
	const char *p = span.data + 1, *end = span.data + span.size - 1, *next;
	int point;

	assert(span.kind == JSON_STRING && span.size >= 2);
	while (p < end) {
		next = memchr(p, '\\', end - p);
		if (next == NULL)
			return put_bytes(out, p, end - p);
		out = put_bytes(out, p, next - p);
		p = scan_escape(next + 1, end, &point);
		assert(p != NULL); /* it was scanned */
		if (respell && needs_escape(point))
			out = put_escape(out, point);
		else
			out = put_utf8(out, point);
	}
	return out;
}

char *
json_put_decoded(char *out, struct json_span span)
{
	return put_characters(out, span, false);
}

char *
json_put_canonical(char *out, struct json_span span)
{
	*out++ = '"';
	out = put_characters(out, span, true);
	*out++ = '"';
	return out;
}

char *
json_put_compact(char *out, struct json_span span)
{
	const char *p = span.data, *end = span.data + span.size, *next;

	if (!span.spaced)
		return put_bytes(out, p, span.size);
	while (p < end) {
		if (*p == '"') {
			next = scan_string(p + 1, end);
			assert(next != NULL); /* it was scanned */
			out = put_bytes(out, p, next - p);
			p = next;
		} else if (is_space(*p)) {
			p++;
		} else {
			*out++ = *p++;
		}
	}
	return out;
}

char *
json_decode_string(struct json_span span, size_t *size)
{
	char *data = xmalloc(span.size), *end;

	end = json_put_decoded(data, span);
	*end = '\0'; /* in the place of a quote */
	*size = end - data;
	return data;
}

static void
buffer_grow(struct json_buffer *buffer, size_t more)
{
	size_t need;

	if (__builtin_add_overflow(buffer->size + 1, more, &need))
		fatalx("a JSON text of more than %zu bytes", more);
	if (need < buffer->room * 2)
		need = buffer->room * 2;
	if (need < 64)
		need = 64;
	buffer->data = xrealloc(buffer->data, need);
	buffer->room = need;
	buffer->data[buffer->size] = '\0';
}

/* Where more bytes, and a NUL, have room. */
static inline char *
buffer_at(struct json_buffer *buffer, size_t more)
{
	if (buffer->room - buffer->size <= more)
		buffer_grow(buffer, more);
	return buffer->data + buffer->size;
}

/* What was put behind the text is part of it. */
static inline void
buffer_end(struct json_buffer *buffer, char *end)
{
	buffer->size = end - buffer->data;
	*end = '\0';
}

void
json_buffer_reserve(struct json_buffer *buffer, size_t more)
{
	buffer_at(buffer, more);
}

void
json_append(struct json_buffer *buffer, const char *data, size_t size)
{
	char *out = buffer_at(buffer, size);

	if (size > 0)
		buffer_end(buffer, put_bytes(out, data, size));
}

void
json_append_text(struct json_buffer *buffer, const char *text)
{
	json_append(buffer, text, strlen(text));
}

/* Appends the one special character (or bad byte) at p; returns behind it. */
static const char *
append_special(struct json_buffer *buffer, const char *p, const char *end)
{
	const char *next;

	if ((*p & 0x80) == 0) {
		buffer_end(
		    buffer, put_escape(buffer_at(buffer, ESCAPE_MAX), *p));
		return p + 1;
	}
	next = scan_utf8(p, end);
	if (next == NULL) {
		json_append(buffer, "\xef\xbf\xbd", 3);
		return p + 1;
	}
	json_append(buffer, p, next - p);
	return next;
}

void
json_append_string(struct json_buffer *buffer, const char *data, size_t size)
{
	const char *p = data, *end = size == 0 ? data : data + size, *next;
	char *out = buffer_at(buffer, size + 2);

	*out++ = '"';
	buffer_end(buffer, out);
	while (p < end) {
		next = skip_plain(p, end);
		json_append(buffer, p, next - p);
		p = next;
		if (p < end)
			p = append_special(buffer, p, end);
	}
	json_append(buffer, "\"", 1);
}

void
json_append_span(struct json_buffer *buffer, struct json_span span)
{
	char *out = buffer_at(buffer, span.size);

	buffer_end(buffer, json_put_compact(out, span));
}

void
json_buffer_free(struct json_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct json_buffer){ 0 };
}
