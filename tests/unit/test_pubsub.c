/*
 * pubsub/client.c and the pubsub role together: a worker is forked as the
 * supervisor does it, its clients run here. Workers die and come back.
 */
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <check.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/config.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "common/tree.h"
#include "pubsub/bus.h"
#include "pubsub/client.h"
#include "pubsub/lane.h"
#include "pubsub/pubsub.h"
#include "pubsub/shared.h"
#include "pubsub/slots.h"
#include "pubsub/tap.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

#define BACKLOG_MAX (4U << 20)

static struct event_base *base;
static char directory[64], path[128];
static int listener;
static pid_t worker;
static struct mailbox *to_worker; /* the supervisor's end */
static bool worker_ready, worker_gone;
static bool suspicious;      /* it died of a damage */
static struct config config; /* one mount, without channels */
static struct config_socket mount;
static struct shared *shared; /* outlives the worker */
static struct slots *slots;

#define SLOTS        1000
#define JOURNAL_SIZE (16U << 20)

/* A client, and what it was told: "deliver topic event payload kind;". */
struct client {
	struct pubsub_client *pubsub;
	char told[4096];
	size_t ndelivered, nbytes, nframes;
	unsigned nidle, nfree, nasked;
	uint32_t slot;
	bool busy; /* it has no room */
};

static struct client a, b, c;

static void tell(struct client *client, const char *fmt, ...)
    __attribute__((__format__(printf, 2, 3)));

static void
tell(struct client *client, const char *fmt, ...)
{
	size_t at = strlen(client->told);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(client->told + at, sizeof client->told - at, fmt, ap);
	va_end(ap);
}

static void
on_deliver(const struct broadcast *broadcast, uint32_t what, void *arg)
{
	struct client *client = arg;

	ck_assert_uint_eq(what, PS_DELIVER_INFO);
	client->ndelivered++;
	client->nbytes += broadcast->payload.size;
	if (broadcast->payload.size < 100)
		tell(client, "%.*s %.*s %.*s %u;", (int)broadcast->topic.size,
		    broadcast->topic.data, (int)broadcast->event.size,
		    broadcast->event.data, (int)broadcast->payload.size,
		    broadcast->payload.data, broadcast->kind);
}

static void
on_frame(const struct text *topic, const char *frame, size_t size, void *arg)
{
	struct client *client = arg;

	(void)topic;
	client->nframes++;
	/* Short ones: a head of two bytes. */
	tell(client, "%.*s;", (int)size - 2, frame + 2);
}

static void
on_rest(const char *rest, size_t size, void *arg)
{
	(void)rest;
	tell(arg, "rest %zu;", size);
}

static void
on_lane_free(void *arg)
{
	struct client *client = arg;

	client->nfree++;
}

static void
on_overrun(void *arg)
{
	tell(arg, "overrun;");
}

static void
on_idle(void *arg)
{
	struct client *client = arg;

	client->nidle++;
	ck_assert_uint_eq(pubsub_unaccepted(client->pubsub), 0);
}

static bool
has_room(void *arg)
{
	struct client *client = arg;

	client->nasked++;
	return !client->busy;
}

static void
client_start(struct client *client, uint64_t number)
{
	static const struct pubsub_callbacks callbacks = {
		.deliver = on_deliver,
		.frame = on_frame,
		.rest = on_rest,
		.lane_free = on_lane_free,
		.overrun = on_overrun,
		.idle = on_idle,
		.has_room = has_room,
	};
	struct pubsub_identity identity = {
		.path = path,
		.connection = number,
	};

	memset(client, 0, sizeof *client);
	client->slot = identity.slot = slot_take(slots, number);
	ck_assert_uint_ne(client->slot, SLOT_NONE);
	atomic_store(&shared->slots[client->slot].pid, getpid());
	client->pubsub = pubsub_client_new(base, &identity, &callbacks, client);
}

static void
on_worker(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	if (envelope == NULL) {
		worker_gone = true;
		return;
	}
	ck_assert_int_eq(envelope->type, ENVELOPE_STARTED);
	worker_ready = true;
}

static void
start_worker(size_t backlog_max)
{
	struct pubsub_start start = {
		.number = 1,
		.backlog_max = backlog_max,
		.config = &config,
		.shared = shared,
		.run_directory = directory,
		.suspicious = suspicious,
	};
	struct process_spec spec = {
		.name = "bennu-pubsub",
		.run = pubsub_run,
		.arg = &start,
		.fds = { listener },
		.nfds = PUBSUB_NFDS,
	};
	int fds[2];

	ck_assert_int_eq(mailbox_pair(fds), 0);
	spec.fds[1] = fds[1];
	worker = process_fork(&spec);
	ck_assert_int_gt(worker, 0);
	close(fds[1]);
	worker_ready = worker_gone = false;
	to_worker = mailbox_new(fds[0], on_worker, NULL);
	mailbox_attach(to_worker, base);
}

/* Its parent sees the end of its mailbox, too. */
static void
kill_worker(void)
{
	kill(worker, SIGKILL);
	tools_assert_killed(worker, SIGKILL);
	UNTIL(base, worker_gone);
	mailbox_free(to_worker);
}

static void
set_up(size_t backlog_max)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	base = event_base_new();
	tools_make_directory(directory, sizeof directory);
	snprintf(path, sizeof path, "%s/pubsub.sock", directory);
	strcpy(address.sun_path, path);
	listener = socket(
	    AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(
	    bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(listener, 100), 0);
	config.sockets = &mount;
	config.nsockets = 1;
	config.backlog_max = backlog_max / 8;
	config.queue_max_messages = 1000;
	shared = shared_new(1, SLOTS, JOURNAL_SIZE);
	ck_assert_ptr_nonnull(shared);
	slots = slots_new(shared);
	shared_inherit(shared, true);
	start_worker(backlog_max);
	UNTIL(base, worker_ready);
	client_start(&a, 1);
	client_start(&b, 2);
	client_start(&c, 3);
}

static void
tear_down(void)
{
	pubsub_client_free(a.pubsub);
	pubsub_client_free(b.pubsub);
	pubsub_client_free(c.pubsub);
	kill(worker, SIGTERM);
	tools_assert_exit(worker, EXIT_SHUTDOWN);
	mailbox_free(to_worker);
	close(listener);
	event_base_free(base);
	slots_free(slots);
	shared_free(shared);
	bus_remove(directory);
	tap_remove(directory);
	tools_remove_directory(directory);
	tools_assert_no_children();
}

/* ---- short forms ---- */

/* What a confirmation says: "+topic;" or "-topic;". */
struct confirmation {
	struct client *client;
	char text[64];
};

static void
on_confirmed(void *arg)
{
	struct confirmation *confirmation = arg;

	tell(confirmation->client, "%s", confirmation->text);
	free(confirmation);
}

static void
ask(struct client *client, const char *topic, bool subscribe)
{
	struct confirmation *confirmation = calloc(1, sizeof *confirmation);
	struct text name = text_lent(topic, strlen(topic));

	confirmation->client = client;
	snprintf(confirmation->text, sizeof confirmation->text, "%c%s;",
	    subscribe ? '+' : '-', topic);
	(subscribe ? pubsub_subscribe : pubsub_unsubscribe)(
	    client->pubsub, PART_CHANNEL, &name, on_confirmed, confirmation);
}

static void
subscribe(struct client *client, const char *topic)
{
	ask(client, topic, true);
}

