/*
 * mailbox.c - see mailbox.h.
 *
 * On the wire: u32 type, u32 size, then the body; or, with BODY_IN_MEMFD in the
 * type, a descriptor beside the head, which holds the body.
 */
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "common/xmalloc.h"

#define BODY_IN_MEMFD 0x80000000U
#define WITH_FD       0x40000000U /* a descriptor comes with it */
#define SEALS         (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define FDS_MAX       8 /* descriptors received and not yet used */
#define FD_NONE       (-1)
#define FD_LOST       (-2) /* it came and found no room in our table */
#define BATCH         16   /* envelopes in one write */

/* An envelope that waits to be written. */
struct outgoing {
	STAILQ_ENTRY(outgoing) entry;
	uint8_t *data; /* head and body */
	size_t size;   /* of both */
	size_t sent;   /* of what travels inline */
	bool in_memfd;
	int fd; /* goes with it; -1: none */
};

struct mailbox {
	int fd;
	mailbox_cb callback;
	void *arg;
	struct event_base *base; /* NULL: the owner polls */
	struct event readable, writable;

	/* Read and not dispatched: the beginning of an envelope, or whole ones
	 * while paused. */
	uint8_t *in;
	size_t in_size, in_room;
	int fds[FDS_MAX];
	size_t nfds;
	int with; /* came with the envelope that is being dispatched */

	STAILQ_HEAD(, outgoing) out;
	size_t backlog;

	bool paused;
	bool draining;
	bool gone;        /* the callback was told so */
	bool broken;      /* the other end does not take anything any more */
	bool dispatching; /* free must wait */
	bool freed;
	char error[64];
};

/*
 * Where all mailboxes of the process read to; what is not dispatched at once is
 * copied from here. Only pages that are used cost memory.
 */
#define READ_SIZE  (MAILBOX_INLINE_MAX * 2)
#define DRAIN_SIZE 4096 /* the last words: few, and not worth a mapping */
static uint8_t read_buffer[READ_SIZE];

int
mailbox_pair(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
}

pid_t
mailbox_fork(struct process_spec *spec, size_t place, int *fd)
{
	int fds[2], saved;
	pid_t pid;

	if (mailbox_pair(fds) == -1)
		return -1;
	spec->fds[place] = fds[1];
	pid = process_fork(spec);
	saved = errno;
	close(fds[1]);
	if (pid == -1)
		close(fds[0]);
	*fd = fds[0];
	errno = saved;
	return pid;
}

int
mailbox_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, saved;

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1 ||
	    connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

struct mailbox *
mailbox_new(int fd, mailbox_cb callback, void *arg)
{
	struct mailbox *mailbox = xcalloc(1, sizeof *mailbox);

	mailbox->fd = fd;
	mailbox->with = FD_NONE;
	mailbox->callback = callback;
	mailbox->arg = arg;
	STAILQ_INIT(&mailbox->out);
	return mailbox;
}

