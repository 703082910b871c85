/*
 * pubsub/bus.c, adapter.c, tap.c, tap_reader.c and nano.c: workers are forked
 * as the supervisor does it, with memory that they share; they are told over a
 * socket what to do, and show on a board, in shared memory too, what has come
 * of it. This process itself never has nanomsg.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <check.h>
#include <event2/event.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "pubsub/adapter.h"
#include "pubsub/bus.h"
#include "pubsub/nano.h"
#include "pubsub/slots.h"
#include "pubsub/tap.h"
#include "pubsub/tap_reader.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

#define JOURNAL_SIZE (8U << 20)
#define NWORKERS     3
#define RESTARTS     50
#define TEXT_MAX     (4U << 20) /* of a reader's transcript */

/* What a worker, or a reader of taps, shows. */
struct board {
	_Atomic uint64_t starts;
	_Atomic uint64_t done; /* orders that were carried out */
	_Atomic uint64_t news[NWORKERS], calls[NWORKERS];
	_Atomic uint64_t told, heard, bad, renewed;
	_Atomic bool up[NWORKERS];
	_Atomic uint64_t formatted;
	/* of a reader */
	_Atomic uint64_t ready, entries, missed, size;
	_Atomic bool is_busy;
	char text[TEXT_MAX];
};

enum order_type {
	ORDER_PUBLISH, /* n entries; flushed behind each, or behind all */
	ORDER_BUSY,    /* until one more order comes */
	ORDER_GO,
};

struct order {
	enum order_type type;
	unsigned n;
	bool at_once;
	char topic[32];
};

struct process {
	unsigned index;
	pid_t pid;
	int fd; /* orders are written there */
	uint64_t ordered;
	struct board *board;
};

static char directory[64];
static struct shared *shared;
static struct process workers[NWORKERS];

