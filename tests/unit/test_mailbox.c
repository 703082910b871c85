/*
 * mailbox.c: envelopes arrive whole, in order and once, however their bytes
 * come; what a process gone wild may send ends the mailbox and nothing else.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mailbox.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

#define IN_MEMFD   0x80000000U
#define SEALS      (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define MB         (1024U * 1024)
#define BODIES_MAX 4096

/* What a mailbox told its owner. */
static struct got {
	struct {
		enum envelope_type type;
		size_t size;
		uint32_t sum;
	} bodies[BODIES_MAX];
	size_t n;
	unsigned gone;
	size_t pause_at;       /* pauses itself at the n-th envelope */
	size_t free_at;        /* frees itself then */
	bool free_gone;        /* frees itself when told the end */
	struct mailbox *drain; /* reads another one when it gets something */
} got, got2;

static struct event_base *base;
static int fds[2];
static unsigned fds_before;

static uint32_t
sum_of(const uint8_t *data, size_t size)
{
	uint32_t sum = 2166136261U;

	for (size_t i = 0; i < size; i++)
		sum = (sum ^ data[i]) * 16777619U;
	return sum;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct got *mine = arg;

	if (envelope == NULL) {
		mine->gone++;
		if (mine->free_gone)
			mailbox_free(mailbox);
		return;
	}
	ck_assert_uint_eq(mine->gone, 0);
	ck_assert_uint_lt(mine->n, BODIES_MAX);
	if (mine->drain != NULL)
		mailbox_drain(mine->drain);
	mine->bodies[mine->n].type = envelope->type;
	mine->bodies[mine->n].size = envelope->size;
	mine->bodies[mine->n].sum = sum_of(envelope->data, envelope->size);
	mine->n++;
	if (mine->n == mine->pause_at)
		mailbox_pause(mailbox);
	if (mine->n == mine->free_at)
		mailbox_free(mailbox);
}

static void
set_up(void)
{
	memset(&got, 0, sizeof got);
	memset(&got2, 0, sizeof got2);
	base = event_base_new();
	fds_before = tools_count_fds();
	ck_assert_int_eq(mailbox_pair(fds), 0);
}

/* Nothing is left open by either side. */
static void
tear_down(void)
{
	ck_assert_uint_eq(tools_count_fds(), fds_before);
	event_base_free(base);
}

/* Bytes that differ from body to body and from place to place. */
static uint8_t *
make_body(size_t size)
{
	uint8_t *body = malloc(size + 1);
	uint32_t x = (uint32_t)size + 1;

	for (size_t i = 0; i < size; i++) {
		x = x * 1664525 + 1013904223;
		body[i] = (uint8_t)(x >> 24);
	}
	return body;
}

static void
send_body(struct mailbox *mailbox, enum envelope_type type, size_t size)
{
	struct envelope_writer writer = { 0 };
	uint8_t *body = make_body(size);

	envelope_put_raw(&writer, body, size);
	mailbox_send(mailbox, type, &writer);
	ck_assert_ptr_null(writer.data); /* it was taken */
	free(body);
}

static void
assert_body(
    const struct got *mine, size_t i, enum envelope_type type, size_t size)
{
	uint8_t *body = make_body(size);

	ck_assert_uint_lt(i, mine->n);
	ck_assert_int_eq(mine->bodies[i].type, type);
	ck_assert_uint_eq(mine->bodies[i].size, size);
	ck_assert_uint_eq(mine->bodies[i].sum, sum_of(body, size));
	free(body);
}

static struct mailbox *
attached(int fd, struct got *mine)
{
	struct mailbox *mailbox = mailbox_new(fd, on_envelope, mine);

	mailbox_attach(mailbox, base);
	return mailbox;
}

/* poll(2) and mailbox_read, as a channel does it. */
static void
read_until(struct mailbox *mailbox, const struct got *mine, size_t n)
{
	struct pollfd pollfd = {
		.fd = mailbox_fd(mailbox),
		.events = POLLIN,
	};

	while (mine->n < n && mine->gone == 0) {
		ck_assert_int_eq(poll(&pollfd, 1, TOOLS_DEADLINE), 1);
		mailbox_read(mailbox);
	}
	ck_assert_uint_eq(mine->n, n);
}

/* ---- what works ---- */

static const size_t sizes[] = { 0, 1, 7, 8, 255, 4096, 65535, 65536, 65537,
	5 * MB, 0, 100, 200000, 3 };
#define NSIZES (sizeof sizes / sizeof sizes[0])

