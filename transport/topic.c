/*
 * topic.c - see topic.h. The rules are those of PROTOCOL.md 3 and 4, and of
 * ARCHITECTURE.md's "a transparent restart, exactly".
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/channel.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "transport/frame.h"
#include "transport/topic.h"
#include "transport/transport.h"

#define KEPT_MAX   10000 /* messages that a channel may keep to answer later */
#define EXTRAS_MAX 1000  /* other topics that it may subscribe to */

static struct frame frame; /* the one that is being made */

static int
topic_compare(const struct topic *a, const struct topic *b)
{
	return text_compare(&a->name, &b->name);
}

TREE_GENERATE(topics, topic, entry, topic_compare)

static int
kept_compare(const struct kept *a, const struct kept *b)
{
	return a->handle < b->handle ? -1 : a->handle > b->handle;
}

TREE_GENERATE(kept_tree, kept, entry, kept_compare)

struct topic *
topic_find(struct transport *t, const struct text *name)
{
	struct topic key = { .name = *name };

	return RB_FIND(topics, &t->topics, &key);
}

/* ---- to the client ---- */

static bool
holds_too_much(const struct topic *topic)
{
	return topic->held.size > topic->transport->config->backlog_max;
}

/* The frame that was made, at its place in the channel's stream. */
static void
topic_send(struct topic *topic)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];
	size_t n;

	if (topic->replaced)
		return;
	if (topic->holding == 0) {
		transport_send(topic->transport, frame.opcode, frame.body.data,
		    frame.body.size);
		frame_sent(&frame);
		return;
	}
	n = websocket_head(head, frame.opcode, frame.body.size);
	json_append(&topic->held, (const char *)head, n);
	json_append(&topic->held, frame.body.data, frame.body.size);
	frame_sent(&frame);
	if (holds_too_much(topic) && topic->mailbox != NULL)
		mailbox_pause(topic->mailbox);
}

static void
send_protocol_reply(struct topic *topic, const char *join_ref, const char *ref,
    const char *status, const char *response)
{
	frame_protocol_reply(
	    &frame, join_ref, ref, topic->name_json, status, response);
	topic_send(topic);
}

static void
send_end(struct topic *topic, const char *join_ref, const char *event,
    const char *payload)
{
	frame_end(&frame, join_ref, &topic->name, event, payload);
	topic_send(topic);
}

/* ---- holding ---- */

static void topic_free(struct topic *);
static void send_next(struct topic *);

static void
topic_hold(struct topic *topic)
{
	topic->holding++;
}

/* The client has its answer to the phx_join: its next message may come. */
static void
join_answered(struct topic *topic)
{
	if (!topic->join_pending)
		return;
	topic->join_pending = false;
	transport_resume(topic->transport, PAUSE_JOIN);
}

/* pubsub has confirmed. */
static void
on_confirmed(void *arg)
{
	struct topic *topic = arg;

	assert(topic->holding > 0);
	if (--topic->holding > 0)
		return;
	if (topic->held.size > 0 && !topic->replaced)
		transport_send_frames(
		    topic->transport, topic->held.data, topic->held.size);
	json_buffer_free(&topic->held);
	if (topic->state != TOPIC_JOINING)
		join_answered(topic);
	if (topic->state == TOPIC_ENDED)
		topic_free(topic);
	else if (topic->mailbox != NULL && !transport_is_full(topic->transport))
		mailbox_resume(topic->mailbox);
}

/* ---- the queue of a channel ---- */

static void
item_free(struct item *item)
{
	if (item == NULL)
		return;
	envelope_writer_free(&item->body);
	free(item->event);
	free(item->ref);
	free(item);
}

static bool
queue_is_full(const struct topic *topic)
{
	const struct config *config = topic->transport->config;

	return topic->queue_messages >= config->queue_max_messages ||
	    (topic->queue_messages > 1 &&
		(topic->queue_bytes > config->queue_max_bytes ||
		    topic->transport->queued > config->queues_max_bytes));
}

/* The client is read while no channel's queue is full. */
static void
queue_has_room(struct topic *topic)
{
	struct transport *t = topic->transport;
	struct topic *other;

	if (topic->full_since == 0)
		return;
	topic->full_since = 0;
	RB_FOREACH (other, topics, &t->topics)
		if (other->full_since != 0)
			return;
	transport_resume(t, PAUSE_QUEUE);
}

static void
watch_queue(struct topic *topic)
{
	if (!topic->listed || !queue_is_full(topic)) {
		queue_has_room(topic);
		return;
	}
	if (topic->full_since == 0)
		topic->full_since = monotonic_ms();
	transport_pause(topic->transport, PAUSE_QUEUE);
	transport_watch_hung(topic->transport);
}

/* One queue that shrinks may make room for the others, too. */
static void
watch_queues(struct transport *t)
{
	struct topic *topic;

	if ((t->paused & PAUSE_QUEUE) == 0)
		return;
	RB_FOREACH (topic, topics, &t->topics)
		watch_queue(topic);
}