#define WAIT(condition)                                           \
	do {                                                      \
		long long end_ = monotonic_ms() + TOOLS_DEADLINE; \
		while (!(condition)) {                            \
			ck_assert_msg(monotonic_ms() < end_,      \
			    "not in time: %s", #condition);       \
			poll(NULL, 0, 1);                         \
		}                                                 \
	} while (0)

static struct text
text(const char *s)
{
	return (struct text){ (char *)s, strlen(s) };
}

static struct board *
board_new(void)
{
	struct board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(board, MAP_FAILED);
	return board;
}

/* ---- a worker ---- */

struct worker {
	struct process *process;
	struct event_base *base;
	struct bus *bus;
	struct tap *tap;
	struct adapters *adapters;
	int orders;
};

static void
on_news(unsigned origin, uint64_t number, void *arg)
{
	struct board *board = ((struct worker *)arg)->process->board;

	board->news[origin] = number;
	board->calls[origin]++;
}

static void
publish(struct worker *worker, struct journal_entry *entry)
{
	struct journal *journal = shared->journals[worker->process->index];

	entry->slot = SLOT_NONE;
	entry->number = journal_append(journal, entry);
	if (entry->number == 0)
		abort();
	if (worker->adapters != NULL)
		adapters_published(worker->adapters, entry);
	else
		bus_published(worker->bus, entry);
	if (worker->tap != NULL)
		tap_published(worker->tap, entry);
}

static void
flush(struct worker *worker)
{
	if (worker->adapters != NULL)
		adapters_flush(worker->adapters);
	else
		bus_flush(worker->bus);
}

static void
publish_many(struct worker *worker, const struct order *order)
{
	struct journal_entry entry = {
		.broadcast = {
			.topic = text(order->topic),
			.event = text("shout"),
			.payload = text("{\"body\":\"hi\"}"),
		},
	};

	for (unsigned i = 0; i < order->n; i++) {
		publish(worker, &entry);
		if (!order->at_once)
			flush(worker);
	}
	flush(worker);
}

/* Blocks: only nanomsg's own thread goes on. */
static void
be_busy(int orders, struct board *board)
{
	struct order order;

	board->is_busy = true;
	if (recv(orders, &order, sizeof order, 0) != sizeof order ||
	    order.type != ORDER_GO)
		abort();
	board->is_busy = false;
	board->done++;
}

static void
on_order(int fd, short what, void *arg)
{
	struct worker *worker = arg;
	struct order order;

	if (recv(fd, &order, sizeof order, 0) != sizeof order)
		_exit(0); /* the test is over */
	switch (order.type) {
	case ORDER_PUBLISH:
		publish_many(worker, &order);
		break;
	case ORDER_BUSY:
		be_busy(fd, worker->process->board);
		break;
	case ORDER_GO:
		abort();
	}
	worker->process->board->done++;
}

static void
show(const struct worker *worker)
{
	struct board *board = worker->process->board;
	const struct bus_stats *stats = bus_stats(worker->bus);

	board->told = stats->told;
	board->heard = stats->heard;
	board->bad = stats->bad;
	board->renewed = stats->renewed;
	for (unsigned i = 0; i < NWORKERS; i++)
		board->up[i] = bus_is_up(worker->bus, i);
	if (worker->tap != NULL)
		board->formatted = tap_formatted(worker->tap);
}

static void
turn(struct worker *worker, struct event_base *base)
{
	const struct timeval tick = { .tv_usec = 5000 };
	struct event *event = event_new(
	    base, worker->orders, EV_READ | EV_PERSIST, on_order, worker);
	struct event *ticks = event_new(base, -1, EV_PERSIST, tools_tick, NULL);

	event_add(event, NULL);
	event_add(ticks, &tick);
	worker->process->board->starts++;
	for (;;) {
		event_base_loop(base, EVLOOP_ONCE);
		if (worker->bus != NULL)
			show(worker);
	}
}

enum worker_kind { WITH_BUS, WITH_TAP, WITH_ADAPTERS };

static void
run_worker(struct process *process, int orders, enum worker_kind kind)
{
	static const struct bus_callbacks callbacks = { .news = on_news };
	static const struct adapter_callbacks adapter_callbacks = {
		.news = on_news,
	};
	struct worker worker = { .process = process, .orders = orders };
	struct journal *journal = shared->journals[process->index];
	struct adapter_start start = {
		.directory = directory,
		.shared = shared,
		.self = process->index,
		.callbacks = &adapter_callbacks,
		.arg = &worker,
	};

	worker.base = start.base = event_base_new();
	if (!journal_open(journal, false))
		abort();
	if (kind == WITH_ADAPTERS)
		worker.adapters = adapters_start(&start);
	else
		worker.bus = bus_new(worker.base, directory, shared,
		    process->index, &callbacks, &worker);
	if (worker.adapters == NULL && worker.bus == NULL)
		abort();
	if (kind == WITH_TAP)
		worker.tap = tap_new(worker.base, directory, process->index,
		    journal_head(journal));
	turn(&worker, worker.base);
}

/* ---- of the test ---- */

/* True in the child, with its end of the socket in *orders. */
static bool
start_process(struct process *process, int *orders)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	process->pid = fork();
	ck_assert_int_ne(process->pid, -1);
	if (process->pid != 0) {
		close(fds[1]);
		process->fd = fds[0];
		return false;
	}
	signal(SIGTERM, SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	for (unsigned i = 0; i < NWORKERS; i++)
		if (workers[i].fd > 0)
			close(workers[i].fd);
	close(fds[0]);
	*orders = fds[1];
	return true;
}

static void
start_worker(unsigned i, enum worker_kind kind)
{
	struct process *process = &workers[i];
	uint64_t starts;
	int orders;

	process->index = i;
	if (process->board == NULL)
		process->board = board_new();
	starts = process->board->starts;
	if (start_process(process, &orders)) {
		run_worker(process, orders, kind);
		_exit(1);
	}
	process->ordered = process->board->done;
	WAIT(process->board->starts > starts);
}

static void
kill_process(struct process *process)
{
	kill(process->pid, SIGKILL);
	tools_assert_killed(process->pid, SIGKILL);
	close(process->fd);
	process->fd = -1;
}

static void
order(struct process *process, const struct order *o)
{
	ck_assert_int_eq(
	    send(process->fd, o, sizeof *o, MSG_NOSIGNAL), sizeof *o);
	process->ordered++;
}

static void
order_publish(unsigned i, unsigned n, const char *topic, bool at_once)
{
	struct order o = { ORDER_PUBLISH, n, at_once, "" };

	snprintf(o.topic, sizeof o.topic, "%s", topic);
	order(&workers[i], &o);
}

static void
wait_done(const struct process *process)
{
	WAIT(process->board->done == process->ordered);
}

static void
make_busy(struct process *process)
{
	order(process, &(struct order){ .type = ORDER_BUSY });
	WAIT(process->board->is_busy);
}

static void
go_on(struct process *process)
{
	order(process, &(struct order){ .type = ORDER_GO });
	wait_done(process);
}

static void
add_interest(unsigned i, const char *topic)
{
	struct text name = text(topic);

	shared->workers[i].interest[interest_bucket(&name)]++;
}

static void
begin(unsigned n)
{
	tools_make_directory(directory, sizeof directory);
	shared = shared_new(n, 10, JOURNAL_SIZE);
	ck_assert_ptr_nonnull(shared);
	shared_inherit(shared, true);
}

static void
end(void)
{
	for (unsigned i = 0; i < NWORKERS; i++)
		if (workers[i].pid > 0 && workers[i].fd > 0)
			kill_process(&workers[i]);
	tools_assert_no_children();
	bus_remove(directory);
	tap_remove(directory);
	ck_assert_int_eq(rmdir(directory), 0);
	shared_free(shared);
	for (unsigned i = 0; i < NWORKERS; i++)
		if (workers[i].board != NULL)
			munmap(workers[i].board, sizeof(struct board));
	memset(workers, 0, sizeof workers);
}

static bool
is_up(unsigned a, unsigned b)
{
	return workers[a].board->up[b] && workers[b].board->up[a];
}

static uint64_t
head(unsigned i)
{
	return journal_head(shared->journals[i]);
}

static void
begin_two(void)
{
	begin(2);
	start_worker(0, WITH_BUS);
	start_worker(1, WITH_BUS);
	WAIT(is_up(0, 1));
	add_interest(0, "a");
	add_interest(1, "a");
}

/* ---- the bus ---- */

START_TEST(news_arrive)
{
	begin(3);
	for (unsigned i = 0; i < 3; i++) {
		start_worker(i, WITH_BUS);
		add_interest(i, "a");
	}
	WAIT(is_up(0, 1) && is_up(0, 2) && is_up(1, 2));
	for (unsigned i = 0; i < 3; i++) {
		order_publish(i, i + 1, "a", true);
		wait_done(&workers[i]);
	}
	for (unsigned i = 0; i < 3; i++) {
		/* Once for all of a batch, to each. */
		WAIT(workers[i].board->told == 2);
		for (unsigned o = 0; o < 3; o++)
			WAIT(workers[i].board->news[o] == (o == i ? 0 : o + 1));
	}
	/* It is the processes that speak, not the memory. */
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_ge(workers[i].board->heard, 4);
		ck_assert_uint_eq(workers[i].board->bad, 0);
	}
	end();
}
END_TEST

