/*
 * hostile.c - see deeds.h: what a channel gone wild does to its mailbox, to its
 * parent and to everything that it can reach. Envelopes are written byte by
 * byte, since Bennu's own functions refuse to make such ones.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/envelope.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "deeds.h"

#define MAILBOX       PROCESS_FD
#define BODY_IN_MEMFD 0x80000000U
#define WITH_FD       0x40000000U

/* A body of fields, written raw. */
struct bytes {
	uint8_t data[16384];
	size_t size;
};

static void
put(struct bytes *bytes, const void *data, size_t size)
{
	if (size > sizeof bytes->data - bytes->size)
		abort();
	memcpy(bytes->data + bytes->size, data, size);
	bytes->size += size;
}

static void
put_u32(struct bytes *bytes, uint32_t value)
{
	put(bytes, &value, sizeof value);
}

static void
put_string(struct bytes *bytes, const char *s)
{
	put_u32(bytes, (uint32_t)strlen(s));
	put(bytes, s, strlen(s) + 1);
}

/* Waits for room; ends when nobody reads any more. */
static void
write_all(const void *data, size_t size)
{
	const uint8_t *at = data;

	fcntl(MAILBOX, F_SETFL, 0);
	while (size > 0) {
		ssize_t n = write(MAILBOX, at, size);

		if (n <= 0)
			_exit(1);
		at += n;
		size -= (size_t)n;
	}
}

static void
write_head(uint32_t type, uint32_t size)
{
	const uint32_t head[2] = { type, size };

	write_all(head, sizeof head);
}

static void
write_envelope(uint32_t type, const struct bytes *body)
{
	write_head(type, (uint32_t)body->size);
	write_all(body->data, body->size);
}

/* It has been said; now the parent has to act. */
static void
wait_for_the_end(void)
{
	for (;;)
		pause();
}

/* ---- garbage ---- */

static void
deed_garbage(struct bennu_socket *socket, const cJSON *what)
{
	uint8_t garbage[4096];

	for (size_t i = 0; i < sizeof garbage; i++)
		garbage[i] = (uint8_t)(i * 167 + 90);
	write_all(garbage, sizeof garbage);
	wait_for_the_end();
}

static void
deed_wrong_type(struct bennu_socket *socket, const cJSON *what)
{
	write_head((uint32_t)member_number(what, "type", 0), 0);
	wait_for_the_end();
}

static void
deed_too_large(struct bennu_socket *socket, const cJSON *what)
{
	write_head(ENVELOPE_PUSH, UINT32_MAX);
	wait_for_the_end();
}

/* A head that promises more than ever comes. */
static void
deed_truncated(struct bennu_socket *socket, const cJSON *what)
{
	write_head(ENVELOPE_PUSH, 1000);
	write_all("half", 4);
	_exit(0);
}

/* A string that is longer than its body. */
static void
deed_bad_field(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_u32(&body, UINT32_MAX - 1);
	put(&body, "x", 2);
	write_envelope(ENVELOPE_PUSH, &body);
	wait_for_the_end();
}

static void
deed_extra_bytes(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_string(&body, "event");
	put_u32(&body, BENNU_JSON);
	put_string(&body, "{}");
	put(&body, "more", 4);
	write_envelope(ENVELOPE_PUSH, &body);
	wait_for_the_end();
}

/* Others would read it. */
static void
deed_bad_broadcast(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_u32(&body, 0);
	put_string(&body, bennu_topic(socket));
	put_string(&body, "evil");
	put_u32(&body, (uint32_t)member_number(what, "kind", BENNU_JSON));
	put_string(&body, member_text(what, "payload", "{\"a\":"));
	write_envelope(ENVELOPE_BROADCAST, &body);
	wait_for_the_end();
}

/* ---- the wrong thing at the wrong time ---- */

static void
deed_joined_again(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_u32(&body, 1);
	put_u32(&body, BENNU_JSON);
	put_string(&body, "{}");
	write_envelope(ENVELOPE_JOINED, &body);
	wait_for_the_end();
}

