/*
 * Any bytes as a path: what matches is text, and nothing but a path that no
 * route has is nobody's.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "channel/route.h"
#include "common/json.h"
#include "common/xmalloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
nothing(struct bennu_conn *conn)
{
	(void)conn;
}

static const struct bennu_route routes[] = {
	{ "GET", "/a", nothing },
	{ "POST", "/a/:id", nothing },
	{ "GET", "/:x/b/:y", nothing },
	{ "GET", "/:x/:y/:z/:w", nothing },
	{ 0 },
};

static void
find(const char *method, const char *path)
{
	struct json_buffer out = { 0 };
	struct route_match match;

	route_find(routes, method, path, &match);
	for (size_t i = 0; i < match.nparams; i++) {
		size_t n = strlen(match.params[i].value);

		assert(n > 0 && json_is_utf8(match.params[i].value, n));
	}
	assert((match.route != NULL) ==
	    (match.result == ROUTE_FOUND || match.result == ROUTE_MALFORMED));
	route_append_methods(&out, routes, path);
	/* Only OPTIONS, and nothing before it: no route has the path. */
	assert(
	    (match.result == ROUTE_NONE) == (strcmp(out.data, "OPTIONS") == 0));
	json_buffer_free(&out);
	route_match_clear(&match);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *path = xmemdup(bytes, size);

	find("GET", path);
	find("HEAD", path);
	find("POST", path);
	free(path);
	return 0;
}