static int
compare(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return x < y ? -1 : x > y;
}

START_TEST(news_are_faster_than_looking)
{
	long long from, took[20];

	begin_two();
	for (unsigned i = 1; i <= 20; i++) {
		/* Long enough that nobody looks for a while. */
		from = monotonic_ms();
		WAIT(monotonic_ms() - from > 3LL * BUS_SOON);
		from = monotonic_ms();
		order_publish(0, 1, "a", false);
		WAIT(workers[1].board->news[0] == i);
		took[i - 1] = monotonic_ms() - from;
		WAIT(workers[0].board->told == i);
	}
	/* By looking alone it would be half a beat each time. That of the
	 * middle: a few may be held up by others. */
	qsort(took, 20, sizeof took[0], compare);
	ck_assert_int_lt(took[10], BUS_BEAT / 4);
	end();
}
END_TEST

START_TEST(adapters_carry_news)
{
	begin(2);
	start_worker(0, WITH_ADAPTERS);
	start_worker(1, WITH_ADAPTERS);
	add_interest(1, "a");
	order_publish(0, 5, "a", true);
	WAIT(workers[1].board->news[0] == 5);
	end();
}
END_TEST

START_TEST(who_does_not_want_it_is_not_told)
{
	long long from, took;

	begin(3);
	for (unsigned i = 0; i < 3; i++)
		start_worker(i, WITH_BUS);
	add_interest(1, "a");
	add_interest(2, "b");
	WAIT(is_up(0, 1) && is_up(0, 2) && is_up(1, 2));
	from = monotonic_ms();
	order_publish(0, 100, "a", false);
	WAIT(workers[1].board->news[0] == 100);
	WAIT(workers[0].board->told == 100);
	order_publish(0, 10, "b", false);
	WAIT(workers[2].board->news[0] == 110);
	WAIT(workers[0].board->told == 110);
	order_publish(0, 1000, "c", false);
	wait_done(&workers[0]);
	took = monotonic_ms() - from;
	/* A beat brings all to the end of the journal. */
	WAIT(workers[1].board->news[0] == 1110);
	WAIT(workers[2].board->news[0] == 1110);
	ck_assert_uint_eq(workers[0].board->told, 110);
	/* While something is new it looks every BUS_SOON. */
	ck_assert_uint_le(workers[2].board->calls[0], 40 + took / BUS_SOON);
	end();
}
END_TEST

