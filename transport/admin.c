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
#include "transport/admin.h"
#include "transport/transport.h"
#include "transport/tree.h"

#define TREE_PATH "/bennu/tree"
#define KILL_PATH "/bennu/kill"
#define JSON_TYPE "application/json; charset=utf-8"

bool
admin_is_route(const char *path)
{
	return strcmp(path, TREE_PATH) == 0 || strcmp(path, KILL_PATH) == 0;
}

static void
respond_json(const struct http_request *req, struct json_buffer *out,
    int status, const char *extra, const char *body)
{
	http_append_response(out, status, req->keep_alive, req->head, JSON_TYPE,
	    extra, body, strlen(body));
}

static void
respond_error(const struct http_request *req, struct json_buffer *out,
    int status, const char *extra, const char *what)
{
	struct json_buffer body = { 0 };

	json_append_text(&body, "{\"error\":");
	json_append_string(&body, what, strlen(what));
	json_append_text(&body, "}");
	respond_json(req, out, status, extra, body.data);
	json_buffer_free(&body);
}

/* ---- guards ---- */

/* Compares all bytes, however early they differ. */
static bool
token_is_right(const char *given, const char *token)
{
	size_t n = strlen(token);
	unsigned char differs = 0;

	if (given == NULL || strlen(given) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		differs |= (unsigned char)(given[i] ^ token[i]);
	return differs == 0;
}

/* A name that other people's DNS cannot point here. */
static bool
host_is_local(const char *host)
{
	static const char *const names[] = { "localhost", "127.0.0.1",
		"[::1]" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		size_t n = strlen(names[i]);

		if (strncasecmp(host, names[i], n) == 0 &&
		    (host[n] == '\0' || host[n] == ':'))
			return true;
	}
	return false;
}

/* The page that sends it must be this server's own. */
static bool
origin_is_own(const struct http_request *req, const char *host)
{
	const char *origin = http_header(req, "Origin");

	if (origin == NULL)
		return true; /* no browser */
	return strncmp(origin, "http://", 7) == 0 &&
	    strcasecmp(origin + 7, host) == 0;
}

static bool
type_is_json(const struct http_request *req)
{
	const char *type = http_header(req, "Content-Type");
	size_t n = strlen("application/json");

	return type != NULL && strncasecmp(type, "application/json", n) == 0 &&
	    (type[n] == '\0' || type[n] == ';' || type[n] == ' ');
}

/* ---- kill ---- */

/* "channel/17/3", "endpoint/17", "transport/17", "pubsub/1", "connect/1". */
static bool
parse_id(const char *id, struct transport_request *request)
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
	return false;
}

static void
kill_by_id(struct transport *t, const struct http_request *req,
    struct json_buffer *out, const char *id)
{
	struct transport_request request;
	struct json_buffer body = { 0 };

	if (!parse_id(id, &request)) {
		respond_error(req, out, 400, NULL,
		    "an id is channel/N/M, endpoint/N, transport/N, "
		    "pubsub/N or connect/N");
		return;
	}
	if (!tree_has(t->start->supervisor, id)) {
		respond_error(req, out, 404, NULL, "no such worker");
		return;
	}
	if (send(TRANSPORT_FD_REQUESTS, &request, sizeof request,
		MSG_DONTWAIT | MSG_NOSIGNAL) == -1) {
		log_warn("request to the supervisor");
		respond_error(req, out, 503, "Retry-After: 1\r\n",
		    "the supervisor has too many requests");
		return;
	}
	json_append_text(&body, "{\"killed\":");
	json_append_string(&body, id, strlen(id));
	json_append_text(&body, "}");
	respond_json(req, out, 202, NULL, body.data);
	json_buffer_free(&body);
}

static void
respond_kill(struct transport *t, const struct http_request *req,
    struct json_buffer *out)
{
	const char *host = http_header(req, "Host");
	const cJSON *id;
	cJSON *body;

	if (strcmp(req->method, "POST") != 0) {
		respond_error(
		    req, out, 405, "Allow: POST\r\n", "a kill is a POST");
		return;
	}
	if (host == NULL || !host_is_local(host) || !origin_is_own(req, host)) {
		respond_error(req, out, 403, NULL,
		    "only for this server's own page, on this machine");
		return;
	}
	if (!token_is_right(
		http_header(req, "X-Bennu-Token"), t->start->kill_token)) {
		respond_error(req, out, 403, NULL,
		    "X-Bennu-Token must be the token of the address that the "
		    "server printed when it started");
		return;
	}
	if (!type_is_json(req)) {
		respond_error(req, out, 415, NULL,
		    "the Content-Type must be application/json");
		return;
	}
	body = cJSON_ParseWithLength(req->body, req->body_size);
	id = cJSON_GetObjectItemCaseSensitive(body, "id");
	if (cJSON_IsString(id))
		kill_by_id(t, req, out, id->valuestring);
	else
		respond_error(
		    req, out, 400, NULL, "the body must be {\"id\": \"...\"}");
	cJSON_Delete(body);
}

static void
respond_tree(struct transport *t, const struct http_request *req,
    struct json_buffer *out)
{
	struct json_buffer body = { 0 };

	if (strcmp(req->method, "GET") != 0 && !req->head) {
		respond_error(
		    req, out, 405, "Allow: GET, HEAD\r\n", "the tree is a GET");
		return;
	}
	tree_append(&body, t->start->supervisor);
	respond_json(req, out, 200, "Cache-Control: no-store\r\n", body.data);
	json_buffer_free(&body);
}

void
admin_respond(struct transport *t, const struct http_request *req,
    struct json_buffer *out)
{
	if (strcmp(req->path, TREE_PATH) == 0)
		respond_tree(t, req, out);
	else
		respond_kill(t, req, out);
}
