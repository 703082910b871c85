/*
 * demo.c - demo:N, after the websocket demo of "28 days" (DEMOS.md 0.2): ticks
 * by themselves, answers pings at once or after a while, and hands on no more
 * than one debounce_ping in 3 s.
 *
 * In the original debounce_ping is broadcast from the server's console. Here a
 * client may push it, too: it is broadcast to all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>

#include "option.h"

#define TICK     5000 /* ms; option `tick` */
#define DEBOUNCE 3000 /* ms; option `debounce` */

/* Of debounce_ping. */
enum debounce {
	IDLE,
	DEBOUNCING, /* one was pushed, its time runs */
	CALLED,     /* the same, and another has come */
};

struct demo {
	unsigned ticks;
	unsigned tick_ms, debounce_ms;
	enum debounce debounce;
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
	demo->tick_ms = option_ms(socket, "tick", TICK);
	demo->debounce_ms = option_ms(socket, "debounce", DEBOUNCE);
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
	if (strcmp(msg->event, "debounce_ping") == 0) {
		bennu_broadcast(socket, "debounce_ping", bennu_empty());
		return BENNU_OK;
	}
	return BENNU_UNHANDLED;
}

static void
push_debounced(struct bennu_socket *socket, struct demo *demo)
{
	bennu_push(socket, "debounce_ping", bennu_empty());
	bennu_send_after(socket, demo->debounce_ms, "debounce", NULL);
	demo->debounce = DEBOUNCING;
}

static enum bennu_result
demo_handle_out(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct demo *demo = bennu_assigns(socket);

	(void)msg;
	switch (demo->debounce) {
	case IDLE:
		push_debounced(socket, demo);
		break;
	case DEBOUNCING:
		demo->debounce = CALLED;
		break;
	case CALLED:
		break;
	}
	return BENNU_OK;
}

/* The time of the last debounce_ping is over. */
static void
end_debounce(struct bennu_socket *socket, struct demo *demo)
{
	if (demo->debounce == CALLED)
		push_debounced(socket, demo);
	else
		demo->debounce = IDLE;
}

static void
tick(struct bennu_socket *socket, struct demo *demo)
{
	bennu_push(socket, "tick",
	    bennu_format(socket, "{\"value\":%u}", demo->ticks++));
	bennu_send_after(socket, demo->tick_ms, "tick", NULL);
}

static enum bennu_result
demo_handle_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct late_ping *late = msg->data;

	if (strcmp(msg->event, "tick") == 0) {
		tick(socket, bennu_assigns(socket));
		return BENNU_OK;
	}
	if (strcmp(msg->event, "debounce") == 0) {
		end_debounce(socket, bennu_assigns(socket));
		return BENNU_OK;
	}
	bennu_reply_to(late->ref, "ok",
	    bennu_format(
		socket, "{\"delay\":%d,\"response\":\"pong\"}", late->delay));
	bennu_ref_free(late->ref);
	free(late);
	return BENNU_OK;
}

static const char *const intercepted[] = { "debounce_ping", NULL };

BENNU_CHANNEL(demo) = {
	.abi = BENNU_ABI,
	.name = "demo",
	.intercept = intercepted,
	.join = demo_join,
	.handle_in = demo_handle_in,
	.handle_out = demo_handle_out,
	.handle_info = demo_handle_info,
};
