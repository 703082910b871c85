/*
 * socket.c - what an author may do with its socket: the calls of
 * bennu/channel.h. Each becomes an envelope to the transport; they leave
 * together when the callback returns.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/socket.h"
#include "common/exit.h"
#include "common/json.h"
#include "common/log.h"
#include "common/xmalloc.h"

struct bennu_socket_ref {
	struct bennu_socket *socket;
	uint32_t handle;
};

void
socket_mistake(const struct bennu_socket *socket, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fatalx("%s: %s", socket->start->config->module, text);
}

void
socket_clear_scratch(struct bennu_socket *socket)
{
	struct scratch *scratch;

	while ((scratch = socket->scratch) != NULL) {
		socket->scratch = scratch->next;
		cJSON_Delete(scratch->tree);
		free(scratch->memory);
		free(scratch);
	}
}

static struct scratch *
add_scratch(struct bennu_socket *socket)
{
	struct scratch *scratch = xcalloc(1, sizeof *scratch);

	scratch->next = socket->scratch;
	socket->scratch = scratch;
	return scratch;
}

char *
socket_keep(struct bennu_socket *socket, char *text)
{
	add_scratch(socket)->memory = text;
	return text;
}

/*
 * The transport always takes what a channel sends, unless its client is slow:
 * then waiting here is what the author should do.
 */
void
socket_flush(struct bennu_socket *socket)
{
	struct pollfd pollfd = {
		.fd = mailbox_fd(socket->mailbox),
		.events = POLLOUT,
	};

	for (;;) {
		if (!mailbox_flush(socket->mailbox)) {
			/* The author's last words are not for us only. */
			if (socket->phase == PHASE_TERMINATE)
				return;
			_exit(EXIT_SHUTDOWN);
		}
		if (mailbox_backlog(socket->mailbox) == 0)
			return;
		if (poll(&pollfd, 1, -1) == -1 && errno != EINTR)
			fatal("poll");
	}
}

void
socket_send(struct bennu_socket *socket, enum envelope_type type,
    struct envelope_writer *writer)
{
	if (socket->phase == PHASE_DUMP)
		socket_mistake(socket, "%s inside dump, which may only look",
		    envelope_name(type));
	mailbox_send(socket->mailbox, type, writer);
	if (mailbox_backlog(socket->mailbox) > SOCKET_BACKLOG_MAX)
		socket_flush(socket);
}

/* ---- who and where ---- */

const char *
bennu_topic(const struct bennu_socket *socket)
{
	return socket->start->topic->data;
}

const char *
bennu_join_ref(const struct bennu_socket *socket)
{
	return socket->start->join_ref;
}

unsigned
bennu_restarts(const struct bennu_socket *socket)
{
	return socket->start->restarts;
}

const char *
bennu_option(const struct bennu_socket *socket, const char *key)
{
	return config_channel_option(socket->start->config, key);
}

void *
bennu_assigns(const struct bennu_socket *socket)
{
	return socket->assigns;
}

void
bennu_assign(struct bennu_socket *socket, void *assigns)
{
	socket->assigns = assigns;
}

/* ---- payloads ---- */

const cJSON *
bennu_json(struct bennu_socket *socket, const struct bennu_payload *payload)
{
	struct scratch *scratch;

	if (payload->kind != BENNU_JSON)
		return NULL;
	for (scratch = socket->scratch; scratch != NULL;
	     scratch = scratch->next)
		if (scratch->text == payload->data && scratch->text != NULL)
			return scratch->tree;
	scratch = add_scratch(socket);
	scratch->text = payload->data;
	scratch->tree = cJSON_ParseWithLength(payload->data, payload->size);
	return scratch->tree;
}

struct bennu_payload
bennu_empty(void)
{
	return bennu_text("{}");
}

struct bennu_payload
bennu_text(const char *text)
{
	return (struct bennu_payload){
		.kind = BENNU_JSON,
		.data = text,
		.size = strlen(text),
	};
}

struct bennu_payload
bennu_bytes(const void *data, size_t size)
{
	return (struct bennu_payload){
		.kind = BENNU_BINARY,
		.data = data,
		.size = size,
	};
}

struct bennu_payload
bennu_format(struct bennu_socket *socket, const char *fmt, ...)
{
	struct scratch *scratch = add_scratch(socket);
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) == -1)
		fatal("vasprintf");
	va_end(ap);
	scratch->memory = text;
	return bennu_text(text);
}

