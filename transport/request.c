/*
 * request.c - see request.h.
 */
#include <string.h>

#include "common/log.h"
#include "common/ready.h"
#include "transport/admin.h"
#include "transport/endpoint.h"
#include "transport/longpoll.h"
#include "transport/publish.h"
#include "transport/request.h"
#include "transport/static.h"
#include "transport/transport.h"
#include "transport/upgrade.h"

#define READY "/ready" /* its path */

static void on_request(
    struct http_connection *, const struct http_request *, void *);

void
request_begin(struct transport *t)
{
	struct http_limits limits = {
		.head_max = t->config->head_max,
		.headers_max = t->config->headers_max,
		.body_max = t->config->body_max,
	};

	t->http = http_new(&limits, on_request, t);
	http_set_body_limit(t->http, longpoll_limit_body);
}

/* An answer without a file, from one buffer to the other. */
static void
send_buffer(struct transport *t, struct json_buffer *buffer)
{
	outbox_add(&t->outbox, buffer->data, buffer->size);
	json_buffer_free(buffer);
}

static void
respond(struct transport *t, const struct http_request *req, int status,
    const char *type, const char *body)
{
	struct json_buffer buffer = { 0 };

	http_append_response(&buffer, status, t->keep_alive, req->head, type,
	    NULL, body, strlen(body));
	send_buffer(t, &buffer);
}

void
request_refuse(struct transport *t, int status, const char *limit)
{
	const char *reason = http_reason(status);
	struct json_buffer buffer = { 0 };

	if (limit == NULL)
		log_debug("refused: %d %s", status, reason);
	else
		log_warnx("refused: %d %s (%s)", status, reason, limit);
	http_append_response(&buffer, status, false, false,
	    "text/plain; charset=utf-8", NULL, reason, strlen(reason));
	send_buffer(t, &buffer);
	transport_finish(t);
}

void
request_sent(struct transport *t)
{
	if (!t->keep_alive) {
		transport_finish(t);
		return;
	}
	http_next(t->http);
	transport_resume(t, PAUSE_RESPONSE);
}

void
request_timeout(struct transport *t)
{
	if (http_in_request(t->http))
		request_refuse(t, 408, "head_timeout");
	else
		transport_finish(t);
}

/* ---- files ---- */

static void
send_static(struct transport *t, const struct http_request *req)
{
	struct static_file file = { .fd = -1 };
	struct json_buffer buffer = { 0 };

	static_respond(TRANSPORT_FD_STATIC, req, &buffer, &file);
	send_buffer(t, &buffer);
	if (file.fd != -1)
		outbox_add_file(&t->outbox, file.fd, file.size);
}

/* ---- readiness ---- */

static void
respond_ready(struct transport *t, const struct http_request *req)
{
	static const char *const words[] = {
		[READY_STARTING] = "starting",
		[READY_YES] = "ready",
		[READY_STOPPING] = "stopping",
	};
	enum ready_state state = ready_get(t->start->ready);
	int status = state == READY_YES ? 200 : 503;
	const char *word = words[state], *line = "Cache-Control: no-store\r\n";
	struct json_buffer buffer = { 0 };

	if (strcmp(req->method, "GET") != 0 && !req->head) {
		status = 405;
		word = "this is a GET";
		line = "Allow: GET, HEAD\r\n";
	}
	http_append_response(&buffer, status, t->keep_alive, req->head,
	    "text/plain; charset=utf-8", line, word, strlen(word));
	send_buffer(t, &buffer);
}

/* ---- routes ---- */

static void
on_request(
    struct http_connection *http, const struct http_request *whole, void *arg)
{
	struct transport *t = arg;
	struct http_request request = *whole;
	const struct http_request *req = &request;
	const struct config_socket *socket = upgrade_find(t->config, req->path);
	const struct config_socket *polled = longpoll_find(
	    t->config, req->path);

	(void)http;
	/* The token that it shows lies in our memory now: nothing is forked
	 * behind it. */
	if (http_header(req, "X-Bennu-Token") != NULL ||
	    publish_is_route(t, req->path) || t->drain_by != 0)
		request.keep_alive = false;
	t->keep_alive = req->keep_alive;
	if (socket != NULL && t->drain_by != 0) {
		request_refuse(t, 503, NULL); /* it would be closed at once */
		return;
	}
	if (socket != NULL) {
		upgrade_request(t, req, socket);
		if (t->mode == MODE_WEBSOCKET || t->connect != NULL)
			return;
	} else if (polled != NULL) {
		longpoll_request(t, req, polled);
	} else if (publish_is_route(t, req->path)) {
		publish_respond(t, req);
	} else if (admin_is_route(t, req->path)) {
		struct json_buffer buffer = { 0 };

		admin_respond(t, req, &buffer);
		send_buffer(t, &buffer);
	} else if (endpoint_request(t, req)) {
		; /* answered, or in good hands */
	} else if (t->start->ready != NULL && strcmp(req->path, READY) == 0) {
		respond_ready(t, req);
	} else if (t->config->static_directory != NULL) {
		send_static(t, req);
	} else {
		respond(t, req, 404, "text/plain; charset=utf-8", "Not Found");
	}
	/* The next request is read when this answer has left. */
	transport_pause(t, PAUSE_RESPONSE);
}
