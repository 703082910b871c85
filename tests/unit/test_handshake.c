/*
 * handshake.c: who may open a WebSocket, and from where.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "tests/unit/unit.h"
#include "transport/handshake.h"

#define COUNT(a) (sizeof a / sizeof a[0])

#define KEY "dGhlIHNhbXBsZSBub25jZQ==" /* of RFC 6455 */

#define HEADERS_MAX 8

struct header_case {
	const char *error; /* a word of it; NULL: none */
	struct http_header headers[HEADERS_MAX];
};

static struct http_request
request_with(const struct http_header *headers)
{
	struct http_request request = { .method = "GET",
		.path = "/socket/websocket",
		.query = "",
		.headers = headers,
		.minor = 1,
		.upgrade = true };

	while (request.nheaders < HEADERS_MAX &&
	    headers[request.nheaders].name != NULL)
		request.nheaders++;
	return request;
}

static void
assert_error(const struct http_request *request, const char *word)
{
	const char *error = handshake_check(request);

	if (word == NULL)
		ck_assert_msg(error == NULL, "%s", error);
	else
		ck_assert_msg(error != NULL && strstr(error, word) != NULL,
		    "'%s', not '%s'", error == NULL ? "" : error, word);
}

#define UPGRADE                        \
	{                              \
		"Upgrade", "websocket" \
	}
#define CONNECTION                      \
	{                               \
		"Connection", "Upgrade" \
	}
#define WITH_KEY                         \
	{                                \
		"Sec-WebSocket-Key", KEY \
	}
#define VERSION                               \
	{                                     \
		"Sec-WebSocket-Version", "13" \
	}

static const struct header_case cases[] = {
	{ NULL, { UPGRADE, CONNECTION, WITH_KEY, VERSION } },
	{ NULL,
	    { { "upgrade", "WebSocket" }, { "connection", "uPGRADE" },
		{ "sec-websocket-key", KEY },
		{ "SEC-WEBSOCKET-VERSION", "13" } } },
	{ NULL,
	    { { "Upgrade", "h2c, websocket" },
		{ "Connection", "keep-alive, Upgrade" }, WITH_KEY, VERSION } },
	{ NULL,
	    { UPGRADE, { "Connection", "keep-alive" }, CONNECTION, WITH_KEY,
		VERSION } },
	{ "Upgrade", { CONNECTION, WITH_KEY, VERSION } },
	{ "Upgrade", { { "Upgrade", "h2c" }, CONNECTION, WITH_KEY, VERSION } },
	{ "Upgrade",
	    { { "Upgrade", "websockets" }, CONNECTION, WITH_KEY, VERSION } },
	{ "Connection", { UPGRADE, WITH_KEY, VERSION } },
	{ "Connection",
	    { UPGRADE, { "Connection", "keep-alive" }, WITH_KEY, VERSION } },
	{ "absent", { UPGRADE, CONNECTION, VERSION } },
	{ "Key", { UPGRADE, CONNECTION, WITH_KEY, WITH_KEY, VERSION } },
	{ "Version", { UPGRADE, CONNECTION, WITH_KEY } },
	{ "Version", { UPGRADE, CONNECTION, WITH_KEY, VERSION, VERSION } },
	{ "Version",
	    { UPGRADE, CONNECTION, WITH_KEY,
		{ "Sec-WebSocket-Version", "8" } } },
	{ "Version",
	    { UPGRADE, CONNECTION, WITH_KEY,
		{ "Sec-WebSocket-Version", "13, 8" } } },
	{ "Version",
	    { UPGRADE, CONNECTION, WITH_KEY,
		{ "Sec-WebSocket-Version", "" } } },
};

START_TEST(upgrades)
{
	struct http_request request;

	for (size_t i = 0; i < COUNT(cases); i++) {
		request = request_with(cases[i].headers);
		assert_error(&request, cases[i].error);
	}
	request = request_with(cases[0].headers);
	request.method = "POST";
	assert_error(&request, "GET");
	request = request_with(cases[0].headers);
	request.minor = 0;
	assert_error(&request, "HTTP/1.1");
	request = request_with(cases[0].headers);
	request.upgrade = false;
	assert_error(&request, "body");
}
END_TEST