START_TEST(all_sizes_attached)
{
	struct mailbox *a, *b;

	set_up();
	a = attached(fds[0], &got);
	b = attached(fds[1], &got2);
	for (size_t i = 0; i < NSIZES; i++)
		send_body(a, ENVELOPE_PUSH, sizes[i]);
	UNTIL(base, got2.n == NSIZES);
	for (size_t i = 0; i < NSIZES; i++)
		assert_body(&got2, i, ENVELOPE_PUSH, sizes[i]);
	ck_assert_uint_eq(mailbox_backlog(a), 0);
	ck_assert_uint_eq(got.n + got.gone, 0);
	mailbox_free(a);
	UNTIL(base, got2.gone == 1);
	ck_assert_str_eq(mailbox_error(b), "end of file");
	mailbox_free(b);
	tear_down();
}
END_TEST

START_TEST(all_sizes_unattached)
{
	struct mailbox *a, *b;

	set_up();
	a = mailbox_new(fds[0], on_envelope, &got);
	b = mailbox_new(fds[1], on_envelope, &got2);
	for (size_t i = 0; i < NSIZES; i++) {
		send_body(a, ENVELOPE_REPLY, sizes[i]);
		ck_assert_uint_eq(mailbox_backlog(a), sizes[i] + ENVELOPE_HEAD);
		ck_assert(mailbox_flush(a));
		read_until(b, &got2, i + 1);
		assert_body(&got2, i, ENVELOPE_REPLY, sizes[i]);
		ck_assert_uint_eq(mailbox_backlog(a), 0);
	}
	mailbox_free(b);
	mailbox_send(a, ENVELOPE_DONE, NULL);
	ck_assert(!mailbox_flush(a));
	mailbox_free(a);
	tear_down();
}
END_TEST

START_TEST(both_ways_at_once)
{
	struct mailbox *a, *b;

	set_up();
	a = attached(fds[0], &got);
	b = attached(fds[1], &got2);
	for (size_t i = 0; i < 1000; i++) {
		send_body(a, ENVELOPE_IN, i * 17 % 3000);
		send_body(b, ENVELOPE_PUSH, i * 13 % 3000);
	}
	UNTIL(base, got.n == 1000 && got2.n == 1000);
	for (size_t i = 0; i < 1000; i++) {
		assert_body(&got2, i, ENVELOPE_IN, i * 17 % 3000);
		assert_body(&got, i, ENVELOPE_PUSH, i * 13 % 3000);
	}
	mailbox_free(a);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* No type and no body are lost that the other end has sent before it went. */
START_TEST(last_words_are_read)
{
	struct mailbox *a, *b;

	set_up();
	a = mailbox_new(fds[0], on_envelope, &got);
	send_body(a, ENVELOPE_PUSH, 100000);
	mailbox_send(a, ENVELOPE_DONE, NULL);
	send_body(a, ENVELOPE_STOP, 12);
	ck_assert(mailbox_flush(a));
	mailbox_free(a);
	b = attached(fds[1], &got2);
	UNTIL(base, got2.gone == 1);
	ck_assert_uint_eq(got2.n, 3);
	assert_body(&got2, 0, ENVELOPE_PUSH, 100000);
	assert_body(&got2, 1, ENVELOPE_DONE, 0);
	assert_body(&got2, 2, ENVELOPE_STOP, 12);
	/* Told once, and nothing is sent any more. */
	tools_settle(base);
	mailbox_send(b, ENVELOPE_IN, NULL);
	mailbox_drain(b);
	mailbox_read(b);
	ck_assert_uint_eq(got2.gone, 1);
	ck_assert_uint_eq(mailbox_backlog(b), 0);
	mailbox_free(b);
	mailbox_free(NULL);
	tear_down();
}
END_TEST

/* Who has shut its reading is told the end, and may say its last words. */
START_TEST(last_words_after_the_end)
{
	struct mailbox *a, *b;

	set_up();
	a = attached(fds[0], &got);
	b = mailbox_new(fds[1], on_envelope, &got2);
	ck_assert_int_eq(shutdown(fds[1], SHUT_RD), 0);
	mailbox_read(b);
	ck_assert_uint_eq(got2.gone, 1);
	send_body(b, ENVELOPE_STOP, 100);
	send_body(b, ENVELOPE_PUSH, 100000);
	ck_assert(mailbox_flush(b));
	mailbox_free(b);
	UNTIL(base, got.gone == 1);
	ck_assert_uint_eq(got.n, 2);
	assert_body(&got, 0, ENVELOPE_STOP, 100);
	assert_body(&got, 1, ENVELOPE_PUSH, 100000);
	mailbox_free(a);
	tear_down();
}
END_TEST

/* ---- how bytes come: the test writes to a raw end ---- */

static void
write_all(const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		ssize_t n = send(fds[0], at, size, MSG_NOSIGNAL);

		ck_assert_int_gt(n, 0);
		at += n;
		size -= (size_t)n;
	}
}

