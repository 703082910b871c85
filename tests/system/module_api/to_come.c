/*
 * to_come.c - channels that were written before presence and other nodes were
 * there: the frozen header must do for them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bennu/channel.h>

/* The reason that errno is, as a reply. */
static struct bennu_payload
why(struct bennu_socket *socket)
{
	return bennu_format(socket, "{\"reason\":\"%s\"}", strerror(errno));
}

static enum bennu_result
accept_any(struct bennu_socket *socket, const struct bennu_message *msg)
{
	(void)socket;
	(void)msg;
	return BENNU_OK;
}

/* ---- notifications:lobby: who is online, and a word to one of them ---- */

static enum bennu_result
notifications_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	char *name = malloc(64);

	(void)msg;
	if (name == NULL)
		abort();
	strcpy(name, "notifications:");
	bennu_uuid(name + strlen(name));
	bennu_assign(socket, name);
	bennu_subscribe(socket, name);
	bennu_send_after(socket, 0, "after_join", NULL);
	return BENNU_OK;
}

static enum bennu_result
notifications_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *name = bennu_assigns(socket);
	struct bennu_payload list;

	if (strcmp(msg->event, "notification") == 0) {
		bennu_push(socket, "notification", msg->payload);
		return BENNU_OK;
	}
	bennu_push(socket, "user_info",
	    bennu_format(socket, "{\"user_name\":\"%s\"}", name));
	if (bennu_presence_track(socket, NULL, name,
		bennu_format(socket, "{\"online_at\":\"%lld\"}",
		    (long long)time(NULL))) == NULL)
		bennu_push(socket, "not_tracked", why(socket));
	list = bennu_presence_list(socket, NULL);
	bennu_push(
	    socket, "presence_state", list.data == NULL ? why(socket) : list);
	return BENNU_OK;
}

static enum bennu_result
notifications_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *payload = bennu_json(socket, &msg->payload);
	const char *to = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(payload, "recipient"));

	if (strcmp(msg->event, "notify_all") == 0)
		bennu_broadcast(socket, "notification", msg->payload);
	else if (strcmp(msg->event, "notify_others") == 0)
		bennu_broadcast_from(socket, "notification", msg->payload);
	else if (strcmp(msg->event, "notify_direct") == 0 && to != NULL)
		bennu_broadcast_to(socket, to, "notification", msg->payload);
	else
		return BENNU_UNHANDLED;
	return BENNU_OK;
}

BENNU_CHANNEL(notifications) = {
	.abi = BENNU_ABI,
	.name = "notifications",
	.join = notifications_join,
	.handle_in = notifications_in,
	.handle_info = notifications_info,
};

/* ---- tracked: keys of another topic, too, and what is added to them ---- */

static enum bennu_result
tracked_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct bennu_payload one;

	if (bennu_presence_track(socket, "carts", "7", msg->payload) == NULL &&
	    bennu_presence_update(socket, "carts", "7", msg->payload) == NULL &&
	    bennu_presence_untrack(socket, "carts", "7") == -1) {
		bennu_reply(socket, "error", why(socket));
		return BENNU_OK;
	}
	one = bennu_presence_get_by_key(socket, "carts", "7");
	bennu_reply(socket, "ok", one);
	return BENNU_OK;
}

static void
add_names(const char *topic, cJSON *presences)
{
	(void)topic;
	for (cJSON *key = presences->child; key != NULL; key = key->next)
		cJSON_AddStringToObject(key, "name", key->string);
}

BENNU_CHANNEL(tracked) = {
	.abi = BENNU_ABI,
	.name = "tracked",
	.join = accept_any,
	.handle_in = tracked_in,
	.fetch = add_names,
};

/* ---- where it runs: push to a topic that somebody listens to ---- */

static enum bennu_result
node_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	long n = bennu_subscribers(socket, msg->topic);

	if (n == -1)
		abort();
	bennu_push(
	    socket, "subscribers", bennu_format(socket, "{\"n\":%ld}", n));
	bennu_broadcast_local(socket, msg->topic, "local", msg->payload);
	if (bennu_broadcast_direct(socket, bennu_node(), msg->topic, "direct",
		bennu_format(socket, "{\"from_node\":\"%s\"}", bennu_node())) ==
	    -1)
		abort();
	if (bennu_broadcast_direct(
		socket, "nowhere", msg->topic, "lost", bennu_empty()) == -1)
		bennu_reply(socket, "error", why(socket));
	return BENNU_OK;
}

BENNU_CHANNEL(node) = {
	.abi = BENNU_ABI,
	.name = "node",
	.join = accept_any,
	.handle_in = node_in,
};