struct bennu_payload
bennu_take(struct bennu_socket *socket, cJSON *tree)
{
	char *text = cJSON_PrintUnformatted(tree);

	if (text == NULL)
		socket_mistake(socket, "bennu_take: no such tree");
	cJSON_Delete(tree);
	add_scratch(socket)->memory = text;
	return bennu_text(text);
}

void
socket_put_payload(struct bennu_socket *socket, struct envelope_writer *writer,
    struct bennu_payload payload)
{
	struct json_buffer compact = { 0 };
	struct json_span span;

	envelope_put_u32(writer, payload.kind);
	/* What came from the client was checked when it came. */
	if (payload.kind == BENNU_BINARY ||
	    (socket->in_hand != NULL &&
		payload.data == socket->in_hand->payload.data &&
		payload.size == socket->in_hand->payload.size)) {
		envelope_put_data(writer, payload.data, payload.size);
		return;
	}
	span = json_scan_text(payload.data, payload.size);
	if (span.kind == JSON_BAD)
		socket_mistake(
		    socket, "a payload is no JSON: %.200s", payload.data);
	json_append_span(&compact, span);
	envelope_put_data(writer, compact.data, compact.size);
	json_buffer_free(&compact);
}

/* ---- to this client ---- */

void
socket_not_in_join(const struct bennu_socket *socket, const char *call)
{
	if (socket->phase == PHASE_JOIN)
		socket_mistake(socket,
		    "%s inside join: the client has not "
		    "joined yet; use bennu_send_after(socket, 0, ...)",
		    call);
}

void
bennu_push(struct bennu_socket *socket, const char *event,
    struct bennu_payload payload)
{
	struct envelope_writer writer = { 0 };

	socket_not_in_join(socket, "bennu_push");
	envelope_put_string(&writer, event);
	socket_put_payload(socket, &writer, payload);
	socket_send(socket, ENVELOPE_PUSH, &writer);
}

static void
send_reply(struct bennu_socket *socket, uint32_t handle, const char *status,
    struct bennu_payload payload)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, handle);
	envelope_put_string(&writer, status);
	socket_put_payload(socket, &writer, payload);
	socket_send(socket, ENVELOPE_REPLY, &writer);
}

/* A join's answer leaves with its result. */
static void
keep_join_reply(struct bennu_socket *socket, const char *status,
    struct bennu_payload payload)
{
	struct scratch *scratch = add_scratch(socket);

	scratch->memory = xmemdup(payload.data, payload.size);
	payload.data = scratch->memory;
	socket->reply = payload;
	socket->reply_status = xstrdup(status);
}

void
bennu_reply(struct bennu_socket *socket, const char *status,
    struct bennu_payload payload)
{
	if (socket->in_hand == NULL)
		socket_mistake(socket,
		    "bennu_reply without a message in hand; use bennu_keep");
	if (socket->replied)
		socket_mistake(socket, "bennu_reply: %s has its answer",
		    socket->in_hand->event);
	socket->replied = true;
	if (socket->phase == PHASE_JOIN)
		keep_join_reply(socket, status, payload);
	else
		send_reply(socket, 0, status, payload);
}

struct bennu_socket_ref *
bennu_keep(struct bennu_socket *socket)
{
	struct bennu_socket_ref *ref;
	struct envelope_writer writer = { 0 };

	if (socket->phase != PHASE_IN)
		socket_mistake(socket, "bennu_keep outside handle_in");
	ref = xcalloc(1, sizeof *ref);
	ref->socket = socket;
	ref->handle = ++socket->handles;
	envelope_put_u32(&writer, ref->handle);
	socket_send(socket, ENVELOPE_KEEP, &writer);
	return ref;
}

void
bennu_reply_to(struct bennu_socket_ref *ref, const char *status,
    struct bennu_payload payload)
{
	send_reply(ref->socket, ref->handle, status, payload);
}

void
bennu_ref_free(struct bennu_socket_ref *ref)
{
	struct envelope_writer writer = { 0 };

	if (ref == NULL)
		return;
	envelope_put_u32(&writer, ref->handle);
	socket_send(ref->socket, ENVELOPE_FORGET, &writer);
	free(ref);
}

void
bennu_close(struct bennu_socket *socket)
{
	socket_send(socket, ENVELOPE_CLOSE, NULL);
}

