/*
 * push.c - the channel of /push_socket, of any topic: what is pushed to it, and
 * how long that took.
 */
#include <bennu/channel.h>

#include "push.h"

static enum bennu_result
push_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	(void)socket;
	(void)msg;
	return BENNU_OK;
}

/* A clock that was set back makes no negative times. */
static void
count_delivery(struct bennu_socket *socket, const cJSON *at)
{
	double ms = push_now() - at->valuedouble;

	bennu_count(socket, "push_delivered", 1);
	bennu_observe(socket, "push_delivery_ms", ms > 0 ? ms : 0);
}

/* Others may broadcast msg, too: their payloads go on as they are. */
static enum bennu_result
push_handle_out(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *tree = bennu_json(socket, &msg->payload);
	const cJSON *at = cJSON_GetObjectItemCaseSensitive(tree, "at");
	cJSON *out;

	if (!cJSON_IsNumber(at)) {
		bennu_push(socket, PUSH_EVENT, msg->payload);
		return BENNU_OK;
	}
	out = cJSON_Duplicate(tree, true);
	cJSON_DeleteItemFromObjectCaseSensitive(out, "at");
	bennu_push(socket, PUSH_EVENT, bennu_take(socket, out));
	count_delivery(socket, at);
	return BENNU_OK;
}

static const char *const intercepted[] = { PUSH_EVENT, NULL };

BENNU_CHANNEL(push) = {
	.abi = BENNU_ABI,
	.name = "push",
	.intercept = intercepted,
	.join = push_join,
	.handle_out = push_handle_out,
};
