/*
 * Presences, as a channel has them: the test is the transport at the other end
 * of its mailbox, and presence at the other end of the sockets that come with
 * questions.
 */
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
#include "channel/presence.h"
#include "common/exit.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

/* ---- the channel under test; Check must hear of nothing here ---- */

static bool
is(const struct bennu_message *msg, const char *event)
{
	return strcmp(msg->event, event) == 0;
}

/* Payloads here are arrays: [topic or null, key, meta, ...]. */
static const cJSON *
item(struct bennu_socket *socket, const struct bennu_message *msg, int i)
{
	return cJSON_GetArrayItem(bennu_json(socket, &msg->payload), i);
}

static const char *
string(struct bennu_socket *socket, const struct bennu_message *msg, int i)
{
	return cJSON_GetStringValue(item(socket, msg, i));
}

static void
tell_error(struct bennu_socket *socket)
{
	bennu_push(socket, "error",
	    bennu_format(socket, "\"%s\"", strerrorname_np(errno)));
}

static void
tell_ref(struct bennu_socket *socket, const char *ref)
{
	if (ref == NULL)
		tell_error(socket);
	else
		bennu_push(socket, "ref", bennu_format(socket, "\"%s\"", ref));
}

static void
tell_list(struct bennu_socket *socket, struct bennu_payload list)
{
	if (list.data == NULL)
		tell_error(socket);
	else
		bennu_push(socket, "list", list);
}

static struct bennu_payload
meta(struct bennu_socket *socket, const struct bennu_message *msg)
{
	return bennu_take(socket, cJSON_Duplicate(item(socket, msg, 2), 1));
}

/* "n" keys, each with "size" bytes of meta beside its name. */
static void
track_many(struct bennu_socket *socket, int n, int size)
{
	char key[16];
	int done = 0;

	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "%d", i);
		if (bennu_presence_track(socket, "t", key,
			bennu_format(socket, "{\"s\":\"%0*d\"}", size, 0)) !=
		    NULL)
			done++;
	}
	bennu_push(socket, "tracked", bennu_format(socket, "%d", done));
	tell_error(socket);
}

static void
track_bad(struct bennu_socket *socket, const char *what)
{
	if (strcmp(what, "bytes") == 0)
		tell_ref(socket,
		    bennu_presence_track(
			socket, NULL, "k", bennu_bytes("{}", 2)));
	if (strcmp(what, "text") == 0)
		bennu_presence_track(socket, NULL, "k", bennu_text("{"));
	if (strcmp(what, "key") == 0)
		tell_ref(socket,
		    bennu_presence_track(socket, NULL, "\xff", bennu_empty()));
	if (strcmp(what, "topic") == 0)
		tell_ref(socket,
		    bennu_presence_track(
			socket, "\xc0\x80", "k", bennu_empty()));
	if (strcmp(what, "no key") == 0)
		bennu_presence_track(socket, NULL, NULL, bennu_empty());
}

static bool do_in(struct bennu_socket *, const struct bennu_message *);

static enum bennu_result
join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	struct bennu_message what = *msg;

	what.event = string(socket, msg, 3);
	if (what.event != NULL)
		do_in(socket, &what);
	return BENNU_OK;
}

static bool
do_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const char *topic = string(socket, msg, 0);
	const char *key = string(socket, msg, 1);

	if (is(msg, "track"))
		tell_ref(socket,
		    bennu_presence_track(
			socket, topic, key, meta(socket, msg)));
	else if (is(msg, "update"))
		tell_ref(socket,
		    bennu_presence_update(
			socket, topic, key, meta(socket, msg)));
	else if (is(msg, "untrack"))
		bennu_push(socket, "untracked",
		    bennu_format(socket, "%d",
			bennu_presence_untrack(socket, topic, key)));
	else if (is(msg, "list"))
		tell_list(socket, bennu_presence_list(socket, topic));
	else if (is(msg, "get"))
		tell_list(
		    socket, bennu_presence_get_by_key(socket, topic, key));
	else
		return false;
	return true;
}