/* Bytes with a descriptor (-1: none). */
static void
write_fds(const void *data, size_t size, int fd, size_t n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 32)];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)data, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (n > 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n);
		for (size_t i = 0; i < n; i++)
			memcpy(CMSG_DATA(cmsg) + i * sizeof fd, &fd, sizeof fd);
	}
	ck_assert_int_eq(sendmsg(fds[0], &msg, MSG_NOSIGNAL), (ssize_t)size);
}

static void
write_head(uint32_t type, uint32_t size)
{
	uint32_t head[2] = { type, size };

	write_all(head, sizeof head);
}

static int
make_memfd(size_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t *body = make_body(size);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(write(fd, body, size), (ssize_t)size);
	if (seals != 0)
		ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	free(body);
	return fd;
}

static void
write_memfd(uint32_t type, uint32_t size, int fd)
{
	uint32_t head[2] = { type | IN_MEMFD, size };

	write_fds(head, sizeof head, fd, 1);
	close(fd);
}

/* One byte, one turn: three inline envelopes and one in a memfd. */
START_TEST(one_byte_at_a_time)
{
	uint8_t *body = make_body(300), bytes[8 + 300 + 8 + 8 + 8];
	uint32_t heads[][2] = { { ENVELOPE_PUSH, 300 }, { ENVELOPE_DONE, 0 },
		{ ENVELOPE_REPLY | IN_MEMFD, 70000 }, { ENVELOPE_SLEEP, 0 } };
	int fd = make_memfd(70000, SEALS);
	struct mailbox *b;

	set_up();
	fds_before--; /* of the memfd */
	b = attached(fds[1], &got2);
	memcpy(bytes, heads[0], 8);
	memcpy(bytes + 8, body, 300);
	memcpy(bytes + 308, heads[1], 24);
	for (size_t i = 0; i < sizeof bytes; i++) {
		write_fds(bytes + i, 1, fd, i == 316);
		tools_settle(base);
		ck_assert_uint_eq(
		    got2.n, (i >= 307) + (i >= 315) + (i >= 323) + (i >= 331));
	}
	assert_body(&got2, 0, ENVELOPE_PUSH, 300);
	assert_body(&got2, 1, ENVELOPE_DONE, 0);
	assert_body(&got2, 2, ENVELOPE_REPLY, 70000);
	assert_body(&got2, 3, ENVELOPE_SLEEP, 0);
	ck_assert_uint_eq(got2.gone, 0);
	close(fd);
	close(fds[0]);
	mailbox_free(b);
	free(body);
	tear_down();
}
END_TEST

/* An inline body of the largest size, in pieces of odd sizes. */
START_TEST(pieces)
{
	uint8_t *body = make_body(MAILBOX_INLINE_MAX);
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	for (size_t turn = 0; turn < 3; turn++) {
		write_head(ENVELOPE_PUSH, MAILBOX_INLINE_MAX);
		for (size_t at = 0; at < MAILBOX_INLINE_MAX; at += 5000) {
			size_t n = MAILBOX_INLINE_MAX - at;

			write_all(body + at, n < 5000 ? n : 5000);
			tools_settle(base);
		}
		ck_assert_uint_eq(got2.n, turn + 1);
		assert_body(&got2, turn, ENVELOPE_PUSH, MAILBOX_INLINE_MAX);
	}
	free(body);
	close(fds[0]);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* ---- nonsense ---- */

static void
assert_ends(struct mailbox *mailbox, const char *error)
{
	UNTIL(base, got2.gone == 1);
	ck_assert_str_eq(mailbox_error(mailbox), error);
	tools_settle(base);
	ck_assert_uint_eq(got2.gone, 1);
	close(fds[0]);
	mailbox_free(mailbox);
	tear_down();
}

static void
check_bad_type(uint32_t type)
{
	struct mailbox *b;
	char error[64];

	set_up();
	b = attached(fds[1], &got2);
	write_head(ENVELOPE_DONE, 0); /* what was good is told first */
	write_head(type, 0);
	write_head(ENVELOPE_DONE, 0);
	snprintf(error, sizeof error, "bad envelope type %u", type);
	UNTIL(base, got2.gone == 1);
	ck_assert_uint_eq(got2.n, 1);
	assert_ends(b, error);
}

START_TEST(bad_type)
{
	check_bad_type(0);
	check_bad_type(99);
	check_bad_type(99999);
	check_bad_type(0x20000001);
	check_bad_type(0x3fffffff);
}
END_TEST

/* A descriptor is announced, and does not come. */
START_TEST(no_descriptor)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	write_head(0x40000000 | ENVELOPE_DONE, 0);
	assert_ends(b, "no descriptor with its envelope");
}
END_TEST

