/*
 * room.c - a chat room: what the manual page builds up and the demo runs.
 */
#include <string.h>
#include <unistd.h>

#include <bennu/channel.h>

/* Anybody may join, but not a private room; the others hear of it after. */
static enum bennu_result
room_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	static const char private[] = "room:private";

	if (strncmp(msg->topic, private, strlen(private)) == 0) {
		bennu_reply(socket, "error",
		    bennu_text("{\"reason\":\"unauthorized\"}"));
		return BENNU_REFUSE;
	}
	bennu_assign(
	    socket, cJSON_Duplicate(bennu_json(socket, &msg->payload), 1));
	bennu_send_after(socket, 0, "after_join", NULL);
	return BENNU_OK;
}

static enum bennu_result
room_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->event, "new_msg") == 0) {
		bennu_broadcast(socket, "new_msg", msg->payload);
		return BENNU_OK;
	}
	if (strcmp(msg->event, "ping") == 0) {
		bennu_reply(socket, "ok", msg->payload);
		return BENNU_OK;
	}
	/* Which processes serve this client: the page marks them as its own. */
	if (strcmp(msg->event, "pids") == 0) {
		bennu_reply(socket, "ok",
		    bennu_format(socket, "{\"channel\":%d,\"transport\":%d}",
			(int)getpid(), (int)getppid()));
		return BENNU_OK;
	}
	return BENNU_UNHANDLED;
}

static enum bennu_result
room_handle_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	cJSON *params = bennu_assigns(socket);

	/* Started again after a crash nobody has entered. */
	if (strcmp(msg->event, "after_join") == 0 &&
	    bennu_restarts(socket) == 0)
		bennu_broadcast_from(socket, "user_entered",
		    cJSON_IsObject(params) ? bennu_take(socket, params)
					   : bennu_empty());
	bennu_assign(socket, NULL);
	return BENNU_OK;
}

BENNU_CHANNEL(room) = {
	.abi = BENNU_ABI,
	.name = "room",
	.join = room_join,
	.handle_in = room_handle_in,
	.handle_info = room_handle_info,
};
