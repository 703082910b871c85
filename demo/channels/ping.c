/*
 * ping.c - ping and ping:NAME, the first channels of "Real-Time Phoenix"
 * (DEMOS.md 0.3): each event shows one way in which a channel can answer, or
 * not answer, or die; and request_ping how a broadcast is changed on its way to
 * each client.
 *
 * In the original request_ping is broadcast from the server's console, or from
 * another node's. Here a client may push it, too: it is broadcast to all.
 */
#include <string.h>

#include <bennu/channel.h>

static enum bennu_result
ping_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	(void)socket;
	(void)msg;
	return BENNU_OK;
}

/* {"ping": what} */
static void
reply_ping(struct bennu_socket *socket, const char *what)
{
	cJSON *reply = cJSON_CreateObject();

	cJSON_AddStringToObject(reply, "ping", what);
	bennu_reply(socket, "ok", bennu_take(socket, reply));
}

/* With an ack_phrase it comes back. */
static void
answer_ping(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *phrase = cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), "ack_phrase");

	reply_ping(
	    socket, cJSON_IsString(phrase) ? phrase->valuestring : "pong");
}

static void
param_ping(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), "error");

	if (cJSON_IsTrue(error))
		bennu_reply(socket, "error",
		    bennu_text("{\"reason\":\"You asked for this!\"}"));
	else
		bennu_reply(socket, "ok", msg->payload);
}

static enum bennu_result
ping_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->event, "ping") == 0) {
		answer_ping(socket, msg);
	} else if (strncmp(msg->event, "ping:", 5) == 0) {
		reply_ping(socket, msg->event + 5);
	} else if (strcmp(msg->event, "pong") == 0) {
		; /* no answer: the client's push times out */
	} else if (strcmp(msg->event, "ding") == 0) {
		bennu_reply(
		    socket, "ok", bennu_text("{\"msg\":\"shutting down\"}"));
		bennu_stop(socket, BENNU_SHUTDOWN, NULL);
	} else if (strcmp(msg->event, "param_ping") == 0) {
		param_ping(socket, msg);
	} else if (strcmp(msg->event, "request_ping") == 0) {
		bennu_broadcast(socket, "request_ping", msg->payload);
	} else {
		return BENNU_UNHANDLED;
	}
	return BENNU_OK;
}

/* request_ping: the client gets send_ping, with the node where it comes out. */
static enum bennu_result
ping_handle_out(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *request = bennu_json(socket, &msg->payload);
	cJSON *tree = cJSON_IsObject(request) ? cJSON_Duplicate(request, true)
					      : cJSON_CreateObject();

	cJSON_DeleteItemFromObjectCaseSensitive(tree, "from_node");
	cJSON_AddStringToObject(tree, "from_node", bennu_node());
	bennu_push(socket, "send_ping", bennu_take(socket, tree));
	return BENNU_OK;
}

static const char *const intercepted[] = { "request_ping", NULL };

BENNU_CHANNEL(ping) = {
	.abi = BENNU_ABI,
	.name = "ping",
	.intercept = intercepted,
	.join = ping_join,
	.handle_in = ping_handle_in,
	.handle_out = ping_handle_out,
};
