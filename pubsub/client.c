/*
 * client.c - see client.h.
 */
#include <sys/queue.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mailbox.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "pubsub/client.h"
#include "pubsub/lane.h"

#define RETRY_MIN        2 /* ms between tries to connect, doubling */
#define RETRY_MAX        1000
#define CONNECTION_SHIFT 32 /* of publish numbers of one connection */
/* Bytes of publishes that are on their way, of which the mailbox may hold a
 * copy. One is always taken. */
#define UNDER_WAY_MAX (256U << 10)

/* Somebody who waits for a confirmation. */
struct waiter {
	pubsub_confirm_cb callback;
	void *arg;
	STAILQ_ENTRY(waiter) entry;
};

/* Requests are confirmed in the order in which they were made. */
struct request {
	bool subscribe;
	bool renewal; /* told to a fresh worker: nobody waits for it */
	STAILQ_HEAD(, waiter) waiters;
	STAILQ_ENTRY(request) entry;
};

struct topic {
	enum part part;
	struct text name;
	unsigned wanted; /* how many want it */
	/* Of each journal, the last entry before the subscription was
	 * confirmed; NULL: it is not. */
	uint64_t *since;
	STAILQ_HEAD(, request) requests; /* that are not confirmed yet */
	RB_ENTRY(topic) entry;
};
RB_HEAD(topics, topic);

struct publish {
	uint64_t number;
	struct envelope_writer body;
	STAILQ_ENTRY(publish) entry;
};

struct pubsub_client {
	struct event_base *base;
	struct pubsub_identity identity;
	const struct pubsub_callbacks *callbacks;
	void *arg;
	struct mailbox *mailbox; /* NULL: not connected */
	struct event retry;
	int retry_ms;
	struct event confirm; /* for confirmations that need no worker */
	STAILQ_HEAD(, waiter) confirmed;
	struct topics topics;
	STAILQ_HEAD(, publish) publishes; /* that are not accepted yet */
	struct publish *unsent;           /* the first that waits; or NULL */
	uint64_t last_number;
	size_t unaccepted;
	size_t under_way; /* of these: were sent */
	bool asked;       /* by the worker, whether there is room */

	bool serves; /* there is a client: */
	uint32_t mount;
	enum frame_version version;
	int fd;              /* the client's socket, lent */
	struct lane *lane;   /* NULL: none */
	uint32_t generation; /* of the lane; 0: not registered */
	uint64_t frames;     /* that came in this generation */
	unsigned nworkers;   /* as far as we have heard of them */
	uint64_t received[PARTS][PUBSUB_MAX];
};

static int
topic_compare(const struct topic *a, const struct topic *b)
{
	if (a->part != b->part)
		return a->part < b->part ? -1 : 1;
	return text_compare(&a->name, &b->name);
}

TREE_GENERATE(topics, topic, entry, topic_compare)

static struct topic *
topic_find(
    struct pubsub_client *client, enum part part, const struct text *name)
{
	struct topic key = { .part = part, .name = *name };

	return RB_FIND(topics, &client->topics, &key);
}

static struct topic *
topic_find_or_add(
    struct pubsub_client *client, enum part part, const struct text *name)
{
	struct topic *topic = topic_find(client, part, name);

	if (topic != NULL)
		return topic;
	topic = xcalloc(1, sizeof *topic);
	topic->part = part;
	topic->name.data = xmemdup(name->data, name->size);
	topic->name.size = name->size;
	STAILQ_INIT(&topic->requests);
	RB_INSERT(topics, &client->topics, topic);
	return topic;
}

/* Nobody wants it and nothing is under way. */
static void
topic_free_if_idle(struct pubsub_client *client, struct topic *topic)
{
	if (topic->wanted > 0 || !STAILQ_EMPTY(&topic->requests))
		return;
	RB_REMOVE(topics, &client->topics, topic);
	free(topic->since);
	free(topic->name.data);
	free(topic);
}

/* ---- to the worker ---- */

static void
send_request(struct pubsub_client *client, const struct topic *topic,
    const struct request *request)
{
	unsigned n = request->renewal ? client->nworkers : 0;
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, topic->part);
	envelope_put_data(&writer, topic->name.data, topic->name.size);
	if (!request->subscribe) {
		mailbox_send(client->mailbox, ENVELOPE_PS_UNSUBSCRIBE, &writer);
		return;
	}
	envelope_put_u32(&writer, n);
	for (unsigned i = 0; i < n; i++)
		envelope_put_u64(&writer, topic->since[i]);
	mailbox_send(client->mailbox, ENVELOPE_PS_SUBSCRIBE, &writer);
}

