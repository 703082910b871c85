/*
 * inspect.c - see inspect.h: both ends of a question.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/channel.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/xmalloc.h"
#include "transport/admin.h"
#include "transport/inspect.h"
#include "transport/topic_private.h"
#include "transport/transport.h"
#include "transport/tree.h"

#define NUMBER_SIZE 6 /* of an abstract address: NUL and five hex digits */

struct inspect {
	struct transport *transport;
	uint64_t connection;
	uint32_t channel;
	int fd; /* the other one connects here; -1: it has */
	struct event acceptable;
	struct event timer;
	struct mailbox *mailbox; /* NULL: it has not connected yet */
};

struct inspection {
	struct transport *transport;
	struct mailbox *mailbox;
	struct topic *topic; /* NULL: not asked, or answered */
	struct event timer;
	LIST_ENTRY(inspection) entry;
};

static void
set_timer(struct event *timer, long long ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	event_add(timer, &tv);
}

/* Abstract addresses are there for all users of the machine. */
static bool
is_of_our_user(int fd)
{
	struct ucred other;
	socklen_t size = sizeof other;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &other, &size) == 0 &&
	    other.uid == geteuid();
}

/* ---- who asks: the socket ---- */

/* Listens where nobody else does; the kernel chooses the number. */
static int
listen_somewhere(uint32_t *number)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof address;
	char digits[NUMBER_SIZE];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return -1;
	if (bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0 &&
	    listen(fd, 4) == 0 &&
	    getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
	    size == offsetof(struct sockaddr_un, sun_path) + NUMBER_SIZE) {
		memcpy(digits, address.sun_path + 1, NUMBER_SIZE - 1);
		digits[NUMBER_SIZE - 1] = '\0';
		*number = (uint32_t)strtoul(digits, NULL, 16);
		return fd;
	}
	close(fd);
	return -1;
}

static int
connect_to(uint32_t number)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + NUMBER_SIZE;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(
	    address.sun_path + 1, NUMBER_SIZE, "%05" PRIx32, number & 0xfffff);
	if (fd == -1)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, size) == 0 &&
	    is_of_our_user(fd))
		return fd;
	close(fd);
	return -1;
}

/* A member behind others; null for NULL. */
static void
append_string(struct json_buffer *out, const char *name, const char *value)
{
	json_append_text(out, ",\"");
	json_append_text(out, name);
	json_append_text(out, "\":");
	if (value == NULL)
		json_append_text(out, "null");
	else
		json_append_string(out, value, strlen(value));
}

/* ---- who asks: the answer ---- */

void
inspect_cancel(struct transport *t)
{
	struct inspect *inspect = t->inspect;

	if (inspect == NULL)
		return;
	t->inspect = NULL;
	event_del(&inspect->timer);
	if (inspect->fd != -1) {
		event_del(&inspect->acceptable);
		close(inspect->fd);
	}
	mailbox_free(inspect->mailbox);
	free(inspect);
}

static void
answer(struct inspect *inspect, int status, const char *body, size_t size)
{
	struct transport *t = inspect->transport;
	struct json_buffer response = { 0 };

	http_append_response(&response, status, t->keep_alive, false,
	    ADMIN_JSON, "Cache-Control: no-store\r\n", body, size);
	inspect_cancel(t);
	outbox_add(&t->outbox, response.data, response.size);
	json_buffer_free(&response);
}

/* With the id: who asks for many sees which one it is. */
static void
answer_error(struct inspect *inspect, int status, const char *what)
{
	struct json_buffer body = { 0 };
	char id[64];

	snprintf(id, sizeof id, "{\"id\":\"channel/%" PRIu64 "/%" PRIu32 "\"",
	    inspect->connection, inspect->channel);
	json_append_text(&body, id);
	append_string(&body, "error", what);
	json_append_text(&body, "}");
	answer(inspect, status, body.data, body.size);
	json_buffer_free(&body);
}

