/*
 * admin.c - see admin.h.
 */
#include <sys/socket.h>

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "common/secrets.h"
#include "transport/admin.h"
#include "transport/inspect.h"
#include "transport/metrics.h"
#include "transport/transport.h"
#include "transport/tree.h"

struct route {
	const char *path;
	const char *method;
	void (*respond)(struct transport *, const struct http_request *,
	    struct json_buffer *);
};

static const struct route *find_route(const char *path);

bool
admin_is_route(const struct transport *t, const char *path)
{
	return t->start->secrets != NULL &&
	    t->start->secrets->kill_token[0] != '\0' &&
	    find_route(path) != NULL;
}

static void
respond_json(const struct http_request *req, struct json_buffer *out,
    int status, const char *extra, const char *body)
{
	http_append_response(out, status, req->keep_alive, req->head,
	    ADMIN_JSON, extra, body, strlen(body));
}

void
admin_append_error(struct json_buffer *out, const char *what)
{
	json_append_text(out, "{\"error\":");
	json_append_string(out, what, strlen(what));
	json_append_text(out, "}");
}

static void
respond_error(const struct http_request *req, struct json_buffer *out,
    int status, const char *extra, const char *what)
{
	struct json_buffer body = { 0 };

	admin_append_error(&body, what);
	respond_json(req, out, status, extra, body.data);
	json_buffer_free(&body);
}

bool
admin_send_request(const struct transport_request *request)
{
	if (send(TRANSPORT_FD_REQUESTS, request, sizeof *request,
		MSG_DONTWAIT | MSG_NOSIGNAL) != -1)
		return true;
	log_warn("request to the supervisor");
	return false;
}

/* ---- guards ---- */

/*
 * A name that other people's DNS cannot point here: else their pages, in the
 * browser of somebody on this machine, could read what they were answered.
 */
static bool
host_is_local(const char *host)
{
	static const char *const names[] = { "localhost", "127.0.0.1",
		"[::1]" };

	for (size_t i = 0; host != NULL && i < sizeof names / sizeof names[0];
	     i++) {
		size_t n = strlen(names[i]);

		if (strncasecmp(host, names[i], n) == 0 &&
		    (host[n] == '\0' || host[n] == ':'))
			return true;
	}
	return false;
}

/* The page that sends it must be this server's own. */
static bool
origin_is_own(const struct http_request *req)
{
	const char *origin = http_header(req, "Origin");
	const char *host = http_header(req, "Host");

	if (origin == NULL)
		return true; /* no browser */
	return strncmp(origin, "http://", 7) == 0 &&
	    strcasecmp(origin + 7, host) == 0;
}

bool
admin_type_is_json(const struct http_request *req)
{
	const char *type = http_header(req, "Content-Type");
	size_t n = strlen("application/json");

	return type != NULL && strncasecmp(type, "application/json", n) == 0 &&
	    (type[n] == '\0' || type[n] == ';' || type[n] == ' ');
}

/* ---- kill, inspect ---- */

/* "service/notifications" */
static bool
parse_service(const struct config *config, const char *id,
    struct transport_request *request)
{
	static const char prefix[] = "service/";

	if (strncmp(id, prefix, strlen(prefix)) != 0)
		return false;
	request->kind = REQUEST_KILL_SERVICE;
	for (size_t i = 0; i < config->nservices; i++)
		if (strcmp(config->services[i].name, id + strlen(prefix)) == 0)
			request->number = (uint32_t)i + 1;
	return request->number != 0;
}

/* "presence", "fetch": there is one of each. */
static bool
parse_single(const char *id, struct transport_request *request)
{
	request->number = 1;
	if (strcmp(id, "presence") == 0)
		request->kind = REQUEST_KILL_PRESENCE;
	else if (strcmp(id, "fetch") == 0)
		request->kind = REQUEST_KILL_FETCH;
	else
		request->number = 0;
	return request->number != 0;
}

/* "channel/17/3", "endpoint/17", "transport/17", "pubsub/1", "connect/1". */
static bool
parse_id(const struct config *config, const char *id,
    struct transport_request *request)
{
	int end = -1;

	memset(request, 0, sizeof *request);
	if (sscanf(id, "channel/%" SCNu64 "/%" SCNu32 "%n",
		&request->connection, &request->number, &end) == 2 &&
	    id[end] == '\0') {
		request->kind = REQUEST_KILL_CHANNEL;
		return true;
	}
	end = -1;
	if (sscanf(id, "endpoint/%" SCNu64 "%n", &request->connection, &end) ==
		1 &&
	    id[end] == '\0') {
		request->kind = REQUEST_KILL_CHANNEL;
		request->number = TRANSPORT_KILL_ENDPOINT;
		return true;
	}
	end = -1;
	if (sscanf(id, "transport/%" SCNu64 "%n", &request->connection, &end) ==
		1 &&
	    id[end] == '\0') {
		request->kind = REQUEST_KILL_TRANSPORT;
		return true;
	}
	end = -1;
	if (sscanf(id, "pubsub/%" SCNu32 "%n", &request->number, &end) == 1 &&
	    id[end] == '\0') {
		request->kind = REQUEST_KILL_PUBSUB;
		return true;
	}
	end = -1;
	if (sscanf(id, "connect/%" SCNu32 "%n", &request->number, &end) == 1 &&
	    id[end] == '\0') {
		request->kind = REQUEST_KILL_CONNECT;
		return true;
	}
	return parse_single(id, request) || parse_service(config, id, request);
}

