/*
 * transport.c - see transport.h: the connection, from its first byte to the end
 * of its last channel.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/log.h"
#include "common/reaper.h"
#include "common/xmalloc.h"
#include "transport/ahead.h"
#include "transport/connect.h"
#include "transport/endpoint.h"
#include "transport/inspect.h"
#include "transport/link.h"
#include "transport/longpoll.h"
#include "transport/publish.h"
#include "transport/phoenix.h"
#include "transport/request.h"
#include "transport/session.h"
#include "transport/subscriber.h"
#include "transport/transport.h"

#define HUNG_SOON     100 /* ms until somebody who may be hung is looked at */
#define GONE_LOOK     5000 /* ms between looks whether an unread client is gone */
#define LINGER        2000 /* ms that the client has to send its FIN */
#define PUBLISH_LIMIT 5000 /* ms that last publishes have to be accepted */

/* Where all that the client sends is read to. Only used pages cost memory. */
static char read_buffer[64 * 1024];

static void transport_end(struct transport *, enum bennu_reason);
static void watch_message(struct transport *);
static void check_deadline(struct transport *);

/* ---- reading ---- */

static void
stop_reading(struct transport *t)
{
	event_del(&t->readable);
	if (t->websocket != NULL)
		websocket_pause(t->websocket);
	transport_deadline(t, GONE_LOOK);
}

static void
go_on_reading(struct transport *t)
{
	/* It was we who did not read: the client's time begins now. */
	t->received = monotonic_ms();
	if (t->message_since != 0)
		t->message_since = t->received;
	check_deadline(t);
	if (t->websocket != NULL)
		websocket_resume(t->websocket);
	event_add(&t->readable, NULL);
	/* From the loop: whoever resumes is in the middle of something. */
	if (t->in_size > 0 || t->eof)
		event_active(&t->readable, EV_READ, 0);
}

/* Of a connection, with HTTP or a WebSocket. */
static void
read_socket(struct transport *t, bool on)
{
	if (on)
		go_on_reading(t);
	else
		stop_reading(t);
}

static void
read_client(struct transport *t, bool on)
{
	if (t->link != NULL)
		t->link->read(t, on);
	else
		read_socket(t, on);
}

void
transport_pause(struct transport *t, unsigned why)
{
	if (t->mode != MODE_HTTP && t->link == NULL)
		return;
	if (t->paused == 0)
		read_client(t, false);
	t->paused |= why;
}

void
transport_resume(struct transport *t, unsigned why)
{
	if ((t->paused & why) == 0)
		return;
	t->paused &= ~why;
	if (t->paused == 0)
		read_client(t, true);
}

/* What could not be parsed yet waits for the resume. */
void
transport_keep_input(struct transport *t, const char *data, size_t size)
{
	if (size == 0)
		return;
	t->in = xrealloc(t->in, t->in_size + size);
	memcpy(t->in + t->in_size, data, size);
	t->in_size += size;
}

static size_t
feed_http(struct transport *t, const char *data, size_t size)
{
	int status;
	size_t used;

	used = http_feed(t->http, data, size, &status);
	if (status != 0 && t->mode == MODE_HTTP)
		request_refuse(t, status, http_limit(t->http));
	if (!http_in_request(t->http))
		t->request_since = 0;
	else if (t->request_since == 0)
		t->request_since = monotonic_ms();
	if (http_take_continue(t->http))
		outbox_add(&t->outbox, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	if (t->websocket != NULL) {
		http_free(t->http);
		t->http = NULL;
	}
	return used;
}

static void
feed(struct transport *t, const char *data, size_t size)
{
	size_t used = 0;

	while (used < size && t->paused == 0 &&
	    (t->mode == MODE_HTTP || t->mode == MODE_WEBSOCKET))
		used += t->websocket != NULL
		    ? websocket_feed(t->websocket, data + used, size - used)
		    : feed_http(t, data + used, size - used);
	if (t->mode == MODE_WEBSOCKET)
		watch_message(t);
	if (t->mode == MODE_HTTP || t->mode == MODE_WEBSOCKET)
		transport_keep_input(t, data + used, size - used);
}

static void
feed_kept(struct transport *t)
{
	char *data = t->in;
	size_t size = t->in_size;

	t->in = NULL;
	t->in_size = 0;
	feed(t, data, size);
	free(data);
}

static void
on_eof(struct transport *t)
{
	switch (t->mode) {
	case MODE_HTTP:
	case MODE_WEBSOCKET:
		transport_abort(t, "closed by the client");
		break;
	case MODE_CLOSING:
		break; /* the last word may still be wanted */
	case MODE_LINGER:
		transport_end(t, BENNU_CLOSED);
		break;
	case MODE_SESSION:
	case MODE_ENDING:
		break;
	}
}

static void
on_readable(int fd, short what, void *arg)
{
	struct transport *t = arg;
	ssize_t n;

	(void)fd;
	(void)what;
	if (t->paused != 0)
		return;
	if (t->in_size > 0) {
		feed_kept(t);
		return;
	}
	n = recv(t->fd, read_buffer, sizeof read_buffer, MSG_DONTWAIT);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == -1) {
		transport_abort(t, strerror(errno));
		return;
	}
	if (n == 0) {
		t->eof = true;
		event_del(&t->readable);
		on_eof(t);
		return;
	}
	t->received = monotonic_ms();
	feed(t, read_buffer, (size_t)n);
}

