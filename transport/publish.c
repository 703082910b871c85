/*
 * publish.c - see publish.h.
 */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bennu/channel.h>

#include "common/log.h"
#include "common/secrets.h"
#include "common/xmalloc.h"
#include "transport/admin.h"
#include "transport/publish.h"
#include "transport/topic.h"
#include "transport/transport.h"

#define ACCEPT_LIMIT 5 /* s until pubsub has accepted */

struct publishing {
	struct transport *transport;
	struct event timer;
};

/* ---- answers ---- */

static void
answer(struct transport *t, bool head, int status, const char *lines,
    const char *body)
{
	struct json_buffer response = { 0 };

	http_append_response(&response, status, t->keep_alive, head, ADMIN_JSON,
	    lines, body, strlen(body));
	outbox_add(&t->outbox, response.data, response.size);
	json_buffer_free(&response);
}

static void
refuse(struct transport *t, const struct http_request *req, int status,
    const char *lines, const char *what)
{
	struct json_buffer body = { 0 };

	log_debug("broadcast refused: %d, %s", status, what);
	admin_append_error(&body, what);
	answer(t, req->head, status, lines, body.data);
	json_buffer_free(&body);
}

/* ---- the body ---- */

/* What a request wants to be broadcast; spans of its body. */
struct wanted {
	struct json_span topic, event, payload;
};

static struct json_span *
field_of(struct wanted *wanted, struct json_span name)
{
	const struct {
		const char *name;
		struct json_span *span;
	} fields[] = {
		{ "\"topic\"", &wanted->topic },
		{ "\"event\"", &wanted->event },
		{ "\"payload\"", &wanted->payload },
	};

	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		if (name.size == strlen(fields[i].name) &&
		    memcmp(name.data, fields[i].name, name.size) == 0)
			return fields[i].span;
	return NULL;
}

/* The members of an object that is known to be JSON. What is wrong; or NULL. */
static const char *
scan_members(struct wanted *wanted, struct json_span object)
{
	const char *at = object.data, *end = at + object.size;

	for (;;) {
		struct json_span name, *span;

		at++; /* { or , */
		json_skip_space(&at, end);
		if (*at == '}')
			return NULL;
		name = json_scan_value(&at, end);
		json_skip_space(&at, end);
		at++; /* : */
		span = field_of(wanted, name);
		if (span == NULL || span->data != NULL)
			return "the body has topic, event and payload, once "
			       "each, and nothing else";
		*span = json_scan_value(&at, end);
		json_skip_space(&at, end);
		if (*at == '}')
			return NULL;
	}
}

static bool
is_name(struct json_span span)
{
	return span.kind == JSON_STRING && span.size > strlen("\"\"");
}

/* What is wrong with it, or NULL. */
static const char *
scan_body(struct wanted *wanted, struct json_span body)
{
	const char *why = NULL;

	if (body.kind != JSON_OBJECT)
		return "the body must be an object";
	why = scan_members(wanted, body);
	if (why != NULL)
		return why;
	if (!is_name(wanted->topic))
		return "topic must be a string that is not empty";
	if (!is_name(wanted->event))
		return "event must be a string that is not empty";
	if (wanted->payload.data == NULL)
		return "the payload is missing";
	return NULL;
}

/* ---- waiting for pubsub ---- */

void
publish_cancel(struct transport *t)
{
	struct publishing *publishing = t->publishing;

	if (publishing == NULL)
		return;
	t->publishing = NULL;
	event_del(&publishing->timer);
	free(publishing);
}

void
publish_accepted(struct transport *t)
{
	if (t->publishing == NULL)
		return;
	publish_cancel(t);
	answer(t, false, 200, NULL, "{\"accepted\":true}");
}

static void
on_late(int fd, short what, void *arg)
{
	struct publishing *publishing = arg;
	struct transport *t = publishing->transport;

	(void)fd;
	(void)what;
	publish_cancel(t);
	log_warnx("pubsub has not accepted a broadcast in %d s", ACCEPT_LIMIT);
	answer(t, false, 504, NULL,
	    "{\"error\":\"it has not been accepted yet, and may still be\"}");
}

static void
wait_for_acceptance(struct transport *t)
{
	static const struct timeval limit = { .tv_sec = ACCEPT_LIMIT };

	t->publishing = xcalloc(1, sizeof *t->publishing);
	t->publishing->transport = t;
	event_assign(
	    &t->publishing->timer, t->base, -1, 0, on_late, t->publishing);
	event_add(&t->publishing->timer, &limit);
}

/* ---- the request ---- */

static void
publish(struct transport *t, const struct http_request *req,
    const struct wanted *wanted)
{
	struct broadcast broadcast = { .kind = BENNU_JSON };
	struct json_buffer payload = { 0 };

	broadcast.topic.data = json_decode_string(
	    wanted->topic, &broadcast.topic.size);
	broadcast.event.data = json_decode_string(
	    wanted->event, &broadcast.event.size);
	json_append_span(&payload, wanted->payload);
	broadcast.payload.data = payload.data;
	broadcast.payload.size = payload.size;
	if (topic_broadcast_fits(t, &broadcast)) {
		pubsub_publish(t->pubsub, &broadcast, 0);
		wait_for_acceptance(t);
	} else
		refuse(t, req, 413, NULL,
		    "a broadcast may be a quarter of journal_size");
	free(broadcast.topic.data);
	free(broadcast.event.data);
	json_buffer_free(&payload);
}

static void
publish_body(struct transport *t, const struct http_request *req)
{
	struct wanted wanted = { 0 };
	struct json_span body = json_scan_text(req->body, req->body_size);
	const char *why;

	if (body.kind == JSON_BAD) {
		refuse(t, req, 400, NULL, "the body is no JSON");
		return;
	}
	why = scan_body(&wanted, body);
	if (why == NULL)
		publish(t, req, &wanted);
	else
		refuse(t, req, 422, NULL, why);
}

/* The token that it shows, or NULL. */
static const char *
bearer_of(const struct http_request *req)
{
	static const char scheme[] = "Bearer ";
	const char *value = http_header(req, "Authorization");

	if (value == NULL || strncasecmp(value, scheme, sizeof scheme - 1) != 0)
		return NULL;
	value += sizeof scheme - 1;
	return value + strspn(value, " ");
}

bool
publish_is_route(const struct transport *t, const char *path)
{
	return t->start->secrets != NULL &&
	    t->start->secrets->broadcast_token[0] != '\0' &&
	    strcmp(path, PUBLISH_PATH) == 0;
}

void
publish_respond(struct transport *t, const struct http_request *req)
{
	const char *token = bearer_of(req);

	if (strcmp(req->method, "POST") != 0)
		refuse(t, req, 405, "Allow: POST\r\n", "this is a POST");
	else if (token == NULL)
		refuse(t, req, 401, "WWW-Authenticate: Bearer\r\n",
		    "it needs the header Authorization: Bearer <token>");
	else if (!secret_is(token, t->start->secrets->broadcast_token))
		refuse(t, req, 403, NULL, "this is not the token");
	else if (!admin_type_is_json(req))
		refuse(t, req, 415, NULL,
		    "the Content-Type must be application/json");
	else
		publish_body(t, req);
}