static enum bennu_result
handle_in(struct bennu_socket *socket, const struct bennu_message *msg)
{
	const cJSON *args = bennu_json(socket, &msg->payload);
	char name[PRESENCE_NAME_MAX + 2];

	if (do_in(socket, msg))
		return BENNU_OK;
	if (is(msg, "many")) {
		track_many(socket, cJSON_GetArrayItem(args, 0)->valueint,
		    cJSON_GetArrayItem(args, 1)->valueint);
	} else if (is(msg, "bad")) {
		track_bad(socket, string(socket, msg, 0));
	} else if (is(msg, "long")) {
		memset(name, 'x', sizeof name);
		name[PRESENCE_NAME_MAX] = '\0';
		tell_ref(socket,
		    bennu_presence_track(socket, "t", name, bennu_empty()));
		name[PRESENCE_NAME_MAX] = 'x';
		name[PRESENCE_NAME_MAX + 1] = '\0';
		tell_ref(socket,
		    bennu_presence_track(socket, "t", name, bennu_empty()));
		tell_list(socket, bennu_presence_list(socket, name));
	} else if (is(msg, "list and echo")) {
		tell_list(socket, bennu_presence_list(socket, NULL));
		bennu_push(socket, msg->event, msg->payload);
	} else {
		return BENNU_UNHANDLED;
	}
	return BENNU_OK;
}

static struct bennu_payload
dump(struct bennu_socket *socket)
{
	bennu_presence_list(socket, NULL);
	return bennu_empty();
}

static void
terminate(
    struct bennu_socket *socket, enum bennu_reason reason, const char *detail)
{
	tell_ref(
	    socket, bennu_presence_track(socket, NULL, "late", bennu_empty()));
	tell_ref(
	    socket, bennu_presence_update(socket, NULL, "late", bennu_empty()));
	bennu_push(socket, "untracked",
	    bennu_format(
		socket, "%d", bennu_presence_untrack(socket, NULL, "a")));
	tell_list(socket, bennu_presence_list(socket, NULL));
}

static void
fetch(const char *topic, cJSON *presences)
{
	cJSON *key;

	cJSON_ArrayForEach (key, presences)
		cJSON_AddStringToObject(key, "at", topic);
}

/* ---- the test's side: a transport, and presence ---- */

static const struct bennu_channel plain = {
	.abi = BENNU_ABI,
	.name = "plain",
	.join = join,
	.handle_in = handle_in,
	.dump = dump,
};
static const struct bennu_channel terminating = {
	.abi = BENNU_ABI,
	.name = "terminating",
	.join = join,
	.handle_in = handle_in,
	.terminate = terminate,
};
static const struct bennu_channel fetching = {
	.abi = BENNU_ABI,
	.name = "fetching",
	.join = join,
	.handle_in = handle_in,
	.fetch = fetch,
};

#define LIST "{\"a\":{\"metas\":[{\"phx_ref\":\"1\"}]}}"
#define KEY  "{\"metas\":[{\"phx_ref\":\"1\"}]}"

static struct event_base *base;
static struct mailbox *mailbox;
static pid_t pid;
static char told[64 * 1024];
static char refs[2][PRESENCE_REF + 1]; /* the last two of TRACK */

/* What presence does with a question. */
static enum { ANSWER, DIE, IGNORE, WAIT, NONSENSE } does;
static unsigned deaths; /* that are left of DIE; then it answers */
static const char *list = LIST;
static unsigned questions;
static struct mailbox *asked; /* the last question's socket */

static void tell(const char *fmt, ...)
    __attribute__((__format__(printf, 1, 2)));

static void
tell(const char *fmt, ...)
{
	size_t at = strlen(told);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(told + at, sizeof told - at, fmt, ap);
	va_end(ap);
}

static void
on_asker(struct mailbox *m, struct envelope *envelope, void *arg)
{
}

static void
answer(void)
{
	struct envelope_writer writer = { 0 };

	envelope_put_string(&writer, list);
	mailbox_send(asked, ENVELOPE_PR_LISTED, &writer);
	mailbox_flush(asked);
}