static size_t
publish_size(const struct publish *publish)
{
	return sizeof *publish + publish->body.size;
}

static void
send_publish(struct pubsub_client *client, const struct publish *publish)
{
	struct envelope_writer writer = { 0 };

	client->under_way += publish_size(publish);
	envelope_put_raw(&writer, publish->body.data + ENVELOPE_HEAD,
	    publish->body.size - ENVELOPE_HEAD);
	mailbox_send(client->mailbox, ENVELOPE_PS_PUBLISH, &writer);
}

/* As many as may be on their way. */
static void
send_publishes(struct pubsub_client *client)
{
	struct publish *publish;

	while ((publish = client->unsent) != NULL &&
	    (client->under_way == 0 ||
		client->under_way + publish_size(publish) <= UNDER_WAY_MAX)) {
		client->unsent = STAILQ_NEXT(publish, entry);
		send_publish(client, publish);
	}
}

/* The worker that we had can write to the client no more: the lane is ours,
 * unless it died within a write. */
static void
register_lane(struct pubsub_client *client)
{
	uint64_t account;

	client->frames = 0;
	if (client->lane == NULL)
		return;
	if (!lane_account(client->fd, &account)) {
		/* Not TCP, perhaps: frames come by the mailbox. What a worker
		 * had begun to write, nobody can end. */
		if (client->generation != 0)
			lane_close(client->lane);
		client->lane = NULL;
		client->generation = 0;
		return;
	}
	client->generation = lane_register(
	    client->lane, client->generation == 0, account);
}

static void
send_hello(struct pubsub_client *client)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, client->identity.slot);
	envelope_put_u64(&writer, client->identity.connection);
	envelope_put_u32(&writer, client->nworkers);
	for (unsigned i = 0; i < client->nworkers; i++)
		for (int part = 0; part < PARTS; part++)
			envelope_put_u64(&writer, client->received[part][i]);
	mailbox_send(client->mailbox, ENVELOPE_PS_HELLO, &writer);
}

/* Without a descriptor to spare, frames come by the mailbox. */
static void
send_serves(struct pubsub_client *client)
{
	int fd = client->lane == NULL ? -1
				      : fcntl(client->fd, F_DUPFD_CLOEXEC, 0);
	struct envelope_writer writer = { 0 };

	if (!client->serves)
		return;
	envelope_put_u32(&writer, client->mount);
	envelope_put_u32(&writer, client->version);
	envelope_put_u32(&writer, fd == -1 ? 0 : client->generation);
	mailbox_send_fd(client->mailbox, ENVELOPE_PS_SERVES, &writer, fd);
}

static struct request *
request_new(bool subscribe)
{
	struct request *request = xcalloc(1, sizeof *request);

	request->subscribe = subscribe;
	STAILQ_INIT(&request->waiters);
	return request;
}

/*
 * A fresh worker knows nothing. What its predecessor had confirmed comes first,
 * so that it can give again what we missed; then what nobody has confirmed yet,
 * in its order.
 */
static void
renew(struct pubsub_client *client)
{
	struct topic *topic;
	struct request *request;

	send_hello(client);
	send_serves(client);
	RB_FOREACH (topic, topics, &client->topics) {
		/* One that the predecessor did not confirm is still there. */
		request = STAILQ_FIRST(&topic->requests);
		if (topic->since == NULL)
			continue;
		if (request == NULL || !request->renewal) {
			request = request_new(true);
			request->renewal = true;
			STAILQ_INSERT_HEAD(&topic->requests, request, entry);
		}
		send_request(client, topic, request);
	}
	mailbox_send(client->mailbox, ENVELOPE_PS_READY, NULL);
	RB_FOREACH (topic, topics, &client->topics)
		STAILQ_FOREACH (request, &topic->requests, entry)
			if (!request->renewal)
				send_request(client, topic, request);
	client->under_way = 0;
	client->unsent = STAILQ_FIRST(&client->publishes);
	send_publishes(client);
}

static void on_envelope(struct mailbox *, struct envelope *, void *);

static void
retry_later(struct pubsub_client *client)
{
	struct timeval tv = {
		.tv_sec = client->retry_ms / 1000,
		.tv_usec = client->retry_ms % 1000 * 1000,
	};

	event_add(&client->retry, &tv);
	client->retry_ms *= 2;
	if (client->retry_ms > RETRY_MAX)
		client->retry_ms = RETRY_MAX;
}

