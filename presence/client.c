/*
 * client.c - see client.h.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/client.h"

#define RETRY_MIN 2 /* ms between tries to connect, doubling */
#define RETRY_MAX 1000
/* What waits for presence beyond this is thrown away: it will be told all. */
#define BACKLOG_MAX (128 * 1024)
#define LISTS_MAX   256 /* questions, of which the descriptors wait here */
#define BEHIND_LOOK 50  /* ms between looks whether it has read what waits */

struct entry {
	struct presence *presence;
	size_t bytes;
	RB_ENTRY(entry) linkage;
};
RB_HEAD(entries, entry);

struct presence_client {
	struct event_base *base;
	const char *path;
	uint64_t connection;
	uint32_t slot;
	struct mailbox *mailbox; /* NULL: not connected */
	struct event retry;
	int retry_ms;
	long long since; /* it is connected; ms */
	bool behind;     /* it was not told everything, and will be told anew */
	unsigned lists;  /* asked for since nothing waited */
	struct entries entries;
	size_t bytes, count;
};

static int
entry_compare(const struct entry *a, const struct entry *b)
{
	return presence_compare(a->presence, b->presence);
}

TREE_GENERATE(entries, entry, linkage, entry_compare)

static struct entry *
entry_new(const struct presence *presence)
{
	struct entry *entry = xcalloc(1, sizeof *entry);

	entry->presence = presence_copy(presence, &entry->bytes);
	return entry;
}

static void
entry_add(struct presence_client *client, struct entry *entry)
{
	RB_INSERT(entries, &client->entries, entry);
	client->bytes += entry->bytes;
	client->count++;
}

static void
entry_remove(struct presence_client *client, struct entry *entry)
{
	RB_REMOVE(entries, &client->entries, entry);
	client->bytes -= entry->bytes;
	client->count--;
	free(entry->presence);
	free(entry);
}

static struct entry *
entry_find(struct presence_client *client, uint64_t channel,
    const struct text *topic, const struct text *key)
{
	struct presence wanted = {
		.channel = channel,
		.topic = *topic,
		.key = *key,
	};

	return RB_FIND(
	    entries, &client->entries, &(struct entry){ .presence = &wanted });
}

/* ---- to presence ---- */

static void
send_track(struct presence_client *client, const struct presence *presence)
{
	struct envelope_writer writer = { 0 };

	presence_put(&writer, presence);
	mailbox_send(client->mailbox, ENVELOPE_PR_TRACK, &writer);
}

static void
send_all(struct presence_client *client)
{
	struct envelope_writer writer = { 0 };
	struct entry *entry;

	client->behind = false;
	envelope_put_u64(&writer, client->connection);
	envelope_put_u32(&writer, client->slot);
	mailbox_send(client->mailbox, ENVELOPE_PR_HELLO, &writer);
	RB_FOREACH (entry, entries, &client->entries)
		send_track(client, entry->presence);
	mailbox_send(client->mailbox, ENVELOPE_PR_COMPLETE, NULL);
}

static void
look_later(struct presence_client *client, int ms)
{
	struct timeval tv = {
		.tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000,
	};

	event_add(&client->retry, &tv);
}

static void
retry_later(struct presence_client *client)
{
	look_later(client, client->retry_ms);
	client->retry_ms *= 2;
	if (client->retry_ms > RETRY_MAX)
		client->retry_ms = RETRY_MAX;
}

/* It says nothing, unless it is gone. */
static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct presence_client *client = arg;

	if (envelope != NULL)
		log_warnx("presence sent a %s envelope; connecting again",
		    envelope_name(envelope->type));
	client->mailbox = NULL;
	mailbox_free(mailbox);
	/* One that dies again and again is given time. */
	if (monotonic_ms() - client->since > RETRY_MAX)
		client->retry_ms = RETRY_MIN;
	retry_later(client);
}

/* EAGAIN is a full backlog, which has no event. */
static void
client_connect(struct presence_client *client)
{
	int fd = mailbox_connect(client->path);

	if (fd == -1) {
		if (errno != EAGAIN)
			log_warn("presence: %s; next try in %d ms",
			    client->path, client->retry_ms);
		retry_later(client);
		return;
	}
	client->mailbox = mailbox_new(fd, on_envelope, client);
	client->since = monotonic_ms();
	client->lists = 0;
	/* What is said leaves together, behind the attachment. */
	send_all(client);
	mailbox_attach(client->mailbox, client->base);
}

