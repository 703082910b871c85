/*
 * conn.c - what a handler may do with its connection: the calls of
 * bennu/endpoint.h. The answer is made here and leaves when the handler has
 * returned, so that a crash can still take it back.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "channel/answer.h"
#include "channel/conn.h"
#include "common/exit.h"
#include "common/json.h"
#include "common/log.h"
#include "common/xmalloc.h"

void
conn_mistake(const struct bennu_conn *conn, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fatalx("%s: %s", conn->start->config->module, text);
}

static void
in_request(const struct bennu_conn *conn, const char *call)
{
	if (conn->method == NULL)
		conn_mistake(conn, "%s without a request", call);
}

/* The transport always takes what we send. */
void
conn_flush(struct bennu_conn *conn)
{
	struct pollfd pollfd = {
		.fd = mailbox_fd(conn->mailbox),
		.events = POLLOUT,
	};

	for (;;) {
		if (!mailbox_flush(conn->mailbox))
			_exit(EXIT_SHUTDOWN);
		if (mailbox_backlog(conn->mailbox) == 0)
			return;
		if (poll(&pollfd, 1, -1) == -1 && errno != EINTR)
			fatal("poll");
	}
}

void *
conn_keep(struct bennu_conn *conn, void *memory)
{
	struct conn_scratch *scratch = xmalloc(sizeof *scratch);

	scratch->memory = memory;
	scratch->next = conn->scratch;
	conn->scratch = scratch;
	return memory;
}

void
conn_clear(struct bennu_conn *conn)
{
	struct conn_scratch *scratch;

	while ((scratch = conn->scratch) != NULL) {
		conn->scratch = scratch->next;
		free(scratch->memory);
		free(scratch);
	}
	cJSON_Delete(conn->query);
	cJSON_Delete(conn->json);
	free(conn->params);
	free(conn->headers);
	envelope_writer_free(&conn->put);
	envelope_writer_free(&conn->response);
	conn->query = conn->json = NULL;
	conn->params = conn->headers = NULL;
	conn->nparams = conn->nheaders = 0;
	conn->nput = 0;
	conn->answered = false;
	conn->method = conn->path = NULL;
}

/* ---- the process ---- */

void *
bennu_conn_assigns(const struct bennu_conn *conn)
{
	return conn->assigns;
}

void
bennu_conn_assign(struct bennu_conn *conn, void *assigns)
{
	conn->assigns = assigns;
}

const char *
bennu_conn_option(const struct bennu_conn *conn, const char *key)
{
	return config_endpoint_option(conn->start->config, key);
}

const char *
bennu_conn_peer(const struct bennu_conn *conn)
{
	return conn->start->peer;
}

void
bennu_conn_log(const struct bennu_conn *conn, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	(void)conn;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_info("%s", text);
}

/* ---- the request ---- */

const char *
bennu_method(const struct bennu_conn *conn)
{
	in_request(conn, "bennu_method");
	return conn->method;
}

const char *
bennu_path(const struct bennu_conn *conn)
{
	in_request(conn, "bennu_path");
	return conn->path;
}

const char *
bennu_param(const struct bennu_conn *conn, const char *name)
{
	in_request(conn, "bennu_param");
	for (size_t i = 0; i < conn->nparams; i++)
		if (strcmp(conn->params[i].name, name) == 0)
			return conn->params[i].value;
	return NULL;
}

const cJSON *
bennu_query_json(struct bennu_conn *conn)
{
	in_request(conn, "bennu_query_json");
	if (conn->query == NULL)
		conn->query = cJSON_Parse(conn->query_text);
	return conn->query;
}

const char *
bennu_query(struct bennu_conn *conn, const char *name)
{
	return cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(bennu_query_json(conn), name));
}

const char *
bennu_header(const struct bennu_conn *conn, const char *name)
{
	in_request(conn, "bennu_header");
	for (size_t i = 0; i < conn->nheaders; i++)
		if (strcasecmp(conn->headers[i].name, name) == 0)
			return conn->headers[i].value;
	return NULL;
}

const char *
bennu_body(const struct bennu_conn *conn, size_t *size)
{
	in_request(conn, "bennu_body");
	*size = conn->body_size;
	return conn->body;
}

/* "application/json" or "application/merge-patch+json", parameters or none. */
static bool
type_is_json(const char *type)
{
	size_t n;

	if (type == NULL)
		return false;
	n = strcspn(type, "; \t");
	if (n == strlen("application/json"))
		return strncasecmp(type, "application/json", n) == 0;
	return n > 5 && strncasecmp(type + n - 5, "+json", 5) == 0;
}

const cJSON *
bennu_body_json(struct bennu_conn *conn)
{
	in_request(conn, "bennu_body_json");
	if (conn->json != NULL)
		return conn->json;
	if (bennu_header(conn, "Content-Length") == NULL &&
	    bennu_header(conn, "Transfer-Encoding") == NULL) {
		bennu_respond_error(conn, 411, NULL);
		return NULL;
	}
	if (!type_is_json(bennu_header(conn, "Content-Type"))) {
		bennu_respond_error(
		    conn, 415, "the Content-Type must be application/json");
		return NULL;
	}
	/* Its own parser takes more than JSON. */
	if (json_scan_text(conn->body, conn->body_size).kind != JSON_BAD)
		conn->json = cJSON_ParseWithLength(conn->body, conn->body_size);
	if (conn->json == NULL)
		bennu_respond_error(conn, 400, "the body is no JSON");
	return conn->json;
}

