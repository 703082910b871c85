/*
 * utf8.c - see utf8.h.
 */
#include <string.h>

#include "transport/utf8.h"

#define WORD_HIGH_BITS 0x8080808080808080U

/* Behind the plain ASCII at p, eight bytes at a time; most text is. */
static const uint8_t *
skip_ascii(const uint8_t *p, const uint8_t *end)
{
	uint64_t word;

	for (; end - p >= (ptrdiff_t)sizeof word; p += sizeof word) {
		memcpy(&word, p, sizeof word);
		if ((word & WORD_HIGH_BITS) != 0)
			break;
	}
	while (p < end && *p < 0x80)
		p++;
	return p;
}

static void
expect(struct utf8 *utf8, uint8_t left, uint8_t low, uint8_t high)
{
	*utf8 = (struct utf8){ .left = left, .low = low, .high = high };
}

/*
 * The first byte of a character that is not ASCII. The second one excludes what
 * could be written shorter, surrogates, and all above U+10FFFF.
 */
static bool
feed_lead(struct utf8 *utf8, uint8_t c)
{
	if (c < 0xc2 || c > 0xf4)
		return false;
	if (c < 0xe0)
		expect(utf8, 1, 0x80, 0xbf);
	else if (c < 0xf0)
		expect(
		    utf8, 2, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf);
	else
		expect(
		    utf8, 3, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf);
	return true;
}

bool
utf8_feed(struct utf8 *utf8, const uint8_t *p, size_t size)
{
	const uint8_t *end = p + size;

	while (p < end) {
		if (utf8->left == 0) {
			p = skip_ascii(p, end);
			if (p < end && !feed_lead(utf8, *p++))
				return false;
		} else {
			if (*p < utf8->low || *p > utf8->high)
				return false;
			expect(utf8, utf8->left - 1, 0x80, 0xbf);
			p++;
		}
	}
	return true;
}

bool
utf8_end(const struct utf8 *utf8)
{
	return utf8->left == 0;
}
