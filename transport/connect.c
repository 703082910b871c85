/*
 * connect.c - see connect.h.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "channel/connect.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/xmalloc.h"
#include "transport/ahead.h"
#include "transport/connect.h"
#include "transport/metrics.h"
#include "transport/token.h"
#include "transport/transport.h"

#define RETRY_MIN  10 /* ms between tries, doubling */
#define RETRY_MAX  1000
#define TURN_TIMES 3 /* so many times connect_timeout for its turn */

struct connect {
	struct transport *transport;
	const struct config_socket *socket;
	connect_done_cb done;
	bool subscribe;
	struct envelope_writer question; /* kept: it may be asked again */
	struct mailbox *mailbox;         /* NULL: not connected */
	struct event retry;
	int retry_ms;
	struct event timer; /* its turn, the callback, the subscription */
	bool begun;         /* the callback runs */
	long long begun_at;
	bool subscribing;
};

/* ---- the end of it ---- */

void
connect_cancel(struct transport *t)
{
	struct connect *c = t->connect;

	if (c == NULL)
		return;
	t->connect = NULL;
	event_del(&c->retry);
	event_del(&c->timer);
	ahead_end(t);
	mailbox_free(c->mailbox);
	envelope_writer_free(&c->question);
	free(c);
}

static void
finish(struct connect *c, int status)
{
	struct transport *t = c->transport;
	connect_done_cb done = c->done;

	connect_cancel(t);
	done(t, status);
	transport_resume(t, PAUSE_CONNECT);
}

static void
set_timer(struct connect *c, long long ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	event_add(&c->timer, &tv);
}

static void
on_timer(int fd, short what, void *arg)
{
	struct connect *c = arg;

	(void)fd;
	(void)what;
	if (c->subscribing) {
		log_warnx("pubsub does not confirm the socket id %s",
		    c->transport->connected.id.data);
		finish(c, 503);
		return;
	}
	if (c->begun)
		log_warnx("%s: connect took more than %lld ms: refused "
			  "(connect_timeout)",
		    c->socket->module, c->socket->connect_timeout);
	else
		log_warnx("%s: no turn to connect in %lld ms: refused "
			  "(connect_timeout)",
		    c->socket->module, c->socket->connect_timeout * TURN_TIMES);
	finish(c, 403);
}

/* ---- the answer ---- */

static void
on_subscribed(void *arg)
{
	struct transport *t = arg;

	if (t->connect != NULL && t->connect->subscribing)
		finish(t->connect, 0);
}

static void
accepted(struct connect *c)
{
	struct transport *t = c->transport;

	if (t->connected.id.data == NULL || !c->subscribe) {
		finish(c, 0);
		return;
	}
	mailbox_free(c->mailbox);
	c->mailbox = NULL;
	c->subscribing = true;
	set_timer(c, c->socket->connect_timeout);
	pubsub_subscribe(
	    t->pubsub, PART_CHANNEL, &t->connected.id, on_subscribed, t);
}

static void
crashed(struct connect *c, const char *why)
{
	log_warnx("%s: connect %s", c->socket->module, why);
	finish(c, 500);
}

/* The author's code may have overwritten whatever sends this. */
static bool
read_answer(struct envelope *envelope, uint32_t *yes, struct text *id,
    struct text *assigns)
{
	*yes = envelope_get_u32(envelope);
	*id = envelope_get_optional_text(envelope);
	*assigns = envelope_get_text(envelope);
	if (!envelope_end(envelope) || *yes > 1 ||
	    assigns->size > CONNECT_ASSIGNS_MAX ||
	    json_scan_text(assigns->data, assigns->size).kind != JSON_OBJECT)
		return false;
	return id->data == NULL ||
	    (strlen(id->data) == id->size && json_is_utf8(id->data, id->size));
}

static void
text_set(struct text *text, const struct text *from)
{
	free(text->data);
	*text = *from;
	if (from->data != NULL)
		text->data = xmemdup(from->data, from->size);
}

static void
on_connected(struct connect *c, struct envelope *envelope)
{
	struct connected *connected = &c->transport->connected;
	struct text id, assigns;
	uint32_t yes;

	if (!c->begun || !read_answer(envelope, &yes, &id, &assigns)) {
		crashed(c, "answered nonsense");
		return;
	}
	if (!yes) {
		finish(c, 403);
		return;
	}
	text_set(&connected->id, &id);
	text_set(&connected->assigns, &assigns);
	accepted(c);
}

/* ---- the question ---- */

static void
retry_later(struct connect *c)
{
	struct timeval tv = { 0, c->retry_ms * 1000 };

	if (c->retry_ms >= 1000)
		tv = (struct timeval){ c->retry_ms / 1000, 0 };
	event_add(&c->retry, &tv);
	c->retry_ms *= 2;
	if (c->retry_ms > RETRY_MAX)
		c->retry_ms = RETRY_MAX;
}

/* Whose callback was it that took the process with it? */
static void
lost(struct connect *c)
{
	mailbox_free(c->mailbox);
	c->mailbox = NULL;
	if (!c->begun)
		retry_later(c);
	else if (monotonic_ms() - c->begun_at >= c->socket->connect_timeout)
		finish(c, 403);
	else
		crashed(c, "crashed");
}

