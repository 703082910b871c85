/*
 * session.c - see session.h.
 */
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/xmalloc.h"
#include "transport/frame.h"
#include "transport/link.h"
#include "transport/longpoll_body.h"
#include "transport/phoenix.h"
#include "transport/session.h"
#include "transport/subscriber.h"
#include "transport/transport.h"

#define CALLS_MAX   64                 /* at a time */
#define BACKLOG     64                 /* that wait beyond them */
#define ANSWER_MAX  (8U << 20)         /* bytes, unless one message is longer */
#define MESSAGE_MAX (ENVELOPE_MAX / 2) /* bytes, as a JSON string */
/* Bytes that all have posted and wait: the largest body, and some more. */
#define POSTED_MAX (2U * LONGPOLL_BODY_MAX)

/* What waits for a poll. */
struct waiting {
	bool binary; /* it has no form in a poll's answer */
	size_t size;
	STAILQ_ENTRY(waiting) entry;
	char json[]; /* a string */
};

/* What a client has sent in one request. */
struct post {
	uint8_t *data;
	struct envelope rest; /* of data: what is not dealt with yet */
	struct call *call;    /* NULL: nobody waits for the end of it */
	bool last;            /* no more than one message of it counts */
	TAILQ_ENTRY(post) entry;
};

/* A request of the client, by its transport. */
struct call {
	struct session *session;
	struct mailbox *mailbox;
	struct event window; /* it waits no longer */
	struct post *post;   /* NULL: it has none */
	bool asked;
	TAILQ_ENTRY(call) entry;
};

struct session {
	struct transport *transport;
	int fd; /* listens */
	struct event acceptable;
	bool open;

	TAILQ_HEAD(, call) calls;
	unsigned ncalls;
	struct call *opener; /* until it has its answer */
	struct call *poller; /* who gets the next messages; or NULL */
	long long polled_at; /* when the last poll began */
	long long check_at;  /* when that is looked at */

	STAILQ_HEAD(, waiting) messages;
	size_t size; /* bytes of them, and of what they lie in */
	struct event flush;

	TAILQ_HEAD(, post) posts;
	size_t posted;        /* bytes, likewise */
	struct post *in_hand; /* whose message is not done */
	struct event work;
};

static void
set_timer(struct event *timer, long long ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	event_add(timer, &tv);
}

/* ---- its socket ---- */

/* base64url without padding: six bits a character, the last two alone. */
void
session_name(char name[SESSION_NAME_SIZE], const uint8_t *nonce)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789-_";
	char *at = stpcpy(name, SESSION_PREFIX);
	unsigned bits = 0, nbits = 0;

	for (size_t i = 0; i < SESSION_NONCE; i++) {
		bits = (bits << 8 | nonce[i]) & 0x3fff;
		for (nbits += 8; nbits >= 6; nbits -= 6)
			*at++ = digits[bits >> (nbits - 6) & 63];
	}
	*at++ = digits[bits << (6 - nbits) & 63];
	*at = '\0';
	assert(at == name + SESSION_NAME_SIZE - 1);
}

static int
listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	mode_t mask;
	int failed;

	assert(strlen(path) < sizeof address.sun_path);
	memcpy(address.sun_path, path, strlen(path));
	if (fd == -1)
		return -1;
	mask = umask(0177);
	failed = bind(fd, (struct sockaddr *)&address, sizeof address);
	umask(mask);
	if (failed == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	failed = errno;
	close(fd);
	errno = failed;
	return -1;
}

/* ---- calls ---- */

static void on_envelope(struct mailbox *, struct envelope *, void *);
static void on_window(int, short, void *);

static struct call *
call_add(struct session *session, int fd)
{
	struct call *call = xcalloc(1, sizeof *call);

	call->session = session;
	event_assign(
	    &call->window, session->transport->base, -1, 0, on_window, call);
	TAILQ_INSERT_TAIL(&session->calls, call, entry);
	session->ncalls++;
	call->mailbox = mailbox_new(fd, on_envelope, call);
	mailbox_attach(call->mailbox, session->transport->base);
	return call;
}