/* Time to connect again, or to look whether it has read what waited. */
static void
on_retry(int fd, short what, void *arg)
{
	struct presence_client *client = arg;

	(void)fd;
	(void)what;
	if (client->mailbox == NULL)
		client_connect(client);
	else if (client->behind && mailbox_backlog(client->mailbox) > 0)
		look_later(client, BEHIND_LOOK);
	else if (client->behind)
		send_all(client);
}

/*
 * At the first need; a lost connection comes back by itself. True: what changed
 * is to be sent. Else it will be told with all the rest.
 */
static bool
is_there(struct presence_client *client)
{
	if (client->mailbox == NULL) {
		if (!event_pending(&client->retry, EV_TIMEOUT, NULL))
			client_connect(client);
		return false;
	}
	if (client->behind)
		return false;
	/* It is stopped, or slow. */
	if (mailbox_backlog(client->mailbox) > BACKLOG_MAX + client->bytes) {
		client->behind = true;
		look_later(client, BEHIND_LOOK);
		return false;
	}
	return true;
}

/* False: too many wait; it is stopped, or slow. */
static bool
may_ask(struct presence_client *client)
{
	if (mailbox_backlog(client->mailbox) == 0)
		client->lists = 0;
	if (client->lists == LISTS_MAX)
		return false;
	client->lists++;
	return true;
}

/* ---- the calls ---- */

struct presence_client *
presence_client_new(struct event_base *base, const char *path,
    uint64_t connection, uint32_t slot)
{
	struct presence_client *client = xcalloc(1, sizeof *client);

	client->base = base;
	client->path = path;
	client->connection = connection;
	client->slot = slot;
	client->retry_ms = RETRY_MIN;
	RB_INIT(&client->entries);
	event_assign(&client->retry, base, -1, 0, on_retry, client);
	return client;
}

void
presence_client_free(struct presence_client *client)
{
	struct entry *entry;

	if (client == NULL)
		return;
	event_del(&client->retry);
	mailbox_free(client->mailbox);
	while ((entry = RB_MIN(entries, &client->entries)) != NULL)
		entry_remove(client, entry);
	free(client);
}

bool
presence_client_track(
    struct presence_client *client, const struct presence *presence)
{
	struct entry *old = entry_find(
	    client, presence->channel, &presence->topic, &presence->key);
	struct entry *entry;

	if (old == NULL ? presence->prev.data != NULL
			: presence->prev.data == NULL ||
		    !text_equal(&old->presence->ref, &presence->prev))
		return false;
	entry = entry_new(presence);
	if (old != NULL)
		entry_remove(client, old);
	entry_add(client, entry);
	if (is_there(client))
		send_track(client, entry->presence);
	return true;
}

void
presence_client_untrack(struct presence_client *client, uint64_t channel,
    const struct text *topic, const struct text *key)
{
	struct entry *entry = entry_find(client, channel, topic, key);
	struct envelope_writer writer = { 0 };

	if (entry == NULL)
		return;
	entry_remove(client, entry);
	if (!is_there(client))
		return;
	envelope_put_u64(&writer, channel);
	envelope_put_text(&writer, topic);
	envelope_put_text(&writer, key);
	mailbox_send(client->mailbox, ENVELOPE_PR_UNTRACK, &writer);
}

void
presence_client_drop(struct presence_client *client, uint64_t channel)
{
	struct presence first = {
		.channel = channel,
		.topic = text_lent("", 0),
		.key = text_lent("", 0),
	};
	struct entry *entry = RB_NFIND(
	    entries, &client->entries, &(struct entry){ .presence = &first });
	struct envelope_writer writer = { 0 };

	if (entry == NULL || entry->presence->channel != channel)
		return;
	while (entry != NULL && entry->presence->channel == channel) {
		struct entry *next = RB_NEXT(entries, &client->entries, entry);

		entry_remove(client, entry);
		entry = next;
	}
	if (!is_there(client))
		return;
	envelope_put_u64(&writer, channel);
	mailbox_send(client->mailbox, ENVELOPE_PR_DROP, &writer);
}

size_t
presence_client_bytes(const struct presence_client *client)
{
	return client->bytes;
}

size_t
presence_client_count(const struct presence_client *client)
{
	return client->count;
}

void
presence_client_list(struct presence_client *client, const struct text *topic,
    const struct text *key, int fd)
{
	static const struct text none;
	struct envelope_writer writer = { 0 };

	/* Just connected is as good: it has been told all. */
	if ((!is_there(client) &&
		(client->mailbox == NULL || client->behind)) ||
	    !may_ask(client)) {
		mailbox_close_fd(fd);
		return;
	}
	envelope_put_text(&writer, topic);
	envelope_put_text(&writer, key == NULL ? &none : key);
	mailbox_send_fd(client->mailbox, ENVELOPE_PR_LIST, &writer, fd);
}
