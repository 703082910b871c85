/*
 * Any bytes as the body of a long-poll POST: there are no more messages than
 * may be, and all of them were in it.
 */
#include <assert.h>
#include <nettle/base64.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "transport/longpoll_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

struct taken {
	size_t left; /* bytes of it that may be behind what was taken */
	int n;
};

static void
take(enum websocket_opcode opcode, const char *data, size_t size, void *arg)
{
	struct taken *taken = arg;
	size_t line = size;

	assert(opcode == WEBSOCKET_TEXT || opcode == WEBSOCKET_BINARY);
	assert(++taken->n <= LONGPOLL_LINES_MAX);
	if (opcode == WEBSOCKET_TEXT)
		assert(size > 0 && data[0] == '[' &&
		    memchr(data, '\n', size) == NULL);
	else
		line = BASE64_ENCODE_RAW_LENGTH(size);
	assert(line <= taken->left);
	taken->left -= line;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of exactly this size, so that nothing is read behind it. */
	char *copy = malloc(size == 0 ? 1 : size);
	struct taken taken = { size, 0 };

	if (copy == NULL)
		abort();
	if (size > 0)
		memcpy(copy, data, size);
	longpoll_body_lines(copy, size, take, &taken);
	free(copy);
	return 0;
}
