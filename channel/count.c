/*
 * count.c - see count.h: bennu_subscribers, bennu_conn_subscribers.
 */
#include <sys/socket.h>

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#include <bennu/channel.h>
#include <bennu/endpoint.h>

#include "channel/conn.h"
#include "channel/count.h"
#include "channel/socket.h"
#include "common/mailbox.h"
#include "common/process.h"

#define WAIT_LIMIT 5000 /* ms; longer than the transport's own */

int
count_send(struct mailbox *mailbox, const char *topic)
{
	struct envelope_writer writer = { 0 };
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == -1)
		return -1;
	envelope_put_string(&writer, topic);
	mailbox_send_fd(mailbox, ENVELOPE_SUBSCRIBERS, &writer, fds[1]);
	return fds[0];
}

static long
read_answer(int fd)
{
	int64_t n;
	ssize_t size = recv(fd, &n, sizeof n, MSG_DONTWAIT);

	if (size == sizeof n)
		return (long)n;
	if (size != -1)
		errno = EAGAIN; /* nobody knows just now */
	return -1;
}

long
count_wait(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	long long until = monotonic_ms() + WAIT_LIMIT, left = WAIT_LIMIT;
	long n = -1;
	int ready, saved;

	do {
		ready = poll(&pollfd, 1, (int)left);
		left = until - monotonic_ms();
	} while (ready == -1 && errno == EINTR && left > 0);
	if (ready == 1)
		n = read_answer(fd);
	else if (ready == 0 || left <= 0)
		errno = ETIMEDOUT;
	saved = errno;
	close(fd);
	errno = saved;
	return n;
}

long
bennu_subscribers(struct bennu_socket *socket, const char *topic)
{
	int fd;

	if (socket->phase == PHASE_DUMP)
		socket_mistake(socket, "bennu_subscribers inside dump");
	fd = count_send(socket->mailbox, topic);
	if (fd == -1)
		return -1;
	socket_flush(socket);
	return count_wait(fd);
}

long
bennu_conn_subscribers(struct bennu_conn *conn, const char *topic)
{
	int fd = count_send(conn->mailbox, topic);

	if (fd == -1)
		return -1;
	conn_flush(conn);
	return count_wait(fd);
}
