/*
 * config_text.c - reads the file and checks what libConfuse's scanner does not.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config_text.h"
#include "common/xmalloc.h"

#define DEPTH_MAX 16 /* the deepest that means something is 4 */

/* Where one pass over the text is. */
struct scan {
	char *at;
	int line;
	int depth;
	int opened[DEPTH_MAX]; /* lines of the braces that are open */
	const char *error;     /* what is wrong, about `line` */
};

static bool
scan_fail(struct scan *scan, const char *error)
{
	scan->error = error;
	return false;
}

static bool
is_control(char c)
{
	return ((unsigned char)c < 0x20 && c != '\t' && c != '\n' &&
		   c != '\r') ||
	    c == 0x7f;
}

static void
blank_line(struct scan *scan)
{
	while (*scan->at != '\0' && *scan->at != '\n')
		*scan->at++ = ' ';
}

static bool
blank_block(struct scan *scan)
{
	char *end = strstr(scan->at + 2, "*/");

	if (end == NULL)
		return scan_fail(scan, "this comment does not end; write */");
	for (; scan->at < end + 2; scan->at++) {
		if (*scan->at == '\n')
			scan->line++;
		else
			*scan->at = ' ';
	}
	return true;
}

/* ${NAME} or ${NAME:-default}, which libConfuse puts in. */
static bool
scan_variable(struct scan *scan)
{
	char *name = scan->at + 2;
	char *end = name + strcspn(name, "}\"\n");
	char *fallback, *copy;
	bool set;

	if (*end != '}')
		return scan_fail(scan, "\"${\" without \"}\"");
	copy = xmemdup(name, (size_t)(end - name));
	fallback = strstr(copy, ":-");
	set = fallback != NULL || getenv(copy) != NULL;
	free(copy);
	if (!set)
		return scan_fail(scan,
		    "this environment variable is not set; ${NAME:-value} gives it a default");
	scan->at = end + 1;
	return true;
}

static bool
scan_string(struct scan *scan)
{
	char quote = *scan->at++;

	while (*scan->at != quote) {
		char c = *scan->at;

		if (c == '\0' || c == '\n')
			return scan_fail(
			    scan, "this string does not end on its line");
		if (is_control(c))
			return scan_fail(
			    scan, "a control character in a string");
		if (c == '$' && scan->at[1] == '{' && quote == '"') {
			if (!scan_variable(scan))
				return false;
			continue;
		}
		if (c == '\\') {
			c = *++scan->at;
			if (c == '\0' || c == '\n')
				continue;
			if (quote == '"' &&
			    (c == 'x' || (c >= '0' && c <= '9')))
				return scan_fail(scan,
				    "numbered escapes are not known; write the character itself");
		}
		scan->at++;
	}
	scan->at++;
	return true;
}

/* libConfuse would take only a part of such a word. */
static bool
scan_word(struct scan *scan)
{
	size_t n = strcspn(scan->at, " \t\r\n#\"'={}(),+*");
	char *end = scan->at + n;

	for (char *p = scan->at; p < end; p++) {
		if (is_control(*p))
			return scan_fail(scan, "a control character");
		if (p[0] == '/' && (p[1] == '/' || p[1] == '*'))
			return scan_fail(
			    scan, "a value with // or /* needs quotes");
	}
	if (*end == '*' || (*end == '+' && end[1] != '='))
		return scan_fail(scan, "a value with * or + needs quotes");
	if (*end == '{' && n > 0 && end[-1] == '$')
		return scan_fail(scan, "${NAME} needs quotes: \"${NAME}\"");
	scan->at = n > 0 ? end : end + 1;
	return true;
}

static bool
scan_brace(struct scan *scan)
{
	if (*scan->at++ == '{') {
		if (scan->depth == DEPTH_MAX)
			return scan_fail(scan, "too many { in each other");
		scan->opened[scan->depth++] = scan->line;
		return true;
	}
	if (scan->depth == 0)
		return scan_fail(scan, "a } without a {");
	scan->depth--;
	return true;
}

static bool
scan_token(struct scan *scan)
{
	switch (*scan->at) {
	case '\n':
		scan->line++;
		scan->at++;
		return true;
	case '#':
		blank_line(scan);
		return true;
	case '/':
		if (scan->at[1] == '/') {
			blank_line(scan);
			return true;
		}
		if (scan->at[1] == '*')
			return blank_block(scan);
		return scan_word(scan);
	case '"':
	case '\'':
		return scan_string(scan);
	case '{':
	case '}':
		return scan_brace(scan);
	case '(':
	case ')':
		return scan_fail(scan,
		    "a parenthesis means nothing here; lists stand in { }");
	}
	return scan_word(scan);
}

/* Checks the text and blanks its comments. */
static bool
scan_text(struct scan *scan)
{
	while (*scan->at != '\0')
		if (!scan_token(scan))
			return false;
	if (scan->depth > 0) {
		scan->line = scan->opened[scan->depth - 1];
		return scan_fail(scan, "this { is not closed; write }");
	}
	return true;
}

static int
read_all(int fd, char *text, size_t size)
{
	size_t have = 0;

	while (have < size) {
		ssize_t n = read(fd, text + have, size - have);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	text[have] = '\0';
	return memchr(text, '\0', have) == NULL ? 0 : 1;
}

static char *
read_file(const char *path, int fd, char **error)
{
	struct stat st;
	char *text;
	int rc;

	if (fstat(fd, &st) == -1) {
		*error = xasprintf("%s: %s", path, strerror(errno));
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		*error = xasprintf("%s: not a regular file", path);
		return NULL;
	}
	if (st.st_size > CONFIG_TEXT_MAX) {
		*error = xasprintf(
		    "%s: larger than %d bytes", path, CONFIG_TEXT_MAX);
		return NULL;
	}
	text = xmalloc((size_t)st.st_size + 1);
	rc = read_all(fd, text, (size_t)st.st_size);
	if (rc == 0)
		return text;
	if (rc == -1)
		*error = xasprintf("%s: %s", path, strerror(errno));
	else
		*error = xasprintf("%s: holds a NUL; it is no text", path);
	free(text);
	return NULL;
}

char *
config_text_read(const char *path, char **error)
{
	struct scan scan = { .line = 1 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text;

	if (fd == -1) {
		*error = xasprintf("%s: %s", path, strerror(errno));
		return NULL;
	}
	text = read_file(path, fd, error);
	close(fd);
	if (text == NULL)
		return NULL;
	scan.at = text;
	if (scan_text(&scan))
		return text;
	*error = xasprintf("%s:%d: %s", path, scan.line, scan.error);
	free(text);
	return NULL;
}
