/*
 * static.c - see static.h.
 */
#include <sys/stat.h>
#include <sys/syscall.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/hex.h"
#include "common/xmalloc.h"
#include "transport/static.h"

/* O_NONBLOCK: a FIFO must not hold us up before it is refused. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
#define OPEN_TRIES 8 /* openat2(2) fails while something above is renamed */
#define ETAG_SIZE  64
#define EXTRA_SIZE 256
#define INDEX      "index.html"
#define ASSETS     "assets/"
#define OCTETS     "application/octet-stream"

static const struct {
	const char *ending, *type;
} types[] = {
	{ ".html", "text/html; charset=utf-8" },
	{ ".js", "text/javascript; charset=utf-8" },
	{ ".mjs", "text/javascript; charset=utf-8" },
	{ ".css", "text/css; charset=utf-8" },
	{ ".json", "application/json" },
	{ ".map", "application/json" },
	{ ".svg", "image/svg+xml" },
	{ ".png", "image/png" },
	{ ".ico", "image/x-icon" },
	{ ".txt", "text/plain; charset=utf-8" },
	{ ".woff2", "font/woff2" },
	{ ".webmanifest", "application/manifest+json" },
	{ ".wasm", "application/wasm" },
};

/* Percent-decodes; -1 for a bad escape or one of NUL. */
static int
path_decode(const char *in, char *out)
{
	int high, low;

	while (*in != '\0') {
		if (*in != '%') {
			*out++ = *in++;
			continue;
		}
		high = hex_digit(in[1]);
		low = high == -1 ? -1 : hex_digit(in[2]);
		if (low == -1 || (high == 0 && low == 0))
			return -1;
		*out++ = (char)(high << 4 | low);
		in += 3;
	}
	*out = '\0';
	return 0;
}

/*
 * Only plain names between the slashes: no dot files, hence no "..", nothing
 * empty, except behind the last slash, which names a directory's index.
 */
static bool
path_is_plain(const char *path)
{
	if (*path != '/' || strchr(path, '\\') != NULL)
		return false;
	while (path != NULL) {
		path++;
		if (*path == '.' || *path == '/')
			return false;
		path = strchr(path, '/');
	}
	return true;
}

/*
 * The file of a request's path, relative to the directory: malloc'd. NULL with
 * *status 400 or 404.
 */
static char *
file_name(const char *path, int *status)
{
	char *name = xmalloc(strlen(path) + sizeof INDEX);
	size_t size;

	*status = 0;
	if (path_decode(path, name) == -1)
		*status = 400;
	else if (!path_is_plain(name))
		*status = 404;
	if (*status != 0) {
		free(name);
		return NULL;
	}
	size = strlen(name);
	if (name[size - 1] == '/')
		memcpy(name + size, INDEX, sizeof INDEX);
	memmove(name, name + 1, strlen(name));
	return name;
}

