/*
 * The channel role and the calls of bennu/channel.h: a channel is forked as a
 * transport does it, and the test is the transport at the other end of its
 * mailbox. What it sends is written down as text and compared.
 */
#include <sys/resource.h>

#include <bennu/channel.h>
#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/channel.h"
#include "common/exit.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

#define FD_REPORT (PROCESS_FD + 1) /* terminate says its reason here, too */

/* ---- the channel under test; Check must hear of nothing here ---- */

static struct bennu_socket_ref *kept;
static unsigned timer;
static char *dump_text; /* what dump makes, or does */

static bool
is(const struct bennu_message *msg, const char *event)
{
	return strcmp(msg->event, event) == 0;
}

static void
say(struct bennu_socket *socket, const char *what, long value)
{
	bennu_push(socket, what, bennu_format(socket, "%ld", value));
}

static enum bennu_result
join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *params = bennu_json(socket, &msg->payload);
	const char *todo = cJSON_GetStringValue(params);

	if (todo == NULL || strcmp(todo, "accept") == 0)
		return BENNU_OK;
	if (strcmp(todo, "reply") == 0) {
		bennu_reply(
		    socket, "ok", bennu_format(socket, "{ \"n\": %d }", 1));
		return BENNU_OK;
	}
	if (strcmp(todo, "echo") == 0) {
		bennu_reply(socket, "ok", msg->payload);
		return BENNU_OK;
	}
	if (strcmp(todo, "bytes") == 0) {
		bennu_reply(socket, "ok", bennu_bytes("\0\1", 2));
		return BENNU_OK;
	}
	if (strcmp(todo, "refuse") == 0)
		return BENNU_REFUSE;
	if (strcmp(todo, "refuse with reason") == 0) {
		bennu_reply(socket, "error", bennu_text("{\"reason\":\"no\"}"));
		return BENNU_REFUSE;
	}
	if (strcmp(todo, "after") == 0) {
		bennu_send_after(socket, 0, "after_join", NULL);
		return BENNU_OK;
	}
	if (strcmp(todo, "stop") == 0) {
		bennu_stop(socket, BENNU_NORMAL, "in join");
		return BENNU_OK;
	}
	if (strcmp(todo, "subscribe") == 0) {
		bennu_subscribe(socket, "other");
		return BENNU_OK;
	}
	/* mistakes */
	if (strcmp(todo, "return 77") == 0)
		return (enum bennu_result)77;
	if (strcmp(todo, "unhandled") == 0)
		return BENNU_UNHANDLED;
	if (strcmp(todo, "die") == 0)
		raise(SIGKILL);
	if (strcmp(todo, "ok but refuse") == 0) {
		bennu_reply(socket, "ok", bennu_empty());
		return BENNU_REFUSE;
	}
	if (strcmp(todo, "any word") == 0)
		bennu_reply(socket, "word", bennu_empty());
	if (strcmp(todo, "reply twice") == 0) {
		bennu_reply(socket, "ok", bennu_empty());
		bennu_reply(socket, "ok", bennu_empty());
	}
	if (strcmp(todo, "no json") == 0)
		bennu_reply(socket, "ok", bennu_text("{bad"));
	if (strcmp(todo, "push") == 0)
		bennu_push(socket, "e", bennu_empty());
	if (strcmp(todo, "broadcast") == 0)
		bennu_broadcast(socket, "e", bennu_empty());
	if (strcmp(todo, "broadcast_from") == 0)
		bennu_broadcast_from(socket, "e", bennu_empty());
	if (strcmp(todo, "broadcast_to") == 0)
		bennu_broadcast_to(socket, "t", "e", bennu_empty());
	if (strcmp(todo, "keep") == 0)
		bennu_keep(socket);
	return BENNU_OK;
}

/* Replies of all sorts. False: it is none of these. */
static bool
handle_reply(struct bennu_socket *socket, const struct bennu_message *msg)
{
	cJSON *tree;

	if (is(msg, "echo")) {
		bennu_reply(socket, "ok", msg->payload);
	} else if (is(msg, "status")) {
		bennu_reply(socket, "any word", bennu_text("{ \"a\" : 1 }"));
	} else if (is(msg, "scalar")) {
		bennu_reply(socket, "error", bennu_text(" [ 1 , null ] "));
	} else if (is(msg, "bytes")) {
		bennu_reply(socket, "ok", bennu_bytes("\0\xff\0", 3));
	} else if (is(msg, "take")) {
		tree = cJSON_CreateObject();
		cJSON_AddNumberToObject(tree, "n", 5);
		bennu_reply(socket, "ok", bennu_take(socket, tree));
	} else if (is(msg, "order")) {
		bennu_push(socket, "pushed", bennu_empty());
		bennu_broadcast(socket, "all", bennu_text("1"));
		bennu_broadcast_from(socket, "others", bennu_text("2"));
		bennu_broadcast_to(socket, "topic", "there", bennu_text("3"));
		bennu_reply(socket, "ok", bennu_empty());
		bennu_push(socket, "last", bennu_text("\"x\""));
	} else if (is(msg, "twice")) {
		bennu_reply(socket, "ok", bennu_empty());
		bennu_reply(socket, "ok", bennu_empty());
	} else if (is(msg, "push_bad")) {
		bennu_push(socket, "e", bennu_text("{\"a\":}"));
	} else if (is(msg, "push_nothing")) {
		bennu_push(socket, "e", bennu_text(""));
	} else if (is(msg, "keep")) {
		kept = bennu_keep(socket);
	} else if (is(msg, "reply_to")) {
		bennu_reply_to(kept, "ok", bennu_text("1"));
		bennu_reply_to(kept, "ok", bennu_text("2"));
	} else if (is(msg, "free")) {
		bennu_ref_free(kept);
		bennu_ref_free(NULL);
	} else {
		return false;
	}
	return true;
}

