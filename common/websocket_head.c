/*
 * websocket_head.c - see websocket_head.h.
 */
#include <endian.h>
#include <string.h>

#include "common/websocket_head.h"

#define FIN       0x80
#define LENGTH_16 126 /* the length is in the next 2 bytes */
#define LENGTH_64 127 /* ... 8 bytes */

size_t
websocket_head(uint8_t head[WEBSOCKET_HEAD_MAX], enum websocket_opcode opcode,
    size_t payload)
{
	uint16_t length16 = htobe16((uint16_t)payload);
	uint64_t length64 = htobe64(payload);

	head[0] = FIN | (uint8_t)opcode;
	if (payload < LENGTH_16) {
		head[1] = (uint8_t)payload;
		return 2;
	}
	if (payload <= UINT16_MAX) {
		head[1] = LENGTH_16;
		memcpy(head + 2, &length16, sizeof length16);
		return 2 + sizeof length16;
	}
	head[1] = LENGTH_64;
	memcpy(head + 2, &length64, sizeof length64);
	return 2 + sizeof length64;
}

size_t
websocket_head_read(const char *frame, size_t size,
    enum websocket_opcode *opcode, size_t *payload)
{
	const uint8_t *head = (const uint8_t *)frame;
	size_t n = 2, long_size = 0;

	if (size >= 2)
		long_size = head[1] == LENGTH_16 ? 2
		    : head[1] == LENGTH_64       ? 8
						 : 0;
	if (size < n + long_size || (head[0] & 0xf0) != FIN ||
	    head[1] > LENGTH_64)
		return 0;
	*opcode = (enum websocket_opcode)(head[0] & 0x0f);
	*payload = long_size == 0 ? head[1] : 0;
	for (size_t i = 0; i < long_size; i++)
		*payload = *payload << 8 | head[n + i];
	n += long_size;
	return *payload <= size - n ? n : 0;
}