static void
unsubscribe(struct client *client, const char *topic)
{
	ask(client, topic, false);
}

static void
publish(struct client *client, const char *topic, const char *event)
{
	struct broadcast broadcast = {
		.topic = text_lent(topic, strlen(topic)),
		.event = text_lent(event, strlen(event)),
		.kind = 1,
		.payload = text_lent("{}", 2),
	};

	pubsub_publish(client->pubsub, &broadcast, 0);
}

static bool
was_told(const struct client *client, const char *text)
{
	return strcmp(client->told, text) == 0;
}

/* Told exactly this, and then it is forgotten. */
#define ASSERT_TOLD(client, text)                                    \
	do {                                                         \
		UNTIL(base, strlen((client)->told) >= strlen(text)); \
		tools_settle(base);                                  \
		ck_assert_str_eq((client)->told, text);              \
		(client)->told[0] = '\0';                            \
	} while (0)

/* ---- a client by hand ---- */

static int
raw_client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	ck_assert_int_eq(
	    connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void
raw_send(int fd, enum envelope_type type, struct envelope_writer *writer)
{
	struct envelope_writer empty = { 0 };
	uint32_t head[2] = { type };

	if (writer == NULL) {
		writer = &empty;
		envelope_put_raw(writer, "", 0);
	}
	head[1] = (uint32_t)writer->size - ENVELOPE_HEAD;
	memcpy(writer->data, head, sizeof head);
	ck_assert_int_eq(send(fd, writer->data, writer->size, MSG_NOSIGNAL),
	    (ssize_t)writer->size);
	envelope_writer_free(writer);
}

static void
raw_hello_of(int fd, uint32_t slot, uint64_t connection)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, slot);
	envelope_put_u64(&writer, connection);
	envelope_put_u32(&writer, 0);
	raw_send(fd, ENVELOPE_PS_HELLO, &writer);
	raw_send(fd, ENVELOPE_PS_READY, NULL);
}

static void
raw_hello(int fd, uint64_t connection)
{
	raw_hello_of(fd, SLOT_NONE, connection);
}

static void
raw_subscribe(int fd, const char *topic)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, PART_CHANNEL);
	envelope_put_string(&writer, topic);
	envelope_put_u32(&writer, 0);
	raw_send(fd, ENVELOPE_PS_SUBSCRIBE, &writer);
}

static void
raw_unsubscribe(int fd, const char *topic)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, PART_CHANNEL);
	envelope_put_string(&writer, topic);
	raw_send(fd, ENVELOPE_PS_UNSUBSCRIBE, &writer);
}

static void
raw_publish(int fd, uint64_t number, const char *topic, size_t size)
{
	struct envelope_writer writer = { 0 };
	char *payload = calloc(1, size + 1);

	memset(payload, 'x', size);
	envelope_put_u64(&writer, number);
	envelope_put_u32(&writer, 0);
	envelope_put_string(&writer, topic);
	envelope_put_string(&writer, "e");
	envelope_put_u32(&writer, 1);
	envelope_put_data(&writer, payload, size);
	raw_send(fd, ENVELOPE_PS_PUBLISH, &writer);
	free(payload);
}

/* The type of the next envelope, which must be a small one. */
static enum envelope_type
raw_take(int fd)
{
	uint32_t head[2];
	char body[256];

	ck_assert_uint_eq(
	    tools_read_all(fd, (char *)head, sizeof head), sizeof head);
	ck_assert_uint_le(head[1], sizeof body);
	ck_assert_uint_eq(tools_read_all(fd, body, head[1]), head[1]);
	return (enum envelope_type)head[0];
}

/* Reads and forgets all, up to the end. */
static size_t
raw_read_to_end(int fd)
{
	char buf[4096];
	size_t n = 0, got;

	do {
		got = tools_read_all(fd, buf, sizeof buf);
		n += got;
	} while (got == sizeof buf);
	return n;
}

static bool
raw_is_let_go(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLRDHUP };

	return poll(&pollfd, 1, 0) == 1;
}

/*
 * A worker whose tick comes 300 ms late, after 1 s, takes it that it was
 * stopped, and is patient with those who take nothing for at least 2 s. What is
 * to happen without that, or with it, has happened before or is tried again.
 */
#define TICK_LATE  1200 /* ms from its start, at most */
#define PATIENT_MS 1800

static bool
is_held_up(long long from, int ms)
{
	return monotonic_ms() - from > ms;
}

/* ---- what works ---- */

START_TEST(to_others_but_not_to_oneself)
{
	set_up(BACKLOG_MAX);
	subscribe(&a, "room:1");
	subscribe(&b, "room:1");
	subscribe(&c, "room:2");
	/* Never from inside the call. */
	ck_assert_str_eq(a.told, "");
	ASSERT_TOLD(&a, "+room:1;");
	ASSERT_TOLD(&b, "+room:1;");
	ASSERT_TOLD(&c, "+room:2;");

	publish(&a, "room:1", "hello");
	ck_assert_uint_gt(pubsub_unaccepted(a.pubsub), 0);
	ASSERT_TOLD(&b, "room:1 hello {} 1;");
	UNTIL(base, a.nidle == 1);
	publish(&c, "room:1", "from outside");
	ASSERT_TOLD(&a, "room:1 from outside {} 1;");
	ASSERT_TOLD(&b, "room:1 from outside {} 1;");
	UNTIL(base, c.nidle == 1);
	publish(&a, "nobody", "hello");
	UNTIL(base, a.nidle == 2);
	ck_assert_uint_eq(a.ndelivered, 1);
	ck_assert_uint_eq(b.ndelivered, 2);
	ck_assert_uint_eq(c.ndelivered, 0);
	tear_down();
}
END_TEST

/* What a sender sends arrives in its order, at all. */
START_TEST(in_order)
{
	char event[16], expected[4096] = "";

	set_up(BACKLOG_MAX);
	subscribe(&b, "t");
	subscribe(&c, "t");
	UNTIL(base, was_told(&b, "+t;") && was_told(&c, "+t;"));
	strcpy(expected, "+t;");
	for (int i = 0; i < 200; i++) {
		snprintf(event, sizeof event, "e%d", i);
		publish(&a, "t", event);
		snprintf(expected + strlen(expected),
		    sizeof expected - strlen(expected), "t %s {} 1;", event);
	}
	UNTIL(base, b.ndelivered == 200 && c.ndelivered == 200);
	ck_assert_str_eq(b.told, expected);
	ck_assert_str_eq(c.told, expected);
	/* Idle when all were accepted, not at each. */
	UNTIL(base, a.nidle > 0 && pubsub_unaccepted(a.pubsub) == 0);
	ck_assert_uint_lt(a.nidle, 200);
	tear_down();
}
END_TEST

/* Broadcasts lie between the confirmations where they belong. */
START_TEST(confirmations_are_in_order_with_broadcasts)
{
	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	publish(&b, "t", "one");
	ASSERT_TOLD(&a, "t one {} 1;");
	unsubscribe(&a, "t");
	subscribe(&a, "u");
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "-t;+u;+t;");
	publish(&b, "t", "two");
	ASSERT_TOLD(&a, "t two {} 1;");
	tear_down();
}
END_TEST

START_TEST(after_unsubscribing)
{
	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	subscribe(&c, "t");
	ASSERT_TOLD(&a, "+t;");
	ASSERT_TOLD(&c, "+t;");
	unsubscribe(&a, "t");
	ASSERT_TOLD(&a, "-t;");
	publish(&b, "t", "e");
	ASSERT_TOLD(&c, "t e {} 1;");
	tools_settle(base);
	ck_assert_uint_eq(a.ndelivered, 0);
	tear_down();
}
END_TEST