/* One goes with its envelope, among others; who does not take it has none. */
static int took[2];

static void
take(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	unsigned *n = arg;

	ck_assert_ptr_nonnull(envelope);
	if (envelope->type == ENVELOPE_DONE)
		ck_assert_int_eq(mailbox_take_fd(mailbox), -1);
	else if (*n < 2) {
		took[*n] = mailbox_take_fd(mailbox);
		ck_assert_int_ne(took[*n], -1);
		ck_assert_int_eq(mailbox_take_fd(mailbox), -1);
	}
	++*n;
}

START_TEST(descriptors)
{
	struct mailbox *a, *b;
	struct stat one, other;
	unsigned n = 0;
	int null;

	set_up();
	a = attached(fds[0], &got2);
	b = mailbox_new(fds[1], take, &n);
	mailbox_attach(b, base);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fstat(null, &one), 0);
	mailbox_send_fd(a, ENVELOPE_PUSH, NULL, dup(null));
	mailbox_send_fd(a, ENVELOPE_PUSH, NULL, dup(null));
	mailbox_send(a, ENVELOPE_DONE, NULL);
	mailbox_send_fd(a, ENVELOPE_REPLY, NULL, null);
	UNTIL(base, n == 4);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(fstat(took[i], &other), 0);
		ck_assert_uint_eq(one.st_rdev, other.st_rdev);
		close(took[i]);
	}
	/* Nobody has the other one any more. */
	ck_assert_int_eq(fcntl(null, F_GETFD), -1);
	mailbox_free(a);
	mailbox_free(b);
	tear_down();
}
END_TEST

START_TEST(too_large_inline)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	write_head(ENVELOPE_PUSH, MAILBOX_INLINE_MAX + 1);
	assert_ends(b, "envelope of 65537 bytes");
}
END_TEST

START_TEST(too_large_in_memfd)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	write_head(ENVELOPE_PUSH | IN_MEMFD, ENVELOPE_MAX + 1);
	assert_ends(b, "envelope of 67108865 bytes");
}
END_TEST

START_TEST(no_memfd)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	write_head(ENVELOPE_PUSH | IN_MEMFD, 70000);
	assert_ends(b, "no memfd with its envelope");
}
END_TEST

static void
check_bad_memfd(int fd)
{
	struct mailbox *b;

	ck_assert_int_ne(fd, -1);
	set_up();
	fds_before--; /* of fd */
	b = attached(fds[1], &got2);
	write_memfd(ENVELOPE_PUSH, 70000, fd);
	UNTIL(base, got2.gone == 1);
	ck_assert_uint_eq(got2.n, 0);
	assert_ends(b, "bad memfd");
}

/* A file on a disk has no seals at all. */
static int
make_file(off_t size)
{
	FILE *file = tmpfile();
	int fd;

	ck_assert_ptr_nonnull(file);
	fd = dup(fileno(file));
	fclose(file);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	return fd;
}

/* Seals that miss, sizes that differ, things that are no memfd. */
START_TEST(bad_memfd)
{
	check_bad_memfd(make_memfd(70000, 0));
	check_bad_memfd(make_memfd(70000, F_SEAL_SHRINK | F_SEAL_GROW));
	check_bad_memfd(make_memfd(70000, F_SEAL_GROW | F_SEAL_WRITE));
	check_bad_memfd(make_memfd(70000, F_SEAL_SHRINK | F_SEAL_WRITE));
	check_bad_memfd(make_memfd(69999, SEALS));
	check_bad_memfd(make_memfd(70001, SEALS));
	check_bad_memfd(make_file(70000));
	check_bad_memfd(open("/dev/zero", O_RDONLY));
	check_bad_memfd(open("/", O_PATH));
}
END_TEST

START_TEST(empty_memfd)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	write_memfd(ENVELOPE_PUSH, 0, make_memfd(0, SEALS));
	assert_ends(b, "mmap: Invalid argument");
}
END_TEST

