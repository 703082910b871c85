/*
 * lane.c under load: a worker and a transport write to one TCP socket, whose
 * client reads slowly, while both are stopped at random and the worker is
 * killed, again and again. Each successor registers anew and settles what the
 * dead one left. The client must see whole frames, of each writer in order,
 * none lost and none doubled.
 *
 * UNIT_LANE_SECONDS makes it longer (with CK_FORK=no, or Check's own limit ends
 * it), UNIT_SEED repeats a sequence.
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "pubsub/lane.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

#define ORIGINS     3             /* journals that the worker writes from */
#define WRITERS     (ORIGINS + 1) /* and the transport */
#define BATCH       16            /* frames */
#define FRAME_MAX   1500
#define BATCH_MAX   (BATCH * FRAME_MAX)
#define QUEUE_MAX   ((size_t)256 * 1024) /* that the transport lets wait */
#define BACKLOG_MAX ((size_t)64 * 1024)  /* and the worker */
#define SECONDS     2
#define PATIENCE    25000 /* ms until all must have happened */
#define KILLS_MIN   20    /* and that so often */

/* ---- what all share ---- */

static struct world {
	struct lane lane __attribute__((aligned(LANE_SIZE)));

	/* As a worker's progress and a slot's queued: what outlives it. */
	_Atomic uint64_t progress[ORIGINS], queued[ORIGINS];
	_Atomic uint64_t own; /* frames of the transport */
	atomic_bool finish;

	/* Figures. */
	_Atomic uint64_t direct, passed, yours, rests;
	_Atomic uint64_t registered, owed, held, in_none, in_part, in_all;
} * world;

static int client, server, listener; /* of which the children keep some */

