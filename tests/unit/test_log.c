/*
 * log.c: one line is one write, nobody forges a line, and levels and
 * priorities are as they should be.
 */
#include <sys/socket.h>

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/log.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

#define OUTPUT_MAX 8192

static int output;

/*
 * stderr becomes a socket that keeps writes apart: what one read gives was one
 * write.
 */
static void
set_up(void)
{
	int fds[2];

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
	output = fds[0];
	unsetenv("JOURNAL_STREAM");
	log_init("test");
}

/* What one write wrote; NULL: there was none. */
static char *
written(void)
{
	static char buf[OUTPUT_MAX];
	ssize_t n = recv(output, buf, sizeof buf - 1, 0);

	if (n == -1)
		return NULL;
	ck_assert_uint_eq(strnlen(buf, (size_t)n), (size_t)n);
	buf[n] = '\0';
	return buf;
}

static void
assert_line(const char *before, const char *text)
{
	char expected[OUTPUT_MAX];
	char *line = written();

	snprintf(expected, sizeof expected, "%s[%d]: %s\n", before,
	    (int)getpid(), text);
	ck_assert_ptr_nonnull(line);
	ck_assert_str_eq(line, expected);
}

START_TEST(lines)
{
	set_up();
	log_info("one %s %d", "two", 3);
	log_warnx("four");
	assert_line("test", "one two 3");
	assert_line("test", "four");
	ck_assert_ptr_null(written());
	log_init("channel room:1");
	log_info("%s", "");
	assert_line("channel room:1", "");
}
END_TEST

START_TEST(errno_is_told_and_kept)
{
	char text[256];

	set_up();
	errno = ENOENT;
	log_warn("open %s", "x");
	ck_assert_int_eq(errno, ENOENT);
	snprintf(text, sizeof text, "open x: %s", strerror(ENOENT));
	assert_line("test", text);
	errno = EPERM;
	log_warnx("no reason");
	log_info("nor here");
	ck_assert_int_eq(errno, EPERM);
	assert_line("test", "no reason");
	assert_line("test", "nor here");
}
END_TEST

START_TEST(errno_is_kept_without_stderr)
{
	set_up();
	close(STDERR_FILENO);
	errno = ENOENT;
	log_warn("nobody hears");
	log_info("nor this");
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(levels)
{
	set_up();
	ck_assert(log_enabled(LOG_LEVEL_INFO));
	ck_assert(!log_enabled(LOG_LEVEL_DEBUG));
	log_debug("no");
	log_info("yes");
	assert_line("test", "yes");

	log_setlevel(LOG_LEVEL_DEBUG);
	ck_assert(log_enabled(LOG_LEVEL_DEBUG));
	log_debug("debug");
	assert_line("test", "debug");

	log_setlevel(LOG_LEVEL_WARN);
	log_info("no");
	log_warnx("warn");
	assert_line("test", "warn");

	log_setlevel(LOG_LEVEL_ERROR);
	ck_assert(log_enabled(LOG_LEVEL_ERROR));
	ck_assert(!log_enabled(LOG_LEVEL_WARN));
	log_warnx("no");
	log_info("no");
	log_debug("no");
	ck_assert_ptr_null(written());
}
END_TEST

/* What a client sent cannot begin a line, nor command a terminal. */
START_TEST(control_characters_are_escaped)
{
	set_up();
	log_info("%s", "a\nbennu[1]: forged\r\t\033[2J\x01\x1f\x7f");
	assert_line(
	    "test", "a\\x0abennu[1]: forged\\x0d\\x09\\x1b[2J\\x01\\x1f\\x7f");
	log_info("%s", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 ~");
	assert_line("test", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 ~");
	/* C1: a terminal takes U+009B for ESC [. */
	log_info("%s",
	    "\xc2\x9b"
	    "2J\xc2\x80\xc2\x85\xc2\xa0\xc2");
	assert_line("test", "\\x9b2J\\x80\\x85\xc2\xa0\xc2");
}
END_TEST

/* The name of a channel's process has the client's topic in it. */
START_TEST(names_are_escaped)
{
	set_up();
	log_init("channel room:\nbennu[1]: x\x1b");
	log_info("hello");
	assert_line("channel room:\\x0abennu[1]: x\\x1b", "hello");
}
END_TEST

/* Too long for a line: it is cut, and is one line still. */
START_TEST(long_lines_are_cut)
{
	char text[6000], *line;

	set_up();
	for (size_t at = 0; at < 5; at++) {
		/* All sorts of alignments of escapes with the end. */
		memset(text, 'x', at);
		memset(text + at, '\n', sizeof text - at);
		text[sizeof text - 1] = '\0';
		log_info("%s", text);
		line = written();
		ck_assert_ptr_nonnull(line);
		ck_assert_uint_gt(strlen(line), 1900);
		ck_assert_uint_lt(strlen(line), 2200);
		ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
		ck_assert_ptr_null(written());
	}
	memset(text, 'n', sizeof text - 1);
	log_init(text);
	errno = ENOENT;
	log_warn("%s", text);
	line = written();
	ck_assert_ptr_nonnull(line);
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
	ck_assert_ptr_nonnull(strstr(line, "n["));
}
END_TEST

START_TEST(priorities_for_the_journal)
{
	set_up();
	setenv("JOURNAL_STREAM", "8:12345", 1);
	log_setlevel(LOG_LEVEL_DEBUG);
	log_warnx("w");
	log_info("i");
	log_debug("d");
	assert_line("<4>test", "w");
	assert_line("<6>test", "i");
	assert_line("<7>test", "d");
}
END_TEST

static void
check_fatal(bool with_errno, const char *end)
{
	char *line;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		setenv("JOURNAL_STREAM", "8:12345", 1);
		errno = ENOENT;
		if (with_errno)
			fatal("%s", "the end");
		fatalx("%s", "the end");
	}
	tools_assert_exit(pid, EXIT_CRASH);
	line = written();
	ck_assert_ptr_nonnull(line);
	ck_assert_int_eq(strncmp(line, "<3>test[", 8), 0);
	ck_assert_str_eq(strchr(line, ':'), end);
}

START_TEST(fatal_ends_in_a_crash)
{
	set_up();
	log_setlevel(LOG_LEVEL_ERROR);
	check_fatal(false, ": the end\n");
	check_fatal(true, ": the end: No such file or directory\n");
}
END_TEST

UNIT_MAIN("log", lines, errno_is_told_and_kept, errno_is_kept_without_stderr,
    levels, control_characters_are_escaped, names_are_escaped,
    long_lines_are_cut, priorities_for_the_journal, fatal_ends_in_a_crash)
