/*
 * hostile.c - see hostile.h. Envelopes are written field by field, since the
 * calls of bennu/endpoint.h refuse to make such ones.
 */
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "common/envelope.h"
#include "common/process.h"
#include "tests/system/module_endpoint/hostile.h"

#define MAILBOX PROCESS_FD

struct bytes {
	uint8_t data[512];
	size_t size;
};

static void
put(struct bytes *bytes, const void *data, size_t size)
{
	memcpy(bytes->data + bytes->size, data, size);
	bytes->size += size;
}

static void
put_u32(struct bytes *bytes, uint32_t value)
{
	put(bytes, &value, sizeof value);
}

static void
put_string(struct bytes *bytes, const char *s)
{
	put_u32(bytes, (uint32_t)strlen(s));
	put(bytes, s, strlen(s) + 1);
}

static void
send_bytes(uint32_t type, const struct bytes *body)
{
	const uint32_t head[2] = { type, (uint32_t)body->size };

	if (write(MAILBOX, head, sizeof head) != (ssize_t)sizeof head ||
	    write(MAILBOX, body->data, body->size) != (ssize_t)body->size)
		_exit(1);
}

/* An answer with one header; count is what it says of their number. */
static void
respond(uint32_t status, const char *type, uint32_t count, const char *name,
    const char *value)
{
	struct bytes body = { 0 };

	put_u32(&body, status);
	put_string(&body, type);
	put_u32(&body, count);
	put_string(&body, name);
	put_string(&body, value);
	put_string(&body, "body");
	send_bytes(ENVELOPE_RESPONSE, &body);
}

static void
garbage(void)
{
	struct bytes body = { .size = sizeof body.data };

	memset(body.data, 0xa5, sizeof body.data);
	send_bytes(0xa5a5a5a5, &body);
}

static void
trailing(void)
{
	struct bytes body = { 0 };

	put_u32(&body, 200);
	put_string(&body, "text/plain");
	put_u32(&body, 0);
	put_string(&body, "body");
	put_u32(&body, 0);
	send_bytes(ENVELOPE_RESPONSE, &body);
}

bool
hostile_write(const char *what)
{
	const struct bytes nothing = { 0 };

	if (strcmp(what, "garbage") == 0)
		garbage();
	else if (strcmp(what, "empty") == 0)
		send_bytes(ENVELOPE_RESPONSE, &nothing);
	else if (strcmp(what, "type") == 0)
		send_bytes(ENVELOPE_PUSH, &nothing);
	else if (strcmp(what, "broadcast") == 0)
		send_bytes(ENVELOPE_BROADCAST, &nothing);
	else if (strcmp(what, "trailing") == 0)
		trailing();
	else if (strcmp(what, "status_low") == 0)
		respond(101, "a/b", 1, "X-A", "b");
	else if (strcmp(what, "status_high") == 0)
		respond(600, "a/b", 1, "X-A", "b");
	else if (strcmp(what, "status_wide") == 0)
		respond(UINT32_MAX, "a/b", 1, "X-A", "b");
	else if (strcmp(what, "media_type") == 0)
		respond(200, "a/b\r\nX-Worse: 1", 1, "X-A", "b");
	else if (strcmp(what, "name") == 0)
		respond(200, "a/b", 1, "X-A:\r\n", "b");
	else if (strcmp(what, "length") == 0)
		respond(200, "a/b", 1, "Content-Length", "1000");
	else if (strcmp(what, "value") == 0)
		respond(200, "a/b", 1, "X-A", "b\r\n\r\nHTTP/1.1 200 OK");
	else if (strcmp(what, "count") == 0)
		respond(200, "a/b", UINT32_MAX, "X-A", "b");
	else
		return false;
	return true;
}
