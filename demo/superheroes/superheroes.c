/*
 * superheroes.c - superheroes:*: all heroes when a client comes, then each
 * change, whoever made it. Every push wants an acknowledgment.
 *
 * Changes may come late and out of order: the later write of a hero wins, known
 * by updated_at.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bennu/channel.h>

#include "hero.h"
#include "store.h"

#define ACK_TIMEOUT 3000 /* ms */
/* ms after which the table is read again: what was written between the first
 * reading and the subscription would be missed. */
#define CATCH_UP 1000

/* A hero that the client knows. */
struct known {
	long long id;
	long long updated_at;
	bool stored; /* was found when the table was read again */
};

/* By id, rising: as they come from the table, and as they are made. */
struct all_known {
	struct known *list;
	size_t n, room;
};

/* Where the hero is, or would be. */
static size_t
place_of(const struct all_known *all, long long id)
{
	size_t low = 0, high = all->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (all->list[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct known *
find(struct all_known *all, long long id)
{
	size_t at = place_of(all, id);

	return at < all->n && all->list[at].id == id ? &all->list[at] : NULL;
}

static void
remember(struct all_known *all, const struct hero *hero)
{
	size_t at = place_of(all, hero->id);

	if (all->n == all->room) {
		all->room = all->room == 0 ? 16 : all->room * 2;
		all->list = reallocarray(
		    all->list, all->room, sizeof *all->list);
		if (all->list == NULL)
			abort();
	}
	memmove(&all->list[at + 1], &all->list[at],
	    (all->n++ - at) * sizeof *all->list);
	all->list[at] = (struct known){ hero->id, hero->updated_at, true };
}

static void
forget(struct all_known *all, struct known *known)
{
	size_t at = (size_t)(known - all->list);

	memmove(known, known + 1, (--all->n - at) * sizeof *known);
}

/* ---- pushes ---- */

/* A random UUID (RFC 9562, version 4). */
static void
make_uuid(char text[37])
{
	unsigned char b[16];

	if (getentropy(b, sizeof b) == -1)
		abort();
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(text, 37,
	    "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
	    "%02x%02x%02x%02x%02x%02x",
	    b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
	    b[11], b[12], b[13], b[14], b[15]);
}

/* The value is given. */
static void
push(struct bennu_socket *socket, const char *event, const char *name,
    cJSON *value)
{
	cJSON *tree = cJSON_CreateObject();
	char id[37];

	make_uuid(id);
	cJSON_AddItemToObject(tree, name, value);
	cJSON_AddStringToObject(tree, "message_id", id);
	bennu_push_acked(socket, event, bennu_take(socket, tree), id,
	    ACK_TIMEOUT, BENNU_ACK_CRASH);
}

static void
push_hero(
    struct bennu_socket *socket, const char *event, const struct hero *hero)
{
	push(socket, event, "superhero", hero_to_json(hero));
}

/* ---- changes ---- */

static void
on_create(struct bennu_socket *socket, const struct hero *hero)
{
	struct all_known *all = bennu_assigns(socket);

	if (find(all, hero->id) != NULL)
		return;
	remember(all, hero);
	push_hero(socket, "create", hero);
}

static void
on_update(struct bennu_socket *socket, const struct hero *hero)
{
	struct known *known = find(bennu_assigns(socket), hero->id);

	if (known == NULL || hero->updated_at <= known->updated_at)
		return;
	known->updated_at = hero->updated_at;
	push_hero(socket, "update", hero);
}

static void
on_delete(struct bennu_socket *socket, const struct hero *hero)
{
	struct all_known *all = bennu_assigns(socket);
	struct known *known = find(all, hero->id);

	if (known == NULL)
		return;
	forget(all, known);
	push_hero(socket, "delete", hero);
}

/* ---- the table ---- */

/* NULL: a line in the log. */
static struct store *
open_store(struct bennu_socket *socket)
{
	const char *path = bennu_option(socket, "database");
	struct store *store;
	char error[512];

	if (path == NULL)
		path = "demo.db";
	if (store_open(path, &store, error, sizeof error) != STORE_OK)
		bennu_log(socket, "the database: %s", error);
	return store;
}

struct reading {
	struct bennu_socket *socket;
	cJSON *list;
};

static void
hydrate_one(const struct hero *hero, void *arg)
{
	struct reading *reading = arg;

	/* The news of it may have come before this. */
	if (find(bennu_assigns(reading->socket), hero->id) == NULL)
		remember(bennu_assigns(reading->socket), hero);
	cJSON_AddItemToArray(reading->list, hero_to_json(hero));
}

static void
hydrate(struct bennu_socket *socket)
{
	struct reading reading = { socket, cJSON_CreateArray() };
	struct store *store = open_store(socket);

	if (store == NULL ||
	    store_each(store, hydrate_one, &reading) != STORE_OK) {
		cJSON_Delete(reading.list);
		bennu_stop(socket, BENNU_ERROR, "the heroes cannot be read");
	} else {
		push(socket, "hydrate", "superheroes", reading.list);
		bennu_send_after(socket, CATCH_UP, "catch_up", NULL);
	}
	store_close(store);
}

static void
catch_up_one(const struct hero *hero, void *arg)
{
	struct bennu_socket *socket = arg;
	struct known *known = find(bennu_assigns(socket), hero->id);

	if (known == NULL) {
		on_create(socket, hero);
		return;
	}
	known->stored = true;
	on_update(socket, hero);
}

/* What is no longer stored was deleted. Its name is not known any more. */
static void
drop_deleted(struct bennu_socket *socket)
{
	struct all_known *all = bennu_assigns(socket);
	struct hero hero = { .name = (char *)"", .location = (char *)"" };

	for (size_t i = all->n; i-- > 0;) {
		if (all->list[i].stored)
			continue;
		hero.id = all->list[i].id;
		on_delete(socket, &hero);
	}
}

static void
catch_up(struct bennu_socket *socket)
{
	struct all_known *all = bennu_assigns(socket);
	struct store *store = open_store(socket);

	for (size_t i = 0; i < all->n; i++)
		all->list[i].stored = false;
	if (store != NULL &&
	    store_each(store, catch_up_one, socket) == STORE_OK)
		drop_deleted(socket);
	store_close(store);
}

/* ---- the channel ---- */

static enum bennu_result
superheroes_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct all_known *all = calloc(1, sizeof *all);

	(void)msg;
	if (all == NULL)
		abort();
	bennu_assign(socket, all);
	bennu_subscribe(socket, HERO_TOPIC);
	bennu_send_after(socket, 0, "hydrate", NULL);
	return BENNU_OK;
}

/* {"message_id", "status": "Received"} */
static enum bennu_result
superheroes_handle_in(
    struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *id;

	if (strcmp(msg->event, "message_ack") != 0)
		return BENNU_UNHANDLED;
	id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), "message_id"));
	if (id == NULL || !bennu_acked(socket, id))
		bennu_log(socket, "an acknowledgment of nothing that waits");
	return BENNU_OK;
}

static void
on_news(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct hero hero;

	if (!hero_from_news(cJSON_GetObjectItemCaseSensitive(
				bennu_json(socket, &msg->payload), "superhero"),
		&hero))
		bennu_log(socket, "%s of no hero", msg->event);
	else if (strcmp(msg->event, "create") == 0)
		on_create(socket, &hero);
	else if (strcmp(msg->event, "update") == 0)
		on_update(socket, &hero);
	else if (strcmp(msg->event, "delete") == 0)
		on_delete(socket, &hero);
}

/* Of the channel's own topic comes only what its timers bring. */
static enum bennu_result
superheroes_handle_info(
    struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->topic, HERO_TOPIC) == 0)
		on_news(socket, msg);
	else if (strcmp(msg->event, "hydrate") == 0)
		hydrate(socket);
	else if (strcmp(msg->event, "catch_up") == 0)
		catch_up(socket);
	return BENNU_OK;
}

BENNU_CHANNEL(superheroes) = {
	.abi = BENNU_ABI,
	.name = "superheroes",
	.join = superheroes_join,
	.handle_in = superheroes_handle_in,
	.handle_info = superheroes_handle_info,
};
