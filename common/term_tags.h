/*
 * term_tags.h - what the writer and the reader of terms share: the tags of
 * Erlang's external term format, and integers of any size.
 */
#ifndef TERM_TAGS_H
#define TERM_TAGS_H

#include <stddef.h>
#include <stdint.h>

#define BIG_LIMBS 128             /* of 32 bits, in an integer */
#define BIG_BYTES (4 * BIG_LIMBS) /* also more than SMALL_BIG holds */

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

#endif /* TERM_TAGS_H */
