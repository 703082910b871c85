/*
 * outbox.c: what is added leaves together and in order, files behind the data;
 * a client that takes nothing, or is gone, is told once.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/tools.h"
#include "tests/unit/unit.h"
#include "transport/outbox.h"

static struct event_base *base;
static struct outbox out;
static int fds[2]; /* 0: the outbox's, 1: the client's */
static unsigned ndrained, nprogress, nfailed;
static int error_told;
static bool add_when_drained, clear_in_callback;
static unsigned fds_before;

static void
on_drained(void *arg)
{
	ndrained++;
	ck_assert(outbox_is_empty(&out));
	ck_assert_ptr_eq(arg, &out);
	if (add_when_drained) {
		add_when_drained = false;
		outbox_add(&out, "more", 4);
	}
	if (clear_in_callback)
		outbox_close(&out);
}

static void
on_progress(void *arg)
{
	nprogress++;
	ck_assert(!outbox_is_empty(&out));
	ck_assert_ptr_eq(arg, &out);
}

static void
on_failed(int error, void *arg)
{
	nfailed++;
	error_told = error;
	ck_assert_ptr_eq(arg, &out);
}

static void
set_up(int type, long long timeout)
{
	static const struct outbox_callbacks callbacks = {
		.drained = on_drained,
		.progress = on_progress,
		.failed = on_failed,
	};

	signal(SIGPIPE, SIG_IGN); /* as process_init does */
	ndrained = nprogress = nfailed = 0;
	base = event_base_new();
	fds_before = tools_count_fds();
	ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), 0);
	outbox_init(&out, base, fds[0], timeout, &callbacks, &out);
}

static void
tear_down(void)
{
	outbox_close(&out);
	close(fds[0]);
	if (fds[1] != -1)
		close(fds[1]);
	ck_assert_uint_eq(tools_count_fds(), fds_before);
	event_base_free(base);
}

/* Bytes of which none is at the place of another for long. */
static char
byte_at(size_t i)
{
	return (char)(i * 31 + i / 251 + i / 65536);
}

static void
fill(char *data, size_t from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		data[i] = byte_at(from + i);
}

/* What the client takes at once, checked against the stream. */
static size_t
take(size_t at, size_t max)
{
	static char buf[65536];
	size_t taken = 0, wrong = 0;

	while (taken < max) {
		size_t want = max - taken;
		ssize_t n = read(
		    fds[1], buf, want < sizeof buf ? want : sizeof buf);

		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			wrong += buf[i] != byte_at(at + taken + (size_t)i);
		taken += (size_t)n;
	}
	ck_assert_uint_eq(wrong, 0);
	return taken;
}

static int
file_with(size_t from, size_t size)
{
	char *data = malloc(size + 1);
	int fd = memfd_create("file", MFD_CLOEXEC);

	fill(data, from, size);
	ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	free(data);
	return fd;
}

/* The socket keeps writes apart: one read is one write. */
START_TEST(one_write_for_a_turn)
{
	char buf[64];

	set_up(SOCK_SEQPACKET, 20000);
	outbox_add(&out, "one", 3);
	outbox_add(&out, "", 0);
	outbox_add(&out, "two", 3);
	outbox_add(&out, "three", 5);
	ck_assert_uint_eq(outbox_backlog(&out), 11);
	ck_assert(!outbox_is_empty(&out));
	/* Nothing is written before the loop turns. */
	ck_assert_int_eq(read(fds[1], buf, sizeof buf), -1);
	UNTIL(base, ndrained == 1);
	ck_assert_int_eq(read(fds[1], buf, sizeof buf), 11);
	ck_assert_mem_eq(buf, "onetwothree", 11);
	ck_assert_int_eq(read(fds[1], buf, sizeof buf), -1);
	ck_assert_uint_eq(outbox_backlog(&out), 0);
	ck_assert(outbox_is_empty(&out));
	tools_settle(base);
	ck_assert_uint_eq(ndrained, 1);
	ck_assert_uint_eq(nprogress + nfailed, 0);
	tear_down();
}
END_TEST

START_TEST(nothing_added)
{
	set_up(SOCK_STREAM, 20000);
	ck_assert(outbox_is_empty(&out));
	outbox_add(&out, "", 0);
	tools_settle(base);
	ck_assert_uint_eq(ndrained + nprogress + nfailed, 0);
	tear_down();
}
END_TEST

START_TEST(added_when_drained)
{
	char buf[64];

	set_up(SOCK_STREAM, 20000);
	add_when_drained = true;
	outbox_add(&out, "some", 4);
	UNTIL(base, ndrained == 2);
	ck_assert_int_eq(read(fds[1], buf, sizeof buf), 8);
	ck_assert_mem_eq(buf, "somemore", 8);
	tear_down();
}
END_TEST

