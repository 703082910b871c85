/*
 * request.c - see request.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "transport/admin.h"
#include "transport/endpoint.h"
#include "transport/frame.h"
#include "transport/handshake.h"
#include "transport/query.h"
#include "transport/request.h"
#include "transport/static.h"
#include "transport/transport.h"

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
request_refuse(struct transport *t, int status)
{
	const char *reason = http_reason(status);
	struct json_buffer buffer = { 0 };

	log_debug("refused: %d %s", status, reason);
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
		request_refuse(t, 408);
	else
		transport_finish(t);
}

/* ---- WebSocket ---- */

/* <mount>/websocket, a slash at the end tolerated. */
static const struct config_socket *
find_socket(const struct config *config, const char *path)
{
	static const char tail[] = "/websocket";

	for (size_t i = 0; i < config->nsockets; i++) {
		const struct config_socket *socket = &config->sockets[i];
		size_t n = strlen(socket->path);

		if (!socket->websocket || strncmp(path, socket->path, n) != 0 ||
		    strncmp(path + n, tail, strlen(tail)) != 0)
			continue;
		path += n + strlen(tail);
		if (strcmp(path, "") == 0 || strcmp(path, "/") == 0)
			return socket;
		return NULL;
	}
	return NULL;
}

/* "2.0.7": "~> 2.0.0" takes any patch version of it. */
static bool
vsn_is(const char *vsn, const char *minor)
{
	size_t n = strlen(minor), digits;

	if (strncmp(vsn, minor, n) != 0)
		return false;
	digits = strspn(vsn + n, "0123456789");
	return digits > 0 && vsn[n + digits] == '\0' &&
	    (digits == 1 || vsn[n] != '0');
}

/* The serializer that the client asks for; 0: none that is served. */
static enum frame_version
asked_version(const char *query)
{
	enum frame_version version = 0;
	char *vsn;

	errno = 0;
	vsn = query_get(query, "vsn");
	if (vsn == NULL && errno == ENOENT)
		return FRAME_V1; /* absent means 1.0.0 */
	if (vsn != NULL && vsn_is(vsn, "1.0."))
		version = FRAME_V1;
	else if (vsn != NULL && vsn_is(vsn, "2.0."))
		version = FRAME_V2;
	free(vsn);
	return version;
}

/* The order of the checks is Phoenix's (PROTOCOL.md 1.1). */
static void
upgrade(struct transport *t, const struct http_request *req,
    const struct config_socket *socket)
{
	struct json_buffer buffer = { 0 };
	const char *wrong;

	if (strcmp(req->method, "GET") != 0) {
		respond(t, req, 400, NULL, "");
		return;
	}
	if (!handshake_origin_allowed(
		req, socket->check_origin, socket->norigins) ||
	    asked_version(req->query) == 0) {
		respond(t, req, 403, NULL, "");
		return;
	}
	wrong = handshake_check(req);
	if (wrong != NULL) {
		respond(t, req, 400, "text/plain; charset=utf-8", wrong);
		return;
	}
	frame_speak(asked_version(req->query));
	handshake_append_accept(&buffer, req, NULL);
	send_buffer(t, &buffer);
	transport_upgrade(t, socket);
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

/* ---- routes ---- */

static void
on_request(
    struct http_connection *http, const struct http_request *req, void *arg)
{
	struct transport *t = arg;
	const struct config_socket *socket = find_socket(t->config, req->path);

	(void)http;
	t->keep_alive = req->keep_alive;
	if (socket != NULL) {
		upgrade(t, req, socket);
		if (t->mode == MODE_WEBSOCKET)
			return;
	} else if (t->start->kill_token != NULL && admin_is_route(req->path)) {
		struct json_buffer buffer = { 0 };

		admin_respond(t, req, &buffer);
		send_buffer(t, &buffer);
	} else if (endpoint_request(t, req)) {
		; /* answered, or in good hands */
	} else if (t->config->static_directory != NULL) {
		send_static(t, req);
	} else {
		respond(t, req, 404, "text/plain; charset=utf-8", "Not Found");
	}
	/* The next request is read when this answer has left. */
	transport_pause(t, PAUSE_RESPONSE);
}
