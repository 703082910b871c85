/*
 * The presence role and presence/client.c together: the role is forked as the
 * supervisor does it, its clients run here. It dies and comes back; it is sent
 * nonsense. No pubsub worker runs: what it publishes waits.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <check.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/client.h"
#include "presence/presence.h"
#include "pubsub/shared.h"
#include "pubsub/slots.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

static struct event_base *base;
static char directory[64], path[128], worker_path[128];
static int listener, files[PRESENCE_LOG_FILES];
static pid_t role;
static struct mailbox *to_role; /* the supervisor's end */
static bool started, ended;
static struct config config = { .journal_size = 64 << 10 };
static struct shared *shared;
static struct slots *slots;
static uint32_t own_slot; /* presence's */

/* Asks for a list, and takes the answer. */
static struct mailbox *tool;
static char *listed;
static bool tool_ended;

static void
on_role(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	if (envelope == NULL) {
		ended = true;
		mailbox_pause(mailbox);
		return;
	}
	ck_assert_int_eq(envelope->type, ENVELOPE_STARTED);
	started = true;
}

static void
start_role(void)
{
	struct presence_start start = {
		.config = &config,
		.pubsub = { .path = worker_path,
		    .connection = 1,
		    .slot = own_slot },
		.shared = shared,
	};
	struct process_spec spec = {
		.name = "presence",
		.run = presence_run,
		.arg = &start,
		.fds = { listener, -1, files[0], files[1] },
		.nfds = PRESENCE_NFDS,
	};
	int fd;

	started = ended = false;
	shared_inherit_slots(shared, true);
	role = mailbox_fork(&spec, 1, &fd);
	shared_inherit_slots(shared, false);
	ck_assert_int_gt(role, 0);
	to_role = mailbox_new(fd, on_role, NULL);
	mailbox_attach(to_role, base);
	UNTIL(base, started);
}

static void
kill_role(void)
{
	int status;

	ck_assert_int_eq(kill(role, SIGKILL), 0);
	ck_assert_int_eq(waitpid(role, &status, 0), role);
	mailbox_free(to_role);
}

static int
listen_at(const char *where)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, where);
	ck_assert_int_eq(
	    bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(fd, 64), 0);
	return fd;
}

