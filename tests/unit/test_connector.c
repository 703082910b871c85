/*
 * connector.c, connect.c: the process that runs an application's connect,
 * behind the socket that transports connect to.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include <check.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/connect.h"
#include "channel/connector.h"
#include "common/exit.h"
#include "common/json.h"
#include "common/mailbox.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

#define TIMEOUT 300   /* ms of connect_timeout, when it has to pass */
#define LONG    60000 /* when it must not */

/* ---- the author's code ---- */

static unsigned calls;

static void
assign_all(struct bennu_connect *c)
{
	const char *name, *value, *token;
	cJSON *headers = cJSON_CreateArray();
	size_t size;

	for (size_t i = 0; bennu_connect_header_at(c, i, &name, &value); i++)
		cJSON_AddItemToArray(headers, cJSON_CreateString(value));
	bennu_connect_assign(c, "headers", headers);
	token = bennu_connect_auth_token(c, &size);
	if (token != NULL)
		bennu_connect_assign(c, "token", cJSON_CreateString(token));
	if (bennu_connect_peer(c) != NULL)
		bennu_connect_assign(
		    c, "peer", cJSON_CreateString(bennu_connect_peer(c)));
	if (bennu_connect_uri(c) != NULL)
		bennu_connect_assign(
		    c, "uri", cJSON_CreateString(bennu_connect_uri(c)));
	bennu_connect_assign(
	    c, "mount", cJSON_CreateString(bennu_connect_mount(c)));
	bennu_connect_assign(
	    c, "transport", cJSON_CreateString(bennu_connect_transport(c)));
}

static enum bennu_result
connect_any(struct bennu_connect *c)
{
	const char *what = bennu_connect_param(c, "do");

	calls++;
	if (what == NULL)
		return BENNU_OK;
	if (strcmp(what, "refuse") == 0)
		return BENNU_REFUSE;
	if (strcmp(what, "crash") == 0)
		abort();
	if (strcmp(what, "exit") == 0)
		_exit(EXIT_NORMAL);
	if (strcmp(what, "unhandled") == 0)
		return BENNU_UNHANDLED;
	if (strcmp(what, "seven") == 0)
		return (enum bennu_result)7;
	if (strcmp(what, "hang") == 0) {
		for (;;)
			pause();
	}
	if (strcmp(what, "term") == 0)
		kill(getpid(), SIGTERM);
	if (strcmp(what, "term_hang") == 0) {
		kill(getpid(), SIGTERM);
		for (;;)
			pause();
	}
	if (strcmp(what, "raw") == 0)
		bennu_connect_assign(c, "x", cJSON_CreateRaw("{"));
	if (strcmp(what, "bytes") == 0)
		bennu_connect_assign(
		    c, "x\xff", cJSON_CreateString("\xc3\xbc\xc3\xff\xf0\x9f"));
	if (strcmp(what, "bytes_id") == 0)
		bennu_connect_id(c, "users:\xff");
	if (strcmp(what, "id") == 0) {
		bennu_connect_id(c, "nobody");
		bennu_connect_id(c, "users:42");
		bennu_connect_assign(c, "n", cJSON_CreateNumber(1));
		bennu_connect_assign(c, "n", cJSON_CreateNumber(2));
	}
	if (strcmp(what, "all") == 0)
		assign_all(c);
	if (strcmp(what, "calls") == 0)
		bennu_connect_assign(c, "calls", cJSON_CreateNumber(calls));
	return BENNU_OK;
}

static const struct bennu_user_socket user_socket = {
	.abi = BENNU_ABI,
	.name = "test",
	.connect = connect_any,
};

/* ---- the process ---- */

static struct config_socket sockets[] = {
	{ .path = (char *)"/none" },
	{ .path = (char *)"/socket",
	    .module = (char *)"test.so:user_socket",
	    .callbacks = &user_socket,
	    .connect_timeout = LONG },
};
static const struct config config = { .sockets = sockets, .nsockets = 2 };

static char directory[64], path[96];
static struct event_base *base;
static int listen_fd;
static pid_t pid;
static struct mailbox *supervisor;
static bool started, ended;

static void
on_worker(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	if (envelope == NULL) {
		ended = true;
		return;
	}
	ck_assert_int_eq(envelope->type, ENVELOPE_STARTED);
	started = true;
}

