/*
 * demo.c - demo:N, after the websocket demo of "28 days" (DEMOS.md 0.2): ticks
 * by themselves, answers pings at once or after a while.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>

#define TICK 5000 /* ms */

struct demo {
	unsigned ticks;
};

/* A ping that is answered later. */
struct late_ping {
	struct bennu_socket_ref *ref;
	int delay;
};

static enum bennu_result
demo_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct demo *demo = calloc(1, sizeof *demo);

	(void)msg;
	if (demo == NULL)
		abort();
	bennu_assign(socket, demo);
	bennu_send_after(socket, 0, "tick", NULL);
	return BENNU_OK;
}

/* "ping:300" is answered in 300 ms; others may be answered meanwhile. */
static enum bennu_result
ping_later(struct bennu_socket *socket, const char *digits)
{
	struct late_ping *late;
	char *end;
	long delay;

	errno = 0;
	delay = strtol(digits, &end, 10);
	if (end == digits || *end != '\0' || errno != 0 || delay < 0 ||
	    delay > 3600000)
		return BENNU_UNHANDLED;
	late = calloc(1, sizeof *late);
	if (late == NULL)
		abort();
	late->ref = bennu_keep(socket);
	late->delay = (int)delay;
	bennu_send_after(socket, (unsigned)delay, "late_ping", late);
	return BENNU_OK;
}

static enum bennu_result
demo_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->event, "ping") == 0) {
		bennu_reply(
		    socket, "ok", bennu_text("{\"response\":\"pong\"}"));
		return BENNU_OK;
	}
	if (strncmp(msg->event, "ping:", 5) == 0)
		return ping_later(socket, msg->event + 5);
	return BENNU_UNHANDLED;
}

static void
tick(struct bennu_socket *socket, struct demo *demo)
{
	bennu_push(socket, "tick",
	    bennu_format(socket, "{\"value\":%u}", demo->ticks++));
	bennu_send_after(socket, TICK, "tick", NULL);
}

static enum bennu_result
demo_handle_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct late_ping *late = msg->data;

	if (strcmp(msg->event, "tick") == 0) {
		tick(socket, bennu_assigns(socket));
		return BENNU_OK;
	}
	bennu_reply_to(late->ref, "ok",
	    bennu_format(
		socket, "{\"delay\":%d,\"response\":\"pong\"}", late->delay));
	bennu_ref_free(late->ref);
	free(late);
	return BENNU_OK;
}

BENNU_CHANNEL(demo) = {
	.abi = BENNU_ABI,
	.name = "demo",
	.join = demo_join,
	.handle_in = demo_handle_in,
	.handle_info = demo_handle_info,
};
