/*
 * client.c - see client.h.
 */
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mailbox.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "pubsub/client.h"

#define RETRY_MIN 10 /* ms between tries to connect, doubling */
#define RETRY_MAX 1000

/* Somebody who waits for a confirmation. */
struct waiter {
	pubsub_confirm_cb callback;
	void *arg;
	STAILQ_ENTRY(waiter) entry;
};

/* Requests are confirmed in the order in which they were made. */
struct request {
	bool subscribe;
	STAILQ_HEAD(, waiter) waiters;
	STAILQ_ENTRY(request) entry;
};

struct topic {
	struct text name;
	unsigned wanted;                 /* how many want it */
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
	const char *path;
	uint64_t connection;
	const struct pubsub_callbacks *callbacks;
	void *arg;
	struct mailbox *mailbox; /* NULL: not connected */
	struct event retry;
	int retry_ms;
	struct event confirm; /* for confirmations that need no worker */
	STAILQ_HEAD(, waiter) confirmed;
	struct topics topics;
	STAILQ_HEAD(, publish) publishes; /* that are not accepted yet */
	uint64_t last_number;
	size_t unaccepted;
};

static int
topic_compare(const struct topic *a, const struct topic *b)
{
	return text_compare(&a->name, &b->name);
}

TREE_GENERATE(topics, topic, entry, topic_compare)

static struct topic *
topic_find(struct pubsub_client *client, const char *name, size_t size)
{
	struct topic key = { .name = text_lent(name, size) };

	return RB_FIND(topics, &client->topics, &key);
}

static struct topic *
topic_find_or_add(struct pubsub_client *client, const struct text *name)
{
	struct topic *topic = topic_find(client, name->data, name->size);

	if (topic != NULL)
		return topic;
	topic = xcalloc(1, sizeof *topic);
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
	free(topic->name.data);
	free(topic);
}

/* ---- to the worker ---- */

static void
send_request(
    struct pubsub_client *client, const struct topic *topic, bool subscribe)
{
	struct envelope_writer writer = { 0 };

	envelope_put_data(&writer, topic->name.data, topic->name.size);
	mailbox_send(client->mailbox,
	    subscribe ? ENVELOPE_PS_SUBSCRIBE : ENVELOPE_PS_UNSUBSCRIBE,
	    &writer);
}

static void
send_publish(struct pubsub_client *client, const struct publish *publish)
{
	struct envelope_writer writer = { 0 };

	envelope_put_raw(&writer, publish->body.data + ENVELOPE_HEAD,
	    publish->body.size - ENVELOPE_HEAD);
	mailbox_send(client->mailbox, ENVELOPE_PS_PUBLISH, &writer);
}

/*
 * A fresh worker knows nothing. What is wanted is subscribed first; requests
 * that nobody has confirmed are made again, in their order.
 */