/* ---- writing ---- */

bool
transport_is_slow(const struct transport *t)
{
	return t->link != NULL && t->link->backlog(t) > t->config->backlog_max;
}

bool
transport_is_full(const struct transport *t)
{
	return transport_is_slow(t) ||
	    pubsub_unaccepted(t->pubsub) > t->config->backlog_max;
}

/* Who does not take what it gets may not ask for more answers either. */
static void
hold_back_if_slow(struct transport *t)
{
	if (!transport_is_slow(t))
		return;
	transport_pause(t, PAUSE_BACKLOG);
	topic_pause_channels(t, true);
}

void
transport_send_frames(struct transport *t, const char *frames, size_t size)
{
	if (t->link == NULL)
		return;
	t->link->send_frames(t, frames, size);
	hold_back_if_slow(t);
}

void
transport_send(struct transport *t, enum websocket_opcode opcode,
    const char *data, size_t size)
{
	if (t->link == NULL)
		return;
	t->link->send(t, opcode, data, size);
	hold_back_if_slow(t);
}

void
transport_overrun(struct transport *t, const char *what)
{
	if (t->config->backlog_policy == BACKLOG_DROP) {
		stats_own(t->start->stats, STATS_DROPPED_BROADCASTS);
		if (t->dropped++ == 0)
			log_warnx("broadcasts are dropped: %s is full", what);
		return;
	}
	log_warnx("closed: %s is full (backlog_policy = close)", what);
	transport_abort(t, "too slow");
}

void
transport_took(struct transport *t)
{
	if (t->link == NULL || t->link->backlog(t) > t->config->backlog_max / 2)
		return;
	transport_resume(t, PAUSE_BACKLOG);
	if (!transport_is_full(t))
		topic_pause_channels(t, false);
}

static void
on_drained(void *arg)
{
	struct transport *t = arg;

	switch (t->mode) {
	case MODE_HTTP:
		/* A "100 Continue" is not the answer. */
		if ((t->paused & PAUSE_RESPONSE) != 0 && !endpoint_is_busy(t) &&
		    t->inspect == NULL && t->publishing == NULL &&
		    t->longpoll == NULL)
			request_sent(t);
		break;
	case MODE_WEBSOCKET:
		transport_took(t);
		break;
	case MODE_CLOSING:
		shutdown(t->fd, SHUT_WR);
		t->mode = MODE_LINGER;
		transport_deadline(t, LINGER);
		if (t->eof)
			transport_end(t, BENNU_CLOSED);
		else
			event_add(&t->readable, NULL);
		break;
	case MODE_SESSION:
	case MODE_LINGER:
	case MODE_ENDING:
		break;
	}
}

static void
on_progress(void *arg)
{
	transport_took(arg);
}

static void
on_failed(int error, void *arg)
{
	struct transport *t = arg;

	if (error == ETIMEDOUT)
		log_warnx("closed: the client takes nothing for %lld ms "
			  "(send_timeout)",
		    t->config->send_timeout);
	transport_abort(t, strerror(error));
}

/* ---- time ---- */

void
transport_deadline(struct transport *t, long long ms)
{
	struct timeval tv = {
		.tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000,
	};

	event_add(&t->deadline, &tv);
}

/*
 * It is we who do not read, so the client is not idle; but it may be gone, and
 * whoever waits for its channel would wait for nobody.
 */
