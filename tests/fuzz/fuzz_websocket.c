/*
 * Any bytes as frames: what comes out must be the same however they are cut and
 * wherever it is paused, and within the limits.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "transport/utf8.h"
#include "transport/websocket.h"

static const struct websocket_limits limits = {
	.max_frame = 300,
	.max_message = 400,
	.max_fragments = 20,
};

struct run {
	struct json_buffer out;
	bool pausing, closed;
};

static const size_t mosts[] = { SIZE_MAX, 1, 6, 100 };

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
on_message(struct websocket *websocket, enum websocket_opcode opcode,
    const char *data, size_t size, void *arg)
{
	struct utf8 utf8 = { 0 };
	struct run *run = arg;
	char line[32];

	assert(!run->closed);
	assert(size <= limits.max_message);
	if (opcode == WEBSOCKET_TEXT) {
		assert(utf8_feed(&utf8, (const uint8_t *)data, size));
		assert(utf8_end(&utf8));
	}
	snprintf(line, sizeof line, "message %d %zu ", opcode, size);
	json_append_text(&run->out, line);
	json_append(&run->out, data, size);
	if (run->pausing)
		websocket_pause(websocket);
}

static void
on_send(struct websocket *websocket, const void *frame, size_t size, void *arg)
{
	struct run *run = arg;

	assert(!run->closed && size >= 2 && size <= 2 + 125);
	json_append(&run->out, frame, size);
}

static void
on_closed(struct websocket *websocket, unsigned code, bool by_client, void *arg)
{
	struct run *run = arg;
	char line[32];

	assert(!run->closed);
	run->closed = true;
	snprintf(line, sizeof line, "closed %u %d", code, by_client);
	json_append_text(&run->out, line);
}

/* Feeds all, in parts of at most so many bytes. */
static void
feed(const uint8_t *bytes, size_t size, size_t most, struct run *run)
{
	static const struct websocket_callbacks callbacks = {
		.message = on_message,
		.send = on_send,
		.closed = on_closed,
	};
	struct websocket *websocket = websocket_new(&limits, &callbacks, run);
	unsigned seed = (unsigned)most;
	size_t at = 0, part, n;
	uint8_t *copy;

	while (at < size && !run->closed) {
		part = most == SIZE_MAX ? size
					: 1 + (size_t)rand_r(&seed) % most;
		if (part > size - at)
			part = size - at;
		copy = xmalloc(part);
		memcpy(copy, bytes + at, part);
		for (n = 0; n < part && !run->closed;) {
			n += websocket_feed(websocket, copy + n, part - n);
			assert(n == part || run->pausing || run->closed);
			websocket_resume(websocket);
		}
		free(copy);
		at += part;
	}
	websocket_free(websocket);
	json_append(&run->out, "", 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct run whole = { 0 }, parts;

	feed(bytes, size, SIZE_MAX, &whole);
	for (size_t i = 0; i < sizeof mosts / sizeof mosts[0]; i++) {
		parts = (struct run){ .pausing = i % 2 == 0 };
		feed(bytes, size, mosts[i], &parts);
		assert(whole.out.size == parts.out.size);
		assert(memcmp(whole.out.data, parts.out.data, parts.out.size) ==
		    0);
		json_buffer_free(&parts.out);
	}
	json_buffer_free(&whole.out);
	return 0;
}
