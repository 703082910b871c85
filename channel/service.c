/*
 * service.c - see service.h; with the calls of bennu/service.h.
 *
 * Callbacks run outside the event loop: what it brings waits in a queue, so
 * that a callback may wait for pubsub by running the loop, and is not
 * interrupted by the next message.
 */
#include <sys/queue.h>

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bennu/service.h>

#include "channel/fetcher.h"
#include "channel/presence_list.h"
#include "channel/service.h"
#include "channel/timer.h"
#include "common/exit.h"
#include "common/json.h"
#include "common/leaf.h"
#include "common/log.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "pubsub/journal.h"
#include "pubsub/pubsub.h"

/* More than this that was not accepted yet makes the author wait. */
#define UNACCEPTED_MAX (1U << 20)

struct subscription {
	struct text topic;
	RB_ENTRY(subscription) entry;
};
RB_HEAD(subscriptions, subscription);

/* A broadcast that came. */
struct incoming {
	struct envelope_writer fields;
	STAILQ_ENTRY(incoming) entry;
};

/* Memory that lives until the callback returns. */
struct scratch {
	void *memory;
	cJSON *tree;
	const char *text; /* that the tree was made of */
	SLIST_ENTRY(scratch) entry;
};

struct bennu_service_process {
	const struct service_start *start;
	const struct bennu_service *callbacks;
	struct leaf leaf;
	bool ending;
	struct pubsub_client *pubsub;
	struct subscriptions subscriptions;
	size_t nsubscriptions;
	unsigned unconfirmed; /* requests to pubsub */
	STAILQ_HEAD(, incoming) messages;
	struct timers timers;
	struct event wake; /* for the next timer */
	SLIST_HEAD(, scratch) scratch;
	void *assigns;
};

static int
subscription_compare(const struct subscription *a, const struct subscription *b)
{
	return text_compare(&a->topic, &b->topic);
}

TREE_GENERATE(subscriptions, subscription, entry, subscription_compare)

static _Noreturn void mistake(
    const struct bennu_service_process *, const char *, ...) printflike(2, 3);

static _Noreturn void
mistake(const struct bennu_service_process *service, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fatalx("%s: %s", service->start->config->module, text);
}

/* ---- the loop ---- */

/* Waits for something, until then at most (monotonic ms; -1: for ever). */
static void
wait_until(struct bennu_service_process *service, long long then)
{
	long long left = then - monotonic_ms();
	struct timeval tv = { 0 };

	if (left > 0) {
		tv.tv_sec = left / 1000;
		tv.tv_usec = left % 1000 * 1000;
	}
	if (then != -1)
		event_add(&service->wake, &tv);
	if (event_base_loop(service->leaf.base, EVLOOP_ONCE) == -1)
		fatalx("the event loop");
	event_del(&service->wake);
}

