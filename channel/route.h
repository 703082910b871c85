/*
 * route.h - which handler of an application's table a request is for.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include <stddef.h>

#include <bennu/endpoint.h>

#include "common/json.h"

#define ROUTE_PARAMS_MAX 16

enum route_result {
	ROUTE_FOUND,
	ROUTE_NONE,
	ROUTE_OTHER_METHOD, /* the path is known, the method is not */
	ROUTE_MALFORMED,    /* a parameter is no text */
};

struct route_param {
	const char *name; /* in the pattern: no NUL behind it */
	size_t name_size;
	char *value; /* owned; UTF-8 without NULs */
};

struct route_match {
	enum route_result result;
	const struct bennu_route *route; /* when found; lent */
	struct route_param params[ROUTE_PARAMS_MAX];
	size_t nparams;
};

/* Clear the match, whatever came out of it. */
void route_find(const struct bennu_route *, const char *method,
    const char *path, struct route_match *);
void route_match_clear(struct route_match *);
/* The methods of a path that is known: "GET, HEAD, OPTIONS". */
void route_append_methods(
    struct json_buffer *, const struct bennu_route *, const char *path);

/* NULL, or what is wrong with this route of a table. */
const char *route_error(const struct bennu_route *);

#endif /* ROUTE_H */
