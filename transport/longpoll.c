/*
 * longpoll.c - see longpoll.h.
 */
#include <sys/random.h>
#include <sys/socket.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mailbox.h"
#include "common/token.h"
#include "common/xmalloc.h"
#include "transport/ahead.h"
#include "transport/connect.h"
#include "transport/handshake.h"
#include "transport/longpoll.h"
#include "transport/longpoll_body.h"
#include "transport/query.h"
#include "transport/session.h"
#include "transport/transport.h"
#include "transport/upgrade.h"

#define TOKEN_AGE (14 * TOKEN_DAY)
#define RETRY_MIN 5 /* ms between tries, doubling */
#define RETRY_MAX 500
#define HURRY     100 /* ms that what waits at a session has to come */
#define CORS      "Access-Control-Allow-Origin: *\r\n"
#define LINES     "Cache-Control: no-store\r\n" CORS

enum stage {
	STAGE_CONNECT, /* the application is asked whether it may */
	STAGE_MAKE,    /* the supervisor is to make a session */
	STAGE_OPEN,    /* it is told who its client is */
	STAGE_FIND,    /* a session is there, or not */
	STAGE_ANSWER,  /* it is there: its answer is awaited */
};

/* The head of a request, kept beyond it. */
struct head {
	struct http_request request;
	struct http_header *headers;
	char *block; /* of all strings */
};

struct longpoll {
	struct transport *transport;
	const struct config_socket *socket;
	enum stage stage;
	bool polls;       /* a GET; else a POST */
	struct head head; /* of a GET */
	enum frame_version version;
	char name[SESSION_NAME_SIZE];
	char *token;
	int fd; /* our end, until the supervisor has the other; -1 */
	int other;
	uint8_t nonce[SESSION_NONCE];
	struct mailbox *mailbox; /* NULL: not connected */
	struct envelope_writer body;
	unsigned windows; /* that the answer may take: a poll's, or one for each
			     message */
	struct event retry, limit;
	int retry_ms;
};

static void session_make(struct longpoll *);

const struct config_socket *
longpoll_find(const struct config *config, const char *path)
{
	const struct config_socket *socket = upgrade_find_mount(
	    config, path, "/longpoll");

	return socket != NULL && socket->longpoll ? socket : NULL;
}

void
longpoll_limit_body(const char *path, size_t *max, int *status, void *arg)
{
	const struct transport *t = arg;

	if (longpoll_find(t->config, path) == NULL)
		return;
	*max = LONGPOLL_BODY_MAX;
	*status = 400;
}

/* ---- a head that is kept ---- */

static char *
keep_string(char **at, const char *s)
{
	char *kept = *at;

	*at = stpcpy(kept, s) + 1;
	return kept;
}

static void
head_keep(struct head *head, const struct http_request *req)
{
	size_t size = strlen(req->path) + strlen(req->query) + 2;
	char *at;

	for (size_t i = 0; i < req->nheaders; i++)
		size += strlen(req->headers[i].name) +
		    strlen(req->headers[i].value) + 2;
	at = head->block = xmalloc(size);
	head->headers = xcalloc(req->nheaders + 1, sizeof *head->headers);
	for (size_t i = 0; i < req->nheaders; i++) {
		head->headers[i].name = keep_string(&at, req->headers[i].name);
		head->headers[i].value = keep_string(
		    &at, req->headers[i].value);
	}
	head->request = (struct http_request){
		.method = "GET",
		.path = keep_string(&at, req->path),
		.query = keep_string(&at, req->query),
		.headers = head->headers,
		.nheaders = req->nheaders,
		.body = "",
		.minor = req->minor,
	};
}

static void
head_free(struct head *head)
{
	free(head->block);
	free(head->headers);
}

/* ---- answers ---- */

static void
respond(struct transport *t, int status, const char *type, const char *lines,
    const char *body, size_t size)
{
	struct json_buffer response = { 0 };

	if (t->mode != MODE_HTTP)
		return;
	http_append_response(
	    &response, status, t->keep_alive, true, type, lines, NULL, size);
	outbox_add(&t->outbox, response.data, response.size);
	outbox_add(&t->outbox, body, size);
	json_buffer_free(&response);
}