static void
queue_add(struct topic *topic, struct item *item)
{
	STAILQ_INSERT_TAIL(&topic->queue, item, entry);
	topic->queue_bytes += item->body.size;
	topic->transport->queued += item->body.size;
	topic->queue_messages++;
	watch_queue(topic);
	send_next(topic);
}

static struct item *
queue_take(struct topic *topic)
{
	struct item *item = STAILQ_FIRST(&topic->queue);

	STAILQ_REMOVE_HEAD(&topic->queue, entry);
	topic->queue_bytes -= item->body.size;
	topic->transport->queued -= item->body.size;
	topic->queue_messages--;
	if (topic->full_since != 0)
		topic->full_since = monotonic_ms(); /* slow, but not hung */
	watch_queues(topic->transport);
	return item;
}

/* The next message goes to the channel when its hands are empty. */
static void
send_next(struct topic *topic)
{
	struct envelope_writer writer = { 0 };
	struct item *item;

	if (topic->state != TOPIC_JOINED || topic->in_hand != NULL ||
	    topic->mailbox == NULL || topic->stop != 0 || topic->dead ||
	    STAILQ_EMPTY(&topic->queue))
		return;
	item = queue_take(topic);
	topic->in_hand = item;
	topic->replied = false;
	free(topic->last_event);
	topic->last_event = xstrdup(item->event);
	if (item->type == ENVELOPE_END) {
		supervisor_terminate_child(
		    topic->transport->channels, topic->child);
		return;
	}
	/* Kept here, too, until it is done: see settle_crash. */
	envelope_put_raw(&writer, item->body.data + ENVELOPE_HEAD,
	    item->body.size - ENVELOPE_HEAD);
	mailbox_send(topic->mailbox, item->type, &writer);
}

/* ---- the process ---- */

static void on_envelope(struct mailbox *, struct envelope *, void *);

/* In the child: everything it needs lies in the memory it was born with. */
static pid_t
topic_fork(struct child *child, void *arg)
{
	struct topic *topic = arg;
	struct channel_start start = {
		.config = topic->config,
		.connection = topic->transport->start->connection,
		.number = topic->number,
		.restarts = topic->restarts,
		.topic = &topic->name,
		.join_ref = topic->push_ref,
		.ref = topic->ref,
		.params = &topic->params,
		.params_kind = topic->params_kind,
		.connected = &topic->transport->connected,
	};
	struct process_spec spec = {
		.name = "channel",
		.run = channel_run,
		.arg = &start,
		.nfds = CHANNEL_NFDS,
		.dumpable = true,
	};
	int fds[2], saved;
	pid_t pid;

	if (mailbox_pair(fds) == -1)
		return -1;
	spec.fds[0] = fds[1];
	pid = process_fork(&spec);
	saved = errno;
	close(fds[1]);
	if (pid == -1) {
		close(fds[0]);
		errno = saved;
		return -1;
	}
	topic->child = child;
	topic->dead = false;
	topic->mailbox = mailbox_new(fds[0], on_envelope, topic);
	mailbox_attach(topic->mailbox, topic->transport->base);
	if (topic->state == TOPIC_REJOINING) {
		topic->rejoin_by = monotonic_ms() +
		    topic->transport->socket->join_timeout;
		transport_watch_hung(topic->transport);
	}
	return pid;
}

/* Why the channel is to end depends on who is asking. */
static void
topic_ask(struct child *child, void *arg)
{
	struct topic *topic = arg;
	struct envelope_writer writer = { 0 };

	if (topic->replaced || topic->mailbox == NULL) {
		kill(child_pid(child), SIGKILL);
		return;
	}
	envelope_put_u32(&writer,
	    topic->in_hand != NULL && topic->in_hand->type == ENVELOPE_END
		? BENNU_LEFT
		: topic->transport->end_reason);
	mailbox_resume(topic->mailbox);
	mailbox_send(topic->mailbox, ENVELOPE_END, &writer);
}

/* What it keeps of what the client sent, as long as it lives. */
static size_t
kept_size(const struct topic *topic)
{
	return topic->params.size + strlen(topic->join_ref) +
	    strlen(topic->ref);
}

static struct topic *
topic_new(struct transport *t, const struct config_channel *config,
    const struct message *msg, enum bennu_kind kind, const struct text *params)
{
	struct topic *topic = xcalloc(1, sizeof *topic);

	topic->transport = t;
	topic->config = config;
	topic->name.data = xmemdup(msg->topic.data, msg->topic.size);
	topic->name.size = msg->topic.size;
	topic->name_json = xstrdup(msg->topic_json.data);
	topic->join_ref = xstrdup(msg->join_ref.data);
	topic->ref = xstrdup(msg->ref.data);
	topic->push_ref = message_ref_is_null(&msg->join_ref) ? topic->ref
							      : topic->join_ref;
	topic->params.data = xmemdup(params->data, params->size);
	topic->params.size = params->size;
	topic->params_kind = kind;
	topic->number = ++t->last_channel;
	topic->state = TOPIC_JOINING;
	STAILQ_INIT(&topic->queue);
	RB_INIT(&topic->kept);
	LIST_INIT(&topic->extras);
	t->kept_bytes += kept_size(topic);
	LIST_INSERT_HEAD(&t->all_topics, topic, of_all);
	RB_INSERT(topics, &t->topics, topic);
	topic->listed = true;
	t->ntopics++;
	return topic;
}