static void
start_worker(void)
{
	struct connector_start start = {
		.config = &config,
		.number = 1,
	};
	struct process_spec spec = {
		.name = "connect",
		.run = connector_run,
		.arg = &start,
		.nfds = CONNECTOR_NFDS,
	};
	int fds[2];

	ck_assert_int_eq(mailbox_pair(fds), 0);
	spec.fds[CONNECTOR_FD_LISTEN - PROCESS_FD] = listen_fd;
	spec.fds[CONNECTOR_FD_MAILBOX - PROCESS_FD] = fds[1];
	started = ended = false;
	pid = process_fork(&spec);
	ck_assert_int_gt(pid, 0);
	close(fds[1]);
	supervisor = mailbox_new(fds[0], on_worker, NULL);
	mailbox_attach(supervisor, base);
	UNTIL(base, started);
}

static void
begin(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	tools_make_directory(directory, sizeof directory);
	snprintf(path, sizeof path, "%s/connect.sock", directory);
	memcpy(address.sun_path, path, strlen(path));
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(
	    bind(listen_fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(listen_fd, 16), 0);
	base = event_base_new();
	start_worker();
}

/* The worker ends in order when its supervisor says so. */
static void
end(void)
{
	kill(pid, SIGTERM);
	tools_assert_exit(pid, EXIT_SHUTDOWN);
	mailbox_free(supervisor);
	tools_assert_no_children();
	close(listen_fd);
	event_base_free(base);
	tools_remove_directory(directory);
}

/* ---- a transport ---- */

struct caller {
	struct mailbox *mailbox;
	bool begun, answered, gone;
	uint32_t yes;
	char *id, *assigns;
};

static void
on_answer(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct caller *caller = arg;
	const char *id;
	size_t size;

	if (envelope == NULL) {
		caller->gone = true;
		return;
	}
	if (envelope->type == ENVELOPE_CONNECT_BEGUN) {
		ck_assert(!caller->begun);
		ck_assert(envelope_end(envelope));
		caller->begun = true;
		return;
	}
	ck_assert_int_eq(envelope->type, ENVELOPE_CONNECTED);
	ck_assert(caller->begun);
	caller->yes = envelope_get_u32(envelope);
	id = envelope_get_optional(envelope, &size);
	caller->id = id == NULL ? NULL : strdup(id);
	caller->assigns = strdup(envelope_get_data(envelope, &size));
	ck_assert(envelope_end(envelope));
	caller->answered = true;
}

static void
call(struct caller *caller)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, path, strlen(path));
	ck_assert_int_eq(
	    connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	*caller = (struct caller){ 0 };
	caller->mailbox = mailbox_new(fd, on_answer, caller);
	mailbox_attach(caller->mailbox, base);
}

static void
hang_up(struct caller *caller)
{
	mailbox_free(caller->mailbox);
	free(caller->id);
	free(caller->assigns);
}

static void
put_question(struct envelope_writer *writer, uint32_t mount, const char *params)
{
	envelope_put_u32(writer, mount);
	envelope_put_string(writer, params);
	envelope_put_string(writer, "websocket");
	envelope_put_string(writer, NULL); /* token */
	envelope_put_string(writer, NULL); /* peer */
	envelope_put_string(writer, NULL); /* uri */
	envelope_put_u32(writer, 0);
}

static void
ask(struct caller *caller, const char *params)
{
	struct envelope_writer writer = { 0 };

	call(caller);
	put_question(&writer, 1, params);
	mailbox_send(caller->mailbox, ENVELOPE_CONNECT, &writer);
}

/* The answer to a question that has one. */
static struct caller
answer_to(const char *params)
{
	static struct caller caller;

	ask(&caller, params);
	UNTIL(base, caller.answered || caller.gone);
	ck_assert_msg(caller.answered, "no answer to %s", params);
	mailbox_free(caller.mailbox);
	caller.mailbox = NULL;
	return caller;
}

static void
assert_answer(const char *params, bool yes, const char *id, const char *assigns)
{
	struct caller caller = answer_to(params);

	ck_assert_int_eq(caller.yes, yes);
	if (id == NULL)
		ck_assert_ptr_null(caller.id);
	else
		ck_assert_str_eq(caller.id, id);
	ck_assert_str_eq(caller.assigns, assigns);
	hang_up(&caller);
}

/* ---- the tests ---- */