static void
on_question(struct envelope *envelope)
{
	struct text topic = envelope_get_text(envelope);
	size_t size;
	const char *key = envelope_get_optional(envelope, &size);
	int fd = mailbox_take_fd(mailbox);

	ck_assert_int_ne(fd, -1);
	if (questions++ == 0 || does != DIE)
		tell("PRESENCES %s %s;", topic.data, key == NULL ? "-" : key);
	mailbox_free(asked);
	asked = mailbox_new(fd, on_asker, NULL);
	if (does != WAIT) {
		mailbox_send(asked, ENVELOPE_PRESENCES, NULL);
		mailbox_flush(asked);
	}
	if (does == ANSWER || (does == DIE && deaths-- == 0))
		answer();
	else if (does == DIE) {
		mailbox_free(asked);
		asked = NULL;
	} else if (does == NONSENSE) {
		mailbox_send(asked, ENVELOPE_PR_LISTED, NULL);
		mailbox_flush(asked);
		does = ANSWER;
	}
}

static void
on_track(struct envelope *envelope)
{
	struct text topic = envelope_get_text(envelope);
	struct text key = envelope_get_text(envelope);
	struct text ref = envelope_get_text(envelope);
	size_t size;
	const char *prev = envelope_get_optional(envelope, &size);
	struct text meta_of = envelope_get_text(envelope);

	ck_assert(envelope_end(envelope));
	ck_assert_uint_eq(ref.size, PRESENCE_REF);
	ck_assert_uint_eq(strspn(ref.data,
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
			      "uvwxyz0123456789-_"),
	    PRESENCE_REF);
	ck_assert_str_ne(ref.data, refs[0]);
	if (prev != NULL)
		ck_assert_str_eq(prev, refs[0]);
	memcpy(refs[1], refs[0], sizeof refs[1]);
	memcpy(refs[0], ref.data, sizeof refs[0]);
	tell("TRACK %s%s %.40s %s%.40s;", topic.data,
	    strlen(topic.data) == topic.size ? "" : " U+0000", key.data,
	    prev == NULL ? "" : "again ", meta_of.data);
}

static void
on_push(struct envelope *envelope)
{
	size_t size;
	const char *event = envelope_get_data(envelope, &size), *payload;

	envelope_get_u32(envelope);
	payload = envelope_get_data(envelope, &size);
	if (strcmp(event, "ref") != 0) {
		tell("%s %.80s;", event, payload);
		return;
	}
	tell("ref;");
	ck_assert_uint_eq(size, PRESENCE_REF + 2);
	ck_assert_int_eq(memcmp(payload + 1, refs[0], PRESENCE_REF), 0);
}

static void
on_envelope(struct mailbox *m, struct envelope *envelope, void *arg)
{
	size_t size;

	if (envelope == NULL)
		tell("EOF;");
	else if (envelope->type == ENVELOPE_TRACK)
		on_track(envelope);
	else if (envelope->type == ENVELOPE_PRESENCES)
		on_question(envelope);
	else if (envelope->type == ENVELOPE_PUSH)
		on_push(envelope);
	else if (envelope->type == ENVELOPE_UNTRACK) {
		const char *topic = envelope_get_data(envelope, &size);

		tell("UNTRACK %s %s;", topic,
		    envelope_get_data(envelope, &size));
		ck_assert(envelope_end(envelope));
	} else if (envelope->type != ENVELOPE_JOINED &&
	    envelope->type != ENVELOPE_DONE && envelope->type != ENVELOPE_WAKE)
		tell("%s;", envelope_name(envelope->type));
}

static char module[] = "test.so:room", pattern[] = "other:";
static struct config_channel config;
static struct config_channel elsewhere = {
	.pattern = pattern,
	.prefix = 6,
	.is_prefix = true,
	.callbacks = &fetching,
};
static struct config_socket mount = { .channels = &elsewhere, .nchannels = 1 };
static struct config server = {
	.sockets = &mount,
	.nsockets = 1,
	.journal_size = 64 << 20,
};
static char topic_data[] = "room:1\0x";
static const struct text topics[] = { { topic_data, 6 }, { topic_data, 8 } };
static const struct text *topic = &topics[0];
static struct text params;
static struct channel_start start;
static const struct connected connected = { .transport = "websocket" };

