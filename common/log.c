/*
 * log.c - writes the lines that log.h promises.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/log.h"

#define LINE_MAX_BYTES 2048

static char log_name[64] = "bennu";
static enum log_level log_max = LOG_LEVEL_INFO;

/* Control characters by their number; U+0080 to U+009F are such, too. */
static size_t
append_escaped(char *line, size_t at, size_t max, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text != '\0' && at + 4 < max; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == 0xc2 && ((unsigned char)text[1] & 0xe0) == 0x80)
			c = (unsigned char)*++text;
		else if (c >= 0x20 && c != 0x7f) {
			line[at++] = (char)c;
			continue;
		}
		line[at++] = '\\';
		line[at++] = 'x';
		line[at++] = hex[c >> 4];
		line[at++] = hex[c & 15];
	}
	return at;
}

void
log_init(const char *name)
{
	size_t n = append_escaped(log_name, 0, sizeof log_name, name);

	log_name[n] = '\0';
}

void
log_setlevel(enum log_level level)
{
	log_max = level;
}

bool
log_enabled(enum log_level level)
{
	return level <= log_max;
}

/* The priorities of sd-daemon(3); journald strips them. */
static const char *
priority(enum log_level level)
{
	if (getenv("JOURNAL_STREAM") == NULL)
		return "";
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "<3>";
	case LOG_LEVEL_WARN:
		return "<4>";
	case LOG_LEVEL_INFO:
		return "<6>";
	case LOG_LEVEL_DEBUG:
		return "<7>";
	}
	return "";
}

static void write_line(enum log_level, int, const char *, va_list)
    __attribute__((__format__(printf, 3, 0)));
static void vlog(enum log_level, int, const char *, va_list)
    __attribute__((__format__(printf, 3, 0)));

/* Its stack is two pages, which a worker that writes no line is not to touch.
 */
__attribute__((__noinline__)) static void
write_line(enum log_level level, int with_errno, const char *fmt, va_list ap)
{
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 128];
	int saved = errno;
	size_t n;

	vsnprintf(text, sizeof text, fmt, ap);
	n = (size_t)snprintf(line, sizeof line, "%s%s[%d]: ", priority(level),
	    log_name, (int)getpid());
	if (n > sizeof line - 8)
		n = sizeof line - 8;
	n = append_escaped(line, n, sizeof line - 2, text);
	if (with_errno != 0) {
		n = append_escaped(line, n, sizeof line - 2, ": ");
		n = append_escaped(
		    line, n, sizeof line - 2, strerror(with_errno));
	}
	line[n++] = '\n';
	/* Nobody is left to be told that stderr is gone. */
	if (write(STDERR_FILENO, line, n) == -1)
		errno = saved;
	errno = saved;
}

static void
vlog(enum log_level level, int with_errno, const char *fmt, va_list ap)
{
	if (level <= log_max)
		write_line(level, with_errno, fmt, ap);
}

void
fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_LEVEL_ERROR, errno, fmt, ap);
	va_end(ap);
	_exit(EXIT_CRASH);
}

void
fatalx(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_LEVEL_ERROR, 0, fmt, ap);
	va_end(ap);
	_exit(EXIT_CRASH);
}

void
log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_LEVEL_WARN, errno, fmt, ap);
	va_end(ap);
}

void
log_warnx(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_LEVEL_WARN, 0, fmt, ap);
	va_end(ap);
}

void
log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_LEVEL_INFO, 0, fmt, ap);
	va_end(ap);
}

void
log_debug(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_LEVEL_DEBUG, 0, fmt, ap);
	va_end(ap);
}
