/*
 * static.h - files of one directory for the page, over HTTP: safe paths, types,
 * ETag, If-None-Match, HEAD. No listing, no symbolic links out of it, no dot
 * files.
 */
#ifndef STATIC_H
#define STATIC_H

#include <sys/types.h>
#include <stdbool.h>

#include "common/json.h"
#include "transport/http.h"

/*
 * A file that is to be sent behind the head: fd (the caller closes it, -1:
 * none) and size in bytes, from its start.
 */
struct static_file {
	int fd;
	off_t size;
};

/*
 * Types are known by the name's ending. Pages are to be asked for again each
 * time (ETag makes that cheap); what lies under /assets/ has a hash in its name
 * and is kept for ever.
 *
 * Answers GET and HEAD for the request's path below the directory `dirfd`
 * ("/" is index.html): appends the head (and a short body for errors) and sets
 * *file to what follows it. Returns the status: 200, 304, 400 (bad escapes),
 * 404, 405, 500 (no descriptor or memory left). The file may be replaced while
 * it is sent, but not shrink: who sends it closes the connection when it did.
 */
int static_respond(int dirfd, const struct http_request *,
    struct json_buffer *head, struct static_file *file);

#endif /* STATIC_H */