static void
answer_gone(struct inspect *inspect)
{
	struct json_buffer body = { 0 };

	admin_append_error(&body, "no such worker");
	answer(inspect, 404, body.data, body.size);
	json_buffer_free(&body);
}

/* No answer: is it because it is not there any more? */
static void
answer_silence(struct inspect *inspect, int status, const char *what)
{
	char id[64];

	/* Its transport: what is left of its channels is on its way out. */
	snprintf(id, sizeof id, "transport/%" PRIu64, inspect->connection);
	if (tree_has(inspect->transport->start->supervisor, id))
		answer_error(inspect, status, what);
	else
		answer_gone(inspect);
}

static void
on_inspected(struct inspect *inspect, struct envelope *envelope)
{
	uint32_t status = envelope_get_u32(envelope);
	size_t size;
	const char *body = envelope_get_data(envelope, &size);

	if (envelope_end(envelope) && status >= 200 && status <= 599 &&
	    json_scan_text(body, size).kind == JSON_OBJECT)
		answer(inspect, (int)status, body, size);
	else
		answer_error(inspect, 502, "the transport answered nonsense");
}

static void
on_answer(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct inspect *inspect = arg;

	(void)mailbox;
	if (envelope == NULL)
		answer_silence(inspect, 502, "the transport did not answer");
	else if (envelope->type == ENVELOPE_INSPECTED)
		on_inspected(inspect, envelope);
	else
		answer_error(inspect, 502, "the transport answered nonsense");
}

static void
on_connected(int fd, short what, void *arg)
{
	struct inspect *inspect = arg;
	const struct transport *t = inspect->transport;
	struct envelope_writer writer = { 0 };
	int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (peer == -1)
		return;
	if (!is_of_our_user(peer)) {
		close(peer);
		return;
	}
	event_del(&inspect->acceptable);
	close(inspect->fd);
	inspect->fd = -1;
	envelope_put_u32(&writer, (uint32_t)t->start->supervisor);
	envelope_put_u64(&writer, inspect->connection);
	envelope_put_u32(&writer, inspect->channel);
	inspect->mailbox = mailbox_new(peer, on_answer, inspect);
	mailbox_send(inspect->mailbox, ENVELOPE_INSPECT, &writer);
	mailbox_attach(inspect->mailbox, t->base);
}

static void
on_no_answer(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	answer_silence(arg, 504, "the channel's transport does not answer");
}

void
inspect_ask(struct transport *t, uint64_t connection, uint32_t channel)
{
	struct transport_request request = {
		.kind = REQUEST_INSPECT,
		.connection = connection,
	};
	struct inspect *inspect = xcalloc(1, sizeof *inspect);

	assert(t->inspect == NULL);
	t->inspect = inspect;
	inspect->transport = t;
	inspect->connection = connection;
	inspect->channel = channel;
	event_assign(&inspect->timer, t->base, -1, 0, on_no_answer, inspect);
	inspect->fd = listen_somewhere(&request.number);
	if (inspect->fd == -1) {
		log_warn("a socket for an inspection");
		answer_error(inspect, 503, "no socket for the answer");
		return;
	}
	event_assign(&inspect->acceptable, t->base, inspect->fd,
	    EV_READ | EV_PERSIST, on_connected, inspect);
	event_add(&inspect->acceptable, NULL);
	set_timer(&inspect->timer, INSPECT_TRANSPORT_LIMIT);
	if (!admin_send_request(&request))
		answer_error(inspect, 503, ADMIN_BUSY);
}

/* ---- who is asked: the answer ---- */

static void
inspection_free(struct inspection *inspection)
{
	LIST_REMOVE(inspection, entry);
	event_del(&inspection->timer);
	mailbox_free(inspection->mailbox);
	free(inspection);
}

static void
append_member(struct json_buffer *out, const char *name, long long value)
{
	char text[32];

	json_append_text(out, ",\"");
	json_append_text(out, name);
	snprintf(text, sizeof text, "\":%lld", value);
	json_append_text(out, text);
}

