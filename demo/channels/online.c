/*
 * online.c - see online.h.
 */
#include <stdio.h>
#include <time.h>

#include "online.h"

cJSON *
online_meta(const char *name, cJSON *value)
{
	cJSON *meta = cJSON_CreateObject();
	char now[24];

	snprintf(now, sizeof now, "%lld", (long long)time(NULL));
	cJSON_AddStringToObject(meta, "online_at", now);
	cJSON_AddItemToObject(meta, name, value);
	return meta;
}

void
online_begin(struct bennu_socket *socket, const char *key, cJSON *meta,
    void (*greet)(struct bennu_socket *))
{
	struct bennu_payload all;

	if (bennu_presence_track(socket, NULL, key, bennu_take(socket, meta)) ==
	    NULL) {
		bennu_stop(socket, BENNU_ERROR, "it cannot be tracked");
		return;
	}
	if (greet != NULL)
		greet(socket);
	all = bennu_presence_list(socket, NULL);
	if (all.data == NULL)
		bennu_stop(socket, BENNU_ERROR, "there is no list");
	else
		bennu_push(socket, "presence_state", all);
}
