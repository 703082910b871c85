/*
 * pubsub.c - see pubsub.h.
 */
#include <sys/queue.h>
#include <sys/socket.h>

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/message.h"
#include "common/reaper.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "pubsub/pubsub.h"
#include "pubsub/roster.h"

/* A worker that takes another one's place waits with broadcasts until the
 * transports have told it what they want. */
#define SETTLE     500   /* ms since the last one said hello */
#define SETTLE_MAX 2000  /* ms in all */
#define LET_GO_MAX 65536 /* connections remembered as let go */

/* One connection on one topic: in a list of the topic, in a tree of the peer.
 */
struct subscription {
	struct peer *peer;
	struct topic *topic;
	RB_ENTRY(subscription) of_peer;
	TAILQ_ENTRY(subscription) of_topic;
};
TAILQ_HEAD(subscriptions, subscription);
RB_HEAD(subscription_tree, subscription);

struct topic {
	struct text name;
	struct subscriptions subscribers;
	RB_ENTRY(topic) entry;
};
RB_HEAD(topics, topic);

/* A transport. */
struct peer {
	struct pubsub *pubsub;
	struct mailbox *mailbox;
	uint64_t connection; /* 0 until it has said hello */
	size_t place;        /* in the roster */
	size_t largest;      /* broadcast that may wait for it */
	struct subscription_tree topics;
	struct envelope_writer held; /* a publish that came while settling */
	struct peer *next_overrun;
	TAILQ_ENTRY(peer) entry;
};

struct pubsub {
	const struct pubsub_start *start;
	struct event_base *base;
	struct event *listen_event;
	struct event *retry_event;
	struct mailbox *supervisor;
	struct topics topics;
	TAILQ_HEAD(, peer) peers;
	struct event *settle_event; /* pending: not settled yet */
	long long settle_by;        /* monotonic ms */
	struct roster roster;
	uint64_t *let_go; /* connections: a ring, 0 is none */
	size_t nlet_go;
};

static int
topic_compare(const struct topic *a, const struct topic *b)
{
	return text_compare(&a->name, &b->name);
}

TREE_GENERATE(topics, topic, entry, topic_compare)

static int
subscription_compare(const struct subscription *a, const struct subscription *b)
{
	return text_compare(&a->topic->name, &b->topic->name);
}

TREE_GENERATE(subscription_tree, subscription, of_peer, subscription_compare)

static struct topic *
topic_find(struct pubsub *pubsub, const char *name, size_t size)
{
	struct topic key = { .name = text_lent(name, size) };

	return RB_FIND(topics, &pubsub->topics, &key);
}

static struct topic *
topic_find_or_add(struct pubsub *pubsub, const char *name, size_t size)
{
	struct topic *topic = topic_find(pubsub, name, size);

	if (topic != NULL)
		return topic;
	topic = xcalloc(1, sizeof *topic);
	topic->name.data = xmemdup(name, size);
	topic->name.size = size;
	TAILQ_INIT(&topic->subscribers);
	RB_INSERT(topics, &pubsub->topics, topic);
	return topic;
}

/* The last subscriber takes the topic with it. */
static void
subscription_free(struct pubsub *pubsub, struct subscription *sub)
{
	struct topic *topic = sub->topic;

	RB_REMOVE(subscription_tree, &sub->peer->topics, sub);
	TAILQ_REMOVE(&topic->subscribers, sub, of_topic);
	free(sub);
	if (!TAILQ_EMPTY(&topic->subscribers))
		return;
	RB_REMOVE(topics, &pubsub->topics, topic);
	free(topic->name.data);
	free(topic);
}

static struct subscription *
subscription_find(struct peer *peer, const char *name, size_t size)
{
	struct topic topic = { .name = text_lent(name, size) };
	struct subscription key = { .topic = &topic };

	return RB_FIND(subscription_tree, &peer->topics, &key);
}