static const char *
state_name(const struct topic *topic)
{
	switch (topic->state) {
	case TOPIC_JOINING:
		return "joining";
	case TOPIC_JOINED:
		return topic->leaving ? "leaving" : "joined";
	case TOPIC_REJOINING:
		return "rejoining";
	case TOPIC_ENDED:
		break;
	}
	return "ended";
}

/* What the transport knows; the object stays open. */
static void
append_topic(struct json_buffer *out, const struct topic *topic)
{
	const struct transport *t = topic->transport;
	char id[64];

	snprintf(id, sizeof id, "{\"id\":\"channel/%" PRIu64 "/%u\"",
	    t->start->connection, topic->number);
	json_append_text(out, id);
	json_append_text(out, ",\"topic\":");
	json_append_string(out, topic->name.data, topic->name.size);
	if (topic->child != NULL)
		append_member(out, "pid", child_pid(topic->child));
	append_member(out, "restarts", topic->restarts);
	append_string(out, "state", state_name(topic));
	append_string(out, "running", topic->waking);
	append_string(out, "in_hand",
	    topic->in_hand == NULL ? NULL : topic->in_hand->event);
	append_member(out, "waiting_messages", topic->queue_messages);
	append_member(out, "waiting_bytes", (long long)topic->queue_bytes);
	append_member(out, "kept", topic->nkept);
	append_member(out, "subscriptions", topic->nextras);
	json_append_text(out, ",\"paused\":");
	json_append_text(out,
	    transport_is_full(t) || topic_holds_too_much(topic) ? "true"
								: "false");
}

/* The asker reads it and closes; if not, the timer does. */
static void
send_answer(struct inspection *inspection, uint32_t status,
    const struct json_buffer *body)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, status);
	envelope_put_data(&writer, body->data, body->size);
	mailbox_send(inspection->mailbox, ENVELOPE_INSPECTED, &writer);
	inspection->topic = NULL;
	set_timer(&inspection->timer, INSPECT_CHANNEL_LIMIT);
}

static void
send_gone(struct inspection *inspection)
{
	struct json_buffer body = { 0 };

	admin_append_error(&body, "no such worker");
	send_answer(inspection, 404, &body);
	json_buffer_free(&body);
}

/* An error, and what is known nevertheless. */
static void
send_error(struct inspection *inspection, uint32_t status, const char *what)
{
	struct json_buffer body = { 0 };

	append_topic(&body, inspection->topic);
	append_string(&body, "error", what);
	json_append_text(&body, "}");
	send_answer(inspection, status, &body);
	json_buffer_free(&body);
}

static const char *
why_silent(const struct topic *topic)
{
	if (topic->state == TOPIC_JOINING || topic->state == TOPIC_REJOINING)
		return "the channel is busy: its join runs";
	if (transport_is_full(topic->transport) || topic_holds_too_much(topic))
		return "the channel is not read: its client or pubsub is slow";
	return "the channel is busy";
}

static void
on_limit(int fd, short what, void *arg)
{
	struct inspection *inspection = arg;

	(void)fd;
	(void)what;
	if (inspection->topic == NULL)
		inspection_free(inspection);
	else
		send_error(inspection, 504, why_silent(inspection->topic));
}

/* ---- who is asked: the channel ---- */

/* One question at a time; its answer is for all who ask meanwhile. */
static void
ask_channel(struct topic *topic)
{
	if (topic->dumping || topic->mailbox == NULL || topic->dead)
		return;
	topic->dumping = true;
	mailbox_send(topic->mailbox, ENVELOPE_DUMP, NULL);
}

/* Also one that is on its way out. */
static struct topic *
find_channel(struct transport *t, unsigned number)
{
	struct topic *topic;

	LIST_FOREACH (topic, &t->all_topics, of_all)
		if (topic->number == number && topic->child != NULL)
			return topic;
	return NULL;
}