/* Twice asked for, once delivered, until the last one goes. */
START_TEST(subscriptions_are_counted)
{
	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	subscribe(&a, "t");
	ck_assert_str_eq(a.told, "");
	ASSERT_TOLD(&a, "+t;+t;");
	/* One more, when nothing is under way: told, but not in the call. */
	subscribe(&a, "t");
	ck_assert_str_eq(a.told, "");
	ASSERT_TOLD(&a, "+t;");
	publish(&b, "t", "one");
	ASSERT_TOLD(&a, "t one {} 1;");
	unsubscribe(&a, "t");
	unsubscribe(&a, "t");
	ck_assert_str_eq(a.told, "");
	ASSERT_TOLD(&a, "-t;-t;");
	publish(&b, "t", "two");
	ASSERT_TOLD(&a, "t two {} 1;");
	unsubscribe(&a, "t");
	ASSERT_TOLD(&a, "-t;");
	publish(&b, "t", "three");
	UNTIL(base, pubsub_unaccepted(b.pubsub) == 0);
	tools_settle(base);
	ck_assert_uint_eq(a.ndelivered, 2);
	/* Up and down at once, in all orders. */
	subscribe(&a, "t");
	unsubscribe(&a, "t");
	subscribe(&a, "t");
	subscribe(&a, "t");
	unsubscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;-t;+t;+t;-t;");
	publish(&b, "t", "four");
	ASSERT_TOLD(&a, "t four {} 1;");
	tear_down();
}
END_TEST

/* NULs in names, payloads that are binary, empty, and large. */
START_TEST(all_sorts_of_broadcasts)
{
	struct broadcast broadcast = {
		.topic = text_lent("t\0u", 3),
		.event = text_lent("", 0),
		.kind = 0,
		.payload = text_lent("", 0),
	};
	struct text other = text_lent("t\0v", 3);
	char *large = calloc(1, 3 << 20);
	struct confirmation *confirmation = calloc(1, sizeof *confirmation);

	set_up(BACKLOG_MAX);
	confirmation->client = &a;
	strcpy(confirmation->text, "+;");
	pubsub_subscribe(a.pubsub, PART_CHANNEL, &broadcast.topic, on_confirmed,
	    confirmation);
	ASSERT_TOLD(&a, "+;");
	pubsub_publish(b.pubsub, &broadcast, 0);
	UNTIL(base, a.ndelivered == 1);
	broadcast.payload = text_lent(large, 3 << 20);
	pubsub_publish(b.pubsub, &broadcast, 0);
	UNTIL(base, a.nbytes == 3 << 20);
	broadcast.topic = other;
	pubsub_publish(b.pubsub, &broadcast, 0);
	UNTIL(base, pubsub_unaccepted(b.pubsub) == 0);
	ck_assert_uint_eq(a.ndelivered, 2);
	free(large);
	tear_down();
}
END_TEST

START_TEST(freed_with_all_things_waiting)
{
	set_up(BACKLOG_MAX);
	kill(worker, SIGSTOP);
	pubsub_client_free(c.pubsub);
	client_start(&c, 4);
	for (int i = 0; i < 50; i++) {
		struct text name = text_lent("t", 1);

		pubsub_subscribe(c.pubsub, PART_CHANNEL, &name, NULL, NULL);
		publish(&c, "u", "e");
	}
	tools_settle(base);
	kill(worker, SIGCONT);
	pubsub_client_free(c.pubsub);
	client_start(&c, 5);
	tear_down();
}
END_TEST

/* ---- a worker that dies ---- */

START_TEST(subscriptions_are_renewed)
{
	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	subscribe(&a, "u");
	ASSERT_TOLD(&a, "+t;+u;");
	for (int round = 0; round < 3; round++) {
		kill_worker();
		start_worker(BACKLOG_MAX);
		/* Confirmed behind what was renewed before it. */
		subscribe(&a, "probe");
		ASSERT_TOLD(&a, "+probe;");
		publish(&b, "t", "one");
		publish(&b, "u", "two");
		ASSERT_TOLD(&a, "t one {} 1;u two {} 1;");
		unsubscribe(&a, "probe");
		ASSERT_TOLD(&a, "-probe;");
	}
	tear_down();
}
END_TEST

/* Asked for while no worker runs: it waits, and is confirmed. */
START_TEST(asked_while_it_is_away)
{
	set_up(BACKLOG_MAX);
	subscribe(&a, "gone");
	subscribe(&a, "kept");
	ASSERT_TOLD(&a, "+gone;+kept;");
	kill_worker();
	unsubscribe(&a, "gone");
	subscribe(&a, "new");
	publish(&a, "kept", "mine");
	tools_settle(base);
	ck_assert_str_eq(a.told, "");
	start_worker(BACKLOG_MAX);
	/* No order between topics. */
	UNTIL(base, strlen(a.told) >= strlen("-gone;+new;"));
	ck_assert_ptr_nonnull(strstr(a.told, "-gone;"));
	ck_assert_ptr_nonnull(strstr(a.told, "+new;"));
	a.told[0] = '\0';
	UNTIL(base, a.nidle == 1);
	publish(&b, "gone", "one");
	publish(&b, "kept", "two");
	publish(&b, "new", "three");
	ASSERT_TOLD(&a, "kept two {} 1;new three {} 1;");
	tear_down();
}
END_TEST

/*
 * Published into a worker that no longer works, which is then killed. The
 * subscriber has renewed first; the publisher's loop is another one, so that
 * the order is certain.
 */
START_TEST(unaccepted_publishes_are_sent_again)
{
	struct event_base *ours, *other = event_base_new();
	char expected[256] = "";

	set_up(BACKLOG_MAX);
	ours = base;
	base = other;
	pubsub_client_free(a.pubsub);
	client_start(&a, 1);
	publish(&a, "t", "accepted");
	UNTIL(other, a.nidle == 1);
	base = ours;
	subscribe(&b, "t");
	ASSERT_TOLD(&b, "+t;");

	kill(worker, SIGSTOP);
	for (int i = 0; i < 5; i++) {
		char event[8];

		snprintf(event, sizeof event, "e%d", i);
		publish(&a, "t", event);
		snprintf(expected + strlen(expected),
		    sizeof expected - strlen(expected), "t %s {} 1;", event);
	}
	tools_settle(other);
	ck_assert_uint_gt(pubsub_unaccepted(a.pubsub), 0);
	kill_worker();
	start_worker(BACKLOG_MAX);
	subscribe(&b, "probe");
	ASSERT_TOLD(&b, "+probe;");
	ck_assert_uint_eq(b.ndelivered, 0);

	UNTIL(other, a.nidle == 2);
	ASSERT_TOLD(&b, expected);
	ck_assert_uint_eq(b.ndelivered, 5);
	tear_down();
	event_base_free(other);
}
END_TEST

/* No socket there at all; it comes later. */
START_TEST(before_there_is_a_socket)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	set_up(BACKLOG_MAX);
	kill_worker();
	close(listener);
	unlink(path);
	subscribe(&a, "t");
	publish(&b, "t", "e");
	for (int i = 0; i < 5; i++) {
		poll(NULL, 0, 10);
		tools_settle(base);
	}
	ck_assert_str_eq(a.told, "");
	strcpy(address.sun_path, path);
	listener = socket(
	    AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(
	    bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(listener, 100), 0);
	start_worker(BACKLOG_MAX);
	UNTIL(base, strstr(a.told, "+t;") != NULL);
	UNTIL(base, b.nidle == 1);
	tear_down();
}
END_TEST