/* Metrics, names of things, what is not there yet. False: none of these. */
static bool
handle_others(struct bennu_socket *socket, const struct bennu_message *msg)
{
	char uuid[37];

	if (is(msg, "count")) {
		bennu_count(socket, "visits", 2);
		bennu_observe(socket, "delay", 0.5);
		bennu_count(socket, "visits", 1);
		bennu_reply(socket, "ok", bennu_empty());
	} else if (is(msg, "count and stop")) {
		bennu_count(socket, "visits", 1);
		bennu_stop(socket, BENNU_NORMAL, "counted");
	} else if (is(msg, "count and die")) {
		bennu_count(socket, "visits", 1);
		raise(SIGKILL);
	} else if (is(msg, "count badly")) {
		bennu_count(socket, "no-name", 1);
	} else if (is(msg, "observe badly")) {
		bennu_observe(socket, "delay", 1e308 * 10);
	} else if (is(msg, "uuid")) {
		bennu_uuid(uuid);
		bennu_push(
		    socket, "uuid", bennu_format(socket, "\"%s\"", uuid));
	} else if (is(msg, "dump")) {
		dump_text = strdup(msg->payload.data);
	} else if (is(msg, "local")) {
		bennu_broadcast_local(socket, "t", "e", bennu_text("1"));
		say(socket, "direct",
		    bennu_broadcast_direct(
			socket, bennu_node(), "t", "e", bennu_text("2")));
		say(socket, "elsewhere",
		    bennu_broadcast_direct(
			socket, "bennu@", "t", "e", bennu_text("3")));
		say(socket, "unreachable", errno == EHOSTUNREACH);
	} else {
		return false;
	}
	return true;
}

static void
try_sign(struct bennu_socket *socket, struct bennu_payload data)
{
	const char *token = bennu_sign(socket, "s", data);

	if (token == NULL)
		say(socket, "no token", errno);
	else
		bennu_push(
		    socket, "token", bennu_format(socket, "\"%s\"", token));
}

static void
try_verify(
    struct bennu_socket *socket, const char *salt, const char *token, long age)
{
	struct bennu_payload data = bennu_verify(socket, salt, token, age);

	if (data.data == NULL)
		say(socket, "not good", errno);
	else
		bennu_push(socket, "data", data);
}

static void
try_sizes(struct bennu_socket *socket)
{
	char *large = calloc(1, 100001);

	memset(large, '1', 100000);
	try_sign(socket, bennu_text(large));
	try_verify(socket, large, "t", -1);
	try_verify(socket, "s", large, -1);
	try_verify(socket, "s", NULL, -1);
	free(large);
}

static bool
handle_token(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (is(msg, "sign"))
		try_sign(socket, msg->payload);
	else if (is(msg, "sign_bad"))
		try_sign(socket, bennu_text("{"));
	else if (is(msg, "sign_bytes"))
		try_sign(socket, bennu_bytes("1", 1));
	else if (is(msg, "verify"))
		try_verify(socket, "salt", "a.b.c", -2);
	else if (is(msg, "sizes"))
		try_sizes(socket);
	else
		return false;
	return true;
}

/* A payload is parsed once, and again in the next message. */
static void
try_json(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *tree = bennu_json(socket, &msg->payload);
	const struct bennu_payload other = bennu_text("[7]");

	say(socket, "kind", msg->payload.kind);
	say(socket, "is_null", tree == NULL);
	say(socket, "same", tree == bennu_json(socket, &msg->payload));
	say(socket, "other",
	    cJSON_GetArrayItem(bennu_json(socket, &other), 0)->valueint);
	if (tree != NULL)
		say(socket, "a", cJSON_GetObjectItem(tree, "a")->valueint);
}

static void
try_timers(struct bennu_socket *socket)
{
	unsigned cancelled;

	/* Long, since the second one may be set much later. */
	bennu_send_after(socket, 1500, "third", NULL);
	bennu_send_after(socket, 0, "first", NULL);
	cancelled = bennu_send_after(socket, 10, "never", NULL);
	bennu_send_after(socket, 20, "second", "data");
	timer = bennu_send_after(socket, 100000, "far", NULL);
	say(socket, "cancelled", bennu_cancel_timer(socket, cancelled) >= 0);
	say(socket, "gone", bennu_timer_left(socket, cancelled));
	say(socket, "again", bennu_cancel_timer(socket, cancelled));
	say(socket, "left", bennu_timer_left(socket, timer) > 90000);
	say(socket, "none", bennu_timer_left(socket, 0));
}

static enum bennu_result
handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (handle_reply(socket, msg) || handle_others(socket, msg) ||
	    handle_token(socket, msg))
		return BENNU_OK;
	if (is(msg, "nothing"))
		return BENNU_OK;
	if (is(msg, "refuse"))
		return BENNU_REFUSE;
	if (is(msg, "return 0"))
		return (enum bennu_result)0;
	if (is(msg, "json"))
		try_json(socket, msg);
	else if (is(msg, "timers"))
		try_timers(socket);
	else if (is(msg, "timer"))
		bennu_send_after(socket, 0, "from timer", NULL);
	else if (is(msg, "die in timer"))
		bennu_send_after(socket, 0, "die", NULL);
	else if (is(msg, "reply in timer"))
		bennu_send_after(socket, 0, "reply", NULL);
	else if (is(msg, "stop in timer"))
		bennu_send_after(socket, 0, "stop", NULL);
	else if (is(msg, "who")) {
		bennu_push(socket, bennu_topic(socket),
		    bennu_text(bennu_join_ref(socket)));
		say(socket, "restarts", bennu_restarts(socket));
		bennu_push(socket, bennu_option(socket, "key"), bennu_empty());
		say(socket, "no option", bennu_option(socket, "none") == NULL);
		say(socket, "assigns", bennu_assigns(socket) == NULL);
		bennu_assign(socket, &kept);
		say(socket, "assigned", bennu_assigns(socket) == &kept);
	} else if (is(msg, "message")) {
		say(socket, "topic", (long)msg->topic_size);
		say(socket, "event", (long)msg->event_size);
		bennu_push(socket, "ref",
		    bennu_text(msg->ref == NULL ? "\"none\"" : msg->ref));
		say(socket, "data", msg->data == NULL);
	} else if (is(msg, "subscribe")) {
		bennu_subscribe(socket, "other");
		bennu_unsubscribe(socket, "another");
	} else if (is(msg, "close"))
		bennu_close(socket);
	else if (is(msg, "stop"))
		bennu_stop(socket, BENNU_NORMAL, "done");
	else if (is(msg, "stop shutdown")) {
		bennu_stop(socket, BENNU_ERROR, "not this");
		bennu_stop(socket, BENNU_SHUTDOWN, NULL);
		bennu_reply(socket, "ok", bennu_empty());
	} else if (is(msg, "stop error"))
		bennu_stop(socket, BENNU_ERROR, "broken");
	else if (is(msg, "stop left"))
		bennu_stop(socket, BENNU_LEFT, NULL);
	else if (is(msg, "die"))
		raise(SIGKILL);
	else if (is(msg, "flood"))
		for (int i = 0; i < 1000; i++)
			say(socket, "n", i);
	else if (is(msg, "large flood"))
		for (int i = 0; i < 300; i++)
			bennu_push(socket, "n",
			    bennu_format(socket, "\"%09999d\"", i));
	else if (is(msg, "loop"))
		for (volatile unsigned i = 0;; i++)
			;
	else if (is(msg, "limits")) {
		int n = 0;

		while (dup(STDERR_FILENO) != -1 && n < 1000)
			n++;
		say(socket, "nofile", n + FD_REPORT + 1);
		say(socket, "nice", getpriority(PRIO_PROCESS, 0));
	} else if (is(msg, "allocate"))
		say(socket, "allocated", malloc(64U << 20) != NULL);
	else
		return BENNU_UNHANDLED;
	return BENNU_OK;
}

