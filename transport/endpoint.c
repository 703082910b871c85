/*
 * endpoint.c - see endpoint.h.
 */
#include <sys/mman.h>

#include <assert.h>
#include <event2/event.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "channel/answer.h"
#include "channel/endpoint.h"
#include "channel/route.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "transport/count.h"
#include "transport/endpoint.h"
#include "transport/metrics.h"
#include "transport/presence.h"
#include "transport/query.h"
#include "transport/token.h"
#include "transport/topic.h"
#include "transport/transport.h"

#define REQUEST_MAX   (ENVELOPE_MAX - (4U << 20)) /* bytes of a body */
#define HEAD_MAX      (64U * 1024)                /* bytes of headers put */
#define PREFLIGHT_AGE "600" /* s that a page may rely on a preflight */

struct endpoint {
	struct transport *transport;
	struct supervisor *supervisor;
	struct child *child;     /* NULL: no process */
	struct mailbox *mailbox; /* NULL: no process */
	struct event timeout;
	_Atomic uint32_t *begun; /* what the process began last; shared */
	uint32_t last;           /* number of the last request */
	bool mute;               /* whatever the process says is void */
	bool dead;               /* it was reaped: it is not killed any more */

	/* The request in hand. */
	bool busy;
	bool reused;    /* the process had been there before */
	bool timed_out; /* it was killed for it */
	bool head;
	char *name;                     /* "GET /api/x", for the log */
	char *cors;                     /* header lines of the answer */
	struct envelope_writer request; /* when it may be handed over again */
};

/* What goes to the client. */
struct answer {
	int status;
	bool head;
	const char *type;  /* or NULL */
	const char *lines; /* headers, or NULL */
	const char *body;
	size_t size;
};

static void
send_answer(struct transport *t, const struct answer *answer)
{
	struct json_buffer head = { 0 };

	if (t->mode != MODE_HTTP)
		return;
	/* The body goes behind it without another copy. */
	http_append_response(&head, answer->status, t->keep_alive, true,
	    answer->type, answer->lines, NULL, answer->size);
	outbox_add(&t->outbox, head.data, head.size);
	json_buffer_free(&head);
	if (!answer->head && answer->status != 204 && answer->status != 304)
		outbox_add(&t->outbox, answer->body, answer->size);
}

static void
send_error(struct transport *t, bool head, int status, const char *lines,
    const char *detail)
{
	struct json_buffer body = { 0 };
	struct answer answer = {
		.status = status,
		.head = head,
		.type = ANSWER_JSON,
		.lines = lines,
	};

	answer_append_error(&body, status, detail);
	answer.body = body.data;
	answer.size = body.size;
	send_answer(t, &answer);
	json_buffer_free(&body);
}

/* ---- CORS ---- */

/* What the answer says of origins; "" when the page may not read it. */
static void
append_cors(struct json_buffer *out, const char *const *origins,
    const struct http_request *req)
{
	const char *origin = http_header(req, "Origin");

	if (origins == NULL)
		return;
	for (const char *const *o = origins; *o != NULL; o++)
		if (strcmp(*o, "*") == 0) {
			json_append_text(
			    out, "Access-Control-Allow-Origin: *\r\n");
			return;
		}
	json_append_text(out, "Vary: Origin\r\n");
	for (const char *const *o = origins; *o != NULL && origin != NULL; o++)
		if (strcasecmp(*o, origin) == 0) {
			json_append_text(out, "Access-Control-Allow-Origin: ");
			json_append_text(out, origin);
			json_append_text(out, "\r\n");
			return;
		}
}

/* What a preflight asks for is allowed: handlers judge requests, not this. */
static void
append_preflight(struct json_buffer *out, const struct bennu_route *routes,
    const struct http_request *req)
{
	const char *headers = http_header(
	    req, "Access-Control-Request-Headers");

	json_append_text(out, "Access-Control-Allow-Methods: ");
	route_append_methods(out, routes, req->path);
	if (headers != NULL && *headers != '\0') {
		json_append_text(out, "\r\nAccess-Control-Allow-Headers: ");
		json_append_text(out, headers);
	}
	json_append_text(
	    out, "\r\nAccess-Control-Max-Age: " PREFLIGHT_AGE "\r\n");
}

