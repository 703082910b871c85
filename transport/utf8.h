/*
 * utf8.h - is a text that comes in parts UTF-8 (RFC 3629)? The answer is no at
 * the first byte that cannot be part of any.
 */
#ifndef UTF8_H
#define UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero it to begin. */
struct utf8 {
	uint8_t left;      /* bytes that the character in hand still needs */
	uint8_t low, high; /* what the next of them may be */
};

bool utf8_feed(struct utf8 *, const uint8_t *, size_t);
/* Is no character cut off? */
bool utf8_end(const struct utf8 *);

#endif /* UTF8_H */
