/*
 * json.h - a strict scanner of JSON text (RFC 8259) that builds nothing.
 *
 * The wire leaves payloads as text: integers keep their digits, strings their
 * U+0000, and nobody pays for a tree that nobody asked for. Depth is limited by
 * memory only (one bit a level), never by the stack. Input is UTF-8 that was
 * checked already or is checked here (json_scan_value refuses invalid UTF-8).
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Any value; also the kind of a scanned one. */
enum json_kind {
	JSON_BAD, /* not JSON */
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

/* A part of a text. */
struct json_span {
	const char *data;
	size_t size;
	enum json_kind kind;
	bool spaced; /* has white space outside strings */
};

/*
 * Scans one value at *at (white space before it is skipped) and moves *at
 * behind it; if it is JSON_BAD, *at stays. Refuses unpaired surrogate escapes,
 * control characters in strings, leading zeros, bad UTF-8 and everything else
 * that RFC 8259 refuses.
 */
struct json_span json_scan_value(const char **at, const char *end);
/* Skips white space. */
void json_skip_space(const char **at, const char *end);
/* Is this text exactly one JSON value (with white space around it)? */
struct json_span json_scan_text(const char *, size_t);

/* Is this UTF-8? Without surrogates and overlong forms; NULs are fine. */
bool json_is_utf8(const char *, size_t);

/* The characters of a scanned string: malloc'd, may hold NULs, ends in one. */
char *json_decode_string(struct json_span, size_t *size);

/*
 * The same into memory of the caller, who has room for span.size bytes: none
 * writes more. They return the end of what they wrote, without a NUL.
 */
/* The characters of a scanned string. */
char *json_put_decoded(char *, struct json_span);
/* A scanned string, spelled as json_append_string would. */
char *json_put_canonical(char *, struct json_span);
/* A scanned value without the white space between its tokens. */
char *json_put_compact(char *, struct json_span);

/* A growing text. Zero it to begin; data, unless NULL, ends in a NUL. */
struct json_buffer {
	char *data;
	size_t size, room;
};
void json_buffer_reserve(struct json_buffer *, size_t more);
void json_append(struct json_buffer *, const char *, size_t);
void json_append_text(struct json_buffer *, const char *);
/*
 * As a JSON string, quoted. Only what must be escaped is escaped, in its
 * shortest form. Each byte that is not UTF-8 becomes U+FFFD.
 */
void json_append_string(struct json_buffer *, const char *, size_t);
/* A scanned value without the white space between its tokens. */
void json_append_span(struct json_buffer *, struct json_span);
void json_buffer_free(struct json_buffer *);

#endif /* JSON_H */