/* ---- answers without a process ---- */

static void
send_options(struct transport *t, const struct http_request *req,
    struct json_buffer *lines)
{
	const struct bennu_endpoint *app = t->config->endpoint.callbacks;
	struct answer answer = { .status = 204 };

	json_append_text(lines, "Allow: ");
	route_append_methods(lines, app->routes, req->path);
	json_append_text(lines, "\r\n");
	if (app->cors != NULL && http_header(req, "Origin") != NULL &&
	    http_header(req, "Access-Control-Request-Method") != NULL)
		append_preflight(lines, app->routes, req);
	answer.lines = lines->data;
	send_answer(t, &answer);
}

static void
send_other_method(struct transport *t, const struct http_request *req,
    struct json_buffer *lines)
{
	const struct bennu_endpoint *app = t->config->endpoint.callbacks;

	if (strcmp(req->method, "OPTIONS") == 0) {
		send_options(t, req, lines);
		return;
	}
	json_append_text(lines, "Allow: ");
	route_append_methods(lines, app->routes, req->path);
	json_append_text(lines, "\r\n");
	send_error(t, req->head, 405, lines->data, NULL);
}

/* ---- the request in hand ---- */

static void
put_fields(struct envelope_writer *writer, const struct route_match *match,
    const struct http_request *req)
{
	envelope_put_u32(writer, (uint32_t)match->nparams);
	for (size_t i = 0; i < match->nparams; i++) {
		envelope_put_data(
		    writer, match->params[i].name, match->params[i].name_size);
		envelope_put_string(writer, match->params[i].value);
	}
	envelope_put_u32(writer, (uint32_t)req->nheaders);
	for (size_t i = 0; i < req->nheaders; i++) {
		envelope_put_string(writer, req->headers[i].name);
		envelope_put_string(writer, req->headers[i].value);
	}
}

static void
keep_request(struct endpoint *endpoint, const struct http_request *req,
    const struct route_match *match, const char *query, size_t query_size)
{
	struct envelope_writer *writer = &endpoint->request;
	const struct bennu_endpoint *app =
	    endpoint->transport->config->endpoint.callbacks;

	envelope_put_u32(writer, ++endpoint->last);
	envelope_put_u32(writer, (uint32_t)(match->route - app->routes));
	envelope_put_string(writer, req->method);
	envelope_put_string(writer, req->path);
	envelope_put_data(writer, query, query_size);
	put_fields(writer, match, req);
	envelope_put_data(writer, req->body, req->body_size);

	endpoint->busy = true;
	endpoint->timed_out = false;
	endpoint->head = req->head;
	endpoint->name = xasprintf("%s %s", req->method, req->path);
}

static void
forget_request(struct endpoint *endpoint)
{
	endpoint->busy = false;
	event_del(&endpoint->timeout);
	envelope_writer_free(&endpoint->request);
	free(endpoint->name);
	free(endpoint->cors);
	endpoint->name = endpoint->cors = NULL;
}

/* The process has not answered and will not. */
static void
answer_error(struct endpoint *endpoint, int status, const char *detail)
{
	send_error(endpoint->transport, endpoint->head, status, endpoint->cors,
	    detail);
	forget_request(endpoint);
}

static void
set_timeout(struct endpoint *endpoint, long long ms)
{
	struct timeval tv = {
		.tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000,
	};

	event_add(&endpoint->timeout, &tv);
}

/* ---- what the process says ---- */

/* Headers that the author put. False: nonsense. */
static bool
get_lines(struct envelope *envelope, struct json_buffer *lines)
{
	uint32_t n = envelope_get_u32(envelope);

	if (n > ENDPOINT_HEADERS_MAX)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		size_t name_size, value_size;
		const char *name = envelope_get_data(envelope, &name_size);
		const char *value = envelope_get_data(envelope, &value_size);

		if (!answer_name_is_good(name, name_size) ||
		    !answer_value_is_good(value, value_size) ||
		    lines->size + name_size + value_size > HEAD_MAX)
			return false;
		json_append(lines, name, name_size);
		json_append_text(lines, ": ");
		json_append(lines, value, value_size);
		json_append_text(lines, "\r\n");
	}
	return true;
}