/* Else the ring would be overwritten before a beat comes. */
START_TEST(who_does_not_want_it_is_told_of_much)
{
	begin_two();
	order_publish(0, 3 * JOURNAL_SIZE / 100, "unheard", false);
	WAIT(workers[1].board->news[0] == head(0) && head(0) > 0);
	wait_done(&workers[0]);
	WAIT(workers[0].board->told >= 8);
	ck_assert_uint_le(workers[0].board->told, 100);
	end();
}
END_TEST

START_TEST(burst)
{
	begin_two();
	order_publish(0, 10000, "a", false);
	WAIT(workers[1].board->news[0] == 10000);
	/* More than fits, while nobody reads. */
	make_busy(&workers[1]);
	order_publish(0, 10000, "a", false);
	wait_done(&workers[0]);
	go_on(&workers[1]);
	WAIT(workers[1].board->news[0] == 20000);
	/* Both at the same time. */
	order_publish(0, 10000, "a", false);
	order_publish(1, 10000, "a", false);
	WAIT(workers[1].board->news[0] == 30000);
	WAIT(workers[0].board->news[1] == 10000);
	ck_assert_uint_eq(workers[1].board->bad, 0);
	end();
}
END_TEST

START_TEST(stopped_worker_catches_up)
{
	begin_two();
	kill(workers[1].pid, SIGSTOP);
	order_publish(0, 10000, "a", false);
	wait_done(&workers[0]);
	kill(workers[1].pid, SIGCONT);
	WAIT(workers[1].board->news[0] == 10000);
	WAIT(is_up(0, 1));
	end();
}
END_TEST

START_TEST(killed_receiver_comes_back)
{
	begin_two();
	for (uint64_t i = 1; i <= 10; i++) {
		uint64_t told, renewed = workers[0].board->renewed;

		kill_process(&workers[1]);
		order_publish(0, 1, "a", false);
		wait_done(&workers[0]);
		workers[1].board->up[0] = false;
		start_worker(1, WITH_BUS);
		WAIT(workers[0].board->renewed > renewed);
		/* What it was not told of. */
		WAIT(workers[1].board->news[0] == 2 * i - 1);
		WAIT(is_up(0, 1));
		told = workers[0].board->told;
		order_publish(0, 1, "a", false);
		WAIT(workers[1].board->news[0] == 2 * i);
		WAIT(workers[0].board->told == told + 1);
		ck_assert_uint_eq(shared->workers[1].epoch, i + 1);
	}
	end();
}
END_TEST

/*
 * nanomsg's thread in the receiver reads ahead while the receiver itself is
 * busy; its publisher dies; and the link that nanomsg makes again is broken for
 * good. So it is the messages that are asked for here, not what they tell of.
 */
START_TEST(killed_publisher_with_messages_unread)
{
	struct board *board;
	uint64_t published = 0;

	begin_two();
	board = workers[1].board;
	for (unsigned i = 0; i < RESTARTS; i++) {
		uint64_t heard, renewed = board->renewed;

		make_busy(&workers[1]);
		order_publish(0, 40, "a", false);
		wait_done(&workers[0]);
		kill_process(&workers[0]);
		go_on(&workers[1]);
		published += 40;
		WAIT(board->news[0] == published);
		workers[0].board->up[1] = false;
		start_worker(0, WITH_BUS);
		WAIT(board->renewed > renewed);
		WAIT(is_up(0, 1));
		heard = board->heard;
		order_publish(0, 20, "a", false);
		published += 20;
		WAIT(board->news[0] == published);
		/* Looking would have done; but these were heard. */
		WAIT(board->heard >= heard + 20);
	}
	end();
}
END_TEST