/* ---- what a dead worker had accepted ---- */

/* Published before the subscribers have found the new worker. */
START_TEST(subscribers_who_come_again_get_what_they_missed)
{
	int fd;

	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	subscribe(&b, "t");
	ASSERT_TOLD(&a, "+t;");
	ASSERT_TOLD(&b, "+t;");
	for (int round = 0; round < 3; round++) {
		kill_worker();
		start_worker(BACKLOG_MAX);
		fd = raw_client();
		raw_hello(fd, 99);
		for (uint64_t i = 1; i <= 3; i++)
			raw_publish(fd, i, "t", (size_t)i);
		/* Accepted, and nobody is there yet. */
		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_ACCEPTED);
		if (round == 1) { /* and the successor dies, too */
			kill_worker();
			start_worker(BACKLOG_MAX);
		}
		/* Only now does anybody's loop turn. */
		ASSERT_TOLD(&a, "t e x 1;t e xx 1;t e xxx 1;");
		ASSERT_TOLD(&b, "t e x 1;t e xx 1;t e xxx 1;");
		close(fd);
	}
	/* Not those of before its time. */
	subscribe(&c, "t");
	ASSERT_TOLD(&c, "+t;");
	kill_worker();
	start_worker(BACKLOG_MAX);
	subscribe(&c, "probe");
	ASSERT_TOLD(&c, "+probe;");
	ck_assert_uint_eq(c.ndelivered, 0);
	tear_down();
}
END_TEST

/* Killed at any moment of a flood: each gets all, once, in order. */
START_TEST(killed_in_the_middle)
{
	static char expected[64 * 1024];
	unsigned published = 0;

	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	subscribe(&b, "t");
	ASSERT_TOLD(&a, "+t;");
	ASSERT_TOLD(&b, "+t;");
	for (int round = 0; round < 60; round++) {
		char event[16];

		expected[0] = '\0';
		for (int i = 0; i < 50; i++) {
			snprintf(event, sizeof event, "%u", published++);
			publish(&c, "t", event);
			snprintf(expected + strlen(expected),
			    sizeof expected - strlen(expected), "t %s {} 1;",
			    event);
			/* So that some of it is on its way. */
			if (i % (round % 7 + 1) == 0)
				event_base_loop(base, EVLOOP_NONBLOCK);
		}
		for (int turns = round % 11; turns > 0; turns--)
			event_base_loop(base, EVLOOP_NONBLOCK);
		kill_worker();
		start_worker(BACKLOG_MAX);
		ASSERT_TOLD(&a, expected);
		ASSERT_TOLD(&b, expected);
		UNTIL(base, pubsub_unaccepted(c.pubsub) == 0);
	}
	ck_assert_uint_eq(a.ndelivered, published);
	ck_assert_uint_eq(b.ndelivered, published);
	tear_down();
}
END_TEST

#define MISSED 50 /* broadcasts of 50 kB; a piece is 128 kB */

/* While nobody's loop turns: of "t", and among them one of "u". */
static size_t
publish_much(void)
{
	int fd = raw_client();
	size_t bytes = 0;

	raw_hello(fd, 99);
	for (uint64_t i = 1; i <= MISSED; i++) {
		raw_publish(fd, i, i == 40 ? "u" : "t", 50000 + (size_t)i);
		ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_ACCEPTED);
		bytes += i == 40 ? 0 : 50000 + i;
	}
	close(fd);
	return bytes;
}

/*
 * What it missed it gets by pieces, when it has room, and not faster; who dies
 * over it is gone on with. Nothing that is new goes past it.
 */
START_TEST(behind_by_much)
{
	size_t bytes, last = 0;
	unsigned asked = 0;

	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	subscribe(&c, "t");
	ASSERT_TOLD(&a, "+t;");
	ASSERT_TOLD(&c, "+t;");
	kill_worker();
	start_worker(BACKLOG_MAX);
	a.busy = true;
	bytes = publish_much();
	UNTIL(base, c.ndelivered == MISSED - 1);
	ck_assert_uint_eq(c.nbytes, bytes);
	for (int i = 0; i < 4; i++) {
		/* Each time a piece, whose end is the question for room. */
		UNTIL(base, a.nasked > asked);
		tools_settle(base);
		ck_assert_uint_gt(a.ndelivered, last);
		ck_assert_uint_le(a.ndelivered, last + 4);
		last = a.ndelivered;
		if (i % 2 == 0) {
			pubsub_client_room(a.pubsub); /* it has none */
			tools_settle(base);
			ck_assert_uint_eq(a.ndelivered, last);
			a.busy = false;
			pubsub_client_room(a.pubsub);
			a.busy = true;
			asked = a.nasked;
		} else {
			asked = a.nasked;
			kill_worker();
			start_worker(BACKLOG_MAX);
		}
	}
	UNTIL(base, a.nasked > asked);
	/* What it subscribes to now begins now. */
	subscribe(&a, "u");
	ASSERT_TOLD(&a, "+u;");
	publish(&b, "u", "new");
	publish(&b, "t", "new");
	ASSERT_TOLD(&c, "t new {} 1;");
	ck_assert(was_told(&a, ""));
	a.busy = false;
	pubsub_client_room(a.pubsub);
	ASSERT_TOLD(&a, "u new {} 1;t new {} 1;");
	ck_assert_uint_eq(a.nbytes, bytes + 4);
	ck_assert_uint_eq(a.ndelivered, MISSED + 1);
	publish(&b, "t", "live");
	ASSERT_TOLD(&a, "t live {} 1;");
	tear_down();
}
END_TEST

/* False: it took so long that the worker was not patient any more. */
static bool
try_behind_a_stop(void)
{
	struct event_base *ours, *other = event_base_new();
	char *payload = calloc(1, 50000);
	struct broadcast broadcast = {
		.topic = text_lent("t", 1),
		.event = text_lent("e", 1),
		.payload = text_lent(payload, 50000),
	};
	const size_t n = 160; /* twice what may wait for it: 4 MB */
	long long from;
	bool in_time;

	set_up(BACKLOG_MAX);
	subscribe(&c, "t");
	ASSERT_TOLD(&c, "+t;");
	ours = base;
	base = other;
	pubsub_client_free(a.pubsub);
	client_start(&a, 4);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	kill(worker, SIGSTOP);
	usleep(2500 * 1000);
	from = monotonic_ms();
	kill(worker, SIGCONT);
	for (size_t i = 0; i < n; i++)
		pubsub_publish(b.pubsub, &broadcast, 0);
	base = ours;
	UNTIL(base,
	    (pubsub_unaccepted(b.pubsub) == 0 && c.ndelivered == n) ||
		is_held_up(from, PATIENT_MS));
	in_time = !is_held_up(from, PATIENT_MS);
	if (in_time) {
		ck_assert_uint_eq(a.ndelivered, 0);
		UNTIL(other, a.ndelivered == n);
		ck_assert_uint_eq(a.nbytes, n * 50000);
		ck_assert(was_told(&a, ""));
	}
	tear_down();
	free(payload);
	event_base_free(other);
	return in_time;
}

