/*
 * endpoint.c - the endpoint that the system tests send requests to: each route
 * is one thing that a handler may do, or may do to Bennu.
 */
#include <signal.h>
#include <stdio.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bennu/endpoint.h>

#include "tests/system/module_endpoint/hostile.h"

/* ---- what a request is ---- */

static void
add_string(cJSON *tree, const char *name, const char *value)
{
	if (value == NULL)
		cJSON_AddNullToObject(tree, name);
	else
		cJSON_AddStringToObject(tree, name, value);
}

static void
about(struct bennu_conn *conn)
{
	cJSON *tree = cJSON_CreateObject();
	size_t size;

	bennu_body(conn, &size);
	add_string(tree, "method", bennu_method(conn));
	add_string(tree, "path", bennu_path(conn));
	add_string(tree, "id", bennu_param(conn, "id"));
	add_string(tree, "other", bennu_param(conn, "other"));
	add_string(tree, "q", bennu_query(conn, "q"));
	add_string(tree, "x", bennu_header(conn, "X-Test"));
	add_string(tree, "option", bennu_conn_option(conn, "word"));
	add_string(tree, "peer", bennu_conn_peer(conn));
	cJSON_AddItemToObject(
	    tree, "query", cJSON_Duplicate(bennu_query_json(conn), 1));
	cJSON_AddNumberToObject(tree, "size", (double)size);
	cJSON_AddNumberToObject(tree, "pid", getpid());
	cJSON_AddNumberToObject(tree, "transport", getppid());
	bennu_respond_json(conn, 200, tree);
}

/* Kept from one request to the next. */
static void
count(struct bennu_conn *conn)
{
	int *n = bennu_conn_assigns(conn);
	char text[16];

	bennu_respond(conn, 200, "text/plain", text,
	    (size_t)snprintf(text, sizeof text, "%d", ++*n));
}

static void
echo(struct bennu_conn *conn)
{
	size_t size;
	const char *body = bennu_body(conn, &size);

	bennu_respond(
	    conn, 200, bennu_header(conn, "Content-Type"), body, size);
}

static void
json(struct bennu_conn *conn)
{
	const cJSON *body = bennu_body_json(conn);

	if (body != NULL)
		bennu_respond_json(conn, 200, cJSON_Duplicate(body, 1));
}

/* ?n= bytes. */
static void
large(struct bennu_conn *conn)
{
	const char *n = bennu_query(conn, "n");
	size_t size = n == NULL ? 0 : strtoul(n, NULL, 10);
	char *body = malloc(size + 1);

	memset(body, 'x', size);
	bennu_respond(conn, 200, "application/octet-stream", body, size);
	free(body);
}

static void
status(struct bennu_conn *conn)
{
	bennu_put_header(conn, "X-One", "1");
	bennu_put_header(conn, "Set-Cookie", "a=1");
	bennu_put_header(conn, "Set-Cookie", "b=2");
	bennu_respond(
	    conn, atoi(bennu_param(conn, "status")), "text/plain", "body", 4);
}

/* ---- to everyone ---- */

static void
broadcast(struct bennu_conn *conn)
{
	const cJSON *body = bennu_body_json(conn);

	if (body == NULL)
		return;
	bennu_conn_broadcast(conn, bennu_query(conn, "topic"), "news",
	    bennu_conn_take(conn, cJSON_Duplicate(body, 1)));
	bennu_respond(conn, 202, NULL, NULL, 0);
}

/* ---- bad deeds ---- */

static void
crash(struct bennu_conn *conn)
{
	/* Taken back, as is the broadcast: neither has left. */
	bennu_conn_broadcast(conn, "test:crash", "news", bennu_empty());
	bennu_respond(conn, 200, NULL, NULL, 0);
	signal(SIGSEGV, SIG_DFL); /* no report of a sanitizer */
	raise(SIGSEGV);
}

static void
leave(struct bennu_conn *conn)
{
	(void)conn;
	_exit(0);
}

static void
loop(struct bennu_conn *conn)
{
	for (;;)
		bennu_conn_assigns(conn);
}

static void
silent(struct bennu_conn *conn)
{
	(void)conn;
}

static void
twice(struct bennu_conn *conn)
{
	bennu_respond(conn, 200, NULL, NULL, 0);
	bennu_respond(conn, 200, NULL, NULL, 0);
}

static void
bad_header(struct bennu_conn *conn)
{
	bennu_put_header(conn, "X-Bad", "1\r\nX-Worse: 2");
	bennu_respond(conn, 200, NULL, NULL, 0);
}

