/*
 * http.c: requests in, responses out. Every conversation is fed whole, byte by
 * byte and in random parts; what comes out may not depend on it.
 */
#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "tests/unit/unit.h"
#include "transport/http.h"

#define COUNT(a) (sizeof a / sizeof a[0])

#define RANDOM_FEEDS 20

/* Small, so that tables can exceed them. */
static const struct http_limits limits = {
	.head_max = 256,
	.headers_max = 5,
	.body_max = 20,
};

struct http_case {
	const char *wire;
	size_t size;
	/* "GET path [?query] flags [body]\n" each, then "status\n" if it is
	 * bad; flags: minor version, k(eep), u(pgrade), h(ead) */
	const char *expected;
};

#define C(wire, expected)                       \
	{                                       \
		wire, sizeof wire - 1, expected \
	}

#define HOST "Host: a\r\n"
#define END  "\r\n"

static const struct http_case good[] = {
	C("GET / HTTP/1.1\r\n" HOST END, "GET / 1k\n"),
	C("GET / HTTP/1.0\r\n\r\n", "GET / 0\n"),
	C("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / 0k\n"),
	C("GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", "GET / 1\n"),
	C("GET / HTTP/1.1\r\n" HOST "Connection: foo, Close\r\n\r\n",
	    "GET / 1\n"),
	C("GET / HTTP/1.9\r\n" HOST END, "GET / 9k\n"),
	C("HEAD /a HTTP/1.1\r\n" HOST END, "HEAD /a 1kh\n"),
	C("OPTIONS /a HTTP/1.1\r\n" HOST END, "OPTIONS /a 1k\n"),
	C("DELETE /a HTTP/1.1\r\n" HOST END, "DELETE /a 1k\n"),
	/* targets */
	C("GET /a/b?c=d&e HTTP/1.1\r\n" HOST END, "GET /a/b ?c=d&e 1k\n"),
	C("GET /? HTTP/1.1\r\n" HOST END, "GET / 1k\n"),
	C("GET /a?b?c HTTP/1.1\r\n" HOST END, "GET /a ?b?c 1k\n"),
	C("GET //a/%00%2e HTTP/1.1\r\n" HOST END, "GET //a/%00%2e 1k\n"),
	C("GET /\xc3\xa9?{|}\"^` HTTP/1.1\r\n" HOST END,
	    "GET /\xc3\xa9 ?{|}\"^` 1k\n"),
	C("GET http://example.com/a?b HTTP/1.1\r\n" HOST END, "GET /a ?b 1k\n"),
	C("GET HTTPS://example.com:8080/a HTTP/1.1\r\n" HOST END,
	    "GET /a 1k\n"),
	C("GET http://example.com HTTP/1.1\r\n" HOST END, "GET / 1k\n"),
	C("GET http://example.com?b=/ HTTP/1.1\r\n" HOST END,
	    "GET / ?b=/ 1k\n"),
	/* hosts */
	C("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / 1k\n"),
	C("GET / HTTP/1.1\r\nhost:[::1]:4000\r\n\r\n", "GET / 1k\n"),
	C("GET / HTTP/1.1\r\nHOST: \t localhost:4000 \t \r\n\r\n",
	    "GET / 1k\n"),
	/* empty lines before a request */
	C("\r\n\r\nGET / HTTP/1.1\r\n" HOST END, "GET / 1k\n"),
	C("\r\n", ""),
	/* bodies */
	C("POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello",
	    "POST /p 1k hello\n"),
	C("POST /p HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
	    "POST /p 1k\n"),
	C("POST /p HTTP/1.1\r\n" HOST "Content-Length:   007  \r\n\r\n1234567",
	    "POST /p 1k 1234567\n"),
	C("POST /p HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "POST /p 0 hi\n"),
	C("POST /p HTTP/1.1\r\n" HOST "Content-Length: 20\r\n\r\n"
	  "12345678901234567890",
	    "POST /p 1k 12345678901234567890\n"),
	C("GET /g HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi",
	    "GET /g 1k hi\n"),
	C("POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhel", ""),
	/* chunks */
	C("POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
	  "5\r\nhello\r\n0\r\n\r\n",
	    "POST /c 1k hello\n"),
	C("POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: CHUNKED\r\n\r\n"
	  "3\r\nab\r\r\n0b\r\n\n2345678901\r\n000\r\n\r\n",
	    "POST /c 1k ab\r\n2345678901\n"),
	C("POST /c HTTP/1.1\r\n" HOST "transfer-encoding:chunked\r\n\r\n"
	  "14\r\n12345678901234567890\r\n0\r\n"
	  "Trailer: x\r\nContent-Length: 3\r\n\r\n",
	    "POST /c 1k 12345678901234567890\n"),
	C("POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
	  "0\r\n\r\nGET / HTTP/1.1\r\n" HOST END,
	    "POST /c 1k\nGET / 1k\n"),
	C("POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
	  "0000000000000001\r\na\r\n0\r\n\r\n",
	    "POST /c 1k a\n"),
	C("POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
	  "5\r\nhello\r\n",
	    ""),
	C("POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
	  "a: b\r\nc: d\r\ne: f\r\n\r\n"
	  "0\r\ng:\r\nh:\r\ni:\r\nj:\r\nk:\r\n\r\n",
	    "POST /c 1k\n"),
	/* one behind another */
	C("GET /1 HTTP/1.1\r\n" HOST END "GET /2 HTTP/1.1\r\n" HOST END
	  "POST /3 HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi"
	  "GET /4 HTTP/1.0\r\n\r\n",
	    "GET /1 1k\nGET /2 1k\nPOST /3 1k hi\nGET /4 0\n"),
	C("POST /1 HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi\r\n"
	  "GET /2 HTTP/1.1\r\n" HOST END,
	    "POST /1 1k hi\nGET /2 1k\n"),
	/* upgrades */
	C("GET /s HTTP/1.1\r\n" HOST "Upgrade: websocket\r\n"
	  "Connection: keep-alive, Upgrade\r\n\r\n",
	    "GET /s 1ku\n"),
	C("GET /s HTTP/1.1\r\n" HOST "Upgrade: websocket\r\n\r\n",
	    "GET /s 1k\n"),
	C("GET /s HTTP/1.1\r\n" HOST "Connection: upgrade\r\n\r\n",
	    "GET /s 1k\n"),
	C("POST /s HTTP/1.1\r\n" HOST "Upgrade: h2c\r\nContent-Length: 2\r\n"
	  "Connection: upgrade\r\n\r\nhiGET / HTTP/1.0\r\n\r\n",
	    "POST /s 1k hi\nGET / 0\n"),
	/* the limits, just so */
	C("GET / HTTP/1.1\r\n" HOST "a: b\r\nc: d\r\ne: f\r\ng: h\r\n\r\n",
	    "GET / 1k\n"),
};

static const struct http_case bad[] = {
	/* request lines */
	C("GET\r\n\r\n", "400\n"),
	C("GET /\r\n\r\n", "400\n"),
	C("GET / \r\n\r\n", "400\n"),
	C(" GET / HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET  / HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET /  HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET / HTTP/1.1 \r\n" HOST END, "400\n"),
	C("GET\t/ HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET /\tHTTP/1.1\r\n" HOST END, "400\n"),
	C("G<T / HTTP/1.1\r\n" HOST END, "400\n"),
	C("\x16\x03\x01\x02\x00", "400\n"),
	C("\0", "400\n"),
	C("\n", "400\n"),
	C("\rG", "400\n"),
	C("\r\n\r\n\r\n\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\n" HOST END, "400\n"),
	C("GET / http/1.1\r\n", "400\n"),
	C("GET / HTTP/1,1\r\n", "400\n"),
	C("GET / HTTP/11\r\n", "400\n"),
	C("GET / HTTP/1.\r\n", "400\n"),
	C("GET / HTTP/1.11\r\n", "400\n"),
	C("GET / HTTP/01.1\r\n", "505\n"),
	C("GET / HTTP/0.9\r\n", "505\n"),
	C("GET / HTTP/2.0\r\n", "505\n"),
	C("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505\n"),
	C("FOO / HTTP/1.1\r\n" HOST END, "501\n"),
	C("get / HTTP/1.1\r\n" HOST END, "501\n"),
	C("GETT / HTTP/1.1\r\n" HOST END, "501\n"),
	C("CONNECT a:80 HTTP/1.1\r\n" HOST END, "501\n"),
	/* targets */
	C("GET a HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET * HTTP/1.1\r\n" HOST END, "400\n"),
	C("OPTIONS * HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET ?a HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET /a#b HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET /a\0b HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET /a\x7f HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET /a\rb HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET /a\x01 HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET http:/// HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET http://?a HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET http: HTTP/1.1\r\n" HOST END, "400\n"),
	C("GET ftp://a/ HTTP/1.1\r\n" HOST END, "400\n"),
	/* Host */
	C("GET / HTTP/1.1\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST HOST END, "400\n"),
	C("GET / HTTP/1.0\r\n" HOST HOST END, "400\n"),
	C("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\nHost: a\x80\r\n\r\n", "400\n"),
	/* fields */
	C("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a: b\r\n c\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a: b\r\n\tc\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a(: b\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a\x80: b\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a\0: b\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a: b\0c\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a: b\x01\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a: b\x7f\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a: b\rc: d\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a: b\nc: d\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "a: b\r\r\n\r\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "\n", "400\n"),
	C("GET / HTTP/1.1\r\n" HOST "\r\r", "400\n"),
	/* where does the body end? */
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n"
	  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
	  "Content-Length: 3\r\n\r\n0\r\n\r\n",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n"
	  "Content-Length: 3\r\n\r\nabc",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n"
	  "Content-Length: 4\r\n\r\nabcd",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n"
	  "Content-Length: 3\r\n\r\nabc",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: 3 3\r\n\r\nabc", "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc", "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: -3\r\n\r\nabc", "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\nabc", "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: 3a\r\n\r\nabc", "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length:  \t \r\n\r\n", "400\n"),
	C("POST / HTTP/1.1\r\n" HOST
	  "Content-Length: 18446744073709551617\r\n\r\n",
	    "400\n"),
	C("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "0\r\n\r\n",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
	  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST
	  "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n", "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: ,chunked\r\n\r\n",
	    "400\n"),
	C("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n",
	    "501\n"),
	C("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n",
	    "501\n"),
	C("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n",
	    "501\n"),
	C("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked x\r\n\r\n",
	    "501\n"),
	C("POST / HTTP/1.1\r\n" HOST
	  "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	    "501\n"),
	C("POST / HTTP/1.1\r\n" HOST
	  "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
	    "501\n"),
	C("POST / HTTP/1.1\r\n" HOST
	  "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
	    "501\n"),
/* chunks */
#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
	C(CHUNKED "\r\n", "400\n"),
	C(CHUNKED "g\r\n", "400\n"),
	C(CHUNKED " 1\r\na\r\n", "400\n"),
	C(CHUNKED "1 \r\na\r\n", "400\n"),
	C(CHUNKED "+1\r\na\r\n", "400\n"),
	C(CHUNKED "0x1\r\na\r\n", "400\n"),
	C(CHUNKED "1,\r\na\r\n", "400\n"),
	C(CHUNKED ";a\r\n", "400\n"),
	C(CHUNKED "1;\r\na\r\n0\r\n\r\n", "400\n"),
	C(CHUNKED "1;a=\"b c\"\r\na\r\n0\r\n\r\n", "400\n"),
	C(CHUNKED "1\r\na\r\n0;a\r\n\r\n", "400\n"),
	C(CHUNKED "1 \r\na\r\n0\r\n\r\n", "400\n"),
	C(CHUNKED "1\na\r\n0\r\n\r\n", "400\n"),
	C(CHUNKED "1;a\nb\r\nc\r\n0\r\n\r\n", "400\n"),
	C(CHUNKED "1;a\0b\r\nc\r\n0\r\n\r\n", "400\n"),
	C(CHUNKED "1\r\rc\r\n0\r\n\r\n", "400\n"),
	C(CHUNKED "1\r\na\n0\r\n\r\n", "400\n"),
	C(CHUNKED "1\r\nab\r\n0\r\n\r\n", "400\n"),
	C(CHUNKED "1\r\naXX0\r\n\r\n", "400\n"),
	C(CHUNKED "1\r\na\rX0\r\n\r\n", "400\n"),
	C(CHUNKED "1\r\naX\n0\r\n\r\n", "400\n"),
	C(CHUNKED "00000000000000001\r\na\r\n0\r\n\r\n", "400\n"),
	C(CHUNKED "ffffffffffffffff\r\n", "400\n"),
	C(CHUNKED "7fffffffffffffff\r\n", "413\n"),
	C(CHUNKED "15\r\n", "413\n"),
	C(CHUNKED "8\r\n12345678\r\n8\r\n12345678\r\n5\r\n", "413\n"),
	C(CHUNKED "0\r\n\n", "400\n"),
	C(CHUNKED "0\r\na\r\n\r\n", "400\n"),
	C(CHUNKED "0\r\na: b\n\r\n", "400\n"),
	C(CHUNKED "0\r\na: b\r\n c\r\n\r\n", "400\n"),
	C(CHUNKED "0\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\n\r\n", "431\n"),
	/* sizes */
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: 21\r\n\r\n", "413\n"),
	C("POST / HTTP/1.1\r\n" HOST "Content-Length: 9999999999\r\n\r\n",
	    "413\n"),
	C("GET / HTTP/1.1\r\n" HOST
	  "a: b\r\nc: d\r\ne: f\r\ng: h\r\ni: j\r\n\r\n",
	    "431\n"),
	/* expectations */
	C("POST / HTTP/1.1\r\n" HOST "Expect: tea\r\n"
	  "Content-Length: 2\r\n\r\nhi",
	    "417\n"),
	/* what was good before stays so */
	C("GET /1 HTTP/1.1\r\n" HOST END "POST /2 HTTP/1.1\r\n" HOST
	  "Content-Length: 2\r\n\r\nhi\nGET /3 HTTP/1.1\r\n" HOST END,
	    "GET /1 1k\nPOST /2 1k hi\n400\n"),
};

struct transcript {
	struct json_buffer out;
	bool later; /* http_next is called outside */
};

static void
put_text(struct json_buffer *out, const char *before, const char *text)
{
	json_append_text(out, before);
	json_append_text(out, text);
}

static void
on_request(
    struct http_connection *http, const struct http_request *request, void *arg)
{
	struct transcript *transcript = arg;
	struct json_buffer *out = &transcript->out;
	char line[64];

	json_append_text(out, request->method);
	put_text(out, " ", request->path);
	if (*request->query != '\0')
		put_text(out, " ?", request->query);
	snprintf(line, sizeof line, " %u%s%s%s", request->minor,
	    request->keep_alive ? "k" : "", request->upgrade ? "u" : "",
	    request->head ? "h" : "");
	json_append_text(out, line);
	ck_assert_uint_eq(request->body[request->body_size], '\0');
	if (request->body_size > 0)
		put_text(out, " ", request->body);
	json_append_text(out, "\n");
	ck_assert(!http_in_request(http));
	if (!transcript->later)
		http_next(http);
}

/* False when the connection ends. */
static bool
feed_part(struct http_connection *http, struct transcript *transcript,
    const char *data, size_t size)
{
	size_t n = 0;
	char line[16];
	int status;

	for (;;) {
		n += http_feed(http, data + n, size - n, &status);
		ck_assert_uint_le(n, size);
		if (status != 0) {
			snprintf(line, sizeof line, "%d\n", status);
			json_append_text(&transcript->out, line);
			ck_assert(!http_in_request(http));
			ck_assert_uint_eq(http_feed(http, "G", 1, &status), 0);
			ck_assert_int_eq(status, atoi(line));
			return false;
		}
		if (n == size)
			break;
		ck_assert(transcript->later);
		ck_assert_uint_eq(
		    http_feed(http, data + n, size - n, &status), 0);
		http_next(http);
	}
	http_next(http);
	return true;
}

/* part: how many bytes at once; 0: any number of them. */
static void
converse(const struct http_case *c, size_t part, bool later)
{
	struct transcript transcript = { .later = later };
	struct http_connection *http = http_new(
	    &limits, on_request, &transcript);
	size_t n, at = 0;
	char *copy;
	bool open = true;

	json_append(&transcript.out, "", 0);
	while (at < c->size && open) {
		n = part != 0 ? part : 1 + (size_t)rand() % 40;
		if (n > c->size - at)
			n = c->size - at;
		copy = xmalloc(n); /* so that ASan sees what is read behind */
		memcpy(copy, c->wire + at, n);
		open = feed_part(http, &transcript, copy, n);
		free(copy);
		at += n;
	}
	http_free(http);
	ck_assert_msg(strcmp(transcript.out.data, c->expected) == 0,
	    "%s (parts of %zu): '%s' instead of '%s'", c->wire, part,
	    transcript.out.data, c->expected);
	json_buffer_free(&transcript.out);
}

static void
run_cases(const struct http_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (int later = 0; later < 2; later++) {
			converse(&cases[i], cases[i].size, later);
			converse(&cases[i], 1, later);
			for (int k = 0; k < RANDOM_FEEDS; k++)
				converse(&cases[i], 0, later);
		}
	}
}

START_TEST(good_requests)
{
	run_cases(good, COUNT(good));
}
END_TEST

START_TEST(bad_requests)
{
	run_cases(bad, COUNT(bad));
}
END_TEST

/* A text in which something is repeated: before, x repeated, behind. */
static struct http_case
long_case(
    const char *before, size_t n, const char *behind, const char *expected)
{
	char *x = xmalloc(n + 1), *wire;

	memset(x, 'x', n);
	x[n] = '\0';
	wire = xasprintf("%s%s%s", before, x, behind);
	free(x);
	return (struct http_case){ wire, strlen(wire), expected };
}

START_TEST(limits_of_a_head)
{
	static const char line[] = "GET / HTTP/1.1\r\n" HOST "a: ";
	size_t fits = limits.head_max - strlen(line) - 4;
	const struct http_case cases[] = {
		long_case(line, fits, "\r\n\r\n", "GET / 1k\n"),
		long_case(line, fits + 1, "\r\n\r\n", "431\n"),
		long_case(line, 100000, "", "431\n"),
		long_case("GET / HTTP/1.1\r\n" HOST, 100000, "", "431\n"),
		long_case("GET /", 100000, "", "414\n"),
		long_case("", 100000, "", "414\n"),
		long_case(
		    "GET /", limits.head_max - strlen("GET /"), " ", "414\n"),
		/* trailers */
		long_case(
		    CHUNKED "0\r\na:", limits.head_max, "\r\n\r\n", "431\n"),
	};

	run_cases(cases, COUNT(cases));
	for (size_t i = 0; i < COUNT(cases); i++)
		free((char *)cases[i].wire);
}
END_TEST

/* More than http-parser takes by itself. */
START_TEST(large_head)
{
	static const struct http_limits large = { 300000, 5, 0 };
	struct http_case c = long_case(
	    "GET / HTTP/1.1\r\n" HOST "a: ", 200000, "\r\n\r\n", "");
	struct transcript transcript = { 0 };
	struct http_connection *http = http_new(
	    &large, on_request, &transcript);
	int status;

	ck_assert_uint_eq(http_feed(http, c.wire, c.size, &status), c.size);
	ck_assert_int_eq(status, 0);
	ck_assert_str_eq(transcript.out.data, "GET / 1k\n");
	http_free(http);
	json_buffer_free(&transcript.out);
	free((char *)c.wire);
}
END_TEST

static void
on_headers(
    struct http_connection *http, const struct http_request *request, void *arg)
{
	int *called = arg;

	(*called)++;
	ck_assert_uint_eq(request->nheaders, 8);
	ck_assert_str_eq(request->headers[0].name, "Host");
	ck_assert_str_eq(http_header(request, "HOST"), "a:1");
	ck_assert_str_eq(http_header(request, "empty"), "");
	ck_assert_str_eq(http_header(request, "blank"), "");
	ck_assert_str_eq(http_header(request, "x"), "one \t two");
	ck_assert_str_eq(http_header(request, "high"), "\x80\xff");
	ck_assert_ptr_null(http_header(request, "y"));
	ck_assert_uint_eq(http_header_count(request, "list"), 2);
	ck_assert_uint_eq(http_header_count(request, "y"), 0);
	ck_assert(http_header_has_token(request, "list", "a"));
	ck_assert(http_header_has_token(request, "list", "b c"));
	ck_assert(http_header_has_token(request, "list", "D"));
	ck_assert(http_header_has_token(request, "List", "e"));
	ck_assert(!http_header_has_token(request, "list", "b"));
	ck_assert(!http_header_has_token(request, "list", ""));
	ck_assert(!http_header_has_token(request, "list", "a,"));
	ck_assert(!http_header_has_token(request, "y", "a"));
}

START_TEST(headers)
{
	static const struct http_limits large = { 8192, 100, 0 };
	static const char wire[] = "GET / HTTP/1.1\r\n"
				   "Host:a:1\r\n"
				   "Empty:\r\n"
				   "Blank: \t \r\n"
				   "X:  one \t two\t \r\n"
				   "List: A, b c ,,d\r\n"
				   "high: \x80\xff\r\n"
				   "LIST:,e ,\r\n"
				   "Last: z\r\n\r\n";
	int called = 0, status;
	struct http_connection *http = http_new(&large, on_headers, &called);

	ck_assert_uint_eq(
	    http_feed(http, wire, sizeof wire - 1, &status), sizeof wire - 1);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(called, 1);
	http_free(http);
}
END_TEST

static void
on_any(
    struct http_connection *http, const struct http_request *request, void *arg)
{
	(*(int *)arg)++;
}

/* What follows an upgrade is left to the owner. */
START_TEST(upgrade_leaves_the_rest)
{
	static const char head[] = "GET / HTTP/1.1\r\n" HOST
				   "Upgrade: websocket\r\n"
				   "Connection: Upgrade\r\n\r\n";
	static const char wire[] = "GET / HTTP/1.1\r\n" HOST
				   "Upgrade: websocket\r\n"
				   "Connection: Upgrade\r\n\r\n"
				   "\x81\x80\x01\x02\x03\x04";
	int called = 0, status;
	struct http_connection *http = http_new(&limits, on_any, &called);

	ck_assert_uint_eq(
	    http_feed(http, wire, sizeof wire - 1, &status), strlen(head));
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(called, 1);
	ck_assert(!http_in_request(http));
	http_free(http);
}
END_TEST

static void
limit_body(const char *path, size_t *max, int *status, void *arg)
{
	ck_assert_uint_eq(*max, limits.body_max);
	ck_assert_int_eq(*status, 413);
	if (strcmp(path, "/long") != 0)
		return;
	*max = 30;
	*status = 400;
}

/* Some paths have a limit of their own. */
START_TEST(limits_of_bodies)
{
	static const struct {
		const char *path, *field, *body;
		int status;
	} cases[] = {
		{ "/long", "Content-Length: 30", "", 0 },
		{ "/long?a=/x", "Content-Length: 30", "", 0 },
		{ "/long?", "Content-Length: 31", "", 400 },
		{ "/long", "Transfer-Encoding: chunked", "1e\r\n", 0 },
		{ "/long", "Transfer-Encoding: chunked", "1f\r\n", 400 },
		{ "/longer", "Content-Length: 20", "", 0 },
		{ "/longer", "Content-Length: 21", "", 413 },
		{ "/longer", "Transfer-Encoding: chunked", "15\r\n", 413 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		int called = 0, status;
		struct http_connection *http = http_new(
		    &limits, on_any, &called);
		char wire[256];

		http_set_body_limit(http, limit_body);
		snprintf(wire, sizeof wire,
		    "POST %s HTTP/1.1\r\n" HOST "%s\r\n\r\n%s", cases[i].path,
		    cases[i].field, cases[i].body);
		http_feed(http, wire, strlen(wire), &status);
		ck_assert_msg(status == cases[i].status, "%zu: %d", i, status);
		ck_assert_int_eq(called, 0);
		http_free(http);
	}
}
END_TEST

/* When does a request begin and end? */
START_TEST(in_request)
{
	static const char wire[] = "\r\nPOST / HTTP/1.1\r\n" HOST
				   "Content-Length: 2\r\n\r\nhi";
	int called = 0, status;
	struct http_connection *http = http_new(&limits, on_any, &called);

	ck_assert(!http_in_request(http));
	for (size_t i = 0; i < sizeof wire - 1; i++) {
		ck_assert_uint_eq(http_feed(http, wire + i, 1, &status), 1);
		ck_assert(
		    http_in_request(http) == (i >= 2 && i < sizeof wire - 2));
	}
	ck_assert_int_eq(called, 1);
	http_next(http);
	ck_assert(!http_in_request(http));
	http_feed(http, "G", 1, &status);
	ck_assert(http_in_request(http));
	http_free(http);
}
END_TEST

START_TEST(expect_continue)
{
	static const char head[] = "POST / HTTP/1.1\r\n" HOST
				   "Expect: 100-Continue\r\n"
				   "Content-Length: 2\r\n\r\n";
	static const char bodiless[] = "POST / HTTP/1.1\r\n" HOST
				       "Expect: 100-continue\r\n\r\n";
	static const char old[] = "POST / HTTP/1.0\r\n"
				  "Expect: 100-continue\r\n"
				  "Content-Length: 2\r\n\r\n";
	int called = 0, status;
	struct http_connection *http = http_new(&limits, on_any, &called);

	http_feed(http, head, sizeof head - 2, &status);
	ck_assert(!http_take_continue(http));
	http_feed(http, head + sizeof head - 2, 1, &status);
	ck_assert(http_take_continue(http));
	ck_assert(!http_take_continue(http));
	http_feed(http, "hi", 2, &status);
	ck_assert_int_eq(called, 1);
	http_next(http);

	/* The body came without being asked for. */
	http_feed(http, head, sizeof head - 1, &status);
	http_feed(http, "h", 1, &status);
	ck_assert(!http_take_continue(http));
	http_feed(http, "i", 1, &status);
	http_next(http);

	http_feed(http, bodiless, sizeof bodiless - 1, &status);
	ck_assert(!http_take_continue(http));
	ck_assert_int_eq(called, 3);
	http_next(http);

	http_feed(http, old, sizeof old - 1, &status);
	ck_assert_int_eq(status, 0);
	ck_assert(!http_take_continue(http));
	http_free(http);
}
END_TEST

static void
assert_response(const struct json_buffer *out, const char *format)
{
	const char *date = strstr(out->data, "Date: ");
	char day[4], month[4], *expected;
	int d, y, h, m, s, end = 0;

	ck_assert_ptr_nonnull(date);
	ck_assert_int_eq(
	    sscanf(date, "Date: %3s, %2d %3s %4d %2d:%2d:%2d GMT%n", day, &d,
		month, &y, &h, &m, &s, &end),
	    6 + 1);
	ck_assert_int_eq(end, 35);
	expected = xasprintf("%.*s%.*s%s", (int)strcspn(format, "@"), format,
	    end, date, format + strcspn(format, "@") + 1);
	ck_assert_str_eq(out->data, expected);
	free(expected);
}

START_TEST(responses)
{
	struct json_buffer out = { 0 };

	http_append_response(&out, 200, true, false, "text/plain",
	    "A: b\r\nC: d\r\n", "hello", 5);
	assert_response(&out,
	    "HTTP/1.1 200 OK\r\n@\r\nContent-Length: 5\r\n"
	    "Connection: keep-alive\r\n"
	    "Content-Type: text/plain\r\n"
	    "A: b\r\nC: d\r\n\r\nhello");
	json_buffer_free(&out);
	http_append_response(&out, 404, false, true, NULL, NULL, NULL, 7);
	assert_response(&out,
	    "HTTP/1.1 404 Not Found\r\n@\r\n"
	    "Content-Length: 7\r\n"
	    "Connection: close\r\n\r\n");
	json_buffer_free(&out);
	http_append_response(&out, 304, true, false, NULL, NULL, NULL, 7);
	assert_response(&out,
	    "HTTP/1.1 304 Not Modified\r\n@\r\n"
	    "Connection: keep-alive\r\n\r\n");
	json_buffer_free(&out);
	http_append_response(&out, 403, false, false, NULL, NULL, "", 0);
	assert_response(&out,
	    "HTTP/1.1 403 Forbidden\r\n@\r\n"
	    "Content-Length: 0\r\n"
	    "Connection: close\r\n\r\n");
	json_buffer_free(&out);
	ck_assert_str_eq(http_reason(431), "Request Header Fields Too Large");
	ck_assert_str_eq(http_reason(799), "Unknown");
}
END_TEST

#ifndef __SANITIZE_ADDRESS__
static size_t
memory_used(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* A silent or finished connection costs next to nothing. */
START_TEST(memory)
{
	static const struct http_limits large = { 1 << 20, 100, 1 << 30 };
	static const char wire[] = "POST / HTTP/1.1\r\n" HOST
				   "Content-Length: 1000000000\r\n\r\n";
	int called = 0, status;
	size_t before = memory_used();
	struct http_connection *http = http_new(&large, on_any, &called);

	ck_assert_uint_le(memory_used() - before, 512);
	http_feed(http, wire, sizeof wire - 1, &status);
	http_feed(http, "hello", 5, &status);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_le(memory_used() - before, 2048);
	http_free(http);
}
END_TEST
#define PLAIN_TESTS , memory
#else
/* The sanitizer's allocator keeps no such account. */
#define PLAIN_TESTS
#endif

UNIT_MAIN("http", good_requests, bad_requests, limits_of_a_head, large_head,
    limits_of_bodies, headers, upgrade_leaves_the_rest, in_request,
    expect_continue, responses PLAIN_TESTS)
