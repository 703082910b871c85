/*
 * request.c - POST /api/push {"channel": "a" | ["a", "b"], "data", "event"}:
 * data goes to all clients of these channels, as msg {"data", "event"}.
 */
#include <stdlib.h>
#include <string.h>

#include "push.h"

#define CHANNELS_MAX 100 /* each gets a copy of the data */

/* {"error": why} */
static void
refuse(struct bennu_conn *conn, int status, const char *why)
{
	cJSON *tree = cJSON_CreateObject();

	cJSON_AddStringToObject(tree, "error", why);
	bennu_respond_json(conn, status, tree);
}

/* In the same time, however much of a wrong one is right. */
static bool
is_same(const char *secret, const char *given)
{
	size_t n = strlen(secret);
	unsigned char differs = strlen(given) != n;

	for (size_t i = 0; i < n && *given != '\0'; i++)
		differs |= (unsigned char)(secret[i] ^ *given++);
	return differs == 0;
}

/* Whoever has the token of the option `push_token`; everybody without one. */
static bool
is_allowed(struct bennu_conn *conn)
{
	static const char scheme[] = "Bearer ";
	const char *secret = bennu_conn_option(conn, "push_token");
	const char *given = bennu_header(conn, "Authorization");

	if (secret == NULL)
		return true;
	return given != NULL && strncmp(given, scheme, strlen(scheme)) == 0 &&
	    is_same(secret, given + strlen(scheme));
}

static bool
has(const cJSON *list, const char *name)
{
	const cJSON *item;

	cJSON_ArrayForEach (item, list)
		if (strcmp(item->valuestring, name) == 0)
			return true;
	return false;
}

/* Each channel once, in order; one name is a list of one. NULL: no channels. */
static cJSON *
get_channels(const cJSON *given)
{
	const cJSON *item = cJSON_IsArray(given) ? given->child : given;
	cJSON *list;

	if (given == NULL)
		return NULL;
	list = cJSON_CreateArray();
	for (; item != NULL; item = item == given ? NULL : item->next) {
		if (!cJSON_IsString(item)) {
			cJSON_Delete(list);
			return NULL;
		}
		if (!has(list, item->valuestring))
			cJSON_AddItemToArray(
			    list, cJSON_CreateString(item->valuestring));
	}
	return list;
}

static void
push_to_all(struct bennu_conn *conn, const cJSON *channels, cJSON *tree)
{
	struct bennu_payload payload;
	const cJSON *channel;

	cJSON_AddNumberToObject(tree, "at", push_now());
	payload = bennu_conn_take(conn, tree);
	cJSON_ArrayForEach (channel, channels) {
		bennu_conn_broadcast(
		    conn, channel->valuestring, PUSH_EVENT, payload);
		bennu_conn_count(conn, "push_requested", 1);
	}
}

/* {"data", "event"} */
static void
add_message(cJSON *tree, const cJSON *data, const cJSON *event)
{
	cJSON_AddItemToObject(tree, "data", cJSON_Duplicate(data, true));
	cJSON_AddItemToObject(tree, "event", cJSON_Duplicate(event, true));
}

/* channels are given. */
static void
push_message(struct bennu_conn *conn, cJSON *channels, const cJSON *data,
    const cJSON *event)
{
	cJSON *tree = cJSON_CreateObject(), *answer = cJSON_CreateObject();

	add_message(tree, data, event);
	push_to_all(conn, channels, tree);
	cJSON_AddItemToObject(answer, "channel", channels);
	add_message(answer, data, event);
	bennu_respond_json(conn, 200, answer);
	bennu_conn_count(conn, "push_api_processed", 1);
}

void
push_request(struct bennu_conn *conn)
{
	const cJSON *body, *channel, *data, *event;
	cJSON *channels;

	bennu_conn_count(conn, "push_api_requested", 1);
	if (!is_allowed(conn)) {
		refuse(conn, 403, "Access forbidden");
		return;
	}
	body = bennu_body_json(conn);
	if (body == NULL)
		return;
	channel = cJSON_GetObjectItemCaseSensitive(body, "channel");
	data = cJSON_GetObjectItemCaseSensitive(body, "data");
	event = cJSON_GetObjectItemCaseSensitive(body, "event");
	if (cJSON_GetArraySize(channel) > CHANNELS_MAX) {
		refuse(conn, 422, "Too many channels: 100 at most.");
		return;
	}
	channels = get_channels(channel);
	if (channels != NULL && data != NULL && cJSON_IsString(event)) {
		push_message(conn, channels, data, event);
		return;
	}
	cJSON_Delete(channels);
	refuse(conn, 422,
	    "Invalid push arguments: channel, data, event are required.");
}