static void
renew(struct pubsub_client *client)
{
	struct envelope_writer writer = { 0 };
	struct topic *topic;
	struct request *request;
	struct publish *publish;

	RB_FOREACH (topic, topics, &client->topics) {
		if (STAILQ_EMPTY(&topic->requests) && topic->wanted > 0) {
			request = xcalloc(1, sizeof *request);
			request->subscribe = true;
			STAILQ_INIT(&request->waiters);
			STAILQ_INSERT_TAIL(&topic->requests, request, entry);
		}
		STAILQ_FOREACH (request, &topic->requests, entry)
			send_request(client, topic, request->subscribe);
	}
	/* Says that the worker knows all that we want. */
	envelope_put_u64(&writer, client->connection);
	mailbox_send(client->mailbox, ENVELOPE_PS_HELLO, &writer);
	STAILQ_FOREACH (publish, &client->publishes, entry)
		send_publish(client, publish);
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

/*
 * The supervisor holds the listening socket, so a connect succeeds also while
 * the worker is being restarted; EAGAIN is a full backlog, without an event.
 */
static void
client_connect(struct pubsub_client *client)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	assert(strlen(client->path) < sizeof address.sun_path);
	memcpy(address.sun_path, client->path, strlen(client->path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1) {
		log_warn("pubsub: socket; next try in %d ms", client->retry_ms);
		retry_later(client);
		return;
	}
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == -1) {
		if (errno != EAGAIN)
			log_warn("pubsub: %s; next try in %d ms", client->path,
			    client->retry_ms);
		close(fd);
		retry_later(client);
		return;
	}
	client->mailbox = mailbox_new(fd, on_envelope, client);
	mailbox_attach(client->mailbox, client->base);
	renew(client);
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

static bool
on_confirmed(
    struct pubsub_client *client, struct envelope *envelope, bool subscribe)
{
	struct topic *topic;
	struct request *request;
	struct waiter *waiter;
	const char *name;
	size_t size;

	name = envelope_get_data(envelope, &size);
	if (!envelope_end(envelope))
		return false;
	topic = topic_find(client, name, size);
	if (topic == NULL)
		return false;
	request = STAILQ_FIRST(&topic->requests);
	if (request == NULL || request->subscribe != subscribe)
		return false;
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

static bool
on_accepted(struct pubsub_client *client, struct envelope *envelope)
{
	uint64_t number = envelope_get_u64(envelope);
	struct publish *publish = STAILQ_FIRST(&client->publishes);

	if (!envelope_end(envelope) || publish == NULL ||
	    publish->number != number)
		return false;
	STAILQ_REMOVE_HEAD(&client->publishes, entry);
	client->unaccepted -= publish->body.size;
	envelope_writer_free(&publish->body);
	free(publish);
	if (STAILQ_EMPTY(&client->publishes))
		client->callbacks->idle(client->arg);
	return true;
}

static bool
on_deliver(struct pubsub_client *client, struct envelope *envelope)
{
	struct broadcast broadcast;

	if (!broadcast_get(envelope, &broadcast))
		return false;
	client->callbacks->deliver(&broadcast, client->arg);
	return true;
}

static bool
dispatch(struct pubsub_client *client, struct envelope *envelope)
{
	if (envelope->type == ENVELOPE_PS_DELIVER)
		return on_deliver(client, envelope);
	if (envelope->type == ENVELOPE_PS_OVERRUN) {
		client->callbacks->overrun(client->arg);
		return true;
	}
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
	mailbox_free(mailbox);
	retry_later(client);
}

/* ---- the calls ---- */

struct pubsub_client *
pubsub_client_new(struct event_base *base, const char *path,
    uint64_t connection, const struct pubsub_callbacks *callbacks, void *arg)
{
	struct pubsub_client *client = xcalloc(1, sizeof *client);

	client->base = base;
	client->path = path;
	client->connection = connection;
	client->callbacks = callbacks;
	client->arg = arg;
	client->retry_ms = RETRY_MIN;
	RB_INIT(&client->topics);
	STAILQ_INIT(&client->publishes);
	STAILQ_INIT(&client->confirmed);
	event_assign(&client->retry, base, -1, 0, on_retry, client);
	event_assign(&client->confirm, base, -1, 0, tell_confirmed, client);
	return client;
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
	struct request *new = xcalloc(1, sizeof *new);

	new->subscribe = subscribe;
	STAILQ_INIT(&new->waiters);
	STAILQ_INSERT_TAIL(&new->waiters, waiter, entry);
	STAILQ_INSERT_TAIL(&topic->requests, new, entry);
	if (client->mailbox != NULL)
		send_request(client, topic, subscribe);
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
pubsub_subscribe(struct pubsub_client *client, const struct text *name,
    pubsub_confirm_cb callback, void *arg)
{
	struct topic *topic;

	connect_if_needed(client);
	topic = topic_find_or_add(client, name);
	if (topic->wanted++ == 0)
		request(client, topic, true, waiter_new(callback, arg));
	else
		ride_along(client, topic, waiter_new(callback, arg));
}

void
pubsub_unsubscribe(struct pubsub_client *client, const struct text *name,
    pubsub_confirm_cb callback, void *arg)
{
	struct topic *topic = topic_find(client, name->data, name->size);

	assert(topic != NULL && topic->wanted > 0);
	if (--topic->wanted == 0)
		request(client, topic, false, waiter_new(callback, arg));
	else
		ride_along(client, topic, waiter_new(callback, arg));
}

void
pubsub_publish(struct pubsub_client *client, const struct broadcast *broadcast)
{
	struct publish *publish = xcalloc(1, sizeof *publish);

	connect_if_needed(client);
	publish->number = ++client->last_number;
	envelope_put_u64(&publish->body, publish->number);
	broadcast_put(&publish->body, broadcast);
	STAILQ_INSERT_TAIL(&client->publishes, publish, entry);
	client->unaccepted += publish->body.size;
	if (client->mailbox != NULL)
		send_publish(client, publish);
}

size_t
pubsub_unaccepted(const struct pubsub_client *client)
{
	return client->unaccepted;
}