/* EAGAIN is a full backlog, which has no event. */
static void
client_connect(struct pubsub_client *client)
{
	int fd = mailbox_connect(client->identity.path);

	if (fd == -1) {
		if (errno != EAGAIN)
			log_warn("pubsub: %s; next try in %d ms",
			    client->identity.path, client->retry_ms);
		retry_later(client);
		return;
	}
	client->mailbox = mailbox_new(fd, on_envelope, client);
	/* What is said leaves together, behind the attachment. */
	renew(client);
	mailbox_attach(client->mailbox, client->base);
}

static void
on_retry(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	client_connect(arg);
}

/* At the first need. Later, a lost connection comes back by itself. */
static void
connect_if_needed(struct pubsub_client *client)
{
	if (client->mailbox == NULL &&
	    !event_pending(&client->retry, EV_TIMEOUT, NULL))
		client_connect(client);
}

/* ---- from the worker ---- */

static void
tell_confirmed(int fd, short what, void *arg)
{
	struct pubsub_client *client = arg;
	struct waiter *waiter;

	(void)fd;
	(void)what;
	while ((waiter = STAILQ_FIRST(&client->confirmed)) != NULL) {
		STAILQ_REMOVE_HEAD(&client->confirmed, entry);
		waiter->callback(waiter->arg);
		free(waiter);
	}
}

/* What the worker had delivered when it confirmed. */
static bool
get_since(struct pubsub_client *client, struct topic *topic,
    struct envelope *envelope, bool keep)
{
	uint32_t n = envelope_get_u32(envelope);

	if (n == 0 || n > PUBSUB_MAX)
		return false;
	client->nworkers = n;
	if (topic->since == NULL)
		topic->since = xcalloc(PUBSUB_MAX, sizeof *topic->since);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t number = envelope_get_u64(envelope);

		if (!keep)
			topic->since[i] = number;
	}
	return envelope_end(envelope);
}

static bool
on_confirmed(
    struct pubsub_client *client, struct envelope *envelope, bool subscribe)
{
	uint32_t part = envelope_get_u32(envelope);
	struct text name = envelope_get_text(envelope);
	struct topic *topic;
	struct request *request;
	struct waiter *waiter;

	topic = topic_find(client, part, &name);
	if (envelope->bad || topic == NULL)
		return false;
	request = STAILQ_FIRST(&topic->requests);
	if (request == NULL || request->subscribe != subscribe)
		return false;
	if (subscribe ? !get_since(client, topic, envelope, request->renewal)
		      : !envelope_end(envelope))
		return false;
	if (!subscribe) {
		free(topic->since);
		topic->since = NULL;
	}
	STAILQ_REMOVE_HEAD(&topic->requests, entry);
	while ((waiter = STAILQ_FIRST(&request->waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&request->waiters, entry);
		STAILQ_INSERT_TAIL(&client->confirmed, waiter, entry);
	}
	free(request);
	topic_free_if_idle(client, topic);
	/* In order with the broadcasts around it, so not from the loop. */
	tell_confirmed(-1, 0, client);
	return true;
}

static uint64_t
last_sent(const struct pubsub_client *client)
{
	return client->unsent == NULL ? client->last_number
				      : client->unsent->number - 1;
}

static bool
on_accepted(struct pubsub_client *client, struct envelope *envelope)
{
	uint64_t number = envelope_get_u64(envelope);
	struct publish *publish;

	if (!envelope_end(envelope) || number > last_sent(client))
		return false;
	while ((publish = STAILQ_FIRST(&client->publishes)) != NULL &&
	    publish->number <= number) {
		STAILQ_REMOVE_HEAD(&client->publishes, entry);
		client->unaccepted -= publish_size(publish);
		client->under_way -= publish_size(publish);
		envelope_writer_free(&publish->body);
		free(publish);
	}
	send_publishes(client);
	if (publish == NULL)
		client->callbacks->idle(client->arg);
	return true;
}

/* Where an entry comes from: what we have received up to there. */
static bool
on_number(
    struct pubsub_client *client, struct envelope *envelope, enum part part)
{
	uint32_t origin = envelope_get_u32(envelope);
	uint64_t number = envelope_get_u64(envelope);