static void
look_after_unread(struct transport *t)
{
	struct pollfd pollfd = { .fd = t->fd };

	/* Who has sent a request and its FIN may still want the answer. */
	if (t->mode == MODE_WEBSOCKET)
		pollfd.events = POLLRDHUP;
	if (poll(&pollfd, 1, 0) == 1)
		transport_abort(t, "closed by the client");
	else
		transport_deadline(t, GONE_LOOK);
}

/*
 * The timer is not set anew for each message: it looks when it fires. A request
 * counts from its first byte, so that no drip of bytes keeps it going.
 */
static void
check_request(struct transport *t)
{
	long long since = t->request_since != 0 ? t->request_since
						: t->received;
	long long now = monotonic_ms();
	long long left = since + t->config->head_timeout - now;

	if (t->drain_by != 0 && t->drain_by - now < left)
		left = t->drain_by - now;
	if (t->paused != 0)
		look_after_unread(t);
	else if (left > 0)
		transport_deadline(t, left);
	else
		request_timeout(t);
}

static void
close_late(
    struct transport *t, const char *what, long long limit, const char *name)
{
	log_warnx("closed: %s in %lld ms (%s)", what, limit, name);
	transport_close(t, 1008, name);
}

/*
 * Likewise a message; and the client must send something now and then, and join
 * something in the end.
 */
static void
check_websocket(struct transport *t)
{
	const struct config_socket *socket = t->socket;
	long long now = monotonic_ms();
	long long left = t->received + socket->idle_timeout - now;
	long long message = left, join = left;

	if (t->message_since != 0)
		message = t->message_since + socket->message_timeout - now;
	if (t->unjoined_since != 0 && socket->unjoined_timeout != 0)
		join = t->unjoined_since + socket->unjoined_timeout - now;
	if (t->paused != 0) {
		look_after_unread(t);
	} else if (left <= 0) {
		transport_close(t, 1002, "idle_timeout");
	} else if (message <= 0) {
		close_late(t, "a message was not whole",
		    socket->message_timeout, "message_timeout");
	} else if (join <= 0) {
		close_late(t, "nothing was joined", socket->unjoined_timeout,
		    "unjoined_timeout");
	} else {
		left = message < left ? message : left;
		transport_deadline(t, join < left ? join : left);
	}
}

/* Whether a message has begun, now that more was read. */
static void
watch_message(struct transport *t)
{
	if (!websocket_in_message(t->websocket)) {
		t->message_since = 0;
	} else if (t->message_since == 0) {
		t->message_since = monotonic_ms();
		check_websocket(t);
	}
}

/* What it is that must happen in time, and how much time there is left. */
static void
check_deadline(struct transport *t)
{
	if (t->mode == MODE_HTTP)
		check_request(t);
	else if (t->mode == MODE_WEBSOCKET)
		check_websocket(t);
}

static void
on_deadline(int fd, short what, void *arg)
{
	struct transport *t = arg;

	(void)fd;
	(void)what;
	switch (t->mode) {
	case MODE_HTTP:
	case MODE_WEBSOCKET:
		check_deadline(t);
		break;
	case MODE_SESSION:
		session_check(t);
		break;
	case MODE_CLOSING:
	case MODE_LINGER:
		transport_end(t, BENNU_CLOSED);
		break;
	case MODE_ENDING:
		log_warnx("%zu bytes of publishes were not accepted in time",
		    pubsub_unaccepted(t->pubsub));
		_exit(EXIT_SHUTDOWN);
	}
}

static void
set_hung(struct transport *t, long long ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	t->hung_at = monotonic_ms() + ms;
	event_add(&t->hung, &tv);
}

void
transport_watch_hung(struct transport *t)
{
	if (t->hung_at == 0 || t->hung_at > monotonic_ms() + HUNG_SOON)
		set_hung(t, HUNG_SOON);
}

static void
on_hung(int fd, short what, void *arg)
{
	struct transport *t = arg;
	long long next;

	(void)fd;
	(void)what;
	t->hung_at = 0;
	next = topic_check_hung(t);
	if (next != -1)
		set_hung(t, next);
}

/* ---- WebSocket ---- */

static void
on_message(struct websocket *ws, enum websocket_opcode opcode, const char *data,
    size_t size, void *arg)
{
	struct transport *t = arg;

	(void)ws;
	t->message_since = 0; /* it is whole; another one may have begun */
	phoenix_message(t, opcode, data, size);
}