static enum bennu_result
handle_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (is(msg, "die"))
		raise(SIGKILL);
	if (is(msg, "reply"))
		bennu_reply(socket, "ok", bennu_empty());
	if (is(msg, "stop"))
		bennu_stop(socket, BENNU_NORMAL, "in info");
	if (is(msg, "unhandled"))
		return BENNU_UNHANDLED;
	if (is(msg, "refuse"))
		return BENNU_REFUSE;
	bennu_push(socket, msg->topic, msg->payload);
	if (msg->data != NULL)
		bennu_push(socket, msg->data, bennu_empty());
	return BENNU_OK;
}

static enum bennu_result
handle_out(struct bennu_socket *socket, const struct bennu_message *msg)
{
	if (is(msg, "stop"))
		bennu_stop(socket, BENNU_NORMAL, "in out");
	else if (is(msg, "changed"))
		bennu_push(socket, msg->event, msg->payload);
	else
		return BENNU_UNHANDLED;
	return BENNU_OK;
}

static void
terminate(
    struct bennu_socket *socket, enum bennu_reason reason, const char *detail)
{
	char byte = (char)reason;

	if (write(FD_REPORT, &byte, 1) != 1)
		raise(SIGKILL);
	bennu_broadcast(socket, "bye", bennu_format(socket, "\"%s\"", detail));
}

static struct bennu_payload
dump(struct bennu_socket *socket)
{
	if (dump_text == NULL)
		return bennu_format(
		    socket, " { \"restarts\" : %u } ", bennu_restarts(socket));
	if (strcmp(dump_text, "\"push\"") == 0)
		bennu_push(socket, "e", bennu_empty());
	if (strcmp(dump_text, "\"sign\"") == 0)
		bennu_sign(socket, "s", bennu_empty());
	if (strcmp(dump_text, "\"broadcast\"") == 0)
		bennu_broadcast(socket, "e", bennu_empty());
	if (strcmp(dump_text, "\"die\"") == 0)
		raise(SIGKILL);
	if (strcmp(dump_text, "\"bad\"") == 0)
		return bennu_text("{");
	if (strcmp(dump_text, "\"bytes\"") == 0)
		return bennu_bytes("1", 1);
	if (strcmp(dump_text, "\"none\"") == 0)
		return (struct bennu_payload){ .kind = BENNU_JSON };
	if (strcmp(dump_text, "\"large\"") == 0)
		return bennu_format(socket, "\"%0*d\"", 2 << 20, 1);
	if (strcmp(dump_text, "\"count\"") == 0)
		bennu_count(socket, "dumps", 1);
	if (strcmp(dump_text, "\"stop\"") == 0)
		bennu_stop(socket, BENNU_NORMAL, "in dump");
	return bennu_text(dump_text);
}

/* ---- the test's side: a transport ---- */

static const char *const intercepted[] = { "changed", "stop", NULL };
static const struct bennu_channel full = {
	.abi = BENNU_ABI,
	.name = "full",
	.intercept = intercepted,
	.join = join,
	.handle_in = handle_in,
	.handle_out = handle_out,
	.handle_info = handle_info,
	.terminate = terminate,
	.dump = dump,
};
static const struct bennu_channel only_join = {
	.abi = BENNU_ABI,
	.name = "only_join",
	.join = join,
};

static struct event_base *base;
static struct mailbox *mailbox;
static pid_t pid;
static int report; /* what terminate wrote */
static char told[16384];
static size_t ntold;

static char module[] = "test.so:room";
static char option_key[] = "key", option_value[] = "value";
static struct config_option options[] = { { option_key, option_value } };
static struct config_channel config;
static char topic_data[] = "room:1\0x";
static struct text topic, params;
static struct channel_start start;
static const struct connected connected = { .transport = "websocket" };

static void tell(const char *fmt, ...)
    __attribute__((__format__(printf, 1, 2)));

static void
tell(const char *fmt, ...)
{
	size_t at = strlen(told);
	va_list ap;

	ntold++;
	va_start(ap, fmt);
	vsnprintf(told + at, sizeof told - at, fmt, ap);
	va_end(ap);
}

/* The fields of an envelope by their letters: u32, string, payload. */
static void
tell_fields(struct envelope *envelope, const char *fields)
{
	size_t size;
	uint32_t kind;

	tell("%s", envelope_name(envelope->type));
	for (; *fields != '\0'; fields++) {
		if (*fields == 'u') {
			tell(" %u", envelope_get_u32(envelope));
			continue;
		}
		if (*fields == 'l') {
			tell(" %lld", (long long)envelope_get_u64(envelope));
			continue;
		}
		if (*fields == 's') {
			tell(" %s", envelope_get_data(envelope, &size));
			continue;
		}
		kind = envelope_get_u32(envelope);
		if (kind == BENNU_JSON)
			tell(" %.40s", envelope_get_data(envelope, &size));
		else {
			envelope_get_data(envelope, &size);
			tell(" %zu bytes", size);
		}
	}
	tell("%s;", envelope_end(envelope) ? "" : " BAD");
}