static void
respond_empty(struct transport *t, int status, const char *lines)
{
	respond(t, status, NULL, lines, "", 0);
}

/* Whatever it says, the status of HTTP is 200. */
static void
respond_json(struct transport *t, const struct json_buffer *body)
{
	respond(t, 200, "application/json; charset=utf-8", LINES, body->data,
	    body->size);
}

static void
respond_status(struct transport *t, int status)
{
	struct json_buffer body = { 0 };
	char text[32];

	snprintf(text, sizeof text, "{\"status\":%d}", status);
	json_append_text(&body, text);
	respond_json(t, &body);
	json_buffer_free(&body);
}

/* messages: JSON strings, with commas between. */
static void
respond_messages(struct transport *t, int status, const char *token,
    const char *messages, size_t size)
{
	struct json_buffer body = { 0 };
	char text[32];

	snprintf(text, sizeof text, "{\"status\":%d,\"token\":", status);
	json_append_text(&body, text);
	json_append_string(&body, token, strlen(token));
	json_append_text(&body, ",\"messages\":[");
	json_append(&body, messages, size);
	json_append_text(&body, "]}");
	respond_json(t, &body);
	json_buffer_free(&body);
}

/* ---- the token ---- */

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What it says: a session is good for its mount only, which has its own
 * origins. */
static void
token_text(const struct longpoll *lp, struct json_buffer *out)
{
	const struct config *config = lp->transport->config;
	char text[SESSION_NAME_SIZE + 32];

	snprintf(text, sizeof text, "\"%s %zu\"", lp->name,
	    (size_t)(lp->socket - config->sockets));
	json_append_text(out, text);
}

static char *
token_make(const struct longpoll *lp)
{
	struct json_buffer text = { 0 };
	char *token;

	token_text(lp, &text);
	token = token_sign(&lp->transport->start->secrets->longpoll_key,
	    text.data, text.size, now_ms(), TOKEN_AGE);
	json_buffer_free(&text);
	if (token == NULL)
		fatal("token_sign");
	return token;
}

/* False: it is none of ours, of this mount and of the last two weeks. */
static bool
token_take(struct longpoll *lp, const char *token)
{
	const struct token_key *key =
	    &lp->transport->start->secrets->longpoll_key;
	struct json_buffer own = { 0 };
	char *text;
	size_t size;
	bool good;

	if (token_verify(key, token, strlen(token), TOKEN_AGE, now_ms(), &text,
		&size) != TOKEN_OK)
		return false;
	if (size > SESSION_NAME_SIZE)
		memcpy(lp->name, text + 1, SESSION_NAME_SIZE - 1);
	token_text(lp, &own);
	good = own.size == size && memcmp(own.data, text, size) == 0 &&
	    strchr(lp->name, '/') == NULL;
	json_buffer_free(&own);
	free(text);
	if (good)
		lp->token = xstrdup(token);
	return good;
}

/* The header's, or that of the query; malloc'd, or NULL. */
static char *
shown_token(const struct http_request *req)
{
	const char *header = http_header(req, "x-phoenix-longpoll-token");

	return header != NULL ? xstrdup(header)
			      : query_get(req->query, "token");
}

/* ---- the end of it ---- */

void
longpoll_cancel(struct transport *t)
{
	struct longpoll *lp = t->longpoll;

	if (lp == NULL)
		return;
	t->longpoll = NULL;
	ahead_end(t);
	event_del(&lp->retry);
	event_del(&lp->limit);
	mailbox_free(lp->mailbox);
	if (lp->fd != -1)
		close(lp->fd);
	if (lp->other != -1)
		close(lp->other);
	envelope_writer_free(&lp->body);
	head_free(&lp->head);
	free(lp->token);
	free(lp);
}

static void
finish_status(struct longpoll *lp, int status)
{
	struct transport *t = lp->transport;

	longpoll_cancel(t);
	respond_status(t, status);
}

static void
finish_messages(
    struct longpoll *lp, int status, const char *messages, size_t size)
{
	struct transport *t = lp->transport;
	char *token = lp->token;

	lp->token = NULL;
	longpoll_cancel(t);
	respond_messages(t, status, token, messages, size);
	free(token);
}