static void
peer_free(struct peer *peer)
{
	struct pubsub *pubsub = peer->pubsub;
	struct subscription *sub;

	while ((sub = RB_ROOT(&peer->topics)) != NULL)
		subscription_free(pubsub, sub);
	envelope_writer_free(&peer->held);
	roster_remove(&pubsub->roster, peer->place);
	TAILQ_REMOVE(&pubsub->peers, peer, entry);
	mailbox_free(peer->mailbox);
	free(peer);
}

static void settle_later(struct pubsub *);

/* ---- messages ---- */

static void
confirm(
    struct peer *peer, enum envelope_type type, const char *topic, size_t size)
{
	struct envelope_writer writer = { 0 };

	envelope_put_data(&writer, topic, size);
	mailbox_send(peer->mailbox, type, &writer);
}

static void
subscribe(struct peer *peer, const char *name, size_t size)
{
	struct subscription *sub;

	if (subscription_find(peer, name, size) == NULL) {
		sub = xcalloc(1, sizeof *sub);
		sub->peer = peer;
		sub->topic = topic_find_or_add(peer->pubsub, name, size);
		RB_INSERT(subscription_tree, &peer->topics, sub);
		TAILQ_INSERT_TAIL(&sub->topic->subscribers, sub, of_topic);
	}
	confirm(peer, ENVELOPE_PS_SUBSCRIBED, name, size);
}

static void
unsubscribe(struct peer *peer, const char *name, size_t size)
{
	struct subscription *sub = subscription_find(peer, name, size);

	if (sub != NULL)
		subscription_free(peer->pubsub, sub);
	confirm(peer, ENVELOPE_PS_UNSUBSCRIBED, name, size);
}

/*
 * A transport that takes nothing costs memory here; it is let go, and finds out
 * by the end of its mailbox. Its own bound (backlog_max of the client) lies far
 * below, so this means that the process is stopped or loops.
 */
static bool
peer_overrun(const struct peer *peer, size_t more)
{
	size_t max = peer->pubsub->start->backlog_max + more;

	if (mailbox_backlog(peer->mailbox) <= max)
		return false;
	log_warnx("transport #%llu does not take what it gets: %zu bytes "
		  "wait; let go",
	    (unsigned long long)peer->connection,
	    mailbox_backlog(peer->mailbox));
	return true;
}

/* It will come again, and must hear that it has missed something. */
static void
let_go(struct peer *peer)
{
	struct pubsub *pubsub = peer->pubsub;

	if (pubsub->let_go == NULL)
		pubsub->let_go = xcalloc(LET_GO_MAX, sizeof *pubsub->let_go);
	pubsub->let_go[pubsub->nlet_go++ % LET_GO_MAX] = peer->connection;
	peer_free(peer);
}

static void
hello(struct peer *peer, uint64_t connection)
{
	struct pubsub *pubsub = peer->pubsub;

	peer->connection = connection;
	if (peer->place == ROSTER_NONE && connection != 0)
		peer->place = roster_add(&pubsub->roster, connection);
	for (size_t i = 0; i < pubsub->nlet_go && i < LET_GO_MAX; i++)
		if (pubsub->let_go[i] == connection && connection != 0) {
			pubsub->let_go[i] = 0;
			mailbox_send(peer->mailbox, ENVELOPE_PS_OVERRUN, NULL);
		}
	if (event_pending(pubsub->settle_event, EV_TIMEOUT, NULL))
		settle_later(pubsub);
}

/*
 * fields: topic, event, kind, payload, as the publisher's transport wrote them.
 * Those who are let go are let go behind the loop: the topic may go with them.
 */
static void
deliver(struct topic *topic, const struct peer *from, const uint8_t *fields,
    size_t size)
{
	struct subscription *sub;
	struct peer *overrun = NULL;

	TAILQ_FOREACH (sub, &topic->subscribers, of_topic) {
		struct envelope_writer writer = { 0 };

		if (sub->peer == from)
			continue;
		if (peer_overrun(sub->peer, 0)) {
			sub->peer->next_overrun = overrun;
			overrun = sub->peer;
			continue;
		}
		if (mailbox_backlog(sub->peer->mailbox) == 0)
			sub->peer->largest = 0;
		if (sub->peer->largest < size)
			sub->peer->largest = size;
		envelope_put_raw(&writer, fields, size);
		mailbox_send(sub->peer->mailbox, ENVELOPE_PS_DELIVER, &writer);
	}
	while (overrun != NULL) {
		struct peer *peer = overrun;

		overrun = peer->next_overrun;
		let_go(peer);
	}
}

