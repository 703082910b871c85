/*
 * api.c - the HTTP of the demo. Superheroes: what the original application's
 * routes answer, and the news of each change to all who listen. Pushes and
 * tokens, whose handlers are push/request.c and auth/request.c: a server has
 * one endpoint.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bennu/endpoint.h>

#include "auth/auth.h"
#include "hero.h"
#include "openapi.h"
#include "push/push.h"
#include "store.h"

/* ---- answers ---- */

/* {"data": ...}; the tree is given. */
static void
respond_data(struct bennu_conn *conn, int status, cJSON *data)
{
	cJSON *tree = cJSON_CreateObject();

	cJSON_AddItemToObject(tree, "data", data);
	bennu_respond_json(conn, status, tree);
}

/* 422; the tree is given. */
static void
respond_errors(struct bennu_conn *conn, cJSON *errors)
{
	cJSON *tree = cJSON_CreateObject();

	cJSON_AddItemToObject(tree, "errors", errors);
	bennu_respond_json(conn, 422, tree);
}

/* Of the database. */
static void
respond_failure(
    struct bennu_conn *conn, enum store_status status, const char *error)
{
	switch (status) {
	case STORE_NONE:
		bennu_respond_error(conn, 404, NULL);
		return;
	case STORE_BUSY:
		bennu_put_header(conn, "Retry-After", "1");
		bennu_respond_error(conn, 503, "the database is busy");
		return;
	case STORE_OK:
	case STORE_BROKEN:
		break;
	}
	bennu_conn_log(conn, "the database: %s", error);
	bennu_respond_error(conn, 500, NULL);
}

/* ---- the database ---- */

/*
 * The process keeps it for its connection. It is opened here and not in start,
 * so that a locked database is 503 and no crash. NULL: it has been answered.
 */
static struct store *
get_store(struct bennu_conn *conn)
{
	const char *path = bennu_conn_option(conn, "database");
	struct store *store = bennu_conn_assigns(conn);
	enum store_status status;
	char error[512];

	if (store != NULL)
		return store;
	status = store_open(
	    path == NULL ? "demo.db" : path, &store, error, sizeof error);
	if (store == NULL)
		respond_failure(conn, status, error);
	bennu_conn_assign(conn, store);
	return store;
}

static void
close_store(struct bennu_conn *conn)
{
	store_close(bennu_conn_assigns(conn));
}

/* ---- news ---- */

static void
broadcast(struct bennu_conn *conn, const char *event, const struct hero *hero)
{
	cJSON *tree = cJSON_CreateObject();

	cJSON_AddItemToObject(tree, "superhero", hero_to_news(hero));
	bennu_conn_broadcast(
	    conn, HERO_TOPIC, event, bennu_conn_take(conn, tree));
}

/* ---- what was asked for ---- */

/* False: it has been answered. */
static bool
get_id(struct bennu_conn *conn, struct hero *hero)
{
	const char *id = bennu_param(conn, "id");
	size_t digits = strspn(id, "0123456789");

	if (digits == 0 || id[digits] != '\0') {
		bennu_respond_error(conn, 400, NULL);
		return false;
	}
	errno = 0;
	hero->id = strtoll(id, NULL, 10);
	if (errno == 0)
		return true;
	bennu_respond_error(conn, 404, NULL); /* nobody has so large a one */
	return false;
}

/* {"superhero": {...}}. False: it has been answered. */
static bool
get_hero(struct bennu_conn *conn, bool partial, struct hero *hero)
{
	const cJSON *body = bennu_body_json(conn), *tree;
	cJSON *errors;

	if (body == NULL)
		return false;
	tree = cJSON_GetObjectItemCaseSensitive(body, "superhero");
	if (!cJSON_IsObject(tree)) {
		bennu_respond_error(
		    conn, 400, "the body must be {\"superhero\": {...}}");
		return false;
	}
	errors = hero_cast(tree, partial, hero);
	if (errors == NULL)
		return true;
	respond_errors(conn, errors);
	return false;
}