/* The client polls again, and is told then. */
void
longpoll_hurry(struct transport *t)
{
	struct longpoll *lp = t->longpoll;

	if (lp != NULL && lp->stage == STAGE_ANSWER && lp->polls)
		finish_messages(lp, 204, "", 0);
}

/* There is no such session, or no more. */
static void
session_is_gone(struct longpoll *lp)
{
	if (lp->polls)
		session_make(lp);
	else
		finish_status(lp, 410);
}

/* Its end came while it was expected to answer. */
static void
session_ended(struct longpoll *lp)
{
	switch (lp->stage) {
	case STAGE_CONNECT:
		break;
	case STAGE_MAKE:
	case STAGE_OPEN:
		log_debug("no session was made");
		finish_status(lp, 500);
		break;
	case STAGE_FIND:
		session_is_gone(lp);
		break;
	case STAGE_ANSWER:
		if (lp->polls)
			finish_messages(lp, 204, "", 0);
		else
			finish_status(lp, 410);
		break;
	}
}

static void
on_limit(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	session_ended(arg);
}

static void
set_limit(struct longpoll *lp, long long ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	event_add(&lp->limit, &tv);
}

static void
retry_later(struct longpoll *lp)
{
	struct timeval tv = { 0, lp->retry_ms * 1000 };

	event_add(&lp->retry, &tv);
	lp->retry_ms *= 2;
	if (lp->retry_ms > RETRY_MAX)
		lp->retry_ms = RETRY_MAX;
}

/* ---- what the session says ---- */

static void
on_answer(
    struct longpoll *lp, uint32_t status, const char *messages, size_t size)
{
	struct transport *t = lp->transport;

	if (lp->stage == STAGE_OPEN && status == 200) {
		lp->token = token_make(lp);
		finish_messages(lp, 410, "", 0);
	} else if (lp->polls && (status == 200 || status == 204)) {
		finish_messages(lp, (int)status, messages, size);
	} else if (lp->polls) {
		/* It has no form in JSON. */
		longpoll_cancel(t);
		respond_empty(t, 500, CORS);
	} else {
		finish_status(lp, (int)status);
	}
}

/* It says itself when a window ends; unless it hangs. */
static void
set_answer_limit(struct longpoll *lp)
{
	if (lp->polls && lp->transport->drain_by != 0)
		set_limit(lp, HURRY);
	else
		set_limit(lp,
		    lp->windows * lp->socket->longpoll_window +
			lp->socket->pubsub_timeout);
}

/* False: nonsense. */
static bool
dispatch(struct longpoll *lp, struct envelope *envelope)
{
	const char *messages;
	uint32_t status;
	size_t size;

	if (envelope->type == ENVELOPE_SESSION_HERE) {
		if (lp->stage != STAGE_FIND || !envelope_end(envelope))
			return false;
		lp->stage = STAGE_ANSWER;
		set_answer_limit(lp);
		return true;
	}
	if (envelope->type != ENVELOPE_SESSION_ANSWER ||
	    (lp->stage != STAGE_OPEN && lp->stage != STAGE_ANSWER))
		return false;
	status = envelope_get_u32(envelope);
	messages = envelope_get_data(envelope, &size);
	if (!envelope_end(envelope) || status < 200 || status > 599)
		return false;
	on_answer(lp, status, messages, size);
	return true;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct longpoll *lp = arg;

	(void)mailbox;
	if (envelope != NULL && dispatch(lp, envelope))
		return;
	if (envelope != NULL)
		log_warnx("a long-poll session sent a bad %s",
		    envelope_name(envelope->type));
	mailbox_free(lp->mailbox);
	lp->mailbox = NULL;
	session_ended(lp);
}

static void
ask(struct longpoll *lp, int fd, enum envelope_type type)
{
	lp->mailbox = mailbox_new(fd, on_envelope, lp);
	mailbox_send(lp->mailbox, type, &lp->body);
	mailbox_attach(lp->mailbox, lp->transport->base);
}

/* ---- to a session that is there ---- */

/* EAGAIN is a full backlog, which has no event. */
static void
session_find(struct longpoll *lp)
{
	char *path = xasprintf(
	    "%s/%s", lp->transport->start->run_directory, lp->name);
	int fd = mailbox_connect(path), failed = errno;

	free(path);
	if (fd != -1)
		ask(lp, fd,
		    lp->polls ? ENVELOPE_SESSION_POLL : ENVELOPE_SESSION_POST);
	else if (failed == EAGAIN)
		retry_later(lp);
	else
		session_is_gone(lp);
}