/* A channel with that as its join's payload. */
static void
join_with(const struct bennu_channel *callbacks, const char *payload)
{
	struct process_spec spec = {
		.name = "bennu-channel",
		.run = channel_run,
		.arg = &start,
		.nfds = 1,
	};
	int fd;

	told[0] = '\0';
	config.callbacks = callbacks;
	config.module = module;
	params = (struct text){ (char *)(uintptr_t)payload, strlen(payload) };
	start = (struct channel_start){
		.config = &config,
		.server = &server,
		.topic = topic,
		.join_ref = "\"5\"",
		.ref = "\"6\"",
		.params = &params,
		.params_kind = BENNU_JSON,
		.connected = &connected,
	};
	if (base == NULL)
		base = event_base_new();
	pid = mailbox_fork(&spec, 0, &fd);
	ck_assert_int_gt(pid, 0);
	mailbox = mailbox_new(fd, on_envelope, NULL);
	mailbox_attach(mailbox, base);
}

static void
send_in(const char *event, const char *payload)
{
	struct envelope_writer writer = { 0 };

	envelope_put_string(&writer, event);
	envelope_put_string(&writer, NULL);
	envelope_put_u32(&writer, BENNU_JSON);
	envelope_put_string(&writer, payload);
	mailbox_send(mailbox, ENVELOPE_IN, &writer);
}

static void
send_end(void)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, BENNU_LEFT);
	mailbox_send(mailbox, ENVELOPE_END, &writer);
}

/* Told exactly this, and nothing more for now; then it is forgotten. */
#define ASSERT_TOLD(text)                                  \
	do {                                               \
		UNTIL(base, strlen(told) >= strlen(text)); \
		tools_settle(base);                        \
		ck_assert_str_eq(told, text);              \
		told[0] = '\0';                            \
	} while (0)

#define SAYS(event, payload, text)       \
	do {                             \
		send_in(event, payload); \
		ASSERT_TOLD(text);       \
	} while (0)

static void
ends(int code)
{
	UNTIL(base, strstr(told, "EOF;") != NULL);
	tools_assert_exit(pid, code);
	mailbox_free(mailbox);
	mailbox_free(asked);
	mailbox = asked = NULL;
	tools_assert_no_children();
}

static void
leave(void)
{
	send_end();
	ends(EXIT_SHUTDOWN);
}

/* ---- track, update, untrack ---- */

START_TEST(each_has_a_new_ref)
{
	join_with(&plain, "[]");
	SAYS(
	    "track", "[null,\"a\",{\"n\":1}]", "TRACK room:1 a {\"n\":1};ref;");
	SAYS("track", "[null,\"a\",{}]", "error \"EEXIST\";");
	SAYS("update", "[null,\"b\",{}]", "error \"ENOENT\";");
	SAYS("update", "[null,\"a\",{\"n\":2}]",
	    "TRACK room:1 a again {\"n\":2};ref;");
	SAYS("update", "[null,\"a\",{}]", "TRACK room:1 a again {};ref;");
	SAYS("untrack", "[null,\"a\"]", "UNTRACK room:1 a;untracked 0;");
	SAYS("untrack", "[null,\"a\"]", "untracked 0;");
	SAYS("update", "[null,\"a\",{}]", "error \"ENOENT\";");
	SAYS("track", "[null,\"a\",{}]", "TRACK room:1 a {};ref;");
	leave();
}
END_TEST

START_TEST(topics_are_apart)
{
	join_with(&plain, "[]");
	SAYS("track", "[\"x\",\"a\",{}]", "TRACK x a {};ref;");
	SAYS("track", "[null,\"a\",{}]", "TRACK room:1 a {};ref;");
	SAYS("track", "[\"room:1\",\"a\",{}]", "error \"EEXIST\";");
	SAYS("track", "[\"\",\"a\",{}]", "TRACK  a {};ref;");
	SAYS("untrack", "[\"x\",\"a\"]", "UNTRACK x a;untracked 0;");
	SAYS("track", "[null,\"a\",{}]", "error \"EEXIST\";");
	leave();
}
END_TEST

START_TEST(own_topic_with_nul)
{
	topic = &topics[1];
	join_with(&plain, "[]");
	SAYS("track", "[null,\"a\",{}]", "TRACK room:1 U+0000 a {};ref;");
	SAYS("track", "[\"room:1\",\"a\",{}]", "TRACK room:1 a {};ref;");
	leave();
}
END_TEST

