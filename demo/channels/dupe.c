/*
 * dupe.c - dupe, after "Real-Time Phoenix" (DEMOS.md 0.3): numbers that are
 * broadcast wait for a while, and then go to the client in their order, each of
 * them once.
 *
 * In the original numbers come from the server's console. Here a client may
 * push one, too: it is broadcast to all.
 */
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>

#include "option.h"

#define WAIT    1000 /* ms; option `wait` */
#define NUMBERS 1000 /* as many are sent before their time */

struct dupe {
	unsigned wait;
	unsigned timer; /* 0: nothing waits */
	double numbers[NUMBERS];
	size_t n;
};

static enum bennu_result
dupe_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct dupe *dupe = calloc(1, sizeof *dupe);

	(void)msg;
	if (dupe == NULL)
		abort();
	dupe->wait = option_ms(socket, "wait", WAIT);
	bennu_assign(socket, dupe);
	return BENNU_OK;
}

static const cJSON *
number_of(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *number = cJSON_GetObjectItemCaseSensitive(
	    bennu_json(socket, &msg->payload), "number");

	return cJSON_IsNumber(number) ? number : NULL;
}

static enum bennu_result
dupe_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->event, "number") != 0 || number_of(socket, msg) == NULL)
		return BENNU_UNHANDLED;
	bennu_broadcast(socket, "number", msg->payload);
	return BENNU_OK;
}

static void
flush(struct bennu_socket *socket, struct dupe *dupe)
{
	for (size_t i = 0; i < dupe->n; i++) {
		cJSON *tree = cJSON_CreateObject();

		cJSON_AddNumberToObject(tree, "value", dupe->numbers[i]);
		bennu_push(socket, "number", bennu_take(socket, tree));
	}
	dupe->n = 0;
	dupe->timer = 0;
}

static bool
waits(const struct dupe *dupe, double number)
{
	for (size_t i = 0; i < dupe->n; i++)
		if (dupe->numbers[i] == number)
			return true;
	return false;
}

static enum bennu_result
dupe_handle_out(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct dupe *dupe = bennu_assigns(socket);
	const cJSON *number = number_of(socket, msg);

	if (number == NULL) {
		bennu_log(socket, "a broadcast without a number");
		return BENNU_OK;
	}
	if (waits(dupe, number->valuedouble))
		return BENNU_OK;
	dupe->numbers[dupe->n++] = number->valuedouble;
	if (dupe->timer == 0)
		dupe->timer = bennu_send_after(
		    socket, dupe->wait, "flush", NULL);
	if (dupe->n == NUMBERS) {
		bennu_cancel_timer(socket, dupe->timer);
		flush(socket, dupe);
	}
	return BENNU_OK;
}

static enum bennu_result
dupe_handle_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	(void)msg;
	flush(socket, bennu_assigns(socket));
	return BENNU_OK;
}

static const char *const intercepted[] = { "number", NULL };

BENNU_CHANNEL(dupe) = {
	.abi = BENNU_ABI,
	.name = "dupe",
	.intercept = intercepted,
	.join = dupe_join,
	.handle_in = dupe_handle_in,
	.handle_out = dupe_handle_out,
	.handle_info = dupe_handle_info,
};
