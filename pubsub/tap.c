/*
 * tap.c - see tap.h.
 */
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/process.h"
#include "common/xmalloc.h"
#include "pubsub/nano.h"
#include "pubsub/shared.h"
#include "pubsub/tap.h"

#define SEND_BUFFER   (1 << 20)   /* bytes; the kernel's limit is lower */
#define ASK           20          /* ms between questions who listens */
#define NAME_MAX_SIZE (16U << 10) /* bytes of a topic or an event */
#define KIND_JSON     0           /* BENNU_JSON, of the channels' header */

struct tap {
	const struct nano *nano;
	int publisher;
	struct event *beat_event;
	unsigned worker;
	uint64_t number; /* the last entry that there was */
	bool has_listeners;
	long long asked_ms; /* when that was found out */
	uint64_t formatted;
	struct json_buffer text;
};

static void
append_number(struct json_buffer *text, const char *before, uint64_t number)
{
	char digits[24];

	json_append_text(text, before);
	snprintf(digits, sizeof digits, "%" PRIu64, number);
	json_append_text(text, digits);
}

static void
append_base64(struct json_buffer *text, const struct text *bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)bytes->data;

	for (size_t i = 0; i < bytes->size; i += 3) {
		size_t n = bytes->size - i < 3 ? bytes->size - i : 3;
		unsigned group = (unsigned)p[i] << 16;
		char four[4];

		if (n > 1)
			group |= (unsigned)p[i + 1] << 8;
		if (n > 2)
			group |= p[i + 2];
		four[0] = digits[group >> 18];
		four[1] = digits[group >> 12 & 63];
		four[2] = digits[group >> 6 & 63];
		four[3] = digits[group & 63];
		if (n < 3)
			four[3] = '=';
		if (n < 2)
			four[2] = '=';
		json_append(text, four, sizeof four);
	}
}

static void
append_payload(struct json_buffer *text, const struct broadcast *broadcast)
{
	const struct text *payload = &broadcast->payload;
	size_t room = TAP_MAX - text->size -
	    sizeof ",\"payload\":{\"binary\":}}";
	struct json_span span = { .kind = JSON_BAD };

	if (payload->size > room) {
		append_number(text, ",\"omitted\":", payload->size);
		return;
	}
	if (broadcast->kind == KIND_JSON)
		span = json_scan_text(payload->data, payload->size);
	if (span.kind != JSON_BAD) {
		json_append_text(text, ",\"payload\":");
		json_append_span(text, span);
	} else if (payload->size / 3 * 4 + 8 > room) {
		append_number(text, ",\"omitted\":", payload->size);
	} else {
		json_append_text(text, ",\"payload\":{\"binary\":\"");
		append_base64(text, payload);
		json_append_text(text, "\"}");
	}
}

/* Behind the topic. */
static void
append_event(struct json_buffer *text, const struct broadcast *broadcast)
{
	const struct text *event = &broadcast->event;

	if (event->size > NAME_MAX_SIZE) {
		append_number(text,
		    ",\"omitted\":", event->size + broadcast->payload.size);
		return;
	}
	json_append_text(text, ",\"event\":");
	json_append_string(text, event->data, event->size);
	append_payload(text, broadcast);
}

/* The text begins with the quote of a string: it is not sent. */
static void
format(struct json_buffer *text, const struct journal_entry *entry)
{
	const struct broadcast *broadcast = &entry->broadcast;
	const struct text *topic = &broadcast->topic;
	bool fits = topic->size <= NAME_MAX_SIZE;

	text->size = 0;
	json_append_string(text, topic->data, fits ? topic->size : 0);
	text->data[text->size - 1] = '\t';
	append_number(text, "{\"number\":", entry->number);
	if (fits) {
		json_append_text(text, ",\"topic\":");
		json_append_string(text, topic->data, topic->size);
		append_event(text, broadcast);
	} else {
		append_number(text, ",\"omitted\":", broadcast_size(broadcast));
	}
	json_append(text, "}", 1);
}

static void
send_beat(struct tap *tap)
{
	char beat[80];
	int size = snprintf(beat, sizeof beat,
	    "\t{\"worker\":%u,\"number\":%" PRIu64 "}", tap->worker,
	    tap->number);

	tap->nano->send(tap->publisher, beat, (size_t)size, NN_DONTWAIT);
}

/* nanomsg does not say when one comes: it is asked, which takes a lock. */
static void
ask(struct tap *tap)
{
	long long now = monotonic_ms();
	bool had = tap->has_listeners;

	if (now - tap->asked_ms < ASK)
		return;
	tap->asked_ms = now;
	tap->has_listeners = nano_has_peers(tap->nano, tap->publisher);
	if (tap->has_listeners && !had)
		send_beat(tap);
}

void
tap_published(struct tap *tap, const struct journal_entry *entry)
{
	ask(tap);
	tap->number = entry->number;
	if (!tap->has_listeners)
		return;
	format(&tap->text, entry);
	tap->formatted++;
	tap->nano->send(tap->publisher, tap->text.data + 1, tap->text.size - 1,
	    NN_DONTWAIT);
}

static void
on_beat(int fd, short what, void *arg)
{
	struct tap *tap = arg;
	bool had = tap->has_listeners;

	(void)fd;
	(void)what;
	ask(tap);
	if (had && tap->has_listeners)
		send_beat(tap);
	/* What the largest entry has taken. */
	if (!tap->has_listeners)
		json_buffer_free(&tap->text);
}

char *
tap_path(const char *directory, unsigned self)
{
	return xasprintf("%s/tap-%u.ipc", directory, self + 1);
}

struct tap *
tap_new(struct event_base *base, const char *directory, unsigned self,
    uint64_t last)
{
	static const struct timeval beat = { .tv_sec = TAP_BEAT / 1000 };
	struct tap *tap = xcalloc(1, sizeof *tap);
	char *path = tap_path(directory, self);

	tap->worker = self + 1;
	tap->number = last;
	tap->publisher = -1;
	tap->nano = nano_load();
	if (tap->nano != NULL)
		tap->publisher = nano_publisher(tap->nano, path, SEND_BUFFER);
	free(path);
	if (tap->publisher == -1) {
		free(tap);
		return NULL;
	}
	tap->beat_event = event_new(base, -1, EV_PERSIST, on_beat, tap);
	event_add(tap->beat_event, &beat);
	return tap;
}

void
tap_free(struct tap *tap)
{
	if (tap == NULL)
		return;
	event_free(tap->beat_event);
	tap->nano->close(tap->publisher);
	json_buffer_free(&tap->text);
	free(tap);
}

uint64_t
tap_formatted(const struct tap *tap)
{
	return tap->formatted;
}

void
tap_remove(const char *directory)
{
	for (unsigned i = 0; i < PUBSUB_MAX; i++) {
		char *path = tap_path(directory, i);

		unlink(path);
		free(path);
	}
}