START_TEST(answers)
{
	begin();
	assert_answer("{}", true, NULL, "{}");
	assert_answer("{\"do\":\"refuse\"}", false, NULL, "{}");
	assert_answer("{\"do\":\"id\"}", true, "users:42", "{\"n\":2}");
	assert_answer(" { \"a\" : [1,{}] , \"do\" : \"\\u0069d\" } ", true,
	    "users:42", "{\"n\":2}");
	/* What is no plain string is no parameter. */
	assert_answer("{\"do\":{\"x\":\"id\"}}", true, NULL, "{}");
	assert_answer("{\"do\":[\"id\"]}", true, NULL, "{}");
	assert_answer("{\"x\":{\"do\":\"id\"},\"y\":\"do\"}", true, NULL, "{}");
	assert_answer("{\"do\":\"id\\u0000\"}", true, NULL, "{}");
	end();
}
END_TEST

START_TEST(bytes_that_are_no_utf8)
{
	begin();
	assert_answer("{\"do\":\"bytes\"}", true, NULL,
	    "{\"x\xef\xbf\xbd\":\"\xc3\xbc\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
	    "\xef\xbf\xbd\"}");
	/* Refused, and no crash. */
	assert_answer("{\"do\":\"bytes_id\"}", false, "users:\xff", "{}");
	end();
}
END_TEST

START_TEST(one_process_lasts)
{
	begin();
	assert_answer("{\"do\":\"refuse\"}", false, NULL, "{}");
	assert_answer("{}", true, NULL, "{}");
	assert_answer("{\"do\":\"calls\"}", true, NULL, "{\"calls\":3}");
	end();
}
END_TEST

START_TEST(all_that_is_known)
{
	struct envelope_writer writer = { 0 };
	struct caller caller;

	begin();
	call(&caller);
	envelope_put_u32(&writer, 1);
	envelope_put_string(&writer, "{\"do\":\"all\"}");
	envelope_put_string(&writer, "websocket");
	envelope_put_data(&writer, "tok\0en", 6);
	envelope_put_string(&writer, "127.0.0.1:5");
	envelope_put_string(&writer, "http://a/b");
	envelope_put_u32(&writer, 2);
	envelope_put_string(&writer, "X-A");
	envelope_put_string(&writer, "1");
	envelope_put_string(&writer, "User-Agent");
	envelope_put_string(&writer, "2");
	mailbox_send(caller.mailbox, ENVELOPE_CONNECT, &writer);
	UNTIL(base, caller.answered);
	ck_assert_str_eq(caller.assigns,
	    "{\"headers\":[\"1\",\"2\"],\"token\":\"tok\","
	    "\"peer\":\"127.0.0.1:5\",\"uri\":\"http://a/b\","
	    "\"mount\":\"/socket\",\"transport\":\"websocket\"}");
	hang_up(&caller);
	end();
}
END_TEST

/* Whose callback it was has been told so. */
static void
assert_end(const char *params, int sig, int code)
{
	struct caller victim;

	begin();
	ask(&victim, params);
	UNTIL(base, victim.gone);
	ck_assert(victim.begun && !victim.answered);
	if (sig != 0)
		tools_assert_killed(pid, sig);
	else
		tools_assert_exit(pid, code);
	UNTIL(base, ended);
	hang_up(&victim);
	mailbox_free(supervisor);
	sockets[1].connect_timeout = LONG;
	start_worker();
	assert_answer("{}", true, NULL, "{}");
	end();
}

START_TEST(a_crash)
{
	assert_end("{\"do\":\"crash\"}", SIGABRT, 0);
}
END_TEST

START_TEST(an_exit)
{
	assert_end("{\"do\":\"exit\"}", 0, EXIT_NORMAL);
}
END_TEST

START_TEST(bad_results)
{
	assert_end("{\"do\":\"unhandled\"}", 0, EXIT_CRASH);
	assert_end("{\"do\":\"seven\"}", 0, EXIT_CRASH);
	assert_end("{\"do\":\"raw\"}", 0, EXIT_CRASH);
}
END_TEST

START_TEST(a_hang)
{
	long long from = monotonic_ms();

	sockets[1].connect_timeout = TIMEOUT;
	assert_end("{\"do\":\"hang\"}", SIGALRM, 0);
	ck_assert_int_ge(monotonic_ms() - from, TIMEOUT);
}
END_TEST

/* Asked to end, it finishes what it has begun. */
START_TEST(sigterm_in_a_callback)
{
	begin();
	assert_answer("{\"do\":\"term\"}", true, NULL, "{}");
	tools_assert_exit(pid, EXIT_SHUTDOWN);
	mailbox_free(supervisor);
	start_worker();
	end();
}
END_TEST

START_TEST(sigterm_in_a_hang)
{
	assert_end("{\"do\":\"term_hang\"}", SIGALRM, 0);
}
END_TEST

