/*
 * admin.h - the routes for people who want to look inside and to see it crash,
 * on only where bennu.conf says `tree = true` in its endpoint block:
 *
 *   GET /bennu/tree      the process tree, as the kernel tells it (/proc)
 *   GET /bennu/metrics   what is counted, as Prometheus reads it
 *   POST /bennu/inspect  {"id": "channel/17/3"}: what a channel is doing
 *   POST /bennu/kill     {"id": "channel/17/3"}: kill -9 by the worker's parent
 *
 * All need a Host of this machine, so that nobody's DNS makes one of his pages
 * in the user's browser look like ours. The last two need the token that the
 * server printed when it started, in the header X-Bennu-Token; a JSON content
 * type; and an Origin that is ours, so that no other page can send it. Who is
 * meant is a role, never a pid: the parent of that role looks for its own
 * child.
 */
#ifndef ADMIN_H
#define ADMIN_H

#include <stdbool.h>

#include "common/json.h"
#include "transport/http.h"

#define ADMIN_JSON "application/json; charset=utf-8"
#define ADMIN_BUSY "the supervisor has too many requests"

struct transport;
struct transport_request;

/* Are there such routes, and is this one? */
bool admin_is_route(const struct transport *, const char *path);
/* Appends the whole response, unless it comes later (inspect.h). */
void admin_respond(
    struct transport *, const struct http_request *, struct json_buffer *);

bool admin_type_is_json(const struct http_request *);
/* {"error": ...} */
void admin_append_error(struct json_buffer *, const char *what);
/* To the supervisor. False: it has too many of them. */
bool admin_send_request(const struct transport_request *);

#endif /* ADMIN_H */