/* So long that it notices; and a client takes nothing meanwhile. */
START_TEST(behind_a_stop)
{
	while (!try_behind_a_stop())
		continue;
}
END_TEST

/* Nobody has asked. */
START_TEST(room_out_of_turn)
{
	int fd;

	set_up(BACKLOG_MAX);
	fd = raw_client();
	raw_hello(fd, 99);
	raw_send(fd, ENVELOPE_PS_ROOM, NULL);
	ck_assert_uint_eq(raw_read_to_end(fd), 0);
	close(fd);
	tear_down();
}
END_TEST

/* The journal went on without it for too long. */
START_TEST(history_that_is_gone)
{
	char *payload = calloc(1, 1 << 20);
	struct broadcast broadcast = {
		.topic = text_lent("t", 1),
		.event = text_lent("e", 1),
		.payload = text_lent(payload, 1 << 20),
	};
	struct event_base *ours, *other = event_base_new();

	set_up(BACKLOG_MAX);
	ours = base;
	base = other;
	pubsub_client_free(a.pubsub);
	client_start(&a, 4);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	base = ours;
	kill_worker();
	start_worker(BACKLOG_MAX);
	for (unsigned i = 0; i < 2 * (JOURNAL_SIZE >> 20); i++) {
		pubsub_publish(b.pubsub, &broadcast, 0);
		UNTIL(ours, pubsub_unaccepted(b.pubsub) == 0);
	}
	UNTIL(other, was_told(&a, "overrun;"));
	ck_assert_uint_eq(a.ndelivered, 0);
	/* And then it is served again. */
	a.told[0] = '\0';
	publish(&b, "t", "after");
	UNTIL(other, was_told(&a, "t after {} 1;"));
	free(payload);
	tear_down();
	event_base_free(other);
}
END_TEST

/* An entry of the first journal, wherever it is mapped. */
static void
damage_journal(void)
{
	static const char magic[] = "JRNL";
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long from, to;
	char line[512], *found = NULL;

	ck_assert_ptr_nonnull(maps);
	while (found == NULL && fgets(line, sizeof line, maps) != NULL)
		if (strstr(line, "memfd:journal") != NULL &&
		    sscanf(line, "%lx-%lx", &from, &to) == 2)
			found = memmem((void *)from, to - from, magic, 4);
	fclose(maps);
	ck_assert_ptr_nonnull(found);
	found[0] ^= 1;
}

/*
 * What it had accepted is lost, and all are told. Positions rise all the same,
 * so that nobody takes what comes next for what they had.
 */
START_TEST(a_damaged_journal)
{
	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	for (int i = 0; i < 20; i++)
		publish(&b, "t", "before");
	UNTIL(base, a.ndelivered == 20);
	a.told[0] = '\0';
	kill_worker();
	damage_journal();
	suspicious = true;
	start_worker(BACKLOG_MAX);
	UNTIL(base, was_told(&a, "overrun;"));
	a.told[0] = '\0';
	publish(&b, "t", "after");
	ASSERT_TOLD(&a, "t after {} 1;");
	/* Whole now, and gone on with. */
	for (int round = 0; round < 3; round++) {
		kill_worker();
		start_worker(BACKLOG_MAX);
		publish(&b, "t", "again");
		ASSERT_TOLD(&a, "t again {} 1;");
	}
	suspicious = false;
	tear_down();
}
END_TEST

/* ---- clients gone wild ---- */

/* The worker closes on whom has sent this; all others are served. */
static void
check_garbage(const void *bytes, size_t size)
{
	int fd = raw_client();
	char buf[64];

	ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
	while (tools_read_all(fd, buf, sizeof buf) == sizeof buf)
		;
	close(fd);
	publish(&b, "t", "e");
	ASSERT_TOLD(&a, "t e {} 1;");
	ck_assert(!worker_gone);
}

static void
check_envelope(enum envelope_type type, const void *body, uint32_t size)
{
	uint8_t bytes[256];
	uint32_t head[2] = { type, size };

	memcpy(bytes, head, 8);
	memcpy(bytes + 8, body, size);
	check_garbage(bytes, 8 + size);
}

START_TEST(garbage_lets_go_of_its_sender_only)
{
	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	check_garbage("\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	check_garbage("GET / HTTP/1.1\r\n\r\n", 18);
	check_envelope(ENVELOPE_STARTED, "", 0);
	check_envelope(ENVELOPE_PS_DELIVER, "", 0);
	check_envelope(ENVELOPE_IN, "", 0);
	check_envelope(ENVELOPE_PS_HELLO, "\1\2\3", 3);
	check_envelope(ENVELOPE_PS_HELLO, "\1\2\3\4\5\6\7\10\11", 9);
	check_envelope(ENVELOPE_PS_SUBSCRIBE, "", 0);
	check_envelope(ENVELOPE_PS_SUBSCRIBE, "\xff\xff\xff\xff", 4);
	check_envelope(ENVELOPE_PS_SUBSCRIBE, "\1\0\0\0tu", 6);
	check_envelope(ENVELOPE_PS_SUBSCRIBE, "\1\0\0\0t\0u", 7);
	check_envelope(ENVELOPE_PS_UNSUBSCRIBE, "\xfe\xff\xff\xff", 4);
	check_envelope(ENVELOPE_PS_PUBLISH, "\1\0\0\0\0\0\0\0", 8);
	check_envelope(ENVELOPE_PS_PUBLISH,
	    "\1\0\0\0\0\0\0\0\1\0\0\0t\0\1\0\0\0e\0\1\0\0\0\2\0\0\0{}\0\1", 32);
	check_envelope(ENVELOPE_PS_PUBLISH,
	    "\1\0\0\0\0\0\0\0\1\0\0\0t\0\1\0\0\0e\0\1\0\0\0\3\0\0\0{}\0", 31);
	tear_down();
}
END_TEST

/* An end within an envelope, and one that had subscriptions. */
START_TEST(clients_come_and_go)
{
	int fd;

	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	for (int i = 0; i < 50; i++) {
		fd = raw_client();
		raw_hello(fd, 100);
		raw_subscribe(fd, "t");
		ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_SUBSCRIBED);
		if (i % 2 == 0)
			ck_assert_int_eq(
			    send(fd, "\xc9\0\0\0\6\0\0", 7, MSG_NOSIGNAL), 7);
		close(fd);
		publish(&b, "t", "e");
		ASSERT_TOLD(&a, "t e {} 1;");
	}
	tear_down();
}
END_TEST

static bool
try_overrun_clients(void)
{
	char *payload = calloc(1, 50000), buf[4096];
	struct broadcast broadcast = {
		.topic = text_lent("t", 1),
		.event = text_lent("e", 1),
		.payload = text_lent(payload, 50000),
	};
	long long from = monotonic_ms();
	size_t n = 0;
	bool in_time;
	int fd[3];

	set_up(500000);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	for (int i = 0; i < 3; i++) {
		fd[i] = raw_client();
		raw_hello(fd[i], 70 + (uint64_t)i);
		raw_subscribe(fd[i], "t");
		ck_assert_int_eq(raw_take(fd[i]), ENVELOPE_PS_SUBSCRIBED);
	}
	for (int i = 0; i < 40; i++) {
		pubsub_publish(b.pubsub, &broadcast, 0);
		UNTIL(base, a.ndelivered == (size_t)i + 1);
	}
	in_time = !is_held_up(from, TICK_LATE);
	for (int i = 0; i < 3; i++) {
		/* What the socket held, then the end. */
		for (n = 0; in_time;) {
			size_t got = tools_read_all(fd[i], buf, sizeof buf);

			n += got;
			if (got < sizeof buf)
				break;
		}
		ck_assert_uint_lt(n, 40 * 50000);
		close(fd[i]);
	}
	ck_assert_uint_eq(a.nbytes, 40 * 50000);
	tear_down();
	free(payload);
	return in_time;
}