/* ---- messages that are none ---- */

/* A message of worker 2 to worker 1, as it is. */
static size_t
catch_message(char *message, size_t size)
{
	int fds[2];
	pid_t pid;
	ssize_t n;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		const struct nano *nano = nano_load();
		char *path = xasprintf("%s/bus-2-1.ipc", directory);
		int fd, endpoint = -1;
		int socket = nano_subscriber(nano, 4096, &fd);
		int got;

		nano_connect(nano, socket, &endpoint, path);
		got = nano->recv(socket, message, size, 0);
		_exit(got < 0 || write(fds[1], message, (size_t)got) != got);
	}
	n = read(fds[0], message, size);
	tools_assert_exit(pid, 0);
	ck_assert_int_gt(n, 0);
	close(fds[0]);
	close(fds[1]);
	return (size_t)n;
}

static void
flip(char *message, size_t size, size_t at)
{
	message[at % size] ^= 0x55;
}

/* In the place of worker 2: sends bad messages again and again. */
static void
send_garbage(const char *good, size_t size)
{
	const struct nano *nano = nano_load();
	char *path = xasprintf("%s/bus-2-1.ipc", directory);
	int socket = nano_publisher(nano, path, 128 * 1024);
	char *large = calloc(1, 1U << 20);
	char message[256];

	for (unsigned i = 0;; i++) {
		memcpy(message, good, size);
		/* magic, worker and node: the first 16 bytes */
		flip(message, size, i % 16);
		nano->send(socket, message, size, NN_DONTWAIT);
		nano->send(socket, good, size - 1, NN_DONTWAIT);
		nano->send(socket, good, i % size, NN_DONTWAIT);
		memcpy(message, good, size);
		nano->send(socket, message, size + 1, NN_DONTWAIT);
		if (i % 64 == 63)
			nano->send(socket, large, 1U << 20, NN_DONTWAIT);
		poll(NULL, 0, 2);
	}
}

/* While worker 2 seems to be alive. */
static bool
is_renewed(const struct board *board, uint64_t since)
{
	shared->workers[1].beat_ms = (uint64_t)monotonic_ms();
	return board->renewed > since;
}

START_TEST(bad_messages_are_ignored)
{
	struct board *board;
	char message[200];
	size_t size;
	uint64_t bad, renewed;
	pid_t pid;

	begin_two();
	board = workers[0].board;
	size = catch_message(message, sizeof message);
	kill_process(&workers[1]);
	pid = fork();
	if (pid == 0) {
		signal(SIGTERM, SIG_DFL);
		send_garbage(message, size);
	}
	/* Its epoch has changed, so they connect; it seems to be alive. */
	shared->workers[1].epoch++;
	WAIT(board->bad > 100);
	WAIT(!board->up[1]);
	/* The large one breaks the link, which is made anew. */
	renewed = board->renewed;
	WAIT(is_renewed(board, renewed));
	bad = board->bad;
	WAIT(board->bad > bad);
	ck_assert_uint_eq(board->news[1], 0);
	kill(pid, SIGKILL);
	tools_assert_killed(pid, SIGKILL);
	/* The worker itself is none the worse. */
	start_worker(1, WITH_BUS);
	WAIT(is_up(0, 1));
	order_publish(1, 7, "a", false);
	WAIT(board->news[1] == 7);
	end();
}
END_TEST

/* ---- nanomsg itself ---- */

static bool
has_nanomsg(pid_t pid)
{
	char path[64], line[512];
	bool found = false;
	FILE *maps;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	maps = fopen(path, "r");
	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof line, maps) != NULL)
		found |= strstr(line, "nanomsg") != NULL;
	fclose(maps);
	return found;
}

