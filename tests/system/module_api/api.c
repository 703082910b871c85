/*
 * api.c - a channel that uses what a busy application uses: interception,
 * acknowledged pushes, tasks, inspection, metrics. Driven by api.test.mjs,
 * inspect.test.mjs and metrics.test.mjs.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bennu/channel.h>

static const char *
string_of(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(object, name));
}

static int
number_of(const cJSON *object, const char *name)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(n) ? n->valueint : 0;
}

/* ---- acknowledged pushes ---- */

static enum bennu_ack_policy
policy_of(const char *name)
{
	if (strcmp(name, "close") == 0)
		return BENNU_ACK_CLOSE;
	return strcmp(name, "log") == 0 ? BENNU_ACK_LOG : BENNU_ACK_CRASH;
}

static void
push_acked(struct bennu_socket *socket, const cJSON *payload)
{
	const char *id = string_of(payload, "id");

	bennu_push_acked(socket, "important",
	    bennu_format(socket, "{\"id\":\"%s\"}", id), id,
	    (unsigned)number_of(payload, "timeout"),
	    policy_of(string_of(payload, "policy")));
}

/* ---- tasks ---- */

static void
work(struct bennu_task *task, void *data)
{
	const char *how = data;

	if (strcmp(how, "die") == 0)
		raise(SIGKILL);
	if (strcmp(how, "wait") == 0)
		pause();
	if (strcmp(how, "large") == 0) {
		size_t size = 3 << 20;
		char *text = malloc(size + 3);

		memset(text + 1, 'x', size);
		text[0] = text[size + 1] = '"';
		text[size + 2] = '\0';
		bennu_task_result(task, bennu_text(text));
		free(text);
		return;
	}
	bennu_task_result(task, bennu_text("\"first\""));
	bennu_task_result(task, bennu_text("{\"worked\":true}"));
}

static void
start_tasks(struct bennu_socket *socket, const cJSON *payload)
{
	int n = number_of(payload, "n"), started = 0;

	while (n-- > 0)
		if (bennu_task(socket, "task_done", work,
			strdup(string_of(payload, "how"))) != -1)
			started++;
		else if (errno != EAGAIN)
			abort();
	bennu_reply(
	    socket, "ok", bennu_format(socket, "{\"started\":%d}", started));
}

/* ---- inspection and metrics ---- */

static struct bennu_socket_ref *kept;

/* Its state is whatever was sent last; {"dump": ...} is what it does then. */
static struct bennu_payload
api_dump(struct bennu_socket *socket)
{
	const char *state = bennu_assigns(socket);
	cJSON *tree;
	const char *how;

	if (state == NULL)
		return bennu_empty();
	tree = cJSON_Parse(state);
	how = string_of(tree, "dump");
	if (how != NULL && strcmp(how, "die") == 0)
		raise(SIGKILL);
	if (how != NULL && strcmp(how, "large") == 0) {
		char *text = malloc(900000);

		memset(text, 'x', 900000 - 1);
		text[900000 - 1] = '\0';
		cJSON_AddItemToObject(tree, "text", cJSON_CreateString(text));
		free(text);
	}
	return bennu_take(socket, tree);
}

static void
count_all(struct bennu_socket *socket, const cJSON *payload)
{
	const cJSON *counted = cJSON_GetObjectItemCaseSensitive(
	    payload, "count");
	const cJSON *observed = cJSON_GetObjectItemCaseSensitive(
	    payload, "observe");

	for (int i = 0; i < cJSON_GetArraySize(counted); i++) {
		const cJSON *entry = cJSON_GetArrayItem(counted, i);

		bennu_count(socket, entry->string, (uint64_t)entry->valueint);
	}
	for (int i = 0; i < cJSON_GetArraySize(observed); i++) {
		const cJSON *entry = cJSON_GetArrayItem(observed, i);

		bennu_observe(socket, entry->string, entry->valuedouble);
	}
	bennu_reply(socket, "ok", bennu_empty());
}