/* ---- to everyone ---- */

static void
broadcast(struct bennu_socket *socket, uint32_t flags, const char *topic,
    size_t topic_size, const char *event, struct bennu_payload payload)
{
	struct envelope_writer writer = { 0 };

	socket_not_in_join(socket, "a broadcast");
	envelope_put_u32(&writer, flags);
	envelope_put_data(&writer, topic, topic_size);
	envelope_put_string(&writer, event);
	socket_put_payload(socket, &writer, payload);
	socket_send(socket, ENVELOPE_BROADCAST, &writer);
}

void
bennu_broadcast(struct bennu_socket *socket, const char *event,
    struct bennu_payload payload)
{
	const struct text *topic = socket->start->topic;

	broadcast(socket, 0, topic->data, topic->size, event, payload);
}

void
bennu_broadcast_from(struct bennu_socket *socket, const char *event,
    struct bennu_payload payload)
{
	const struct text *topic = socket->start->topic;

	broadcast(
	    socket, BROADCAST_FROM, topic->data, topic->size, event, payload);
}

void
bennu_broadcast_to(struct bennu_socket *socket, const char *topic,
    const char *event, struct bennu_payload payload)
{
	broadcast(socket, 0, topic, strlen(topic), event, payload);
}

void
bennu_broadcast_local(struct bennu_socket *socket, const char *topic,
    const char *event, struct bennu_payload payload)
{
	broadcast(
	    socket, BROADCAST_LOCAL, topic, strlen(topic), event, payload);
}

int
bennu_broadcast_direct(struct bennu_socket *socket, const char *node,
    const char *topic, const char *event, struct bennu_payload payload)
{
	if (strcmp(node, bennu_node()) != 0) {
		errno = EHOSTUNREACH;
		return -1;
	}
	bennu_broadcast_local(socket, topic, event, payload);
	return 0;
}

static void
send_topic(
    struct bennu_socket *socket, enum envelope_type type, const char *topic)
{
	struct envelope_writer writer = { 0 };

	envelope_put_string(&writer, topic);
	socket_send(socket, type, &writer);
}

void
bennu_subscribe(struct bennu_socket *socket, const char *topic)
{
	send_topic(socket, ENVELOPE_SUBSCRIBE, topic);
}

void
bennu_unsubscribe(struct bennu_socket *socket, const char *topic)
{
	send_topic(socket, ENVELOPE_UNSUBSCRIBE, topic);
}

/* ---- time ---- */

unsigned
bennu_send_after(struct bennu_socket *socket, unsigned milliseconds,
    const char *event, void *data)
{
	return timers_add(
	    &socket->timers, monotonic_ms() + milliseconds, event, data);
}

long
bennu_timer_left(const struct bennu_socket *socket, unsigned timer)
{
	long long due = timers_due(&socket->timers, timer), left;

	if (due == -1)
		return -1;
	left = due - monotonic_ms();
	return left < 0 ? 0 : (long)left;
}

long
bennu_cancel_timer(struct bennu_socket *socket, unsigned timer)
{
	long left = bennu_timer_left(socket, timer);

	timers_cancel(&socket->timers, timer);
	return left;
}

/* ---- the end ---- */

void
bennu_stop(
    struct bennu_socket *socket, enum bennu_reason reason, const char *detail)
{
	if (reason != BENNU_NORMAL && reason != BENNU_SHUTDOWN &&
	    reason != BENNU_ERROR)
		socket_mistake(socket,
		    "bennu_stop: reason %d is not the "
		    "channel's to give",
		    (int)reason);
	socket->stop = reason;
	free(socket->stop_detail);
	socket->stop_detail = xstrdup(detail == NULL ? "" : detail);
}

void
bennu_log(const struct bennu_socket *socket, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	(void)socket;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_info("%s", text);
}

/* ---- metrics ---- */

void
bennu_count(struct bennu_socket *socket, const char *name, uint64_t n)
{
	const char *why = tally_count(&socket->tally, name, n);

	if (why != NULL)
		socket_mistake(socket, "bennu_count: %.100s: %s", name, why);
}

void
bennu_observe(struct bennu_socket *socket, const char *name, double value)
{
	const char *why = tally_observe(&socket->tally, name, value);

	if (why != NULL)
		socket_mistake(socket, "bennu_observe: %.100s: %s", name, why);
}