/* A child may not use Check: it says what is wrong by its end. */
#define REQUIRE(condition)                                                 \
	do {                                                               \
		if (!(condition)) {                                        \
			fprintf(stderr, "%s:%d: %s\n", __func__, __LINE__, \
			    #condition);                                   \
			_exit(EXIT_FAILURE);                               \
		}                                                          \
	} while (0)

/* Frames can be made again from their numbers. */
struct frame {
	uint32_t size, writer, number;
};

static size_t
frame_make(char *buf, uint32_t writer, uint32_t number)
{
	struct frame frame = {
		.size = (uint32_t)sizeof frame +
		    (number * 7919U + writer * 101) %
			(FRAME_MAX - sizeof frame),
		.writer = writer,
		.number = number,
	};

	memcpy(buf, &frame, sizeof frame);
	memset(buf + sizeof frame, (int)(number * 31 + writer),
	    frame.size - sizeof frame);
	return frame.size;
}

static size_t
frames_make(char *buf, uint32_t writer, uint64_t first, uint64_t last)
{
	size_t size = 0;

	for (uint64_t number = first; number <= last; number++)
		size += frame_make(buf + size, writer, (uint32_t)number);
	return size;
}

/* What a mailbox carries. */
enum { FRAMES, REST, YOURS, END };

struct letter {
	uint32_t size, type, origin, frames;
	uint64_t last;
};

struct hello {
	uint32_t generation;
	uint64_t received[ORIGINS];
};

struct queue {
	char *data;
	size_t begin, end, room;
};

static size_t
queue_size(const struct queue *queue)
{
	return queue->end - queue->begin;
}

static void
queue_put(struct queue *queue, const void *data, size_t size)
{
	if (queue->begin > 0) {
		memmove(
		    queue->data, queue->data + queue->begin, queue_size(queue));
		queue->end -= queue->begin;
		queue->begin = 0;
	}
	if (queue->room - queue->end < size) {
		queue->room = 2 * (queue->end + size);
		queue->data = realloc(queue->data, queue->room);
		REQUIRE(queue->data != NULL);
	}
	if (size > 0)
		memcpy(queue->data + queue->end, data, size);
	queue->end += size;
}

/* Returns what went. */
static size_t
queue_write(struct queue *queue, int fd)
{
	ssize_t n = send(fd, queue->data + queue->begin, queue_size(queue),
	    MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n == -1) {
		REQUIRE(errno == EAGAIN);
		return 0;
	}
	queue->begin += (size_t)n;
	return (size_t)n;
}

static void
nap(long max_us)
{
	struct timespec time = { .tv_nsec = random() % max_us * 1000 };

	nanosleep(&time, NULL);
}

/*
 * A place where it would hurt: now and then the process dies here, or stops
 * until it is told to go on.
 */
static void
mine(bool deadly)
{
	long n = random() % 200;

	if (n > 1 || atomic_load(&world->finish))
		return;
	raise(deadly && n == 0 ? SIGKILL : SIGSTOP);
}

/* ---- the worker ---- */

static struct {
	int fd; /* the mailbox */
	uint32_t generation;
	struct queue out;
	uint64_t next[ORIGINS];
	char batch[BATCH_MAX];
} worker;

/* Waits for the mailbox only when much waits for it. */
static void
worker_flush(size_t limit)
{
	struct pollfd pollfd = { .fd = worker.fd, .events = POLLOUT };

	while (queue_size(&worker.out) > 0) {
		queue_write(&worker.out, worker.fd);
		if (queue_size(&worker.out) <= limit)
			break;
		poll(&pollfd, 1, 100);
	}
}

static void
post(uint32_t type, uint32_t origin, uint32_t frames, uint64_t last,
    const char *data, size_t size)
{
	struct letter letter = { (uint32_t)size, type, origin, frames, last };

	if (frames > 0)
		atomic_store(&world->queued[origin], last);
	mine(true);
	queue_put(&worker.out, &letter, sizeof letter);
	queue_put(&worker.out, data, size);
	worker_flush(BACKLOG_MAX);
}

static void
write_batch(uint32_t origin, uint64_t last, size_t size)
{
	ssize_t n;

	mine(true);
	lane_intend(&world->lane, origin, last, size);
	mine(true);
	n = send(server, worker.batch, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n == -1) {
		REQUIRE(errno == EAGAIN);
		n = 0;
	}
	mine(true);
	switch (lane_give(&world->lane, worker.generation, (size_t)n, false)) {
	case LANE_FREE:
		REQUIRE((size_t)n == size);
		break;
	case LANE_YOURS:
		REQUIRE((size_t)n == size);
		atomic_fetch_add(&world->yours, 1);
		post(YOURS, 0, 0, 0, NULL, 0);
		break;
	case LANE_REST:
		REQUIRE((size_t)n < size);
		atomic_fetch_add(&world->rests, 1);
		post(REST, origin, 1, last, worker.batch + n, size - (size_t)n);
		break;
	case LANE_BROKEN:
		REQUIRE(!"the lane is broken");
	}
	atomic_fetch_add(&world->direct, 1);
}

static void
deliver(uint32_t origin)
{
	uint64_t first = worker.next[origin];
	uint32_t frames = 1 + (uint32_t)random() % BATCH;
	uint64_t last = first + frames - 1;
	size_t size = frames_make(worker.batch, origin, first, last);

	switch (lane_take(&world->lane, worker.generation, frames)) {
	case LANE_TAKEN:
		write_batch(origin, last, size);
		break;
	case LANE_PASSED:
		atomic_fetch_add(&world->passed, 1);
		post(FRAMES, origin, frames, last, worker.batch, size);
		break;
	case LANE_GONE:
		REQUIRE(!"the lane is gone");
	}
	worker.next[origin] = last + 1;
	if (last > atomic_load(&world->progress[origin]))
		atomic_store(&world->progress[origin], last);
}

/* What the last worker delivered, but did not arrive. */
static void
deliver_again(void)
{
	for (uint32_t i = 0; i < ORIGINS; i++)
		while (worker.next[i] <= atomic_load(&world->progress[i]))
			deliver(i);
}

/* Leaves the transport the time to catch up, mostly. */
static void
take_breath(void)
{
	long patience = random() % 30;

	do
		nap(300);
	while ((atomic_load(&world->lane.word) & 3) != LANE_FAST &&
	    !atomic_load(&world->finish) && patience-- > 0);
}

static uint64_t
larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The rest of what the predecessor was writing when it died. */
static void
worker_settle(const struct hello *hello)
{
	uint64_t account, last, first;
	unsigned origin;
	size_t size, in;

	REQUIRE(lane_account(server, &account));
	if (!lane_interrupted(
		&world->lane, account, &origin, &last, &size, &in))
		return;
	REQUIRE(in < size);
	first = 1 +
	    larger(lane_written(&world->lane, origin), hello->received[origin]);
	REQUIRE(first <= last && last - first < BATCH);
	REQUIRE(frames_make(worker.batch, origin, first, last) == size);
	post(REST, origin, 1, last, worker.batch + in, size - in);
	worker.next[origin] = larger(worker.next[origin], last + 1);
}

static void
worker_begin(void)
{
	struct hello hello;

	worker.fd = accept(listener, NULL, NULL);
	REQUIRE(worker.fd != -1);
	REQUIRE(
	    recv(worker.fd, &hello, sizeof hello, MSG_WAITALL) == sizeof hello);
	worker.generation = hello.generation;
	for (unsigned i = 0; i < ORIGINS; i++) {
		uint64_t done = hello.received[i];

		/* Did all that was sent by the mailbox arrive? */
		if (done >= atomic_load(&world->queued[i]))
			done = larger(done, atomic_load(&world->progress[i]));
		done = larger(done, lane_written(&world->lane, i));
		worker.next[i] = done + 1;
	}
	worker_settle(&hello);
}

static _Noreturn void
worker_main(void)
{
	close(client);
	worker_begin();
	deliver_again();
	while (!atomic_load(&world->finish)) {
		for (long i = random() % 8; i >= 0; i--)
			deliver((uint32_t)random() % ORIGINS);
		worker_flush(SIZE_MAX);
		take_breath();
	}
	post(END, 0, 0, 0, NULL, 0);
	worker_flush(0);
	_exit(0);
}

/* ---- the transport ---- */

static struct {
	int fd; /* the mailbox */
	struct sockaddr_un address;
	socklen_t address_size;
	struct queue out;
	struct queue in;
	uint64_t received; /* in this generation */
	uint64_t last[ORIGINS];
	bool blocked; /* the worker will say something */
	bool ended;
} transport;

static void
look_at_what_is_left(uint64_t account)
{
	const struct lane *lane = &world->lane;
	uint64_t word = atomic_load(&lane->word);
	uint64_t in = account - lane->base - lane->start;

	atomic_fetch_add(&world->owed, (word & 3) == LANE_OWED);
	if ((word >> 2 & 3) != LANE_PUBSUB) {
		REQUIRE(account - lane->base == lane->total);
		return;
	}
	atomic_fetch_add(&world->held, 1);
	if (lane->size == 0)
		return; /* before or behind its write */
	REQUIRE(in <= lane->size);
	atomic_fetch_add(in == 0   ? &world->in_none
		: in == lane->size ? &world->in_all
				   : &world->in_part,
	    1);
}

static void
transport_register(bool first)
{
	struct hello hello = { 0 };
	uint64_t account;

	REQUIRE(lane_account(server, &account));
	if (!first)
		look_at_what_is_left(account);
	hello.generation = lane_register(&world->lane, first, account);
	memcpy(hello.received, transport.last, sizeof hello.received);
	transport.received = 0;
	transport.blocked = false;
	transport.in.begin = transport.in.end = 0;
	transport.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	REQUIRE(transport.fd != -1);
	REQUIRE(connect(transport.fd, (struct sockaddr *)&transport.address,
		    transport.address_size) == 0);
	/* It may be dead again: then there is nothing to read. */
	REQUIRE(send(transport.fd, &hello, sizeof hello, MSG_NOSIGNAL) ==
		sizeof hello ||
	    errno == EPIPE || errno == ECONNRESET);
	atomic_fetch_add(&world->registered, 1);
}

/* The rest of a write is the next that goes to the client. */
static void
put_first(const char *data, size_t size)
{
	struct queue all = { 0 };

	queue_put(&all, data, size);
	queue_put(&all, transport.out.data + transport.out.begin,
	    queue_size(&transport.out));
	free(transport.out.data);
	transport.out = all;
}

static void
transport_receive(const struct letter *letter, const char *data)
{
	transport.blocked = false;
	transport.received += letter->frames;
	if (letter->frames > 0) {
		REQUIRE(letter->last > transport.last[letter->origin]);
		transport.last[letter->origin] = letter->last;
	}
	switch (letter->type) {
	case FRAMES:
		queue_put(&transport.out, data, letter->size);
		break;
	case REST:
		put_first(data, letter->size);
		lane_rest(&world->lane);
		break;
	case END:
		transport.ended = true;
		break;
	case YOURS:
		break;
	}
}

static void
transport_read(void)
{
	struct queue *in = &transport.in;
	struct letter letter;
	char buf[16 * 1024];
	ssize_t n = recv(transport.fd, buf, sizeof buf, MSG_DONTWAIT);

	if (n == -1) {
		REQUIRE(errno == EAGAIN || errno == ECONNRESET);
		if (errno == EAGAIN)
			return;
	}
	if (n <= 0) {
		close(transport.fd);
		if (!transport.ended)
			transport_register(false);
		return;
	}
	queue_put(in, buf, (size_t)n);
	for (;;) {
		if (queue_size(in) < sizeof letter)
			return;
		memcpy(&letter, in->data + in->begin, sizeof letter);
		if (queue_size(in) < sizeof letter + letter.size)
			return;
		transport_receive(
		    &letter, in->data + in->begin + sizeof letter);
		in->begin += sizeof letter + letter.size;
	}
}

static void
transport_write(void)
{
	size_t n;

	if (queue_size(&transport.out) == 0) {
		lane_release(&world->lane, 0, true, transport.received);
		return;
	}
	transport.blocked = !lane_hold(&world->lane);
	if (transport.blocked)
		return;
	mine(false);
	n = queue_write(&transport.out, server);
	mine(false);
	lane_release(&world->lane, n, queue_size(&transport.out) == 0,
	    transport.received);
}

static void
transport_speak(void)
{
	char buf[FRAME_MAX];
	uint32_t number;

	if (queue_size(&transport.out) > QUEUE_MAX / 2)
		return;
	number = (uint32_t)atomic_load(&world->own) + 1;
	queue_put(&transport.out, buf, frame_make(buf, WRITERS - 1, number));
	atomic_store(&world->own, number);
}

static void
transport_wait(int timeout)
{
	size_t waits = queue_size(&transport.out);
	struct pollfd fds[] = {
		{ .fd = transport.fd, .events = POLLIN },
		{ .fd = server, .events = POLLOUT },
	};

	/* What the lane waits for comes by the mailbox. */
	if (transport.ended || (waits > QUEUE_MAX && !transport.blocked))
		fds[0].fd = -1;
	if (waits == 0 || transport.blocked)
		fds[1].fd = -1;
	poll(fds, 2, timeout);
	if (fds[0].fd != -1 && fds[0].revents != 0)
		transport_read();
}

static _Noreturn void
transport_main(void)
{
	close(client);
	transport.address_size = sizeof transport.address;
	getsockname(listener, (struct sockaddr *)&transport.address,
	    &transport.address_size);
	close(listener);
	transport_register(true);
	while (!transport.ended || queue_size(&transport.out) > 0) {
		if (!atomic_load(&world->finish) && random() % 2 == 0)
			for (long i = random() % 4; i > 0; i--)
				transport_speak();
		transport_write();
		transport_wait((int)(random() % 4));
	}
	/* Nothing is left that anybody could wait for. */
	transport_write();
	REQUIRE((atomic_load(&world->lane.word) & 15) == LANE_FAST);
	shutdown(server, SHUT_WR);
	_exit(0);
}

/* ---- the client, who also stops and kills ---- */

static pid_t pids[2]; /* worker, transport */
static long long stopped_until[2];
static unsigned kills, stops;
static uint64_t seen[WRITERS];

static pid_t
start(void (*run)(void))
{
	long seed = random();
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		srandom((unsigned)seed);
		run();
	}
	return pid;
}

