/*
 * endpoint.c: the endpoint role behind a mailbox, with a transport that the
 * test plays.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include <check.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "channel/endpoint.h"
#include "common/exit.h"
#include "common/mailbox.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

/* ---- the application ---- */

static void
echo(struct bennu_conn *conn)
{
	size_t size;
	const char *body = bennu_body(conn, &size);

	bennu_put_header(conn, "X-Id", bennu_param(conn, "id"));
	bennu_put_header(conn, "X-Header", bennu_header(conn, "x-given"));
	bennu_put_header(conn, "X-Query", bennu_query(conn, "q"));
	bennu_respond(conn, 201, "a/b", body, size);
}

static void
json(struct bennu_conn *conn)
{
	const cJSON *body = bennu_body_json(conn);

	if (body == NULL)
		return;
	if (bennu_body_json(conn) != body)
		abort();
	bennu_respond_json(conn, 200, cJSON_Duplicate(body, 1));
}

static void
tell(struct bennu_conn *conn)
{
	bennu_conn_broadcast(
	    conn, "topic", "event", bennu_text(" { \"a\" : 1 } "));
	bennu_respond(conn, 204, NULL, NULL, 0);
}

static void
silent(struct bennu_conn *conn)
{
	(void)conn;
}

static void
twice(struct bennu_conn *conn)
{
	bennu_respond_error(conn, 404, NULL);
	bennu_respond_error(conn, 404, NULL);
}

static void
wait_forever(struct bennu_conn *conn)
{
	(void)conn;
	for (;;)
		pause();
}

enum { ECHO, JSON, TELL, SILENT, TWICE, WAIT };

static const struct bennu_route routes[] = {
	[ECHO] = { "POST", "/echo/:id", echo },
	[JSON] = { "POST", "/json", json },
	[TELL] = { "GET", "/tell", tell },
	[SILENT] = { "GET", "/silent", silent },
	[TWICE] = { "GET", "/twice", twice },
	[WAIT] = { "GET", "/wait", wait_forever },
	{ 0 },
};

static bool
start(struct bennu_conn *conn)
{
	return bennu_conn_option(conn, "refuse") == NULL;
}

static void
stop(struct bennu_conn *conn)
{
	bennu_conn_broadcast(conn, "topic", "stopped", bennu_empty());
}

static const struct bennu_endpoint application = {
	.abi = BENNU_ABI,
	.routes = routes,
	.start = start,
	.stop = stop,
};

/* ---- the transport ---- */

static struct config_endpoint config = { .callbacks = &application };
static _Atomic uint32_t *begun;
static struct mailbox *mailbox;
static pid_t pid;

/* What came: each field of an envelope, with a | behind it. */
static char got[4096];
static unsigned ngot;
static bool ended;

static void
add(const char *text)
{
	size_t n = strlen(got);

	snprintf(got + n, sizeof got - n, "%s|", text);
}

static void
get_answer(struct envelope *envelope)
{
	char status[16];
	const char *type;
	uint32_t n;
	size_t size;

	snprintf(status, sizeof status, "%u", envelope_get_u32(envelope));
	add(status);
	type = envelope_get_optional(envelope, &size);
	add(type == NULL ? "-" : type);
	n = envelope_get_u32(envelope);
	for (uint32_t i = 0; i < 2 * n; i++)
		add(envelope_get_data(envelope, &size));
	add(envelope_get_data(envelope, &size));
}

static void
get_broadcast(struct envelope *envelope)
{
	size_t size;

	ck_assert_uint_eq(envelope_get_u32(envelope), 0);
	add(envelope_get_data(envelope, &size));
	add(envelope_get_data(envelope, &size));
	ck_assert_uint_eq(envelope_get_u32(envelope), BENNU_JSON);
	add(envelope_get_data(envelope, &size));
}

static void
on_envelope(struct mailbox *from, struct envelope *envelope, void *arg)
{
	if (envelope == NULL) {
		ended = true;
		return;
	}
	ngot++;
	add(envelope_name(envelope->type));
	if (envelope->type == ENVELOPE_RESPONSE)
		get_answer(envelope);
	else if (envelope->type == ENVELOPE_BROADCAST)
		get_broadcast(envelope);
	ck_assert(envelope_end(envelope));
}

