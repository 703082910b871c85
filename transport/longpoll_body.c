/*
 * longpoll_body.c - see longpoll_body.h.
 */
#include <nettle/base64.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/xmalloc.h"
#include "transport/longpoll_body.h"

/* nettle would skip white space, and take more padding than there may be. */
static bool
is_of_base64(const char *line, size_t size)
{
	size_t n = size;

	while (n > 0 && size - n < 2 && line[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++) {
		char c = line[i];

		if (!(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
		    !(c >= '0' && c <= '9') && c != '+' && c != '/')
			return false;
	}
	return size % 4 == 0;
}

static bool
take_binary(
    const char *line, size_t size, longpoll_message_cb message, void *arg)
{
	struct base64_decode_ctx ctx;
	size_t n = BASE64_DECODE_LENGTH(size);
	uint8_t *data;
	bool good;

	if (!is_of_base64(line, size))
		return false;
	data = xmalloc(n + 1);
	base64_decode_init(&ctx);
	good = base64_decode_update(&ctx, &n, data, size, line) == 1 &&
	    base64_decode_final(&ctx) == 1;
	if (good)
		message(WEBSOCKET_BINARY, (const char *)data, n, arg);
	free(data);
	return good;
}

bool
longpoll_body_lines(
    const char *body, size_t size, longpoll_message_cb message, void *arg)
{
	const char *at = body, *end = body + size;

	for (int n = 0; n < LONGPOLL_LINES_MAX && at < end; n++) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		const char *stop = lf == NULL ? end : lf;

		if (lf != NULL && stop > at && stop[-1] == '\r')
			stop--;
		if (stop > at && *at == '[')
			message(WEBSOCKET_TEXT, at, (size_t)(stop - at), arg);
		else if (!take_binary(at, (size_t)(stop - at), message, arg))
			return false;
		at = lf == NULL ? end : lf + 1;
	}
	return true;
}