static void
do_mischief(void)
{
	if (random() % 3 == 0)
		ck_assert_int_eq(kill(pids[0], SIGKILL), 0);
	else
		ck_assert_int_eq(kill(pids[random() % 2], SIGSTOP), 0);
}

/* Of what happened to them, by do_mischief or a mine. */
static void
tend(int which, int status, long long now)
{
	if (WIFSTOPPED(status)) {
		stopped_until[which] = now + 1 + random() % 5;
		stops++;
	} else if (which == 0 && WIFSIGNALED(status) &&
	    WTERMSIG(status) == SIGKILL) {
		stopped_until[0] = 0;
		kills++;
		pids[0] = start(worker_main);
	} else {
		ck_assert_msg(world->finish && status == 0,
		    "the %s ended, status 0x%x",
		    which == 0 ? "worker" : "transport", status);
		pids[which] = 0;
	}
}

static void
tend_both(void)
{
	long long now = monotonic_ms();
	int status;

	for (int i = 0; i < 2; i++) {
		if (pids[i] == 0)
			continue;
		if (waitpid(pids[i], &status, WNOHANG | WUNTRACED) > 0)
			tend(i, status, now);
		if (stopped_until[i] != 0 && now >= stopped_until[i]) {
			ck_assert_int_eq(kill(pids[i], SIGCONT), 0);
			stopped_until[i] = 0;
		}
	}
}

