/*
 * id.c - names for things: bennu_uuid and bennu_node.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <bennu/channel.h>

/* RFC 9562, version 4. The kernel's random bytes: no fork repeats them. */
void
bennu_uuid(char out[37])
{
	uint8_t b[16];

	arc4random_buf(b, sizeof b);
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(out, 37,
	    "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
	    "%02x%02x%02x%02x%02x%02x",
	    b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
	    b[11], b[12], b[13], b[14], b[15]);
}

const char *
bennu_node(void)
{
	static char name[80];
	char host[65] = "";

	if (name[0] == '\0') {
		/* Never longer than 64 bytes (utsname). */
		if (gethostname(host, sizeof host) == -1 || host[0] == '\0')
			snprintf(host, sizeof host, "localhost");
		snprintf(name, sizeof name, "bennu@%.64s", host);
	}
	return name;
}