/* It takes nothing: it is let go, and all others get theirs. */
START_TEST(an_overrun_client_is_let_go)
{
	while (!try_overrun_clients())
		continue;
}
END_TEST

static bool
try_overrun_at_once(void)
{
	char *payload = calloc(1, 50000);
	struct broadcast broadcast = {
		.topic = text_lent("t", 1),
		.event = text_lent("e", 1),
		.payload = text_lent(payload, 50000),
	};
	long long from = monotonic_ms();
	bool in_time;
	int fd[3];

	set_up(200000);
	for (size_t i = 0; i < 3; i++) {
		fd[i] = raw_client();
		raw_hello(fd[i], 70 + i);
		raw_subscribe(fd[i], "t");
		ck_assert_int_eq(raw_take(fd[i]), ENVELOPE_PS_SUBSCRIBED);
	}
	do {
		pubsub_publish(b.pubsub, &broadcast, 0);
		UNTIL(base, pubsub_unaccepted(b.pubsub) == 0);
		in_time = !is_held_up(from, TICK_LATE);
	} while (in_time && !raw_is_let_go(fd[0]) && !raw_is_let_go(fd[1]) &&
	    !raw_is_let_go(fd[2]));
	/* Accepted is not delivered: the others follow, with no other one. */
	for (size_t i = 0; i < 3; i++) {
		if (in_time)
			UNTIL(base, raw_is_let_go(fd[i]));
		close(fd[i]);
	}
	tear_down();
	free(payload);
	return in_time;
}

/* Who missed one broadcast is let go by that one, so that it hears of it. */
START_TEST(all_who_are_overrun_are_let_go_at_once)
{
	while (!try_overrun_at_once())
		continue;
}
END_TEST

static bool
try_hello_of_one_let_go(void)
{
	long long from = monotonic_ms();
	int fd;

	set_up(200000);
	fd = raw_client();
	raw_hello(fd, 77);
	raw_subscribe(fd, "t");
	ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_SUBSCRIBED);
	for (int i = 0; !raw_is_let_go(fd); i++) {
		char *payload = calloc(1, 50000);
		struct broadcast broadcast = {
			.topic = text_lent("t", 1),
			.event = text_lent("e", 1),
			.payload = text_lent(payload, 50000),
		};

		ck_assert_int_lt(i, 1000);
		pubsub_publish(b.pubsub, &broadcast, 0);
		UNTIL(base, pubsub_unaccepted(b.pubsub) == 0);
		free(payload);
		if (is_held_up(from, TICK_LATE)) {
			close(fd);
			tear_down();
			return false;
		}
	}
	close(fd);
	for (uint64_t connection = 76; connection <= 78; connection++) {
		for (int again = 0; again < 2; again++) {
			fd = raw_client();
			raw_hello(fd, connection);
			raw_subscribe(fd, "u");
			if (connection == 77 && again == 0)
				ck_assert_int_eq(
				    raw_take(fd), ENVELOPE_PS_OVERRUN);
			ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_SUBSCRIBED);
			close(fd);
		}
	}
	tear_down();
	return true;
}

/* Its next hello is answered with the news, once. */
START_TEST(who_was_let_go_hears_of_it)
{
	while (!try_hello_of_one_let_go())
		continue;
}
END_TEST

/* However many others were let go, too. */
START_TEST(many_who_were_let_go)
{
	const uint64_t n = 2000;
	int fd;

	set_up(BACKLOG_MAX);
	for (uint64_t i = 1; i <= n; i++) {
		struct envelope_writer nonsense = { 0 };

		fd = raw_client();
		raw_hello(fd, 1000 + i);
		envelope_put_u32(&nonsense, 1);
		raw_send(fd, ENVELOPE_DONE, &nonsense);
		ck_assert_uint_eq(raw_read_to_end(fd), 0);
		close(fd);
	}
	for (uint64_t i = 1; i <= n; i++) {
		fd = raw_client();
		raw_hello(fd, 1000 + i);
		ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_OVERRUN);
		close(fd);
	}
	tear_down();
}
END_TEST

static bool
try_client_let_go(void)
{
	long long from = monotonic_ms();
	struct event_base *ours, *other = event_base_new();
	char *payload = calloc(1, 50000);
	struct broadcast broadcast = {
		.topic = text_lent("t", 1),
		.event = text_lent("e", 1),
		.payload = text_lent(payload, 50000),
	};
	bool in_time;

	set_up(200000);
	ours = base;
	base = other;
	pubsub_client_free(a.pubsub);
	client_start(&a, 1);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	for (int i = 0; i < 40; i++) {
		pubsub_publish(b.pubsub, &broadcast, 0);
		UNTIL(ours, pubsub_unaccepted(b.pubsub) == 0);
	}
	base = ours;
	in_time = !is_held_up(from, TICK_LATE);
	if (in_time) {
		base = other;
		UNTIL(other, was_told(&a, "overrun;"));
		ck_assert_uint_lt(a.ndelivered, 40);
		a.told[0] = '\0';
		subscribe(&a, "probe");
		ASSERT_TOLD(&a, "+probe;");
		base = ours;
		publish(&b, "t", "e");
		UNTIL(other, was_told(&a, "t e {} 1;"));
	}
	tear_down();
	free(payload);
	event_base_free(other);
	return in_time;
}

/* The same for a client: its loop does not turn while it is overrun. */
START_TEST(a_client_that_was_let_go_is_told)
{
	while (!try_client_let_go())
		continue;
}
END_TEST

/* Nor does it make the worker grow by what it asks and never reads. */
START_TEST(who_asks_and_never_reads_is_let_go)
{
	/* Of PART_CHANNEL, "t", nothing before. */
	static const uint8_t one[] = { ENVELOPE_PS_SUBSCRIBE, 0, 0, 0, 14, 0, 0,
		0, PART_CHANNEL, 0, 0, 0, 1, 0, 0, 0, 't', 0, 0, 0, 0, 0 };
	uint8_t many[sizeof one * 1000];
	struct pollfd pollfd = { .events = POLLOUT };
	size_t sent = 0;
	ssize_t n = 0;

	set_up(100000);
	for (size_t i = 0; i < 1000; i++)
		memcpy(many + i * sizeof one, one, sizeof one);
	pollfd.fd = raw_client();
	raw_hello(pollfd.fd, 70);
	while (sent < (64U << 20)) {
		ck_assert_int_eq(poll(&pollfd, 1, TOOLS_DEADLINE), 1);
		n = send(pollfd.fd, many + sent % sizeof one,
		    sizeof many - sizeof one, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n == -1 && errno == EAGAIN)
			continue;
		if (n == -1)
			break;
		sent += (size_t)n;
	}
	ck_assert_int_eq(n, -1);
	ck_assert_int_eq(errno, EPIPE);
	close(pollfd.fd);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	tear_down();
}
END_TEST

/* ---- transports gone wild ---- */