/* Descriptors that no envelope asks for do not pile up. */
START_TEST(too_many_descriptors)
{
	struct mailbox *b;
	uint32_t head[2] = { ENVELOPE_DONE, 0 };

	set_up();
	b = attached(fds[1], &got2);
	for (int i = 0; i < 9; i++) {
		write_fds(head, sizeof head, STDERR_FILENO, 1);
		tools_settle(base);
		ck_assert_uint_le(tools_count_fds(), fds_before + 2 + 8);
	}
	assert_ends(b, "too many descriptors");
}
END_TEST

START_TEST(descriptors_that_do_not_fit)
{
	struct mailbox *b;
	uint32_t head[2] = { ENVELOPE_DONE, 0 };

	set_up();
	b = attached(fds[1], &got2);
	write_fds(head, sizeof head, STDERR_FILENO, 20);
	assert_ends(b, "descriptors did not fit");
}
END_TEST

/* None more can be opened, or as many as before. */
static void
fill_table(bool full)
{
	struct rlimit limit;
	int lowest = dup(STDERR_FILENO);

	close(lowest);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = full ? (rlim_t)lowest : limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void
take_lost(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	unsigned *n = arg;

	ck_assert_ptr_nonnull(envelope);
	ck_assert(
	    mailbox_lost_fd(mailbox) == (envelope->type == ENVELOPE_PUSH));
	ck_assert_int_eq(mailbox_take_fd(mailbox), -1);
	++*n;
}

/* Its envelope comes, and what follows: others may have their own. */
START_TEST(a_descriptor_that_finds_no_room)
{
	struct mailbox *a, *b;
	unsigned n = 0;

	set_up();
	a = mailbox_new(fds[0], on_envelope, &got);
	b = mailbox_new(fds[1], take_lost, &n);
	for (int i = 0; i < 3; i++) {
		mailbox_send(a, ENVELOPE_DONE, NULL);
		mailbox_send_fd(a, ENVELOPE_PUSH, NULL, dup(STDERR_FILENO));
		ck_assert(mailbox_flush(a));
	}
	fill_table(true);
	mailbox_drain(b);
	fill_table(false);
	ck_assert_uint_eq(n, 6);
	mailbox_free(a);
	mailbox_free(b);
	tear_down();
}
END_TEST

START_TEST(a_memfd_that_finds_no_room)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	write_memfd(ENVELOPE_PUSH, 70000, make_memfd(70000, SEALS));
	fill_table(true);
	UNTIL(base, got2.gone == 1);
	fill_table(false);
	assert_ends(b, "no room for a memfd");
}
END_TEST

START_TEST(end_of_file_within_an_envelope)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	write_head(ENVELOPE_PUSH, 100);
	write_all("abc", 3);
	tools_settle(base);
	close(fds[0]);
	UNTIL(base, got2.gone == 1);
	ck_assert_uint_eq(got2.n, 0);
	ck_assert_str_eq(mailbox_error(b), "end of file");
	mailbox_free(b);
	tear_down();
}
END_TEST

/* A reset instead of an end: the peer closed without reading. */
START_TEST(peer_closes_with_data_unread)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	for (int i = 0; i < 10; i++)
		send_body(b, ENVELOPE_IN, 1000);
	write_head(ENVELOPE_DONE, 0);
	close(fds[0]);
	UNTIL(base, got2.gone == 1);
	ck_assert_str_ne(mailbox_error(b), "");
	send_body(b, ENVELOPE_IN, 1000);
	ck_assert_uint_eq(mailbox_backlog(b), 0);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* ---- flow control ---- */

START_TEST(pause_and_resume)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	got2.pause_at = 2;
	for (int i = 0; i < 5; i++)
		write_head(ENVELOPE_DONE, 0);
	UNTIL(base, got2.n == 2);
	write_head(ENVELOPE_SLEEP, 0);
	tools_settle(base);
	ck_assert_uint_eq(got2.n, 2);

	mailbox_resume(b);
	ck_assert_uint_eq(got2.n, 2); /* from the loop, not from the call */
	UNTIL(base, got2.n == 6);
	assert_body(&got2, 5, ENVELOPE_SLEEP, 0);

	mailbox_pause(b);
	mailbox_pause(b);
	close(fds[0]);
	tools_settle(base);
	ck_assert_uint_eq(got2.gone, 0);
	mailbox_resume(b);
	mailbox_resume(b);
	UNTIL(base, got2.gone == 1);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* Paused at every envelope: what was read and not told comes with resume. */
