/*
 * systest.c - the channel of the system tests: it does what the test's messages
 * say. What happens in join and terminate is said by the params of the join:
 *
 *	refuse	a join is refused with {"reason":"refused"}
 *	join	a deed (deeds.h) of the first join, rejoin of those run again
 *	response	what the join answers
 *	timer	{"ms", "do", ...}: a deed after the join
 *	terminate	a deed, or "broadcast": "terminated" with the reason
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deeds.h"

#define KEPT_MAX 16

struct state {
	cJSON *params;
	unsigned events; /* handled by this incarnation */
	struct bennu_socket_ref *kept[KEPT_MAX];
	unsigned nkept;
};

static const char *
reason_name(enum bennu_reason reason)
{
	switch (reason) {
	case BENNU_NORMAL:
		return "normal";
	case BENNU_SHUTDOWN:
		return "shutdown";
	case BENNU_ERROR:
		return "error";
	case BENNU_LEFT:
		return "left";
	case BENNU_CLOSED:
		return "closed";
	case BENNU_DRAINING:
		return "draining";
	}
	return "?";
}

static struct bennu_payload
copy(struct bennu_socket *socket, const cJSON *tree)
{
	if (tree == NULL)
		return bennu_empty();
	return bennu_take(socket, cJSON_Duplicate(tree, 1));
}

static void
set_timer(struct bennu_socket *socket, const cJSON *timer)
{
	bennu_send_after(socket, (unsigned)member_number(timer, "ms", 0),
	    member_text(timer, "event", "timer"), cJSON_Duplicate(timer, 1));
}

/* ---- join and terminate ---- */

static enum bennu_result
on_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct state *state = calloc(1, sizeof *state);
	const cJSON *params, *timer;

	if (state == NULL)
		abort();
	state->params = cJSON_Duplicate(bennu_json(socket, &msg->payload), 1);
	bennu_assign(socket, state);
	params = state->params;
	deed_do(socket,
	    cJSON_GetObjectItem(
		params, bennu_restarts(socket) > 0 ? "rejoin" : "join"));
	if (cJSON_HasObjectItem(params, "refuse") ||
	    (bennu_restarts(socket) > 0 &&
		cJSON_HasObjectItem(params, "refuse_again"))) {
		bennu_reply(
		    socket, "error", bennu_text("{\"reason\":\"refused\"}"));
		return BENNU_REFUSE;
	}
	if (cJSON_HasObjectItem(params, "response"))
		bennu_reply(socket, "ok",
		    copy(socket, cJSON_GetObjectItem(params, "response")));
	if (cJSON_HasObjectItem(params, "bytes"))
		bennu_reply(socket, "ok", bennu_bytes("\1\2", 2));
	timer = cJSON_GetObjectItem(params, "timer");
	if (timer != NULL)
		set_timer(socket, timer);
	return BENNU_OK;
}

static void
on_terminate(
    struct bennu_socket *socket, enum bennu_reason reason, const char *detail)
{
	const struct state *state = bennu_assigns(socket);
	const cJSON *terminate = cJSON_GetObjectItem(
	    state->params, "terminate");

	bennu_log(socket, "terminate %s '%s'", reason_name(reason), detail);
	if (cJSON_IsString(terminate))
		bennu_broadcast(socket, "terminated",
		    bennu_format(
			socket, "{\"reason\":\"%s\"}", reason_name(reason)));
	else
		deed_do(socket, terminate);
}

/* ---- events ---- */

typedef enum bennu_result (*event_fn)(
    struct bennu_socket *, const struct bennu_message *, const cJSON *);

static enum bennu_result
event_echo(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	bennu_reply(socket, "ok", msg->payload);
	return BENNU_OK;
}

static enum bennu_result
event_quiet(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	return BENNU_OK;
}

static enum bennu_result
event_about(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	const struct state *state = bennu_assigns(socket);
	cJSON *about = cJSON_CreateObject();
	const char *option = bennu_option(socket, "colour");

	cJSON_AddNumberToObject(about, "pid", getpid());
	cJSON_AddNumberToObject(about, "ppid", getppid());
	cJSON_AddNumberToObject(about, "restarts", bennu_restarts(socket));
	cJSON_AddNumberToObject(about, "events", state->events);
	cJSON_AddStringToObject(about, "topic", bennu_topic(socket));
	cJSON_AddStringToObject(about, "join_ref", bennu_join_ref(socket));
	cJSON_AddStringToObject(about, "colour", option ? option : "");
	cJSON_AddItemToObject(
	    about, "params", cJSON_Duplicate(state->params, 1));
	bennu_reply(socket, "ok", bennu_take(socket, about));
	return BENNU_OK;
}

