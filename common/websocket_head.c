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