void
mailbox_close_fd(int fd)
{
	static const struct linger none = { 0 };

	/* Of what is no socket it is no property. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	close(fd);
}

static void
outgoing_free(struct outgoing *out)
{
	if (out->fd != -1)
		close(out->fd);
	free(out->data);
	free(out);
}

static void
drop_outgoing(struct mailbox *mailbox)
{
	struct outgoing *out;

	while ((out = STAILQ_FIRST(&mailbox->out)) != NULL) {
		STAILQ_REMOVE_HEAD(&mailbox->out, entry);
		outgoing_free(out);
	}
	mailbox->backlog = 0;
}

void
mailbox_free(struct mailbox *mailbox)
{
	if (mailbox == NULL)
		return;
	if (mailbox->dispatching) {
		mailbox->freed = true;
		mailbox->gone = true;
		return;
	}
	if (mailbox->base != NULL) {
		event_del(&mailbox->readable);
		event_del(&mailbox->writable);
	}
	drop_outgoing(mailbox);
	for (size_t i = 0; i < mailbox->nfds; i++)
		if (mailbox->fds[i] != FD_LOST)
			mailbox_close_fd(mailbox->fds[i]);
	close(mailbox->fd);
	free(mailbox->in);
	free(mailbox);
}

int
mailbox_fd(const struct mailbox *mailbox)
{
	return mailbox->fd;
}

const char *
mailbox_error(const struct mailbox *mailbox)
{
	return mailbox->error;
}

size_t
mailbox_backlog(const struct mailbox *mailbox)
{
	return mailbox->backlog;
}

/* ---- reading ---- */

static bool set_error(struct mailbox *, const char *, ...) printflike(2, 3);

/* Keeps the first reason. Returns false, for the callers' returns. */
static bool
set_error(struct mailbox *mailbox, const char *fmt, ...)
{
	va_list ap;

	if (mailbox->error[0] == '\0') {
		va_start(ap, fmt);
		vsnprintf(mailbox->error, sizeof mailbox->error, fmt, ap);
		va_end(ap);
	}
	return false;
}

static bool
dispatch(
    struct mailbox *mailbox, uint32_t type, const uint8_t *data, size_t size)
{
	struct envelope envelope = {
		.type = (enum envelope_type)type,
		.data = data,
		.size = size,
	};

	mailbox->callback(mailbox, &envelope, mailbox->arg);
	return true;
}

/* The oldest descriptor that came, FD_NONE or FD_LOST. */
static int
next_fd(struct mailbox *mailbox)
{
	int fd;

	if (mailbox->nfds == 0)
		return FD_NONE;
	fd = mailbox->fds[0];
	memmove(mailbox->fds, mailbox->fds + 1,
	    --mailbox->nfds * sizeof mailbox->fds[0]);
	return fd;
}

static bool
dispatch_with_fd(
    struct mailbox *mailbox, uint32_t type, const uint8_t *data, size_t size)
{
	mailbox->with = next_fd(mailbox);
	if (mailbox->with == FD_NONE)
		return set_error(mailbox, "no descriptor with its envelope");
	dispatch(mailbox, type, data, size);
	if (mailbox->with >= 0)
		mailbox_close_fd(mailbox->with);
	mailbox->with = FD_NONE;
	return true;
}

int
mailbox_take_fd(struct mailbox *mailbox)
{
	int fd = mailbox->with;

	if (fd < 0)
		return -1;
	mailbox->with = FD_NONE;
	return fd;
}

bool
mailbox_lost_fd(const struct mailbox *mailbox)
{
	return mailbox->with == FD_LOST;
}

/* The body is in a descriptor that came. */
static bool
dispatch_memfd(struct mailbox *mailbox, uint32_t type, size_t size)
{
	struct stat st;
	void *body;
	int fd = next_fd(mailbox), seals;

	if (fd == FD_NONE)
		return set_error(mailbox, "no memfd with its envelope");
	if (fd == FD_LOST)
		return set_error(mailbox, "no room for a memfd");

	/* Unsealed, it could shrink under our feet. */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals == -1 || (seals & SEALS) != SEALS || fstat(fd, &st) == -1 ||
	    (size_t)st.st_size != size) {
		mailbox_close_fd(fd);
		return set_error(mailbox, "bad memfd");
	}
	body = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (body == MAP_FAILED)
		return set_error(mailbox, "mmap: %s", strerror(errno));
	dispatch(mailbox, type, body, size);
	munmap(body, size);
	return true;
}

/* A pause waits for the end of a drain: nothing would come after it. */
static bool
holds_back(const struct mailbox *mailbox)
{
	return mailbox->paused && !mailbox->draining;
}

/*
 * Dispatches the whole envelopes at the beginning of data. Returns the bytes
 * used; sets the error when what comes next cannot be one.
 */
static size_t
dispatch_all(struct mailbox *mailbox, const uint8_t *data, size_t size)
{
	size_t at = 0;

	while (!holds_back(mailbox) && !mailbox->gone &&
	    size - at >= ENVELOPE_HEAD) {
		uint32_t type, body;
		bool in_memfd, with_fd;

		memcpy(&type, data + at, sizeof type);
		memcpy(&body, data + at + sizeof type, sizeof body);
		in_memfd = (type & BODY_IN_MEMFD) != 0;
		with_fd = (type & WITH_FD) != 0;
		type &= ~(BODY_IN_MEMFD | WITH_FD);
		if (*envelope_name((enum envelope_type)type) == '?') {
			set_error(mailbox, "bad envelope type %u", type);
			break;
		}
		if (body > (in_memfd ? ENVELOPE_MAX : MAILBOX_INLINE_MAX)) {
			set_error(mailbox, "envelope of %u bytes", body);
			break;
		}
		if (in_memfd) {
			at += ENVELOPE_HEAD;
			if (!dispatch_memfd(mailbox, type, body))
				break;
			continue;
		}
		if (size - at - ENVELOPE_HEAD < body)
			break;
		at += ENVELOPE_HEAD + body;
		if (!with_fd)
			dispatch(mailbox, type, data + at - body, body);
		else if (!dispatch_with_fd(
			     mailbox, type, data + at - body, body))
			break;
	}
	return at;
}