static bool
publish(struct peer *peer, struct envelope *envelope)
{
	uint64_t number = envelope_get_u64(envelope);
	size_t begin = envelope->at, size, ignored;
	const char *name = envelope_get_data(envelope, &size);
	struct envelope_writer writer = { 0 };
	struct topic *topic;

	envelope_get_data(envelope, &ignored);
	envelope_get_u32(envelope);
	envelope_get_data(envelope, &ignored);
	if (!envelope_end(envelope))
		return false;
	topic = topic_find(peer->pubsub, name, size);
	if (topic != NULL)
		deliver(topic, peer, envelope->data + begin,
		    envelope->size - begin);
	envelope_put_u64(&writer, number);
	mailbox_send(peer->mailbox, ENVELOPE_PS_ACCEPTED, &writer);
	return true;
}

/* ---- settling ---- */

static void
settle_later(struct pubsub *pubsub)
{
	long long left = pubsub->settle_by - monotonic_ms();
	struct timeval tv = { 0 };

	if (left > SETTLE)
		left = SETTLE;
	if (pubsub->roster.nmissing == 0)
		left = 0;
	if (left > 0)
		tv.tv_usec = left * 1000;
	event_add(pubsub->settle_event, &tv);
}

/* True: not settled, so the publish waits, and all that this peer says. */
static bool
hold(struct peer *peer, const struct envelope *envelope)
{
	if (!event_pending(peer->pubsub->settle_event, EV_TIMEOUT, NULL))
		return false;
	envelope_put_raw(&peer->held, envelope->data, envelope->size);
	mailbox_pause(peer->mailbox);
	return true;
}

static void
publish_held(struct peer *peer)
{
	struct envelope_writer held = peer->held;
	struct envelope envelope = {
		.type = ENVELOPE_PS_PUBLISH,
		.data = held.data + ENVELOPE_HEAD,
		.size = held.size - ENVELOPE_HEAD,
	};

	if (held.data == NULL)
		return;
	peer->held = (struct envelope_writer){ 0 };
	mailbox_resume(peer->mailbox);
	if (!publish(peer, &envelope))
		peer_free(peer);
	envelope_writer_free(&held);
}

/* Each publish may cost any peers their place, so none is held on to. */
static void
on_settled(int fd, short what, void *arg)
{
	struct pubsub *pubsub = arg;
	struct peer *peer;
	size_t n = 0;

	(void)fd;
	(void)what;
	TAILQ_FOREACH (peer, &pubsub->peers, entry)
		n++;
	while (n-- > 0 && (peer = TAILQ_FIRST(&pubsub->peers)) != NULL) {
		TAILQ_REMOVE(&pubsub->peers, peer, entry);
		TAILQ_INSERT_TAIL(&pubsub->peers, peer, entry);
		publish_held(peer);
	}
}

static bool
dispatch(struct peer *peer, struct envelope *envelope)
{
	const char *topic;
	size_t size;

	if (envelope->type == ENVELOPE_PS_HELLO) {
		hello(peer, envelope_get_u64(envelope));
		return envelope_end(envelope);
	}
	if (envelope->type == ENVELOPE_PS_PUBLISH)
		return hold(peer, envelope) || publish(peer, envelope);
	if (envelope->type != ENVELOPE_PS_SUBSCRIBE &&
	    envelope->type != ENVELOPE_PS_UNSUBSCRIBE)
		return false;
	topic = envelope_get_data(envelope, &size);
	if (!envelope_end(envelope))
		return false;
	if (envelope->type == ENVELOPE_PS_SUBSCRIBE)
		subscribe(peer, topic, size);
	else
		unsubscribe(peer, topic, size);
	return true;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct peer *peer = arg;

	(void)mailbox;
	if (envelope == NULL) {
		peer_free(peer);
		return;
	}
	if (!dispatch(peer, envelope))
		log_warnx("transport #%llu sent a bad %s envelope; let go",
		    (unsigned long long)peer->connection,
		    envelope_name(envelope->type));
	else if (!peer_overrun(peer, peer->largest))
		return; /* else it asks and does not take the answers */
	let_go(peer);
}