/* Far more than the socket takes, added while some of it leaves. */
START_TEST(partial_writes)
{
	const size_t all = 3000000;
	size_t added = 0, taken = 0;
	char data[9973];

	set_up(SOCK_STREAM, 20000);
	while (taken < all) {
		for (int i = 0; i < 10 && added < all; i++) {
			size_t n = all - added;

			n = n < sizeof data ? n : sizeof data;
			fill(data, added, n);
			outbox_add(&out, data, n);
			added += n;
		}
		event_base_loop(base, EVLOOP_NONBLOCK);
		ck_assert_uint_le(outbox_backlog(&out), added - taken);
		taken += take(taken, 50000);
	}
	UNTIL(base, outbox_is_empty(&out));
	ck_assert_uint_eq(nfailed, 0);
	ck_assert_uint_gt(ndrained + nprogress, 0);
	ck_assert_int_eq(read(fds[1], data, 1), -1);
	tear_down();
}
END_TEST

START_TEST(progress_is_told)
{
	size_t taken = 0, backlog;
	char *data = malloc(2000000);

	set_up(SOCK_STREAM, 20000);
	fill(data, 0, 2000000);
	outbox_add(&out, data, 2000000);
	free(data);
	UNTIL(base, nprogress == 1);
	backlog = outbox_backlog(&out);
	ck_assert_uint_gt(backlog, 0);
	tools_settle(base);
	ck_assert_uint_eq(nprogress, 1); /* the client takes nothing */
	taken += take(taken, 2000000);
	UNTIL(base, nprogress == 2);
	ck_assert_uint_lt(outbox_backlog(&out), backlog);
	while (taken < 2000000) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		taken += take(taken, 2000000);
	}
	UNTIL(base, ndrained == 1);
	tear_down();
}
END_TEST

/* An empty outbox gives its memory back. */
START_TEST(large_memory_is_given_back)
{
	char data[100] = { 0 };

	set_up(SOCK_STREAM, 20000);
	for (int i = 0; i < 1000; i++)
		outbox_add(&out, data, sizeof data);
	UNTIL(base, ndrained == 1);
	ck_assert_ptr_null(out.data);
	outbox_add(&out, data, sizeof data);
	UNTIL(base, ndrained == 2);
	ck_assert_uint_le(out.room, 4096);
	tear_down();
}
END_TEST

/* ---- files ---- */

static void
check_file(size_t head, size_t size, size_t offset)
{
	size_t taken = 0;
	char *data = malloc(head + 1);
	int fd;

	set_up(SOCK_STREAM, 20000);
	fill(data, 0, head);
	outbox_add(&out, data, head);
	free(data);
	fd = file_with(head - offset, size + offset);
	lseek(fd, (off_t)offset, SEEK_SET); /* a range */
	outbox_add_file(&out, fd, (off_t)size);
	ck_assert(size + head == 0 || !outbox_is_empty(&out));
	ck_assert_uint_eq(outbox_backlog(&out), head);
	while (taken < head + size) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		ck_assert_uint_eq(nfailed, 0);
		taken += take(taken, 100000);
	}
	UNTIL(base, outbox_is_empty(&out));
	ck_assert_uint_eq(taken, head + size);
	tools_settle(base);
	ck_assert_uint_eq(ndrained, head + size > 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	tear_down();
}

START_TEST(files_follow_data)
{
	check_file(100, 1, 0);
	check_file(100, 50000, 0);
	check_file(0, 50000, 0);
	check_file(100, 50000, 33);
	check_file(700000, 5000000, 0);
	check_file(100, 0, 0);
	check_file(0, 0, 0);
}
END_TEST

/* Others have their turn while a large file goes to a fast client. */
START_TEST(a_file_does_not_hold_the_loop)
{
	size_t taken = 0, turns = 0;
	int size = 8 << 20;

	set_up(SOCK_STREAM, 20000);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	outbox_add_file(&out, file_with(0, 6000000), 6000000);
	while (taken < 6000000) {
		event_base_loop(base, EVLOOP_ONCE);
		turns++;
		taken += take(taken, 6000000);
	}
	ck_assert_uint_ge(turns, 5);
	UNTIL(base, ndrained == 1);
	tear_down();
}
END_TEST

/* The length was promised: the rest cannot come. */
START_TEST(a_file_that_shrank)
{
	int fd;

	set_up(SOCK_STREAM, 20000);
	fd = file_with(0, 1000);
	outbox_add_file(&out, fd, 2000);
	UNTIL(base, nfailed == 1);
	ck_assert_int_eq(error_told, EIO);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	tools_settle(base);
	ck_assert_uint_eq(ndrained, 0);
	tear_down();
}
END_TEST

/* ---- ends ---- */

