/*
 * admin.h - the two routes for people who want to see it crash, on only where
 * bennu.conf says `tree = true` in its endpoint block:
 *
 *   GET /bennu/tree    the process tree, as the kernel tells it (/proc)
 *   POST /bennu/kill   {"id": "channel/17/3"}: kill -9 by the worker's parent
 *
 * A kill needs the token that the server printed when it started, in the header
 * X-Bennu-Token; a JSON content type; and a Host and Origin of this machine, so
 * that no other page in the user's browser can send it. Whom to kill is a role,
 * never a pid: the parent of that role looks for its own child.
 */
#ifndef ADMIN_H
#define ADMIN_H

#include <stdbool.h>

#include "common/json.h"
#include "transport/http.h"

struct transport;

bool admin_is_route(const char *path);
/* Appends the whole response. */
void admin_respond(
    struct transport *, const struct http_request *, struct json_buffer *);

#endif /* ADMIN_H */
