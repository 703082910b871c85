/*
 * option.c - see option.h.
 */
#include <stdlib.h>
#include <string.h>

#include "option.h"

#define DAY (24L * 60 * 60 * 1000) /* ms */

bool
option_parse_ms(const char *text, unsigned *ms)
{
	size_t digits = strspn(text, "0123456789");
	long number = strtol(text, NULL, 10);

	if (digits == 0 || text[digits] != '\0' || number > DAY)
		return false;
	*ms = (unsigned)number;
	return true;
}

unsigned
option_ms(
    const struct bennu_socket *socket, const char *key, unsigned otherwise)
{
	const char *text = bennu_option(socket, key);
	unsigned ms = otherwise;

	if (text != NULL && !option_parse_ms(text, &ms)) {
		bennu_log(socket, "%s = \"%s\": not milliseconds", key, text);
		abort();
	}
	return ms;
}