/* Names, and what they add up to. */
static void
tell_tally(struct envelope *envelope)
{
	uint32_t n = envelope_get_u32(envelope), kind;
	size_t size;

	tell("TALLY");
	while (n-- > 0) {
		kind = envelope_get_u32(envelope);
		tell(" %s", envelope_get_data(envelope, &size));
		tell(" %llu", (unsigned long long)envelope_get_u64(envelope));
		if (kind == 1)
			continue;
		for (kind = envelope_get_u32(envelope); kind > 0; kind--) {
			tell(" [%u]", envelope_get_u32(envelope));
			tell(" %llu",
			    (unsigned long long)envelope_get_u64(envelope));
		}
	}
	tell("%s;", envelope_end(envelope) ? "" : " BAD");
}

/* What the next questions about tokens get; -1: nothing. */
static int token_error;
static const char *token_text;

static void
on_asker(struct mailbox *m, struct envelope *envelope, void *arg)
{
}

static void
answer_token(int fd)
{
	struct envelope_writer writer = { 0 };
	struct mailbox *asker = mailbox_new(fd, on_asker, NULL);

	envelope_put_u32(&writer, (uint32_t)token_error);
	envelope_put_string(&writer, token_text);
	if (token_error != -1)
		mailbox_send(asker, ENVELOPE_TOKEN, &writer);
	mailbox_flush(asker);
	mailbox_free(asker);
	envelope_writer_free(&writer);
}

static void
on_envelope(struct mailbox *m, struct envelope *envelope, void *arg)
{
	if (envelope == NULL) {
		tell("EOF;");
		return;
	}
	if (envelope->type == ENVELOPE_SIGN ||
	    envelope->type == ENVELOPE_VERIFY) {
		bool sign = envelope->type == ENVELOPE_SIGN;

		tell_fields(envelope, sign ? "ss" : "ssl");
		answer_token(mailbox_take_fd(m));
		return;
	}
	if (envelope->type == ENVELOPE_JOINED)
		tell_fields(envelope, "up");
	else if (envelope->type == ENVELOPE_REPLY)
		tell_fields(envelope, "usp");
	else if (envelope->type == ENVELOPE_PUSH)
		tell_fields(envelope, "sp");
	else if (envelope->type == ENVELOPE_BROADCAST)
		tell_fields(envelope, "ussp");
	else if (envelope->type == ENVELOPE_STOP)
		tell_fields(envelope, "us");
	else if (envelope->type == ENVELOPE_DUMPED)
		tell_fields(envelope, "uuuus");
	else if (envelope->type == ENVELOPE_TALLY)
		tell_tally(envelope);
	else if (envelope->type == ENVELOPE_KEEP ||
	    envelope->type == ENVELOPE_FORGET)
		tell_fields(envelope, "u");
	else if (envelope->type == ENVELOPE_WAKE ||
	    envelope->type == ENVELOPE_SUBSCRIBE ||
	    envelope->type == ENVELOPE_UNSUBSCRIBE)
		tell_fields(envelope, "s");
	else
		tell_fields(envelope, "");
}

/* A channel whose join is asked to do something; not attached yet. */
static void
fork_channel(const struct bennu_channel *callbacks, char *todo)
{
	struct process_spec spec = {
		.name = "bennu-channel",
		.run = channel_run,
		.arg = &start,
		.nfds = 2,
	};
	int fds[2], pipes[2];

	told[0] = '\0';
	config.callbacks = callbacks;
	config.module = module;
	config.options = options;
	config.noptions = 1;
	topic = (struct text){ topic_data, 6 };
	params = (struct text){ todo, strlen(todo) };
	start = (struct channel_start){
		.config = &config,
		.connection = 17,
		.number = 3,
		.restarts = 2,
		.topic = &topic,
		.join_ref = "\"5\"",
		.ref = "\"6\"",
		.params = &params,
		.params_kind = BENNU_JSON,
		.connected = &connected,
	};
	if (base == NULL)
		base = event_base_new();
	ck_assert_int_eq(mailbox_pair(fds), 0);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	spec.fds[0] = fds[1];
	spec.fds[1] = pipes[1];
	pid = process_fork(&spec);
	ck_assert_int_gt(pid, 0);
	close(fds[1]);
	close(pipes[1]);
	report = pipes[0];
	mailbox = mailbox_new(fds[0], on_envelope, NULL);
}

static void
start_channel(char *todo)
{
	fork_channel(&full, todo);
	mailbox_attach(mailbox, base);
}

/* Told exactly this, and nothing more for now; then it is forgotten. */
#define ASSERT_TOLD(text)                                  \
	do {                                               \
		UNTIL(base, strlen(told) >= strlen(text)); \
		tools_settle(base);                        \
		ck_assert_str_eq(told, text);              \
		told[0] = '\0';                            \
	} while (0)

static void
clean_up(void)
{
	mailbox_free(mailbox);
	mailbox = NULL;
	close(report);
	tools_assert_no_children();
}

static void
assert_exit(int code)
{
	tools_assert_exit(pid, code);
	clean_up();
}

static void
assert_killed(int sig)
{
	tools_assert_killed(pid, sig);
	clean_up();
}

/* The reason that terminate got; -1: it was not called. */
static int
terminated(void)
{
	char byte;

	return tools_read_all(report, &byte, 1) == 0 ? -1 : byte;
}

static void
send_in(const char *event, const char *ref, const char *payload)
{
	struct envelope_writer writer = { 0 };

	envelope_put_string(&writer, event);
	envelope_put_string(&writer, ref);
	envelope_put_u32(&writer, BENNU_JSON);
	envelope_put_string(&writer, payload);
	mailbox_send(mailbox, ENVELOPE_IN, &writer);
}

static void
send_event(const char *event)
{
	send_in(event, "\"9\"", "{}");
}

static void
send_info(const char *where, const char *event, const char *payload)
{
	struct envelope_writer writer = { 0 };

	envelope_put_string(&writer, where);
	envelope_put_string(&writer, event);
	envelope_put_u32(&writer, BENNU_JSON);
	envelope_put_string(&writer, payload);
	mailbox_send(mailbox, ENVELOPE_INFO, &writer);
}

static void
send_out(const char *event, const char *payload)
{
	struct envelope_writer writer = { 0 };

	envelope_put_string(&writer, event);
	envelope_put_u32(&writer, BENNU_JSON);
	envelope_put_string(&writer, payload);
	mailbox_send(mailbox, ENVELOPE_OUT, &writer);
}

