/*
 * http.c - see http.h.
 *
 * A head is collected, each byte judged by the guard, and handed to http-parser
 * when it is complete: so it cannot matter how the bytes were cut. Bodies go
 * through http-parser as they come; of a chunked one the guard sees all but the
 * data.
 */
#include <assert.h>
#include <http_parser.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/xmalloc.h"
#include "transport/http.h"
#include "transport/http_guard.h"

struct http_connection {
	struct http_limits limits;
	http_request_cb callback;
	http_body_cb body_limit; /* or NULL */
	void *arg;

	http_parser parser;
	struct http_guard guard;
	struct json_buffer head, body; /* bytes of the request */
	struct http_header *headers;
	size_t nheaders;
	char *target;
	size_t target_size;
	size_t body_max;     /* of this request */
	int body_status;     /* of one whose body is larger */
	uint64_t chunk_left; /* bytes of its data */
	size_t trailer_size; /* bytes, so far */
	int status;          /* the answer to a bad request; 0: none */
	const char *limit;   /* that it went beyond, or NULL */
	bool in_body;        /* the head was parsed */
	bool complete;       /* the request */
	bool waiting;        /* for http_next */
	bool calling;        /* the callback */
	bool wants_continue;
};

/* A string of the request's head that may be cut. */
static char *
in_head(struct http_connection *http, const char *at)
{
	return http->head.data + (at - http->head.data);
}

static int
on_url(http_parser *parser, const char *at, size_t size)
{
	struct http_connection *http = parser->data;

	http->target = in_head(http, at);
	http->target_size = size;
	return 0;
}

/* Trailers are of no use to anybody here; they were checked by the guard. */
static int
on_header_field(http_parser *parser, const char *at, size_t size)
{
	struct http_connection *http = parser->data;

	if (http->in_body)
		return 0;
	assert(http->nheaders < http->guard.fields);
	http->headers[http->nheaders].name = at;
	http->headers[http->nheaders++].value = "";
	return 0;
}

static int
on_header_value(http_parser *parser, const char *at, size_t size)
{
	struct http_connection *http = parser->data;

	if (http->in_body || size == 0)
		return 0;
	assert(http->nheaders > 0);
	http->headers[http->nheaders - 1].value = at;
	return 0;
}

/* Ends the strings of the head, which http-parser only points at. */
static void
cut_headers(struct http_connection *http)
{
	for (size_t i = 0; i < http->nheaders; i++) {
		struct http_header *header = &http->headers[i];
		char *end;

		*strchr(in_head(http, header->name), ':') = '\0';
		if (*header->value == '\0')
			continue;
		end = strchr(in_head(http, header->value), '\r');
		while (end > header->value && strchr(" \t", end[-1]) != NULL)
			end--;
		*end = '\0';
	}
}

/* "/path?query", or "http://host/path?query", whose host is not looked at. */
static int
judge_target(struct http_connection *http)
{
	char *path = http->target;

	path[http->target_size] = '\0';
	if (strncasecmp(path, "http://", 7) == 0)
		path += 7;
	else if (strncasecmp(path, "https://", 8) == 0)
		path += 8;
	else
		return *path == '/' ? 0 : 400;
	http->target = path + strcspn(path, "/?");
	return http->target == path ? 400 : 0;
}

static int
judge_host(const struct http_request *request)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	    "-._~%!$&'()*+,;=:[]";
	size_t n = http_header_count(request, "host");
	const char *host = http_header(request, "host");

	if (n > 1 || (n == 0 && request->minor > 0))
		return 400;
	return n == 1 && host[strspn(host, allowed)] != '\0' ? 400 : 0;
}

/* The next element of a comma list: where it begins, and its size. */
static const char *
next_token(const char **list, size_t *size)
{
	const char *token = *list + strspn(*list, ", \t");

	*size = strcspn(token, ",");
	*list = token + *size;
	while (*size > 0 && strchr(" \t", token[*size - 1]) != NULL)
		(*size)--;
	return *token == '\0' ? NULL : token;
}

static bool
token_is(const char *token, size_t size, const char *wanted)
{
	return size == strlen(wanted) && strncasecmp(token, wanted, size) == 0;
}

