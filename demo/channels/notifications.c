/*
 * notifications.c - notifications:lobby, after the superheroes application
 * (DEMOS.md 0.1): everybody gets a name, sees who is there, and notifies one,
 * the others or all. A service notifies somebody now and then.
 *
 * What is meant for one comes over notifications:NAME, which only the channel
 * of that name hears: clients cannot join it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bennu/channel.h>
#include <bennu/service.h>

#include "names.h"
#include "online.h"
#include "option.h"

#define LOBBY        "notifications:lobby"
#define PERSONAL     "notifications:"
#define EVENT        "notification"
#define INTERVAL     5000 /* ms; option `interval` of the service */
#define INTERVAL_MIN 10
#define NAME_TRIES   10
#define PERSONAL_MAX 300 /* bytes, with the NUL */

/* False: nobody has so long a name. */
static bool
make_personal(char topic[PERSONAL_MAX], const char *name)
{
	return snprintf(topic, PERSONAL_MAX, PERSONAL "%s", name) <
	    PERSONAL_MAX;
}

/* {"body", "timestamp": Unix seconds} */
static cJSON *
make_notification(const char *body)
{
	cJSON *tree = cJSON_CreateObject();

	cJSON_AddStringToObject(tree, "body", body);
	cJSON_AddNumberToObject(tree, "timestamp", (double)time(NULL));
	return tree;
}

/* ---- the channel ---- */

static enum bennu_result
notifications_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->topic, LOBBY) != 0) {
		bennu_reply(socket, "error",
		    bennu_text("{\"reason\":\"unmatched topic\"}"));
		return BENNU_REFUSE;
	}
	bennu_send_after(socket, 0, "after_join", NULL);
	return BENNU_OK;
}

static bool
is_taken(struct bennu_socket *socket, const char *name)
{
	struct bennu_payload who = bennu_presence_get_by_key(
	    socket, NULL, name);

	return who.data != NULL && *who.data == '{';
}

static void
push_user_info(struct bennu_socket *socket)
{
	bennu_push(socket, "user_info",
	    bennu_format(socket, "{\"user_name\":\"%s\"}",
		(const char *)bennu_assigns(socket)));
}

/* Two who come at once may get one name, and then each other's messages. */
static void
enter(struct bennu_socket *socket)
{
	char topic[PERSONAL_MAX], *name = calloc(1, NAME_SIZE);
	int tries = NAME_TRIES;

	if (name == NULL)
		abort();
	do
		name_make(name);
	while (--tries > 0 && is_taken(socket, name));
	bennu_assign(socket, name);
	make_personal(topic, name);
	bennu_subscribe(socket, topic);
	online_begin(socket, name,
	    online_meta("user_name", cJSON_CreateString(name)), push_user_info);
}

static const char *
string_of(struct bennu_socket *socket, const struct bennu_message *msg,
    const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), name));
}

static enum bennu_result
notify_direct(struct bennu_socket *socket, const char *recipient,
    struct bennu_payload notification)
{
	char topic[PERSONAL_MAX];

	if (recipient == NULL || !make_personal(topic, recipient))
		return BENNU_UNHANDLED;
	bennu_broadcast_to(socket, topic, EVENT, notification);
	return BENNU_OK;
}

static enum bennu_result
notifications_handle_in(
    struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *body = string_of(socket, msg, "body");
	struct bennu_payload notification;

	if (body == NULL)
		return BENNU_UNHANDLED;
	notification = bennu_take(socket, make_notification(body));
	if (strcmp(msg->event, "notify_direct") == 0)
		return notify_direct(
		    socket, string_of(socket, msg, "recipient"), notification);
	if (strcmp(msg->event, "notify_others") == 0)
		bennu_broadcast_from(socket, EVENT, notification);
	else if (strcmp(msg->event, "notify_all") == 0)
		bennu_broadcast(socket, EVENT, notification);
	else
		return BENNU_UNHANDLED;
	return BENNU_OK;
}

/* Of the lobby comes only what the timer of the join brings. */
static enum bennu_result
notifications_handle_info(
    struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->topic, LOBBY) == 0)
		enter(socket);
	else if (strcmp(msg->event, EVENT) == 0)
		bennu_push(socket, EVENT, msg->payload);
	return BENNU_OK;
}

BENNU_CHANNEL(notifications) = {
	.abi = BENNU_ABI,
	.name = "notifications",
	.join = notifications_join,
	.handle_in = notifications_handle_in,
	.handle_info = notifications_handle_info,
};

/* ---- the service ---- */

struct notifier {
	unsigned interval; /* ms */
};

static bool
notifier_start(struct bennu_service_process *service)
{
	const char *text = bennu_service_option(service, "interval");
	struct notifier *notifier = calloc(1, sizeof *notifier);

	if (notifier == NULL)
		abort();
	notifier->interval = INTERVAL;
	if (text != NULL && !option_parse_ms(text, &notifier->interval)) {
		bennu_service_log(
		    service, "interval = \"%s\": not milliseconds", text);
		return false;
	}
	if (notifier->interval < INTERVAL_MIN)
		notifier->interval = INTERVAL_MIN;
	bennu_service_assign(service, notifier);
	bennu_service_send_after(service, notifier->interval, "notify", NULL);
	return true;
}

static void
notify(struct bennu_service_process *service, const char *name)
{
	char topic[PERSONAL_MAX], body[PERSONAL_MAX + 64];

	/* All keys of the lobby are names. */
	if (!make_personal(topic, name))
		return;
	snprintf(
	    body, sizeof body, "Message to %s from internal service", name);
	bennu_service_broadcast(service, topic, EVENT,
	    bennu_service_take(service, make_notification(body)));
}

static void
notify_somebody(struct bennu_service_process *service)
{
	struct bennu_payload all = bennu_service_presence_list(service, LOBBY);
	const cJSON *list;
	int n;

	if (all.data == NULL) {
		bennu_service_log(service, "there is no list of " LOBBY);
		return;
	}
	list = bennu_service_json(service, &all);
	n = cJSON_GetArraySize(list);
	if (n > 0)
		notify(service,
		    cJSON_GetArrayItem(list, (int)arc4random_uniform(n))
			->string);
}

/* The next time begins first: a list that fails costs no more than itself. */
static enum bennu_result
notifier_handle_info(
    struct bennu_service_process *service, const struct bennu_message *msg)
{
	const struct notifier *notifier = bennu_service_assigns(service);

	(void)msg;
	bennu_service_send_after(service, notifier->interval, "notify", NULL);
	notify_somebody(service);
	return BENNU_OK;
}

BENNU_SERVICE(notifier) = {
	.abi = BENNU_ABI,
	.name = "notifier",
	.start = notifier_start,
	.handle_info = notifier_handle_info,
};