static void
send_end(uint32_t reason)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, reason);
	mailbox_send(mailbox, ENVELOPE_END, &writer);
}

/* Up to a fresh channel that has joined. */
static void
joined(void)
{
	static char accept[] = "\"accept\"";

	start_channel(accept);
	ASSERT_TOLD("JOINED 1 {};");
}

static void
leave(void)
{
	send_end(BENNU_LEFT);
	UNTIL(base, strstr(told, "EOF;") != NULL);
	assert_exit(EXIT_SHUTDOWN);
}

/* ---- join ---- */

static void
check_accepted(const char *todo, const char *expected)
{
	start_channel((char *)(uintptr_t)todo);
	ASSERT_TOLD(expected);
	leave();
}

START_TEST(join_accepts)
{
	check_accepted("\"accept\"", "JOINED 1 {};");
	check_accepted("{}", "JOINED 1 {};");
	check_accepted("\"reply\"", "JOINED 1 {\"n\":1};");
	check_accepted("\"echo\"", "JOINED 1 \"echo\";");
	check_accepted("\"bytes\"", "JOINED 1 2 bytes;");
	check_accepted("\"subscribe\"", "SUBSCRIBE other;JOINED 1 {};");
	check_accepted(
	    "\"after\"", "JOINED 1 {};WAKE after_join;PUSH room:1 {};SLEEP;");
}
END_TEST

/* No terminate, no STOP: it never was. */
static void
check_refused(const char *todo, const char *expected)
{
	start_channel((char *)(uintptr_t)todo);
	ASSERT_TOLD(expected);
	ck_assert_int_eq(terminated(), -1);
	assert_exit(EXIT_NORMAL);
}

START_TEST(join_refuses)
{
	check_refused("\"refuse\"", "JOINED 0 {};EOF;");
	check_refused(
	    "\"refuse with reason\"", "JOINED 0 {\"reason\":\"no\"};EOF;");
}
END_TEST

static void
check_mistake(const char *todo)
{
	start_channel((char *)(uintptr_t)todo);
	ASSERT_TOLD("EOF;");
	ck_assert_int_eq(terminated(), -1);
	assert_exit(EXIT_CRASH);
}

START_TEST(mistakes_in_join)
{
	check_mistake("\"return 77\"");
	check_mistake("\"unhandled\"");
	check_mistake("\"ok but refuse\"");
	check_mistake("\"any word\"");
	check_mistake("\"reply twice\"");
	check_mistake("\"no json\"");
	check_mistake("\"push\"");
	check_mistake("\"broadcast\"");
	check_mistake("\"broadcast_from\"");
	check_mistake("\"broadcast_to\"");
	check_mistake("\"keep\"");
}
END_TEST

START_TEST(join_dies)
{
	static char die[] = "\"die\"";

	start_channel(die);
	ASSERT_TOLD("EOF;");
	ck_assert_int_eq(terminated(), -1);
	assert_killed(SIGKILL);
}
END_TEST

START_TEST(join_stops)
{
	static char stop[] = "\"stop\"";

	start_channel(stop);
	ASSERT_TOLD("JOINED 1 {};BROADCAST 0 room:1 bye \"in join\";"
		    "STOP 1 in join;EOF;");
	ck_assert_int_eq(terminated(), BENNU_NORMAL);
	assert_exit(EXIT_NORMAL);
}
END_TEST

/* ---- messages ---- */

START_TEST(replies)
{
	joined();
	send_in("echo", "\"9\"", "{\"big\":123456789012345678901234567890}");
	ASSERT_TOLD("REPLY 0 ok {\"big\":123456789012345678901234567890};"
		    "DONE;");
	send_event("status");
	ASSERT_TOLD("REPLY 0 any word {\"a\":1};DONE;");
	send_event("scalar");
	ASSERT_TOLD("REPLY 0 error [1,null];DONE;");
	send_event("bytes");
	ASSERT_TOLD("REPLY 0 ok 3 bytes;DONE;");
	send_event("take");
	ASSERT_TOLD("REPLY 0 ok {\"n\":5};DONE;");
	send_event("nothing");
	ASSERT_TOLD("DONE;");
	send_event("order");
	ASSERT_TOLD("PUSH pushed {};BROADCAST 0 room:1 all 1;"
		    "BROADCAST 1 room:1 others 2;BROADCAST 0 topic there 3;"
		    "REPLY 0 ok {};PUSH last \"x\";DONE;");
	leave();
}
END_TEST

START_TEST(what_it_knows)
{
	joined();
	send_event("who");
	ASSERT_TOLD("PUSH room:1 \"5\";PUSH restarts 2;PUSH value {};"
		    "PUSH no option 1;PUSH assigns 1;PUSH assigned 1;DONE;");
	send_in("message", "{\"any\":[1]}", "{}");
	ASSERT_TOLD("PUSH topic 6;PUSH event 7;PUSH ref {\"any\":[1]};"
		    "PUSH data 1;DONE;");
	send_in("message", NULL, "{}");
	ASSERT_TOLD("PUSH topic 6;PUSH event 7;PUSH ref \"none\";"
		    "PUSH data 1;DONE;");
	send_event("subscribe");
	ASSERT_TOLD("SUBSCRIBE other;UNSUBSCRIBE another;DONE;");
	send_event("close");
	ASSERT_TOLD("CLOSE;DONE;");
	leave();
}
END_TEST

/* One at a time, in order, though they come at once. */
START_TEST(many_messages_at_once)
{
	joined();
	for (int i = 0; i < 100; i++) {
		char payload[8];

		snprintf(payload, sizeof payload, "%d", i);
		send_in("echo", NULL, payload);
	}
	UNTIL(base, strstr(told, "REPLY 0 ok 99;DONE;") != NULL);
	ck_assert_int_eq(
	    strncmp(told, "REPLY 0 ok 0;DONE;REPLY 0 ok 1;DONE;", 36), 0);
	told[0] = '\0';
	leave();
}
END_TEST

