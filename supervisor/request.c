/*
 * request.c - see request.h.
 */
#include <sys/socket.h>
#include <sys/uio.h>

#include <errno.h>
#include <string.h>

#include "common/mailbox.h"
#include "supervisor/request.h"

bool
request_pair(int fds[2])
{
	static const int on = 1;

	return socketpair(AF_UNIX,
		   SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		   fds) == 0 &&
	    setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0;
}

/* The first descriptor is kept, others are closed. */
static void
take_descriptors(struct received_request *received, const struct cmsghdr *cmsg)
{
	size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof fd, sizeof fd);
		if (received->fd == -1)
			received->fd = fd;
		else
			mailbox_close_fd(fd);
	}
}

static void
take_control(struct received_request *received, struct msghdr *msg)
{
	struct cmsghdr *cmsg;
	struct ucred sender;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL;
	     cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET)
			continue;
		if (cmsg->cmsg_type == SCM_RIGHTS) {
			take_descriptors(received, cmsg);
		} else if (cmsg->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&sender, CMSG_DATA(cmsg), sizeof sender);
			received->sender = sender.pid;
		}
	}
}

int
request_receive(int fd, struct received_request *received)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int)) +
		    CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { &received->request, sizeof received->request };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control,
	};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n == -1)
		return errno == EINTR ? 0 : -1;
	received->fd = -1;
	received->sender = -1;
	take_control(received, &msg);
	if (n == sizeof received->request && (msg.msg_flags & MSG_TRUNC) == 0)
		return 1;
	if (received->fd != -1)
		mailbox_close_fd(received->fd);
	return 0;
}