/* ---- the role ---- */

static void
peer_new(struct pubsub *pubsub, int fd)
{
	struct peer *peer = xcalloc(1, sizeof *peer);

	peer->pubsub = pubsub;
	peer->place = ROSTER_NONE;
	RB_INIT(&peer->topics);
	TAILQ_INSERT_TAIL(&pubsub->peers, peer, entry);
	peer->mailbox = mailbox_new(fd, on_envelope, peer);
	mailbox_attach(peer->mailbox, pubsub->base);
}

static void
on_retry(int fd, short what, void *arg)
{
	struct pubsub *pubsub = arg;

	(void)fd;
	(void)what;
	event_add(pubsub->listen_event, NULL);
}

static void
on_connect(int fd, short what, void *arg)
{
	static const struct timeval pause = { .tv_usec = 100000 };
	struct pubsub *pubsub = arg;
	int peer;

	(void)what;
	while ((peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) !=
	    -1)
		peer_new(pubsub, peer);
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	/* Out of descriptors: they wait in the backlog meanwhile. */
	log_warn("accept of a transport; next try in 100 ms");
	event_del(pubsub->listen_event);
	event_add(pubsub->retry_event, &pause);
}

static void
on_supervisor(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	(void)mailbox;
	(void)arg;
	if (envelope != NULL)
		fatalx("envelope %s from the supervisor",
		    envelope_name(envelope->type));
	_exit(EXIT_SHUTDOWN);
}

static void
on_died(pid_t pid, int status, void *arg)
{
	(void)arg;
	log_warnx("a child that it never had: %d, status %d", (int)pid, status);
}

static void
on_signal(const struct signalfd_siginfo *info, void *arg)
{
	(void)arg;
	if (info->ssi_signo == SIGTERM)
		_exit(EXIT_SHUTDOWN);
}

void
pubsub_run(void *arg)
{
	static const int signals[] = { SIGTERM, 0 };
	static const struct reaper_callbacks callbacks = {
		.died = on_died,
		.signalled = on_signal,
	};
	struct pubsub pubsub = { .start = arg };
	char name[32];

	snprintf(name, sizeof name, "pubsub %u", pubsub.start->number);
	log_init(name);
	process_title("%s", name);
	RB_INIT(&pubsub.topics);
	TAILQ_INIT(&pubsub.peers);
	pubsub.base = event_base_new();
	if (pubsub.base == NULL)
		fatalx("event_base_new");
	if (reaper_new(pubsub.base, signals, &callbacks, &pubsub) == NULL)
		fatal("signals");
	pubsub.listen_event = event_new(pubsub.base, PUBSUB_FD_LISTEN,
	    EV_READ | EV_PERSIST, on_connect, &pubsub);
	pubsub.retry_event = event_new(pubsub.base, -1, 0, on_retry, &pubsub);
	pubsub.settle_event = event_new(
	    pubsub.base, -1, 0, on_settled, &pubsub);
	if (pubsub.start->roster != NULL)
		roster_open(&pubsub.roster, pubsub.start->roster,
		    pubsub.start->roster_max);
	if (pubsub.roster.nmissing > 0) {
		pubsub.settle_by = monotonic_ms() + SETTLE_MAX;
		settle_later(&pubsub);
	}
	event_add(pubsub.listen_event, NULL);
	pubsub.supervisor = mailbox_new(
	    PUBSUB_FD_MAILBOX, on_supervisor, &pubsub);
	mailbox_attach(pubsub.supervisor, pubsub.base);
	mailbox_send(pubsub.supervisor, ENVELOPE_STARTED, NULL);
	event_base_dispatch(pubsub.base);
	fatalx("the event loop ended");
}
