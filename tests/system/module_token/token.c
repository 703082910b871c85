/*
 * token.c - a socket, a channel and HTTP handlers that sign and verify what
 * they are asked to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bennu/endpoint.h>
#include <bennu/socket.h>

/* What an answer says of a failure: the name of errno. */
static const char *
why(void)
{
	return strerrorname_np(errno);
}

static const char *
string_of(const cJSON *tree, const char *name)
{
	return cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(tree, name));
}

/* ---- the socket ---- */

static enum bennu_result
connect_user(struct bennu_connect *c)
{
	const char *token = bennu_connect_param(c, "token");
	struct bennu_payload data = bennu_connect_verify(
	    c, "user", token, 86400);
	const char *made;

	if (data.data == NULL) {
		bennu_connect_log(c, "no entry: %s", why());
		return BENNU_REFUSE;
	}
	if (bennu_connect_param(c, "crash") != NULL)
		abort();
	made = bennu_connect_sign(c, "made", data);
	if (made == NULL)
		return BENNU_REFUSE;
	bennu_connect_id(c, data.data);
	bennu_connect_assign(c, "data", cJSON_CreateString(data.data));
	bennu_connect_assign(c, "made", cJSON_CreateString(made));
	return BENNU_OK;
}

BENNU_SOCKET(user_socket) = {
	.abi = BENNU_ABI,
	.name = "user_socket",
	.connect = connect_user,
};

/* ---- the channel ---- */

static void
reply_why(struct bennu_socket *socket)
{
	bennu_reply(
	    socket, "error", bennu_format(socket, "{\"why\":\"%s\"}", why()));
}

static enum bennu_result
channel_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *token = string_of(
	    bennu_json(socket, &msg->payload), "token");
	struct bennu_payload data;

	if (token == NULL) {
		bennu_reply(socket, "ok", bennu_connect_assigns(socket));
		return BENNU_OK;
	}
	data = bennu_verify(socket, "join", token, BENNU_ANY_AGE);
	if (data.data == NULL) {
		reply_why(socket);
		return BENNU_REFUSE;
	}
	bennu_reply(socket, "ok", data);
	return BENNU_OK;
}

static void
sign(struct bennu_socket *socket, const cJSON *params, const char *data)
{
	const char *token = bennu_sign(
	    socket, string_of(params, "salt"), bennu_text(data));

	if (token == NULL)
		reply_why(socket);
	else
		bennu_reply(socket, "ok",
		    bennu_format(socket, "{\"token\":\"%s\"}", token));
}

static void
verify(struct bennu_socket *socket, const cJSON *params)
{
	const cJSON *age = cJSON_GetObjectItemCaseSensitive(params, "max_age");
	struct bennu_payload data = bennu_verify(socket,
	    string_of(params, "salt"), string_of(params, "token"),
	    age == NULL ? BENNU_OWN_AGE : age->valueint);

	if (data.data == NULL)
		reply_why(socket);
	else
		bennu_reply(socket, "ok", data);
}

static enum bennu_result
channel_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *params = bennu_json(socket, &msg->payload);

	/* Data is text, so that it stays as it is. */
	if (strcmp(msg->event, "sign") == 0)
		sign(socket, params, string_of(params, "data"));
	else if (strcmp(msg->event, "verify") == 0)
		verify(socket, params);
	else if (strcmp(msg->event, "crash") == 0)
		abort();
	else
		return BENNU_UNHANDLED;
	return BENNU_OK;
}

static void
channel_terminate(
    struct bennu_socket *socket, enum bennu_reason reason, const char *detail)
{
	const char *token = bennu_sign(socket, "last", bennu_text("1"));

	(void)detail;
	bennu_log(socket, "terminate %u: %s", (unsigned)reason,
	    token == NULL ? why() : token);
}

BENNU_CHANNEL(channel) = {
	.abi = BENNU_ABI,
	.name = "channel",
	.join = channel_join,
	.handle_in = channel_in,
	.terminate = channel_terminate,
};

/* ---- HTTP ---- */

static void
respond_why(struct bennu_conn *conn)
{
	bennu_respond_error(conn, 400, why());
}

static void
post_sign(struct bennu_conn *conn)
{
	size_t size;
	const char *token = bennu_conn_sign(conn, bennu_query(conn, "salt"),
	    bennu_text(bennu_body(conn, &size)));

	if (token == NULL)
		respond_why(conn);
	else
		bennu_respond(conn, 200, "text/plain", token, strlen(token));
}

static void
post_verify(struct bennu_conn *conn)
{
	size_t size;
	struct bennu_payload data = bennu_conn_verify(conn,
	    bennu_query(conn, "salt"), bennu_body(conn, &size), BENNU_OWN_AGE);

	if (data.data == NULL)
		respond_why(conn);
	else
		bennu_respond(
		    conn, 200, "application/json", data.data, data.size);
}

static const struct bennu_route routes[] = {
	{ "POST", "/sign", post_sign },
	{ "POST", "/verify", post_verify },
	{ 0 },
};

BENNU_ENDPOINT(endpoint) = {
	.abi = BENNU_ABI,
	.name = "endpoint",
	.routes = routes,
};