static void
kill_by_id(struct transport *t, const struct http_request *req,
    struct json_buffer *out, const char *id)
{
	struct transport_request request;
	struct json_buffer body = { 0 };

	if (!parse_id(t->start->config, id, &request)) {
		respond_error(req, out, 400, NULL,
		    "an id is channel/N/M, endpoint/N, transport/N, "
		    "pubsub/N, connect/N, presence, fetch or service/NAME");
		return;
	}
	if (!tree_has(t->start->supervisor, id)) {
		respond_error(req, out, 404, NULL, "no such worker");
		return;
	}
	if (!admin_send_request(&request)) {
		respond_error(req, out, 503, "Retry-After: 1\r\n", ADMIN_BUSY);
		return;
	}
	json_append_text(&body, "{\"killed\":");
	json_append_string(&body, id, strlen(id));
	json_append_text(&body, "}");
	respond_json(req, out, 202, NULL, body.data);
	json_buffer_free(&body);
}

static void
inspect_by_id(struct transport *t, const struct http_request *req,
    struct json_buffer *out, const char *id)
{
	struct transport_request request;

	if (!parse_id(t->start->config, id, &request) ||
	    request.kind != REQUEST_KILL_CHANNEL ||
	    request.number == TRANSPORT_KILL_ENDPOINT)
		respond_error(
		    req, out, 400, NULL, "the id of a channel is channel/N/M");
	else if (!tree_has(t->start->supervisor, id))
		respond_error(req, out, 404, NULL, "no such worker");
	else
		inspect_ask(t, request.connection, request.number);
}

/* What only the owner of the token may do, to a worker that the body names. */
static void
respond_to_id(struct transport *t, const struct http_request *req,
    struct json_buffer *out,
    void (*respond)(struct transport *, const struct http_request *,
	struct json_buffer *, const char *id))
{
	const cJSON *id;
	cJSON *body;

	if (!origin_is_own(req)) {
		respond_error(req, out, 403, NULL,
		    "Origin must be this server: only for its own page");
		return;
	}
	if (!secret_is(http_header(req, "X-Bennu-Token"),
		t->start->secrets->kill_token)) {
		respond_error(req, out, 403, NULL,
		    "X-Bennu-Token must be the token of the address that the "
		    "server printed when it started");
		return;
	}
	if (!admin_type_is_json(req)) {
		respond_error(req, out, 415, NULL,
		    "the Content-Type must be application/json");
		return;
	}
	body = cJSON_ParseWithLength(req->body, req->body_size);
	id = cJSON_GetObjectItemCaseSensitive(body, "id");
	if (cJSON_IsString(id))
		respond(t, req, out, id->valuestring);
	else
		respond_error(
		    req, out, 400, NULL, "the body must be {\"id\": \"...\"}");
	cJSON_Delete(body);
}

static void
respond_kill(struct transport *t, const struct http_request *req,
    struct json_buffer *out)
{
	respond_to_id(t, req, out, kill_by_id);
}

static void
respond_inspect(struct transport *t, const struct http_request *req,
    struct json_buffer *out)
{
	respond_to_id(t, req, out, inspect_by_id);
}

/* ---- what is there ---- */

static void
respond_tree(struct transport *t, const struct http_request *req,
    struct json_buffer *out)
{
	struct json_buffer body = { 0 };

	tree_append(&body, t->start->supervisor);
	respond_json(req, out, 200, "Cache-Control: no-store\r\n", body.data);
	json_buffer_free(&body);
}

static void
respond_metrics(struct transport *t, const struct http_request *req,
    struct json_buffer *out)
{
	struct json_buffer body = { 0 };

	metrics_append(&body, t->start->stats);
	http_append_response(out, 200, req->keep_alive, req->head, METRICS_TYPE,
	    "Cache-Control: no-store\r\n", body.data, body.size);
	json_buffer_free(&body);
}

/* ---- routes ---- */

static const struct route routes[] = {
	{ "/bennu/tree", "GET", respond_tree },
	{ "/bennu/metrics", "GET", respond_metrics },
	{ "/bennu/kill", "POST", respond_kill },
	{ "/bennu/inspect", "POST", respond_inspect },
};

static const struct route *
find_route(const char *path)
{
	for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
		if (strcmp(routes[i].path, path) == 0)
			return &routes[i];
	return NULL;
}

void
admin_respond(struct transport *t, const struct http_request *req,
    struct json_buffer *out)
{
	const struct route *route = find_route(req->path);
	bool get = strcmp(route->method, "GET") == 0;

	if (!host_is_local(http_header(req, "Host")))
		respond_error(req, out, 403, NULL,
		    "Host must be localhost, 127.0.0.1 or [::1]: this is for "
		    "this machine only");
	else if (strcmp(req->method, route->method) == 0 || (get && req->head))
		route->respond(t, req, out);
	else if (get)
		respond_error(
		    req, out, 405, "Allow: GET, HEAD\r\n", "this is a GET");
	else
		respond_error(
		    req, out, 405, "Allow: POST\r\n", "this is a POST");
}