bool
transport_rate(
    struct transport *t, struct rate *rate, unsigned limit, const char *name)
{
	long long second = monotonic_ms() / 1000;

	if (limit == 0)
		return true;
	if (rate->second != second)
		*rate = (struct rate){ .second = second };
	if (++rate->n <= limit)
		return true;
	if (rate->n == limit + 1)
		log_warnx("closed: more than %u in a second (%s)", limit, name);
	transport_close(t, 1008, name);
	return false;
}

static void
on_control(struct websocket *ws, void *arg)
{
	struct transport *t = arg;

	(void)ws;
	transport_rate(
	    t, &t->controls, t->socket->control_rate, "control_rate");
}

static void
on_send(struct websocket *ws, const void *frame, size_t size, void *arg)
{
	(void)ws;
	transport_send_frames(arg, frame, size);
}

static void
on_closed(struct websocket *ws, unsigned code, bool by_client, void *arg)
{
	const char *limit = websocket_limit(ws);

	if (limit != NULL)
		log_warnx("closed: a message is beyond its limit (%s)", limit);
	transport_close(arg, code,
	    by_client ? "closed by the client" : "a broken WebSocket rule");
}

static void
websocket_send(struct transport *t, enum websocket_opcode opcode,
    const char *data, size_t size)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];

	outbox_add(&t->outbox, head, websocket_head(head, opcode, size));
	outbox_add(&t->outbox, data, size);
}

static void
websocket_send_frames(struct transport *t, const char *frames, size_t size)
{
	outbox_add(&t->outbox, frames, size);
}

static size_t
websocket_backlog(const struct transport *t)
{
	return outbox_backlog(&t->outbox);
}

static void
websocket_close(struct transport *t, unsigned code)
{
	const char body[2] = { (char)(code >> 8), (char)code };

	websocket_send(t, WEBSOCKET_CLOSE, body, sizeof body);
	transport_finish(t);
}

const struct client_link websocket_link = {
	.send = websocket_send,
	.send_frames = websocket_send_frames,
	.backlog = websocket_backlog,
	.close = websocket_close,
	.read = read_socket,
};

void
transport_upgrade(struct transport *t, const struct config_socket *socket)
{
	static const struct websocket_callbacks callbacks = {
		.message = on_message,
		.send = on_send,
		.control = on_control,
		.closed = on_closed,
	};
	struct websocket_limits limits = {
		.max_frame = socket->max_frame,
		.max_message = socket->max_message,
		.max_fragments = socket->max_fragments,
	};

	t->socket = socket;
	t->mode = MODE_WEBSOCKET;
	endpoint_stop(t);
	t->websocket = websocket_new(&limits, &callbacks, t);
	t->link = &websocket_link;
	subscriber_serves(t);
	t->unjoined_since = monotonic_ms();
	if (t->paused == 0)
		check_websocket(t); /* else the resume does */
	transport_name(t);
}

void
transport_name(const struct transport *t)
{
	process_title("transport #%llu %s %s %s%s%s",
	    (unsigned long long)t->start->connection, t->start->peer,
	    t->connected.transport, t->socket->path,
	    t->connected.id.data == NULL ? "" : " ",
	    t->connected.id.data == NULL ? "" : t->connected.id.data);
}

/* ---- the end ---- */

void
transport_close(struct transport *t, unsigned code, const char *why)
{
	if (t->link == NULL)
		return;
	log_debug("close %u: %s", code, why);
	t->link->close(t, code);
	transport_stop_channels(t, BENNU_CLOSED);
}

/* What lies in the outbox is the last word. */
void
transport_finish(struct transport *t)
{
	if (t->mode != MODE_HTTP && t->mode != MODE_WEBSOCKET)
		return;
	t->mode = MODE_CLOSING;
	t->link = NULL;
	connect_cancel(t);
	longpoll_cancel(t);
	inspect_cancel(t);
	publish_cancel(t);
	free(t->in);
	t->in = NULL;
	t->in_size = 0;
	event_del(&t->readable);
	if (t->websocket != NULL)
		websocket_pause(t->websocket);
	transport_deadline(t, t->config->send_timeout);
	if (outbox_is_empty(&t->outbox))
		on_drained(t);
	/* The reasons for a pause are gone with what was to be read. */
	t->paused = 0;
}

void
transport_abort(struct transport *t, const char *why)
{
	log_debug("end: %s", why);
	transport_end(t, BENNU_CLOSED);
}