static bool
on_response(struct endpoint *endpoint, struct envelope *envelope)
{
	struct answer answer = { .head = endpoint->head };
	struct json_buffer lines = { 0 };
	size_t size;
	bool good;

	if (!endpoint->busy)
		return false;
	if (endpoint->cors != NULL)
		json_append_text(&lines, endpoint->cors);
	answer.status = (int)envelope_get_u32(envelope);
	answer.type = envelope_get_optional(envelope, &size);
	good = answer_status_is_good(answer.status) &&
	    (answer.type == NULL || answer_value_is_good(answer.type, size)) &&
	    get_lines(envelope, &lines);
	answer.body = envelope_get_data(envelope, &answer.size);
	if (good && envelope_end(envelope)) {
		answer.lines = lines.data;
		send_answer(endpoint->transport, &answer);
		forget_request(endpoint);
	}
	json_buffer_free(&lines);
	return good && envelope_end(envelope);
}

/*
 * The answer stands behind it, and waits until pubsub has accepted: a client
 * that has it may cause the next broadcast over another connection, and that
 * one must not come first.
 */
static bool
on_broadcast(struct endpoint *endpoint, struct envelope *envelope)
{
	struct transport *t = endpoint->transport;

	if (!topic_broadcast(t, envelope, NULL))
		return false;
	if (pubsub_unaccepted(t->pubsub) > 0)
		mailbox_pause(endpoint->mailbox);
	return true;
}

void
endpoint_published(struct transport *t)
{
	if (t->endpoint != NULL && t->endpoint->mailbox != NULL)
		mailbox_resume(t->endpoint->mailbox);
}

static bool
dispatch(struct endpoint *endpoint, struct envelope *envelope)
{
	if (envelope->type == ENVELOPE_RESPONSE)
		return on_response(endpoint, envelope);
	if (envelope->type == ENVELOPE_BROADCAST)
		return on_broadcast(endpoint, envelope);
	if (envelope->type == ENVELOPE_SUBSCRIBERS)
		return count_answer(
		    endpoint->transport, endpoint->mailbox, envelope);
	if (envelope->type == ENVELOPE_PRESENCES)
		return presence_from_endpoint(
		    endpoint->transport, endpoint->mailbox, envelope);
	if (envelope->type == ENVELOPE_SIGN ||
	    envelope->type == ENVELOPE_VERIFY)
		return token_answer(
		    endpoint->transport, endpoint->mailbox, envelope);
	if (envelope->type == ENVELOPE_TALLY)
		return metrics_take(
		    endpoint->transport->start->stats, envelope);
	return false;
}

/* Where death has not come by itself it is helped along. */
static void
endpoint_lost(struct endpoint *endpoint, const char *why)
{
	endpoint->mute = true;
	if (endpoint->dead)
		return;
	if (why != NULL)
		log_warnx("endpoint[%d]: %s; killed",
		    (int)child_pid(endpoint->child), why);
	child_kill(endpoint->child);
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct endpoint *endpoint = arg;
	const char *why;

	if (envelope == NULL) {
		why = mailbox_error(mailbox);
		endpoint_lost(
		    endpoint, strcmp(why, "end of file") == 0 ? NULL : why);
		return;
	}
	if (!endpoint->mute && !dispatch(endpoint, envelope))
		endpoint_lost(endpoint, "it sent nonsense");
}

static void
on_timeout(int fd, short what, void *arg)
{
	struct endpoint *endpoint = arg;

	(void)fd;
	(void)what;
	endpoint->timed_out = true;
	endpoint_lost(endpoint, "its handler takes too long (handler_timeout)");
}

/* ---- the process ---- */