/* Whole frames at the begin of the buffer; returns what is left over. */
static size_t
check_frames(char *buf, size_t size)
{
	char expected[FRAME_MAX];
	struct frame frame;
	size_t at = 0;

	while (size - at >= sizeof frame) {
		memcpy(&frame, buf + at, sizeof frame);
		ck_assert_msg(frame.size >= sizeof frame &&
			frame.size < FRAME_MAX && frame.writer < WRITERS,
		    "no frame after %ju bytes", (uintmax_t)at);
		if (size - at < frame.size)
			break;
		if (frame.number != seen[frame.writer] + 1)
			ck_abort_msg("writer %u: frame %u behind %ju",
			    frame.writer, frame.number,
			    (uintmax_t)seen[frame.writer]);
		frame_make(expected, frame.writer, frame.number);
		if (memcmp(buf + at, expected, frame.size) != 0)
			ck_abort_msg("writer %u: frame %u is torn",
			    frame.writer, frame.number);
		seen[frame.writer]++;
		at += frame.size;
	}
	memmove(buf, buf + at, size - at);
	return size - at;
}

/* False: the end. */
static bool
client_read(bool slowly)
{
	static char buf[128 * 1024];
	static size_t have;
	size_t room = sizeof buf - have;
	ssize_t n;

	if (slowly)
		room = 1 + (size_t)random() % (QUEUE_MAX / 8);
	n = recv(client, buf + have, room, MSG_DONTWAIT);
	if (n == -1) {
		ck_assert_int_eq(errno, EAGAIN);
		return true;
	}
	have = check_frames(buf, have + (size_t)n);
	if (n == 0)
		ck_assert_uint_eq(have, 0);
	return n > 0;
}

