/*
 * envelope.c - see envelope.h.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/envelope.h"
#include "common/tree.h"
#include "common/xmalloc.h"

#define NONE UINT32_MAX /* the size of an absent string */

const char *
envelope_name(enum envelope_type type)
{
#define NAME(x)            \
	case ENVELOPE_##x: \
		return #x
	switch (type) {
		NAME(IN);
		NAME(OUT);
		NAME(INFO);
		NAME(END);
		NAME(DUMP);
		NAME(REQUEST);
		NAME(RESPONSE);
		NAME(JOINED);
		NAME(DONE);
		NAME(WAKE);
		NAME(SLEEP);
		NAME(REPLY);
		NAME(KEEP);
		NAME(FORGET);
		NAME(PUSH);
		NAME(BROADCAST);
		NAME(SUBSCRIBE);
		NAME(UNSUBSCRIBE);
		NAME(CLOSE);
		NAME(STOP);
		NAME(DUMPED);
		NAME(TALLY);
		NAME(SUBSCRIBERS);
		NAME(SIGN);
		NAME(VERIFY);
		NAME(TOKEN);
		NAME(TRACK);
		NAME(UNTRACK);
		NAME(PRESENCES);
		NAME(PS_HELLO);
		NAME(PS_SERVES);
		NAME(PS_SUBSCRIBE);
		NAME(PS_UNSUBSCRIBE);
		NAME(PS_READY);
		NAME(PS_PUBLISH);
		NAME(PS_COUNT);
		NAME(PS_ROOM);
		NAME(PS_SUBSCRIBED);
		NAME(PS_UNSUBSCRIBED);
		NAME(PS_ACCEPTED);
		NAME(PS_OVERRUN);
		NAME(PS_DELIVER);
		NAME(PS_FRAME);
		NAME(PS_REST);
		NAME(PS_YOURS);
		NAME(PS_COUNTED);
		NAME(PS_ENOUGH);
		NAME(CONNECT);
		NAME(CONNECT_BEGUN);
		NAME(CONNECTED);
		NAME(INSPECT);
		NAME(INSPECTED);
		NAME(SESSION_OPEN);
		NAME(SESSION_POLL);
		NAME(SESSION_POST);
		NAME(SESSION_HERE);
		NAME(SESSION_ANSWER);
		NAME(PR_HELLO);
		NAME(PR_TRACK);
		NAME(PR_UNTRACK);
		NAME(PR_DROP);
		NAME(PR_COMPLETE);
		NAME(PR_LIST);
		NAME(PR_LISTED);
		NAME(FETCH);
		NAME(FETCHED);
		NAME(STARTED);
	}
#undef NAME
	return "?";
}

static bool
take(struct envelope *envelope, void *into, size_t size)
{
	if (envelope->bad || envelope->size - envelope->at < size) {
		envelope->bad = true;
		memset(into, 0, size);
		return false;
	}
	memcpy(into, envelope->data + envelope->at, size);
	envelope->at += size;
	return true;
}

uint32_t
envelope_get_u32(struct envelope *envelope)
{
	uint32_t value;

	take(envelope, &value, sizeof value);
	return value;
}

uint64_t
envelope_get_u64(struct envelope *envelope)
{
	uint64_t value;

	take(envelope, &value, sizeof value);
	return value;
}

const char *
envelope_get_optional(struct envelope *envelope, size_t *size)
{
	uint32_t n = envelope_get_u32(envelope);
	const char *data;

	*size = 0;
	if (envelope->bad || n == NONE)
		return NULL;
	if (envelope->size - envelope->at <= n ||
	    envelope->data[envelope->at + n] != '\0') {
		envelope->bad = true;
		return NULL;
	}
	data = (const char *)envelope->data + envelope->at;
	envelope->at += (size_t)n + 1;
	*size = n;
	return data;
}

const char *
envelope_get_data(struct envelope *envelope, size_t *size)
{
	const char *data = envelope_get_optional(envelope, size);

	if (data == NULL)
		envelope->bad = true;
	return data == NULL ? "" : data;
}

struct text
envelope_get_text(struct envelope *envelope)
{
	size_t size;
	const char *data = envelope_get_data(envelope, &size);

	return text_lent(data, size);
}

struct text
envelope_get_optional_text(struct envelope *envelope)
{
	size_t size;
	const char *data = envelope_get_optional(envelope, &size);

	return text_lent(data, size);
}

bool
envelope_end(const struct envelope *envelope)
{
	return !envelope->bad && envelope->at == envelope->size;
}

static uint8_t *
reserve(struct envelope_writer *writer, size_t more)
{
	uint8_t *at;

	if (writer->size == 0)
		writer->size = ENVELOPE_HEAD;
	if (writer->room - writer->size < more || writer->data == NULL) {
		writer->room = (writer->size + more) * 2;
		if (writer->room < 240)
			writer->room = 240;
		writer->data = xrealloc(writer->data, writer->room);
	}
	at = writer->data + writer->size;
	writer->size += more;
	return at;
}

void
envelope_put_u32(struct envelope_writer *writer, uint32_t value)
{
	memcpy(reserve(writer, sizeof value), &value, sizeof value);
}

void
envelope_put_u64(struct envelope_writer *writer, uint64_t value)
{
	memcpy(reserve(writer, sizeof value), &value, sizeof value);
}

void
envelope_put_data(struct envelope_writer *writer, const void *data, size_t size)
{
	uint32_t n = (uint32_t)size;
	uint8_t *at;

	assert(size < NONE);
	at = reserve(writer, sizeof n + size + 1);
	memcpy(at, &n, sizeof n);
	if (size > 0)
		memcpy(at + sizeof n, data, size);
	at[sizeof n + size] = '\0';
}

void
envelope_put_string(struct envelope_writer *writer, const char *s)
{
	if (s == NULL)
		envelope_put_u32(writer, NONE);
	else
		envelope_put_data(writer, s, strlen(s));
}

void
envelope_put_text(struct envelope_writer *writer, const struct text *text)
{
	if (text->data == NULL)
		envelope_put_string(writer, NULL);
	else
		envelope_put_data(writer, text->data, text->size);
}

void
envelope_put_raw(struct envelope_writer *writer, const void *data, size_t size)
{
	uint8_t *at = reserve(writer, size);

	if (size > 0)
		memcpy(at, data, size);
}

void
envelope_writer_trim(struct envelope_writer *writer)
{
	writer->data = xrealloc(writer->data, writer->size);
	writer->room = writer->size;
}

void
envelope_writer_free(struct envelope_writer *writer)
{
	free(writer->data);
	memset(writer, 0, sizeof *writer);
}