/* In the child: everything it needs lies in the memory it was born with. */
static pid_t
endpoint_fork(struct child *child, void *arg)
{
	struct endpoint *endpoint = arg;
	struct transport *t = endpoint->transport;
	struct endpoint_start start = {
		.config = &t->config->endpoint,
		.server = t->config,
		.connection = t->start->connection,
		.peer = t->start->peer,
		.begun = endpoint->begun,
	};
	struct process_spec spec = {
		.name = "endpoint",
		.run = endpoint_run,
		.arg = &start,
		.nfds = ENDPOINT_NFDS,
		.dumpable = true,
	};
	int fd;
	pid_t pid = mailbox_fork(&spec, ENDPOINT_FD_MAILBOX - PROCESS_FD, &fd);

	if (pid == -1)
		return -1;
	endpoint->mailbox = mailbox_new(fd, on_envelope, endpoint);
	mailbox_attach(endpoint->mailbox, t->base);
	endpoint->mute = endpoint->dead = false;
	return pid;
}

/* Behind the request that it may have in hand. */
static void
endpoint_ask(struct child *child, void *arg)
{
	struct endpoint *endpoint = arg;

	if (endpoint->mute)
		kill(child_pid(child), SIGKILL);
	else
		mailbox_send(endpoint->mailbox, ENVELOPE_END, NULL);
}

/* The request goes to the process, which is forked when there is none. */
static void
hand_over(struct endpoint *endpoint)
{
	static const struct child_spec process = {
		.id = "endpoint",
		.start = endpoint_fork,
		.ask = endpoint_ask,
		.restart = RESTART_TEMPORARY,
		.shutdown = ENDPOINT_SHUTDOWN,
	};
	struct envelope_writer writer = { 0 };
	struct child_spec spec = process;

	endpoint->reused = endpoint->child != NULL;
	if (endpoint->child == NULL) {
		spec.arg = endpoint;
		endpoint->child = supervisor_start_child(
		    endpoint->supervisor, &spec);
	}
	if (endpoint->child == NULL) {
		log_warn("no endpoint for %s", endpoint->name);
		answer_error(endpoint, 503, NULL);
		return;
	}
	/* Only one that may be handed over again is kept: see settle_death. */
	if (!endpoint->reused) {
		mailbox_send(
		    endpoint->mailbox, ENVELOPE_REQUEST, &endpoint->request);
		return;
	}
	envelope_put_raw(&writer, endpoint->request.data + ENVELOPE_HEAD,
	    endpoint->request.size - ENVELOPE_HEAD);
	mailbox_send(endpoint->mailbox, ENVELOPE_REQUEST, &writer);
}

/*
 * A process that was killed between two requests takes none with it: what it
 * had not begun is handed to the next one.
 */
static void
settle_death(struct endpoint *endpoint, const struct obituary *obituary)
{
	if (!endpoint->busy || endpoint->transport->mode != MODE_HTTP)
		return;
	if (endpoint->timed_out) {
		answer_error(endpoint, 504, NULL);
		return;
	}
	if (endpoint->reused &&
	    atomic_load(endpoint->begun) != endpoint->last) {
		hand_over(endpoint);
		return;
	}
	/* Other ends than this one were told already. */
	if (exit_is_normal(obituary->status))
		log_warnx("endpoint[%d] ended in %s", (int)obituary->pid,
		    endpoint->name);
	answer_error(endpoint, 500, NULL);
}

static void
on_died(struct supervisor *sup, struct child *child,
    const struct obituary *obituary, void *arg)
{
	struct endpoint *endpoint = arg;

	(void)sup;
	(void)child;
	mailbox_free(endpoint->mailbox);
	endpoint->mailbox = NULL;
	endpoint->child = NULL;
	settle_death(endpoint, obituary);
}

/* For the one line that tells of its death. */
static void
describe(struct child *child, char *buf, size_t size, void *arg)
{
	const struct endpoint *endpoint = arg;

	(void)child;
	snprintf(buf, size, ", %s", endpoint->busy ? endpoint->name : "idle");
}