/* False: none of these. */
static bool
handle_state(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *payload = bennu_json(socket, &msg->payload);

	if (strcmp(msg->event, "state") == 0) {
		free(bennu_assigns(socket));
		bennu_assign(socket, strdup(msg->payload.data));
		bennu_reply(socket, "ok", bennu_empty());
	} else if (strcmp(msg->event, "busy") == 0) {
		usleep((useconds_t)number_of(payload, "ms") * 1000);
	} else if (strcmp(msg->event, "waiting") == 0) {
		bennu_send_after(socket, 60000, "later", NULL);
		bennu_send_after(socket, 90000, "later", NULL);
		bennu_subscribe(socket, "elsewhere");
		kept = bennu_keep(socket);
		bennu_reply(socket, "ok", bennu_empty());
	} else if (strcmp(msg->event, "metrics") == 0) {
		count_all(socket, payload);
	} else if (strcmp(msg->event, "crash") == 0) {
		bennu_count(socket, "lost_total", 1);
		raise(SIGKILL);
	} else if (strcmp(msg->event, "stop") == 0) {
		bennu_stop(socket, BENNU_NORMAL, NULL);
	} else {
		return false;
	}
	return true;
}

/* ---- callbacks ---- */

/* {"join": "refuse"}, or "block" until it is killed. */
static enum bennu_result
api_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *how = string_of(bennu_json(socket, &msg->payload), "join");

	if (how != NULL && strcmp(how, "block") == 0)
		for (;;)
			pause();
	if (how == NULL || strcmp(how, "refuse") != 0)
		return BENNU_OK;
	bennu_count(socket, "refused_total", 1);
	return BENNU_REFUSE;
}

static void
api_terminate(
    struct bennu_socket *socket, enum bennu_reason reason, const char *detail)
{
	(void)reason;
	(void)detail;
	bennu_count(socket, "terminated_total", 1);
}

static void
tell_subscribers(struct bennu_socket *socket, const char *topic)
{
	long n = bennu_subscribers(socket, topic);

	if (n == -1)
		bennu_reply(socket, "error",
		    bennu_format(socket, "{\"errno\":%d}", errno));
	else
		bennu_reply(
		    socket, "ok", bennu_format(socket, "{\"n\":%ld}", n));
}

static enum bennu_result
api_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *payload = bennu_json(socket, &msg->payload);

	if (strcmp(msg->event, "echo") == 0) {
		bennu_reply(socket, "ok", msg->payload);
	} else if (strcmp(msg->event, "push_acked") == 0) {
		push_acked(socket, payload);
	} else if (strcmp(msg->event, "ack") == 0) {
		bool known = bennu_acked(socket, string_of(payload, "id"));

		bennu_reply(socket, known ? "ok" : "error", bennu_empty());
	} else if (strcmp(msg->event, "tasks") == 0) {
		start_tasks(socket, payload);
	} else if (strcmp(msg->event, "shout") == 0) {
		bennu_broadcast(socket, "shout", msg->payload);
		bennu_reply(socket, "ok", bennu_empty());
	} else if (strcmp(msg->event, "shout_from") == 0) {
		bennu_broadcast_from(socket, "shout", msg->payload);
		bennu_reply(socket, "ok", bennu_empty());
	} else if (strcmp(msg->event, "close") == 0) {
		bennu_close(socket);
	} else if (strcmp(msg->event, "subscribe") == 0) {
		bennu_subscribe(socket, string_of(payload, "topic"));
		bennu_reply(socket, "ok", bennu_empty());
	} else if (strcmp(msg->event, "unsubscribe") == 0) {
		bennu_unsubscribe(socket, string_of(payload, "topic"));
		bennu_reply(socket, "ok", bennu_empty());
	} else if (strcmp(msg->event, "subscribers") == 0) {
		tell_subscribers(socket, string_of(payload, "topic"));
	} else if (!handle_state(socket, msg)) {
		return BENNU_UNHANDLED;
	}
	return BENNU_OK;
}

/* {"crash": true} kills whoever it is not hidden from. */
static enum bennu_result
api_handle_out(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *payload = bennu_json(socket, &msg->payload);

	if (cJSON_GetObjectItemCaseSensitive(payload, "crash") != NULL)
		abort();
	if (cJSON_GetObjectItemCaseSensitive(payload, "secret") == NULL)
		bennu_push(socket, "heard", msg->payload);
	return BENNU_OK;
}

static enum bennu_result
api_handle_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->event, "task_done") == 0) {
		bennu_push(socket, "task_done", msg->payload);
		free(msg->data);
	}
	return BENNU_OK;
}

static const char *const api_intercept[] = { "shout", NULL };

BENNU_CHANNEL(api) = {
	.abi = BENNU_ABI,
	.name = "api",
	.intercept = api_intercept,
	.join = api_join,
	.handle_in = api_handle_in,
	.handle_out = api_handle_out,
	.handle_info = api_handle_info,
	.terminate = api_terminate,
	.dump = api_dump,
};