static void
call_free(struct call *call)
{
	struct session *session = call->session;

	if (call->post != NULL)
		call->post->call = NULL;
	if (session->poller == call)
		session->poller = NULL;
	if (session->opener == call)
		session->opener = NULL;
	TAILQ_REMOVE(&session->calls, call, entry);
	session->ncalls--;
	event_del(&call->window);
	mailbox_free(call->mailbox);
	free(call);
	if (session->open && session->fd != -1)
		event_add(&session->acceptable, NULL);
}

/* One that waited longer than it may, since we were held up ourselves, counts
 * as one that began later: who polls is not to pay for it. */
static void
poll_ends(struct session *session)
{
	long long latest = monotonic_ms() -
	    session->transport->socket->longpoll_window;

	session->poller = NULL;
	if (session->polled_at < latest)
		session->polled_at = latest;
}

/* The other end reads it and closes. */
static void
call_answer(
    struct call *call, uint32_t status, const char *messages, size_t size)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, status);
	envelope_put_data(&writer, messages, size);
	mailbox_send(call->mailbox, ENVELOPE_SESSION_ANSWER, &writer);
	event_del(&call->window);
	if (call->session->poller == call)
		poll_ends(call->session);
}

/*
 * Nobody else is let in: then the oldest of the polls that wait for nothing but
 * the end of their window makes room, unless somebody leaves already.
 */
static void
make_room(struct session *session)
{
	struct call *call, *oldest = NULL;

	if (session->ncalls < CALLS_MAX)
		return;
	TAILQ_FOREACH (call, &session->calls, entry) {
		if (!call->asked || call == session->poller)
			continue;
		if (!event_pending(&call->window, EV_TIMEOUT, NULL))
			return;
		if (oldest == NULL && call->post == NULL)
			oldest = call;
	}
	if (oldest != NULL)
		call_answer(oldest, 204, "", 0);
}