static enum bennu_result
event_status(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	bennu_reply(socket, member_text(body, "status", "ok"),
	    copy(socket, cJSON_GetObjectItem(body, "response")));
	return BENNU_OK;
}

/* A deed; "reply" says whether the answer is given before it. */
static enum bennu_result
event_do(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	if (!deed_do(socket, body))
		return BENNU_UNHANDLED;
	bennu_reply(socket, "ok", bennu_empty());
	return BENNU_OK;
}

static enum bennu_result
event_result(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	return (enum bennu_result)(int)member_number(body, "result", 1);
}

static enum bennu_result
event_push(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	int n = (int)member_number(body, "n", 1);
	int size = (int)member_number(body, "size", 0);
	char *pad = malloc((size_t)size + 1);

	if (pad == NULL)
		abort();
	memset(pad, 'x', (size_t)size);
	pad[size] = '\0';
	for (int i = 0; i < n; i++)
		bennu_push(socket, "item",
		    bennu_format(socket, "{\"i\":%d,\"pad\":\"%s\"}", i, pad));
	free(pad);
	bennu_reply(socket, "ok", bennu_empty());
	return BENNU_OK;
}

static enum bennu_result
event_bytes(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	static const unsigned char bytes[] = { 0, 1, 2, 0xfe, 0xff };

	bennu_push(socket, "bytes", bennu_bytes(bytes, sizeof bytes));
	bennu_broadcast(socket, "bytes", bennu_bytes(bytes, sizeof bytes));
	bennu_reply(socket, "ok", bennu_bytes(bytes, sizeof bytes));
	return BENNU_OK;
}

/* n times, to another topic with "to", without itself with "from". */
static enum bennu_result
event_broadcast(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	const char *event = member_text(body, "event", "news");
	const char *to = member_text(body, "to", NULL);
	const cJSON *payload = cJSON_GetObjectItem(body, "payload");
	int n = (int)member_number(body, "n", 1);

	for (int i = 0; i < n; i++) {
		struct bennu_payload out = payload == NULL
		    ? bennu_format(socket, "{\"i\":%d}", i)
		    : copy(socket, payload);

		if (to != NULL)
			bennu_broadcast_to(socket, to, event, out);
		else if (cJSON_HasObjectItem(body, "from"))
			bennu_broadcast_from(socket, event, out);
		else
			bennu_broadcast(socket, event, out);
	}
	bennu_reply(socket, "ok", bennu_empty());
	return BENNU_OK;
}

/* A string of that many bytes. */
static enum bennu_result
event_huge(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	size_t size = (size_t)member_number(body, "size", 2);
	char *text = malloc(size + 1);

	if (text == NULL)
		abort();
	memset(text, 'x', size);
	text[0] = text[size - 1] = '"';
	text[size] = '\0';
	bennu_broadcast(socket, "huge", bennu_text(text));
	free(text);
	return BENNU_OK;
}

/* Everything that goes to the own client, in an order that can be checked. */
static enum bennu_result
event_mixed(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	bennu_push(socket, "one", bennu_empty());
	bennu_broadcast(socket, "two", bennu_empty());
	bennu_reply(socket, "ok", bennu_text("{\"place\":3}"));
	bennu_push(socket, "four", bennu_empty());
	bennu_broadcast(socket, "five", bennu_empty());
	return BENNU_OK;
}

static enum bennu_result
event_subscribe(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	int n = (int)member_number(body, "n", 1);

	for (int i = 0; i < n; i++)
		bennu_subscribe(socket, member_text(body, "topic", ""));
	bennu_reply(socket, "ok", bennu_empty());
	return BENNU_OK;
}

static enum bennu_result
event_unsubscribe(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	bennu_unsubscribe(socket, member_text(body, "topic", ""));
	bennu_reply(socket, "ok", bennu_empty());
	return BENNU_OK;
}

static enum bennu_result
event_timer(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	set_timer(socket, body);
	bennu_reply(socket, "ok", bennu_empty());
	return BENNU_OK;
}