static void
exit_when_done(struct transport *t)
{
	if (t->mode != MODE_ENDING || !t->stopped || t->endpoint != NULL)
		return;
	if (t->pubsub == NULL || pubsub_unaccepted(t->pubsub) == 0)
		_exit(EXIT_NORMAL);
	transport_deadline(t, PUBLISH_LIMIT);
}

void
transport_ended(struct transport *t)
{
	exit_when_done(t);
}

static void
on_channels_stopped(struct supervisor *sup, void *arg)
{
	struct transport *t = arg;

	(void)sup;
	t->stopped = true;
	exit_when_done(t);
}

void
transport_stop_channels(struct transport *t, enum bennu_reason reason)
{
	endpoint_stop(t);
	if (t->end_reason != 0)
		return;
	t->end_reason = reason;
	supervisor_stop(t->channels, on_channels_stopped, t);
}

/* The socket is given up; the channels end; what they publish still leaves. */
static void
transport_end(struct transport *t, enum bennu_reason reason)
{
	if (t->mode == MODE_ENDING)
		return;
	if (t->session != NULL)
		session_end(t);
	t->mode = MODE_ENDING;
	t->link = NULL;
	connect_cancel(t);
	longpoll_cancel(t);
	inspect_cancel(t);
	publish_cancel(t);
	t->paused = 0; /* nothing resumes what is closed */
	event_del(&t->readable);
	event_del(&t->deadline);
	event_del(&t->hung);
	outbox_close(&t->outbox);
	subscriber_ends(t);
	if (t->fd != -1) {
		shutdown(t->fd, SHUT_RDWR);
		close(t->fd);
	}
	t->fd = -1;
	topic_pause_channels(t, false);
	transport_stop_channels(t, reason);
	exit_when_done(t);
}