START_TEST(only_who_needs_it_has_nanomsg)
{
	begin_two();
	ck_assert(!has_nanomsg(getpid()));
	ck_assert(has_nanomsg(workers[0].pid));
	end();
	/* A worker that is alone has nobody to talk to. */
	begin(1);
	start_worker(0, WITH_ADAPTERS);
	ck_assert(!has_nanomsg(workers[0].pid));
	end();
}
END_TEST

/* No library, no bus, and nothing left behind. */
START_TEST(missing_library)
{
	pid_t pid;

	begin(2);
	pid = fork();
	if (pid == 0) {
		static const struct bus_callbacks callbacks = {
			.news = on_news,
		};
		struct event_base *base = event_base_new();
		struct rlimit none = { 3, 3 };

		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(9);
		setrlimit(RLIMIT_NOFILE, &none);
		if (bus_new(base, directory, shared, 0, &callbacks, NULL) !=
		    NULL)
			_exit(1);
		if (tap_new(base, directory, 0, 0) != NULL)
			_exit(2);
		_exit(shared->workers[0].epoch == 0 ? 0 : 3);
	}
	tools_assert_exit(pid, 0);
	end();
}
END_TEST

static void
assert_mode(const char *name)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFSOCK | 0600);
}

START_TEST(files)
{
	begin(2);
	for (int i = 0; i < 2; i++) {
		/* The second time those of the first are there. */
		start_worker(0, WITH_TAP);
		assert_mode("bus-1-2.ipc");
		assert_mode("tap-1.ipc");
		kill_process(&workers[0]);
	}
	/* In end(): nothing else. */
	end();
}
END_TEST

/* ---- taps ---- */

static void
on_ready(unsigned worker, void *arg)
{
	((struct board *)arg)->ready++;
}

static void
on_entry(unsigned worker, const struct text *object, void *arg)
{
	struct board *board = arg;
	uint64_t at = board->size;

	if (at + object->size + 2 < sizeof board->text) {
		memcpy(board->text + at, object->data, object->size);
		memcpy(board->text + at + object->size, "\n", 2);
		board->size = at + object->size + 1;
	}
	board->entries++;
}

static void
on_missed(unsigned worker, uint64_t n, void *arg)
{
	((struct board *)arg)->missed += n;
}

static void
run_reader(
    struct process *process, int orders, const struct tap_reader_topics *topics)
{
	static const struct tap_reader_callbacks callbacks = {
		.ready = on_ready,
		.entry = on_entry,
		.missed = on_missed,
	};
	struct worker worker = { .process = process, .orders = orders };
	struct event_base *base = event_base_new();

	if (tap_reader_new(
		base, directory, topics, &callbacks, process->board) == NULL)
		abort();
	turn(&worker, base);
}

static void
start_reader(struct process *reader, const char *topic, bool is_prefix)
{
	struct tap_reader_topics topics = { text(topic), is_prefix };
	int orders;

	reader->board = board_new();
	reader->ordered = 0;
	if (start_process(reader, &orders)) {
		run_reader(reader, orders, &topics);
		_exit(1);
	}
	WAIT(reader->board->starts == 1);
}

#define SHOUT(n, topic)                                                  \
	"{\"number\":" n ",\"topic\":\"" topic "\",\"event\":\"shout\"," \
	"\"payload\":{\"body\":\"hi\"}}\n"

START_TEST(tap_formats_nothing_for_nobody)
{
	struct process reader;

	begin(1);
	start_worker(0, WITH_TAP);
	order_publish(0, 1000, "a", false);
	wait_done(&workers[0]);
	ck_assert_uint_eq(workers[0].board->formatted, 0);
	start_reader(&reader, "", true);
	WAIT(reader.board->ready == 1);
	order_publish(0, 3, "room:1", false);
	WAIT(reader.board->entries == 3);
	ck_assert_uint_eq(reader.board->missed, 0);
	ck_assert_str_eq(reader.board->text,
	    SHOUT("1001", "room:1") SHOUT("1002", "room:1")
		SHOUT("1003", "room:1"));
	WAIT(workers[0].board->formatted == 3);
	kill_process(&reader);
	/* nanomsg's thread hears of it. */
	for (uint64_t n, end_ = (uint64_t)monotonic_ms() + TOOLS_DEADLINE;;) {
		ck_assert_uint_lt((uint64_t)monotonic_ms(), end_);
		n = workers[0].board->formatted;
		order_publish(0, 1, "a", false);
		wait_done(&workers[0]);
		poll(NULL, 0, 30);
		if (workers[0].board->formatted == n)
			break;
	}
	end();
}
END_TEST

