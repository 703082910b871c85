/*
 * tap_reader.c - see tap_reader.h.
 */
#include <event2/event.h>
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
#include "pubsub/tap_reader.h"

#define SILENCE  (3LL * TAP_BEAT) /* then the link is made anew */
#define READ_MAX 64               /* messages before others have a turn */

/* To one tap. */
struct link {
	struct tap_reader *reader;
	unsigned worker;
	int socket, endpoint;
	struct event *event;
	long long heard_ms;
	bool is_ready;
	uint64_t number; /* of the last entry that there was */
};

struct tap_reader {
	const struct nano *nano;
	struct event_base *base;
	char *directory;
	const struct tap_reader_callbacks *callbacks;
	void *arg;
	struct json_buffer topic; /* as it stands in front of a message */
	struct event *tick_event;
	struct link links[PUBSUB_MAX];
	uint64_t bad;
};

static void
miss(struct link *link, uint64_t n)
{
	if (n > 0)
		link->reader->callbacks->missed(
		    link->worker, n, link->reader->arg);
}

/*
 * Entries up to number, this one included, have been published. A number that
 * falls is that of a journal that was begun anew.
 */
static void
advance(struct link *link, uint64_t number, bool is_entry)
{
	uint64_t from = number < link->number + is_entry ? 0 : link->number;

	if (link->is_ready) {
		miss(link, number - from - is_entry);
	} else {
		link->is_ready = true;
		link->reader->callbacks->ready(link->worker, link->reader->arg);
	}
	link->number = number;
}

/* The topic in front of a message is ended by what no name of ours holds. */
static bool
is_wanted(const struct tap_reader *reader, const char *message, size_t size)
{
	return size >= reader->topic.size &&
	    memcmp(message, reader->topic.data, reader->topic.size) == 0;
}

/* Of an object that begins so: the number that comes next. */
static bool
get_number(const struct text *object, const char *begin, uint64_t *number)
{
	const char *p = object->data, *end = p + object->size;
	size_t size = strlen(begin);

	if (object->size <= size || memcmp(p, begin, size) != 0)
		return false;
	*number = 0;
	for (p += size; p < end && *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, *p - '0', number))
			return false;
	return p > object->data + size && p < end && (*p == ',' || *p == '}');
}

static bool
is_beat(struct link *link, const struct text *object, uint64_t *number)
{
	char begin[48];

	snprintf(
	    begin, sizeof begin, "{\"worker\":%u,\"number\":", link->worker);
	return get_number(object, begin, number);
}

static bool
read_message(struct link *link, char *message, size_t size)
{
	struct tap_reader *reader = link->reader;
	char *tab = memchr(message, '\t', size);
	struct text object;
	uint64_t number;

	if (tab == NULL)
		return false;
	object.data = tab + 1;
	object.size = size - (size_t)(object.data - message);
	if (json_scan_text(object.data, object.size).kind != JSON_OBJECT)
		return false;
	if (get_number(&object, "{\"number\":", &number) && number > 0) {
		advance(link, number, true);
		if (is_wanted(reader, message, size))
			reader->callbacks->entry(
			    link->worker, &object, reader->arg);
		return true;
	}
	if (tab != message || !is_beat(link, &object, &number))
		return false;
	advance(link, number, false);
	return true;
}

static void
on_readable(int fd, short what, void *arg)
{
	struct link *link = arg;
	const struct nano *nano = link->reader->nano;

	(void)fd;
	(void)what;
	for (int i = 0; i < READ_MAX; i++) {
		void *message;
		int size = nano->recv(
		    link->socket, &message, NN_MSG, NN_DONTWAIT);

		if (size == -1)
			return;
		link->heard_ms = monotonic_ms();
		if (!read_message(link, message, (size_t)size))
			link->reader->bad++;
		nano->freemsg(message);
	}
}

static void
renew(struct link *link, const char *path)
{
	nano_connect(link->reader->nano, link->socket, &link->endpoint, path);
	link->heard_ms = monotonic_ms();
}

static void
open_link(struct link *link, const char *path)
{
	struct tap_reader *reader = link->reader;
	int fd;

	link->socket = nano_subscriber(reader->nano, TAP_MAX, &fd);
	if (link->socket == -1)
		return; /* the next tick tries again */
	link->event = event_new(
	    reader->base, fd, EV_READ | EV_PERSIST, on_readable, link);
	event_add(link->event, NULL);
	renew(link, path);
}

/* Workers may come later than we, and links break. */
static void
on_tick(int fd, short what, void *arg)
{
	static const struct timeval beat = { .tv_sec = TAP_BEAT / 1000 };
	struct tap_reader *reader = arg;

	(void)fd;
	(void)what;
	for (unsigned i = 0; i < PUBSUB_MAX; i++) {
		struct link *link = &reader->links[i];
		char *path = tap_path(reader->directory, i);

		if (link->socket == -1 && access(path, F_OK) == 0)
			open_link(link, path);
		else if (link->socket != -1 &&
		    monotonic_ms() - link->heard_ms > SILENCE)
			renew(link, path);
		free(path);
	}
	event_add(reader->tick_event, &beat);
}

/* The topic without its quotes; a whole one with the TAB behind it. */
static void
set_topic(struct json_buffer *topic, const struct tap_reader_topics *topics)
{
	json_append_string(topic, topics->name.data, topics->name.size);
	topic->size--;
	if (!topics->is_prefix)
		topic->data[topic->size++] = '\t';
	memmove(topic->data, topic->data + 1, --topic->size);
}

struct tap_reader *
tap_reader_new(struct event_base *base, const char *directory,
    const struct tap_reader_topics *topics,
    const struct tap_reader_callbacks *callbacks, void *arg)
{
	static const struct timeval at_once = { 0 };
	const struct nano *nano = nano_load();
	struct tap_reader *reader;

	if (nano == NULL)
		return NULL;
	reader = xcalloc(1, sizeof *reader);
	reader->nano = nano;
	reader->base = base;
	reader->directory = xstrdup(directory);
	reader->callbacks = callbacks;
	reader->arg = arg;
	set_topic(&reader->topic, topics);
	for (unsigned i = 0; i < PUBSUB_MAX; i++)
		reader->links[i] = (struct link){
			.reader = reader,
			.worker = i + 1,
			.socket = -1,
			.endpoint = -1,
		};
	reader->tick_event = event_new(base, -1, 0, on_tick, reader);
	event_add(reader->tick_event, &at_once);
	return reader;
}

void
tap_reader_free(struct tap_reader *reader)
{
	if (reader == NULL)
		return;
	event_free(reader->tick_event);
	for (unsigned i = 0; i < PUBSUB_MAX; i++)
		if (reader->links[i].socket != -1) {
			event_free(reader->links[i].event);
			reader->nano->close(reader->links[i].socket);
		}
	json_buffer_free(&reader->topic);
	free(reader->directory);
	free(reader);
}

uint64_t
tap_reader_bad(const struct tap_reader *reader)
{
	return reader->bad;
}