static void
begin(void)
{
	struct endpoint_start born = { .config = &config, .connection = 7 };
	struct process_spec spec = {
		.name = "endpoint",
		.run = endpoint_run,
		.arg = &born,
		.nfds = ENDPOINT_NFDS,
	};
	int fds[2];

	begun = mmap(NULL, sizeof *begun, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(begun, MAP_FAILED);
	born.begun = begun;
	config.module = (char *)"test.so:application";
	ck_assert_int_eq(mailbox_pair(fds), 0);
	spec.fds[0] = fds[1];
	pid = process_fork(&spec);
	ck_assert_int_gt(pid, 0);
	close(fds[1]);
	mailbox = mailbox_new(fds[0], on_envelope, NULL);
}

static void
wait_for(unsigned n)
{
	struct pollfd pollfd = {
		.fd = mailbox_fd(mailbox),
		.events = POLLIN,
	};

	while (ngot < n && !ended) {
		ck_assert_int_eq(poll(&pollfd, 1, TOOLS_DEADLINE), 1);
		mailbox_read(mailbox);
	}
}

/* Headers are pairs that end in NULL. */
static void
ask(uint32_t number, uint32_t route, const char *const *headers,
    const char *body)
{
	struct envelope_writer writer = { 0 };
	uint32_t n = 0;

	while (headers[n] != NULL)
		n++;
	envelope_put_u32(&writer, number);
	envelope_put_u32(&writer, route);
	envelope_put_string(&writer, routes[route].method);
	envelope_put_string(&writer, "/path");
	envelope_put_string(&writer, "{\"q\":\"query\"}");
	envelope_put_u32(&writer, 1);
	envelope_put_string(&writer, "id");
	envelope_put_string(&writer, "seven");
	envelope_put_u32(&writer, n / 2);
	for (uint32_t i = 0; i < n; i++)
		envelope_put_string(&writer, headers[i]);
	envelope_put_string(&writer, body);
	mailbox_send(mailbox, ENVELOPE_REQUEST, &writer);
	ck_assert(mailbox_flush(mailbox));
}

static const char *const no_headers[] = { NULL };

static void
assert_got(unsigned n, const char *expected)
{
	wait_for(n);
	ck_assert_str_eq(got, expected);
	got[0] = '\0';
	ngot = 0;
}

static void
finish(void)
{
	mailbox_free(mailbox);
	munmap(begun, sizeof *begun);
	tools_assert_no_children();
}

START_TEST(answers)
{
	static const char *const given[] = { "X-Given", "header", NULL };

	begin();
	for (uint32_t i = 1; i <= 3; i++) {
		ask(i, ECHO, given, "body");
		assert_got(1,
		    "RESPONSE|201|a/b|X-Id|seven|X-Header|header|"
		    "X-Query|query|body|");
		ck_assert_uint_eq(atomic_load(begun), i);
	}
	mailbox_send(mailbox, ENVELOPE_END, NULL);
	mailbox_flush(mailbox);
	assert_got(1, "BROADCAST|topic|stopped|{}|");
	tools_assert_exit(pid, EXIT_SHUTDOWN);
	finish();
}
END_TEST

#define ERROR(status, text)                                               \
	"RESPONSE|" status "|application/json; charset=utf-8|{\"errors\"" \
	":{\"detail\":\"" text "\"}}|"

START_TEST(json_bodies)
{
	static const char *const good[] = { "content-length", "7",
		"content-type", "Application/JSON;charset=utf-8", NULL };
	static const char *const chunked[] = { "Transfer-Encoding", "chunked",
		"Content-Type", "application/a+json", NULL };
	static const char *const html[] = { "Content-Length", "7",
		"Content-Type", "text/html", NULL };

	begin();
	ask(1, JSON, good, " [1, 2]");
	assert_got(1, "RESPONSE|200|application/json; charset=utf-8|[1,2]|");
	ask(2, JSON, chunked, "{}");
	assert_got(1, "RESPONSE|200|application/json; charset=utf-8|{}|");
	ask(3, JSON, html, "{}");
	assert_got(
	    1, ERROR("415", "the Content-Type must be application/json"));
	ask(4, JSON, good + 2, "{}");
	assert_got(1, ERROR("411", "Length Required"));
	ask(5, JSON, good, "{} x");
	assert_got(1, ERROR("400", "the body is no JSON"));
	ask(6, SILENT, no_headers, "");
	assert_got(1, ERROR("500", "Internal Server Error"));
	kill(pid, SIGKILL);
	tools_assert_killed(pid, SIGKILL);
	finish();
}
END_TEST

START_TEST(broadcasts_come_first)
{
	begin();
	ask(1, TELL, no_headers, "");
	assert_got(2, "BROADCAST|topic|event|{\"a\":1}|RESPONSE|204|-||");
	kill(pid, SIGKILL);
	tools_assert_killed(pid, SIGKILL);
	finish();
}
END_TEST

START_TEST(a_mistake_is_a_crash)
{
	begin();
	ask(1, TWICE, no_headers, "");
	wait_for(1);
	ck_assert(ended);
	ck_assert_str_eq(got, "");
	tools_assert_exit(pid, EXIT_CRASH);
	finish();
}
END_TEST

START_TEST(a_start_that_fails)
{
	static struct config_option option = { (char *)"refuse",
		(char *)"yes" };

	config.options = &option;
	config.noptions = 1;
	begin();
	tools_assert_exit(pid, EXIT_START);
	ck_assert_uint_eq(atomic_load(begun), 0);
	finish();
}
END_TEST

/* Nobody is there any more: an endpoint that waits ends by itself. */
START_TEST(its_transport_is_gone)
{
	begin();
	ask(1, TELL, no_headers, "");
	assert_got(2, "BROADCAST|topic|event|{\"a\":1}|RESPONSE|204|-||");
	mailbox_free(mailbox);
	mailbox = NULL;
	tools_assert_exit(pid, EXIT_SHUTDOWN);
	finish();
}
END_TEST

/* A loop of an author ends, too: by the alarm that SIGTERM sets. */
START_TEST(term_ends_a_handler)
{
	begin();
	ask(1, WAIT, no_headers, "");
	for (int i = 0; i < TOOLS_DEADLINE && atomic_load(begun) == 0; i++)
		poll(NULL, 0, 1);
	ck_assert_uint_eq(atomic_load(begun), 1);
	kill(pid, SIGTERM);
	tools_assert_killed(pid, SIGALRM);
	finish();
}
END_TEST

UNIT_MAIN("endpoint", answers, json_bodies, broadcasts_come_first,
    a_mistake_is_a_crash, a_start_that_fails, its_transport_is_gone,
    term_ends_a_handler)
