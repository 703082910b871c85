/*
 * route.c and answer.c: which route a request is for, what its parameters are,
 * and what an author may put into an answer.
 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "channel/answer.h"
#include "channel/route.h"
#include "tests/unit/unit.h"

static void
nothing(struct bennu_conn *conn)
{
	(void)conn;
}

static const struct bennu_route routes[] = {
	{ "GET", "/", nothing },
	{ "GET", "/a", nothing },
	{ "POST", "/a", nothing },
	{ "GET", "/a/b", nothing },
	{ "GET", "/a/:id", nothing },
	{ "DELETE", "/a/:id", nothing },
	{ "GET", "/a/:id", nothing },
	{ "GET", "/:x/and/:y", nothing },
	{ "HEAD", "/h", nothing },
	{ "GET", "/h", nothing },
	{ "OPTIONS", "/o", nothing },
	{ 0 },
};

/* "2 id=7", the index of the route; "none", "method", "malformed". */
static void
assert_route(const char *method, const char *path, const char *expected)
{
	struct route_match match;
	char text[256] = "";
	size_t n = 0;

	route_find(routes, method, path, &match);
	switch (match.result) {
	case ROUTE_NONE:
		n = (size_t)snprintf(text, sizeof text, "none");
		break;
	case ROUTE_OTHER_METHOD:
		n = (size_t)snprintf(text, sizeof text, "method");
		break;
	case ROUTE_MALFORMED:
		n = (size_t)snprintf(text, sizeof text, "malformed");
		break;
	case ROUTE_FOUND:
		n = (size_t)snprintf(
		    text, sizeof text, "%d", (int)(match.route - routes));
		for (size_t i = 0; i < match.nparams; i++)
			n += (size_t)snprintf(text + n, sizeof text - n,
			    " %.*s=%s", (int)match.params[i].name_size,
			    match.params[i].name, match.params[i].value);
		break;
	}
	ck_assert_msg(strcmp(text, expected) == 0, "%s %s: %s, expected %s",
	    method, path, text, expected);
	route_match_clear(&match);
}

START_TEST(first_that_fits)
{
	assert_route("GET", "/", "0");
	assert_route("GET", "/a", "1");
	assert_route("POST", "/a", "2");
	assert_route("GET", "/a/b", "3");
	assert_route("GET", "/a/bc", "4 id=bc");
	assert_route("DELETE", "/a/b", "5 id=b");
	assert_route("GET", "/1/and/2", "7 x=1 y=2");
	assert_route("GET", "/b", "none");
	assert_route("GET", "/a/b/c", "none");
	assert_route("GET", "/1/and", "none");
	assert_route("GET", "/A", "none");
}
END_TEST

START_TEST(slashes_do_not_count)
{
	assert_route("GET", "//", "0");
	assert_route("GET", "", "0");
	assert_route("GET", "/a/", "1");
	assert_route("GET", "//a//b//", "3");
	assert_route("DELETE", "/a//", "method");
}
END_TEST

START_TEST(methods)
{
	assert_route("HEAD", "/a", "1");
	assert_route("HEAD", "/h", "8");
	assert_route("HEAD", "/a/7", "4 id=7");
	assert_route("PUT", "/a", "method");
	assert_route("PUT", "/b", "none");
	assert_route("get", "/a", "method");
	assert_route("HEAD", "/o", "method");
	assert_route("OPTIONS", "/o", "10");
}
END_TEST

START_TEST(escapes)
{
	assert_route("GET", "/%61", "1");
	assert_route("GET", "/a/%C3%A4%2F%20", "4 id=ä/ ");
	assert_route("GET", "/a/%c3%a4", "4 id=ä");
	assert_route("GET", "/a/+", "4 id=+");
	assert_route("GET", "/a/%62", "3");
	assert_route("GET", "/a/b%2Fc", "4 id=b/c");
	/* What is no text is nobody's name, and no value. */
	assert_route("GET", "/%6", "none");
	assert_route("GET", "/%zz", "none");
	assert_route("GET", "/a/%", "malformed");
	assert_route("GET", "/a/%6", "malformed");
	assert_route("GET", "/a/%6x", "malformed");
	assert_route("GET", "/a/x%00y", "malformed");
	assert_route("GET", "/a/%ff", "malformed");
	assert_route("GET", "/a/\xff", "malformed");
	assert_route("GET", "/1/and/%ff", "malformed");
	assert_route("GET", "/%ff/and/1", "malformed");
}
END_TEST