START_TEST(reader_takes_its_topics)
{
	struct process whole, prefix;

	begin(2);
	start_worker(0, WITH_TAP);
	start_worker(1, WITH_TAP);
	start_reader(&whole, "room:1", false);
	start_reader(&prefix, "room:", true);
	WAIT(whole.board->ready == 2 && prefix.board->ready == 2);
	order_publish(0, 1, "room:1", true);
	order_publish(0, 1, "room:12", true);
	order_publish(0, 1, "room", true);
	order_publish(0, 1, "lobby", true);
	wait_done(&workers[0]);
	WAIT(prefix.board->entries == 2);
	WAIT(whole.board->entries == 1);
	order_publish(1, 1, "room:1", true);
	WAIT(prefix.board->entries == 3);
	WAIT(whole.board->entries == 2);
	ck_assert_str_eq(prefix.board->text,
	    SHOUT("1", "room:1") SHOUT("2", "room:12") SHOUT("1", "room:1"));
	ck_assert_str_eq(
	    whole.board->text, SHOUT("1", "room:1") SHOUT("1", "room:1"));
	/* What they did not want was not missed. */
	ck_assert_uint_eq(prefix.board->missed + whole.board->missed, 0);
	kill_process(&whole);
	kill_process(&prefix);
	end();
}
END_TEST

START_TEST(reader_counts_what_it_missed)
{
	struct process reader;
	uint64_t total = 30000;

	begin(1);
	start_worker(0, WITH_TAP);
	start_reader(&reader, "", true);
	WAIT(reader.board->ready == 1);
	make_busy(&reader);
	order_publish(0, (unsigned)total, "a", false);
	wait_done(&workers[0]);
	go_on(&reader);
	WAIT(reader.board->entries + reader.board->missed == total);
	ck_assert_uint_gt(reader.board->missed, 0);
	ck_assert_uint_gt(reader.board->entries, 0);
	/* Over the death of a worker, too. */
	kill_process(&workers[0]);
	start_worker(0, WITH_TAP);
	order_publish(0, 100, "a", false);
	WAIT(reader.board->entries + reader.board->missed == total + 100);
	order_publish(0, 100, "a", false);
	WAIT(reader.board->entries + reader.board->missed == total + 200);
	ck_assert_uint_eq(reader.board->ready, 1);
	kill_process(&reader);
	end();
}
END_TEST

/* ---- all that a tap may be given, without a worker around it ---- */

static const struct {
	const char *topic, *event, *payload;
	size_t topic_size, event_size, payload_size; /* 0: strlen */
	uint32_t kind;
	const char *expected; /* behind {"number":N, */
} strange[] = {
	{ "a\tb\"c\n", "\x01", "1", 0, 0, 0, 0,
	    "\"topic\":\"a\\tb\\\"c\\n\",\"event\":\"\\u0001\",\"payload\":1}" },
	{ "", "", "{ \"a\" : [ 1 ] }\n", 0, 0, 0, 0,
	    "\"topic\":\"\",\"event\":\"\",\"payload\":{\"a\":[1]}}" },
	{ "b\xff", "e", "\0\x01\x02\x03", 0, 0, 4, 1,
	    "\"topic\":\"b\xef\xbf\xbd\",\"event\":\"e\","
	    "\"payload\":{\"binary\":\"AAECAw==\"}}" },
	{ "b", "e", "ab", 0, 0, 0, 1,
	    "\"topic\":\"b\",\"event\":\"e\",\"payload\":{\"binary\":\"YWI=\"}}" },
	{ "b", "e", "abc", 0, 0, 0, 1,
	    "\"topic\":\"b\",\"event\":\"e\",\"payload\":{\"binary\":\"YWJj\"}}" },
	{ "b", "e", "", 0, 0, 0, 1,
	    "\"topic\":\"b\",\"event\":\"e\",\"payload\":{\"binary\":\"\"}}" },
	/* no JSON, whatever it says */
	{ "b", "e", "1}\n{", 0, 0, 0, 0,
	    "\"topic\":\"b\",\"event\":\"e\","
	    "\"payload\":{\"binary\":\"MX0Kew==\"}}" },
	/* too long; NULL: so many times a letter */
	{ "b", "e", NULL, 0, 0, TAP_MAX, 0,
	    "\"topic\":\"b\",\"event\":\"e\",\"omitted\":1048576}" },
	{ "b", "e", NULL, 0, 0, TAP_MAX * 4 / 5, 1,
	    "\"topic\":\"b\",\"event\":\"e\",\"omitted\":838860}" },
	{ "b", NULL, "1", 0, 20000, 0, 0,
	    "\"topic\":\"b\",\"omitted\":20001}" },
	{ NULL, "e", "1", 20000, 0, 0, 0, "\"omitted\":20002}" },
};

