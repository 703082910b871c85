/*
 * auth.c - /auth_socket: who opens it shows a token, which says who it is. Its
 * channels are user:ID, joined by that user only, where pushes arrive, and
 * recurring, which sends a new token each 5 s.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>
#include <bennu/socket.h>

#include "auth.h"
#include "channels/option.h"
#include "push/push.h"

#define INTERVAL 5000 /* ms between tokens; option `interval` */

/* ---- the socket ---- */

static enum bennu_result
auth_connect(struct bennu_connect *connect)
{
	struct bennu_payload data = bennu_connect_verify(connect, AUTH_SALT,
	    bennu_connect_param(connect, "token"), AUTH_MAX_AGE);
	char text[AUTH_ID_MAX + 1], id[AUTH_ID_MAX + 16];
	cJSON *user_id;

	if (data.data == NULL)
		return BENNU_REFUSE;
	user_id = cJSON_Parse(data.data);
	if (!auth_id_text(user_id, text)) {
		cJSON_Delete(user_id);
		return BENNU_REFUSE;
	}
	bennu_connect_assign(connect, "user_id", user_id);
	snprintf(id, sizeof id, "auth_socket:%s", text);
	bennu_connect_id(connect, id);
	return BENNU_OK;
}

BENNU_SOCKET(auth_socket) = {
	.abi = BENNU_ABI,
	.name = "auth_socket",
	.connect = auth_connect,
};

/* What connect assigned. */
static const cJSON *
get_user_id(struct bennu_socket *socket)
{
	const struct bennu_payload assigns = bennu_connect_assigns(socket);

	return cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &assigns), "user_id");
}

/* ---- user:ID ---- */

static enum bennu_result
user_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	char text[AUTH_ID_MAX + 1];

	if (auth_id_text(get_user_id(socket), text) &&
	    msg->topic_size == strlen("user:") + strlen(text) &&
	    strcmp(msg->topic + strlen("user:"), text) == 0)
		return BENNU_OK;
	bennu_reply(
	    socket, "error", bennu_text("{\"reason\":\"unauthorized\"}"));
	return BENNU_REFUSE;
}

/* To all connections of the user; a timed one says when that was. */
static enum bennu_result
user_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *tree = bennu_json(socket, &msg->payload);
	cJSON *out;

	if (strcmp(msg->event, "push") == 0) {
		bennu_broadcast(socket, "push", msg->payload);
	} else if (strcmp(msg->event, "push_timed") == 0 &&
	    cJSON_IsObject(tree)) {
		out = cJSON_Duplicate(tree, true);
		cJSON_DeleteItemFromObjectCaseSensitive(out, "at");
		cJSON_AddNumberToObject(out, "at", push_now());
		bennu_broadcast(socket, "push_timed", bennu_take(socket, out));
	} else {
		return BENNU_UNHANDLED;
	}
	bennu_reply(socket, "ok", bennu_empty());
	return BENNU_OK;
}

/* From when it was broadcast until here, as "ms" in the place of "at". Others
 * may broadcast it, too: without "at" it goes on as it is. */
static enum bennu_result
user_handle_out(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *tree = bennu_json(socket, &msg->payload);
	const cJSON *at = cJSON_GetObjectItemCaseSensitive(tree, "at");
	double ms;
	cJSON *out;

	if (!cJSON_IsNumber(at)) {
		bennu_push(socket, msg->event, msg->payload);
		return BENNU_OK;
	}
	ms = push_now() - at->valuedouble;
	if (ms < 0)
		ms = 0; /* the clock was set back */
	out = cJSON_Duplicate(tree, true);
	cJSON_DeleteItemFromObjectCaseSensitive(out, "at");
	cJSON_DeleteItemFromObjectCaseSensitive(out, "ms");
	cJSON_AddNumberToObject(out, "ms", ms);
	bennu_push(socket, msg->event, bennu_take(socket, out));
	bennu_observe(socket, "user_push_timed_ms", ms);
	return BENNU_OK;
}

static const char *const intercepted[] = { "push_timed", NULL };

BENNU_CHANNEL(user) = {
	.abi = BENNU_ABI,
	.name = "user",
	.intercept = intercepted,
	.join = user_join,
	.handle_in = user_handle_in,
	.handle_out = user_handle_out,
};

/* ---- recurring ---- */

static void
wait_for_next(struct bennu_socket *socket)
{
	bennu_send_after(
	    socket, option_ms(socket, "interval", INTERVAL), "refresh", NULL);
}

static enum bennu_result
recurring_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	(void)msg;
	wait_for_next(socket);
	return BENNU_OK;
}

static enum bennu_result
recurring_handle_info(
    struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *token = bennu_sign(socket, AUTH_SALT,
	    bennu_take(socket, cJSON_Duplicate(get_user_id(socket), true)));
	cJSON *out;

	(void)msg;
	if (token == NULL)
		abort(); /* started again, it tries again */
	out = cJSON_CreateObject();
	cJSON_AddStringToObject(out, "token", token);
	bennu_push(socket, "new_token", bennu_take(socket, out));
	wait_for_next(socket);
	return BENNU_OK;
}

BENNU_CHANNEL(recurring) = {
	.abi = BENNU_ABI,
	.name = "recurring",
	.join = recurring_join,
	.handle_info = recurring_handle_info,
};