START_TEST(keys)
{
	static const char *const good[] = { KEY, "AAAAAAAAAAAAAAAAAAAAAA==",
		"/////////////////////w==", "x3JJHMbDL1EzLkh9GBhXDw==" };
	static const char *const bad[] = { "", "a", "AAAA",
		"AAAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAAAAAAAAAAAAAA===", "AAAAAAAAAAAAAAAAAAAAA===",
		"AAAAAAAAAAA AAAAAAAAAA==", "=AAAAAAAAAAAAAAAAAAAAAA=",
		"AAAAAAAAAAAAAAAAAAAA_-==", "AAAA==AAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAAAAAAAAAAAAA\xff==" };

	for (size_t i = 0; i < COUNT(good) + COUNT(bad); i++) {
		bool is_good = i < COUNT(good);
		const struct http_header headers[HEADERS_MAX] = { UPGRADE,
			CONNECTION, VERSION,
			{ "Sec-WebSocket-Key",
			    is_good ? good[i] : bad[i - COUNT(good)] } };
		struct http_request request = request_with(headers);

		assert_error(&request, is_good ? NULL : "base64");
	}
}
END_TEST

START_TEST(accepts)
{
	struct http_request request = request_with(cases[0].headers);
	struct json_buffer out = { 0 };

	handshake_append_accept(&out, &request, NULL);
	ck_assert_str_eq(out.data,
	    "HTTP/1.1 101 Switching Protocols\r\n"
	    "Upgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	    "\r\n");
	json_buffer_free(&out);
	handshake_append_accept(&out, &request, "phoenix");
	ck_assert_ptr_nonnull(strstr(
	    out.data, "xOo=\r\nSec-WebSocket-Protocol: phoenix\r\n\r\n"));
	json_buffer_free(&out);
}
END_TEST

static bool
allowed(const char *origin, const char *rule)
{
	const struct http_header headers[HEADERS_MAX] = { { "Origin",
	    origin } };
	struct http_request request = request_with(headers);
	char *rules[] = { (char *)"//never.example", (char *)rule };

	return handshake_origin_allowed(&request, rules, COUNT(rules));
}

START_TEST(matching)
{
	static const struct {
		const char *rule, *origin;
		bool allowed;
	} origins[] = {
		{ "//a.com", "http://a.com", true },
		{ "//a.com", "https://a.com", true },
		{ "//a.com", "https://a.com:4000", true },
		{ "//a.com", "ionic://a.com", true },
		{ "//a.com", "http://b.com", false },
		{ "//a.com", "http://A.com", false },
		{ "//A.com", "http://a.com", false },
		{ "//a.com", "http://xa.com", false },
		{ "//a.com", "http://a.com.evil.com", false },
		{ "//a.com", "http://a.co", false },
		{ "//a.com:4000", "http://a.com:4000", true },
		{ "//a.com:4000", "https://a.com:4000", true },
		{ "//a.com:4000", "http://a.com", false },
		{ "//a.com:4000", "http://a.com:40000", false },
		{ "//a.com:80", "http://a.com", true },
		{ "//a.com:443", "https://a.com", true },
		{ "//a.com:80", "https://a.com", false },
		{ "https://a.com", "https://a.com", true },
		{ "https://a.com", "HTTPS://a.com", true },
		{ "HTTPS://a.com", "https://a.com:443", true },
		{ "https://a.com", "https://a.com:8443", false },
		{ "https://a.com", "http://a.com", false },
		{ "https://a.com", "http://a.com:443", false },
		{ "http://a.com", "http://a.com:80", true },
		{ "http://a.com", "http://a.com:8080", false },
		{ "https://a.com:8443", "https://a.com:8443", true },
		{ "https://a.com:8443", "https://a.com", false },
		{ "ionic://a.com", "ionic://a.com", true },
		{ "ionic://a.com", "ionic://a.com:1", true },
		{ "ionic://a.com", "ioni://a.com", false },
		{ "//*.x.com", "http://x.com", true },
		{ "//*.x.com", "http://a.x.com", true },
		{ "//*.x.com", "http://a.b.x.com:81", true },
		{ "//*.x.com", "http://evilx.com", false },
		{ "//*.x.com", "http://.x.com.evil", false },
		{ "//*.x.com", "http://com", false },
		{ "https://*.x.com", "https://a.x.com", true },
		{ "https://*.x.com", "http://a.x.com", false },
		{ "//*.x.com:81", "http://a.x.com", false },
		{ "//[::1]:4000", "http://[::1]:4000", true },
		{ "//[::1]", "http://[::1]:4000", true },
		{ "//[::1]", "http://[::2]", false },
		{ "//localhost", "http://localhost:5173", true },
		{ "//127.0.0.1", "http://127.0.0.1:5173", true },
		/* no host, or not an origin */
		{ "//a.com", "", false },
		{ "//a.com", "null", false },
		{ "//a.com", "a.com", false },
		{ "//a.com", "//a.com", false },
		{ "//a.com", "http://", false },
		{ "//a.com", "http:a.com", false },
		{ "//a.com", "http:/a.com", false },
		{ "//a.com", "://a.com", false },
		{ "//a.com", "http://evil.com@a.com", false },
		{ "//a.com", "http://a.com@evil.com", false },
		{ "//a.com", "http://a.com:80@evil.com", false },
		{ "//a.com", "http://a.com\\.evil.com", false },
		{ "//a.com", "http://evil.com#//a.com", false },
		{ "//a.com", "http://evil.com/http://a.com", false },
		{ "//a.com", "http://a.com http://evil.com", false },
		{ "//a.com", "http://a.com:", false },
		{ "//a.com", "http://a.com:0", false },
		{ "//a.com", "http://a.com:65536", false },
		{ "//a.com", "http://a.com:4294967376", false },
		{ "//a.com", "http://a.com:80a", false },
		{ "//[::1]", "http://[::1", false },
		{ "//[::1]", "http://[]", false },
		{ "//[::1]", "http://[::1]x", false },
	};

	for (size_t i = 0; i < COUNT(origins); i++)
		ck_assert_msg(allowed(origins[i].origin, origins[i].rule) ==
			origins[i].allowed,
		    "%s under %s", origins[i].origin, origins[i].rule);
}
END_TEST

START_TEST(no_origin_or_no_rules)
{
	static const struct http_header none[HEADERS_MAX] = { UPGRADE };
	static const struct http_header null[HEADERS_MAX] = { { "Origin",
	    "null" } };
	static const struct http_header two[HEADERS_MAX] = {
		{ "Origin", "http://a.com" }, { "Origin", "http://a.com" }
	};
	char *rules[] = { (char *)"//a.com" };
	struct http_request request = request_with(none);

	ck_assert(handshake_origin_allowed(&request, rules, 1));
	request = request_with(null);
	ck_assert(!handshake_origin_allowed(&request, rules, 1));
	ck_assert(handshake_origin_allowed(&request, NULL, 0));
	request = request_with(two);
	ck_assert(!handshake_origin_allowed(&request, rules, 1));
}
END_TEST

START_TEST(rules)
{
	static const char *const good[] = { "//a", "//a.com:1", "http://a",
		"http://a:65535", "//*.x.com", "app+x.y-z://a",
		"//[::1]:4000" };
	static const char *const bad[] = { "", "a", "a.com", "a.com:80",
		"localhost:4000", "/a", "//", "http:", "http:/a", "http://",
		"http://:80", "//a/", "//a/b", "//a?b", "//u@a",
		"//a:", "//a:0", "//a:65536", "//a:b", "//a b", "//*", "//*.",
		"//a.*", "//*a", "//*.*.com", "//a*.com", "*", "//[::1",
		"//[::1]a", "http//a" };

	for (size_t i = 0; i < COUNT(good); i++)
		ck_assert_msg(handshake_origin_rule_error(good[i]) == NULL,
		    "%s", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++)
		ck_assert_msg(
		    handshake_origin_rule_error(bad[i]) != NULL, "%s", bad[i]);
}
END_TEST

START_TEST(origin_of_the_request_itself)
{
	static const struct {
		const char *host, *origin;
		bool allowed;
	} conns[] = {
		{ "a.com:4000", "http://a.com:4000", true },
		{ "a.com", "http://a.com", true },
		{ "a.com:80", "http://a.com", true },
		{ "[::1]:4000", "http://[::1]:4000", true },
		{ "a.com:4000", "https://a.com:4000", false },
		{ "a.com:4000", "http://a.com:4001", false },
		{ "a.com", "http://a.com:4000", false },
		{ "a.com", "http://b.com", false },
		{ "a.com", "http://A.com", false },
		{ "a.com", "null", false },
		{ "", "http://a.com", false },
		{ "a.com/x", "http://a.com", false },
	};
	char *rule[] = { (char *)":conn" };

	for (size_t i = 0; i < COUNT(conns); i++) {
		struct http_header headers[HEADERS_MAX] = {
			{ "Host", conns[i].host }, { "Origin", conns[i].origin }
		};
		struct http_request request = request_with(headers);

		ck_assert_msg(handshake_origin_allowed(&request, rule, 1) ==
			conns[i].allowed,
		    "%s at %s", conns[i].origin, conns[i].host);
	}
}
END_TEST

#define BEARER "base64url.bearer.phx."

/* token NULL: none; refused: what else is said does not matter. */
struct subprotocol_case {
	const char *fields[3];
	bool refused, phoenix;
	const char *token;
};

static const struct subprotocol_case subprotocol_cases[] = {
	{ { NULL }, .token = NULL },
	{ { "phoenix" }, .phoenix = true },
	{ { "phoenix, " BEARER "dG9rZW4" }, .phoenix = true, .token = "token" },
	{ { BEARER "dG9rZW4,phoenix" }, .phoenix = true, .token = "token" },
	{ { "phoenix", BEARER "dG9rZW4" }, .phoenix = true, .token = "token" },
	{ { BEARER "dG9rZW4" }, .token = "token" },
	{ { " , " BEARER "dG9rZW4 ," }, .token = "token" },
	{ { BEARER }, .token = "" },
	{ { BEARER "YQ" }, .token = "a" },
	{ { BEARER "YQ==" }, .token = "a" },
	{ { BEARER "YWI" }, .token = "ab" },
	{ { BEARER "YWJj" }, .token = "abc" },
	{ { BEARER "YWJjZA" }, .token = "abcd" },
	{ { BEARER "w78rLz0" }, .token = "\xc3\xbf+/=" },
	{ { BEARER "+/+/" }, .token = "\xfb\xff\xbf" },
	{ { "mqtt, phoenix" }, .phoenix = true },
	{ { "mqtt" }, .refused = true },
	{ { "mqtt, chat" }, .refused = true },
	{ { "Phoenix" }, .refused = true },
	{ { "phoenix2" }, .refused = true },
	{ { "" }, .refused = true },
	{ { BEARER "dG9rZW4, mqtt" }, .refused = true },
	{ { BEARER "YQ, " BEARER "Yg" }, .refused = true },
	{ { BEARER "YQ, " BEARER "Yg, phoenix" }, .phoenix = true },
	{ { BEARER "A, phoenix" }, .refused = true },
	{ { BEARER "AAAAA" }, .refused = true },
	{ { BEARER "-_-_" }, .refused = true },
	{ { BEARER "dG9 rZW4" }, .refused = true },
	{ { BEARER "YQ=a" }, .refused = true },
	{ { BEARER "=" }, .token = "" },
	{ { BEARER "\xc3\xbf" }, .refused = true },
	{ { "BASE64URL.bearer.phx.YQ" }, .refused = true },
};

START_TEST(subprotocols)
{
	for (size_t i = 0; i < COUNT(subprotocol_cases); i++) {
		const struct subprotocol_case *c = &subprotocol_cases[i];
		struct http_header headers[HEADERS_MAX] = { UPGRADE };
		struct http_request request;
		struct text token;
		bool phoenix, fine;

		for (size_t k = 0; k < COUNT(c->fields) && c->fields[k]; k++)
			headers[1 + k] = (struct http_header){
				"Sec-WebSocket-Protocol", c->fields[k]
			};
		request = request_with(headers);
		fine = handshake_subprotocols(&request, &phoenix, &token);
		ck_assert_msg(fine == !c->refused, "case %zu", i);
		if (!fine) {
			ck_assert_ptr_null(token.data);
			continue;
		}
		ck_assert_msg(phoenix == c->phoenix, "case %zu", i);
		ck_assert_msg(
		    (token.data != NULL) == (c->token != NULL), "case %zu", i);
		if (c->token == NULL)
			continue;
		ck_assert_str_eq(token.data, c->token);
		ck_assert_uint_eq(token.size, strlen(c->token));
		free(token.data);
	}
}
END_TEST

UNIT_MAIN("handshake", upgrades, keys, accepts, matching, no_origin_or_no_rules,
    rules, origin_of_the_request_itself, subprotocols)