#define NSTRANGE (sizeof strange / sizeof strange[0])

static struct text
strange_text(const char *s, size_t size, char **letters)
{
	if (s != NULL)
		return (struct text){ (char *)s, size != 0 ? size : strlen(s) };
	*letters = xmalloc(size);
	memset(*letters, 'x', size);
	return (struct text){ *letters, size };
}

static void
publish_strange(struct tap *tap, size_t i)
{
	char *letters = NULL;
	struct journal_entry entry = {
		.number = i + 1,
		.broadcast = {
			.topic = strange_text(strange[i].topic,
			    strange[i].topic_size, &letters),
			.event = strange_text(strange[i].event,
			    strange[i].event_size, &letters),
			.kind = strange[i].kind,
			.payload = strange_text(strange[i].payload,
			    strange[i].payload_size, &letters),
		},
	};

	tap_published(tap, &entry);
	free(letters);
}

/* In a process of its own: a tap, and a reader of all. */
static int
check_strange(struct board *board)
{
	static const struct tap_reader_callbacks callbacks = {
		.ready = on_ready,
		.entry = on_entry,
		.missed = on_missed,
	};
	struct tap_reader_topics all = { text(""), true };
	struct event_base *base = event_base_new();
	struct tap *tap = tap_new(base, directory, 0, 0);
	struct tap_reader *reader = tap_reader_new(
	    base, directory, &all, &callbacks, board);
	int bad;

	while (board->ready == 0)
		event_base_loop(base, EVLOOP_ONCE);
	for (size_t i = 0; i < NSTRANGE; i++)
		publish_strange(tap, i);
	while (board->entries + board->missed < NSTRANGE)
		event_base_loop(base, EVLOOP_ONCE);
	bad = (int)tap_reader_bad(reader);
	tap_reader_free(reader);
	tap_free(tap);
	event_base_free(base);
	return bad;
}

START_TEST(strange_entries)
{
	struct board *board = board_new();
	char *line, *rest;
	pid_t pid;

	begin(1);
	pid = fork();
	if (pid == 0) {
		signal(SIGALRM, SIG_DFL);
		alarm(TOOLS_DEADLINE / 1000);
		_exit(check_strange(board));
	}
	tools_assert_exit(pid, 0);
	ck_assert_uint_eq(board->missed, 0);
	line = strtok_r(board->text, "\n", &rest);
	for (size_t i = 0; i < NSTRANGE; i++) {
		char number[32];

		ck_assert_ptr_nonnull(line);
		snprintf(number, sizeof number, "{\"number\":%zu,", i + 1);
		ck_assert_mem_eq(line, number, strlen(number));
		ck_assert_str_eq(line + strlen(number), strange[i].expected);
		line = strtok_r(NULL, "\n", &rest);
	}
	/* Its endpoint went with it. */
	end();
}
END_TEST

UNIT_MAIN("bus", news_arrive, news_are_faster_than_looking, adapters_carry_news,
    who_does_not_want_it_is_not_told, who_does_not_want_it_is_told_of_much,
    burst, stopped_worker_catches_up, killed_receiver_comes_back,
    killed_publisher_with_messages_unread, bad_messages_are_ignored,
    only_who_needs_it_has_nanomsg, missing_library, files,
    tap_formats_nothing_for_nobody, reader_takes_its_topics,
    reader_counts_what_it_missed, strange_entries)