static void
on_acceptable(int fd, short what, void *arg)
{
	struct session *session = arg;

	(void)what;
	while (session->ncalls < CALLS_MAX) {
		int peer = accept4(
		    fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (peer == -1)
			return;
		set_timer(&call_add(session, peer)->window,
		    session->transport->socket->longpoll_window);
	}
	/* Until one of them is gone. */
	event_del(&session->acceptable);
	make_room(session);
}

/* ---- what waits for a poll ---- */

static void
message_free(struct session *session, struct waiting *message)
{
	session->size -= sizeof *message + message->size;
	STAILQ_REMOVE_HEAD(&session->messages, entry);
	free(message);
}

/* As many as fit into one answer, one at least; none that has no form. */
static void
take_messages(struct session *session, struct json_buffer *out)
{
	struct waiting *message;

	while ((message = STAILQ_FIRST(&session->messages)) != NULL &&
	    !message->binary) {
		if (out->size > 0 && out->size + message->size > ANSWER_MAX)
			break;
		if (out->size > 0)
			json_append(out, ",", 1);
		json_append(out, message->json, message->size);
		message_free(session, message);
	}
}

/* As in Phoenix bytes that are no text make the poll fail that meets them. */
static void
answer_binary(struct session *session)
{
	log_warnx("a binary message cannot go to a long-poll client");
	message_free(session, STAILQ_FIRST(&session->messages));
	call_answer(session->poller, 500, "", 0);
}

static void
answer_poll(struct session *session)
{
	struct json_buffer out = { 0 };

	if (session->poller == NULL || STAILQ_EMPTY(&session->messages))
		return;
	if (STAILQ_FIRST(&session->messages)->binary) {
		answer_binary(session);
	} else {
		take_messages(session, &out);
		call_answer(session->poller, 200, out.data, out.size);
		json_buffer_free(&out);
	}
	transport_took(session->transport);
	pubsub_client_room(session->transport->pubsub);
}

/* What one turn of the loop has brought leaves together. */
static void
on_flush(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	answer_poll(arg);
}

static void
message_add(struct session *session, bool binary, const char *json, size_t size)
{
	struct waiting *message = xmalloc(sizeof *message + size);

	message->binary = binary;
	message->size = size;
	memcpy(message->json, json, size);
	STAILQ_INSERT_TAIL(&session->messages, message, entry);
	session->size += sizeof *message + size;
	if (session->poller != NULL)
		event_active(&session->flush, EV_TIMEOUT, 0);
}

static void
session_send(struct transport *t, enum websocket_opcode opcode,
    const char *data, size_t size)
{
	struct json_buffer json = { 0 };

	if (opcode == WEBSOCKET_BINARY) {
		message_add(t->session, true, "", 0);
		return;
	}
	json_append_string(&json, data, size);
	if (json.size <= MESSAGE_MAX) {
		message_add(t->session, false, json.data, json.size);
	} else {
		log_warnx("closed: a message of %zu bytes is too large for a "
			  "long-poll client",
		    size);
		transport_close(t, 1009, "a message is too large");
	}
	json_buffer_free(&json);
}

static void
session_send_frames(struct transport *t, const char *frames, size_t size)
{
	enum websocket_opcode opcode;
	size_t head, payload;

	while (size > 0 && t->link != NULL) {
		head = websocket_head_read(frames, size, &opcode, &payload);
		if (head == 0) {
			log_warnx("pubsub has sent no whole frame");
			transport_close(t, 1011, "nonsense");
			return;
		}
		session_send(t, opcode, frames + head, payload);
		frames += head + payload;
		size -= head + payload;
	}
}

static size_t
session_backlog(const struct transport *t)
{
	return t->session->size;
}

static void
session_close(struct transport *t, unsigned code)
{
	(void)code; /* nobody could be told */
	transport_abort(t, "closed");
}

static void
session_read(struct transport *t, bool on)
{
	if (on)
		event_active(&t->session->work, EV_TIMEOUT, 0);
}

const struct client_link session_link = {
	.send = session_send,
	.send_frames = session_send_frames,
	.backlog = session_backlog,
	.close = session_close,
	.read = session_read,
};

/* ---- a poll ---- */

/* The later one of two gets what comes. */
static void
on_poll(struct call *call)
{
	struct session *session = call->session;

	session->polled_at = monotonic_ms();
	session->poller = call;
	set_timer(&call->window, session->transport->socket->longpoll_window);
	answer_poll(session);
	make_room(session);
}

/* ---- a post ---- */

static size_t
post_size(const struct post *post)
{
	return sizeof *post + post->rest.size;
}

static void
post_free(struct session *session, struct post *post)
{
	session->posted -= post_size(post);
	free(post->data);
	free(post);
}

/* Its message is done: what comes next of it waits behind the others. */
static void
message_done(struct session *session, struct post *post)
{
	struct call *call = post->call;

	if (post->last || post->rest.at == post->rest.size) {
		if (call != NULL) {
			call->post = NULL;
			call_answer(call, 200, "", 0);
		}
		post_free(session, post);
		return;
	}
	if (call != NULL)
		set_timer(
		    &call->window, session->transport->socket->longpoll_window);
	TAILQ_INSERT_TAIL(&session->posts, post, entry);
}

static void
next_message(struct session *session, struct post *post)
{
	uint32_t opcode = envelope_get_u32(&post->rest);
	size_t size;
	const char *data = envelope_get_data(&post->rest, &size);

	phoenix_message(
	    session->transport, (enum websocket_opcode)opcode, data, size);
}

/*
 * Messages are dealt with one after the other, those of several requests by
 * turns. One is done when what comes behind it may be begun: a join, when it is
 * answered.
 */
static void
on_work(int fd, short what, void *arg)
{
	struct session *session = arg;
	struct transport *t = session->transport;
	struct post *post;

	(void)fd;
	(void)what;
	while (t->link != NULL && (t->paused & PAUSE_JOIN) == 0) {
		post = session->in_hand;
		session->in_hand = NULL;
		if (post != NULL)
			message_done(session, post);
		post = TAILQ_FIRST(&session->posts);
		if (post == NULL || t->paused != 0)
			return;
		TAILQ_REMOVE(&session->posts, post, entry);
		session->in_hand = post;
		next_message(session, post);
	}
}

/* False: nonsense. */
static bool
post_is_good(struct envelope *envelope)
{
	int n = 0;

	while (envelope->at < envelope->size && n++ <= LONGPOLL_LINES_MAX) {
		uint32_t opcode = envelope_get_u32(envelope);
		size_t size;

		envelope_get_data(envelope, &size);
		if (opcode != WEBSOCKET_TEXT && opcode != WEBSOCKET_BINARY)
			return false;
	}
	return envelope_end(envelope);
}

static bool
on_post(struct call *call, struct envelope *envelope)
{
	struct session *session = call->session;
	struct post *post;

	if (!post_is_good(envelope))
		return false;
	if (envelope->size == 0) {
		call_answer(call, 200, "", 0);
		return true;
	}
	if (session->posted + envelope->size > POSTED_MAX) {
		call_answer(call, 408, "", 0);
		return true;
	}
	post = xcalloc(1, sizeof *post);
	post->data = xmemdup(envelope->data, envelope->size);
	post->rest.data = post->data;
	post->rest.size = envelope->size;
	post->call = call;
	call->post = post;
	session->posted += post_size(post);
	TAILQ_INSERT_TAIL(&session->posts, post, entry);
	set_timer(&call->window, session->transport->socket->longpoll_window);
	event_active(&session->work, EV_TIMEOUT, 0);
	return true;
}

/* The one message that it waits for will be dealt with; no other. */
static void
post_timeout(struct call *call)
{
	call->post->last = true;
	call->post->call = NULL;
	call->post = NULL;
	call_answer(call, 408, "", 0);
}

static void
on_window(int fd, short what, void *arg)
{
	struct call *call = arg;

	(void)fd;
	(void)what;
	if (!call->asked)
		call_free(call);
	else if (call->post != NULL)
		post_timeout(call);
	else
		call_answer(call, 204, "", 0);
}

/* ---- the opening ---- */

static struct text
text_copy(const char *data, size_t size)
{
	struct text text = { NULL, 0 };

	if (data == NULL)
		return text;
	text.data = xmemdup(data, size);
	text.size = size;
	return text;
}

/* The other end checked it; but it has read what a client sent. */
static bool
get_connected(struct connected *connected, struct envelope *envelope)
{
	const char *params, *id, *assigns;
	size_t params_size, id_size, assigns_size;

	params = envelope_get_data(envelope, &params_size);
	id = envelope_get_optional(envelope, &id_size);
	assigns = envelope_get_data(envelope, &assigns_size);
	if (!envelope_end(envelope) ||
	    json_scan_text(params, params_size).kind != JSON_OBJECT ||
	    json_scan_text(assigns, assigns_size).kind != JSON_OBJECT ||
	    (id != NULL &&
		(strlen(id) != id_size || !json_is_utf8(id, id_size))))
		return false;
	connected->transport = "longpoll";
	connected->params = text_copy(params, params_size);
	connected->id = text_copy(id, id_size);
	connected->assigns = text_copy(assigns, assigns_size);
	return true;
}

/* A lifetime and a half of a poll between two looks. */
static long long
patience(const struct session *session)
{
	return session->transport->socket->longpoll_window * 3 / 2;
}

/* The socket's id is subscribed to, if it has one. */
static void
on_subscribed(void *arg)
{
	struct session *session = arg;

	if (session->opener == NULL || session->transport->link == NULL)
		return;
	session->open = true;
	session->polled_at = monotonic_ms();
	session->check_at = session->polled_at + patience(session);
	session->transport->unjoined_since = session->polled_at;
	session_check(session->transport);
	transport_name(session->transport);
	event_add(&session->acceptable, NULL);
	call_answer(session->opener, 200, "", 0);
	session->opener = NULL;
}

static bool
on_open(struct call *call, struct envelope *envelope)
{
	struct session *session = call->session;
	struct transport *t = session->transport;
	uint32_t mount = envelope_get_u32(envelope);
	uint32_t version = envelope_get_u32(envelope);

	if (mount >= t->config->nsockets ||
	    (version != FRAME_V1 && version != FRAME_V2) ||
	    !get_connected(&t->connected, envelope))
		return false;
	t->socket = &t->config->sockets[mount];
	frame_speak((enum frame_version)version);
	t->link = &session_link;
	subscriber_serves(t);
	if (t->connected.id.data == NULL)
		on_subscribed(session);
	else
		pubsub_subscribe(t->pubsub, PART_CHANNEL, &t->connected.id,
		    on_subscribed, session);
	return true;
}

/* ---- what calls say ---- */

/* False: nonsense. */
static bool
dispatch(struct call *call, struct envelope *envelope)
{
	struct session *session = call->session;

	if (call->asked)
		return false;
	call->asked = true;
	if (envelope->type == ENVELOPE_SESSION_OPEN)
		return call == session->opener && on_open(call, envelope);
	if (!session->open)
		return false;
	mailbox_send(call->mailbox, ENVELOPE_SESSION_HERE, NULL);
	if (envelope->type == ENVELOPE_SESSION_POST)
		return on_post(call, envelope);
	if (envelope->type != ENVELOPE_SESSION_POLL || !envelope_end(envelope))
		return false;
	on_poll(call);
	return true;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct call *call = arg;
	struct session *session = call->session;

	(void)mailbox;
	if (envelope != NULL && dispatch(call, envelope))
		return;
	if (envelope != NULL)
		log_warnx(
		    "a request sent a bad %s", envelope_name(envelope->type));
	if (session->transport->mode == MODE_ENDING)
		return; /* and so has this call */
	call_free(call);
	/* Nobody has its token. */
	if (!session->open)
		transport_abort(
		    session->transport, "who wanted the session is gone");
}

/* ---- its life ---- */

void
session_begin(struct transport *t, int opener)
{
	struct session *session = xcalloc(1, sizeof *session);

	t->session = session;
	session->transport = t;
	TAILQ_INIT(&session->calls);
	TAILQ_INIT(&session->posts);
	STAILQ_INIT(&session->messages);
	session->fd = listen_at(t->start->session_path);
	if (session->fd == -1) {
		log_warn("%s", t->start->session_path);
		_exit(EXIT_START);
	}
	event_assign(&session->acceptable, t->base, session->fd,
	    EV_READ | EV_PERSIST, on_acceptable, session);
	event_assign(&session->flush, t->base, -1, 0, on_flush, session);
	event_assign(&session->work, t->base, -1, 0, on_work, session);
	session->opener = call_add(session, opener);
	transport_deadline(t, t->config->head_timeout);
}

void
session_check(struct transport *t)
{
	struct session *session = t->session;
	long long now = monotonic_ms(), next, join;

	if (!session->open) {
		transport_abort(t, "it was not opened in time");
		return;
	}
	if (now >= session->check_at) {
		if (session->poller == NULL &&
		    now - session->polled_at > patience(session)) {
			transport_close(t, 1000, "nobody polls");
			return;
		}
		session->check_at = now + patience(session);
	}
	next = session->check_at;
	join = t->unjoined_since + t->socket->unjoined_timeout;
	if (t->unjoined_since != 0 && t->socket->unjoined_timeout != 0) {
		if (join <= now) {
			log_warnx("closed: nothing was joined in %lld ms "
				  "(unjoined_timeout)",
			    t->socket->unjoined_timeout);
			transport_close(t, 1008, "unjoined_timeout");
			return;
		}
		next = join < next ? join : next;
	}
	transport_deadline(t, next - now);
}

void
session_end(struct transport *t)
{
	struct session *session = t->session;
	struct call *call, *next;

	if (session->fd == -1)
		return;
	answer_poll(session);
	event_del(&session->acceptable);
	event_del(&session->work);
	event_del(&session->flush);
	unlink(t->start->session_path);
	close(session->fd);
	session->fd = -1;
	for (call = TAILQ_FIRST(&session->calls); call != NULL; call = next) {
		next = TAILQ_NEXT(call, entry);
		call_free(call);
	}
}
