/*
 * http.h - requests of one HTTP/1.1 connection: heads in (http-parser), limits,
 * small bodies, responses out.
 *
 * It does no I/O: bytes are fed in, callbacks come out; responses are bytes
 * that the owner writes. After a 101 the connection is no longer HTTP and this
 * is freed.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/json.h"

struct http_connection;

struct http_limits {
	size_t head_max; /* bytes of a head; more is 431 (414 in the URL) */
	unsigned headers_max; /* fields; more is 431 */
	size_t body_max;      /* bytes; more is 413 */
};

struct http_header {
	const char *name;  /* as sent */
	const char *value; /* without white space around */
};

/* A whole request. Everything is lent during the callback. */
struct http_request {
	const char *method; /* "GET" */
	const char *path;   /* as sent, before the ?; begins with /; what stands
			       before it in "http://host/path" is dropped */
	const char *query;  /* behind the ?, or "" */
	const struct http_header *headers;
	size_t nheaders;
	const char *body; /* never NULL; a NUL stands behind it */
	size_t body_size;
	unsigned minor;  /* HTTP/1.minor */
	bool keep_alive; /* the client will send more */
	bool upgrade;    /* it asks for another protocol, and has no body */
	bool head;       /* HEAD: answer without a body */
};

/*
 * A request is complete. The next one is not parsed before http_next (which may
 * be called from here), so that answers stay in order. http_free may not be
 * called from here: http_feed says how much of its bytes was HTTP.
 */
typedef void (*http_request_cb)(
    struct http_connection *, const struct http_request *, void *);

struct http_connection *http_new(
    const struct http_limits *, http_request_cb, void *);
/*
 * Some paths have a body_max of their own, and another status than 413 for
 * more. Asked when a head is complete; *max and *status are those that are due
 * otherwise.
 */
typedef void (*http_body_cb)(
    const char *path, size_t *max, int *status, void *arg);
void http_set_body_limit(struct http_connection *, http_body_cb);
void http_free(struct http_connection *);

/*
 * Feeds bytes. Returns how many were taken: fewer when a request is complete
 * and waits for its answer (feed the rest after http_next), and after an
 * upgrade, where the rest is of the new protocol. On a malformed request
 * *status is the answer due (400, 413, 414, 417, 431, 501, 505) and the
 * connection must be closed behind it: nothing more is taken, and *status
 * stays; else *status is 0.
 *
 * Refused as 400 is whatever two readers could read differently: a bare LF,
 * folded fields, two Content-Lengths (equal ones too), Content-Length beside
 * Transfer-Encoding, control characters, a Host that is missing (HTTP/1.1),
 * repeated or malformed. CONNECT and methods that http-parser does not know are
 * 501.
 */
size_t http_feed(struct http_connection *, const char *, size_t, int *status);
/* The key of bennu.conf whose limit that status is due to; NULL: none. */
const char *http_limit(const struct http_connection *);
/* The answer has been made: the next request may be parsed. */
void http_next(struct http_connection *);
/* Has a request begun that is not complete? (For the head's deadline.) */
bool http_in_request(const struct http_connection *);
/*
 * Does the client wait for "HTTP/1.1 100 Continue" before it sends its body? To
 * be asked behind http_feed; true at most once for a request. Who never asks is
 * right too: clients then send after a while.
 */
bool http_take_continue(struct http_connection *);

/*
 * The first field of that name, or NULL; case does not matter. A field that
 * stands more than once: see http_header_count.
 */
const char *http_header(const struct http_request *, const char *name);
size_t http_header_count(const struct http_request *, const char *name);
/* Is the token in this comma list (of all fields of the name)? Any case. */
bool http_header_has_token(
    const struct http_request *, const char *name, const char *token);

/*
 * Appends a response: status line, Date, Content-Length, Connection as
 * keep_alive says, the extra lines (each ended by \r\n, or NULL), and the body
 * unless head_only (Content-Length still says its size). type may be NULL. 204
 * and 304 have neither a body nor its size.
 */
void http_append_response(struct json_buffer *, int status, bool keep_alive,
    bool head_only, const char *type, const char *extra, const char *body,
    size_t body_size);
const char *http_reason(int status);

#endif /* HTTP_H */
