/*
 * route.c - see route.h. A request's path is walked beside a route's, segment
 * by segment; nothing is made of either before they fit.
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "channel/route.h"
#include "common/hex.h"
#include "common/xmalloc.h"

struct segment {
	const char *data;
	size_t size;
};

/* The next segment that is not empty; false at the end of the path. */
static bool
next_segment(const char **path, struct segment *segment)
{
	*path += strspn(*path, "/");
	segment->data = *path;
	segment->size = strcspn(*path, "/");
	*path += segment->size;
	return segment->size > 0;
}

/* The byte at *at, which moves behind it; -1: no proper escape. */
static int
decode_byte(const char **at, const char *end)
{
	const char *s = *at;
	int high, low;

	if (*s != '%') {
		*at = s + 1;
		return (unsigned char)*s;
	}
	if (end - s < 3)
		return -1;
	high = hex_digit(s[1]);
	low = hex_digit(s[2]);
	if (high == -1 || low == -1)
		return -1;
	*at = s + 3;
	return high * 16 + low;
}

static bool
segment_is(const struct segment *segment, const struct segment *literal)
{
	const char *at = segment->data, *end = at + segment->size;
	size_t n = 0;

	while (at < end) {
		int c = decode_byte(&at, end);

		if (n == literal->size ||
		    c != (unsigned char)literal->data[n++])
			return false;
	}
	return n == literal->size;
}

/* NULL: bad escapes, a NUL, or no UTF-8. */
static char *
segment_decode(const struct segment *segment)
{
	const char *at = segment->data, *end = at + segment->size;
	char *value = xmalloc(segment->size + 1);
	size_t n = 0;

	while (at < end) {
		int c = decode_byte(&at, end);

		if (c <= 0) {
			free(value);
			return NULL;
		}
		value[n++] = (char)c;
	}
	value[n] = '\0';
	if (json_is_utf8(value, n))
		return value;
	free(value);
	return NULL;
}

static bool
path_fits(const struct bennu_route *route, const char *path)
{
	const char *pattern = route->path;
	struct segment mine, theirs;

	for (;;) {
		bool more = next_segment(&pattern, &mine);

		if (next_segment(&path, &theirs) != more)
			return false;
		if (!more)
			return true;
		if (*mine.data != ':' && !segment_is(&theirs, &mine))
			return false;
	}
}

/* False: one of them is no text. */
static bool
take_params(struct route_match *match, const char *path)
{
	const char *pattern = match->route->path;
	struct segment mine, theirs;

	while (next_segment(&pattern, &mine) && next_segment(&path, &theirs)) {
		struct route_param *param = &match->params[match->nparams];

		if (*mine.data != ':')
			continue;
		param->name = mine.data + 1;
		param->name_size = mine.size - 1;
		param->value = segment_decode(&theirs);
		if (param->value == NULL)
			return false;
		match->nparams++;
	}
	return true;
}

static bool
method_fits(const struct bennu_route *route, const char *method)
{
	return strcmp(route->method, method) == 0 ||
	    (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

void
route_find(const struct bennu_route *routes, const char *method,
    const char *path, struct route_match *match)
{
	memset(match, 0, sizeof *match);
	match->result = ROUTE_NONE;
	for (const struct bennu_route *route = routes; route->method != NULL;
	     route++) {
		if (!path_fits(route, path))
			continue;
		if (!method_fits(route, method)) {
			match->result = ROUTE_OTHER_METHOD;
			continue;
		}
		match->route = route;
		match->result = take_params(match, path) ? ROUTE_FOUND
							 : ROUTE_MALFORMED;
		return;
	}
}

void
route_match_clear(struct route_match *match)
{
	for (size_t i = 0; i < match->nparams; i++)
		free(match->params[i].value);
	match->nparams = 0;
}

/* Does an earlier route say the same of this path? */
static bool
method_is_said(const struct bennu_route *routes,
    const struct bennu_route *route, const char *path)
{
	for (; routes < route; routes++)
		if (strcmp(routes->method, route->method) == 0 &&
		    path_fits(routes, path))
			return true;
	return false;
}

static void
append_method(struct json_buffer *out, size_t begin, const char *method)
{
	if (out->size > begin)
		json_append_text(out, ", ");
	json_append_text(out, method);
}

void
route_append_methods(
    struct json_buffer *out, const struct bennu_route *routes, const char *path)
{
	bool get = false, head = false, options = false;
	size_t begin = out->size;

	for (const struct bennu_route *route = routes; route->method != NULL;
	     route++) {
		if (!path_fits(route, path) ||
		    method_is_said(routes, route, path))
			continue;
		append_method(out, begin, route->method);
		get = get || strcmp(route->method, "GET") == 0;
		head = head || strcmp(route->method, "HEAD") == 0;
		options = options || strcmp(route->method, "OPTIONS") == 0;
	}
	if (get && !head)
		append_method(out, begin, "HEAD");
	if (!options)
		append_method(out, begin, "OPTIONS");
}

/* ---- the table itself ---- */

static bool
name_is_good(const struct segment *segment)
{
	for (size_t i = 1; i < segment->size; i++) {
		unsigned char c = (unsigned char)segment->data[i];

		if (!isalnum(c) && c != '_')
			return false;
	}
	return segment->size > 1;
}

static bool
name_is_new(const char *pattern, const struct segment *name)
{
	struct segment other;

	while (next_segment(&pattern, &other) && other.data < name->data)
		if (other.size == name->size &&
		    memcmp(other.data, name->data, name->size) == 0)
			return false;
	return true;
}

const char *
route_error(const struct bennu_route *route)
{
	const char *pattern = route->path;
	struct segment segment;
	size_t n = 0;

	if (route->method[0] == '\0' ||
	    route->method[strspn(
		route->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-")] != '\0')
		return "its method is no method; they are in capitals";
	if (route->handler == NULL)
		return "it has no handler";
	if (route->path == NULL || route->path[0] != '/')
		return "its path does not begin with /";
	while (next_segment(&pattern, &segment)) {
		if (*segment.data != ':')
			continue;
		if (!name_is_good(&segment))
			return "a name behind : has letters, digits and _";
		if (!name_is_new(route->path, &segment))
			return "two parts of its path have one name";
		if (++n > ROUTE_PARAMS_MAX)
			return "its path has too many named parts";
	}
	return NULL;
}
