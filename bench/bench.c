/*
 * bench.c - the two channels that bench/loadgen measures: a ping and a room, as
 * small as they can be; and one whose end bench/drain counts.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bennu/channel.h>

static enum bennu_result
anybody(struct bennu_socket *socket, const struct bennu_message *msg)
{
	(void)socket;
	(void)msg;
	return BENNU_OK;
}

/* Any other event is a crash: that, too, is measured. */
static enum bennu_result
ping_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->event, "ping") != 0)
		return BENNU_UNHANDLED;
	bennu_reply(socket, "ok", msg->payload);
	return BENNU_OK;
}

static enum bennu_result
room_handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (strcmp(msg->event, "new_msg") != 0)
		return BENNU_UNHANDLED;
	bennu_broadcast(socket, "new_msg", msg->payload);
	return BENNU_OK;
}

/* A byte for each that was told why it ends, and 'x' for others. */
static void
drain_terminate(
    struct bennu_socket *socket, enum bennu_reason reason, const char *detail)
{
	const char *path = getenv("BENCH_DRAIN");
	int fd;

	(void)socket;
	(void)detail;
	if (path == NULL)
		return;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1 || write(fd, reason == BENNU_DRAINING ? "d" : "x", 1) != 1)
		abort();
	close(fd);
}

BENNU_CHANNEL(ping) = {
	.abi = BENNU_ABI,
	.name = "ping",
	.join = anybody,
	.handle_in = ping_handle_in,
};

BENNU_CHANNEL(room) = {
	.abi = BENNU_ABI,
	.name = "room",
	.join = anybody,
	.handle_in = room_handle_in,
};

BENNU_CHANNEL(drain) = {
	.abi = BENNU_ABI,
	.name = "drain",
	.join = anybody,
	.terminate = drain_terminate,
};