/* Has the client begun a request, perhaps one that we have not read yet? */
static bool
is_asked(const struct transport *t)
{
	char byte;

	return http_in_request(t->http) || t->in_size > 0 ||
	    recv(t->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

/* A request that has come is answered; the answer is the last word. */
static void
drain_http(struct transport *t)
{
	t->keep_alive = false;
	if (t->drain_by == 0)
		t->drain_by = monotonic_ms() + t->config->shutdown / 2;
	if ((t->paused & PAUSE_RESPONSE) != 0) {
		endpoint_hurry(t);
		longpoll_hurry(t);
	} else if (t->connect != NULL)
		request_refuse(t, 503, NULL); /* it would be closed at once */
	else if (is_asked(t))
		check_deadline(t);
	else
		transport_finish(t);
}

static void
drain_websocket(struct transport *t)
{
	long long limit = t->config->shutdown / 2;

	transport_stop_channels(t, BENNU_DRAINING);
	transport_close(t, 1012, "the server stops");
	/* Who takes nothing is not waited for so long as usual. */
	if (t->mode == MODE_CLOSING && limit < t->config->send_timeout)
		transport_deadline(t, limit);
}

static void
drain_session(struct transport *t)
{
	transport_stop_channels(t, BENNU_DRAINING);
	transport_abort(t, "the server stops");
}

/* SIGTERM: the server stops, or this connection is to go away. */
static void
transport_drain(struct transport *t)
{
	if (t->mode == MODE_HTTP)
		drain_http(t);
	else if (t->mode == MODE_WEBSOCKET)
		drain_websocket(t);
	else if (t->mode == MODE_SESSION)
		drain_session(t);
}

/* ---- the role ---- */

static void
on_child_died(pid_t pid, int status, void *arg)
{
	if (!topic_reap(arg, pid, status))
		endpoint_reap(arg, pid, status);
}

static void
on_signal(const struct signalfd_siginfo *info, void *arg)
{
	struct transport *t = arg;

	if (info->ssi_signo == SIGTERM)
		transport_drain(t);
	else if (info->ssi_code != SI_QUEUE ||
	    (pid_t)info->ssi_pid != t->start->supervisor)
		return;
	else if ((int)info->ssi_signo == TRANSPORT_SIGNAL_INSPECT)
		inspect_signalled(t, (uint32_t)info->ssi_int);
	else if (info->ssi_int == TRANSPORT_KILL_ENDPOINT)
		endpoint_kill(t);
	else
		topic_kill(t, (unsigned)info->ssi_int);
}

bool
transport_disconnects(struct transport *t, const struct broadcast *broadcast)
{
	static const struct text event = { (char *)"disconnect", 10 };

	if (t->link == NULL || t->connected.id.data == NULL ||
	    !text_equal(&broadcast->topic, &t->connected.id) ||
	    !text_equal(&broadcast->event, &event))
		return false;
	transport_close(t, 1001, "disconnected by its id");
	return true;
}

/*
 * Made before the fork: every transport begins with a copy of it. With poll(2)
 * nothing of it lies in the kernel, and for few descriptors it costs less than
 * an epoll instance would. libevent's pipe for signals stays with the
 * supervisor: transports have a signalfd.
 */
static struct event_base *event_base;

void
transport_prepare(void)
{
	struct event_config *config = event_config_new();

	if (config == NULL)
		fatalx("event_config_new");
	event_config_avoid_method(config, "epoll");
	event_config_avoid_method(config, "select");
	event_config_set_flag(
	    config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
	event_base = event_base_new_with_config(config);
	event_config_free(config);
	if (event_base == NULL)
		fatalx("event_base_new");
}

static void
listen_to_signals(struct transport *t)
{
	const int signals[] = { SIGTERM, TRANSPORT_SIGNAL_KILL,
		TRANSPORT_SIGNAL_INSPECT, 0 };
	static const struct reaper_callbacks callbacks = {
		.died = on_child_died,
		.signalled = on_signal,
	};

	if (reaper_new(t->base, signals, &callbacks, t) == NULL)
		fatal("signals");
}

static void
start_channels(struct transport *t)
{
	const struct supervisor_flags flags = {
		.name = "channel_sup",
		.strategy = DYNAMIC,
		.scope = INTENSITY_PER_CHILD,
		.escalation = ESCALATE_GIVE_UP,
		.quiet = true,
	};

	RB_INIT(&t->topics);
	LIST_INIT(&t->all_topics);
	t->channels = supervisor_start(
	    t->base, &flags, &topic_callbacks, t, NULL, 0);
	if (t->channels == NULL)
		fatal("supervisor of channels");
	supervisor_describe(t->channels, topic_describe);
}

static void
prepare_connection(struct transport *t)
{
	static const struct outbox_callbacks callbacks = {
		.may_write = subscriber_may_write,
		.wrote = subscriber_wrote,
		.drained = on_drained,
		.progress = on_progress,
		.failed = on_failed,
	};

	outbox_init(
	    &t->outbox, t->base, t->fd, t->config->send_timeout, &callbacks, t);
	event_assign(
	    &t->readable, t->base, t->fd, EV_READ | EV_PERSIST, on_readable, t);
	event_assign(&t->deadline, t->base, -1, 0, on_deadline, t);
	event_assign(&t->hung, t->base, -1, 0, on_hung, t);
	ahead_init(t);
}

static void
start_connection(struct transport *t)
{
	t->fd = TRANSPORT_FD_CLIENT;
	prepare_connection(t);
	event_add(&t->readable, NULL);
	t->received = monotonic_ms();
	t->keep_alive = true;
	request_begin(t);
	transport_deadline(t, t->config->head_timeout);
}

/* Somebody else's connection leads to it: there is none of its own. */
static void
start_session(struct transport *t)
{
	t->mode = MODE_SESSION;
	prepare_connection(t);
	session_begin(t, TRANSPORT_FD_SESSION);
}

/* Channels are the author's code: secrets and what is there for all
 * transports are not theirs. */
static void
keep_secrets(const struct transport_start *start)
{
	secrets_inherit(start->secrets, false);
	token_keys_inherit(start->token_keys, false);
	stats_inherit(start->stats, false);
	ready_inherit(start->ready, false);
}

void
transport_run(void *arg)
{
	struct transport t = {
		.start = arg,
		.fd = -1,
	};
	char name[96];

	assert(event_base != NULL);
	t.config = t.start->config;
	snprintf(name, sizeof name, "transport #%llu %s",
	    (unsigned long long)t.start->connection, t.start->peer);
	log_init(name);
	process_title("%s", name);
	keep_secrets(t.start);

	t.base = event_base;
	listen_to_signals(&t);
	start_channels(&t);
	subscriber_start(&t);
	if (t.start->session_path == NULL)
		start_connection(&t);
	else
		start_session(&t);
	event_base_dispatch(t.base);
	fatalx("the event loop ended");
}
