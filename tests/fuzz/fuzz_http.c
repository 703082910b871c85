/*
 * Any bytes as requests of a connection: what comes out must be the same
 * however they are cut, and within the limits.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "transport/handshake.h"
#include "transport/http.h"

static const struct http_limits limits = {
	.head_max = 400,
	.headers_max = 8,
	.body_max = 64,
};

static const size_t mosts[] = { 1, 6, 100 };

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
put(struct json_buffer *out, const char *text)
{
	json_append_text(out, text);
	json_append(out, "\n", 1);
}

static void
on_request(
    struct http_connection *http, const struct http_request *request, void *arg)
{
	static char rule[] = "https://*.example.com";
	char *rules[] = { rule };
	struct json_buffer *out = arg;
	char line[128];

	assert(*request->path == '/');
	assert(
	    strlen(request->path) + strlen(request->query) < limits.head_max);
	assert(request->nheaders <= limits.headers_max);
	assert(request->body_size <= limits.body_max);
	assert(request->body[request->body_size] == '\0');
	assert(http_header_count(request, "host") <= 1);
	put(out, request->method);
	put(out, request->path);
	put(out, request->query);
	for (size_t i = 0; i < request->nheaders; i++) {
		put(out, request->headers[i].name);
		put(out, request->headers[i].value);
	}
	json_append(out, request->body, request->body_size);
	snprintf(line, sizeof line, "%u %d %d %d %d %d", request->minor,
	    request->keep_alive, request->upgrade, request->head,
	    http_header_has_token(request, "connection", "upgrade"),
	    handshake_origin_allowed(request, rules, 1));
	put(out, line);
	if (handshake_check(request) == NULL) {
		assert(request->upgrade);
		handshake_append_accept(out, request, NULL);
	}
	if ((request->body_size & 1) == 0)
		http_next(http);
}

/* Feeds all, in parts of at most so many bytes. */
static void
feed(const uint8_t *bytes, size_t size, size_t most, struct json_buffer *out)
{
	struct http_connection *http = http_new(&limits, on_request, out);
	unsigned seed = (unsigned)most;
	size_t at = 0, part, n, taken;
	char line[32];
	char *copy;
	int status = 0;

	while (at < size && status == 0) {
		part = most == SIZE_MAX ? size
					: 1 + (size_t)rand_r(&seed) % most;
		if (part > size - at)
			part = size - at;
		copy = xmalloc(part);
		memcpy(copy, bytes + at, part);
		for (n = 0; n < part && status == 0; n += taken) {
			taken = http_feed(http, copy + n, part - n, &status);
			assert(taken <= part - n);
			http_next(http);
		}
		free(copy);
		at += part;
	}
	snprintf(line, sizeof line, "%d %d", status, http_in_request(http));
	put(out, line);
	http_free(http);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct json_buffer whole = { 0 }, parts = { 0 };

	feed(bytes, size, SIZE_MAX, &whole);
	for (size_t i = 0; i < sizeof mosts / sizeof mosts[0]; i++) {
		feed(bytes, size, mosts[i], &parts);
		assert(whole.size == parts.size);
		assert(memcmp(whole.data, parts.data, parts.size) == 0);
		json_buffer_free(&parts);
	}
	json_buffer_free(&whole);
	return 0;
}