static bool
has_happened(void)
{
	return kills >= KILLS_MIN && stops >= KILLS_MIN && world->direct > 0 &&
	    world->passed > 0 && world->rests > 0 &&
	    world->registered >= KILLS_MIN / 2 && world->own > 0;
}

/* While it is fun. */
static void
disturb(long long until, long long limit)
{
	struct pollfd pollfd = { .fd = client, .events = POLLIN };
	long long now, next = 0, awake = 0;

	while ((now = monotonic_ms()) < until || !has_happened()) {
		ck_assert_msg(now < limit, "too little happens");
		tend_both();
		if (now >= next) {
			do_mischief();
			next = now + 1 + random() % 12;
		}
		if (random() % 100 == 0)
			awake = now + random() % 20;
		if (now >= awake)
			ck_assert(client_read(true));
		poll(&pollfd, now >= awake ? 1 : 0, 1);
	}
}

/* All that was begun comes to the client. */
static void
finish(void)
{
	struct pollfd pollfd = { .fd = client, .events = POLLIN };
	long long limit = monotonic_ms() + PATIENCE;
	bool open = true;

	atomic_store(&world->finish, true);
	while (open || pids[0] != 0 || pids[1] != 0) {
		ck_assert_msg(monotonic_ms() < limit,
		    "hangs, word %#jx, passed on %ju",
		    (uintmax_t)world->lane.word, (uintmax_t)world->passed);
		tend_both();
		open = open && client_read(false);
		poll(&pollfd, open ? 1 : 0, 2);
	}
	/* A worker may have been killed between its write and the note. */
	for (unsigned i = 0; i < ORIGINS; i++)
		ck_assert_uint_eq(seen[i],
		    larger(world->progress[i], lane_written(&world->lane, i)));
	ck_assert_uint_eq(seen[WRITERS - 1], world->own);
}

