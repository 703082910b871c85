/*
 * option.c - see option.h.
 */
#include <stdlib.h>
#include <string.h>

#include "option.h"

#define DAY (24L * 60 * 60 * 1000) /* ms */

unsigned
option_ms(
    const struct bennu_socket *socket, const char *key, unsigned otherwise)
{
	const char *text = bennu_option(socket, key);
	size_t digits;
	long ms;

	if (text == NULL)
		return otherwise;
	digits = strspn(text, "0123456789");
	ms = strtol(text, NULL, 10);
	if (digits == 0 || text[digits] != '\0' || ms > DAY) {
		bennu_log(socket, "%s = \"%s\": not milliseconds", key, text);
		abort();
	}
	return (unsigned)ms;
}
