/*
 * limits.c: counts against a plain model, penalties in made-up time, log lines.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <arpa/inet.h>
#include <netinet/in.h>

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/config.h"
#include "supervisor/limits.h"
#include "tests/unit/unit.h"

static struct limits *
make_limits(unsigned max, unsigned per_address, unsigned crashes)
{
	struct config config = { .max_connections = max,
		.max_connections_per_address = per_address,
		.crash_limit = crashes,
		.crash_period = 60000 };

	return limits_new(&config);
}

static struct limits_key
key_of(const char *text)
{
	struct address address;

	ck_assert_ptr_null(address_parse(text, &address));
	return limits_key((struct sockaddr *)&address.storage, address.size);
}

static void
assert_admit(
    struct limits *limits, const char *text, enum limits_verdict expected)
{
	struct limits_key key = key_of(text);

	ck_assert_int_eq(limits_admit(limits, &key, 0), expected);
}

static void
release(struct limits *limits, const char *text)
{
	struct limits_key key = key_of(text);

	limits_release(limits, &key);
}

START_TEST(in_all)
{
	struct limits *limits = make_limits(3, 0, 0);

	assert_admit(limits, "127.0.0.1:1", LIMITS_OK);
	assert_admit(limits, "[::1]:1", LIMITS_OK);
	assert_admit(limits, "unix:/x", LIMITS_OK);
	assert_admit(limits, "127.0.0.1:1", LIMITS_TOO_MANY);
	assert_admit(limits, "unix:/x", LIMITS_TOO_MANY);
	ck_assert_uint_eq(limits_count(limits), 3);
	release(limits, "unix:/x");
	assert_admit(limits, "127.0.0.1:1", LIMITS_OK);
	release(limits, "127.0.0.1:1");
	release(limits, "127.0.0.1:1");
	release(limits, "[::1]:1");
	ck_assert_uint_eq(limits_count(limits), 0);
	limits_free(limits);
	limits_free(NULL);
}
END_TEST

START_TEST(from_one_address)
{
	struct limits *limits = make_limits(100, 2, 0);

	assert_admit(limits, "10.0.0.1:1", LIMITS_OK);
	assert_admit(limits, "10.0.0.1:2", LIMITS_OK);
	assert_admit(limits, "10.0.0.1:3", LIMITS_TOO_MANY_FROM_ADDRESS);
	assert_admit(
	    limits, "[::ffff:10.0.0.1]:3", LIMITS_TOO_MANY_FROM_ADDRESS);
	assert_admit(limits, "10.0.0.2:3", LIMITS_OK);
	assert_admit(limits, "[fd00:0:0:1::1]:1", LIMITS_OK);
	assert_admit(limits, "[fd00:0:0:1:9::2]:1", LIMITS_OK);
	assert_admit(limits, "[fd00:0:0:1::3]:1", LIMITS_TOO_MANY_FROM_ADDRESS);
	assert_admit(limits, "[fd00:0:0:2::1]:1", LIMITS_OK);
	for (int i = 0; i < 5; i++)
		assert_admit(limits, "unix:/x", LIMITS_OK);
	release(limits, "10.0.0.1:9");
	assert_admit(limits, "10.0.0.1:3", LIMITS_OK);
	limits_free(limits);
}
END_TEST

/* Few addresses in a small table, so that they collide and move. */
#define ADDRESSES 24
#define PER       3
#define MAX       30

START_TEST(as_a_model)
{
	struct limits *limits = make_limits(MAX, PER, 0);
	unsigned model[ADDRESSES] = { 0 }, total = 0;
	unsigned seed = 1;

	for (int step = 0; step < 200000; step++) {
		unsigned i = (unsigned)rand_r(&seed) % ADDRESSES;
		struct limits_key key = { .address = i * 0x1000,
			.family = i % 2 == 0 ? AF_INET : AF_INET6 };

		if (rand_r(&seed) % 2 == 0 && model[i] > 0) {
			limits_release(limits, &key);
			model[i]--;
			total--;
			continue;
		}
		if (total == MAX)
			ck_assert_int_eq(
			    limits_admit(limits, &key, step), LIMITS_TOO_MANY);
		else if (model[i] == PER)
			ck_assert_int_eq(limits_admit(limits, &key, step),
			    LIMITS_TOO_MANY_FROM_ADDRESS);
		else {
			ck_assert_int_eq(
			    limits_admit(limits, &key, step), LIMITS_OK);
			model[i]++;
			total++;
		}
		ck_assert_uint_eq(limits_count(limits), total);
	}
	limits_free(limits);
}
END_TEST