static void
deed_done_twice(struct bennu_socket *socket, const cJSON *what)
{
	write_head(ENVELOPE_DONE, 0);
	write_head(ENVELOPE_DONE, 0);
	wait_for_the_end();
}

static void
deed_reply_to_nothing(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_u32(&body, 4711);
	put_string(&body, "ok");
	put_u32(&body, BENNU_JSON);
	put_string(&body, "{}");
	write_envelope(ENVELOPE_REPLY, &body);
	wait_for_the_end();
}

static void
deed_sleep_without_wake(struct bennu_socket *socket, const cJSON *what)
{
	write_head(ENVELOPE_SLEEP, 0);
	wait_for_the_end();
}

static void
deed_forget_nothing(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_u32(&body, 4711);
	write_envelope(ENVELOPE_FORGET, &body);
	wait_for_the_end();
}

/* What only a transport may send. */
static void
deed_from_transport(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_string(&body, "event");
	write_envelope(ENVELOPE_IN, &body);
	wait_for_the_end();
}

/* A reason that does not exist, and it does not end either. */
static void
deed_bad_stop(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_u32(&body, 99);
	put_string(&body, "");
	write_envelope(ENVELOPE_STOP, &body);
	wait_for_the_end();
}

/* It says that it stops, and stays. */
static void
deed_stop_and_stay(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_u32(&body, BENNU_NORMAL);
	put_string(&body, "");
	write_envelope(ENVELOPE_STOP, &body);
	wait_for_the_end();
}

/* ---- descriptors ---- */

static void
send_descriptors(uint32_t type, uint32_t size, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 64)];
	} control = { 0 };
	uint32_t head[2] = { type, size };
	struct iovec iov = { head, sizeof head };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * n),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n);
	memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n);
	if (sendmsg(MAILBOX, &msg, MSG_NOSIGNAL) == -1)
		abort();
}

static void
deed_no_memfd(struct bennu_socket *socket, const cJSON *what)
{
	write_head(ENVELOPE_PUSH | BODY_IN_MEMFD, 100000);
	wait_for_the_end();
}

/* Not sealed: it could be cut under its reader's feet. */
static void
deed_unsealed_memfd(struct bennu_socket *socket, const cJSON *what)
{
	int fd = memfd_create("evil", MFD_ALLOW_SEALING);

	if (ftruncate(fd, 100000) == -1)
		abort();
	send_descriptors(ENVELOPE_PUSH | BODY_IN_MEMFD, 100000, &fd, 1);
	if (ftruncate(fd, 0) == -1)
		abort();
	wait_for_the_end();
}

