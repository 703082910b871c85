/*
 * service.c - services for service.test.mjs. They say on "service:out" what
 * they hear and do; what others broadcast on "service:in" tells them what to
 * do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bennu/service.h>

#define OUT "service:out"
#define IN  "service:in"

static void
say(struct bennu_service_process *service, const char *event, double n)
{
	cJSON *payload = cJSON_CreateObject();

	cJSON_AddStringToObject(payload, "name", bennu_service_name(service));
	cJSON_AddNumberToObject(payload, "n", n);
	cJSON_AddNumberToObject(payload, "pid", getpid());
	bennu_service_broadcast(
	    service, OUT, event, bennu_service_take(service, payload));
}

/* ---- worker: does what it is told, and ticks ---- */

static bool
start(struct bennu_service_process *service)
{
	const char *tick = bennu_service_option(service, "tick");

	if (bennu_service_option(service, "fail") != NULL)
		return false;
	bennu_service_subscribe(service, IN);
	if (tick != NULL)
		bennu_service_send_after(
		    service, (unsigned)atoi(tick), "tick", NULL);
	say(service, "started", 0);
	return true;
}

static void
count_to(struct bennu_service_process *service, int n)
{
	for (int i = 1; i <= n; i++)
		say(service, "seq", i);
}

static void
subscribe_many(struct bennu_service_process *service, int n)
{
	char topic[32];

	for (int i = 0; i < n; i++) {
		snprintf(topic, sizeof topic, "many:%d", i);
		bennu_service_subscribe(service, topic);
	}
}

/* {"n": 7, "topic": "..."} */
static enum bennu_result
handle_in(
    struct bennu_service_process *service, const struct bennu_message *msg)
{
	const cJSON *payload = bennu_service_json(service, &msg->payload);
	const cJSON *n = cJSON_GetObjectItem(payload, "n");
	const char *topic = cJSON_GetStringValue(
	    cJSON_GetObjectItem(payload, "topic"));
	char large[40100];

	if (strcmp(msg->event, "echo") == 0)
		say(service, "echo", cJSON_GetNumberValue(n));
	else if (strcmp(msg->event, "count") == 0)
		count_to(service, (int)cJSON_GetNumberValue(n));
	else if (strcmp(msg->event, "subscribe") == 0)
		bennu_service_subscribe(service, topic);
	else if (strcmp(msg->event, "subscribe_many") == 0)
		subscribe_many(service, (int)cJSON_GetNumberValue(n));
	else if (strcmp(msg->event, "unsubscribe") == 0)
		bennu_service_unsubscribe(service, topic);
	else if (strcmp(msg->event, "timer") == 0) {
		unsigned timer = bennu_service_send_after(
		    service, 3600 * 1000, "never", NULL);

		say(service, "left",
		    (double)bennu_service_timer_left(service, timer));
		bennu_service_cancel_timer(service, timer);
		say(service, "cancelled",
		    (double)bennu_service_timer_left(service, timer));
	} else if (strcmp(msg->event, "bytes") == 0)
		bennu_service_broadcast(
		    service, OUT, "bytes", bennu_bytes("\0\1", 2));
	else if (strcmp(msg->event, "large") == 0) {
		snprintf(large, sizeof large, "\"%040000d\"", 1);
		bennu_service_broadcast(
		    service, OUT, "large", bennu_text(large));
	} else if (strcmp(msg->event, "nonsense") == 0)
		bennu_service_broadcast(
		    service, OUT, "nonsense", bennu_text("{a}"));
	else if (strcmp(msg->event, "abort") == 0)
		abort();
	else
		return BENNU_UNHANDLED;
	return BENNU_OK;
}

static enum bennu_result
handle_info(
    struct bennu_service_process *service, const struct bennu_message *msg)
{
	static int ticks;
	const char *tick = bennu_service_option(service, "tick");

	if (strcmp(msg->topic, IN) == 0)
		return handle_in(service, msg);
	if (msg->topic[0] != '\0') {
		say(service, "heard", 0);
		return BENNU_OK;
	}
	say(service, "tick", ++ticks);
	bennu_service_send_after(service, (unsigned)atoi(tick), "tick", NULL);
	return BENNU_OK;
}

static void
terminate(struct bennu_service_process *service, enum bennu_reason reason)
{
	bennu_service_log(service, "terminate %d", (int)reason);
	say(service, "terminated", reason);
}

BENNU_SERVICE(worker) = {
	.abi = BENNU_ABI,
	.name = "worker",
	.start = start,
	.handle_info = handle_info,
	.terminate = terminate,
};

/* ---- those that are refused ---- */

BENNU_SERVICE(old) = { .abi = BENNU_ABI + 1, .handle_info = handle_info };
BENNU_SERVICE(empty) = { .abi = BENNU_ABI };