static void
assert_methods(const char *path, const char *expected)
{
	struct json_buffer out = { 0 };

	json_append_text(&out, "Allow: ");
	route_append_methods(&out, routes, path);
	ck_assert_str_eq(out.data + strlen("Allow: "), expected);
	json_buffer_free(&out);
}

START_TEST(methods_of_a_path)
{
	assert_methods("/a", "GET, POST, HEAD, OPTIONS");
	assert_methods("/a/7", "GET, DELETE, HEAD, OPTIONS");
	assert_methods("/a/b", "GET, DELETE, HEAD, OPTIONS");
	assert_methods("/h", "HEAD, GET, OPTIONS");
	assert_methods("/o", "OPTIONS");
}
END_TEST

static void
assert_bad(const char *method, const char *path, bennu_handler handler,
    const char *expected)
{
	const struct bennu_route route = { method, path, handler };
	const char *why = route_error(&route);

	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, expected) != NULL, "%s", why);
}

START_TEST(tables)
{
	const struct bennu_route good = { "M-SEARCH", "/a_b/:c_1/:D", nothing };
	char many[256] = "";

	for (size_t i = 0; routes[i].method != NULL; i++)
		ck_assert_ptr_null(route_error(&routes[i]));
	ck_assert_ptr_null(route_error(&good));
	assert_bad("", "/", nothing, "method");
	assert_bad("get", "/", nothing, "method");
	assert_bad("GET ", "/", nothing, "method");
	assert_bad("GET", "/", NULL, "handler");
	assert_bad("GET", NULL, nothing, "begin with /");
	assert_bad("GET", "a", nothing, "begin with /");
	assert_bad("GET", "/:", nothing, "letters");
	assert_bad("GET", "/:a-b", nothing, "letters");
	assert_bad("GET", "/:a/b/:a", nothing, "one name");
	for (int i = 0; i <= ROUTE_PARAMS_MAX; i++)
		snprintf(many + strlen(many), sizeof many - strlen(many),
		    "/:p%d", i);
	assert_bad("GET", many, nothing, "too many");
}
END_TEST

static bool
name_is_good(const char *name)
{
	return answer_name_is_good(name, strlen(name));
}

START_TEST(answers)
{
	ck_assert(answer_status_is_good(200));
	ck_assert(answer_status_is_good(599));
	ck_assert(!answer_status_is_good(199));
	ck_assert(!answer_status_is_good(600));
	ck_assert(!answer_status_is_good(-1));

	ck_assert(name_is_good("X-Test_1"));
	ck_assert(name_is_good("Set-Cookie"));
	ck_assert(!name_is_good(""));
	ck_assert(!name_is_good("X Test"));
	ck_assert(!name_is_good("X-Test:"));
	ck_assert(!name_is_good("X-T\xc3\xa4st"));
	ck_assert(!name_is_good("content-LENGTH"));
	ck_assert(!name_is_good("Transfer-Encoding"));
	ck_assert(!name_is_good("access-control-allow-origin"));
	ck_assert(!answer_name_is_good("X\0Y", 3));

	ck_assert(answer_value_is_good("a\tb \xc3\xa4", 6));
	ck_assert(answer_value_is_good("", 0));
	ck_assert(!answer_value_is_good("a\rb", 3));
	ck_assert(!answer_value_is_good("a\nb", 3));
	ck_assert(!answer_value_is_good("a\0b", 3));
	ck_assert(!answer_value_is_good("a\x7f", 2));
}
END_TEST

START_TEST(errors)
{
	struct json_buffer out = { 0 };

	answer_append_error(&out, 404, NULL);
	ck_assert_str_eq(out.data, "{\"errors\":{\"detail\":\"Not Found\"}}");
	out.size = 0;
	answer_append_error(&out, 400, "\"so\"");
	ck_assert_str_eq(out.data, "{\"errors\":{\"detail\":\"\\\"so\\\"\"}}");
	json_buffer_free(&out);
}
END_TEST

UNIT_MAIN("route", first_that_fits, slashes_do_not_count, methods, escapes,
    methods_of_a_path, tables, answers, errors)
