/*
 * term.h - JSON as terms of Erlang's external term format, and back. Strict:
 * depth and numbers are bounded (and the size of what goes out; that of a term
 * that comes in is the caller's), nothing is executed or interned, and what has
 * no form on the other side is refused, never bent.
 *
 * JSON to terms: strings become binaries, numbers without fraction and exponent
 * integers with all their digits, others floats, arrays lists, objects maps
 * (the last one of equal names counts), true, false and null the atoms true,
 * false and nil.
 *
 * Terms to JSON: the same backwards. Besides, atoms become strings, also as
 * keys of maps; tuples become arrays; a charlist is the array of numbers that
 * it is. No form in JSON have: binaries that are not UTF-8, bitstrings, pids,
 * ports, references, functions, improper lists, keys of maps that are neither
 * binary nor atom, and maps of which two keys would have one name.
 */
#ifndef TERM_H
#define TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/json.h"

#define TERM_MAX   32768 /* bytes of a term, and of JSON that becomes one */
#define TERM_DEPTH 100   /* arrays, objects and tuples in each other */

enum term_result {
	TERM_OK,
	TERM_BAD,     /* no term, compressed, or beyond the limits */
	TERM_NO_JSON, /* a term without a form in JSON */
};

/* What is left of a term. */
struct term_reader {
	const uint8_t *at, *end;
};

/*
 * Appends a value of JSON text. False: errno is EINVAL (it is no JSON), E2BIG
 * (too large, or too deep) or ERANGE (a number is).
 */
bool term_append_json(struct json_buffer *, const char *, size_t);
void term_append_integer(struct json_buffer *, int64_t);
/* Its name has at most 255 bytes. */
void term_append_atom(struct json_buffer *, const char *);
/* At most 255 elements, which are appended next. */
void term_append_tuple(struct json_buffer *, unsigned arity);
/* What every term begins with that goes out. */
void term_append_version(struct json_buffer *);

/* They move the reader, unless they say no. */
bool term_read_version(struct term_reader *);
bool term_read_tuple(struct term_reader *, uint32_t *arity);
bool term_read_map(struct term_reader *, uint32_t *pairs);
/* One that int64_t holds. */
bool term_read_integer(struct term_reader *, int64_t *);
bool term_read_float(struct term_reader *, double *);
/* Just this one. */
bool term_read_atom(struct term_reader *, const char *);
/* Any term, appended as JSON. After anything but TERM_OK the reader is void. */
enum term_result term_read_json(struct term_reader *, struct json_buffer *);

#endif /* TERM_H */
