/*
 * bennu/endpoint.h - what the author of HTTP handlers needs, beside
 * bennu/channel.h.
 *
 * An endpoint is a table of routes. Bennu forks one process for each connection
 * that asks for one of them and runs the handlers there, one request at a time,
 * as long as the connection lasts: a handler has no locks, and holds up no
 * other connection and no channel. Its crash costs the request in hand (500)
 * and a line in the log; the next request gets a new process. So does a handler
 * that takes longer than handler_timeout of bennu.conf: it is killed, and the
 * request is answered 504.
 *
 * Before any process is forked Bennu itself answers: 404 for what no route
 * matches (or a file of `static`), 405 with Allow for another method, OPTIONS
 * (CORS preflights among them), and every request that is malformed or too
 * large (400, 413, 414, 417, 431, 501, 505).
 *
 * Ownership: const is lent, for the length of the call. What a function of this
 * header returns is lent until the handler returns.
 *
 * Errors: what only a mistake of the author can cause (a second answer, a
 * header with a line break, a payload that is no JSON) is logged and ends the
 * process as a crash. A handler that returns without an answer is 500 and a
 * line in the log.
 */
#ifndef BENNU_ENDPOINT_H
#define BENNU_ENDPOINT_H

#include <bennu/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bennu_conn; /* this connection, and the request in hand */

typedef void (*bennu_handler)(struct bennu_conn *);

/*
 * The first route of the table whose method and path fit is taken. A path is
 * segments between slashes; ":name" is any one segment that is not empty, for
 * bennu_param. Empty segments do not count: "/a//b/" is "/a/b". A GET route
 * serves HEAD, too; the body of its answer is then left out.
 */
struct bennu_route {
	const char *method; /* "GET"; NULL ends the table */
	const char *path;   /* "/api/superheroes/:id" */
	bennu_handler handler;
};

/*
 * Only routes is required. A module defines one with BENNU_ENDPOINT; bennu.conf
 * names it as `module` of its endpoint section.
 */
struct bennu_endpoint {
	unsigned abi; /* BENNU_ABI */
	const char *name;
	const struct bennu_route *routes;

	/*
	 * Origins whose pages may read the answers (CORS): "*" or
	 * "https://example.com", the last one NULL. NULL: none.
	 */
	const char *const *cors;

	/*
	 * The process has begun: the place to open a database (never before a
	 * fork). False, and a line in the log, when it cannot: 500 for the
	 * request that it was forked for.
	 */
	bool (*start)(struct bennu_conn *);
	/* The connection ends, or became a WebSocket. Not after a crash. */
	void (*stop)(struct bennu_conn *);

	void *reserved[4]; /* NULL */
};

#define BENNU_ENDPOINT(symbol)                               \
	extern BENNU_API const struct bennu_endpoint symbol; \
	BENNU_API const struct bennu_endpoint symbol

/* ---- the process ---- */

/* As bennu_assigns: kept from one request of the connection to the next. */
BENNU_API void *bennu_conn_assigns(const struct bennu_conn *);
BENNU_API void bennu_conn_assign(struct bennu_conn *, void *);
/* A key of the options block of the endpoint in bennu.conf, or NULL. */
BENNU_API const char *bennu_conn_option(
    const struct bennu_conn *, const char *key);
/* "127.0.0.1:50124" */
BENNU_API const char *bennu_conn_peer(const struct bennu_conn *);
/* A line in the server's log. */
BENNU_API void bennu_conn_log(const struct bennu_conn *, const char *, ...)
    BENNU_PRINTF(2, 3);

/* ---- the request ---- */

BENNU_API const char *bennu_method(const struct bennu_conn *);
/* As the client sent it, without the query. */
BENNU_API const char *bennu_path(const struct bennu_conn *);
/* What stood in the place of ":name", decoded: UTF-8 without U+0000; NULL when
 * the route has no such part. */
BENNU_API const char *bennu_param(const struct bennu_conn *, const char *name);
/* The last value of this name in the query, decoded; NULL when there is none,
 * or name[...] was used. bennu_query_json has them all. */
BENNU_API const char *bennu_query(struct bennu_conn *, const char *name);
BENNU_API const cJSON *bennu_query_json(struct bennu_conn *);
/* The first header of that name, in any case, or NULL. */
BENNU_API const char *bennu_header(const struct bennu_conn *, const char *name);
/* The body, at most body_max of bennu.conf, also when it came in chunks. Never
 * NULL; a NUL stands behind it. */
BENNU_API const char *bennu_body(const struct bennu_conn *, size_t *size);
/*
 * The body as a tree. NULL when there is none, and then the request has been
 * answered: 411 without a Content-Length (or chunks), 415 when Content-Type is
 * not JSON, 400 when it is malformed (or cJSON cannot hold it: bennu_json).
 */
BENNU_API const cJSON *bennu_body_json(struct bennu_conn *);

/* ---- the answer ---- */

/*
 * Adds a header to the answer that is still to be made. Bennu's own are
 * refused: Content-Length, Content-Type, Connection, Date, Transfer-Encoding
 * and those of CORS.
 */
BENNU_API void bennu_put_header(
    struct bennu_conn *, const char *name, const char *value);
/*
 * Answers, once for each request. status is 200 to 599; type may be NULL; data
 * is copied. The answer leaves when the handler returns; a crash until then is
 * a 500 instead. 204 and 304 have no body.
 */
BENNU_API void bennu_respond(struct bennu_conn *, int status, const char *type,
    const void *data, size_t size);
/* With a tree, which is freed (given, not lent). */
BENNU_API void bennu_respond_json(struct bennu_conn *, int status, cJSON *);
/* {"errors": {"detail": ...}}, as Bennu's own errors are; detail NULL: the
 * words of the status, "Not Found". */
BENNU_API void bennu_respond_error(
    struct bennu_conn *, int status, const char *detail);

/* ---- to everyone ---- */

/* To all on a topic: what bennu_broadcast_to is to a channel. */
BENNU_API void bennu_conn_broadcast(struct bennu_conn *, const char *topic,
    const char *event, struct bennu_payload);
/* The same, but only to those on this node. */
BENNU_API void bennu_conn_broadcast_local(struct bennu_conn *,
    const char *topic, const char *event, struct bennu_payload);
/* bennu_disconnect. */
BENNU_API void bennu_conn_disconnect(struct bennu_conn *, const char *id);
/* bennu_subscribers. */
BENNU_API long bennu_conn_subscribers(struct bennu_conn *, const char *topic);
/* A payload of a tree; it is freed (given, not lent). */
BENNU_API struct bennu_payload bennu_conn_take(struct bennu_conn *, cJSON *);

/* ---- presences, tokens, metrics ---- */

/* As those of bennu/channel.h; lent until the handler returns. */
BENNU_API struct bennu_payload bennu_conn_presence_list(
    struct bennu_conn *, const char *topic);
BENNU_API struct bennu_payload bennu_conn_presence_get_by_key(
    struct bennu_conn *, const char *topic, const char *key);
BENNU_API const char *bennu_conn_sign(
    struct bennu_conn *, const char *salt, struct bennu_payload data);
BENNU_API struct bennu_payload bennu_conn_verify(
    struct bennu_conn *, const char *salt, const char *token, long max_age);
BENNU_API void bennu_conn_count(
    struct bennu_conn *, const char *name, uint64_t n);
BENNU_API void bennu_conn_observe(
    struct bennu_conn *, const char *name, double value);

#ifdef __cplusplus
}
#endif

#endif /* BENNU_ENDPOINT_H */