START_TEST(pause_at_each)
{
	struct mailbox *b;
	uint8_t *body = make_body(500);

	set_up();
	b = attached(fds[1], &got2);
	for (int i = 0; i < 40; i++) {
		write_head(ENVELOPE_PUSH, 500);
		write_all(body, 500);
	}
	for (size_t i = 1; i <= 40; i++) {
		got2.pause_at = i;
		UNTIL(base, got2.n == i);
		tools_settle(base);
		ck_assert_uint_eq(got2.n, i);
		assert_body(&got2, i - 1, ENVELOPE_PUSH, 500);
		mailbox_resume(b);
	}
	free(body);
	close(fds[0]);
	mailbox_free(b);
	tear_down();
}
END_TEST

START_TEST(attached_while_paused)
{
	struct mailbox *b;

	set_up();
	b = mailbox_new(fds[1], on_envelope, &got2);
	mailbox_pause(b);
	mailbox_attach(b, base);
	write_head(ENVELOPE_DONE, 0);
	tools_settle(base);
	ck_assert_uint_eq(got2.n, 0);
	mailbox_resume(b);
	UNTIL(base, got2.n == 1);
	close(fds[0]);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* Nonsense that was read before the pause is told after it. */
START_TEST(error_while_paused)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	got2.pause_at = 1;
	write_head(ENVELOPE_DONE, 0);
	write_head(7777, 0);
	UNTIL(base, got2.n == 1);
	tools_settle(base);
	ck_assert_uint_eq(got2.gone, 0);
	mailbox_resume(b);
	assert_ends(b, "bad envelope type 7777");
}
END_TEST

/* The last words of a dead process, though the mailbox was paused. */
START_TEST(drain)
{
	struct mailbox *b;
	uint8_t *body = make_body(60000);

	set_up();
	b = attached(fds[1], &got2);
	got2.pause_at = 1;
	write_head(ENVELOPE_WAKE, 0);
	write_head(ENVELOPE_SLEEP, 0);
	UNTIL(base, got2.n == 1);
	for (int i = 0; i < 2; i++) {
		write_head(ENVELOPE_PUSH, 60000);
		write_all(body, 60000);
	}
	write_memfd(ENVELOPE_REPLY, 70000, make_memfd(70000, SEALS));
	write_head(ENVELOPE_STOP, 0);
	close(fds[0]);
	ck_assert_uint_eq(got2.n, 1);
	mailbox_drain(b);
	ck_assert_uint_eq(got2.gone, 1);
	ck_assert_uint_eq(got2.n, 6);
	assert_body(&got2, 1, ENVELOPE_SLEEP, 0);
	assert_body(&got2, 3, ENVELOPE_PUSH, 60000);
	assert_body(&got2, 4, ENVELOPE_REPLY, 70000);
	assert_body(&got2, 5, ENVELOPE_STOP, 0);
	free(body);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* A callback that pauses within a drain holds nothing back. */
START_TEST(pause_within_a_drain)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	got2.pause_at = 2;
	for (int i = 0; i < 5; i++)
		write_head(ENVELOPE_DONE, 0);
	close(fds[0]);
	mailbox_drain(b);
	ck_assert_uint_eq(got2.n, 5);
	ck_assert_uint_eq(got2.gone, 1);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* Its peer lives on: what is there is read, and the loop goes on. */
START_TEST(drain_without_an_end)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	mailbox_drain(b);
	ck_assert_uint_eq(got2.n + got2.gone, 0);
	write_head(ENVELOPE_DONE, 0);
	mailbox_drain(b);
	ck_assert_uint_eq(got2.n, 1);
	ck_assert_uint_eq(got2.gone, 0);
	write_head(ENVELOPE_DONE, 0);
	UNTIL(base, got2.n == 2);
	close(fds[0]);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* One mailbox is drained while another tells its envelopes. */
START_TEST(drain_inside_the_callback_of_another)
{
	struct mailbox *b, *other;
	uint8_t *body = make_body(3000);
	int pair[2];

	set_up();
	ck_assert_int_eq(mailbox_pair(pair), 0);
	b = attached(fds[1], &got2);
	other = mailbox_new(pair[1], on_envelope, &got);
	got2.drain = other;
	for (int i = 0; i < 5; i++) {
		write_head(ENVELOPE_PUSH, 3000);
		write_all(body, 3000);
	}
	memset(body, 0, 3000);
	ck_assert_int_eq(
	    write(pair[0], (uint32_t[2]){ ENVELOPE_REPLY, 3000 }, 8), 8);
	ck_assert_int_eq(write(pair[0], body, 3000), 3000);
	close(pair[0]);
	UNTIL(base, got2.n == 5);
	for (size_t i = 0; i < 5; i++)
		assert_body(&got2, i, ENVELOPE_PUSH, 3000);
	ck_assert_uint_eq(got.n, 1);
	ck_assert_uint_eq(got.bodies[0].sum, sum_of(body, 3000));
	ck_assert_uint_eq(got.gone, 1);
	free(body);
	close(fds[0]);
	mailbox_free(b);
	mailbox_free(other);
	tear_down();
}
END_TEST

/* ---- freeing inside the callback ---- */

static void
check_free_at(size_t free_at, bool in_memfd)
{
	set_up();
	attached(fds[1], &got2);
	got2.free_at = free_at;
	for (int i = 0; i < 5; i++) {
		if (in_memfd)
			write_memfd(
			    ENVELOPE_PUSH, 70000, make_memfd(70000, SEALS));
		else
			write_head(ENVELOPE_DONE, 0);
	}
	write_head(7777, 0);
	UNTIL(base, got2.n == free_at);
	tools_settle(base);
	ck_assert_uint_eq(got2.n, free_at);
	ck_assert_uint_eq(got2.gone, 0);
	close(fds[0]);
	tear_down();
}

START_TEST(free_inside_the_callback)
{
	for (size_t i = 1; i <= 5; i++) {
		check_free_at(i, false);
		check_free_at(i, true);
	}
}
END_TEST

START_TEST(free_when_told_the_end)
{
	struct mailbox *b;

	set_up();
	got2.free_gone = true;
	b = attached(fds[1], &got2);
	send_body(b, ENVELOPE_IN, 10 * MB);
	close(fds[0]);
	UNTIL(base, got2.gone == 1);
	tools_settle(base);
	ck_assert_uint_eq(got2.gone, 1);
	tear_down();
}
END_TEST

START_TEST(free_with_all_things_waiting)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	for (int i = 0; i < 300; i++)
		send_body(b, ENVELOPE_IN, 4000);
	got2.pause_at = 1;
	write_head(ENVELOPE_DONE, 0);
	write_memfd(ENVELOPE_PUSH, 70000, make_memfd(70000, SEALS));
	UNTIL(base, got2.n == 1);
	ck_assert_uint_gt(mailbox_backlog(b), 0);
	mailbox_free(b);
	close(fds[0]);
	tear_down();
}
END_TEST