/* ---- the answer ---- */

static void
not_answered(const struct bennu_conn *conn, const char *call)
{
	in_request(conn, call);
	if (conn->answered)
		conn_mistake(conn, "%s: %s %s has its answer", call,
		    conn->method, conn->path);
}

void
bennu_put_header(struct bennu_conn *conn, const char *name, const char *value)
{
	not_answered(conn, "bennu_put_header");
	if (!answer_name_is_good(name, strlen(name)) ||
	    !answer_value_is_good(value, strlen(value)))
		conn_mistake(
		    conn, "bennu_put_header: %.100s: %.200s", name, value);
	if (conn->nput == ENDPOINT_HEADERS_MAX)
		conn_mistake(conn, "bennu_put_header: more than %d",
		    ENDPOINT_HEADERS_MAX);
	envelope_put_string(&conn->put, name);
	envelope_put_string(&conn->put, value);
	conn->nput++;
}

void
bennu_respond(struct bennu_conn *conn, int status, const char *type,
    const void *data, size_t size)
{
	struct envelope_writer *response = &conn->response;

	not_answered(conn, "bennu_respond");
	if (!answer_status_is_good(status))
		conn_mistake(conn, "bennu_respond: status %d", status);
	if (type != NULL && !answer_value_is_good(type, strlen(type)))
		conn_mistake(conn, "bennu_respond: type %.200s", type);
	if (size > ENDPOINT_BODY_MAX)
		conn_mistake(conn, "bennu_respond: %zu bytes; at most %u", size,
		    ENDPOINT_BODY_MAX);
	envelope_put_u32(response, (uint32_t)status);
	envelope_put_string(response, type);
	envelope_put_u32(response, conn->nput);
	if (conn->nput > 0)
		envelope_put_raw(response, conn->put.data + ENVELOPE_HEAD,
		    conn->put.size - ENVELOPE_HEAD);
	envelope_put_data(response, data, size);
	conn->answered = true;
}

void
bennu_respond_json(struct bennu_conn *conn, int status, cJSON *tree)
{
	char *text = cJSON_PrintUnformatted(tree);

	if (text == NULL)
		conn_mistake(conn, "bennu_respond_json: no such tree");
	cJSON_Delete(tree);
	bennu_respond(conn, status, ANSWER_JSON, text, strlen(text));
	free(text);
}

void
bennu_respond_error(struct bennu_conn *conn, int status, const char *detail)
{
	struct json_buffer body = { 0 };

	answer_append_error(&body, status, detail);
	bennu_respond(conn, status, ANSWER_JSON, body.data, body.size);
	json_buffer_free(&body);
}

/* ---- to everyone ---- */

struct bennu_payload
bennu_conn_take(struct bennu_conn *conn, cJSON *tree)
{
	char *text = cJSON_PrintUnformatted(tree);

	if (text == NULL)
		conn_mistake(conn, "bennu_conn_take: no such tree");
	cJSON_Delete(tree);
	return bennu_text(conn_keep(conn, text));
}

static void
put_payload(struct bennu_conn *conn, struct envelope_writer *writer,
    struct bennu_payload payload)
{
	struct json_buffer compact = { 0 };
	struct json_span span;

	envelope_put_u32(writer, payload.kind);
	if (payload.kind == BENNU_BINARY) {
		envelope_put_data(writer, payload.data, payload.size);
		return;
	}
	span = json_scan_text(payload.data, payload.size);
	if (span.kind == JSON_BAD)
		conn_mistake(
		    conn, "a payload is no JSON: %.200s", payload.data);
	json_append_span(&compact, span);
	envelope_put_data(writer, compact.data, compact.size);
	json_buffer_free(&compact);
}

static void
broadcast(struct bennu_conn *conn, uint32_t flags, const char *topic,
    const char *event, struct bennu_payload payload)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, flags);
	envelope_put_string(&writer, topic);
	envelope_put_string(&writer, event);
	put_payload(conn, &writer, payload);
	mailbox_send(conn->mailbox, ENVELOPE_BROADCAST, &writer);
	if (mailbox_backlog(conn->mailbox) > CONN_BACKLOG_MAX)
		conn_flush(conn);
}

void
bennu_conn_broadcast(struct bennu_conn *conn, const char *topic,
    const char *event, struct bennu_payload payload)
{
	broadcast(conn, 0, topic, event, payload);
}

void
bennu_conn_broadcast_local(struct bennu_conn *conn, const char *topic,
    const char *event, struct bennu_payload payload)
{
	broadcast(conn, BROADCAST_LOCAL, topic, event, payload);
}

void
bennu_conn_disconnect(struct bennu_conn *conn, const char *id)
{
	bennu_conn_broadcast(conn, id, "disconnect", bennu_empty());
}

/* ---- metrics ---- */

void
bennu_conn_count(struct bennu_conn *conn, const char *name, uint64_t n)
{
	const char *why = tally_count(&conn->tally, name, n);

	if (why != NULL)
		conn_mistake(conn, "bennu_conn_count: %.100s: %s", name, why);
}

void
bennu_conn_observe(struct bennu_conn *conn, const char *name, double value)
{
	const char *why = tally_observe(&conn->tally, name, value);

	if (why != NULL)
		conn_mistake(conn, "bennu_conn_observe: %.100s: %s", name, why);
}