static void
keep_input(struct mailbox *mailbox, const uint8_t *data, size_t size)
{
	if (size == 0)
		return;
	if (mailbox->in_room - mailbox->in_size < size) {
		mailbox->in_room = mailbox->in_size + size;
		mailbox->in = xrealloc(mailbox->in, mailbox->in_room);
	}
	memcpy(mailbox->in + mailbox->in_size, data, size);
	mailbox->in_size += size;
}

static void
release_input(struct mailbox *mailbox)
{
	free(mailbox->in);
	mailbox->in = NULL;
	mailbox->in_size = mailbox->in_room = 0;
}

/* What is kept goes first; new bytes are appended to it only when they must. */
static void
consume(struct mailbox *mailbox, const uint8_t *data, size_t size)
{
	size_t used;

	if (mailbox->in_size == 0) {
		used = dispatch_all(mailbox, data, size);
		keep_input(mailbox, data + used, size - used);
		return;
	}
	keep_input(mailbox, data, size);
	used = dispatch_all(mailbox, mailbox->in, mailbox->in_size);
	if (used == mailbox->in_size) {
		release_input(mailbox);
	} else if (used > 0) {
		mailbox->in_size -= used;
		memmove(mailbox->in, mailbox->in + used, mailbox->in_size);
	}
}

static void
keep_fd(struct mailbox *mailbox, int fd)
{
	if (mailbox->nfds < FDS_MAX) {
		mailbox->fds[mailbox->nfds++] = fd;
		return;
	}
	if (fd != FD_LOST)
		mailbox_close_fd(fd);
	set_error(mailbox, "too many descriptors");
}

/*
 * Those of one message. Ours has one: when it is missing there was no room for
 * it here. More than fit beside a message are nonsense.
 */
static void
receive_descriptors(struct mailbox *mailbox, struct msghdr *msg)
{
	struct cmsghdr *cmsg;
	size_t all = 0;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL;
	     cmsg = CMSG_NXTHDR(msg, cmsg)) {
		size_t n;

		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof fd, sizeof fd);
			keep_fd(mailbox, fd);
		}
		all += n;
	}
	if ((msg->msg_flags & MSG_CTRUNC) == 0)
		return;
	if (all == FDS_MAX)
		set_error(mailbox, "descriptors did not fit");
	else
		keep_fd(mailbox, FD_LOST);
}

/* One read. Returns false when there was nothing. */
static bool
receive(struct mailbox *mailbox, uint8_t *buffer, size_t size, int flags)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
	} control;
	struct iovec iov = { buffer, size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control,
	};
	ssize_t n;

	n = recvmsg(mailbox->fd, &msg, flags | MSG_CMSG_CLOEXEC);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* The second: it is gone, and has not read all that we sent. */
	if (n == -1 && errno != ECONNRESET)
		return set_error(mailbox, "recvmsg: %s", strerror(errno));
	if (n <= 0)
		return set_error(mailbox, "end of file");
	receive_descriptors(mailbox, &msg);
	consume(mailbox, buffer, (size_t)n);
	return true;
}

/* Tells the end, once, when there is one to tell. */
static void
tell_gone(struct mailbox *mailbox)
{
	if (mailbox->error[0] == '\0' || mailbox->gone)
		return;
	if (mailbox->base != NULL) {
		event_del(&mailbox->readable);
		event_del(&mailbox->writable);
	}
	mailbox->gone = true;
	mailbox->callback(mailbox, NULL, mailbox->arg);
}

static void
begin_dispatch(struct mailbox *mailbox)
{
	assert(!mailbox->dispatching);
	mailbox->dispatching = true;
}

static void
end_dispatch(struct mailbox *mailbox)
{
	if (!holds_back(mailbox))
		tell_gone(mailbox);
	mailbox->draining = false;
	mailbox->dispatching = false;
	if (mailbox->freed)
		mailbox_free(mailbox);
}

void
mailbox_read(struct mailbox *mailbox)
{
	if (mailbox->gone || mailbox->dispatching)
		return;
	begin_dispatch(mailbox);
	receive(mailbox, read_buffer, READ_SIZE, MSG_DONTWAIT);
	end_dispatch(mailbox);
}

/*
 * The callback of another mailbox may do this, while what it was told lies in
 * read_buffer.
 */
void
mailbox_wait(struct mailbox *mailbox)
{
	if (mailbox->gone || mailbox->dispatching)
		return;
	begin_dispatch(mailbox);
	receive(mailbox, read_buffer, READ_SIZE, 0);
	end_dispatch(mailbox);
}