/* What the callback does meanwhile. False: nonsense. */
static bool
on_call(struct connect *c, struct envelope *envelope)
{
	if (envelope->type == ENVELOPE_TALLY)
		return metrics_take(c->transport->start->stats, envelope);
	if (envelope->type == ENVELOPE_SIGN ||
	    envelope->type == ENVELOPE_VERIFY)
		return token_answer(c->transport, c->mailbox, envelope);
	return false;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct connect *c = arg;

	(void)mailbox;
	if (envelope == NULL) {
		lost(c);
	} else if (envelope->type == ENVELOPE_CONNECTED) {
		on_connected(c, envelope);
	} else if (envelope->type == ENVELOPE_CONNECT_BEGUN && !c->begun &&
	    envelope_end(envelope)) {
		c->begun = true;
		c->begun_at = monotonic_ms();
		set_timer(c, c->socket->connect_timeout);
	} else if (!c->begun || !on_call(c, envelope)) {
		crashed(c, "sent nonsense");
	}
}

static void
ask(struct connect *c)
{
	struct transport *t = c->transport;
	struct envelope_writer writer = { 0 };
	int fd = mailbox_connect(t->start->connect_path);

	if (fd == -1) {
		if (errno != EAGAIN)
			log_warn("connect: %s; next try in %d ms",
			    t->start->connect_path, c->retry_ms);
		retry_later(c);
		return;
	}
	c->mailbox = mailbox_new(fd, on_envelope, c);
	envelope_put_raw(&writer, c->question.data + ENVELOPE_HEAD,
	    c->question.size - ENVELOPE_HEAD);
	mailbox_send(c->mailbox, ENVELOPE_CONNECT, &writer);
	mailbox_attach(c->mailbox, t->base);
}

static void
on_retry(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask(arg);
}

static bool
begins_with(const char *name, const char *prefix)
{
	return strncasecmp(name, prefix, strlen(prefix)) == 0;
}

/* Does connect_info name this header? */
static bool
header_is_wanted(const struct config_socket *socket, const char *name)
{
	unsigned info = socket->connect_info;

	if ((info & CONNECT_INFO_USER_AGENT) != 0 &&
	    strcasecmp(name, "user-agent") == 0)
		return true;
	if ((info & CONNECT_INFO_TRACE) != 0 &&
	    (strcasecmp(name, "traceparent") == 0 ||
		strcasecmp(name, "tracestate") == 0))
		return true;
	if ((info & CONNECT_INFO_X) != 0 && begins_with(name, "x-"))
		return true;
	return (info & CONNECT_INFO_WEBSOCKET) != 0 &&
	    begins_with(name, "sec-websocket-");
}

static void
put_headers(struct envelope_writer *writer, const struct connect_question *q)
{
	const struct http_request *req = q->request;
	uint32_t n = 0;

	for (size_t i = 0; i < req->nheaders; i++)
		n += header_is_wanted(q->socket, req->headers[i].name);
	envelope_put_u32(writer, n);
	for (size_t i = 0; i < req->nheaders; i++) {
		if (!header_is_wanted(q->socket, req->headers[i].name))
			continue;
		envelope_put_string(writer, req->headers[i].name);
		envelope_put_string(writer, req->headers[i].value);
	}
}

static void
put_uri(struct envelope_writer *writer, const struct connect_question *q)
{
	const struct http_request *req = q->request;
	const char *host = http_header(req, "host");
	char *uri;

	if ((q->socket->connect_info & CONNECT_INFO_URI) == 0) {
		envelope_put_string(writer, NULL);
		return;
	}
	uri = xasprintf("http://%s%s%s%s", host == NULL ? "localhost" : host,
	    req->path, req->query[0] == '\0' ? "" : "?", req->query);
	envelope_put_string(writer, uri);
	free(uri);
}

static void
put_question(struct connect *c, const struct connect_question *q)
{
	const struct transport *t = c->transport;
	struct envelope_writer *writer = &c->question;
	bool peer = (q->socket->connect_info & CONNECT_INFO_PEER) != 0;

	envelope_put_u32(writer, (uint32_t)(q->socket - t->config->sockets));
	envelope_put_data(
	    writer, t->connected.params.data, t->connected.params.size);
	envelope_put_string(writer, t->connected.transport);
	if (q->token->data == NULL)
		envelope_put_string(writer, NULL);
	else
		envelope_put_data(writer, q->token->data, q->token->size);
	envelope_put_string(writer, peer ? t->start->peer : NULL);
	put_uri(writer, q);
	put_headers(writer, q);
}

void
connect_ask(struct transport *t, const struct connect_question *question,
    connect_done_cb done)
{
	struct connect *c = xcalloc(1, sizeof *c);

	assert(t->connect == NULL);
	t->connect = c;
	c->transport = t;
	c->socket = question->socket;
	c->subscribe = question->subscribe;
	c->done = done;
	c->retry_ms = RETRY_MIN;
	put_question(c, question);
	event_assign(&c->retry, t->base, -1, 0, on_retry, c);
	event_assign(&c->timer, t->base, -1, 0, on_timer, c);
	transport_pause(t, PAUSE_CONNECT);
	ahead_begin(t);
	set_timer(c, c->socket->connect_timeout * TURN_TIMES);
	ask(c);
}