START_TEST(payload_trees)
{
	struct envelope_writer writer = { 0 };

	joined();
	send_in("json", NULL, "{\"a\":41}");
	ASSERT_TOLD("PUSH kind 0;PUSH is_null 0;PUSH same 1;PUSH other 7;"
		    "PUSH a 41;DONE;");
	/* The next one lies where that lay. */
	send_in("json", NULL, "{\"a\":42}");
	ASSERT_TOLD("PUSH kind 0;PUSH is_null 0;PUSH same 1;PUSH other 7;"
		    "PUSH a 42;DONE;");
	envelope_put_string(&writer, "json");
	envelope_put_string(&writer, NULL);
	envelope_put_u32(&writer, BENNU_BINARY);
	envelope_put_string(&writer, "{\"a\":1}");
	mailbox_send(mailbox, ENVELOPE_IN, &writer);
	ASSERT_TOLD("PUSH kind 1;PUSH is_null 1;PUSH same 1;PUSH other 7;"
		    "DONE;");
	leave();
}
END_TEST

START_TEST(kept_messages)
{
	joined();
	send_event("keep");
	ASSERT_TOLD("KEEP 1;DONE;");
	send_event("reply_to");
	ASSERT_TOLD("REPLY 1 ok 1;REPLY 1 ok 2;DONE;");
	send_event("free");
	ASSERT_TOLD("FORGET 1;DONE;");
	send_event("keep");
	ASSERT_TOLD("KEEP 2;DONE;");
	send_event("free");
	ASSERT_TOLD("FORGET 2;DONE;");
	leave();
}
END_TEST

/* What a callback sends leaves when it returns: nothing of this one. */
static void
check_crash(const char *event, const char *expected)
{
	joined();
	send_event(event);
	ASSERT_TOLD(expected);
	ck_assert_int_eq(terminated(), -1);
	assert_exit(EXIT_CRASH);
}

START_TEST(mistakes)
{
	check_crash("no such event", "EOF;");
	check_crash("refuse", "EOF;");
	check_crash("return 0", "EOF;");
	check_crash("twice", "EOF;");
	check_crash("push_bad", "EOF;");
	check_crash("push_nothing", "EOF;");
	check_crash("stop left", "EOF;");
}
END_TEST

START_TEST(a_channel_with_join_only)
{
	static char accept[] = "{}";

	fork_channel(&only_join, accept);
	mailbox_attach(mailbox, base);
	ASSERT_TOLD("JOINED 1 {};");
	send_info("other", "e", "{}"); /* logged, not a crash */
	ASSERT_TOLD("DONE;");
	send_event("any");
	ASSERT_TOLD("EOF;");
	assert_exit(EXIT_CRASH);

	fork_channel(&only_join, accept);
	mailbox_attach(mailbox, base);
	ASSERT_TOLD("JOINED 1 {};");
	send_end(BENNU_LEFT);
	ASSERT_TOLD("STOP 4 ;EOF;");
	assert_exit(EXIT_SHUTDOWN);
}
END_TEST

START_TEST(infos)
{
	joined();
	send_info("other:topic", "e", "{\"a\":1}");
	ASSERT_TOLD("PUSH other:topic {\"a\":1};DONE;");
	send_info("other:topic", "unhandled", "{}");
	ASSERT_TOLD("EOF;");
	assert_exit(EXIT_CRASH);
	joined();
	send_info("other:topic", "reply", "{}"); /* no message in hand */
	ASSERT_TOLD("EOF;");
	assert_exit(EXIT_CRASH);
	joined();
	send_info("other:topic", "refuse", "{}");
	ASSERT_TOLD("EOF;");
	assert_exit(EXIT_CRASH);
}
END_TEST

START_TEST(intercepted_broadcasts)
{
	joined();
	send_out("changed", "[1]");
	ASSERT_TOLD("PUSH changed [1];DONE;");
	send_out("unknown", "[1]");
	ASSERT_TOLD("EOF;");
	assert_exit(EXIT_CRASH);
}
END_TEST

/* ---- timers ---- */

START_TEST(timers)
{
	joined();
	send_event("timers");
	ASSERT_TOLD("PUSH cancelled 1;PUSH gone -1;PUSH again -1;PUSH left 1;"
		    "PUSH none -1;DONE;"
		    "WAKE first;PUSH room:1 {};SLEEP;"
		    "WAKE second;PUSH room:1 {};PUSH data {};SLEEP;"
		    "WAKE third;PUSH room:1 {};SLEEP;");
	leave();
}
END_TEST

/* The transport has heard of the timer before its callback crashes. */
START_TEST(crashes_in_timers)
{
	joined();
	send_event("die in timer");
	ASSERT_TOLD("DONE;WAKE die;EOF;");
	assert_killed(SIGKILL);
	joined();
	send_event("reply in timer");
	ASSERT_TOLD("DONE;WAKE reply;EOF;");
	assert_exit(EXIT_CRASH);
}
END_TEST

/* ---- ends ---- */

/* Who stops is not DONE: nothing more is to be handed to it. */
static void
check_stop(const char *expected, int reason, int status)
{
	ASSERT_TOLD(expected);
	ck_assert_int_eq(terminated(), reason);
	assert_exit(status);
}

START_TEST(stops)
{
	joined();
	send_event("stop");
	check_stop("BROADCAST 0 room:1 bye \"done\";STOP 1 done;EOF;",
	    BENNU_NORMAL, EXIT_NORMAL);
	joined();
	send_event("stop shutdown"); /* the last word counts */
	check_stop("REPLY 0 ok {};BROADCAST 0 room:1 bye \"\";STOP 2 ;EOF;",
	    BENNU_SHUTDOWN, EXIT_SHUTDOWN);
	joined();
	send_event("stop error");
	check_stop("BROADCAST 0 room:1 bye \"broken\";STOP 3 broken;EOF;",
	    BENNU_ERROR, EXIT_CRASH);
	joined();
	send_event("stop in timer");
	check_stop("DONE;WAKE stop;PUSH room:1 {};"
		   "BROADCAST 0 room:1 bye \"in info\";STOP 1 in info;EOF;",
	    BENNU_NORMAL, EXIT_NORMAL);
	joined();
	send_info("other", "stop", "{}");
	check_stop("PUSH other {};BROADCAST 0 room:1 bye \"in info\";"
		   "STOP 1 in info;EOF;",
	    BENNU_NORMAL, EXIT_NORMAL);
	joined();
	send_out("stop", "{}");
	check_stop("BROADCAST 0 room:1 bye \"in out\";STOP 1 in out;EOF;",
	    BENNU_NORMAL, EXIT_NORMAL);
}
END_TEST

