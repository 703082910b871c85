/*
 * tracked.c - tracked, after "Real-Time Phoenix" (DEMOS.md 0.3): who is online,
 * by user_id. Whoever has come twice is there twice, under one key.
 *
 * In the original the socket knows the user. Here the client says it when it
 * joins: {"user_id": 1} or "ann".
 */
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>

#include "online.h"

#define USER_MAX 255 /* bytes */

struct tracked {
	cJSON *user; /* a string or a number */
};

static bool
is_user(const cJSON *user)
{
	if (cJSON_IsString(user))
		return *user->valuestring != '\0' &&
		    strlen(user->valuestring) <= USER_MAX;
	return cJSON_IsNumber(user);
}

static enum bennu_result
tracked_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *user = cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), "user_id");
	struct tracked *tracked;

	if (!is_user(user)) {
		bennu_reply(socket, "error",
		    bennu_text("{\"reason\":\"user_id is missing\"}"));
		return BENNU_REFUSE;
	}
	tracked = calloc(1, sizeof *tracked);
	if (tracked == NULL)
		abort();
	tracked->user = cJSON_Duplicate(user, true);
	bennu_assign(socket, tracked);
	bennu_send_after(socket, 0, "after_join", NULL);
	return BENNU_OK;
}

static enum bennu_result
tracked_handle_info(
    struct bennu_socket *socket, const struct bennu_message *msg)
{
	const struct tracked *tracked = bennu_assigns(socket);
	char *number = cJSON_IsNumber(tracked->user)
	    ? cJSON_PrintUnformatted(tracked->user)
	    : NULL;

	(void)msg;
	online_begin(socket,
	    number == NULL ? tracked->user->valuestring : number,
	    online_meta("user_id", cJSON_Duplicate(tracked->user, true)), NULL);
	cJSON_free(number);
	return BENNU_OK;
}

BENNU_CHANNEL(tracked) = {
	.abi = BENNU_ABI,
	.name = "tracked",
	.join = tracked_join,
	.handle_info = tracked_handle_info,
};
