/*
 * presence.c - see presence.h.
 */
#include <sys/socket.h>

#include <stdlib.h>
#include <string.h>

#include "channel/presence.h"
#include "common/json.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "presence/client.h"
#include "pubsub/broadcast.h"
#include "transport/presence.h"
#include "transport/subscriber.h"
#include "transport/topic_private.h"
#include "transport/transport.h"

#define ESCAPED    6   /* bytes of JSON for one of a key, at most */
#define META_HEADS 128 /* bytes of a meta in a diff beside its members */

/*
 * What a channel says of presences while pubsub has not confirmed its
 * subscriptions. Its own presence_diff would miss it, and a list would be older
 * than the first diff that it gets.
 */
struct deferred {
	enum envelope_type type;
	void *body;
	size_t size;
	int fd; /* -1: none */
	STAILQ_ENTRY(deferred) entry;
};

static struct presence_client *
client_of(struct transport *t)
{
	const struct transport_start *start = t->start;

	if (t->presence == NULL && start->presence_path != NULL)
		t->presence = presence_client_new(t->base, start->presence_path,
		    start->connection, start->slot);
	return t->presence;
}

/* Of the process: each incarnation of a channel has another one. */
static uint64_t
number_of(const struct topic *topic)
{
	return (uint64_t)topic->number << 32 | topic->restarts;
}

/* ---- what is nonsense ---- */

static bool
is_name(const struct text *text)
{
	return text->size <= PRESENCE_NAME_MAX &&
	    json_is_utf8(text->data, text->size);
}

static bool
is_ref(const struct text *ref)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789-_";

	return ref->size == PRESENCE_REF &&
	    strspn(ref->data, digits) == PRESENCE_REF;
}

static bool
is_meta(const struct text *meta)
{
	struct json_span span;

	if (meta->size > PRESENCES_BYTES_MAX)
		return false;
	span = json_scan_text(meta->data, meta->size);
	return span.kind == JSON_OBJECT && !span.spaced;
}

/* Can pubsub take the diff? One that it does not would be offered to it for
 * ever. An update has two metas, each with its key. */
static bool
fits_diff(const struct topic *topic, const struct presence *presence)
{
	size_t one = presence->key.size * ESCAPED + presence->meta.size +
	    META_HEADS;

	return presence->topic.size + 2 * one <=
	    broadcast_max(topic->transport->config->journal_size);
}

/* All that is kept for this client is bounded together. */
static bool
has_room(const struct topic *topic, const struct presence *presence)
{
	const struct transport *t = topic->transport;
	size_t kept = t->kept_bytes + presence_client_bytes(t->presence) +
	    presence->topic.size + presence->key.size + presence->meta.size;

	if (kept <= t->config->queues_max_bytes)
		return true;
	log_warnx("channel %s tracks presences, but %zu bytes would be kept "
		  "for this client (queues_max_bytes)",
	    topic->name.data, kept);
	return false;
}

/* ---- track and untrack ---- */

static bool
on_track(struct topic *topic, struct envelope *envelope)
{
	struct presence presence = { .channel = number_of(topic) };

	presence.topic = envelope_get_text(envelope);
	presence.key = envelope_get_text(envelope);
	presence.ref = envelope_get_text(envelope);
	presence.prev = envelope_get_optional_text(envelope);
	presence.meta = envelope_get_text(envelope);
	if (!envelope_end(envelope) || !is_name(&presence.topic) ||
	    !is_name(&presence.key) || !is_ref(&presence.ref) ||
	    (presence.prev.data != NULL && !is_ref(&presence.prev)) ||
	    !is_meta(&presence.meta))
		return false;
	if (client_of(topic->transport) == NULL)
		return true;
	return fits_diff(topic, &presence) && has_room(topic, &presence) &&
	    presence_client_track(topic->transport->presence, &presence);
}

static bool
on_untrack(struct topic *topic, struct envelope *envelope)
{
	struct text name = envelope_get_text(envelope);
	struct text key = envelope_get_text(envelope);

	if (!envelope_end(envelope))
		return false;
	if (topic->transport->presence != NULL)
		presence_client_untrack(
		    topic->transport->presence, number_of(topic), &name, &key);
	return true;
}

/* ---- lists ---- */

/* A question, of which the socket is taken. */
struct question {
	struct text topic, key;
	int fd;
};

static bool
get_question(struct envelope *envelope, struct question *question)
{
	question->topic = envelope_get_text(envelope);
	question->key = envelope_get_optional_text(envelope);
	if (envelope_end(envelope) && question->fd != -1 &&
	    is_name(&question->topic) && is_name(&question->key))
		return true;
	if (question->fd != -1)
		mailbox_close_fd(question->fd);
	return false;
}