/* ---- a peer that does not read ---- */

START_TEST(backlog)
{
	struct mailbox *a, *b;
	size_t sent = 0, n = 0, last;

	set_up();
	a = attached(fds[0], &got);
	while (mailbox_backlog(a) < MB) {
		send_body(a, ENVELOPE_IN, 5000);
		sent += 5000 + ENVELOPE_HEAD;
		n++;
		ck_assert_uint_le(mailbox_backlog(a), sent);
		ck_assert_uint_lt(n, BODIES_MAX - 10);
	}
	/* Large ones wait in memory, not as descriptors. */
	for (int i = 0; i < 3; i++)
		send_body(a, ENVELOPE_PUSH, MB);
	ck_assert_uint_eq(tools_count_fds(), fds_before + 2);
	send_body(a, ENVELOPE_DONE, 0);
	tools_settle(base);
	last = mailbox_backlog(a);
	ck_assert_uint_ge(last, 4 * MB);

	b = attached(fds[1], &got2);
	UNTIL(base, mailbox_backlog(a) < last);
	UNTIL(base, got2.n == n + 4);
	ck_assert_uint_eq(mailbox_backlog(a), 0);
	for (size_t i = 0; i < n; i++)
		assert_body(&got2, i, ENVELOPE_IN, 5000);
	for (size_t i = n; i < n + 3; i++)
		assert_body(&got2, i, ENVELOPE_PUSH, MB);
	assert_body(&got2, n + 3, ENVELOPE_DONE, 0);
	mailbox_free(a);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* Its own reading does not depend on its writing. */
START_TEST(reads_while_its_writes_wait)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got2);
	while (mailbox_backlog(b) < MB)
		send_body(b, ENVELOPE_IN, 5000);
	for (int i = 0; i < 10; i++)
		write_head(ENVELOPE_DONE, 0);
	UNTIL(base, got2.n == 10);
	ck_assert_uint_ge(mailbox_backlog(b), MB);
	close(fds[0]);
	UNTIL(base, got2.gone == 1);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* ---- a place to connect to ---- */

