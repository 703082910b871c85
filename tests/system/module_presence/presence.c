/*
 * presence.c - a channel that does with presences what the messages of
 * presence.test.mjs say; an endpoint and a service that ask for lists.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bennu/channel.h>
#include <bennu/endpoint.h>
#include <bennu/service.h>

#define OUT "service:out"
#define IN  "service:in"

/* ---- the channel ---- */

/* A member of the payload that is a string; NULL: there is none. */
static const char *
string_of(struct bennu_socket *socket, const struct bennu_message *msg,
    const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), name));
}

static struct bennu_payload
meta_of(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *meta = cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), "meta");

	return meta == NULL ? bennu_empty()
			    : bennu_take(socket, cJSON_Duplicate(meta, 1));
}

static void
fail(struct bennu_socket *socket)
{
	bennu_reply(socket, "error",
	    bennu_format(socket, "\"%s\"", strerrorname_np(errno)));
}

static void
tell_ref(struct bennu_socket *socket, const char *ref)
{
	if (ref == NULL)
		fail(socket);
	else
		bennu_reply(socket, "ok", bennu_format(socket, "\"%s\"", ref));
}

static void
tell_list(struct bennu_socket *socket, struct bennu_payload list)
{
	if (list.data == NULL)
		fail(socket);
	else
		bennu_reply(socket, "ok", list);
}

static void
wait_for(unsigned ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) == -1)
		;
}

/* The list as presence_state; "ms": it takes its time in between. */
static void
push_state(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct bennu_payload list = bennu_presence_list(socket, NULL);
	const cJSON *ms = cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), "ms");

	if (cJSON_IsNumber(ms)) {
		bennu_push(socket, "listed", bennu_empty());
		/* To have it leave now, not behind the callback. */
		bennu_presence_list(socket, "nobody");
		wait_for((unsigned)ms->valueint);
	}
	bennu_push(socket, "presence_state", list);
}

/* Tracks "n" keys, all at once. */
static void
track_many(struct bennu_socket *socket, const struct bennu_message *msg)
{
	int n = cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), "n")
		    ->valueint;

	for (int i = 0; i < n; i++)
		if (bennu_presence_track(socket, NULL,
			bennu_format(socket, "key %d", i).data,
			meta_of(socket, msg)) == NULL)
			abort();
	bennu_reply(socket, "ok", bennu_empty());
}

/* "key" is tracked right after the join, and the state is pushed; so are they
 * when the channel is started again. */
static enum bennu_result
on_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *key = string_of(socket, msg, "key");

	bennu_send_after(
	    socket, 0, "after_join", key == NULL ? NULL : strdup(key));
	return BENNU_OK;
}

static enum bennu_result
on_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	char *key = msg->data;

	if (key != NULL &&
	    bennu_presence_track(socket, NULL, key,
		bennu_format(socket, "{\"restarts\":%u}",
		    bennu_restarts(socket))) == NULL)
		abort();
	free(key);
	push_state(socket, msg);
	return BENNU_OK;
}

static bool
on_presence(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *topic = string_of(socket, msg, "topic");
	const char *key = string_of(socket, msg, "key");

	if (strcmp(msg->event, "track") == 0)
		tell_ref(socket,
		    bennu_presence_track(
			socket, topic, key, meta_of(socket, msg)));
	else if (strcmp(msg->event, "update") == 0)
		tell_ref(socket,
		    bennu_presence_update(
			socket, topic, key, meta_of(socket, msg)));
	else if (strcmp(msg->event, "untrack") == 0)
		bennu_reply(socket,
		    bennu_presence_untrack(socket, topic, key) == 0 ? "ok"
								    : "error",
		    bennu_empty());
	else if (strcmp(msg->event, "list") == 0)
		tell_list(socket, bennu_presence_list(socket, topic));
	else if (strcmp(msg->event, "get") == 0)
		tell_list(
		    socket, bennu_presence_get_by_key(socket, topic, key));
	else
		return false;
	return true;
}