static void
no_json(struct bennu_conn *conn)
{
	bennu_conn_broadcast(conn, "test:x", "news", bennu_text("{"));
	bennu_respond(conn, 200, NULL, NULL, 0);
}

/* Says that it has begun, then waits until it is killed. */
static void
hang(struct bennu_conn *conn)
{
	bennu_conn_log(conn, "hanging %s", bennu_path(conn));
	for (;;)
		pause();
}

/* Ends by itself, however it is asked meanwhile: there is time to ask. */
static void
slow(struct bennu_conn *conn)
{
	bennu_conn_log(conn, "slow %s", bennu_path(conn));
	for (unsigned ms = 0; ms < 3000; ms += 10)
		usleep(10000);
	bennu_respond(conn, 200, "text/plain", "slow", 4);
}

static void
hostile(struct bennu_conn *conn)
{
	if (hostile_write(bennu_param(conn, "what")))
		pause();
	bennu_respond(conn, 404, NULL, NULL, 0);
}

static void
get_name(struct bennu_conn *conn)
{
	bennu_respond(conn, 200, "text/plain", "name", 4);
}

static void
options(struct bennu_conn *conn)
{
	bennu_respond(conn, 200, "text/plain", "mine", 4);
}

static void
metrics(struct bennu_conn *conn)
{
	bennu_conn_count(conn, "requests_total", 1);
	bennu_conn_observe(conn, "request_size", 0);
	bennu_conn_broadcast_local(conn, "test:stop", "counted", bennu_empty());
	bennu_respond(conn, 204, NULL, NULL, 0);
}

static void
subscribers(struct bennu_conn *conn)
{
	char text[32];
	int n = snprintf(text, sizeof text, "%ld",
	    bennu_conn_subscribers(conn, bennu_param(conn, "topic")));

	bennu_respond(conn, 200, "text/plain", text, (size_t)n);
}

static const struct bennu_route routes[] = {
	{ "GET", "/about", about },
	{ "POST", "/about", about },
	{ "GET", "/about/name", get_name },
	{ "GET", "/about/:id", about },
	{ "DELETE", "/about/:id", about },
	{ "GET", "/about/:id/and/:other", about },
	{ "GET", "/count", count },
	{ "GET", "/subscribers/:topic", subscribers },
	{ "POST", "/echo", echo },
	{ "POST", "/json", json },
	{ "GET", "/large", large },
	{ "GET", "/status/:status", status },
	{ "POST", "/broadcast", broadcast },
	{ "GET", "/crash", crash },
	{ "GET", "/leave", leave },
	{ "GET", "/loop", loop },
	{ "GET", "/silent", silent },
	{ "GET", "/twice", twice },
	{ "GET", "/bad_header", bad_header },
	{ "GET", "/no_json", no_json },
	{ "GET", "/hang", hang },
	{ "GET", "/slow", slow },
	{ "GET", "/hostile/:what", hostile },
	{ "GET", "/metrics", metrics },
	{ "OPTIONS", "/mine", options },
	{ 0 },
};

static bool
on_start(struct bennu_conn *conn)
{
	static int n;

	if (bennu_conn_option(conn, "refuse") != NULL)
		return false;
	bennu_conn_assign(conn, &n);
	return true;
}

static void
on_stop(struct bennu_conn *conn)
{
	bennu_conn_log(
	    conn, "stopped after %d", *(int *)bennu_conn_assigns(conn));
	bennu_conn_broadcast(conn, "test:stop", "stopped", bennu_empty());
}

static const char *const everybody[] = { "*", NULL };
static const char *const some[] = { "https://a.example", "https://b.example",
	NULL };

BENNU_ENDPOINT(plain) = {
	.abi = BENNU_ABI,
	.name = "plain",
	.routes = routes,
	.start = on_start,
	.stop = on_stop,
};

BENNU_ENDPOINT(open_to_all) = {
	.abi = BENNU_ABI,
	.name = "open_to_all",
	.routes = routes,
	.cors = everybody,
	.start = on_start,
};

BENNU_ENDPOINT(open_to_some) = {
	.abi = BENNU_ABI,
	.name = "open_to_some",
	.routes = routes,
	.cors = some,
	.start = on_start,
};

/* Refused at the start of the server. */
BENNU_ENDPOINT(old) = {
	.abi = BENNU_ABI + 1,
	.name = "old",
	.routes = routes,
};

static const struct bennu_route bad_routes[] = {
	{ "GET", "/a/:id/b/:id", about },
	{ 0 },
};

BENNU_ENDPOINT(bad) = {
	.abi = BENNU_ABI,
	.name = "bad",
	.routes = bad_routes,
};