static enum bennu_result
event_keep(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	struct state *state = bennu_assigns(socket);

	if (state->nkept == KEPT_MAX)
		return BENNU_UNHANDLED;
	state->kept[state->nkept++] = bennu_keep(socket);
	return BENNU_OK;
}

/* Answers what was kept, the last one first, "n" times. */
static enum bennu_result
event_answer(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	struct state *state = bennu_assigns(socket);
	int n = (int)member_number(body, "n", 1);

	while (state->nkept > 0) {
		struct bennu_socket_ref *ref = state->kept[--state->nkept];

		for (int i = 0; i < n; i++)
			bennu_reply_to(ref, "ok",
			    bennu_format(socket, "{\"answer\":%d}", i));
		bennu_ref_free(ref);
	}
	bennu_reply(socket, "ok", bennu_empty());
	return BENNU_OK;
}

/* "reason": normal, shutdown, error; with "reply" it is answered before. */
static enum bennu_result
event_stop(struct bennu_socket *socket, const struct bennu_message *msg,
    const cJSON *body)
{
	const char *reason = member_text(body, "reason", "normal");

	if (cJSON_HasObjectItem(body, "reply"))
		bennu_reply(socket, "ok", bennu_text("{\"bye\":true}"));
	bennu_stop(socket,
	    strcmp(reason, "normal") == 0         ? BENNU_NORMAL
		: strcmp(reason, "shutdown") == 0 ? BENNU_SHUTDOWN
						  : BENNU_ERROR,
	    member_text(body, "detail", NULL));
	return BENNU_OK;
}

static const struct {
	const char *name;
	event_fn run;
} events[] = {
	{ "echo", event_echo },
	{ "quiet", event_quiet },
	{ "about", event_about },
	{ "status", event_status },
	{ "do", event_do },
	{ "result", event_result },
	{ "push", event_push },
	{ "bytes", event_bytes },
	{ "broadcast", event_broadcast },
	{ "huge", event_huge },
	{ "mixed", event_mixed },
	{ "subscribe", event_subscribe },
	{ "unsubscribe", event_unsubscribe },
	{ "timer", event_timer },
	{ "keep", event_keep },
	{ "answer", event_answer },
	{ "stop", event_stop },
};

static enum bennu_result
on_event(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct state *state = bennu_assigns(socket);

	for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
		if (strcmp(events[i].name, msg->event) == 0) {
			state->events++;
			return events[i].run(
			    socket, msg, bennu_json(socket, &msg->payload));
		}
	return BENNU_UNHANDLED;
}

/* ---- timers and other topics ---- */

/* A deed, or a push that tells of it; with "stop" it stops behind that. */
static enum bennu_result
on_timer(struct bennu_socket *socket, const struct bennu_message *msg)
{
	cJSON *what = msg->data;

	if (!deed_do(socket, what))
		bennu_push(socket, msg->event, copy(socket, what));
	if (cJSON_HasObjectItem(what, "stop"))
		bennu_stop(socket, BENNU_ERROR, "timer");
	cJSON_Delete(what);
	return BENNU_OK;
}

static enum bennu_result
on_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	cJSON *news;

	if (msg->data != NULL)
		return on_timer(socket, msg);
	news = cJSON_CreateObject();
	cJSON_AddStringToObject(news, "topic", msg->topic);
	cJSON_AddStringToObject(news, "event", msg->event);
	cJSON_AddItemToObject(news, "payload",
	    cJSON_Duplicate(bennu_json(socket, &msg->payload), 1));
	if (strcmp(msg->event, "crash") == 0)
		abort();
	bennu_push(socket, "info", bennu_take(socket, news));
	return BENNU_OK;
}

BENNU_CHANNEL(systest) = {
	.abi = BENNU_ABI,
	.name = "systest",
	.join = on_join,
	.handle_in = on_event,
	.handle_info = on_info,
	.terminate = on_terminate,
};

/* Only a join: what it does not have must not be missed. */
static enum bennu_result
bare_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	bennu_send_after(socket, 0, "nobody_handles_this", NULL);
	return BENNU_OK;
}

BENNU_CHANNEL(bare) = {
	.abi = BENNU_ABI,
	.name = "bare",
	.join = bare_join,
};

/* Built for another Bennu. */
BENNU_CHANNEL(old) = {
	.abi = BENNU_ABI + 1,
	.name = "old",
	.join = bare_join,
};