static int
connect_to_role(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	ck_assert_int_eq(
	    connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void
setup(void)
{
	strcpy(directory, "/tmp/bennu-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/presence.sock", directory);
	snprintf(worker_path, sizeof worker_path, "%s/none.sock", directory);
	base = event_base_new();
	listener = listen_at(path);
	ck_assert_int_eq(presence_log_files(files), 0);
	shared = shared_new(1, 8, 64 << 10);
	slots = slots_new(shared);
	own_slot = slot_take(slots, 1);
	start_role();
}

static void
teardown(void)
{
	kill_role();
	slots_free(slots);
	shared_free(shared);
	for (int i = 0; i < PRESENCE_LOG_FILES; i++)
		close(files[i]);
	close(listener);
	event_base_free(base);
	unlink(path);
	rmdir(directory);
}

/* ---- lists ---- */

static void
on_listed(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct text list;

	tool_ended = true;
	if (envelope == NULL)
		return;
	ck_assert_int_eq(envelope->type, ENVELOPE_PR_LISTED);
	list = envelope_get_text(envelope);
	ck_assert(envelope_end(envelope));
	free(listed);
	listed = xmemdup(list.data, list.size);
}

static const char *
list_of(const char *topic)
{
	struct envelope_writer hello = { 0 }, question = { 0 };

	free(listed);
	listed = NULL;
	tool_ended = false;
	tool = mailbox_new(connect_to_role(), on_listed, NULL);
	mailbox_attach(tool, base);
	envelope_put_u64(&hello, 0);
	envelope_put_u32(&hello, SLOT_NONE);
	mailbox_send(tool, ENVELOPE_PR_HELLO, &hello);
	envelope_put_string(&question, topic);
	envelope_put_string(&question, NULL);
	mailbox_send(tool, ENVELOPE_PR_LIST, &question);
	UNTIL(base, tool_ended);
	mailbox_free(tool);
	ck_assert_ptr_nonnull(listed);
	return listed;
}

/* Until the list is that; what is sent on another connection takes its time. */
static void
await_list(const char *topic, const char *expected)
{
	long long until = monotonic_ms() + TOOLS_DEADLINE;

	while (strcmp(list_of(topic), expected) != 0)
		ck_assert_msg(monotonic_ms() < until, "%s is %s, not %s", topic,
		    listed, expected);
}

static struct presence_client *
client_new(uint64_t connection)
{
	uint32_t slot = slot_take(slots, connection);

	atomic_store(&shared->slots[slot].pid, getpid());
	return presence_client_new(base, path, connection, slot);
}

static bool
track(struct presence_client *client, uint64_t channel, const char *topic,
    const char *key, const char *ref, const char *prev)
{
	struct presence presence = {
		.channel = channel,
		.topic = text_lent(topic, strlen(topic)),
		.key = text_lent(key, strlen(key)),
		.ref = text_lent(ref, strlen(ref)),
		.meta = text_lent("{}", 2),
	};

	if (prev != NULL)
		presence.prev = text_lent(prev, strlen(prev));
	return presence_client_track(client, &presence);
}

#define ONE(key, ref) "{\"" key "\":{\"metas\":[{\"phx_ref\":\"" ref "\"}]}}"

START_TEST(a_client_tracks)
{
	struct presence_client *client;
	const struct text t = text_lent("t", 1), a = text_lent("a", 1);

	setup();
	client = client_new(2);
	ck_assert(track(client, 1, "t", "a", "r1", NULL));
	ck_assert(!track(client, 1, "t", "a", "r2", NULL));
	ck_assert(!track(client, 1, "t", "a", "r2", "r0"));
	ck_assert(!track(client, 1, "t", "b", "r2", "r1"));
	ck_assert(!track(client, 2, "t", "a", "r2", "r1"));
	await_list("t", ONE("a", "r1"));
	ck_assert(track(client, 2, "t", "b", "r2", NULL));
	ck_assert_uint_eq(presence_client_count(client), 2);
	presence_client_untrack(client, 1, &t, &a);
	await_list("t", ONE("b", "r2"));
	presence_client_drop(client, 1);
	presence_client_drop(client, 2);
	await_list("t", "{}");
	ck_assert_uint_eq(presence_client_bytes(client), 0);
	presence_client_free(client);
	teardown();
}
END_TEST

START_TEST(what_a_connection_tracked_goes_with_it)
{
	struct presence_client *first, *second;

	setup();
	first = client_new(2);
	second = client_new(3);
	ck_assert(track(first, 1, "t", "a", "r1", NULL));
	ck_assert(track(second, 1, "t", "b", "r2", NULL));
	await_list("t",
	    "{\"a\":{\"metas\":[{\"phx_ref\":\"r1\"}]},"
	    "\"b\":{\"metas\":[{\"phx_ref\":\"r2\"}]}}");
	presence_client_free(first);
	await_list("t", ONE("b", "r2"));
	presence_client_free(second);
	await_list("t", "{}");
	teardown();
}
END_TEST

/* What changed while nobody was there is told when somebody is. */
START_TEST(a_successor_hears_what_there_is)
{
	struct presence_client *client;
	const struct text t = text_lent("t", 1), a = text_lent("a", 1);

	setup();
	client = client_new(2);
	ck_assert(track(client, 1, "t", "a", "r1", NULL));
	ck_assert(track(client, 1, "t", "b", "r2", NULL));
	ck_assert(track(client, 2, "t", "c", "r3", NULL));
	ck_assert(track(client, 3, "t", "d", "r4", NULL));
	await_list("t",
	    "{\"a\":{\"metas\":[{\"phx_ref\":\"r1\"}]},"
	    "\"b\":{\"metas\":[{\"phx_ref\":\"r2\"}]},"
	    "\"c\":{\"metas\":[{\"phx_ref\":\"r3\"}]},"
	    "\"d\":{\"metas\":[{\"phx_ref\":\"r4\"}]}}");
	kill_role();
	presence_client_untrack(client, 1, &t, &a);
	presence_client_drop(client, 2);
	ck_assert(track(client, 3, "t", "d", "r5", "r4"));
	ck_assert(track(client, 4, "t", "e", "r6", NULL));
	start_role();
	await_list("t",
	    "{\"b\":{\"metas\":[{\"phx_ref\":\"r2\"}]},"
	    "\"d\":{\"metas\":[{\"phx_ref\":\"r5\",\"phx_ref_prev\":\"r4\"}]},"
	    "\"e\":{\"metas\":[{\"phx_ref\":\"r6\"}]}}");
	presence_client_free(client);
	teardown();
}
END_TEST

START_TEST(who_died_meanwhile_is_found)
{
	struct presence_client *dies, *waits;

	setup();
	dies = client_new(2);
	waits = client_new(3);
	ck_assert(track(dies, 1, "t", "a", "r1", NULL));
	ck_assert(track(waits, 1, "t", "b", "r2", NULL));
	await_list("t",
	    "{\"a\":{\"metas\":[{\"phx_ref\":\"r1\"}]},"
	    "\"b\":{\"metas\":[{\"phx_ref\":\"r2\"}]}}");
	kill_role();
	presence_client_free(dies);
	slot_free(slots, 1);
	start_role();
	await_list("t", ONE("b", "r2"));
	presence_client_free(waits);
	teardown();
}
END_TEST

/* ---- nonsense ---- */

static void
send_bytes(const void *bytes, size_t size)
{
	int fd = connect_to_role();

	ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
	close(fd);
}

/* Every type, every length of a body, in one connection each. */
START_TEST(nonsense_ends_its_sender_only)
{
	struct presence_client *client;
	uint32_t bytes[2 + 16];

	setup();
	client = client_new(2);
	ck_assert(track(client, 1, "t", "a", "r1", NULL));
	for (uint32_t type = 285; type < 302; type++)
		for (uint32_t size = 0; size <= sizeof bytes - 8; size += 4) {
			memset(bytes, size % 8 == 0 ? 0xff : 0, sizeof bytes);
			bytes[0] = type;
			bytes[1] = size;
			send_bytes(bytes, 8 + size);
		}
	bytes[0] = ENVELOPE_PR_LIST;
	bytes[1] = UINT32_MAX;
	send_bytes(bytes, sizeof bytes);
	await_list("t", ONE("a", "r1"));
	ck_assert_int_eq(waitpid(role, NULL, WNOHANG), 0);
	presence_client_free(client);
	teardown();
}
END_TEST

static void
hello_as(uint64_t connection, uint32_t slot, const char *key)
{
	struct envelope_writer hello = { 0 }, track = { 0 };

	tool_ended = false;
	tool = mailbox_new(connect_to_role(), on_listed, NULL);
	mailbox_attach(tool, base);
	envelope_put_u64(&hello, connection);
	envelope_put_u32(&hello, slot);
	mailbox_send(tool, ENVELOPE_PR_HELLO, &hello);
	envelope_put_u64(&track, 1);
	envelope_put_string(&track, "t");
	envelope_put_string(&track, key);
	envelope_put_string(&track, "r9");
	envelope_put_string(&track, NULL);
	envelope_put_string(&track, "{}");
	mailbox_send(tool, ENVELOPE_PR_TRACK, &track);
	UNTIL(base, tool_ended);
	mailbox_free(tool);
}

START_TEST(nobody_is_taken_for_another)
{
	struct presence_client *client;

	setup();
	client = client_new(2);
	ck_assert(track(client, 1, "t", "a", "r1", NULL));
	await_list("t", ONE("a", "r1"));
	hello_as(2, 2, "x");    /* a slot of nobody */
	hello_as(3, 1, "x");    /* another's slot */
	hello_as(2, 1000, "x"); /* no slot */
	hello_as(0, SLOT_NONE, "x");
	hello_as(2, SLOT_NONE, "x"); /* it has one */
	atomic_store(&shared->slots[1].pid, 1);
	hello_as(2, 1, "x"); /* another process */
	await_list("t", ONE("a", "r1"));
	presence_client_free(client);
	teardown();
}
END_TEST

/* Who asks sends a descriptor for the answer: of any kind. */
START_TEST(answers_over_strange_descriptors)
{
	struct presence_client *client;
	const struct text t = text_lent("t", 1);
	const struct linger linger = { .l_onoff = 1, .l_linger = 60 };
	int pair[2], pipes[2], fd;

	setup();
	client = client_new(2);
	ck_assert(track(client, 1, "t", "a", "r1", NULL));
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	presence_client_list(client, &t, NULL, pipes[0]);
	presence_client_list(client, &t, NULL, pipes[1]);
	presence_client_list(
	    client, &t, NULL, open("/dev/null", O_RDWR | O_CLOEXEC));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
	presence_client_list(client, &t, NULL, fd);
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	presence_client_list(client, &t, NULL, pair[1]);
	close(pair[0]);
	/* One that is full, and that nobody reads. */
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	while (send(pair[1], directory, sizeof directory, MSG_DONTWAIT) > 0)
		;
	presence_client_list(client, &t, NULL, pair[1]);
	ck_assert_int_eq(waitpid(role, NULL, WNOHANG), 0);
	await_list("t", ONE("a", "r1"));
	close(pair[0]);
	/* And as it should be. */
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	presence_client_list(client, &t, NULL, pair[1]);
	tool_ended = false;
	tool = mailbox_new(pair[0], on_listed, NULL);
	mailbox_attach(tool, base);
	UNTIL(base, tool_ended);
	ck_assert_str_eq(listed, ONE("a", "r1"));
	mailbox_free(tool);
	presence_client_free(client);
	teardown();
}
END_TEST

UNIT_MAIN("presence", a_client_tracks, what_a_connection_tracked_goes_with_it,
    a_successor_hears_what_there_is, who_died_meanwhile_is_found,
    nonsense_ends_its_sender_only, nobody_is_taken_for_another,
    answers_over_strange_descriptors)