/* A connection over TCP: [0] the server's end. */
static void
tcp_pair(int fds[2])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(
	    bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(
	    getsockname(fd, (struct sockaddr *)&address, &size), 0);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(
	    connect(fds[1], (struct sockaddr *)&address, sizeof address), 0);
	fds[0] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ne(fds[0], -1);
	close(fd);
}

/* As a transport does it, up to READY; fd is not ours any more. */
static struct mailbox *
raw_serves(uint32_t slot, uint64_t connection, uint32_t generation, int fd)
{
	struct mailbox *mailbox = mailbox_new(raw_client(), NULL, NULL);
	struct envelope_writer hello = { 0 }, serves = { 0 };

	envelope_put_u32(&hello, slot);
	envelope_put_u64(&hello, connection);
	envelope_put_u32(&hello, 0);
	mailbox_send(mailbox, ENVELOPE_PS_HELLO, &hello);
	envelope_put_u32(&serves, 0);
	envelope_put_u32(&serves, FRAME_V2);
	envelope_put_u32(&serves, generation);
	mailbox_send_fd(mailbox, ENVELOPE_PS_SERVES, &serves, fd);
	mailbox_send(mailbox, ENVELOPE_PS_READY, NULL);
	ck_assert(mailbox_flush(mailbox));
	return mailbox;
}

/* An interrupted write, as the page has it, of a worker that there is not, of
 * entries that there are not, or of more than can be. */
START_TEST(a_page_that_lies)
{
	static const uint64_t origins[] = { 0, 1, PUBSUB_MAX - 1, PUBSUB_MAX,
		UINT64_MAX };
	static const uint64_t sizes[] = { 1, 1000, UINT64_MAX };

	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	for (size_t i = 0; i < sizeof origins / sizeof origins[0]; i++)
		for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
			struct lane *lane = shared_lane(shared, c.slot);
			struct mailbox *mailbox;
			uint64_t account;
			int fds[2];

			tcp_pair(fds);
			ck_assert(lane_account(fds[0], &account));
			lane_register(lane, true, account);
			atomic_store(&lane->word,
			    UINT64_C(1) << 52 | (uint64_t)LANE_OWED);
			atomic_store(&lane->origin, origins[i]);
			atomic_store(&lane->last, UINT64_MAX);
			atomic_store(&lane->size, sizes[j]);
			mailbox = raw_serves(c.slot, 3, 1, fds[0]);
			ck_assert_uint_eq(
			    raw_read_to_end(mailbox_fd(mailbox)), 0);
			mailbox_free(mailbox);
			close(fds[1]);
			publish(&b, "t", "e");
			ASSERT_TOLD(&a, "t e {} 1;");
			ck_assert(!worker_gone);
		}
	tear_down();
}
END_TEST

/* A socket that asks who closes it to wait until all was taken. */
START_TEST(a_socket_that_lingers)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 1000 };
	char bytes[65536] = { 0 };
	struct mailbox *mailbox;
	int fds[2];

	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	tcp_pair(fds);
	while (send(fds[0], bytes, sizeof bytes, MSG_DONTWAIT) != -1)
		;
	ck_assert_int_eq(
	    setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger),
	    0);
	mailbox = raw_serves(c.slot, 3, 1, fds[0]);
	mailbox_free(mailbox);
	publish(&b, "t", "e");
	ASSERT_TOLD(&a, "t e {} 1;");
	tools_settle(base);
	publish(&b, "t", "f");
	ASSERT_TOLD(&a, "t f {} 1;");
	close(fds[1]);
	tear_down();
}
END_TEST

/* Subscribes to as many topics as it may, again to one of them, and to one
 * more. */
static void
check_topics_max(struct mailbox *mailbox, unsigned max)
{
	int fd = mailbox_fd(mailbox);
	char topic[32];

	for (unsigned i = 0; i < max; i++) {
		snprintf(topic, sizeof topic, "t%u", i);
		raw_subscribe(fd, topic);
		ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_SUBSCRIBED);
	}
	raw_subscribe(fd, "t0");
	ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_SUBSCRIBED);
	raw_unsubscribe(fd, "t0");
	ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_UNSUBSCRIBED);
	raw_subscribe(fd, "other");
	ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_SUBSCRIBED);
	ck_assert(!raw_is_let_go(fd));
	raw_subscribe(fd, "t0");
	ck_assert_uint_eq(raw_read_to_end(fd), 0);
	mailbox_free(mailbox);
	/* Nobody else minds. */
	subscribe(&a, "t1");
	ASSERT_TOLD(&a, "+t1;");
	publish(&b, "t1", "e");
	ASSERT_TOLD(&a, "t1 e {} 1;");
}

START_TEST(a_transport_has_so_many_topics)
{
	mount.max_channels = 4;
	set_up(BACKLOG_MAX);
	check_topics_max(raw_serves(c.slot, 3, 0, -1),
	    1 + (4 + PUBSUB_ENDING_MAX) * (1 + PUBSUB_EXTRAS_MAX));
	tear_down();
}
END_TEST

START_TEST(who_serves_nobody_has_so_many_topics)
{
	struct mailbox *mailbox;

	set_up(BACKLOG_MAX);
	mailbox = mailbox_new(raw_client(), NULL, NULL);
	raw_hello(mailbox_fd(mailbox), 70);
	check_topics_max(mailbox, PUBSUB_TOPICS_MAX);
	tear_down();
}
END_TEST

/* ---- no descriptors ---- */

/* Whether the worker can open anything. */
static void
fill_table(bool full)
{
	struct rlimit limit;

	ck_assert_int_eq(prlimit(worker, RLIMIT_NOFILE, NULL, &limit), 0);
	limit.rlim_cur = full ? 3 : limit.rlim_max;
	ck_assert_int_eq(prlimit(worker, RLIMIT_NOFILE, &limit, NULL), 0);
}

/* The worker has let c in, and has no descriptor for its client's socket. */
static struct mailbox *
serves_without_room(enum lane_state state, int fd)
{
	struct mailbox *mailbox = mailbox_new(raw_client(), NULL, NULL);
	struct lane *lane = shared_lane(shared, c.slot);
	struct envelope_writer hello = { 0 }, serves = { 0 };
	uint64_t account;

	ck_assert(lane_account(fd, &account));
	ck_assert_uint_eq(lane_register(lane, true, account), 1);
	atomic_store(&lane->word, UINT64_C(1) << 52 | (uint64_t)state);
	envelope_put_u32(&hello, c.slot);
	envelope_put_u64(&hello, 3);
	envelope_put_u32(&hello, 0);
	mailbox_send(mailbox, ENVELOPE_PS_HELLO, &hello);
	ck_assert(mailbox_flush(mailbox));
	raw_subscribe(mailbox_fd(mailbox), "other");
	ck_assert_int_eq(raw_take(mailbox_fd(mailbox)), ENVELOPE_PS_SUBSCRIBED);

	fill_table(true);
	envelope_put_u32(&serves, 0);
	envelope_put_u32(&serves, FRAME_V2);
	envelope_put_u32(&serves, 1);
	mailbox_send_fd(mailbox, ENVELOPE_PS_SERVES, &serves, dup(fd));
	ck_assert(mailbox_flush(mailbox));
	return mailbox;
}