void
mailbox_drain(struct mailbox *mailbox)
{
	uint8_t *buffer;

	if (mailbox->gone || mailbox->dispatching)
		return;
	buffer = xmalloc(DRAIN_SIZE);
	mailbox_resume(mailbox);
	mailbox->draining = true;
	begin_dispatch(mailbox);
	consume(mailbox, read_buffer, 0);
	while (mailbox->error[0] == '\0' && !mailbox->gone &&
	    receive(mailbox, buffer, DRAIN_SIZE, MSG_DONTWAIT))
		;
	end_dispatch(mailbox);
	free(buffer);
}

static void
on_readable(int fd, short what, void *arg)
{
	struct mailbox *mailbox = arg;

	(void)fd;
	(void)what;
	if (mailbox->gone || mailbox->paused)
		return;
	begin_dispatch(mailbox);
	/* What a pause left behind comes before what is new. */
	if (mailbox->in_size > 0)
		consume(mailbox, read_buffer, 0);
	if (!mailbox->paused && !mailbox->gone && mailbox->error[0] == '\0')
		receive(mailbox, read_buffer, READ_SIZE, MSG_DONTWAIT);
	end_dispatch(mailbox);
}

void
mailbox_pause(struct mailbox *mailbox)
{
	if (mailbox->paused)
		return;
	mailbox->paused = true;
	if (mailbox->base != NULL)
		event_del(&mailbox->readable);
}

void
mailbox_resume(struct mailbox *mailbox)
{
	if (!mailbox->paused)
		return;
	mailbox->paused = false;
	if (mailbox->base == NULL || mailbox->gone)
		return;
	event_add(&mailbox->readable, NULL);
	/* From the loop, not from here: the caller is not ready for it. */
	if (mailbox->in_size > 0 || mailbox->error[0] != '\0')
		event_active(&mailbox->readable, EV_READ, 0);
}

/* ---- writing ---- */

/* A sealed memfd with the body of an envelope; -1, errno. */
static int
body_memfd(const struct outgoing *out)
{
	const uint8_t *at = out->data + ENVELOPE_HEAD;
	size_t left = out->size - ENVELOPE_HEAD;
	int fd = memfd_create("bennu-body", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd == -1)
		return -1;
	while (left > 0) {
		ssize_t n = write(fd, at, left);

		if (n <= 0)
			goto fail;
		at += n;
		left -= (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) == -1)
		goto fail;
	return fd;
fail:
	close(fd);
	return -1;
}

/* Room for one descriptor beside a message. */
union passing {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int))];
};

