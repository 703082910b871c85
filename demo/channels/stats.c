/*
 * stats.c - /stats_socket, after "Real-Time Phoenix" (DEMOS.md 0.3): what is
 * measured, and what blocks. A channel takes one message after the other, so
 * that five pushes of slow_ping take five times as long as one; those of
 * parallel_slow_ping, each in a task, take as long as one.
 *
 * The counters have no labels: channel_join{status,channel} is
 * stats_channel_join_success and stats_channel_join_fail.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bennu/channel.h>
#include <bennu/socket.h>

#include "option.h"

#define PING 1000 /* ms at most; option `ping` */
#define SLOW 3000 /* ms; option `slow` */
#define PONG "{\"ping\":\"pong\"}"

struct stats {
	unsigned ping, slow;
};

/* A parallel_slow_ping on its way; its task has a copy. */
struct slow_ping {
	struct bennu_socket_ref *ref;
	unsigned ms;
};

static enum bennu_result
stats_connect(struct bennu_connect *connect)
{
	bennu_connect_count(connect, "socket_connect", 1);
	return BENNU_OK;
}

static enum bennu_result
refuse(struct bennu_socket *socket, const char *why)
{
	bennu_count(socket, "stats_channel_join_fail", 1);
	bennu_reply(
	    socket, "error", bennu_format(socket, "{\"reason\":\"%s\"}", why));
	return BENNU_REFUSE;
}

static enum bennu_result
stats_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct stats *stats;

	if (strcmp(msg->topic, "invalid") == 0)
		return refuse(socket, "always fails");
	if (strcmp(msg->topic, "valid") != 0)
		return refuse(socket, "unmatched topic");
	stats = calloc(1, sizeof *stats);
	if (stats == NULL)
		abort();
	stats->ping = option_ms(socket, "ping", PING);
	stats->slow = option_ms(socket, "slow", SLOW);
	bennu_assign(socket, stats);
	bennu_count(socket, "stats_channel_join_success", 1);
	return BENNU_OK;
}

static void
sleep_ms(unsigned ms)
{
	struct timespec left = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		;
}

static double
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void
ping(struct bennu_socket *socket, unsigned max)
{
	double began = now_ms();

	sleep_ms(arc4random_uniform(max + 1));
	bennu_observe(socket, "stats_channel_ping_ms", now_ms() - began);
	bennu_reply(socket, "ok", bennu_text(PONG));
}

/* In the task. */
static void
run_slow_ping(struct bennu_task *task, void *data)
{
	const struct slow_ping *slow = data;

	sleep_ms(slow->ms);
	bennu_task_result(task, bennu_text(PONG));
}

static void
start_slow_ping(struct bennu_socket *socket, unsigned ms)
{
	struct slow_ping *slow = calloc(1, sizeof *slow);

	if (slow == NULL)
		abort();
	slow->ms = ms;
	slow->ref = bennu_keep(socket);
	if (bennu_task(socket, "slow_pong", run_slow_ping, slow) != -1)
		return;
	bennu_reply(
	    socket, "error", bennu_text("{\"reason\":\"too many at once\"}"));
	bennu_ref_free(slow->ref);
	free(slow);
}

static enum bennu_result
stats_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const struct stats *stats = bennu_assigns(socket);

	if (strcmp(msg->event, "ping") == 0) {
		ping(socket, stats->ping);
	} else if (strcmp(msg->event, "slow_ping") == 0) {
		sleep_ms(stats->slow);
		bennu_reply(socket, "ok", bennu_text(PONG));
	} else if (strcmp(msg->event, "parallel_slow_ping") == 0) {
		start_slow_ping(socket, stats->slow);
	} else {
		return BENNU_UNHANDLED;
	}
	return BENNU_OK;
}

/* A task has ended: by itself, or somebody has killed it. */
static enum bennu_result
stats_handle_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct slow_ping *slow = msg->data;
	bool done = cJSON_GetObjectItemCaseSensitive(
			bennu_json(socket, &msg->payload), "ping") != NULL;

	bennu_reply_to(slow->ref, done ? "ok" : "error", msg->payload);
	bennu_ref_free(slow->ref);
	free(slow);
	return BENNU_OK;
}

BENNU_SOCKET(stats_socket) = {
	.abi = BENNU_ABI,
	.name = "stats_socket",
	.connect = stats_connect,
};

BENNU_CHANNEL(stats) = {
	.abi = BENNU_ABI,
	.name = "stats",
	.join = stats_join,
	.handle_in = stats_handle_in,
	.handle_info = stats_handle_info,
};
