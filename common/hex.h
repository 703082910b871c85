/*
 * hex.h - hexadecimal digits, as they stand in escapes of JSON and of URLs.
 */
#ifndef HEX_H
#define HEX_H

/* The value of a digit in either case; -1 when it is none. */
static inline int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

#endif /* HEX_H */