/* It goes with the first byte. */
static void
pass(struct msghdr *msg, union passing *room, int fd)
{
	struct cmsghdr *cmsg;

	memset(room, 0, sizeof *room);
	msg->msg_control = room;
	msg->msg_controllen = sizeof *room;
	cmsg = CMSG_FIRSTHDR(msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
}

/* One head with the descriptor of its body. As sendmsg(2). */
static ssize_t
send_memfd(struct mailbox *mailbox, const struct outgoing *out)
{
	struct iovec iov = { out->data + out->sent, ENVELOPE_HEAD - out->sent };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union passing room;
	int fd, saved;
	ssize_t n;

	if (out->sent > 0)
		return sendmsg(mailbox->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	fd = body_memfd(out);
	if (fd == -1)
		return -1;
	pass(&msg, &room, fd);
	n = sendmsg(mailbox->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	saved = errno;
	close(fd);
	errno = saved;
	return n;
}

/*
 * Several envelopes, of which one may come with a descriptor. The other end may
 * get that before its envelope: it counts them.
 */
static ssize_t
send_inline(struct mailbox *mailbox)
{
	struct iovec iov[BATCH];
	struct msghdr msg = { .msg_iov = iov };
	struct outgoing *out;
	union passing room;
	int *fd = NULL;
	size_t count = 0;
	ssize_t n;

	STAILQ_FOREACH (out, &mailbox->out, entry) {
		if (count == BATCH || out->in_memfd ||
		    (out->fd != -1 && fd != NULL))
			break;
		if (out->fd != -1)
			fd = &out->fd;
		iov[count].iov_base = out->data + out->sent;
		iov[count].iov_len = out->size - out->sent;
		count++;
	}
	msg.msg_iovlen = count;
	if (fd != NULL)
		pass(&msg, &room, *fd);
	n = sendmsg(mailbox->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0 && fd != NULL) {
		close(*fd);
		*fd = -1;
	}
	return n;
}

/* n bytes of the queue have left. */
static void
advance(struct mailbox *mailbox, size_t n)
{
	struct outgoing *out;

	while (n > 0) {
		size_t whole, left;

		out = STAILQ_FIRST(&mailbox->out);
		whole = out->in_memfd ? ENVELOPE_HEAD : out->size;
		left = whole - out->sent;
		if (n < left) {
			out->sent += n;
			return;
		}
		n -= left;
		mailbox->backlog -= out->size;
		STAILQ_REMOVE_HEAD(&mailbox->out, entry);
		outgoing_free(out);
	}
}

bool
mailbox_flush(struct mailbox *mailbox)
{
	struct outgoing *out;

	while (
	    !mailbox->broken && (out = STAILQ_FIRST(&mailbox->out)) != NULL) {
		ssize_t n = out->in_memfd ? send_memfd(mailbox, out)
					  : send_inline(mailbox);

		if (n >= 0) {
			advance(mailbox, (size_t)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN || errno == ENOBUFS)
			break;
		if (errno != EPIPE && errno != ECONNRESET)
			log_warn("mailbox: send");
		/* Its last words may still be read. */
		mailbox->broken = true;
		drop_outgoing(mailbox);
	}
	if (mailbox->base != NULL && !mailbox->gone) {
		if (STAILQ_EMPTY(&mailbox->out))
			event_del(&mailbox->writable);
		else
			event_add(&mailbox->writable, NULL);
	}
	return !mailbox->broken;
}

static void
on_writable(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	mailbox_flush(arg);
}

void
mailbox_send(struct mailbox *mailbox, enum envelope_type type,
    struct envelope_writer *writer)
{
	mailbox_send_fd(mailbox, type, writer, -1);
}

void
mailbox_send_fd(struct mailbox *mailbox, enum envelope_type type,
    struct envelope_writer *writer, int fd)
{
	struct envelope_writer empty = { 0 };
	struct outgoing *out;
	uint32_t head[2];

	if (writer == NULL)
		writer = &empty;
	if (writer->size == 0) {
		writer->data = xrealloc(writer->data, ENVELOPE_HEAD);
		writer->size = ENVELOPE_HEAD;
	}
	/* A leaf that was told to end has shut its reading, and may talk. */
	if (mailbox->broken || mailbox->freed ||
	    (mailbox->gone && mailbox->base != NULL)) {
		envelope_writer_free(writer);
		if (fd != -1)
			close(fd);
		return;
	}
	out = xcalloc(1, sizeof *out);
	out->fd = fd;
	out->data = writer->data;
	out->size = writer->size;
	memset(writer, 0, sizeof *writer);

	assert(out->size - ENVELOPE_HEAD <= ENVELOPE_MAX);
	out->in_memfd = out->size - ENVELOPE_HEAD > MAILBOX_INLINE_MAX;
	assert(fd == -1 || !out->in_memfd);
	head[0] = (uint32_t)type | (out->in_memfd ? BODY_IN_MEMFD : 0) |
	    (fd != -1 ? WITH_FD : 0);
	head[1] = (uint32_t)(out->size - ENVELOPE_HEAD);
	memcpy(out->data, head, sizeof head);

	mailbox->backlog += out->size;
	STAILQ_INSERT_TAIL(&mailbox->out, out, entry);
	/* Behind others it waits for the loop, as they do. */
	if (mailbox->base != NULL && STAILQ_FIRST(&mailbox->out) == out)
		mailbox_flush(mailbox);
}

void
mailbox_attach(struct mailbox *mailbox, struct event_base *base)
{
	mailbox->base = base;
	event_assign(&mailbox->readable, base, mailbox->fd,
	    EV_READ | EV_PERSIST, on_readable, mailbox);
	event_assign(&mailbox->writable, base, mailbox->fd,
	    EV_WRITE | EV_PERSIST, on_writable, mailbox);
	if (!mailbox->paused)
		event_add(&mailbox->readable, NULL);
	/* With whatever is said in this turn of the loop. */
	if (!STAILQ_EMPTY(&mailbox->out))
		event_active(&mailbox->writable, EV_WRITE, 0);
}

/* ---- one answer ---- */

static void
ignore(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	(void)mailbox;
	(void)envelope;
	(void)arg;
}

void
mailbox_answer(int fd, enum envelope_type type, struct envelope_writer *answer)
{
	int domain = 0, kind = 0;
	socklen_t size = sizeof domain;
	struct mailbox *mailbox;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == -1 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) == -1 ||
	    domain != AF_UNIX || kind != SOCK_STREAM) {
		envelope_writer_free(answer);
		mailbox_close_fd(fd);
		return;
	}
	mailbox = mailbox_new(fd, ignore, NULL);
	mailbox_send(mailbox, type, answer);
	mailbox_flush(mailbox);
	mailbox_free(mailbox);
}