	if (origin >= PUBSUB_MAX)
		return false;
	client->received[part][origin] = number;
	if (origin >= client->nworkers)
		client->nworkers = origin + 1;
	return true;
}

static bool
on_deliver(struct pubsub_client *client, struct envelope *envelope)
{
	struct broadcast broadcast;
	uint32_t what;

	if (!on_number(client, envelope, PART_CHANNEL))
		return false;
	what = envelope_get_u32(envelope);
	if (!broadcast_get(envelope, &broadcast))
		return false;
	client->callbacks->deliver(&broadcast, what, client->arg);
	return true;
}

static bool
on_frame(struct pubsub_client *client, struct envelope *envelope)
{
	struct text topic, frame;

	if (!on_number(client, envelope, PART_CLIENT))
		return false;
	topic = envelope_get_text(envelope);
	frame = envelope_get_text(envelope);
	if (!envelope_end(envelope))
		return false;
	client->frames++;
	client->callbacks->frame(&topic, frame.data, frame.size, client->arg);
	return true;
}

static bool
on_rest(struct pubsub_client *client, struct envelope *envelope)
{
	struct text rest;

	if (!on_number(client, envelope, PART_CLIENT))
		return false;
	rest = envelope_get_text(envelope);
	if (!envelope_end(envelope))
		return false;
	if (client->lane == NULL)
		return true; /* sent before the client was gone */
	client->frames++;
	client->callbacks->rest(rest.data, rest.size, client->arg);
	return true;
}

/* There is more than may come unasked. */
static bool
on_enough(struct pubsub_client *client, struct envelope *envelope)
{
	if (client->asked || !envelope_end(envelope))
		return false;
	client->asked = true;
	pubsub_client_room(client);
	return true;
}

static bool
dispatch(struct pubsub_client *client, struct envelope *envelope)
{
	if (envelope->type == ENVELOPE_PS_DELIVER)
		return on_deliver(client, envelope);
	if (envelope->type == ENVELOPE_PS_FRAME)
		return on_frame(client, envelope);
	if (envelope->type == ENVELOPE_PS_REST)
		return on_rest(client, envelope);
	if (envelope->type == ENVELOPE_PS_YOURS) {
		client->callbacks->lane_free(client->arg);
		return true;
	}
	if (envelope->type == ENVELOPE_PS_OVERRUN) {
		client->callbacks->overrun(client->arg);
		return true;
	}
	if (envelope->type == ENVELOPE_PS_ENOUGH)
		return on_enough(client, envelope);
	if (envelope->type == ENVELOPE_PS_ACCEPTED)
		return on_accepted(client, envelope);
	if (envelope->type == ENVELOPE_PS_SUBSCRIBED)
		return on_confirmed(client, envelope, true);
	if (envelope->type == ENVELOPE_PS_UNSUBSCRIBED)
		return on_confirmed(client, envelope, false);
	return false;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct pubsub_client *client = arg;

	if (envelope != NULL) {
		client->retry_ms = RETRY_MIN;
		if (dispatch(client, envelope))
			return;
		log_warnx("pubsub sent a bad %s envelope; connecting again",
		    envelope_name(envelope->type));
	}
	client->mailbox = NULL;
	client->asked = false;
	mailbox_free(mailbox);
	retry_later(client);
	register_lane(client);
	client->callbacks->lane_free(client->arg);
}

/* ---- the calls ---- */

struct pubsub_client *
pubsub_client_new(struct event_base *base,
    const struct pubsub_identity *identity,
    const struct pubsub_callbacks *callbacks, void *arg)
{
	struct pubsub_client *client = xcalloc(1, sizeof *client);

	client->base = base;
	client->identity = *identity;
	client->callbacks = callbacks;
	client->arg = arg;
	client->retry_ms = RETRY_MIN;
	/* Beyond those of whoever had the slot before: the worker may read its
	 * last publishes when the slot is ours already. */
	client->last_number = identity->connection << CONNECTION_SHIFT;
	client->fd = -1;
	RB_INIT(&client->topics);
	STAILQ_INIT(&client->publishes);
	STAILQ_INIT(&client->confirmed);
	event_assign(&client->retry, base, -1, 0, on_retry, client);
	event_assign(&client->confirm, base, -1, 0, tell_confirmed, client);
	return client;
}

bool
pubsub_client_serves(struct pubsub_client *client, uint32_t mount,
    enum frame_version version, int fd, struct lane *lane)
{
	assert(!client->serves);
	client->serves = true;
	client->mount = mount;
	client->version = version;
	client->fd = fd;
	client->lane = lane;
	register_lane(client);
	if (client->mailbox != NULL)
		send_serves(client);
	return client->lane != NULL;
}

/* What its worker knows of the socket is void from now on. */
void
pubsub_client_serves_nobody(struct pubsub_client *client)
{
	client->serves = false;
	client->lane = NULL;
	client->fd = -1;
}

uint64_t
pubsub_client_received(const struct pubsub_client *client)
{
	return client->frames;
}

void
pubsub_client_free(struct pubsub_client *client)
{
	struct topic *topic;
	struct request *request;
	struct waiter *waiter;
	struct publish *publish;

	event_del(&client->retry);
	event_del(&client->confirm);
	mailbox_free(client->mailbox);
	while ((topic = RB_MIN(topics, &client->topics)) != NULL) {
		while ((request = STAILQ_FIRST(&topic->requests)) != NULL) {
			STAILQ_REMOVE_HEAD(&topic->requests, entry);
			STAILQ_CONCAT(&client->confirmed, &request->waiters);
			free(request);
		}
		topic->wanted = 0;
		topic_free_if_idle(client, topic);
	}
	while ((waiter = STAILQ_FIRST(&client->confirmed)) != NULL) {
		STAILQ_REMOVE_HEAD(&client->confirmed, entry);
		free(waiter);
	}
	while ((publish = STAILQ_FIRST(&client->publishes)) != NULL) {
		STAILQ_REMOVE_HEAD(&client->publishes, entry);
		envelope_writer_free(&publish->body);
		free(publish);
	}
	free(client);
}

static struct waiter *
waiter_new(pubsub_confirm_cb callback, void *arg)
{
	struct waiter *waiter = xcalloc(1, sizeof *waiter);

	waiter->callback = callback;
	waiter->arg = arg;
	return waiter;
}

/* A request to the worker; the waiter is told when it is confirmed. */
static void
request(struct pubsub_client *client, struct topic *topic, bool subscribe,
    struct waiter *waiter)
{
	struct request *new = request_new(subscribe);