START_TEST(penalties)
{
	struct limits *limits = make_limits(10, 0, 3);
	struct limits_key key = key_of("10.0.0.1:1");
	struct limits_key other = key_of("10.0.0.2:1");

	limits_crashed(limits, &key, 1000);
	limits_crashed(limits, &key, 20000);
	ck_assert_int_eq(limits_admit(limits, &key, 20000), LIMITS_OK);
	limits_crashed(limits, &key, 60999);
	ck_assert_int_eq(limits_admit(limits, &key, 60999), LIMITS_PENALTY);
	ck_assert_int_eq(limits_admit(limits, &other, 60999), LIMITS_OK);
	/* The first of the three is a minute old: they are two. */
	ck_assert_int_eq(limits_admit(limits, &key, 61000), LIMITS_OK);
	limits_crashed(limits, &key, 70000);
	ck_assert_int_eq(limits_admit(limits, &key, 79999), LIMITS_PENALTY);
	ck_assert_int_eq(limits_admit(limits, &key, 80000), LIMITS_OK);
	/* All forgotten. */
	limits_crashed(limits, &key, 200000);
	limits_crashed(limits, &key, 200000);
	ck_assert_int_eq(limits_admit(limits, &key, 200000), LIMITS_OK);
	limits_crashed(limits, &key, 200000);
	ck_assert_int_eq(limits_admit(limits, &key, 200000), LIMITS_PENALTY);
	limits_free(limits);
}
END_TEST

START_TEST(no_penalties)
{
	struct limits *limits = make_limits(10, 0, 0);
	struct limits_key key = key_of("10.0.0.1:1");
	struct limits_key nobody = key_of("unix:/x");

	for (int i = 0; i < 100; i++)
		limits_crashed(limits, &key, 0);
	ck_assert_int_eq(limits_admit(limits, &key, 0), LIMITS_OK);
	limits_free(limits);
	limits = make_limits(10, 0, 1);
	limits_crashed(limits, &nobody, 0);
	ck_assert_int_eq(limits_admit(limits, &nobody, 0), LIMITS_OK);
	limits_free(limits);
}
END_TEST

/* More culprits than are remembered: the newest stay, nothing breaks. */
START_TEST(many_culprits)
{
	struct limits *limits = make_limits(10, 0, 1);
	struct limits_key key = { .family = AF_INET };

	for (key.address = 1; key.address <= 3000; key.address++)
		limits_crashed(limits, &key, (long long)key.address);
	for (key.address = 1; key.address <= 3000; key.address++) {
		enum limits_verdict verdict = limits_admit(limits, &key, 3000);

		if (verdict == LIMITS_OK)
			limits_release(limits, &key);
		ck_assert_int_eq(verdict,
		    key.address > 3000 - 1024 ? LIMITS_PENALTY : LIMITS_OK);
	}
	limits_free(limits);
}
END_TEST

static int
status_of(int code, int sig)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		if (sig != 0) {
			signal(sig, SIG_DFL);
			raise(sig);
		}
		_exit(code);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

START_TEST(crash_signals)
{
	ck_assert(limits_is_crash(status_of(0, SIGSEGV)));
	ck_assert(limits_is_crash(status_of(0, SIGBUS)));
	ck_assert(limits_is_crash(status_of(0, SIGILL)));
	ck_assert(limits_is_crash(status_of(0, SIGFPE)));
	ck_assert(limits_is_crash(status_of(0, SIGABRT)));
	ck_assert(!limits_is_crash(status_of(0, SIGKILL)));
	ck_assert(!limits_is_crash(status_of(0, SIGTERM)));
	ck_assert(!limits_is_crash(status_of(0, 0)));
	ck_assert(!limits_is_crash(status_of(SIGSEGV, 0)));
}
END_TEST

/* What is written to stderr from here on, until read_log. */
static int
catch_log(int *saved)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	ck_assert_int_ne(fd, -1);
	*saved = dup(STDERR_FILENO);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	return fd;
}

static unsigned
read_log(int fd, int saved, char *text, size_t size)
{
	unsigned lines = 0;
	ssize_t n = pread(fd, text, size - 1, 0);

	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fd);
	for (const char *p = text; *p != '\0'; p++)
		lines += *p == '\n';
	return lines;
}

START_TEST(lines)
{
	struct limits *limits = make_limits(1, 0, 0);
	struct limits_key key = key_of("10.0.0.1:1");
	struct limits_key other = key_of("[fd00::1]:1");
	char text[4096];
	int saved, fd = catch_log(&saved);

	limits_admit(limits, &key, 0);
	for (int now = 5000; now < 6000; now++)
		limits_admit(limits, &other, now);
	limits_release(limits, &key);
	limits_admit(limits, &key, 7000);
	limits_admit(limits, &key, 9000);
	ck_assert_uint_eq(read_log(fd, saved, text, sizeof text), 3);
	ck_assert_ptr_nonnull(
	    strstr(text, ": fd00::/64: connection refused: max_connections"));
	ck_assert_ptr_nonnull(
	    strstr(text, ": 999 more connections refused: max_connections"));
	ck_assert_ptr_nonnull(
	    strstr(text, ": 10.0.0.1: connection refused: max_connections"));
	limits_free(limits);
}
END_TEST

UNIT_MAIN("limits", in_all, from_one_address, as_a_model, penalties,
    no_penalties, many_culprits, crash_signals, lines)