START_TEST(connect_to_a_path)
{
	char directory[64];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char longer[sizeof address.sun_path + 1];
	int listener, fd, flags;

	set_up();
	tools_make_directory(directory, sizeof directory);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
	ck_assert_int_eq(mailbox_connect(address.sun_path), -1);
	ck_assert_int_eq(errno, ENOENT);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(
	    bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(mailbox_connect(address.sun_path), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
	ck_assert_int_eq(listen(listener, 0), 0);
	fd = mailbox_connect(address.sun_path);
	ck_assert_int_ne(fd, -1);
	flags = fcntl(fd, F_GETFL);
	ck_assert_int_ne(flags & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	/* Nobody accepts: a full backlog is no reason to wait. */
	ck_assert_int_eq(mailbox_connect(address.sun_path), -1);
	ck_assert_int_eq(errno, EAGAIN);
	close(fd);
	close(listener);
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	ck_assert_int_eq(mailbox_connect(longer), -1);
	ck_assert_int_eq(errno, ENAMETOOLONG);
	tools_remove_directory(directory);
	close(fds[0]);
	close(fds[1]);
	tear_down();
}
END_TEST

/* ---- one answer ---- */

static void
answer(int fd, size_t size)
{
	struct envelope_writer writer = { 0 };
	uint8_t *body = make_body(size);

	envelope_put_raw(&writer, body, size);
	free(body);
	mailbox_answer(fd, ENVELOPE_TOKEN, &writer);
	ck_assert_ptr_null(writer.data);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}

START_TEST(an_answer_is_the_only_word)
{
	struct mailbox *b;

	set_up();
	b = attached(fds[1], &got);
	answer(fds[0], 1000);
	UNTIL(base, got.gone == 1);
	ck_assert_uint_eq(got.n, 1);
	assert_body(&got, 0, ENVELOPE_TOKEN, 1000);
	mailbox_free(b);
	tear_down();
}
END_TEST

/* Whatever it is, it is closed, and nobody waits for it. */
START_TEST(an_answer_over_anything)
{
	int pipes[2], pair[2];
	char junk[4096] = { 0 };

	set_up();
	answer(open("/dev/null", O_RDWR | O_CLOEXEC), 10);
	ck_assert_int_eq(pipe(pipes), 0);
	answer(pipes[1], 10);
	ck_assert_int_eq(read(pipes[0], junk, 1), 0);
	close(pipes[0]);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	answer(pair[0], 10);
	ck_assert_int_eq(recv(pair[1], junk, 1, MSG_DONTWAIT), -1);
	close(pair[1]);
	/* The other end is gone: no SIGPIPE. */
	close(fds[1]);
	answer(fds[0], 10);
	/* It is full, and would block. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	while (send(pair[0], junk, sizeof junk, MSG_DONTWAIT) > 0)
		continue;
	answer(pair[0], 10);
	answer(pair[1], 100000);
	tear_down();
}
END_TEST

/* Nothing piles up over many messages and many mailboxes. */
START_TEST(no_descriptor_leaks)
{
	set_up();
	close(fds[0]);
	close(fds[1]);
	for (int round = 0; round < 50; round++) {
		struct mailbox *a, *b;

		ck_assert_int_eq(mailbox_pair(fds), 0);
		a = attached(fds[0], &got);
		b = attached(fds[1], &got2);
		got2.n = 0;
		send_body(a, ENVELOPE_PUSH, 100000);
		send_body(a, ENVELOPE_PUSH, 100);
		send_body(a, ENVELOPE_PUSH, 200000);
		if (round % 2 == 0)
			UNTIL(base, got2.n == 3);
		mailbox_free(a);
		mailbox_free(b);
		ck_assert_uint_eq(tools_count_fds(), fds_before);
	}
	tear_down();
}
END_TEST

UNIT_MAIN("mailbox", all_sizes_attached, all_sizes_unattached,
    both_ways_at_once, last_words_are_read, last_words_after_the_end,
    one_byte_at_a_time, pieces, bad_type, no_descriptor, descriptors,
    too_large_inline, too_large_in_memfd, no_memfd, bad_memfd, empty_memfd,
    too_many_descriptors, descriptors_that_do_not_fit,
    a_descriptor_that_finds_no_room, a_memfd_that_finds_no_room,
    end_of_file_within_an_envelope, peer_closes_with_data_unread,
    pause_and_resume, pause_at_each, attached_while_paused, error_while_paused,
    drain, pause_within_a_drain, drain_without_an_end,
    drain_inside_the_callback_of_another, free_inside_the_callback,
    free_when_told_the_end, free_with_all_things_waiting, backlog,
    reads_while_its_writes_wait, connect_to_a_path, an_answer_is_the_only_word,
    an_answer_over_anything, no_descriptor_leaks)