/* It is served by its mailbox, and nothing of it goes by the lane. */
START_TEST(a_socket_that_finds_no_room)
{
	struct envelope_writer request = { 0 };
	struct mailbox *mailbox;
	int fds[2], fd;
	char byte;

	set_up(BACKLOG_MAX);
	tcp_pair(fds);
	mailbox = serves_without_room(LANE_FAST, fds[0]);
	fd = mailbox_fd(mailbox);
	envelope_put_u32(&request, PART_CLIENT);
	envelope_put_string(&request, "t");
	envelope_put_u32(&request, 0);
	raw_send(fd, ENVELOPE_PS_READY, NULL);
	raw_send(fd, ENVELOPE_PS_SUBSCRIBE, &request);
	ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_SUBSCRIBED);
	fill_table(false);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	for (int i = 0; i < 3; i++) {
		publish(&b, "t", "e");
		ASSERT_TOLD(&a, "t e {} 1;");
		ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_FRAME);
	}
	ck_assert_int_eq(recv(fds[1], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	mailbox_free(mailbox);
	close(fds[0]);
	close(fds[1]);
	tear_down();
}
END_TEST

/* The rest of a write is owed, which cannot be told without the socket: it is
 * to come again. The client's connection stays. */
START_TEST(an_owed_socket_that_finds_no_room)
{
	struct mailbox *mailbox;
	int fds[2];
	char byte;

	set_up(BACKLOG_MAX);
	tcp_pair(fds);
	mailbox = serves_without_room(LANE_OWED, fds[0]);
	ck_assert_uint_eq(raw_read_to_end(mailbox_fd(mailbox)), 0);
	mailbox_free(mailbox);
	fill_table(false);
	ck_assert_int_eq(recv(fds[1], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	/* The page says nothing that could be: so it was read. */
	atomic_store(&shared_lane(shared, c.slot)->size, 1);
	mailbox = raw_serves(c.slot, 3, 1, fds[0]);
	ck_assert_int_eq(tools_read_all(fds[1], &byte, 1), 0);
	mailbox_free(mailbox);
	close(fds[1]);
	tear_down();
}
END_TEST

/* ---- connections that end ---- */

/* Killed, and what it had published is read when its slot has gone to another
 * connection: that one's own publishes are its own. */
START_TEST(a_slot_that_has_gone_to_another)
{
	struct slot *slot;
	int fd;

	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	pubsub_client_free(c.pubsub);
	slot = &shared->slots[c.slot];
	fd = raw_client();
	raw_hello_of(fd, c.slot, 3);
	raw_publish(fd, 1, "t", 1);
	ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_ACCEPTED);
	ck_assert_uint_eq(atomic_load(&slot->accepted), 1);
	ASSERT_TOLD(&a, "t e x 1;");

	slot_free(slots, c.slot);
	client_start(&c, 4);
	ck_assert_ptr_eq(slot, &shared->slots[c.slot]);
	raw_publish(fd, 2, "t", 2);
	ck_assert_int_eq(raw_take(fd), ENVELOPE_PS_ACCEPTED);
	ASSERT_TOLD(&a, "t e xx 1;");
	ck_assert_uint_eq(atomic_load(&slot->accepted), 0);
	publish(&c, "t", "one");
	publish(&c, "t", "two");
	ASSERT_TOLD(&a, "t one {} 1;t two {} 1;");
	close(fd);
	tear_down();
}
END_TEST

/* A worker's rest of a write that finds the client gone is no nonsense. */
START_TEST(a_rest_for_nobody)
{
	struct envelope_writer rest = { 0 };
	struct pollfd pollfd = { .events = POLLIN };
	struct lane *lane;
	char buf[256];
	int fds[2];

	set_up(BACKLOG_MAX);
	kill_worker();
	tcp_pair(fds);
	lane = shared_lane(shared, c.slot);
	ck_assert(pubsub_client_serves(c.pubsub, 0, FRAME_V2, fds[0], lane));
	subscribe(&c, "t");
	pollfd.fd = listener;
	ck_assert_int_eq(poll(&pollfd, 1, TOOLS_DEADLINE), 1);
	pollfd.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ne(pollfd.fd, -1);
	pubsub_client_serves_nobody(c.pubsub);
	envelope_put_u32(&rest, 0);
	envelope_put_u64(&rest, 1);
	envelope_put_data(&rest, "rest", 4);
	raw_send(pollfd.fd, ENVELOPE_PS_REST, &rest);
	tools_settle(base);
	while (recv(pollfd.fd, buf, sizeof buf, MSG_DONTWAIT) > 0)
		;
	ck_assert(!raw_is_let_go(pollfd.fd));
	ck_assert_str_eq(c.told, "");
	close(pollfd.fd);
	close(fds[0]);
	close(fds[1]);
	start_worker(BACKLOG_MAX);
	ASSERT_TOLD(&c, "+t;");
	tear_down();
}
END_TEST

/* A client at a unix socket can have no lane, and is told by the mailbox. */
START_TEST(a_socket_without_an_account)
{
	struct confirmation *confirmation = calloc(1, sizeof *confirmation);
	struct text topic = text_lent("t", 1);
	struct lane *lane;
	int fds[2];

	set_up(BACKLOG_MAX);
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	lane = shared_lane(shared, c.slot);
	ck_assert(!pubsub_client_serves(c.pubsub, 0, FRAME_V2, fds[0], lane));
	confirmation->client = &c;
	strcpy(confirmation->text, "+;");
	pubsub_subscribe(
	    c.pubsub, PART_CLIENT, &topic, on_confirmed, confirmation);
	ASSERT_TOLD(&c, "+;");
	publish(&b, "t", "e");
	ASSERT_TOLD(&c, "\2\1\1te{};");
	close(fds[0]);
	close(fds[1]);
	tear_down();
}
END_TEST

/* ---- the end ---- */

START_TEST(ends_with_its_supervisor)
{
	set_up(BACKLOG_MAX);
	subscribe(&a, "t");
	ASSERT_TOLD(&a, "+t;");
	mailbox_free(to_worker);
	tools_assert_exit(worker, EXIT_SHUTDOWN);
	start_worker(BACKLOG_MAX);
	UNTIL(base, worker_ready);
	/* A supervisor that talks nonsense. */
	mailbox_send(to_worker, ENVELOPE_DONE, NULL);
	tools_assert_exit(worker, EXIT_CRASH);
	mailbox_free(to_worker);
	start_worker(BACKLOG_MAX);
	tear_down();
}
END_TEST

UNIT_MAIN("pubsub", to_others_but_not_to_oneself, in_order,
    confirmations_are_in_order_with_broadcasts, after_unsubscribing,
    subscriptions_are_counted, all_sorts_of_broadcasts,
    freed_with_all_things_waiting, subscriptions_are_renewed,
    asked_while_it_is_away, unaccepted_publishes_are_sent_again,
    before_there_is_a_socket, subscribers_who_come_again_get_what_they_missed,
    killed_in_the_middle, behind_by_much, behind_a_stop, room_out_of_turn,
    history_that_is_gone, a_damaged_journal, garbage_lets_go_of_its_sender_only,
    clients_come_and_go, an_overrun_client_is_let_go,
    all_who_are_overrun_are_let_go_at_once, who_was_let_go_hears_of_it,
    many_who_were_let_go, a_client_that_was_let_go_is_told,
    who_asks_and_never_reads_is_let_go, a_page_that_lies, a_socket_that_lingers,
    a_transport_has_so_many_topics, who_serves_nobody_has_so_many_topics,
    a_socket_that_finds_no_room, an_owed_socket_that_finds_no_room,
    a_slot_that_has_gone_to_another, a_rest_for_nobody,
    a_socket_without_an_account, ends_with_its_supervisor)