static enum bennu_result
on_event(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *topic = string_of(socket, msg, "topic");

	if (on_presence(socket, msg))
		return BENNU_OK;
	if (strcmp(msg->event, "state") == 0)
		push_state(socket, msg);
	else if (strcmp(msg->event, "many") == 0)
		track_many(socket, msg);
	else if (strcmp(msg->event, "subscribe") == 0) {
		bennu_subscribe(socket, topic);
		tell_list(socket, bennu_presence_list(socket, topic));
	} else if (strcmp(msg->event, "echo") == 0)
		bennu_reply(socket, "ok", msg->payload);
	else if (strcmp(msg->event, "crash") == 0)
		raise(SIGKILL);
	else if (strcmp(msg->event, "track and crash") == 0) {
		bennu_presence_track(socket, NULL, "short", bennu_empty());
		bennu_presence_list(socket, NULL);
		raise(SIGKILL);
	} else if (strcmp(msg->event, "track and stop") == 0) {
		bennu_presence_track(socket, NULL, "short", bennu_empty());
		bennu_stop(socket, BENNU_NORMAL, NULL);
	} else if (strcmp(msg->event, "stop") == 0)
		bennu_stop(socket, BENNU_NORMAL, NULL);
	else
		return BENNU_UNHANDLED;
	return BENNU_OK;
}

/* Lists may still be asked for. */
static void
on_terminate(
    struct bennu_socket *socket, enum bennu_reason reason, const char *detail)
{
	(void)reason;
	(void)detail;
	bennu_broadcast_to(
	    socket, "last:words", "list", bennu_presence_list(socket, NULL));
}

BENNU_CHANNEL(presence) = {
	.abi = BENNU_ABI,
	.name = "presence",
	.join = on_join,
	.handle_in = on_event,
	.handle_info = on_info,
	.terminate = on_terminate,
};

/* ---- one that adds to what there is ----
 *
 * The keys "crash", "hang" and "much" are for the process that is asked for
 * diffs: nobody asks for lists of theirs.
 */

/* More than may be broadcast. */
static void
add_much(cJSON *presences)
{
	size_t size = 20000000;
	char *text = malloc(size + 1);

	memset(text, 'x', size);
	text[size] = '\0';
	cJSON_AddStringToObject(
	    cJSON_GetObjectItemCaseSensitive(presences, "much"), "much", text);
	free(text);
}

static void
add_length(const char *topic, cJSON *presences)
{
	cJSON *key;

	(void)topic;
	if (cJSON_HasObjectItem(presences, "crash"))
		abort();
	if (cJSON_HasObjectItem(presences, "hang"))
		wait_for(60000);
	if (cJSON_HasObjectItem(presences, "much"))
		add_much(presences);
	cJSON_ArrayForEach (key, presences)
		cJSON_AddNumberToObject(
		    key, "length", (double)strlen(key->string));
}

BENNU_CHANNEL(adding) = {
	.abi = BENNU_ABI,
	.name = "adding",
	.join = on_join,
	.handle_in = on_event,
	.handle_info = on_info,
	.fetch = add_length,
};

/* ---- over HTTP ---- */

static void
respond(struct bennu_conn *conn, struct bennu_payload list)
{
	if (list.data == NULL)
		bennu_respond_error(conn, 400, strerrorname_np(errno));
	else
		bennu_respond(
		    conn, 200, "application/json", list.data, list.size);
}

static void
list_topic(struct bennu_conn *conn)
{
	respond(
	    conn, bennu_conn_presence_list(conn, bennu_param(conn, "topic")));
}

static void
list_key(struct bennu_conn *conn)
{
	respond(conn,
	    bennu_conn_presence_get_by_key(
		conn, bennu_param(conn, "topic"), bennu_param(conn, "key")));
}

static const struct bennu_route routes[] = {
	{ "GET", "/list/:topic", list_topic },
	{ "GET", "/list/:topic/:key", list_key },
	{ 0 },
};

BENNU_ENDPOINT(api) = {
	.abi = BENNU_ABI,
	.name = "api",
	.routes = routes,
};

/* ---- as a service: who broadcasts on IN hears on OUT ---- */

static bool
service_start(struct bennu_service_process *service)
{
	bennu_service_subscribe(service, IN);
	return true;
}

static enum bennu_result
service_info(
    struct bennu_service_process *service, const struct bennu_message *msg)
{
	const cJSON *payload = bennu_service_json(service, &msg->payload);
	const char *topic = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(payload, "topic"));
	const char *key = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(payload, "key"));
	struct bennu_payload list = key == NULL
	    ? bennu_service_presence_list(service, topic)
	    : bennu_service_presence_get_by_key(service, topic, key);

	if (list.data == NULL)
		abort();
	bennu_service_broadcast(service, OUT, "list", list);
	return BENNU_OK;
}

BENNU_SERVICE(asking) = {
	.abi = BENNU_ABI,
	.name = "asking",
	.start = service_start,
	.handle_info = service_info,
};