/* Messages behind the one that stopped it are not handled. */
START_TEST(nothing_after_a_stop)
{
	joined();
	send_event("stop");
	send_event("echo");
	check_stop("BROADCAST 0 room:1 bye \"done\";STOP 1 done;EOF;",
	    BENNU_NORMAL, EXIT_NORMAL);
}
END_TEST

START_TEST(told_to_end)
{
	const enum bennu_reason reasons[] = { BENNU_LEFT, BENNU_CLOSED,
		BENNU_DRAINING, BENNU_SHUTDOWN };

	for (size_t i = 0; i < 4; i++) {
		char expected[128];

		joined();
		send_end(reasons[i]);
		snprintf(expected, sizeof expected,
		    "BROADCAST 0 room:1 bye \"\";STOP %d ;EOF;", reasons[i]);
		check_stop(expected, reasons[i], EXIT_SHUTDOWN);
	}
}
END_TEST

START_TEST(the_transport_is_gone)
{
	joined();
	mailbox_free(mailbox);
	mailbox = NULL;
	ck_assert_int_eq(terminated(), BENNU_CLOSED);
	assert_exit(EXIT_SHUTDOWN);
}
END_TEST

/* Gone while the author's code sends more than there is room for. */
START_TEST(the_transport_goes_while_it_sends)
{
	static char accept[] = "{}";

	fork_channel(&full, accept);
	send_event("large flood");
	ck_assert(mailbox_flush(mailbox));
	/* Its answer is there: it has begun. */
	while (ntold == 0) {
		struct pollfd pollfd = { mailbox_fd(mailbox), POLLIN, 0 };

		ck_assert_int_eq(poll(&pollfd, 1, TOOLS_DEADLINE), 1);
		mailbox_read(mailbox);
	}
	mailbox_free(mailbox);
	mailbox = NULL;
	assert_exit(EXIT_SHUTDOWN);
}
END_TEST

START_TEST(terminated_by_its_transport)
{
	config.shutdown = 5000;
	joined();
	kill(pid, SIGTERM);
	check_stop("BROADCAST 0 room:1 bye \"\";STOP 2 ;EOF;", BENNU_SHUTDOWN,
	    EXIT_SHUTDOWN);
}
END_TEST

START_TEST(a_loop_ends_too)
{
	config.shutdown = 1;
	joined();
	send_event("loop");
	tools_settle(base);
	kill(pid, SIGTERM);
	ASSERT_TOLD("EOF;");
	ck_assert_int_eq(terminated(), -1);
	assert_killed(SIGALRM);
}
END_TEST

/* ---- what a channel sends and takes ---- */

/* Far more than a mailbox holds: the author waits until it is taken. */
START_TEST(a_transport_that_reads_late)
{
	static char accept[] = "{}";

	fork_channel(&full, accept);
	send_event("large flood");
	send_event("flood");
	send_event("stop");
	ck_assert(mailbox_flush(mailbox));
	mailbox_attach(mailbox, base);
	/* 13 characters of a long text are told of each; forgotten as told. */
	while (strstr(told, "EOF;") == NULL) {
		told[0] = '\0';
		UNTIL(
		    base, strlen(told) > 12000 || strstr(told, "EOF;") != NULL);
	}
	ck_assert_int_eq(terminated(), BENNU_NORMAL);
	ck_assert_uint_gt(ntold, 2 * 1300);
	assert_exit(EXIT_NORMAL);
}
END_TEST

static void
check_nonsense(enum envelope_type type, struct envelope_writer *writer)
{
	joined();
	mailbox_send(mailbox, type, writer);
	ASSERT_TOLD("EOF;");
	ck_assert_int_eq(terminated(), -1);
	assert_exit(EXIT_CRASH);
}

START_TEST(nonsense_of_the_transport)
{
	struct envelope_writer writer = { 0 };

	check_nonsense(ENVELOPE_IN, NULL);
	check_nonsense(ENVELOPE_OUT, NULL);
	check_nonsense(ENVELOPE_INFO, NULL);
	check_nonsense(ENVELOPE_DONE, NULL);
	check_nonsense(ENVELOPE_PS_DELIVER, NULL);
	envelope_put_string(&writer, "event");
	check_nonsense(ENVELOPE_IN, &writer);
}
END_TEST

START_TEST(limits)
{
	config.limit_nofile = 20;
	config.nice = 5;
	joined();
	send_event("limits");
	ASSERT_TOLD("PUSH nofile 20;PUSH nice 5;DONE;");
	leave();
	memset(&config, 0, sizeof config);
#ifndef __SANITIZE_ADDRESS__
	config.memory_max = 32 << 20;
	joined();
	send_event("allocate");
	ASSERT_TOLD("PUSH allocated 0;DONE;");
	leave();
#endif
}
END_TEST

/* ---- metrics ---- */

/* 0.5 as the bits of a double. */
#define HALF "4602678819172646912"

START_TEST(counts)
{
	joined();
	send_event("count");
	ASSERT_TOLD("REPLY 0 ok {};DONE;TALLY visits 3 delay " HALF " [8] 1;");
	/* Only what is new. */
	send_event("nothing");
	ASSERT_TOLD("DONE;");
	send_event("count");
	ASSERT_TOLD("REPLY 0 ok {};DONE;TALLY visits 3 delay " HALF " [8] 1;");
	leave();
}
END_TEST

START_TEST(counts_and_ends)
{
	joined();
	send_event("count and stop");
	ASSERT_TOLD("TALLY visits 1;BROADCAST 0 room:1 bye \"counted\";"
		    "STOP 1 counted;EOF;");
	assert_exit(EXIT_NORMAL);
	joined();
	send_event("count and die");
	ASSERT_TOLD("EOF;");
	assert_killed(SIGKILL);
}
END_TEST

START_TEST(mistakes_in_metrics)
{
	static const char *const events[] = { "count badly", "observe badly" };

	for (size_t i = 0; i < 2; i++) {
		joined();
		send_event(events[i]);
		ASSERT_TOLD("EOF;");
		assert_exit(EXIT_CRASH);
	}
}
END_TEST

/* ---- inspection ---- */

static void
send_dump(void)
{
	mailbox_send(mailbox, ENVELOPE_DUMP, NULL);
}