/* Promises another size than it has. */
static void
deed_short_memfd(struct bennu_socket *socket, const cJSON *what)
{
	int fd = memfd_create("evil", MFD_ALLOW_SEALING);

	if (ftruncate(fd, 4096) == -1 ||
	    fcntl(fd, F_ADD_SEALS,
		F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == -1)
		abort();
	send_descriptors(ENVELOPE_PUSH | BODY_IN_MEMFD, 100000, &fd, 1);
	wait_for_the_end();
}

static void
deed_pipe_as_memfd(struct bennu_socket *socket, const cJSON *what)
{
	int fds[2];

	if (pipe(fds) == -1)
		abort();
	send_descriptors(ENVELOPE_PUSH | BODY_IN_MEMFD, 100000, fds, 1);
	wait_for_the_end();
}

/* More and more of them, with an envelope that needs none. */
static void
deed_descriptors(struct bennu_socket *socket, const cJSON *what)
{
	int fds[64];

	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		fds[i] = STDERR_FILENO;
	for (int i = 0; i < 100; i++)
		send_descriptors(ENVELOPE_SLEEP, 1000, fds, 64);
	wait_for_the_end();
}

/* ---- presences ---- */

static void
put_optional(struct bytes *bytes, const char *s)
{
	if (s == NULL)
		put_u32(bytes, UINT32_MAX);
	else
		put_string(bytes, s);
}

/* "bytes": the key is no text. */
static void
deed_track(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_string(&body, bennu_topic(socket));
	put_string(&body,
	    cJSON_HasObjectItem(what, "bytes")
		? "\xff"
		: member_text(what, "key", "key"));
	put_string(&body, member_text(what, "ref", "0123456789abcdef"));
	put_optional(&body, member_text(what, "prev", NULL));
	put_string(&body, member_text(what, "meta", "{}"));
	write_envelope(ENVELOPE_TRACK, &body);
	if (cJSON_HasObjectItem(what, "twice"))
		write_envelope(ENVELOPE_TRACK, &body);
	wait_for_the_end();
}

static void
deed_untrack(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_string(&body, bennu_topic(socket));
	put_string(&body, "key");
	put_string(&body, "more");
	write_envelope(ENVELOPE_UNTRACK, &body);
	wait_for_the_end();
}

/* Without a socket for the answer. */
static void
deed_presences(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_string(&body, bennu_topic(socket));
	put_optional(&body, NULL);
	write_envelope(ENVELOPE_PRESENCES, &body);
	wait_for_the_end();
}

/* "n" questions, with what is no socket; nobody waits for the answers. */
static void
deed_ask_much(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };
	int fds[2];

	if (pipe(fds) == -1)
		abort();
	put_string(&body, bennu_topic(socket));
	put_optional(&body, NULL);
	fcntl(MAILBOX, F_SETFL, 0);
	for (double n = member_number(what, "n", 1); n > 0; n--) {
		send_descriptors(ENVELOPE_PRESENCES | WITH_FD,
		    (uint32_t)body.size, &fds[1], 1);
		write_all(body.data, body.size);
	}
	close(fds[0]);
	close(fds[1]);
}

/* ---- tokens ---- */

static void
ask_for_token(enum envelope_type type, const struct bytes *body, int fd)
{
	send_descriptors(
	    (uint32_t)type | WITH_FD, (uint32_t)body->size, &fd, 1);
	write_all(body->data, body->size);
}

/* Without a socket for the answer. */
static void
deed_sign(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_string(&body, "salt");
	put_string(&body, "{}");
	write_envelope(ENVELOPE_SIGN, &body);
	wait_for_the_end();
}

/* Its age is missing. */
static void
deed_verify(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_string(&body, "salt");
	put_string(&body, "token");
	fcntl(MAILBOX, F_SETFL, 0);
	ask_for_token(ENVELOPE_VERIFY, &body, STDERR_FILENO);
	wait_for_the_end();
}

/* "n" of each: what is no JSON, over what is no socket; answers that nobody
 * reads, and that nobody can read any more. */
static void
deed_sign_much(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes bad = { 0 }, good = { 0 };
	int pipes[2], open[2], closed[2];

	if (pipe(pipes) == -1 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, open) == -1 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, closed) == -1)
		abort();
	close(closed[0]);
	put_string(&bad, "salt");
	put_string(&bad, "{");
	put_string(&good, "salt");
	put_string(&good, "{}");
	fcntl(MAILBOX, F_SETFL, 0);
	for (double n = member_number(what, "n", 1); n > 0; n--) {
		ask_for_token(ENVELOPE_SIGN, &bad, pipes[1]);
		ask_for_token(ENVELOPE_SIGN, &bad, open[1]);
		ask_for_token(ENVELOPE_SIGN, &good, open[1]);
		ask_for_token(ENVELOPE_SIGN, &good, closed[1]);
	}
	for (size_t i = 0; i < 2; i++) {
		close(pipes[i]);
		close(open[i]);
	}
	close(closed[1]);
}

/* Presences without an end. */
static void
deed_track_flood(struct bennu_socket *socket, const cJSON *what)
{
	char key[16];

	for (unsigned i = 0;; i++) {
		struct bytes body = { 0 };

		snprintf(key, sizeof key, "%u", i);
		put_string(&body, "flood");
		put_string(&body, key);
		put_string(&body, "0123456789abcdef");
		put_optional(&body, NULL);
		put_string(&body, "{}");
		write_envelope(ENVELOPE_TRACK, &body);
	}
}