/* NULL: no memory that can be shared. */
static struct endpoint *
endpoint_new(struct transport *t)
{
	static const struct supervisor_callbacks callbacks = {
		.died = on_died,
	};
	const struct supervisor_flags flags = {
		.name = "endpoint_sup",
		.strategy = DYNAMIC,
		.scope = INTENSITY_PER_CHILD,
		.escalation = ESCALATE_GIVE_UP,
		.quiet = true,
	};
	struct endpoint *endpoint;
	void *page = mmap(NULL, sizeof *endpoint->begun, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return NULL;
	endpoint = xcalloc(1, sizeof *endpoint);
	endpoint->transport = t;
	endpoint->begun = page;
	endpoint->supervisor = supervisor_start(
	    t->base, &flags, &callbacks, endpoint, NULL, 0);
	if (endpoint->supervisor == NULL)
		fatal("supervisor of the endpoint");
	supervisor_describe(endpoint->supervisor, describe);
	event_assign(&endpoint->timeout, t->base, -1, 0, on_timeout, endpoint);
	return endpoint;
}

static void
on_stopped(struct supervisor *sup, void *arg)
{
	struct endpoint *endpoint = arg;
	struct transport *t = endpoint->transport;

	supervisor_free(sup);
	forget_request(endpoint);
	munmap(endpoint->begun, sizeof *endpoint->begun);
	free(endpoint);
	t->endpoint = NULL;
	transport_ended(t);
}

void
endpoint_stop(struct transport *t)
{
	if (t->endpoint != NULL)
		supervisor_stop(
		    t->endpoint->supervisor, on_stopped, t->endpoint);
}

bool
endpoint_reap(struct transport *t, pid_t pid, int status)
{
	struct endpoint *endpoint = t->endpoint;

	if (endpoint == NULL ||
	    supervisor_find_pid(endpoint->supervisor, pid) == NULL)
		return false;
	endpoint->dead = true;
	if (endpoint->mailbox != NULL)
		mailbox_drain(endpoint->mailbox);
	return supervisor_reap(endpoint->supervisor, pid, status);
}

bool
endpoint_is_busy(const struct transport *t)
{
	return t->endpoint != NULL && t->endpoint->busy;
}

void
endpoint_hurry(struct transport *t)
{
	long long limit = t->config->shutdown / 2;

	if (endpoint_is_busy(t) && limit < t->config->endpoint.handler_timeout)
		set_timeout(t->endpoint, limit);
}

void
endpoint_kill(struct transport *t)
{
	if (t->endpoint != NULL && t->endpoint->child != NULL)
		child_kill(t->endpoint->child);
}

/* ---- requests ---- */

static void
run_handler(struct transport *t, const struct http_request *req,
    const struct route_match *match, struct json_buffer *cors)
{
	size_t query_size;
	char *query = query_to_json(req->query, &query_size);

	if (query == NULL) {
		send_error(
		    t, req->head, 400, cors->data, "the query is malformed");
		return;
	}
	if (t->endpoint == NULL)
		t->endpoint = endpoint_new(t);
	if (t->endpoint == NULL) {
		log_warn("no endpoint for %s %s", req->method, req->path);
		send_error(t, req->head, 503, cors->data, NULL);
	} else if (req->body_size > REQUEST_MAX) {
		send_error(t, req->head, 413, cors->data, NULL);
	} else {
		keep_request(t->endpoint, req, match, query, query_size);
		t->endpoint->cors = cors->data; /* taken */
		memset(cors, 0, sizeof *cors);
		set_timeout(t->endpoint, t->config->endpoint.handler_timeout);
		hand_over(t->endpoint);
	}
	free(query);
}

bool
endpoint_request(struct transport *t, const struct http_request *req)
{
	const struct bennu_endpoint *app = t->config->endpoint.callbacks;
	struct json_buffer lines = { 0 };
	struct route_match match;

	if (app == NULL)
		return false;
	route_find(app->routes, req->method, req->path, &match);
	if (match.result != ROUTE_NONE)
		append_cors(&lines, app->cors, req);
	switch (match.result) {
	case ROUTE_NONE:
		break;
	case ROUTE_FOUND:
		run_handler(t, req, &match, &lines);
		break;
	case ROUTE_OTHER_METHOD:
		send_other_method(t, req, &lines);
		break;
	case ROUTE_MALFORMED:
		send_error(
		    t, req->head, 400, lines.data, "the path is malformed");
		break;
	}
	route_match_clear(&match);
	json_buffer_free(&lines);
	return match.result != ROUTE_NONE;
}