START_TEST(dumps)
{
	joined();
	send_dump();
	ASSERT_TOLD("WAKE dump;DUMPED 0 0 0 0 {\"restarts\":2};SLEEP;");
	send_in("dump", NULL, "\"large\"");
	ASSERT_TOLD("DONE;");
	send_dump();
	ASSERT_TOLD("WAKE dump;DUMPED 0 0 0 0 \"larger than 1 MiB\";SLEEP;");
	send_in("dump", NULL, "\"count\"");
	ASSERT_TOLD("DONE;");
	send_dump();
	ASSERT_TOLD("WAKE dump;DUMPED 0 0 0 0 \"count\";SLEEP;TALLY dumps 1;");
	leave();
}
END_TEST

START_TEST(dumps_what_waits)
{
	joined();
	send_event("timers");
	UNTIL(base, strstr(told, "WAKE second;") != NULL);
	UNTIL(base, strstr(told, "WAKE third;PUSH room:1 {};SLEEP;") != NULL);
	told[0] = '\0';
	send_dump();
	UNTIL(base, strstr(told, "SLEEP;") != NULL);
	ck_assert_msg(
	    strncmp(told, "WAKE dump;DUMPED 1 ", 19) == 0, "%s", told);
	ck_assert_int_gt(atoi(told + 19), 90000);
	leave();
}
END_TEST

START_TEST(no_dump)
{
	static char accept[] = "\"accept\"";

	fork_channel(&only_join, accept);
	mailbox_attach(mailbox, base);
	ASSERT_TOLD("JOINED 1 {};");
	send_dump();
	ASSERT_TOLD("WAKE dump;DUMPED 0 0 0 0 null;SLEEP;");
	leave();
}
END_TEST

START_TEST(stops_in_dump)
{
	joined();
	send_in("dump", NULL, "\"stop\"");
	ASSERT_TOLD("DONE;");
	send_dump();
	ASSERT_TOLD("WAKE dump;DUMPED 0 0 0 0 \"stop\";"
		    "BROADCAST 0 room:1 bye \"in dump\";STOP 1 in dump;EOF;");
	assert_exit(EXIT_NORMAL);
}
END_TEST

START_TEST(mistakes_in_dump)
{
	static const char *const how[] = { "\"push\"", "\"broadcast\"",
		"\"bad\"", "\"bytes\"", "\"none\"", "\"sign\"" };

	for (size_t i = 0; i < sizeof how / sizeof how[0]; i++) {
		joined();
		send_in("dump", NULL, how[i]);
		ASSERT_TOLD("DONE;");
		send_dump();
		ASSERT_TOLD("WAKE dump;EOF;");
		assert_exit(EXIT_CRASH);
	}
	joined();
	send_in("dump", NULL, "\"die\"");
	ASSERT_TOLD("DONE;");
	send_dump();
	ASSERT_TOLD("WAKE dump;EOF;");
	assert_killed(SIGKILL);
}
END_TEST

/* ---- the rest of the interface ---- */

START_TEST(uuids)
{
	static const char form[] = "PUSH uuid \"xxxxxxxx-xxxx-4xxx-yxxx-"
				   "xxxxxxxxxxxx\";DONE;";
	char first[sizeof form];

	joined();
	for (int i = 0; i < 2; i++) {
		strcpy(first, told);
		told[0] = '\0';
		send_event("uuid");
		UNTIL(base, strstr(told, "DONE;") != NULL);
		ck_assert_uint_eq(strlen(told), strlen(form));
		for (size_t k = 0; k < strlen(form); k++)
			if (form[k] == 'x' && k > 10)
				ck_assert(strchr("0123456789abcdef", told[k]));
			else if (form[k] == 'y')
				ck_assert(strchr("89ab", told[k]));
			else
				ck_assert_int_eq(told[k], form[k]);
	}
	ck_assert_str_ne(first, told);
	leave();
}
END_TEST

START_TEST(one_node)
{
	joined();
	send_event("local");
	ASSERT_TOLD("BROADCAST 2 t e 1;BROADCAST 2 t e 2;PUSH direct 0;"
		    "PUSH elsewhere -1;PUSH unreachable 1;DONE;");
	leave();
}
END_TEST

static void
check_token(const char *event, int error, const char *text, const char *want)
{
	token_error = error;
	token_text = text;
	send_event(event);
	ASSERT_TOLD(want);
}

START_TEST(tokens)
{
	char want[128];

	joined();
	check_token("sign", 0, "t.o.k", "SIGN s {};PUSH token \"t.o.k\";DONE;");
	snprintf(want, sizeof want, "SIGN s {};PUSH no token %d;DONE;", ERANGE);
	check_token("sign", ERANGE, "", want);
	check_token("verify", 0, "{\"id\":1}",
	    "VERIFY salt a.b.c -2;PUSH data {\"id\":1};DONE;");
	snprintf(want, sizeof want,
	    "VERIFY salt a.b.c -2;PUSH not good %d;DONE;", ETIME);
	check_token("verify", ETIME, "", want);
	snprintf(want, sizeof want,
	    "VERIFY salt a.b.c -2;PUSH not good %d;DONE;", EIO);
	check_token("verify", -1, "", want);
	/* Without a question. */
	snprintf(want, sizeof want,
	    "PUSH no token %d;PUSH not good %d;PUSH not good %d;"
	    "PUSH not good %d;DONE;",
	    E2BIG, ENAMETOOLONG, EBADMSG, ENOENT);
	check_token("sizes", 0, "", want);
	leave();
}
END_TEST

START_TEST(mistakes_with_tokens)
{
	check_crash("sign_bad", "EOF;");
	check_crash("sign_bytes", "EOF;");
}
END_TEST

UNIT_MAIN("channel", join_accepts, join_refuses, mistakes_in_join, join_dies,
    join_stops, replies, what_it_knows, many_messages_at_once, payload_trees,
    kept_messages, mistakes, a_channel_with_join_only, infos,
    intercepted_broadcasts, timers, crashes_in_timers, stops,
    nothing_after_a_stop, told_to_end, the_transport_is_gone,
    the_transport_goes_while_it_sends, terminated_by_its_transport,
    a_loop_ends_too, a_transport_that_reads_late, nonsense_of_the_transport,
    limits, counts, counts_and_ends, mistakes_in_metrics, dumps,
    dumps_what_waits, no_dump, stops_in_dump, mistakes_in_dump, uuids, one_node,
    tokens, mistakes_with_tokens)