static void
on_question(struct inspection *inspection, struct envelope *envelope)
{
	struct transport *t = inspection->transport;
	uint32_t supervisor = envelope_get_u32(envelope);
	uint64_t connection = envelope_get_u64(envelope);
	uint32_t channel = envelope_get_u32(envelope);

	/* Another server of this user may have got that number meanwhile. */
	if (!envelope_end(envelope) || inspection->topic != NULL ||
	    supervisor != (uint32_t)t->start->supervisor ||
	    connection != t->start->connection) {
		inspection_free(inspection);
		return;
	}
	inspection->topic = find_channel(t, channel);
	if (inspection->topic == NULL)
		send_gone(inspection);
	else
		ask_channel(inspection->topic);
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct inspection *inspection = arg;

	(void)mailbox;
	if (envelope == NULL || envelope->type != ENVELOPE_INSPECT)
		inspection_free(inspection);
	else
		on_question(inspection, envelope);
}

void
inspect_signalled(struct transport *t, uint32_t socket)
{
	struct inspection *inspection;
	unsigned n = 0;
	int fd;

	LIST_FOREACH (inspection, &t->inspections, entry)
		n++;
	if (n >= INSPECTIONS_MAX)
		return;
	fd = connect_to(socket);
	if (fd == -1)
		return; /* who asked is gone */
	inspection = xcalloc(1, sizeof *inspection);
	inspection->transport = t;
	inspection->mailbox = mailbox_new(fd, on_envelope, inspection);
	event_assign(&inspection->timer, t->base, -1, 0, on_limit, inspection);
	set_timer(&inspection->timer, INSPECT_CHANNEL_LIMIT);
	LIST_INSERT_HEAD(&t->inspections, inspection, entry);
	mailbox_attach(inspection->mailbox, t->base);
}

/* What the channel knows; closes the object. False: nonsense. */
static bool
append_dump(struct json_buffer *out, struct envelope *envelope)
{
	uint32_t timers = envelope_get_u32(envelope);
	uint32_t next = envelope_get_u32(envelope);
	uint32_t tasks = envelope_get_u32(envelope);
	uint32_t unacknowledged = envelope_get_u32(envelope);
	size_t size;
	const char *dump = envelope_get_data(envelope, &size);

	if (!envelope_end(envelope) || size > CHANNEL_DUMP_MAX ||
	    json_scan_text(dump, size).kind == JSON_BAD)
		return false;
	append_member(out, "timers", timers);
	if (timers > 0)
		append_member(out, "next_timer_ms", next);
	append_member(out, "tasks", tasks);
	append_member(out, "unacknowledged", unacknowledged);
	json_append_text(out, ",\"dump\":");
	json_append(out, dump, size);
	json_append_text(out, "}");
	return true;
}

bool
inspect_dumped(struct topic *topic, struct envelope *envelope)
{
	struct inspection *inspection;
	struct json_buffer body = { 0 };
	char *waking = topic->waking;
	bool good = topic->dumping;

	/* It is the dump itself that runs. */
	topic->waking = NULL;
	append_topic(&body, topic);
	topic->waking = waking;
	good = append_dump(&body, envelope) && good;
	topic->dumping = false;
	if (good)
		LIST_FOREACH (inspection, &topic->transport->inspections, entry)
			if (inspection->topic == topic)
				send_answer(inspection, 200, &body);
	json_buffer_free(&body);
	return good;
}

void
inspect_crashed(struct topic *topic)
{
	struct inspection *inspection;

	topic->dumping = false;
	LIST_FOREACH (inspection, &topic->transport->inspections, entry)
		if (inspection->topic == topic)
			send_error(inspection, 503,
			    "the channel crashed; it is started again");
}

void
inspect_gone(struct topic *topic)
{
	struct inspection *inspection;

	LIST_FOREACH (inspection, &topic->transport->inspections, entry)
		if (inspection->topic == topic)
			send_gone(inspection);
}