static void
on_wake(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void
on_end(void *arg)
{
	struct bennu_service_process *service = arg;

	service->ending = true;
}

/* Its end of the mailbox is closed before it is nobody's parent any more. */
static bool
supervisor_is_gone(const struct bennu_service_process *service)
{
	return service->leaf.supervisor == NULL || !process_parent_alive();
}

/* ---- from pubsub ---- */

static void
on_deliver(const struct broadcast *broadcast, uint32_t what, void *arg)
{
	struct bennu_service_process *service = arg;
	struct incoming *message = xcalloc(1, sizeof *message);

	(void)what;
	broadcast_put(&message->fields, broadcast);
	STAILQ_INSERT_TAIL(&service->messages, message, entry);
}

/* There is no client, and no lane. */
static void
on_frame(const struct text *topic, const char *frame, size_t size, void *arg)
{
	(void)topic;
	(void)frame;
	(void)size;
	(void)arg;
}

static void
on_rest(const char *data, size_t size, void *arg)
{
	(void)data;
	(void)size;
	(void)arg;
}

static void
on_lane_free(void *arg)
{
	(void)arg;
}

static void
on_overrun(void *arg)
{
	(void)arg;
	fatalx("broadcasts were missed: it did not take them in time");
}

static void
on_idle(void *arg)
{
	(void)arg;
}

static void
on_confirmed(void *arg)
{
	struct bennu_service_process *service = arg;

	service->unconfirmed--;
}

/* ---- callbacks ---- */

static void
clear_scratch(struct bennu_service_process *service)
{
	struct scratch *scratch;

	while ((scratch = SLIST_FIRST(&service->scratch)) != NULL) {
		SLIST_REMOVE_HEAD(&service->scratch, entry);
		cJSON_Delete(scratch->tree);
		free(scratch->memory);
		free(scratch);
	}
}

static void
handle_info(
    struct bennu_service_process *service, const struct bennu_message *message)
{
	enum bennu_result result = BENNU_OK;

	if (service->callbacks->handle_info != NULL)
		result = service->callbacks->handle_info(service, message);
	else
		log_warnx("%s has no handle_info: '%s' ignored",
		    service->start->config->module, message->event);
	clear_scratch(service);
	if (result == BENNU_UNHANDLED)
		mistake(service, "handle_info does not know '%.100s' of %.100s",
		    message->event, message->topic);
	if (result != BENNU_OK)
		mistake(service, "handle_info returned %d", (int)result);
}

/* What had been sent before the unsubscription was confirmed may still come. */
static bool
is_subscribed(struct bennu_service_process *service, const struct text *topic)
{
	struct subscription key = { .topic = *topic };

	return RB_FIND(subscriptions, &service->subscriptions, &key) != NULL;
}

static void
run_message(struct bennu_service_process *service, struct incoming *waiting)
{
	struct envelope envelope = {
		.data = waiting->fields.data + ENVELOPE_HEAD,
		.size = waiting->fields.size - ENVELOPE_HEAD,
	};
	struct bennu_message message = { 0 };
	struct broadcast broadcast;

	if (!broadcast_get(&envelope, &broadcast))
		fatalx("a broadcast of ours that cannot be read");
	if (!is_subscribed(service, &broadcast.topic))
		return;
	message.topic = broadcast.topic.data;
	message.topic_size = broadcast.topic.size;
	message.event = broadcast.event.data;
	message.event_size = broadcast.event.size;
	message.payload = (struct bennu_payload){
		.kind = (enum bennu_kind)broadcast.kind,
		.data = broadcast.payload.data,
		.size = broadcast.payload.size,
	};
	handle_info(service, &message);
}

static void
run_messages(struct bennu_service_process *service)
{
	struct incoming *message;

	while ((message = STAILQ_FIRST(&service->messages)) != NULL &&
	    !service->ending) {
		STAILQ_REMOVE_HEAD(&service->messages, entry);
		run_message(service, message);
		envelope_writer_free(&message->fields);
		free(message);
	}
}

static void
run_timers(struct bennu_service_process *service)
{
	long long now = monotonic_ms(), due;

	while ((due = timers_next(&service->timers)) != -1 && due <= now) {
		struct timer timer = timers_pop(&service->timers);
		struct bennu_message message = {
			.topic = "",
			.event = timer.event,
			.event_size = strlen(timer.event),
			.payload = bennu_empty(),
			.data = timer.data,
		};

		handle_info(service, &message);
		free(timer.event);
	}
}

/* Its last words are accepted, or there is nobody who would. */
static _Noreturn void
end(struct bennu_service_process *service)
{
	long long until = monotonic_ms() + service->start->config->shutdown;
	bool gone = supervisor_is_gone(service);

	if (service->callbacks->terminate != NULL)
		service->callbacks->terminate(
		    service, gone ? BENNU_CLOSED : BENNU_SHUTDOWN);
	while (pubsub_unaccepted(service->pubsub) > 0 &&
	    !supervisor_is_gone(service) && monotonic_ms() < until)
		wait_until(service, until);
	fflush(NULL);
	_exit(EXIT_SHUTDOWN);
}

/* ---- the role ---- */

static void
begin(struct bennu_service_process *service)
{
	static const struct pubsub_callbacks callbacks = {
		.deliver = on_deliver,
		.frame = on_frame,
		.rest = on_rest,
		.lane_free = on_lane_free,
		.overrun = on_overrun,
		.idle = on_idle,
	};
	const struct service_start *start = service->start;
	char *name = xasprintf("service %s", start->config->name);

	service->callbacks = start->config->callbacks;
	service->leaf.end = on_end;
	service->leaf.arg = service;
	leaf_begin(&service->leaf, name, SERVICE_FD_MAILBOX);
	free(name);
	RB_INIT(&service->subscriptions);
	STAILQ_INIT(&service->messages);
	SLIST_INIT(&service->scratch);
	event_assign(
	    &service->wake, service->leaf.base, -1, 0, on_wake, service);
	service->pubsub = pubsub_client_new(
	    service->leaf.base, &start->pubsub, &callbacks, service);
}

/* Who is told that it serves may rely on its subscriptions. */
static void
run_start(struct bennu_service_process *service)
{
	if (service->callbacks->start != NULL &&
	    !service->callbacks->start(service)) {
		log_warnx(
		    "%s: it could not start", service->start->config->module);
		_exit(EXIT_START);
	}
	clear_scratch(service);
	while (service->unconfirmed > 0 && !service->ending)
		wait_until(service, -1);
	leaf_started(&service->leaf);
}

void
service_run(void *arg)
{
	struct bennu_service_process service = { .start = arg };

	begin(&service);
	run_start(&service);
	while (!service.ending) {
		run_timers(&service);
		run_messages(&service);
		wait_until(&service, timers_next(&service.timers));
	}
	end(&service);
}

/* ---- the process: the calls of bennu/service.h ---- */

void *
bennu_service_assigns(const struct bennu_service_process *service)
{
	return service->assigns;
}

void
bennu_service_assign(struct bennu_service_process *service, void *assigns)
{
	service->assigns = assigns;
}

const char *
bennu_service_name(const struct bennu_service_process *service)
{
	return service->start->config->name;
}

const char *
bennu_service_option(
    const struct bennu_service_process *service, const char *key)
{
	return config_service_option(service->start->config, key);
}

void
bennu_service_log(
    const struct bennu_service_process *service, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	(void)service;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_info("%s", text);
}

static struct scratch *
scratch_add(struct bennu_service_process *service)
{
	struct scratch *scratch = xcalloc(1, sizeof *scratch);

	SLIST_INSERT_HEAD(&service->scratch, scratch, entry);
	return scratch;
}

const cJSON *
bennu_service_json(
    struct bennu_service_process *service, const struct bennu_payload *payload)
{
	struct scratch *scratch;

	if (payload->kind != BENNU_JSON)
		return NULL;
	SLIST_FOREACH(scratch, &service->scratch, entry)
	if (scratch->text == payload->data && scratch->text != NULL)
		return scratch->tree;
	scratch = scratch_add(service);
	scratch->text = payload->data;
	scratch->tree = cJSON_ParseWithLength(payload->data, payload->size);
	return scratch->tree;
}

struct bennu_payload
bennu_service_take(struct bennu_service_process *service, cJSON *tree)
{
	char *text = cJSON_PrintUnformatted(tree);

	if (text == NULL)
		mistake(service, "bennu_service_take: no such tree");
	cJSON_Delete(tree);
	scratch_add(service)->memory = text;
	return bennu_text(text);
}

/* ---- to everyone ---- */

static struct text
lend(const char *text)
{
	return (struct text){ .data = (char *)text, .size = strlen(text) };
}

static void
publish(struct bennu_service_process *service, const char *topic,
    const char *event, struct bennu_payload payload, uint32_t flags)
{
	struct broadcast broadcast = {
		.topic = lend(topic),
		.event = lend(event),
		.kind = payload.kind,
		.payload = { (char *)payload.data, payload.size },
	};
	struct json_buffer compact = { 0 };
	size_t size, max;

	if (payload.kind == BENNU_JSON) {
		struct json_span span = json_scan_text(
		    payload.data, payload.size);

		if (span.kind == JSON_BAD)
			mistake(service, "a payload is no JSON: %.200s",
			    payload.data);
		json_append_span(&compact, span);
		broadcast.payload = (struct text){ compact.data, compact.size };
	}
	size = broadcast_size(&broadcast);
	max = broadcast_max(service->start->server->journal_size);
	if (size > max)
		mistake(service,
		    "a broadcast of %zu bytes is larger than %zu, 1/%d of "
		    "journal_size",
		    size, max, BROADCAST_SHARE);
	pubsub_publish(service->pubsub, &broadcast, flags);
	json_buffer_free(&compact);
	while (pubsub_unaccepted(service->pubsub) > UNACCEPTED_MAX) {
		if (supervisor_is_gone(service))
			_exit(EXIT_SHUTDOWN);
		wait_until(service, -1);
	}
}

void
bennu_service_broadcast(struct bennu_service_process *service,
    const char *topic, const char *event, struct bennu_payload payload)
{
	publish(service, topic, event, payload, 0);
}

void
bennu_service_broadcast_local(struct bennu_service_process *service,
    const char *topic, const char *event, struct bennu_payload payload)
{
	publish(service, topic, event, payload, JOURNAL_LOCAL);
}

void
bennu_service_disconnect(struct bennu_service_process *service, const char *id)
{
	bennu_service_broadcast(service, id, "disconnect", bennu_empty());
}

void
bennu_service_subscribe(
    struct bennu_service_process *service, const char *topic)
{
	struct text name = lend(topic);
	struct subscription *sub;

	if (is_subscribed(service, &name))
		return;
	if (service->nsubscriptions == PUBSUB_TOPICS_MAX)
		mistake(service, "bennu_service_subscribe: more than %d topics",
		    PUBSUB_TOPICS_MAX);
	service->nsubscriptions++;
	sub = xcalloc(1, sizeof *sub);
	sub->topic.data = xstrdup(topic);
	sub->topic.size = name.size;
	RB_INSERT(subscriptions, &service->subscriptions, sub);
	service->unconfirmed++;
	pubsub_subscribe(
	    service->pubsub, PART_CHANNEL, &name, on_confirmed, service);
}

void
bennu_service_unsubscribe(
    struct bennu_service_process *service, const char *topic)
{
	struct subscription key = { .topic = lend(topic) };
	struct subscription *sub = RB_FIND(
	    subscriptions, &service->subscriptions, &key);

	if (sub == NULL)
		return;
	RB_REMOVE(subscriptions, &service->subscriptions, sub);
	service->nsubscriptions--;
	free(sub->topic.data);
	free(sub);
	service->unconfirmed++;
	pubsub_unsubscribe(
	    service->pubsub, PART_CHANNEL, &key.topic, on_confirmed, service);
}

/* ---- presences ---- */

static struct bennu_payload
list(struct bennu_service_process *service, const char *call, const char *topic,
    const char *key)
{
	const struct presence_way way = {
		.path = service->start->presence_path
	};
	const struct text of = lend(topic);
	struct bennu_payload payload = { .kind = BENNU_JSON };
	struct presence_question question;
	char *answer;

	if (!presence_question_make(&question, &of, key))
		return payload;
	answer = presence_list_ask(&way, &question);
	if (answer == NULL && errno == ETIMEDOUT)
		mistake(service, "%s: presence did not answer in %d s", call,
		    PRESENCE_WAIT / 1000);
	if (answer == NULL)
		return payload;
	answer = presence_list_fetch(
	    fetch_of(service->start->server, &of), &question, answer);
	scratch_add(service)->memory = answer;
	return bennu_text(answer);
}

struct bennu_payload
bennu_service_presence_list(
    struct bennu_service_process *service, const char *topic)
{
	return list(service, "bennu_service_presence_list", topic, NULL);
}

struct bennu_payload
bennu_service_presence_get_by_key(
    struct bennu_service_process *service, const char *topic, const char *key)
{
	return list(service, "bennu_service_presence_get_by_key", topic, key);
}

/* ---- time ---- */

unsigned
bennu_service_send_after(struct bennu_service_process *service,
    unsigned milliseconds, const char *event, void *data)
{
	return timers_add(
	    &service->timers, monotonic_ms() + milliseconds, event, data);
}

long
bennu_service_timer_left(
    const struct bennu_service_process *service, unsigned timer)
{
	long long due = timers_due(&service->timers, timer), left;

	if (due == -1)
		return -1;
	left = due - monotonic_ms();
	return left < 0 ? 0 : (long)left;
}

long
bennu_service_cancel_timer(
    struct bennu_service_process *service, unsigned timer)
{
	long left = bennu_service_timer_left(service, timer);

	timers_cancel(&service->timers, timer);
	return left;
}