	STAILQ_INSERT_TAIL(&new->waiters, waiter, entry);
	STAILQ_INSERT_TAIL(&topic->requests, new, entry);
	if (client->mailbox != NULL)
		send_request(client, topic, new);
}

/* Nothing to ask for: it waits behind the last request, or is told soon. */
static void
ride_along(
    struct pubsub_client *client, struct topic *topic, struct waiter *waiter)
{
	struct request *last = STAILQ_LAST(&topic->requests, request, entry);

	if (last != NULL) {
		STAILQ_INSERT_TAIL(&last->waiters, waiter, entry);
		return;
	}
	STAILQ_INSERT_TAIL(&client->confirmed, waiter, entry);
	event_active(&client->confirm, EV_TIMEOUT, 0);
}

void
pubsub_subscribe(struct pubsub_client *client, enum part part,
    const struct text *name, pubsub_confirm_cb callback, void *arg)
{
	struct topic *topic;

	connect_if_needed(client);
	topic = topic_find_or_add(client, part, name);
	if (topic->wanted++ == 0)
		request(client, topic, true, waiter_new(callback, arg));
	else
		ride_along(client, topic, waiter_new(callback, arg));
}

void
pubsub_unsubscribe(struct pubsub_client *client, enum part part,
    const struct text *name, pubsub_confirm_cb callback, void *arg)
{
	struct topic *topic = topic_find(client, part, name);

	assert(topic != NULL && topic->wanted > 0);
	if (--topic->wanted == 0)
		request(client, topic, false, waiter_new(callback, arg));
	else
		ride_along(client, topic, waiter_new(callback, arg));
}

void
pubsub_publish(struct pubsub_client *client, const struct broadcast *broadcast,
    uint32_t flags)
{
	struct publish *publish = xcalloc(1, sizeof *publish);

	connect_if_needed(client);
	publish->number = ++client->last_number;
	envelope_put_u64(&publish->body, publish->number);
	envelope_put_u32(&publish->body, flags);
	broadcast_put(&publish->body, broadcast);
	envelope_writer_trim(&publish->body);
	STAILQ_INSERT_TAIL(&client->publishes, publish, entry);
	client->unaccepted += publish_size(publish);
	if (client->unsent == NULL)
		client->unsent = publish;
	if (client->mailbox != NULL)
		send_publishes(client);
}

void
pubsub_client_room(struct pubsub_client *client)
{
	if (!client->asked ||
	    (client->callbacks->has_room != NULL &&
		!client->callbacks->has_room(client->arg)))
		return;
	client->asked = false;
	mailbox_send(client->mailbox, ENVELOPE_PS_ROOM, NULL);
}

void
pubsub_publish_as(struct pubsub_client *client, uint64_t number,
    const struct broadcast *broadcast, uint32_t flags)
{
	assert(number > client->last_number);
	client->last_number = number - 1;
	pubsub_publish(client, broadcast, flags);
}

uint64_t
pubsub_last(const struct pubsub_client *client)
{
	return client->last_number;
}

void
pubsub_go_on(struct pubsub_client *client, uint64_t last)
{
	if (last > client->last_number)
		client->last_number = last;
}

size_t
pubsub_unaccepted(const struct pubsub_client *client)
{
	return client->unaccepted;
}