START_TEST(keys_are_any_text)
{
	join_with(&plain, "[]");
	SAYS("track", "[null,\"\",{}]", "TRACK room:1  {};ref;");
	SAYS("track", "[null,\"constructor\",{}]",
	    "TRACK room:1 constructor {};ref;");
	SAYS("track", "[null,\"__proto__\",{}]",
	    "TRACK room:1 __proto__ {};ref;");
	SAYS("track", "[null,\"\u00fc\U0001f600\",{}]",
	    "TRACK room:1 \u00fc\U0001f600 {};ref;");
	SAYS("track", "[null,\"\",{}]", "error \"EEXIST\";");
	SAYS("bad", "[\"key\"]", "error \"EINVAL\";");
	SAYS("bad", "[\"topic\"]", "error \"EINVAL\";");
	send_in("long", "[]");
	UNTIL(base, strstr(told, "error") != NULL);
	tools_settle(base);
	ck_assert_ptr_nonnull(strstr(told,
	    "xxx {};ref;error \"ENAMETOOLONG\";"
	    "error \"ENAMETOOLONG\";"));
	leave();
}
END_TEST

START_TEST(metas_are_objects)
{
	join_with(&plain, "[]");
	SAYS("track", "[null,\"a\",[1]]", "error \"EINVAL\";");
	SAYS("track", "[null,\"a\",\"text\"]", "error \"EINVAL\";");
	SAYS("bad", "[\"bytes\"]", "error \"EINVAL\";");
	SAYS("update", "[null,\"a\",null]", "error \"ENOENT\";");
	SAYS("track", "[null,\"a\",{\"b\":{\"c\":[]}}]",
	    "TRACK room:1 a {\"b\":{\"c\":[]}};ref;");
	/* What was there stays when its successor is none. */
	SAYS("update", "[null,\"a\",7]", "error \"EINVAL\";");
	SAYS("update", "[null,\"a\",{}]", "TRACK room:1 a again {};ref;");
	leave();
}
END_TEST

static void
check_mistake(const char *event, const char *payload)
{
	join_with(&plain, "[]");
	send_in(event, payload);
	ends(EXIT_CRASH);
	ck_assert_str_eq(told, "EOF;");
}

START_TEST(mistakes)
{
	check_mistake("bad", "[\"text\"]");
	check_mistake("bad", "[\"no key\"]");
	for (int i = 0; i < 5; i++) {
		static const char *const events[] = { "track", "update",
			"untrack", "list", "get" };
		char payload[64];

		snprintf(payload, sizeof payload, "[null,\"a\",{},\"%s\"]",
		    events[i]);
		join_with(&plain, payload);
		ends(EXIT_CRASH);
		ck_assert_str_eq(told, "EOF;");
	}
	join_with(&plain, "[]");
	mailbox_send(mailbox, ENVELOPE_DUMP, NULL);
	ends(EXIT_CRASH);
}
END_TEST

/* How many tracks came, and what was said in the end. */
static void
check_many(const char *payload, unsigned n, const char *end)
{
	unsigned tracks = 0;

	join_with(&plain, "[]");
	send_in("many", payload);
	UNTIL(base, strstr(told, end) != NULL);
	for (const char *at = told; (at = strstr(at, "TRACK ")) != NULL; at++)
		tracks++;
	ck_assert_uint_eq(tracks, n);
	leave();
}

START_TEST(too_many)
{
	check_many("[1001,1]", 1000, "tracked 1000;error \"EDQUOT\";");
	check_many("[6,200000]", 5, "tracked 5;error \"EDQUOT\";");
}
END_TEST

/* ---- lists ---- */

START_TEST(a_list_is_asked_for)
{
	join_with(&plain, "[]");
	SAYS("list", "[]", "PRESENCES room:1 -;list " LIST ";");
	SAYS("list", "[\"other:1\"]",
	    "PRESENCES other:1 -;list {\"a\":{\"metas\":[{\"phx_ref\":\"1\"}],"
	    "\"at\":\"other:1\"}};");
	list = "{}";
	SAYS("list", "[]", "PRESENCES room:1 -;list {};");
	list = KEY;
	SAYS("get", "[null,\"a\"]", "PRESENCES room:1 a;list " KEY ";");
	list = "[]";
	SAYS("get", "[null,\"\"]", "PRESENCES room:1 ;list [];");
	leave();
}
END_TEST