static void
unlist(struct topic *topic)
{
	if (!topic->listed)
		return;
	RB_REMOVE(topics, &topic->transport->topics, topic);
	topic->listed = false;
	topic->transport->ntopics--;
	queue_has_room(topic);
}

static void
forget_kept(struct topic *topic, struct kept *kept)
{
	RB_REMOVE(kept_tree, &topic->kept, kept);
	topic->nkept--;
	topic->transport->kept_bytes -= strlen(kept->ref);
	free(kept->ref);
	free(kept);
}

static void
forget_all_kept(struct topic *topic)
{
	while (!RB_EMPTY(&topic->kept))
		forget_kept(topic, RB_ROOT(&topic->kept));
}

static void
drop_messages(struct topic *topic)
{
	struct item *item;

	while ((item = STAILQ_FIRST(&topic->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&topic->queue, entry);
		topic->transport->queued -= item->body.size;
		item_free(item);
	}
	item_free(topic->in_hand);
	topic->in_hand = NULL;
	forget_all_kept(topic);
}

static void
topic_free(struct topic *topic)
{
	assert(topic->child == NULL && topic->holding == 0);
	unlist(topic);
	LIST_REMOVE(topic, of_all);
	topic->transport->kept_bytes -= kept_size(topic);
	drop_messages(topic);
	mailbox_free(topic->mailbox);
	json_buffer_free(&topic->held);
	free(topic->name.data);
	free(topic->name_json);
	free(topic->join_ref);
	free(topic->ref);
	free(topic->params.data);
	free(topic->leave_join_ref);
	free(topic->leave_ref);
	free(topic->old_join_ref);
	free(topic->waking);
	free(topic->last_event);
	free(topic);
}

/* ---- subscriptions to other topics ---- */

static struct extra *
extra_find(struct topic *topic, const struct text *name)
{
	struct extra *extra;

	LIST_FOREACH (extra, &topic->extras, entry)
		if (text_equal(&extra->name, name))
			return extra;
	return NULL;
}

/* False: there are too many. */
static bool
extra_subscribe(struct topic *topic, const struct text *name)
{
	struct extra *extra = extra_find(topic, name);

	if (topic->nextras == EXTRAS_MAX) {
		log_warnx("channel %s subscribes more than %d times",
		    topic->name.data, EXTRAS_MAX);
		return false;
	}
	topic->nextras++;
	if (extra == NULL) {
		extra = xcalloc(1, sizeof *extra);
		extra->name.data = xmemdup(name->data, name->size);
		extra->name.size = name->size;
		LIST_INSERT_HEAD(&topic->extras, extra, entry);
	}
	extra->times++;
	topic_hold(topic);
	pubsub_subscribe(topic->transport->pubsub, name, on_confirmed, topic);
	return true;
}

static void
extra_unsubscribe(struct topic *topic, struct extra *extra)
{
	topic->nextras -= extra->times;
	while (extra->times-- > 0) {
		topic_hold(topic);
		pubsub_unsubscribe(topic->transport->pubsub, &extra->name,
		    on_confirmed, topic);
	}
	LIST_REMOVE(extra, entry);
	free(extra->name.data);
	free(extra);
}

static void
unsubscribe_extras(struct topic *topic)
{
	while (!LIST_EMPTY(&topic->extras))
		extra_unsubscribe(topic, LIST_FIRST(&topic->extras));
}

static void
unsubscribe_all(struct topic *topic)
{
	unsubscribe_extras(topic);
	if (!topic->subscribed)
		return;
	topic->subscribed = false;
	topic_hold(topic);
	pubsub_unsubscribe(
	    topic->transport->pubsub, &topic->name, on_confirmed, topic);
}

/* ---- join ---- */

/* Within its `shutdown`, or it will be killed: see topic_check_hung. */
static void
must_end(struct topic *topic)
{
	if (topic->config->shutdown < 0)
		return;
	topic->end_by = monotonic_ms() + topic->config->shutdown;
	transport_watch_hung(topic->transport);
}

/* What was joined before is void from now on; it is not told why. */
static void
topic_replace(struct topic *old)
{
	unlist(old);
	if (old->leaving) {
		/* It is on its way out, and says so itself; but not for ever.
		 */
		must_end(old);
		return;
	}
	old->replaced = old->mute = true;
	unsubscribe_all(old);
	if (old->child != NULL)
		supervisor_terminate_child(
		    old->transport->channels, old->child);
}

/* The client hears of the replaced incarnation behind the new one's answer. */
static void
close_replaced(struct topic *topic)
{
	if (topic->old_join_ref == NULL)
		return;
	send_end(topic, topic->old_join_ref, "phx_close", "{}");
	free(topic->old_join_ref);
	topic->old_join_ref = NULL;
}

/* The join was refused or crashed: the topic was never joined. */
static void
join_failed(struct topic *topic, const char *reason)
{
	if (reason != NULL)
		send_protocol_reply(
		    topic, topic->join_ref, topic->ref, "error", reason);
	close_replaced(topic);
	unlist(topic);
	if (topic->holding == 0)
		join_answered(topic);
}

/* Frees an ended topic, at once or when pubsub has confirmed. */
static void
topic_gone(struct topic *topic)
{
	topic->state = TOPIC_ENDED;
	unlist(topic);
	unsubscribe_all(topic);
	if (topic->holding > 0)
		return;
	join_answered(topic);
	topic_free(topic);
}

void
topic_join(struct transport *t, const struct config_channel *config,
    const struct message *msg, enum bennu_kind kind, const struct text *params)
{
	struct topic *old = topic_find(t, &msg->topic), *topic;
	struct child_spec spec = {
		.start = topic_fork,
		.ask = topic_ask,
		.restart = config->restart,
		.shutdown = config->shutdown,
		.start_limit = START_LIMIT_INFINITY,
		.intensity = config->intensity,
		.period = config->period,
	};
	char *old_join_ref = NULL;

	if (old != NULL) {
		if (!old->leaving)
			old_join_ref = xstrdup(old->join_ref);
		topic_replace(old);
	}
	topic = topic_new(t, config, msg, kind, params);
	topic->old_join_ref = old_join_ref;
	topic->join_pending = true;
	spec.id = topic->name.data;
	spec.arg = topic;
	/* The socket waits for the answer (PROTOCOL.md 3, rule 2). */
	transport_pause(t, PAUSE_JOIN);
	if (supervisor_start_child(t->channels, &spec) != NULL)
		return;
	log_warn("channel %s cannot be started", topic->name.data);
	join_failed(topic, "{\"reason\":\"join crashed\"}");
	topic_gone(topic);
}

static bool
on_first_join(struct topic *topic, bool accepted, enum bennu_kind kind,
    const struct text *response)
{
	const struct text status = accepted ? text_lent("ok", 2)
					    : text_lent("error", 5);

	/* Before it counts as joined: without a form this is a crash of it. */
	if (!frame_reply(&frame, topic->join_ref, topic->ref, &topic->name,
		&status, kind, response))
		return false;
	if (accepted) {
		topic->state = TOPIC_JOINED;
		topic->subscribed = true;
		topic_hold(topic);
		pubsub_subscribe(topic->transport->pubsub, &topic->name,
		    on_confirmed, topic);
	}
	topic_send(topic);
	if (accepted) {
		close_replaced(topic);
		child_ready(topic->child);
		return true;
	}
	topic->refused = true;
	join_failed(topic, NULL);
	return true;
}

static bool
on_joined(struct topic *topic, struct envelope *envelope)
{
	bool accepted = envelope_get_u32(envelope) != 0;
	enum bennu_kind kind = envelope_get_u32(envelope);
	struct text response;
	const char *data;
	size_t size;

	data = envelope_get_data(envelope, &size);
	response = text_lent(data, size);
	if (!envelope_end(envelope))
		return false;
	if (topic->state == TOPIC_JOINING && !topic->refused)
		return on_first_join(topic, accepted, kind, &response);
	if (topic->state != TOPIC_REJOINING)
		return false;
	topic->rejoin_by = 0;
	if (!accepted) {
		topic->refused = true; /* it exits, and is given up */
		return true;
	}
	topic->state = TOPIC_JOINED;
	child_ready(topic->child);
	send_next(topic);
	return true;
}

/* ---- events and leave ---- */

static struct item *
item_new(enum envelope_type type, const char *event, const struct text *ref)
{
	struct item *item = xcalloc(1, sizeof *item);

	item->type = type;
	item->event = xstrdup(event);
	if (ref != NULL) {
		item->ref = xstrdup(ref->data);
		item->wants_reply = !message_ref_is_null(ref);
	}
	return item;
}

static void
put_payload(struct item *item, enum bennu_kind kind, const struct text *payload)
{
	envelope_put_u32(&item->body, kind);
	envelope_put_data(&item->body, payload->data, payload->size);
}

void
topic_push(struct topic *topic, const struct message *msg, enum bennu_kind kind,
    const struct text *payload)
{
	/* An event that is no string is one that nobody handles. */
	const struct text none = text_lent("", 0);
	const struct text *event = msg->event.data == NULL ? &none
							   : &msg->event;
	struct item *item;

	if (topic->leaving)
		return; /* vanishes (PROTOCOL.md 3, rule 4) */
	item = item_new(ENVELOPE_IN, event->data, &msg->ref);
	envelope_put_data(&item->body, event->data, event->size);
	envelope_put_string(&item->body, item->wants_reply ? item->ref : NULL);
	put_payload(item, kind, payload);
	queue_add(topic, item);
}

void
topic_leave(struct topic *topic, const struct message *msg)
{
	if (topic->leaving)
		return;
	topic->leaving = true;
	topic->leave_join_ref = xstrdup(msg->join_ref.data);
	topic->leave_ref = xstrdup(msg->ref.data);
	queue_add(topic, item_new(ENVELOPE_END, "phx_leave", NULL));
}

/* ---- broadcasts ---- */

/* It came from another topic, or from this connection's own channels. */
static void
send_info(struct topic *topic, const struct broadcast *broadcast)
{
	struct item *item;

	if (queue_is_full(topic)) {
		transport_overrun(topic->transport, "a channel's queue");
		return;
	}
	item = item_new(ENVELOPE_INFO, broadcast->event.data, NULL);
	envelope_put_data(
	    &item->body, broadcast->topic.data, broadcast->topic.size);
	envelope_put_data(
	    &item->body, broadcast->event.data, broadcast->event.size);
	put_payload(item, broadcast->kind, &broadcast->payload);
	queue_add(topic, item);
}

static bool
intercepts(const struct topic *topic, const struct text *event)
{
	const char *const *listed = topic->config->callbacks->intercept;

	for (; listed != NULL && *listed != NULL; listed++)
		if (strlen(*listed) == event->size &&
		    memcmp(*listed, event->data, event->size) == 0)
			return true;
	return false;
}

/* The channel decides what its client gets of it. */
static void
send_out(struct topic *topic, const struct broadcast *broadcast)
{
	struct item *item;

	if (queue_is_full(topic)) {
		transport_overrun(topic->transport, "a channel's queue");
		return;
	}
	item = item_new(ENVELOPE_OUT, broadcast->event.data, NULL);
	envelope_put_data(
	    &item->body, broadcast->event.data, broadcast->event.size);
	put_payload(item, broadcast->kind, &broadcast->payload);
	queue_add(topic, item);
}

/* To this connection's own: the client, and the channels that want to know. */
static bool
deliver(struct transport *t, const struct broadcast *broadcast,
    const struct topic *except)
{
	struct topic *topic = topic_find(t, &broadcast->topic);
	struct extra *extra;

	if (topic != NULL && topic != except && topic->subscribed &&
	    intercepts(topic, &broadcast->event)) {
		send_out(topic, broadcast);
	} else if (topic != NULL && topic != except && topic->subscribed) {
		if (!frame_broadcast(&frame, &broadcast->topic,
			&broadcast->event, broadcast->kind,
			&broadcast->payload))
			return false;
		topic_send(topic);
	}
	RB_FOREACH (topic, topics, &t->topics) {
		extra = topic == except ? NULL
					: extra_find(topic, &broadcast->topic);
		for (unsigned i = 0; extra != NULL && i < extra->times; i++)
			send_info(topic, broadcast);
	}
	return true;
}

/* The topic of the socket's id is subscribed, too, for nobody of ours. */
static bool
is_wanted(struct transport *t, const struct text *name)
{
	struct topic *topic;

	if (topic_find(t, name) != NULL)
		return true;
	RB_FOREACH (topic, topics, &t->topics)
		if (extra_find(topic, name) != NULL)
			return true;
	return false;
}

void
topic_deliver(struct transport *t, const struct broadcast *broadcast)
{
	if (!is_wanted(t, &broadcast->topic))
		return;
	if (transport_is_slow(t)) {
		transport_overrun(t, "the client's backlog");
		return;
	}
	deliver(t, broadcast, NULL);
}

bool
topic_broadcast(
    struct transport *t, struct envelope *envelope, const struct topic *sender)
{
	uint32_t flags = envelope_get_u32(envelope);
	struct broadcast broadcast;
	const char *data;
	size_t size;

	data = envelope_get_data(envelope, &size);
	broadcast.topic = text_lent(data, size);
	data = envelope_get_data(envelope, &size);
	broadcast.event = text_lent(data, size);
	broadcast.kind = envelope_get_u32(envelope);
	data = envelope_get_data(envelope, &size);
	broadcast.payload = text_lent(data, size);
	/* Others will read it: it is looked at before it leaves. To pubsub it
	 * goes with a number in the place of the flags. */
	if (!envelope_end(envelope) || broadcast.kind > BENNU_BINARY ||
	    envelope->size - sizeof flags + sizeof(uint64_t) > ENVELOPE_MAX ||
	    !json_is_utf8(broadcast.topic.data, broadcast.topic.size) ||
	    !json_is_utf8(broadcast.event.data, broadcast.event.size) ||
	    (broadcast.kind == BENNU_JSON &&
		json_scan_text(broadcast.payload.data, broadcast.payload.size)
			.kind == JSON_BAD))
		return false;
	if (!deliver(
		t, &broadcast, (flags & BROADCAST_FROM) != 0 ? sender : NULL))
		return false;
	pubsub_publish(t->pubsub, &broadcast);
	transport_disconnects(t, &broadcast);
	if (transport_is_full(t))
		topic_pause_channels(t, true);
	return true;
}

/* ---- what a channel says ---- */

static struct kept *
kept_find(struct topic *topic, uint32_t handle)
{
	struct kept key = { .handle = handle };

	return RB_FIND(kept_tree, &topic->kept, &key);
}

static bool
on_reply(struct topic *topic, struct envelope *envelope)
{
	uint32_t handle = envelope_get_u32(envelope);
	struct text status, response;
	enum bennu_kind kind;
	const struct kept *kept;
	const char *data, *ref;
	size_t size;

	data = envelope_get_data(envelope, &size);
	status = text_lent(data, size);
	kind = envelope_get_u32(envelope);
	data = envelope_get_data(envelope, &size);
	response = text_lent(data, size);
	if (!envelope_end(envelope))
		return false;
	if (handle == 0) {
		if (topic->in_hand == NULL || topic->replied ||
		    topic->in_hand->type != ENVELOPE_IN)
			return false;
		topic->replied = true;
		ref = topic->in_hand->ref;
	} else {
		kept = kept_find(topic, handle);
		if (kept == NULL)
			return false;
		ref = kept->ref;
	}
	if (!frame_reply(&frame, topic->push_ref, ref, &topic->name, &status,
		kind, &response))
		return false;
	topic_send(topic);
	return true;
}

static bool
on_keep(struct topic *topic, struct envelope *envelope)
{
	uint32_t handle = envelope_get_u32(envelope);
	struct kept *kept;

	if (!envelope_end(envelope) || topic->in_hand == NULL ||
	    topic->in_hand->type != ENVELOPE_IN || handle <= topic->last_handle)
		return false;
	if (topic->nkept == KEPT_MAX ||
	    topic->transport->kept_bytes >
		topic->transport->config->queues_max_bytes) {
		log_warnx("channel %s keeps %u messages, that is too many; "
			  "is a bennu_ref_free missing?",
		    topic->name.data, topic->nkept);
		return false;
	}
	topic->last_handle = handle;
	topic->nkept++;
	kept = xcalloc(1, sizeof *kept);
	kept->handle = handle;
	kept->ref = xstrdup(topic->in_hand->ref);
	topic->transport->kept_bytes += strlen(kept->ref);
	kept->wants_reply = topic->in_hand->wants_reply;
	RB_INSERT(kept_tree, &topic->kept, kept);
	return true;
}

static bool
on_forget(struct topic *topic, struct envelope *envelope)
{
	struct kept *kept = kept_find(topic, envelope_get_u32(envelope));

	if (!envelope_end(envelope) || kept == NULL)
		return false;
	forget_kept(topic, kept);
	return true;
}

static bool
on_push(struct topic *topic, struct envelope *envelope)
{
	struct text event, payload;
	enum bennu_kind kind;
	const char *data;
	size_t size;

	data = envelope_get_data(envelope, &size);
	event = text_lent(data, size);
	kind = envelope_get_u32(envelope);
	data = envelope_get_data(envelope, &size);
	payload = text_lent(data, size);
	if (!envelope_end(envelope) ||
	    !frame_push(
		&frame, topic->push_ref, &topic->name, &event, kind, &payload))
		return false;
	topic_send(topic);
	return true;
}

static bool
on_subscribe(struct topic *topic, struct envelope *envelope, bool subscribe)
{
	const char *data;
	struct extra *extra;
	struct text name;
	size_t size;

	data = envelope_get_data(envelope, &size);
	name = text_lent(data, size);
	if (!envelope_end(envelope))
		return false;
	if (subscribe)
		return extra_subscribe(topic, &name);
	extra = extra_find(topic, &name);
	if (extra != NULL)
		extra_unsubscribe(topic, extra);
	return true;
}

static bool
on_wake(struct topic *topic, struct envelope *envelope)
{
	const char *event;
	size_t size;

	event = envelope_get_data(envelope, &size);
	if (!envelope_end(envelope) || topic->waking != NULL)
		return false;
	topic->waking = xstrdup(event);
	return true;
}

static bool
on_sleep(struct topic *topic)
{
	if (topic->waking == NULL)
		return false;
	free(topic->last_event);
	topic->last_event = topic->waking;
	topic->waking = NULL;
	return true;
}

static bool
on_done(struct topic *topic)
{
	if (topic->in_hand == NULL)
		return false;
	item_free(topic->in_hand);
	topic->in_hand = NULL;
	send_next(topic);
	return true;
}

static bool
on_close(struct topic *topic)
{
	log_info("closed: channel %s wants it", topic->name.data);
	transport_close(topic->transport, 1008, "a channel wants it");
	return true;
}

static bool
on_stop(struct topic *topic, struct envelope *envelope)
{
	enum bennu_reason reason = envelope_get_u32(envelope);
	size_t size;

	envelope_get_data(envelope, &size);
	if (!envelope_end(envelope) || reason < BENNU_NORMAL ||
	    reason > BENNU_DRAINING)
		return false;
	topic->stop = reason;
	must_end(topic);
	return true;
}

/* False: nonsense, or at the wrong time. */
static bool
dispatch(struct topic *topic, struct envelope *envelope)
{
	if (envelope->type == ENVELOPE_JOINED)
		return on_joined(topic, envelope);
	if (envelope->type == ENVELOPE_SUBSCRIBE)
		return on_subscribe(topic, envelope, true);
	if (envelope->type == ENVELOPE_UNSUBSCRIBE)
		return on_subscribe(topic, envelope, false);
	if (envelope->type == ENVELOPE_STOP)
		return on_stop(topic, envelope);
	if (envelope->type == ENVELOPE_CLOSE)
		return on_close(topic);
	/* A join may not say more. */
	if (topic->state != TOPIC_JOINED)
		return false;
	if (envelope->type == ENVELOPE_REPLY)
		return on_reply(topic, envelope);
	if (envelope->type == ENVELOPE_DONE)
		return on_done(topic);
	if (envelope->type == ENVELOPE_PUSH)
		return on_push(topic, envelope);
	if (envelope->type == ENVELOPE_BROADCAST)
		return topic_broadcast(topic->transport, envelope, topic);
	if (envelope->type == ENVELOPE_KEEP)
		return on_keep(topic, envelope);
	if (envelope->type == ENVELOPE_FORGET)
		return on_forget(topic, envelope);
	if (envelope->type == ENVELOPE_WAKE)
		return on_wake(topic, envelope);
	if (envelope->type == ENVELOPE_SLEEP)
		return on_sleep(topic);
	return false;
}

/* A mailbox that is closed or full of nonsense is a dead channel; where death
 * has not come by itself it is helped along, and settled when it is reaped. */
static void
channel_lost(struct topic *topic, const char *why)
{
	topic->mute = true;
	if (topic->dead || topic->stop != 0)
		return;
	if (why != NULL)
		log_warnx("channel %s[%d]: %s; killed", topic->name.data,
		    (int)child_pid(topic->child), why);
	child_kill(topic->child);
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct topic *topic = arg;
	const char *why;

	if (envelope == NULL) {
		why = mailbox_error(mailbox);
		channel_lost(
		    topic, strcmp(why, "end of file") == 0 ? NULL : why);
		return;
	}
	if (topic->mute || dispatch(topic, envelope))
		return;
	topic->stop = 0;
	log_debug("channel %s: bad %s in state %d", topic->name.data,
	    envelope_name(envelope->type), (int)topic->state);
	channel_lost(topic, "it sent nonsense");
}

/* ---- death ---- */

/*
 * Of a channel that will be started again: the message that it had in hand is
 * answered and lost, unless it was a timer that killed it; then the message had
 * not begun and is handed out again. What it kept will not be answered by
 * anybody else.
 */
static void
settle_crash(struct topic *topic)
{
	static const char crashed[] = "{\"reason\":\"channel crashed\"}";
	struct item *item = topic->in_hand;
	struct kept *kept;

	topic->in_hand = NULL;
	topic->last_handle = 0;
	if (topic->full_since != 0)
		topic->full_since = monotonic_ms();
	if (item != NULL && topic->waking != NULL && !topic->replied) {
		STAILQ_INSERT_HEAD(&topic->queue, item, entry);
		topic->queue_bytes += item->body.size;
		topic->transport->queued += item->body.size;
		topic->queue_messages++;
		item = NULL;
	}
	if (item != NULL && item->type == ENVELOPE_IN && item->wants_reply &&
	    !topic->replied)
		send_protocol_reply(
		    topic, topic->push_ref, item->ref, "error", crashed);
	RB_FOREACH (kept, kept_tree, &topic->kept)
		if (kept->wants_reply &&
		    (item == NULL || item->ref == NULL ||
			strcmp(kept->ref, item->ref) != 0))
			send_protocol_reply(topic, topic->push_ref, kept->ref,
			    "error", crashed);
	forget_all_kept(topic);
	item_free(item);
	free(topic->waking);
	topic->waking = NULL;
	unsubscribe_extras(topic);
}

/* The last frames of a topic that was joined, behind the unsubscription. */
static void
send_last_words(struct topic *topic, const struct obituary *obituary)
{
	bool normal = exit_is_normal(obituary->status) && !topic->refused &&
	    topic->state != TOPIC_REJOINING && topic->stop != BENNU_ERROR;

	if (topic->transport->end_reason != 0)
		return; /* the connection ends: nothing follows */
	unsubscribe_all(topic);
	if (topic->leaving) {
		send_protocol_reply(
		    topic, topic->leave_join_ref, topic->leave_ref, "ok", "{}");
		send_end(topic, topic->join_ref, "phx_close", "{}");
	} else if (normal) {
		send_end(topic, topic->join_ref, "phx_close", "{}");
	} else {
		send_end(topic, topic->join_ref, "phx_error",
		    "{\"reason\":\"channel_crash\"}");
	}
}

/* For the one line that tells of its death. */
void
topic_describe(struct child *child, char *buf, size_t size, void *arg)
{
	const struct topic *topic = child_arg(child);
	const char *event = topic->waking != NULL ? topic->waking
						  : topic->last_event;

	(void)arg;
	if (topic->state == TOPIC_JOINING)
		snprintf(buf, size, ", in its join");
	else if (topic->state == TOPIC_REJOINING)
		snprintf(buf, size, ", in its join, run again");
	else if (event != NULL)
		snprintf(buf, size, ", last event %s", event);
	else
		snprintf(buf, size, ", before any event");
}

/* A crash that will be followed by a restart, unless its join did not even
 * run through: then it is given up. */
static void
will_restart(struct supervisor *sup, struct topic *topic)
{
	if (topic->state == TOPIC_REJOINING) {
		supervisor_terminate_child(sup, topic->child);
		return;
	}
	settle_crash(topic);
	topic->state = TOPIC_REJOINING;
	topic->restarts++;
	topic->stop = 0;
	topic->mute = false;
}

static void
on_died(struct supervisor *sup, struct child *child,
    const struct obituary *obituary, void *arg)
{
	struct topic *topic = child_arg(child);

	(void)arg;
	mailbox_free(topic->mailbox);
	topic->mailbox = NULL;
	topic->rejoin_by = topic->end_by = 0;
	if (obituary->verdict == VERDICT_RESTART) {
		will_restart(sup, topic);
		return;
	}
	topic->child = NULL;
	if (topic->state == TOPIC_JOINING) {
		if (!topic->refused)
			join_failed(topic, "{\"reason\":\"join crashed\"}");
	} else if (!topic->replaced) {
		send_last_words(topic, obituary);
	}
	topic_gone(topic);
}

const struct supervisor_callbacks topic_callbacks = {
	.died = on_died,
};

bool
topic_reap(struct transport *t, pid_t pid, int status)
{
	struct child *child = supervisor_find_pid(t->channels, pid);
	struct topic *topic;

	if (child == NULL)
		return false;
	topic = child_arg(child);
	topic->dead = true;
	if (topic->mailbox != NULL)
		mailbox_drain(topic->mailbox);
	return supervisor_reap(t->channels, pid, status);
}

bool
topic_kill(struct transport *t, unsigned number)
{
	struct topic *topic;

	RB_FOREACH (topic, topics, &t->topics)
		if (topic->number == number && topic->child != NULL) {
			child_kill(topic->child);
			return true;
		}
	return false;
}

/* When it must have done what it is expected to do, and what that is. */
static long long
due_of(const struct topic *topic, const char **what)
{
	if (topic->child == NULL)
		return 0;
	*what = "its join, run again, hangs";
	if (topic->rejoin_by != 0)
		return topic->rejoin_by;
	*what = "it does not end";
	if (topic->end_by != 0)
		return topic->end_by;
	*what = "its queue stays full";
	if (topic->full_since != 0)
		return topic->full_since +
		    topic->transport->config->hung_timeout;
	return 0;
}

/* A channel that does not read because its client does not is not hung. */
long long
topic_check_hung(struct transport *t)
{
	long long now = monotonic_ms(), next = -1, due;
	const char *what = "";
	struct topic *topic;

	LIST_FOREACH (topic, &t->all_topics, of_all) {
		if (topic->full_since != 0 && transport_is_full(t))
			topic->full_since = now;
		due = due_of(topic, &what);
		if (due == 0)
			continue;
		if (due > now) {
			next = next == -1 || due < next ? due : next;
			continue;
		}
		log_warnx("channel %s[%d]: %s; killed", topic->name.data,
		    (int)child_pid(topic->child), what);
		topic->rejoin_by = topic->end_by = 0;
		if (topic->full_since != 0)
			topic->full_since = now;
		child_kill(topic->child);
	}
	return next == -1 ? -1 : next - now;
}

void
topic_pause_channels(struct transport *t, bool pause)
{
	struct topic *topic;

	LIST_FOREACH (topic, &t->all_topics, of_all) {
		if (topic->mailbox == NULL)
			continue;
		if (pause)
			mailbox_pause(topic->mailbox);
		else if (!holds_too_much(topic))
			mailbox_resume(topic->mailbox);
	}
}