/* Only "chunked" is known; anything else before it cannot be decoded. */
static int
judge_transfer_encoding(const struct http_request *request)
{
	const char *list = http_header(request, "transfer-encoding"), *token;
	size_t size;

	if (list == NULL)
		return 0;
	if (http_header(request, "content-length") != NULL ||
	    http_header_count(request, "transfer-encoding") > 1 ||
	    request->minor == 0)
		return 400;
	if (strcasecmp(list, "chunked") == 0)
		return 0;
	while ((token = next_token(&list, &size)) != NULL) {
		if (!token_is(token, size, "chunked"))
			return 501;
	}
	return 400;
}

static bool
has_body(const http_parser *parser)
{
	return (parser->flags & F_CHUNKED) != 0 ||
	    (parser->content_length != 0 &&
		parser->content_length != ULLONG_MAX);
}

/* The path ends where it is cut later. */
static void
limit_body(struct http_connection *http)
{
	size_t size = strcspn(http->target, "?");
	char end = http->target[size];

	http->body_max = http->limits.body_max;
	http->body_status = 413;
	if (http->body_limit == NULL)
		return;
	http->target[size] = '\0';
	http->body_limit(
	    http->target, &http->body_max, &http->body_status, http->arg);
	http->target[size] = end;
}

static int
judge_body(struct http_connection *http, const struct http_request *request)
{
	const http_parser *parser = &http->parser;
	const char *expect = http_header(request, "expect");

	if (!has_body(parser))
		return 0;
	limit_body(http);
	if ((parser->flags & F_CHUNKED) == 0 &&
	    parser->content_length > http->body_max)
		return http->body_status;
	if (expect == NULL || request->minor == 0)
		return 0;
	if (strcasecmp(expect, "100-continue") != 0)
		return 417;
	http->wants_continue = true;
	return 0;
}

static struct http_request
request_of(const struct http_connection *http)
{
	const http_parser *parser = &http->parser;

	return (struct http_request){
		.method = http_method_str(parser->method),
		.headers = http->headers,
		.nheaders = http->nheaders,
		.body = http->body.data == NULL ? "" : http->body.data,
		.body_size = http->body.size,
		.minor = parser->http_minor,
		.keep_alive = http_should_keep_alive(parser) != 0,
		.upgrade = parser->upgrade != 0 && http->body.size == 0,
		.head = parser->method == HTTP_HEAD,
	};
}

static int
on_headers_complete(http_parser *parser)
{
	struct http_connection *http = parser->data;
	struct http_request request;
	int status;

	http->in_body = true;
	cut_headers(http);
	request = request_of(http);
	if (parser->method == HTTP_CONNECT)
		status = 501;
	else if ((status = judge_target(http)) == 0 &&
	    (status = judge_host(&request)) == 0 &&
	    (status = judge_transfer_encoding(&request)) == 0)
		status = judge_body(http, &request);
	http->status = status;
	return status == 0 ? 0 : -1;
}

static int
on_body(http_parser *parser, const char *at, size_t size)
{
	struct http_connection *http = parser->data;

	assert(size <= http->body_max - http->body.size);
	json_append(&http->body, at, size);
	return 0;
}

static int
on_chunk_header(http_parser *parser)
{
	struct http_connection *http = parser->data;

	http->chunk_left = parser->content_length;
	if (http->chunk_left > http->body_max - http->body.size) {
		http->status = http->body_status;
		return -1;
	}
	if (http->chunk_left == 0) {
		http->guard.state = GUARD_FIELD;
		http->guard.fields = 0;
	}
	return 0;
}

static int
on_message_complete(http_parser *parser)
{
	struct http_connection *http = parser->data;

	http->complete = true;
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
	.on_chunk_header = on_chunk_header,
};

static void
request_reset(struct http_connection *http)
{
	json_buffer_free(&http->head);
	json_buffer_free(&http->body);
	free(http->headers);
	http->headers = NULL;
	http->nheaders = 0;
	http->guard = (struct http_guard){ .state = GUARD_START };
	http->trailer_size = 0;
	http->in_body = false;
	http->complete = false;
	http->wants_continue = false;
}