START_TEST(fetch_adds)
{
	join_with(&fetching, "[]");
	SAYS("list", "[]",
	    "PRESENCES room:1 -;list {\"a\":{\"metas\":[{\"phx_ref\":\"1\"}],"
	    "\"at\":\"room:1\"}};");
	SAYS("list", "[\"nobody's\"]", "PRESENCES nobody's -;list " LIST ";");
	list = "{}";
	SAYS("list", "[]", "PRESENCES room:1 -;list {};");
	list = KEY;
	SAYS("get", "[null,\"a\"]",
	    "PRESENCES room:1 a;list {\"metas\":[{\"phx_ref\":\"1\"}],"
	    "\"at\":\"room:1\"};");
	list = "[]";
	SAYS("get", "[null,\"a\"]", "PRESENCES room:1 a;list [];");
	leave();
}
END_TEST

/* Neither the large answer nor its way touches the message in hand. */
START_TEST(the_message_in_hand_stays)
{
	char *large = malloc(300000), *payload = malloc(40000);

	snprintf(
	    large, 300000, "{\"a\":{\"metas\":[{\"s\":\"%0*d\"}]}}", 290000, 0);
	snprintf(payload, 40000, "\"%030000d\"", 7);
	join_with(&plain, "[]");
	for (int i = 0; i < 3; i++) {
		list = i % 2 == 0 ? large : LIST;
		send_in("list and echo", payload);
		UNTIL(base, strstr(told, "list and echo \"000") != NULL);
		told[0] = '\0';
	}
	leave();
	free(large);
	free(payload);
}
END_TEST

START_TEST(presence_dies_over_it)
{
	does = DIE;
	deaths = 4;
	join_with(&plain, "[]");
	SAYS("list", "[]", "PRESENCES room:1 -;list " LIST ";");
	ck_assert_uint_eq(questions, 5);
	does = NONSENSE;
	SAYS("list", "[]",
	    "PRESENCES room:1 -;PRESENCES room:1 -;list " LIST ";");
	leave();
}
END_TEST

START_TEST(no_answer_is_a_crash)
{
	long long begun = monotonic_ms();

	does = IGNORE;
	join_with(&plain, "[]");
	send_in("list", "[]");
	ends(EXIT_CRASH);
	ck_assert_str_eq(told, "PRESENCES room:1 -;EOF;");
	ck_assert_int_ge(monotonic_ms() - begun, PRESENCE_WAIT);
}
END_TEST

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
	answer();
}

/* The transport has not passed it on: that is not presence's fault. */
START_TEST(the_clock_is_presences)
{
	const struct timeval late = { PRESENCE_WAIT / 1000, 300000 };

	does = WAIT;
	join_with(&plain, "[]");
	event_base_once(base, -1, EV_TIMEOUT, on_time, NULL, &late);
	SAYS("list", "[]", "PRESENCES room:1 -;");
	ASSERT_TOLD("list " LIST ";");
	leave();
}
END_TEST

START_TEST(the_transport_dies_over_it)
{
	does = IGNORE;
	join_with(&plain, "[]");
	SAYS("list", "[]", "PRESENCES room:1 -;");
	mailbox_free(mailbox);
	mailbox_free(asked);
	mailbox = asked = NULL;
	tools_assert_exit(pid, EXIT_SHUTDOWN);
}
END_TEST

START_TEST(in_terminate)
{
	join_with(&terminating, "[]");
	SAYS("track", "[null,\"a\",{}]", "TRACK room:1 a {};ref;");
	send_end();
	ends(EXIT_SHUTDOWN);
	ck_assert_str_eq(told,
	    "error \"ESHUTDOWN\";error \"ESHUTDOWN\";untracked -1;"
	    "PRESENCES room:1 -;list " LIST ";STOP;EOF;");
}
END_TEST

UNIT_MAIN("channel_presence", each_has_a_new_ref, topics_are_apart,
    own_topic_with_nul, keys_are_any_text, metas_are_objects, mistakes,
    too_many, a_list_is_asked_for, fetch_adds, the_message_in_hand_stays,
    presence_dies_over_it, no_answer_is_a_crash, the_clock_is_presences,
    the_transport_dies_over_it, in_terminate)