/* ---- a new session ---- */

/* One end of the pair goes along. As sendmsg(2). */
static ssize_t
send_request(const struct longpoll *lp)
{
	struct transport_request request = { .kind = REQUEST_SESSION };
	struct iovec iov = { &request, sizeof request };
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} room = { .space = { 0 } };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &room,
		.msg_controllen = sizeof room,
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	memcpy(request.nonce, lp->nonce, sizeof request.nonce);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &lp->other, sizeof lp->other);
	return sendmsg(
	    TRANSPORT_FD_REQUESTS, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
put_open(struct longpoll *lp)
{
	const struct transport *t = lp->transport;
	const struct connected *connected = &t->connected;

	envelope_writer_free(&lp->body);
	envelope_put_u32(
	    &lp->body, (uint32_t)(lp->socket - t->config->sockets));
	envelope_put_u32(&lp->body, lp->version);
	envelope_put_data(
	    &lp->body, connected->params.data, connected->params.size);
	if (connected->id.data == NULL)
		envelope_put_string(&lp->body, NULL);
	else
		envelope_put_data(
		    &lp->body, connected->id.data, connected->id.size);
	envelope_put_data(
	    &lp->body, connected->assigns.data, connected->assigns.size);
}

/* What is said to the session waits in the pair until it is there. If there
 * will be none, the pair ends. */
static void
request_session(struct longpoll *lp)
{
	if (send_request(lp) == -1) {
		if (errno != EAGAIN && errno != ETOOMANYREFS) {
			log_warn("request to the supervisor");
			finish_status(lp, 500);
			return;
		}
		retry_later(lp);
		return;
	}
	close(lp->other);
	lp->other = -1;
	lp->stage = STAGE_OPEN;
	put_open(lp);
	ask(lp, lp->fd, ENVELOPE_SESSION_OPEN);
	lp->fd = -1;
}

static void
on_retry(int fd, short what, void *arg)
{
	struct longpoll *lp = arg;

	(void)fd;
	(void)what;
	if (lp->stage == STAGE_MAKE)
		request_session(lp);
	else
		session_find(lp);
}

static void
make(struct longpoll *lp)
{
	int fds[2];

	if (getentropy(lp->nonce, sizeof lp->nonce) == -1 ||
	    mailbox_pair(fds) == -1) {
		log_warn("a long-poll session");
		finish_status(lp, 500);
		return;
	}
	session_name(lp->name, lp->nonce);
	lp->fd = fds[0];
	lp->other = fds[1];
	lp->stage = STAGE_MAKE;
	lp->retry_ms = RETRY_MIN;
	set_limit(lp, lp->socket->connect_timeout);
	ahead_begin(lp->transport);
	request_session(lp);
}

/* The application has answered. */
static void
on_connected(struct transport *t, int status)
{
	struct longpoll *lp = t->longpoll;

	assert(lp != NULL);
	if (status == 0)
		make(lp);
	else
		finish_status(lp, status == 403 ? 403 : 500);
}

static void
ask_application(struct longpoll *lp)
{
	const struct http_request *req = &lp->head.request;
	const char *shown = lp->socket->auth_token
	    ? http_header(req, "x-phoenix-authtoken")
	    : NULL;
	const struct text token = text_lent(
	    shown, shown == NULL ? 0 : strlen(shown));
	const struct connect_question question = {
		.socket = lp->socket,
		.request = req,
		.token = &token,
		.subscribe = false, /* the session does */
	};

	connect_ask(lp->transport, &question, on_connected);
}

/* As for a WebSocket, in the same order. */
static void
session_make(struct longpoll *lp)
{
	struct transport *t = lp->transport;
	const char *query = lp->head.request.query;

	lp->stage = STAGE_CONNECT;
	mailbox_free(lp->mailbox);
	lp->mailbox = NULL;
	event_del(&lp->retry);
	event_del(&lp->limit);
	ahead_end(t);
	upgrade_begin(t, "longpoll");
	t->connected.params.data = query_to_json(
	    query, &t->connected.params.size);
	if (t->connected.params.data == NULL) {
		longpoll_cancel(t);
		respond_empty(t, 400, CORS);
		return;
	}
	lp->version = upgrade_version(query);
	if (lp->version == 0)
		finish_status(lp, 403);
	else if (lp->socket->callbacks == NULL)
		make(lp);
	else
		ask_application(lp);
}

/* ---- requests ---- */

static struct longpoll *
longpoll_new(
    struct transport *t, const struct config_socket *socket, bool polls)
{
	struct longpoll *lp = xcalloc(1, sizeof *lp);

	assert(t->longpoll == NULL);
	t->longpoll = lp;
	lp->transport = t;
	lp->socket = socket;
	lp->polls = polls;
	lp->fd = lp->other = -1;
	lp->retry_ms = RETRY_MIN;
	event_assign(&lp->retry, t->base, -1, 0, on_retry, lp);
	event_assign(&lp->limit, t->base, -1, 0, on_limit, lp);
	return lp;
}

/* Goes on with the session that its token names; false: it names none. */
static bool
resume(struct longpoll *lp, const struct http_request *req)
{
	char *token = shown_token(req);
	bool good = token != NULL && token_take(lp, token);

	free(token);
	if (!good)
		return false;
	lp->stage = STAGE_FIND;
	set_limit(lp, lp->socket->pubsub_timeout);
	ahead_begin(lp->transport);
	session_find(lp);
	return true;
}

static void
on_get(struct transport *t, const struct http_request *req,
    const struct config_socket *socket)
{
	struct longpoll *lp = longpoll_new(t, socket, true);

	head_keep(&lp->head, req);
	lp->windows = 1;
	if (!resume(lp, req))
		session_make(lp);
}

static void
put_message(
    enum websocket_opcode opcode, const char *data, size_t size, void *arg)
{
	struct longpoll *lp = arg;

	lp->windows++;
	envelope_put_u32(&lp->body, opcode);
	envelope_put_data(&lp->body, data, size);
}

static bool
put_body(struct longpoll *lp, const struct http_request *req)
{
	const char *type = http_header(req, "content-type");

	if (type != NULL && strcmp(type, LONGPOLL_LINES) == 0 &&
	    http_header_count(req, "content-type") == 1)
		return longpoll_body_lines(
		    req->body, req->body_size, put_message, lp);
	put_message(WEBSOCKET_TEXT, req->body, req->body_size, lp);
	return true;
}

static void
on_post(struct transport *t, const struct http_request *req,
    const struct config_socket *socket)
{
	struct longpoll *lp = longpoll_new(t, socket, false);

	if (!put_body(lp, req)) {
		longpoll_cancel(t);
		respond_empty(t, 500, CORS);
	} else if (!resume(lp, req)) {
		finish_status(lp, 410);
	}
}

/* What the page may send to us: everything. */
static void
on_options(struct transport *t, const struct http_request *req)
{
	const char *headers = http_header(
	    req, "access-control-request-headers");
	struct json_buffer lines = { 0 };

	json_append_text(&lines, CORS);
	if (headers != NULL && *headers != '\0') {
		json_append_text(&lines, "Access-Control-Allow-Headers: ");
		json_append_text(&lines, headers);
		json_append_text(&lines, "\r\n");
	}
	json_append_text(&lines,
	    "Access-Control-Allow-Methods: get, post, options\r\n"
	    "Access-Control-Max-Age: 3600\r\n");
	respond_empty(t, 200, lines.data);
	json_buffer_free(&lines);
}

void
longpoll_request(struct transport *t, const struct http_request *req,
    const struct config_socket *socket)
{
	/* First: the others are refused with a body. */
	if (req->head)
		respond_empty(t, 400, CORS);
	else if (!handshake_origin_allowed(
		     req, socket->check_origin, socket->norigins))
		respond_status(t, 403);
	else if (strcmp(req->method, "OPTIONS") == 0)
		on_options(t, req);
	else if (strcmp(req->method, "GET") == 0)
		on_get(t, req, socket);
	else if (strcmp(req->method, "POST") == 0)
		on_post(t, req, socket);
	else
		respond_empty(t, 400, CORS);
}