struct http_connection *
http_new(const struct http_limits *limits, http_request_cb callback, void *arg)
{
	struct http_connection *http = xmalloc(sizeof *http);

	*http = (struct http_connection){
		.limits = *limits,
		.callback = callback,
		.arg = arg,
	};
	/*
	 * http-parser's own limit is a variable of the library, whose page this
	 * process shares with all others as long as it does not write to it.
	 */
	if (limits->head_max > HTTP_MAX_HEADER_SIZE / 2)
		http_parser_set_max_header_size(INT32_MAX);
	request_reset(http);
	return http;
}

void
http_set_body_limit(struct http_connection *http, http_body_cb body_limit)
{
	http->body_limit = body_limit;
}

void
http_free(struct http_connection *http)
{
	if (http == NULL)
		return;
	assert(!http->calling);
	request_reset(http);
	free(http);
}

const char *
http_limit(const struct http_connection *http)
{
	return http->limit;
}

void
http_next(struct http_connection *http)
{
	http->waiting = false;
}

bool
http_in_request(const struct http_connection *http)
{
	return http->head.size > 0 && !http->waiting && http->status == 0;
}

bool
http_take_continue(struct http_connection *http)
{
	bool due = http->wants_continue && http_in_request(http) &&
	    http->body.size == 0;

	http->wants_continue = false;
	return due;
}

/* What http-parser found wrong, unless a callback of ours stopped it. */
static int
status_of(const struct http_connection *http)
{
	enum http_errno error = HTTP_PARSER_ERRNO(&http->parser);

	if (http->status != 0 || error == HPE_OK)
		return http->status;
	return error == HPE_INVALID_METHOD ? 501 : 400;
}

static void
parse(struct http_connection *http, const char *data, size_t size)
{
	size_t n = http_parser_execute(&http->parser, &settings, data, size);

	http->status = status_of(http);
	if (http->status == 0 && n != size)
		http->status = 400;
}

static void
parse_head(struct http_connection *http)
{
	http->headers = xcalloc(http->guard.fields, sizeof *http->headers);
	http->parser.data = http;
	http_parser_init(&http->parser, HTTP_REQUEST);
	parse(http, http->head.data, http->head.size);
	http->guard.state = GUARD_CHUNK_SIZE;
	http->guard.count = 0;
}

/* The limits of a head, before another byte of it is taken. */
static int
check_head(const struct http_connection *http, size_t size)
{
	if (http->guard.fields > http->limits.headers_max)
		return 431;
	if (size < http->limits.head_max)
		return 0;
	return http->guard.state <= GUARD_VERSION ? 414 : 431;
}

/* Empty lines before a request belong to none. */
static bool
is_between(const struct http_guard *guard)
{
	return guard->state == GUARD_START || guard->state == GUARD_START_LF;
}

static size_t
feed_head(struct http_connection *http, const char *data, size_t size)
{
	struct http_guard *guard = &http->guard;
	size_t n = 0, between = 0;

	while (n < size && http->status == 0 && guard->state != GUARD_DONE) {
		http->status = check_head(http, http->head.size + n - between);
		if (http->status == 0)
			http->status = http_guard_byte(guard, data[n++]);
		if (is_between(guard))
			between = n;
	}
	if (http->status == 0)
		http->status = guard->fields > http->limits.headers_max ? 431
									: 0;
	if (http->status != 0)
		return n;
	if (n > between)
		json_append(&http->head, data + between, n - between);
	if (guard->state == GUARD_DONE)
		parse_head(http);
	return n;
}

/* A byte of a chunk's line, of what ends its data, or of the trailers. */
static void
feed_chunk_byte(struct http_connection *http, const char *data)
{
	bool trailing = http->guard.state >= GUARD_LINE_LF &&
	    http->guard.state <= GUARD_DONE;

	if (trailing &&
	    (++http->trailer_size > http->limits.head_max ||
		http->guard.fields > http->limits.headers_max)) {
		http->status = 431;
		return;
	}
	http->status = http_guard_byte(&http->guard, *data);
	if (http->status == 0)
		parse(http, data, 1);
}

static size_t
feed_chunks(struct http_connection *http, const char *data, size_t size)
{
	if (http->guard.state != GUARD_CHUNK_DATA) {
		feed_chunk_byte(http, data);
		return 1;
	}
	if (size > http->chunk_left)
		size = http->chunk_left;
	parse(http, data, size);
	http->chunk_left -= size;
	if (http->chunk_left == 0)
		http->guard.state = GUARD_CHUNK_DATA_CR;
	return size;
}