/* Without openat2(2): step by step, and no symbolic links at all. */
static int
open_walk(int dirfd, const char *name)
{
	char *copy = xstrdup(name), *part = copy, *slash;
	int fd = -1, next, at = dirfd;

	while ((slash = strchr(part, '/')) != NULL) {
		*slash = '\0';
		next = openat(
		    at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (at != dirfd)
			close(at);
		at = next;
		if (at == -1)
			goto out;
		part = slash + 1;
	}
	fd = openat(at, part, OPEN_FLAGS | O_NOFOLLOW);
	if (at != dirfd)
		close(at);
out:
	free(copy);
	return fd;
}

static int
open_beneath(int dirfd, const char *name)
{
	struct open_how how = {
		.flags = OPEN_FLAGS,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	for (int i = 0; i < OPEN_TRIES; i++) {
		fd = syscall(SYS_openat2, dirfd, name, &how, sizeof how);
		if (fd != -1 || errno != EAGAIN)
			break;
	}
	/* EPERM: how filters of system calls answer those they do not know. */
	if (fd == -1 && (errno == ENOSYS || errno == EPERM))
		return open_walk(dirfd, name);
	return (int)fd;
}

/* Opens a regular file. Returns its descriptor, or -1 and *status. */
static int
open_file(int dirfd, const char *name, struct stat *st, int *status)
{
	int fd = open_beneath(dirfd, name);

	if (fd == -1) {
		*status = errno == EMFILE || errno == ENFILE ||
			errno == ENOMEM || errno == EIO
		    ? 500
		    : 404;
		return -1;
	}
	if (fstat(fd, st) == -1 || !S_ISREG(st->st_mode)) {
		close(fd);
		*status = 404;
		return -1;
	}
	*status = 200;
	return fd;
}

static const char *
type_of(const char *name)
{
	size_t size = strlen(name), n;

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		n = strlen(types[i].ending);
		if (size > n &&
		    strcasecmp(name + size - n, types[i].ending) == 0)
			return types[i].type;
	}
	return OCTETS;
}

/*
 * The next entity tag of a list, quotes included, "W/" dropped: a comparison of
 * If-None-Match is a weak one. NULL: no more, or the rest is none.
 */
static const char *
next_tag(const char **list, size_t *size)
{
	const char *tag = *list + strspn(*list, ", \t"), *end;

	if (strncmp(tag, "W/", 2) == 0)
		tag += 2;
	if (*tag != '"' || (end = strchr(tag + 1, '"')) == NULL)
		return NULL;
	*size = end + 1 - tag;
	*list = end + 1;
	return tag;
}

static bool
list_has_tag(const char *list, const char *etag)
{
	const char *tag;
	size_t size;

	if (strcmp(list, "*") == 0)
		return true;
	while ((tag = next_tag(&list, &size)) != NULL) {
		if (size == strlen(etag) && memcmp(tag, etag, size) == 0)
			return true;
	}
	return false;
}

static bool
client_has(const struct http_request *request, const char *etag)
{
	for (size_t i = 0; i < request->nheaders; i++) {
		const struct http_header *header = &request->headers[i];

		if (strcasecmp(header->name, "if-none-match") == 0 &&
		    list_has_tag(header->value, etag))
			return true;
	}
	return false;
}

static int
respond_error(
    int status, const struct http_request *request, struct json_buffer *head)
{
	char body[64];
	int n = snprintf(
	    body, sizeof body, "%d %s\n", status, http_reason(status));

	http_append_response(head, status, request->keep_alive, request->head,
	    "text/plain; charset=utf-8",
	    status == 405 ? "Allow: GET, HEAD\r\n" : NULL, body, n);
	return status;
}

static int
respond_file(int fd, const char *name, const struct stat *st,
    const struct http_request *request, struct json_buffer *head,
    struct static_file *file)
{
	bool lasting = strncmp(name, ASSETS, strlen(ASSETS)) == 0 &&
	    strcmp(type_of(name), types[0].type) != 0;
	char etag[ETAG_SIZE], extra[EXTRA_SIZE];
	int status;

	snprintf(etag, sizeof etag, "\"%llx-%llx-%llx.%lx\"",
	    (unsigned long long)st->st_ino, (unsigned long long)st->st_size,
	    (unsigned long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	snprintf(extra, sizeof extra,
	    "ETag: %s\r\nCache-Control: %s\r\n"
	    "X-Content-Type-Options: nosniff\r\n",
	    etag, lasting ? "public, max-age=31536000, immutable" : "no-cache");
	status = client_has(request, etag) ? 304 : 200;
	http_append_response(head, status, request->keep_alive, true,
	    status == 304 ? NULL : type_of(name), extra, NULL, st->st_size);
	if (status == 304 || request->head) {
		close(fd);
		return status;
	}
	*file = (struct static_file){ .fd = fd, .size = st->st_size };
	return status;
}

int
static_respond(int dirfd, const struct http_request *request,
    struct json_buffer *head, struct static_file *file)
{
	struct stat st;
	char *name;
	int status, fd;

	*file = (struct static_file){ .fd = -1 };
	if (strcmp(request->method, "GET") != 0 && !request->head)
		return respond_error(405, request, head);
	name = file_name(request->path, &status);
	if (name == NULL)
		return respond_error(status, request, head);
	fd = open_file(dirfd, name, &st, &status);
	if (fd == -1)
		respond_error(status, request, head);
	else
		status = respond_file(fd, name, &st, request, head, file);
	free(name);
	return status;
}
