/*
 * connect.c - a socket that does what its parameters say, the bad things among
 * them, and a channel that tells what came of it.
 */
#include <sys/socket.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bennu/socket.h>

#include "channel/connector.h"
#include "common/envelope.h"

#define FDS_MAX 64

static void
block_for(const char *ms)
{
	long n = ms == NULL ? 0 : strtol(ms, NULL, 10);
	struct timespec left = { n / 1000, n % 1000 * 1000000L };

	while (nanosleep(&left, &left) == -1)
		;
}

/* To whoever is connected to this process, behind its back. */
static void
send_to_all(const void *data, size_t size)
{
	for (int fd = 3; fd < FDS_MAX; fd++)
		send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* An answer in the right form, with the wrong words. */
static void
lie(uint32_t accepted, const char *id, size_t id_size, const char *assigns)
{
	uint8_t out[512];
	size_t at = 8;
	uint32_t n;

#define PUT(p, size) (memcpy(out + at, p, size), at += (size))
	PUT(&accepted, 4);
	n = id == NULL ? UINT32_MAX : (uint32_t)id_size;
	PUT(&n, 4);
	if (id != NULL) {
		PUT(id, id_size);
		PUT("", 1);
	}
	n = (uint32_t)strlen(assigns);
	PUT(&n, 4);
	PUT(assigns, n + 1);
#undef PUT
	n = ENVELOPE_CONNECTED;
	memcpy(out, &n, 4);
	n = (uint32_t)at - 8;
	memcpy(out + 4, &n, 4);
	send_to_all(out, at);
}

static void
misbehave(struct bennu_connect *c, const char *what)
{
	static const uint32_t again[2] = { ENVELOPE_CONNECT_BEGUN, 0 };

	if (strcmp(what, "crash") == 0)
		abort();
	if (strcmp(what, "exit") == 0)
		_exit(0);
	if (strcmp(what, "loop") == 0)
		for (;;)
			continue;
	if (strcmp(what, "result") == 0)
		bennu_connect_assign(c, "x", NULL);
	if (strcmp(what, "garbage") == 0)
		send_to_all("\xff\xff\xff\xff garbage", 12);
	if (strcmp(what, "again") == 0)
		send_to_all(again, sizeof again);
	if (strcmp(what, "maybe") == 0)
		lie(2, NULL, 0, "{}");
	if (strcmp(what, "bad_assigns") == 0)
		lie(1, NULL, 0, "{\"a\":");
	if (strcmp(what, "list") == 0)
		lie(1, NULL, 0, "[]");
	if (strcmp(what, "bad_id") == 0)
		lie(1, "a\xff", 2, "{}");
	if (strcmp(what, "nul_id") == 0)
		lie(1, "a\0b", 3, "{}");
	if (strcmp(what, "end") == 0)
		for (int fd = CONNECTOR_FD_LISTEN + 1; fd < FDS_MAX; fd++)
			shutdown(fd, SHUT_RDWR);
}

static void
assign_optional(struct bennu_connect *c, const char *key, const char *value)
{
	if (value != NULL)
		bennu_connect_assign(c, key, cJSON_CreateString(value));
}

static void
assign_headers(struct bennu_connect *c)
{
	cJSON *headers = cJSON_CreateObject();
	const char *name, *value;

	for (size_t i = 0; bennu_connect_header_at(c, i, &name, &value); i++)
		cJSON_AddStringToObject(headers, name, value);
	bennu_connect_assign(c, "headers", headers);
}

static enum bennu_result
connect_any(struct bennu_connect *c)
{
	const char *what = bennu_connect_param(c, "do");
	struct bennu_payload params = bennu_connect_params(c);

	block_for(bennu_connect_param(c, "sleep"));
	bennu_connect_count(c, "connects_total", 1);
	bennu_connect_observe(c, "connect_params", (double)params.size);
	if (what != NULL && strcmp(what, "refuse") == 0)
		return BENNU_REFUSE;
	if (what != NULL)
		misbehave(c, what);
	bennu_connect_id(c, bennu_connect_param(c, "id"));
	assign_optional(c, "token", bennu_connect_auth_token(c, NULL));
	assign_optional(c, "peer", bennu_connect_peer(c));
	assign_optional(c, "uri", bennu_connect_uri(c));
	assign_optional(c, "agent", bennu_connect_header(c, "user-agent"));
	assign_headers(c);
	bennu_connect_assign(c, "pid", cJSON_CreateNumber(getpid()));
	return BENNU_OK;
}

BENNU_SOCKET(user_socket) = {
	.abi = BENNU_ABI,
	.name = "user_socket",
	.connect = connect_any,
};

/* ---- the channel ---- */

static enum bennu_result
who_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *id = bennu_socket_id(socket);
	cJSON *who = cJSON_CreateObject();

	(void)msg;
	cJSON_AddItemToObject(who, "id",
	    id == NULL ? cJSON_CreateNull() : cJSON_CreateString(id));
	cJSON_AddStringToObject(who, "transport", bennu_transport(socket));
	cJSON_AddRawToObject(who, "params", bennu_params(socket).data);
	cJSON_AddRawToObject(
	    who, "assigns", bennu_connect_assigns(socket).data);
	cJSON_AddNumberToObject(who, "ppid", getppid());
	bennu_reply(socket, "ok", bennu_take(socket, who));
	return BENNU_OK;
}

static enum bennu_result
who_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *payload = bennu_json(socket, &msg->payload);
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(payload, "text"));

	if (text == NULL)
		return BENNU_UNHANDLED;
	if (strcmp(msg->event, "disconnect") == 0)
		bennu_disconnect(socket, text);
	else if (strcmp(msg->event, "other") == 0)
		bennu_broadcast_to(socket, text, "other", bennu_empty());
	else if (strcmp(msg->event, "sleep") == 0)
		block_for(text);
	else
		return BENNU_UNHANDLED;
	bennu_reply(socket, "ok", bennu_empty());
	return BENNU_OK;
}

BENNU_CHANNEL(who) = {
	.abi = BENNU_ABI,
	.name = "who",
	.join = who_join,
	.handle_in = who_handle_in,
};
