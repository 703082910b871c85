/*
 * wild.c - wild:A:B, joined if B is twice A (DEMOS.md 0.3). Anything that is
 * not two integers crashes the join.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>

/* Aborts when there is none, or when something else than `after` follows. */
static long long
integer(const char **at, char after)
{
	long long n;
	char *end;

	errno = 0;
	n = strtoll(*at, &end, 10);
	if (end == *at || *end != after || errno != 0)
		abort();
	*at = end + (after != '\0');
	return n;
}

static enum bennu_result
wild_join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *at = msg->topic + strlen("wild:");
	long long a = integer(&at, ':'), b = integer(&at, '\0');

	if (b % 2 == 0 && b / 2 == a)
		return BENNU_OK;
	bennu_reply(socket, "error", bennu_empty());
	return BENNU_REFUSE;
}

static enum bennu_result
wild_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->event, "ping") != 0)
		return BENNU_UNHANDLED;
	bennu_reply(socket, "ok", bennu_text("{\"ping\":\"pong\"}"));
	return BENNU_OK;
}

BENNU_CHANNEL(wild) = {
	.abi = BENNU_ABI,
	.name = "wild",
	.join = wild_join,
	.handle_in = wild_handle_in,
};