static void
ask(struct transport *t, const struct question *question)
{
	static const uint32_t head[2] = { ENVELOPE_PRESENCES, 0 };

	if (client_of(t) == NULL) {
		mailbox_close_fd(question->fd);
		return;
	}
	/* The time that presence has begins now. Whatever was sent as a socket,
	 * nobody waits for it. */
	(void)!send(
	    question->fd, head, sizeof head, MSG_DONTWAIT | MSG_NOSIGNAL);
	presence_client_list(t->presence, &question->topic,
	    question->key.data == NULL ? NULL : &question->key, question->fd);
}

static void
hold_frames(struct topic *topic)
{
	if (topic->holds_frames)
		return;
	topic->holds_frames = true;
	subscriber_hold(topic->transport);
}

static bool
on_presences(struct topic *topic, struct envelope *envelope, int fd)
{
	struct question question = { .fd = fd };

	if (!get_question(envelope, &question))
		return false;
	/* Outside of a callback there is nothing that would let them go. */
	if (text_equal(&question.topic, &topic->name) &&
	    (topic->in_hand != NULL || topic->waking != NULL))
		hold_frames(topic);
	ask(topic->transport, &question);
	return true;
}

bool
presence_from_endpoint(
    struct transport *t, struct mailbox *mailbox, struct envelope *envelope)
{
	struct question question = { .fd = mailbox_take_fd(mailbox) };

	if (!get_question(envelope, &question))
		return false;
	ask(t, &question);
	return true;
}

/* ---- what waits ---- */

static bool
dispatch(struct topic *topic, struct envelope *envelope, int fd)
{
	if (envelope->type == ENVELOPE_PRESENCES)
		return on_presences(topic, envelope, fd);
	if (fd != -1)
		mailbox_close_fd(fd);
	return envelope->type == ENVELOPE_TRACK ? on_track(topic, envelope)
						: on_untrack(topic, envelope);
}

/*
 * The channel is read no further, so that only the last words of one that was
 * told to end, or has died, can add to these.
 */
static bool
defer(struct topic *topic, const struct envelope *envelope, int fd)
{
	struct transport *t = topic->transport;
	size_t size = sizeof(struct deferred) + envelope->size;
	struct deferred *deferred;

	/* Who finds the end of its socket asks again. */
	if (fd != -1 && !STAILQ_EMPTY(&topic->deferred)) {
		mailbox_close_fd(fd);
		return true;
	}
	if (t->kept_bytes + size > t->config->queues_max_bytes) {
		if (fd != -1)
			mailbox_close_fd(fd);
		return false;
	}
	deferred = xcalloc(1, sizeof *deferred);
	deferred->type = envelope->type;
	deferred->body = xmemdup(envelope->data, envelope->size);
	deferred->size = envelope->size;
	deferred->fd = fd;
	t->kept_bytes += size;
	STAILQ_INSERT_TAIL(&topic->deferred, deferred, entry);
	mailbox_pause(topic->mailbox);
	return true;
}

bool
presence_from_channel(struct topic *topic, struct envelope *envelope)
{
	int fd = mailbox_take_fd(topic->mailbox);

	if (topic->holding > 0)
		return defer(topic, envelope, fd);
	return dispatch(topic, envelope, fd);
}

static bool
dispatch_deferred(struct topic *topic)
{
	struct deferred *deferred = STAILQ_FIRST(&topic->deferred);
	struct envelope envelope = {
		.type = deferred->type,
		.data = deferred->body,
		.size = deferred->size,
	};
	bool good;

	STAILQ_REMOVE_HEAD(&topic->deferred, entry);
	topic->transport->kept_bytes -= sizeof *deferred + deferred->size;
	good = dispatch(topic, &envelope, deferred->fd);
	free(deferred->body);
	free(deferred);
	return good;
}

bool
presence_confirmed(struct topic *topic)
{
	while (!STAILQ_EMPTY(&topic->deferred))
		if (!dispatch_deferred(topic))
			return false;
	return true;
}

/* ---- frames ---- */

bool
presence_holds_frame(struct topic *topic, const char *frame, size_t size)
{
	struct transport *t = topic->transport;

	if (!topic->holds_frames)
		return false;
	if (topic->frames.size > t->config->backlog_max)
		transport_overrun(t, "what waits for a channel's list");
	else
		json_append(&topic->frames, frame, size);
	return true;
}

void
presence_callback_done(struct topic *topic)
{
	if (!topic->holds_frames)
		return;
	topic->holds_frames = false;
	if (topic->frames.size > 0)
		topic_send_made(topic, topic->frames.data, topic->frames.size);
	json_buffer_free(&topic->frames);
	subscriber_confirmed(topic->transport);
}

void
presence_drop(struct topic *topic)
{
	while (!STAILQ_EMPTY(&topic->deferred))
		dispatch_deferred(topic);
	presence_callback_done(topic);
	if (topic->transport->presence != NULL)
		presence_client_drop(
		    topic->transport->presence, number_of(topic));
}