/* ---- routes ---- */

static void
add_hero(const struct hero *hero, void *list)
{
	cJSON_AddItemToArray(list, hero_to_json(hero));
}

static void
list_heroes(struct bennu_conn *conn)
{
	struct store *store = get_store(conn);
	cJSON *list;
	enum store_status status;

	if (store == NULL)
		return;
	list = cJSON_CreateArray();
	status = store_each(store, add_hero, list);
	if (status == STORE_OK) {
		respond_data(conn, 200, list);
		return;
	}
	cJSON_Delete(list);
	respond_failure(conn, status, store_error(store));
}

static void
show_hero(struct bennu_conn *conn)
{
	struct store *store = get_store(conn);
	enum store_status status;
	struct hero hero = { 0 };

	if (store == NULL || !get_id(conn, &hero))
		return;
	status = store_get(store, &hero);
	if (status == STORE_OK)
		respond_data(conn, 200, hero_to_json(&hero));
	else
		respond_failure(conn, status, store_error(store));
	hero_clear(&hero);
}

static void
create_hero(struct bennu_conn *conn)
{
	struct store *store = get_store(conn);
	enum store_status status;
	struct hero hero = { 0 };
	char location[64];

	if (store == NULL || !get_hero(conn, false, &hero))
		return;
	status = store_insert(store, &hero);
	if (status == STORE_OK) {
		broadcast(conn, "create", &hero);
		snprintf(location, sizeof location, "/api/superheroes/%lld",
		    hero.id);
		bennu_put_header(conn, "Location", location);
		respond_data(conn, 201, hero_to_json(&hero));
	} else {
		respond_failure(conn, status, store_error(store));
	}
	hero_clear(&hero);
}

/* PUT, too, leaves what is not said as it is: so does the original. */
static void
update_hero(struct bennu_conn *conn)
{
	struct store *store = get_store(conn);
	enum store_status status;
	struct hero hero = { 0 };

	if (store == NULL || !get_id(conn, &hero) ||
	    !get_hero(conn, true, &hero))
		return;
	status = store_update(store, &hero);
	if (status == STORE_OK) {
		broadcast(conn, "update", &hero);
		respond_data(conn, 200, hero_to_json(&hero));
	} else {
		respond_failure(conn, status, store_error(store));
	}
	hero_clear(&hero);
}

static void
delete_hero(struct bennu_conn *conn)
{
	struct store *store = get_store(conn);
	enum store_status status;
	struct hero hero = { 0 };

	if (store == NULL || !get_id(conn, &hero))
		return;
	status = store_delete(store, &hero);
	if (status == STORE_OK) {
		broadcast(conn, "delete", &hero);
		bennu_respond(conn, 204, NULL, NULL, 0);
	} else {
		respond_failure(conn, status, store_error(store));
	}
	hero_clear(&hero);
}

static void
show_openapi(struct bennu_conn *conn)
{
	bennu_respond(conn, 200, "application/json; charset=utf-8", openapi,
	    sizeof openapi);
}

static const struct bennu_route routes[] = {
	{ "GET", "/api/superheroes", list_heroes },
	{ "POST", "/api/superheroes", create_hero },
	{ "GET", "/api/superheroes/:id", show_hero },
	{ "PUT", "/api/superheroes/:id", update_hero },
	{ "PATCH", "/api/superheroes/:id", update_hero },
	{ "DELETE", "/api/superheroes/:id", delete_hero },
	{ "POST", "/api/push", push_request },
	{ "POST", "/api/token", auth_request },
	{ "GET", "/api/openapi", show_openapi },
	{ 0 },
};

static const char *const everybody[] = { "*", NULL };

BENNU_ENDPOINT(api) = {
	.abi = BENNU_ABI,
	.name = "api",
	.routes = routes,
	.cors = everybody,
	.stop = close_store,
};