/* ---- the mailbox itself ---- */

static void
deed_close(struct bennu_socket *socket, const cJSON *what)
{
	close(MAILBOX);
	wait_for_the_end();
}

static void
deed_shutdown(struct bennu_socket *socket, const cJSON *what)
{
	shutdown(MAILBOX, SHUT_WR);
	wait_for_the_end();
}

/* Pushes without an end. */
static void
deed_flood(struct bennu_socket *socket, const cJSON *what)
{
	struct bytes body = { 0 };

	put_string(&body, "flood");
	put_u32(&body, BENNU_JSON);
	put_string(&body, "{}");
	for (;;)
		write_envelope(ENVELOPE_PUSH, &body);
}

/* ---- others ---- */

/* Its child holds the mailbox, and all the rest, beyond its own death. */
static void
deed_fork(struct bennu_socket *socket, const cJSON *what)
{
	pid_t pid = fork();

	if (pid == 0)
		wait_for_the_end();
	bennu_push(
	    socket, "forked", bennu_format(socket, "{\"pid\":%d}", (int)pid));
}

static void
deed_kill_parent(struct bennu_socket *socket, const cJSON *what)
{
	kill(getppid(), (int)member_number(what, "signal", SIGKILL));
	wait_for_the_end();
}

/* Its transport and all its siblings. */
static void
deed_kill_group(struct bennu_socket *socket, const cJSON *what)
{
	kill(0, SIGKILL);
}

static void
deed_write_everywhere(struct bennu_socket *socket, const cJSON *what)
{
	char garbage[256];
	int n = 0;

	memset(garbage, 'Z', sizeof garbage);
	for (int fd = 0; fd < 65536; fd++)
		if (fcntl(fd, F_GETFD) != -1 &&
		    write(fd, garbage, sizeof garbage) != -1)
			n++;
	wait_for_the_end();
}

static void
deed_close_everything(struct bennu_socket *socket, const cJSON *what)
{
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	wait_for_the_end();
}

const struct deed hostile_deeds[] = {
	{ "garbage", deed_garbage },
	{ "wrong_type", deed_wrong_type },
	{ "too_large", deed_too_large },
	{ "truncated", deed_truncated },
	{ "bad_field", deed_bad_field },
	{ "extra_bytes", deed_extra_bytes },
	{ "bad_broadcast", deed_bad_broadcast },
	{ "joined_again", deed_joined_again },
	{ "done_twice", deed_done_twice },
	{ "reply_to_nothing", deed_reply_to_nothing },
	{ "sleep_without_wake", deed_sleep_without_wake },
	{ "forget_nothing", deed_forget_nothing },
	{ "from_transport", deed_from_transport },
	{ "bad_stop", deed_bad_stop },
	{ "stop_and_stay", deed_stop_and_stay },
	{ "no_memfd", deed_no_memfd },
	{ "unsealed_memfd", deed_unsealed_memfd },
	{ "short_memfd", deed_short_memfd },
	{ "pipe_as_memfd", deed_pipe_as_memfd },
	{ "descriptors", deed_descriptors },
	{ "track", deed_track },
	{ "untrack", deed_untrack },
	{ "presences", deed_presences },
	{ "ask_much", deed_ask_much },
	{ "sign", deed_sign },
	{ "verify", deed_verify },
	{ "sign_much", deed_sign_much },
	{ "track_flood", deed_track_flood },
	{ "close", deed_close },
	{ "shutdown", deed_shutdown },
	{ "flood", deed_flood },
	{ "fork", deed_fork },
	{ "kill_parent", deed_kill_parent },
	{ "kill_group", deed_kill_group },
	{ "write_everywhere", deed_write_everywhere },
	{ "close_everything", deed_close_everything },
	{ NULL, NULL },
};