static void
connect_client(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM, 0), small = 8192, one = 1;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	getsockname(fd, (struct sockaddr *)&address, &size);
	client = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&address, size), 0);
	server = accept(fd, NULL, NULL);
	ck_assert_int_ne(server, -1);
	setsockopt(server, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	close(fd);
}

static void
set_up(void)
{
	struct sockaddr_un any = { .sun_family = AF_UNIX };

	world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(world, MAP_FAILED);
	connect_client();
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	/* A name that the kernel finds, and no file. */
	ck_assert_int_eq(
	    bind(listener, (struct sockaddr *)&any, sizeof any.sun_family), 0);
	ck_assert_int_eq(listen(listener, 8), 0);
}

static unsigned
number_of(const char *name, unsigned otherwise)
{
	const char *given = getenv(name);

	return given ? (unsigned)strtoul(given, NULL, 10) : otherwise;
}

START_TEST(worker_is_killed_and_both_are_stopped)
{
	unsigned seed = number_of("UNIT_SEED", (unsigned)time(NULL));
	long long now = monotonic_ms(), until;

	printf("# seed %u\n", seed);
	fflush(stdout);
	srandom(seed);
	set_up();
	pids[0] = start(worker_main);
	pids[1] = start(transport_main);
	until = now + 1000LL * number_of("UNIT_LANE_SECONDS", SECONDS);
	disturb(until, until + PATIENCE);
	finish();
	printf("# %u kills, %u stops; batches: %ju direct, %ju of them short, "
	       "%ju passed on; told %ju times\n",
	    kills, stops, (uintmax_t)world->direct, (uintmax_t)world->rests,
	    (uintmax_t)world->passed, (uintmax_t)world->yours);
	printf("# registered %ju times: owed %ju times, held %ju times; of the "
	       "write was in: nothing %ju times, some %ju, all %ju\n",
	    (uintmax_t)world->registered, (uintmax_t)world->owed,
	    (uintmax_t)world->held, (uintmax_t)world->in_none,
	    (uintmax_t)world->in_part, (uintmax_t)world->in_all);
	printf("# frames: %ju %ju %ju of the worker, %ju of the transport\n",
	    (uintmax_t)seen[0], (uintmax_t)seen[1], (uintmax_t)seen[2],
	    (uintmax_t)seen[3]);
	fflush(stdout);
	tools_assert_no_children();
}
END_TEST

UNIT_MAIN("lane_stress", worker_is_killed_and_both_are_stopped)
