/*
 * http_guard.c - see http_guard.h.
 */
#include <stdbool.h>
#include <string.h>

#include "transport/http_guard.h"

#define BLANK_LINES_MAX  4  /* before a request */
#define CHUNK_DIGITS_MAX 16 /* of a size */

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_hex(unsigned char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* RFC 9110, 5.6.2; ctype(3) would ask the locale. */
static bool
is_token(unsigned char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') ||
	    (c >= 'A' && c <= 'Z') ||
	    (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Bytes of a field's value. */
static bool
is_text(unsigned char c)
{
	return c == '\t' || (c >= ' ' && c != 0x7f);
}

/*
 * A fragment is the client's own; it has no place in a request. Bytes above
 * ASCII are taken as most servers do: they mean nothing to who finds the end.
 */
static bool
is_target(unsigned char c)
{
	return c > ' ' && c != 0x7f && c != '#';
}

static int
expect(struct http_guard *guard, bool fits, enum http_guard_state next)
{
	if (!fits)
		return 400;
	guard->state = next;
	return 0;
}

static int
start_byte(struct http_guard *guard, unsigned char c)
{
	if (c == '\r' && guard->count++ < BLANK_LINES_MAX) {
		guard->state = GUARD_START_LF;
		return 0;
	}
	return expect(guard, is_token(c), GUARD_METHOD);
}

/* "HTTP/1.x" and CR. */
static int
version_byte(struct http_guard *guard, unsigned char c)
{
	static const char shape[] = "HTTP/1.";
	unsigned at = guard->count++;

	if (at == strlen(shape))
		return is_digit(c) ? 0 : 400;
	if (at > strlen(shape))
		return expect(guard, c == '\r', GUARD_LINE_LF);
	if (c == (unsigned char)shape[at])
		return 0;
	return shape[at] == '1' && is_digit(c) ? 505 : 400;
}

/* White space here is a folded field, or one without a name. */
static int
field_byte(struct http_guard *guard, unsigned char c)
{
	if (c == '\r') {
		guard->state = GUARD_END_LF;
		return 0;
	}
	guard->fields++;
	return expect(guard, is_token(c), GUARD_NAME);
}

static int
chunk_digit(struct http_guard *guard, unsigned char c)
{
	if (is_hex(c))
		return guard->count++ < CHUNK_DIGITS_MAX ? 0 : 400;
	guard->count = 0;
	return expect(guard, c == '\r', GUARD_CHUNK_LF);
}

int
http_guard_byte(struct http_guard *guard, unsigned char c)
{
	switch (guard->state) {
	case GUARD_START:
		return start_byte(guard, c);
	case GUARD_START_LF:
		return expect(guard, c == '\n', GUARD_START);
	case GUARD_METHOD:
		if (is_token(c))
			return 0;
		guard->count = 0;
		return expect(guard, c == ' ', GUARD_TARGET);
	case GUARD_TARGET:
		if (is_target(c)) {
			guard->count = 1;
			return 0;
		}
		if (guard->count == 0)
			return 400;
		guard->count = 0;
		return expect(guard, c == ' ', GUARD_VERSION);
	case GUARD_VERSION:
		return version_byte(guard, c);
	case GUARD_LINE_LF:
		return expect(guard, c == '\n', GUARD_FIELD);
	case GUARD_FIELD:
		return field_byte(guard, c);
	case GUARD_NAME:
		if (is_token(c))
			return 0;
		return expect(guard, c == ':', GUARD_VALUE);
	case GUARD_VALUE:
		if (is_text(c))
			return 0;
		return expect(guard, c == '\r', GUARD_LINE_LF);
	case GUARD_END_LF:
		return expect(guard, c == '\n', GUARD_DONE);
	case GUARD_CHUNK_SIZE:
		guard->count = 1;
		return expect(guard, is_hex(c), GUARD_CHUNK_DIGITS);
	case GUARD_CHUNK_DIGITS:
		return chunk_digit(guard, c);
	case GUARD_CHUNK_LF:
		return expect(guard, c == '\n', GUARD_CHUNK_DATA);
	case GUARD_CHUNK_DATA_CR:
		return expect(guard, c == '\r', GUARD_CHUNK_DATA_LF);
	case GUARD_CHUNK_DATA_LF:
		return expect(guard, c == '\n', GUARD_CHUNK_SIZE);
	case GUARD_DONE:
	case GUARD_CHUNK_DATA:
		break;
	}
	return 400;
}
