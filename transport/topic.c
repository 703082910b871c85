/*
 * topic.c - see topic.h. The rules are those of PROTOCOL.md 3 and 4, and of
 * ARCHITECTURE.md's "a transparent restart, exactly".
 */
#include <assert.h>
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
#include "transport/inspect.h"
#include "transport/presence.h"
#include "transport/topic.h"
#include "transport/topic_private.h"
#include "transport/transport.h"

struct topic *
topic_find(struct transport *t, const struct text *name)
{
	struct topic key = { .name = *name };

	return RB_FIND(topics, &t->topics, &key);
}

/* The client has its answer to the phx_join: its next message may come. */
void
topic_join_answered(struct topic *topic)
{
	if (!topic->join_pending)
		return;
	topic->join_pending = false;
	transport_resume(topic->transport, PAUSE_JOIN);
}

/* ---- the process ---- */

/* In the child: everything it needs lies in the memory it was born with. */
static pid_t
topic_fork(struct child *child, void *arg)
{
	struct topic *topic = arg;
	struct channel_start start = {
		.config = topic->config,
		.server = topic->transport->config,
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
	int fd;
	pid_t pid = mailbox_fork(&spec, CHANNEL_FD_MAILBOX - PROCESS_FD, &fd);

	if (pid == -1)
		return -1;
	topic->child = child;
	topic->dead = false;
	topic->mailbox = mailbox_new(fd, topic_on_envelope, topic);
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
	STAILQ_INIT(&topic->deferred);
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
	topic_queue_has_room(topic);
}

static void
drop_messages(struct topic *topic)
{
	struct item *item;

	while ((item = STAILQ_FIRST(&topic->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&topic->queue, entry);
		topic->transport->queued -= item->body.size;
		topic_item_free(item);
	}
	topic_item_free(topic->in_hand);
	topic->in_hand = NULL;
	topic_forget_all_kept(topic);
	pubsub_client_room(topic->transport->pubsub);
}

void
topic_free(struct topic *topic)
{
	assert(topic->child == NULL && topic->holding == 0);
	assert(STAILQ_EMPTY(&topic->deferred) && !topic->holds_frames);
	inspect_gone(topic);
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

/* ---- join ---- */

/* Within its `shutdown`, or it will be killed: see topic_check_hung. */
void
topic_must_end(struct topic *topic)
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
		topic_must_end(old);
		return;
	}
	old->replaced = old->mute = true;
	topic_unsubscribe_all(old);
	presence_drop(old);
	if (old->child != NULL)
		supervisor_terminate_child(
		    old->transport->channels, old->child);
}

/* The client hears of the replaced incarnation behind the new one's answer. */
void
topic_close_replaced(struct topic *topic)
{
	if (topic->old_join_ref == NULL)
		return;
	topic_send_end(topic, topic->old_join_ref, "phx_close", "{}");
	free(topic->old_join_ref);
	topic->old_join_ref = NULL;
}

/* The join was refused or crashed: the topic was never joined. */
void
topic_join_failed(struct topic *topic, const char *reason)
{
	if (reason != NULL)
		topic_send_reply(
		    topic, topic->join_ref, topic->ref, "error", reason);
	topic_close_replaced(topic);
	unlist(topic);
	if (topic->holding == 0)
		topic_join_answered(topic);
}

/* Frees an ended topic, at once or when pubsub has confirmed. */
static void
topic_gone(struct topic *topic)
{
	topic->state = TOPIC_ENDED;
	unlist(topic);
	topic_unsubscribe_all(topic);
	presence_drop(topic);
	if (topic->holding > 0)
		return;
	topic_join_answered(topic);
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
	topic_join_failed(topic, "{\"reason\":\"join crashed\"}");
	topic_gone(topic);
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
		topic_send_reply(
		    topic, topic->push_ref, item->ref, "error", crashed);
	RB_FOREACH (kept, kept_tree, &topic->kept)
		if (kept->wants_reply &&
		    (item == NULL || item->ref == NULL ||
			strcmp(kept->ref, item->ref) != 0))
			topic_send_reply(topic, topic->push_ref, kept->ref,
			    "error", crashed);
	topic_forget_all_kept(topic);
	topic_item_free(item);
	free(topic->waking);
	topic->waking = NULL;
	topic_unsubscribe_extras(topic);
}

/* The last frames of a topic that was joined, behind the unsubscription. */
static void
send_last_words(struct topic *topic, const struct obituary *obituary)
{
	bool normal = exit_is_normal(obituary->status) && !topic->refused &&
	    topic->state != TOPIC_REJOINING && topic->stop != BENNU_ERROR;

	if (topic->transport->end_reason != 0)
		return; /* the connection ends: nothing follows */
	topic_unsubscribe_all(topic);
	if (topic->leaving) {
		topic_send_reply(
		    topic, topic->leave_join_ref, topic->leave_ref, "ok", "{}");
		topic_send_end(topic, topic->join_ref, "phx_close", "{}");
	} else if (normal) {
		topic_send_end(topic, topic->join_ref, "phx_close", "{}");
	} else {
		if (topic->state == TOPIC_JOINED)
			stats_own(
			    topic->transport->start->stats, STATS_CRASHES);
		topic_send_end(topic, topic->join_ref, "phx_error",
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
	struct stats *stats = topic->transport->start->stats;

	stats_own(stats, STATS_CRASHES);
	if (topic->state == TOPIC_REJOINING) {
		supervisor_terminate_child(sup, topic->child);
		return;
	}
	stats_own(stats, STATS_RESTARTS);
	settle_crash(topic);
	presence_drop(topic);
	inspect_crashed(topic);
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
	presence_callback_done(topic);
	mailbox_free(topic->mailbox);
	topic->mailbox = NULL;
	topic->rejoin_by = topic->end_by = 0;
	if (obituary->verdict == VERDICT_RESTART) {
		will_restart(sup, topic);
		return;
	}
	topic->child = NULL;
	if (topic->state == TOPIC_JOINING) {
		if (!topic->refused) {
			stats_own(topic->transport->start->stats,
			    STATS_JOINS_CRASHED);
			topic_join_failed(
			    topic, "{\"reason\":\"join crashed\"}");
		}
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
	*what = "its join, run again, hangs (join_timeout)";
	if (topic->rejoin_by != 0)
		return topic->rejoin_by;
	*what = "it does not end (shutdown)";
	if (topic->end_by != 0)
		return topic->end_by;
	*what = "its queue stays full (hung_timeout)";
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
	struct topic *topic, *next_topic;

	LIST_FOREACH_SAFE (topic, &t->all_topics, of_all, next_topic) {
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
		/* What was left and joined anew is not started again: what
		 * waits for it could hang as well, and nobody looks then. */
		if (topic->leaving && !topic->listed)
			supervisor_terminate_child(t->channels, topic->child);
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
		else if (!topic_holds_too_much(topic))
			mailbox_resume(topic->mailbox);
	}
}