/* It hangs while another one waits in its own queue. */
START_TEST(who_waits_is_told_apart)
{
	struct caller victim, waiting;

	sockets[1].connect_timeout = 10 * TIMEOUT; /* but for the first one */
	begin();
	/* Both connected before the first question comes. */
	call(&victim);
	call(&waiting);
	assert_answer("{}", true, NULL, "{}");
	{
		struct envelope_writer one = { 0 }, two = { 0 };

		put_question(&one, 1, "{\"do\":\"hang\"}");
		put_question(&two, 1, "{}");
		mailbox_send(victim.mailbox, ENVELOPE_CONNECT, &one);
		UNTIL(base, victim.begun);
		mailbox_send(waiting.mailbox, ENVELOPE_CONNECT, &two);
	}
	UNTIL(base, victim.gone && waiting.gone);
	ck_assert(!victim.answered);
	ck_assert(!waiting.begun && !waiting.answered);
	tools_assert_killed(pid, SIGALRM);
	UNTIL(base, ended);
	hang_up(&victim);
	hang_up(&waiting);
	mailbox_free(supervisor);
	sockets[1].connect_timeout = LONG;
	start_worker();
	assert_answer("{\"do\":\"calls\"}", true, NULL, "{\"calls\":1}");
	end();
}
END_TEST

/* Nobody waits for it: the callback is not run. */
START_TEST(who_hung_up_costs_no_call)
{
	struct caller hanging, gone;

	begin();
	call(&gone);
	assert_answer("{}", true, NULL, "{}"); /* so that it is accepted */
	kill(pid, SIGSTOP);
	ask(&hanging, "{\"do\":\"calls\"}");
	{
		struct envelope_writer writer = { 0 };

		put_question(&writer, 1, "{\"do\":\"crash\"}");
		mailbox_send(gone.mailbox, ENVELOPE_CONNECT, &writer);
	}
	hang_up(&gone);
	kill(pid, SIGCONT);
	UNTIL(base, hanging.answered || hanging.gone);
	ck_assert(hanging.answered);
	hang_up(&hanging);
	assert_answer("{\"do\":\"calls\"}", true, NULL, "{\"calls\":3}");
	end();
}
END_TEST

static void
send_bad(int which, struct envelope_writer *writer)
{
	switch (which) {
	case 0: /* no such mount */
		put_question(writer, 2, "{}");
		return;
	case 1: /* a mount without connect */
		put_question(writer, 0, "{}");
		return;
	case 2: /* params that are no object */
		put_question(writer, 1, "[]");
		return;
	case 3: /* and no JSON */
		put_question(writer, 1, "{\"a\"}");
		return;
	case 4: /* more than there is */
		put_question(writer, 1, "{}");
		envelope_put_u32(writer, 0);
		return;
	case 5: /* more headers than come */
		put_question(writer, 1, "{}");
		memcpy(writer->data + writer->size - 4, "\3\0\0\0", 4);
		return;
	case 6: /* more headers than may be */
		put_question(writer, 1, "{}");
		memcpy(writer->data + writer->size - 4, "\xff\xff\xff\xff", 4);
		return;
	default: /* nothing */
		return;
	}
}

START_TEST(nonsense_from_a_transport)
{
	begin();
	for (int which = 0; which < 8; which++) {
		struct envelope_writer writer = { 0 };
		struct caller caller;

		call(&caller);
		send_bad(which, &writer);
		mailbox_send(caller.mailbox, ENVELOPE_CONNECT, &writer);
		UNTIL(base, caller.gone || caller.answered);
		ck_assert_msg(caller.gone && !caller.begun, "case %d", which);
		hang_up(&caller);
	}
	{
		struct caller caller;

		call(&caller);
		mailbox_send(caller.mailbox, ENVELOPE_CONNECTED, NULL);
		UNTIL(base, caller.gone);
		hang_up(&caller);
	}
	/* It is still the same process. */
	assert_answer("{\"do\":\"calls\"}", true, NULL, "{\"calls\":1}");
	end();
}
END_TEST

START_TEST(the_supervisor_is_gone)
{
	begin();
	mailbox_free(supervisor);
	tools_assert_exit(pid, EXIT_SHUTDOWN);
	start_worker();
	end();
}
END_TEST

UNIT_MAIN("connector", answers, bytes_that_are_no_utf8, one_process_lasts,
    all_that_is_known, a_crash, an_exit, bad_results, a_hang,
    sigterm_in_a_callback, sigterm_in_a_hang, who_waits_is_told_apart,
    who_hung_up_costs_no_call, nonsense_from_a_transport,
    the_supervisor_is_gone)