static size_t
feed_body(struct http_connection *http, const char *data, size_t size)
{
	if ((http->parser.flags & F_CHUNKED) != 0)
		return feed_chunks(http, data, size);
	if (size > http->parser.content_length)
		size = http->parser.content_length;
	parse(http, data, size);
	return size;
}

static void
deliver(struct http_connection *http)
{
	struct http_request request = request_of(http);
	char *query = strchr(http->target, '?');

	request.query = "";
	if (query != NULL) {
		*query = '\0';
		request.query = query + 1;
	}
	request.path = *http->target == '\0' ? "/" : http->target;
	http->waiting = true;
	http->calling = true;
	http->callback(http, &request, http->arg);
	http->calling = false;
	request_reset(http);
}

/* Of the request that has been refused. */
static const char *
exceeded_limit(const struct http_connection *http)
{
	switch (http->status) {
	case 413:
		return "body_max";
	case 414:
		return "head_max";
	case 431:
		return http->guard.fields > http->limits.headers_max
		    ? "headers_max"
		    : "head_max";
	}
	return NULL;
}

size_t
http_feed(
    struct http_connection *http, const char *data, size_t size, int *status)
{
	size_t n = 0;

	assert(!http->calling);
	while (n < size && http->status == 0 && !http->waiting) {
		if (http->in_body)
			n += feed_body(http, data + n, size - n);
		else
			n += feed_head(http, data + n, size - n);
		if (http->status == 0 && http->complete)
			deliver(http);
	}
	if (http->status != 0) {
		http->limit = exceeded_limit(http);
		request_reset(http);
	}
	*status = http->status;
	return n;
}

const char *
http_header(const struct http_request *request, const char *name)
{
	for (size_t i = 0; i < request->nheaders; i++) {
		if (strcasecmp(request->headers[i].name, name) == 0)
			return request->headers[i].value;
	}
	return NULL;
}

size_t
http_header_count(const struct http_request *request, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < request->nheaders; i++)
		n += strcasecmp(request->headers[i].name, name) == 0;
	return n;
}

bool
http_header_has_token(
    const struct http_request *request, const char *name, const char *wanted)
{
	const char *list, *token;
	size_t size;

	for (size_t i = 0; i < request->nheaders; i++) {
		if (strcasecmp(request->headers[i].name, name) != 0)
			continue;
		list = request->headers[i].value;
		while ((token = next_token(&list, &size)) != NULL) {
			if (token_is(token, size, wanted))
				return true;
		}
	}
	return false;
}

const char *
http_reason(int status)
{
	const char *reason = http_status_str((enum http_status)status);

	return strcmp(reason, "<unknown>") == 0 ? "Unknown" : reason;
}

/* strftime(3) would ask the locale for the names. */
static void
append_date(struct json_buffer *out)
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu",
		"Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May",
		"Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t now = time(NULL);
	char line[64];
	struct tm tm;

	gmtime_r(&now, &tm);
	snprintf(line, sizeof line,
	    "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday],
	    tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour,
	    tm.tm_min, tm.tm_sec);
	json_append_text(out, line);
}

void
http_append_response(struct json_buffer *out, int status, bool keep_alive,
    bool head_only, const char *type, const char *extra, const char *body,
    size_t body_size)
{
	bool bodiless = status == 204 || status == 304;
	char line[128];

	snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\n", status,
	    http_reason(status));
	json_append_text(out, line);
	append_date(out);
	if (!bodiless) {
		snprintf(
		    line, sizeof line, "Content-Length: %zu\r\n", body_size);
		json_append_text(out, line);
	}
	json_append_text(out,
	    keep_alive ? "Connection: keep-alive\r\n"
		       : "Connection: close\r\n");
	if (type != NULL) {
		json_append_text(out, "Content-Type: ");
		json_append_text(out, type);
		json_append_text(out, "\r\n");
	}
	if (extra != NULL)
		json_append_text(out, extra);
	json_append_text(out, "\r\n");
	if (!head_only && !bodiless)
		json_append(out, body, body_size);
}