START_TEST(a_client_that_takes_nothing)
{
	char *data = calloc(1, 2000000);
	long long begin;

	set_up(SOCK_STREAM, 200);
	begin = monotonic_ms();
	outbox_add(&out, data, 2000000);
	UNTIL(base, nprogress == 1);
	UNTIL(base, nfailed == 1);
	ck_assert_int_ge(monotonic_ms() - begin, 150);
	ck_assert_int_eq(error_told, ETIMEDOUT);
	ck_assert_uint_eq(outbox_backlog(&out), 0);
	/* Told once; nothing is taken any more. */
	outbox_add(&out, data, 10);
	ck_assert(outbox_is_empty(&out));
	tools_settle(base);
	ck_assert_uint_eq(nfailed, 1);
	free(data);
	tear_down();
}
END_TEST

/* For longer than it could be silent. False: we were held up ourselves. */
static bool
take_slowly(size_t size)
{
	long long begin = monotonic_ms(), before = begin, now = begin;
	size_t taken = 0;

	while (taken < size) {
		bool slow = now - begin < 1200;

		event_base_loop(base, EVLOOP_NONBLOCK);
		taken += take(taken, slow ? 200000 / 10 : size);
		poll(NULL, 0, slow ? 10 : 0);
		now = monotonic_ms();
		if (now - before > 200)
			return false;
		before = now;
		ck_assert_uint_eq(nfailed, 0);
	}
	return true;
}

/* Each bit that it takes gives it the whole time again. */
START_TEST(a_slow_client)
{
	size_t size = 2000000;
	char *data = malloc(size);

	fill(data, 0, size);
	for (;;) {
		set_up(SOCK_STREAM, 500);
		outbox_add(&out, data, size);
		if (take_slowly(size))
			break;
		tear_down();
	}
	free(data);
	UNTIL(base, ndrained == 1);
	ck_assert_uint_eq(nfailed, 0);
	tear_down();
}
END_TEST

/* It is we who were late; the client has taken all that it could. */
START_TEST(a_client_that_takes_while_we_are_held_up)
{
	size_t size = 2000000, taken;
	char *data = malloc(size);

	set_up(SOCK_STREAM, 200);
	fill(data, 0, size);
	outbox_add(&out, data, size);
	free(data);
	UNTIL(base, nprogress == 1);
	taken = take(0, size);
	ck_assert_uint_gt(taken, 0);
	ck_assert_uint_lt(taken, size);
	poll(NULL, 0, 300);
	while (taken < size) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		taken += take(taken, size);
		ck_assert_uint_eq(nfailed, 0);
	}
	UNTIL(base, ndrained == 1);
	ck_assert_uint_eq(nfailed, 0);
	tear_down();
}
END_TEST

static void
check_gone(bool file)
{
	int fd = -1;

	set_up(SOCK_STREAM, 20000);
	close(fds[1]);
	fds[1] = -1;
	if (file) {
		fd = file_with(0, 1000);
		outbox_add_file(&out, fd, 1000);
	} else {
		outbox_add(&out, "x", 1);
	}
	ck_assert_uint_eq(nfailed, 0); /* from the loop */
	UNTIL(base, nfailed == 1);
	ck_assert_int_eq(error_told, EPIPE);
	if (file)
		ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	fd = file_with(0, 10);
	outbox_add_file(&out, fd, 10);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1); /* taken, closed */
	outbox_add(&out, "x", 1);
	tools_settle(base);
	ck_assert_uint_eq(nfailed, 1);
	ck_assert_uint_eq(ndrained, 0);
	tear_down();
}

START_TEST(a_client_that_is_gone)
{
	check_gone(false);
	check_gone(true);
}
END_TEST

START_TEST(closed)
{
	char byte;
	int fd;

	set_up(SOCK_STREAM, 20000);
	outbox_add(&out, "dropped", 7);
	fd = file_with(0, 10);
	outbox_add_file(&out, fd, 10);
	outbox_close(&out);
	ck_assert(outbox_is_empty(&out));
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	outbox_close(&out);
	tools_settle(base);
	ck_assert_int_eq(read(fds[1], &byte, 1), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_uint_eq(ndrained + nprogress + nfailed, 0);
	tear_down();
}
END_TEST

START_TEST(cleared_in_the_callback)
{
	set_up(SOCK_STREAM, 20000);
	clear_in_callback = true;
	outbox_add(&out, "some", 4);
	UNTIL(base, ndrained == 1);
	tools_settle(base);
	ck_assert_uint_eq(ndrained, 1);
	tear_down();
}
END_TEST

UNIT_MAIN("outbox", one_write_for_a_turn, nothing_added, added_when_drained,
    partial_writes, progress_is_told, large_memory_is_given_back,
    files_follow_data, a_file_does_not_hold_the_loop, a_file_that_shrank,
    a_client_that_takes_nothing, a_slow_client,
    a_client_that_takes_while_we_are_held_up, a_client_that_is_gone, closed,
    cleared_in_the_callback)
