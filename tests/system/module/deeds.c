/*
 * deeds.c - see deeds.h: the honest ways to die, to hang and to wait.
 */
#include <sys/mman.h>

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/process.h"
#include "deeds.h"

const char *
member_text(const cJSON *object, const char *name, const char *other)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsString(item) ? item->valuestring : other;
}

double
member_number(const cJSON *object, const char *name, double other)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) ? item->valuedouble : other;
}

/* ---- to die ---- */

static void
deed_kill(struct bennu_socket *socket, const cJSON *what)
{
	kill(getpid(), (int)member_number(what, "signal", SIGKILL));
}

/* A real fault; with the kernel's handler, also under a sanitizer. */
static void
deed_segv(struct bennu_socket *socket, const cJSON *what)
{
	volatile char *page = mmap(
	    NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	signal(SIGSEGV, SIG_DFL);
	*page = 1;
}

static void
deed_abort(struct bennu_socket *socket, const cJSON *what)
{
	abort();
}

static void
deed_exit(struct bennu_socket *socket, const cJSON *what)
{
	_exit((int)member_number(what, "status", 0));
}

/* Mistakes of an author. */
static void
deed_bad_json(struct bennu_socket *socket, const cJSON *what)
{
	bennu_push(socket, "broken", bennu_text("{\"a\":"));
}

static void
deed_push(struct bennu_socket *socket, const cJSON *what)
{
	bennu_push(socket, "pushed", bennu_empty());
}

static void
deed_reply_twice(struct bennu_socket *socket, const cJSON *what)
{
	bennu_reply(socket, "ok", bennu_empty());
	bennu_reply(socket, "ok", bennu_empty());
}

/* Text that is none, where the client or others would read it. */
static void
deed_bad_text(struct bennu_socket *socket, const cJSON *what)
{
	static const char bad[] = "\xff";
	const char *where = member_text(what, "where", "event");

	if (strcmp(where, "topic") == 0)
		bennu_broadcast_to(socket, bad, "evil", bennu_empty());
	else if (strcmp(where, "push") == 0)
		bennu_push(socket, bad, bennu_empty());
	else
		bennu_broadcast(socket, bad, bennu_empty());
}

/* ---- to use too much ---- */

/* And never frees one. */
static void
deed_keep_many(struct bennu_socket *socket, const cJSON *what)
{
	int n = (int)member_number(what, "n", 1);

	for (int i = 0; i < n; i++)
		bennu_keep(socket);
}

/* Until there is no more; then as a program that does not check. */
static void
deed_eat_memory(struct bennu_socket *socket, const cJSON *what)
{
	for (;;) {
		char *more = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (more == MAP_FAILED)
			abort();
		memset(more, 1, 1 << 20);
	}
}

static void
deed_eat_descriptors(struct bennu_socket *socket, const cJSON *what)
{
	int n = 0;

	while (dup(STDERR_FILENO) != -1)
		n++;
	bennu_push(
	    socket, "descriptors", bennu_format(socket, "{\"n\":%d}", n));
}

/* ---- to wait ---- */

static void
deed_loop(struct bennu_socket *socket, const cJSON *what)
{
	for (volatile unsigned i = 0;; i++)
		;
}

/* The same, and not even SIGTERM and SIGALRM are heard. */
static void
deed_deaf_loop(struct bennu_socket *socket, const cJSON *what)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	deed_loop(socket, what);
}

static void
deed_hang(struct bennu_socket *socket, const cJSON *what)
{
	for (;;)
		pause();
}

static void
deed_sleep(struct bennu_socket *socket, const cJSON *what)
{
	long ms = (long)member_number(what, "ms", 0);
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) == -1)
		;
}

/* Until the test makes the file: a gate. */
static void
deed_wait_file(struct bennu_socket *socket, const cJSON *what)
{
	const struct timespec soon = { 0, 2000000 };

	while (access(member_text(what, "path", "/"), F_OK) == -1)
		nanosleep(&soon, NULL);
}

/* Until the transport has sent something that nobody has read yet. */
static void
deed_wait_mail(struct bennu_socket *socket, const cJSON *what)
{
	struct pollfd pollfd = { .fd = PROCESS_FD, .events = POLLIN };

	poll(&pollfd, 1, -1);
}

/* ---- all ---- */

static void deed_sequence(struct bennu_socket *, const cJSON *);

static const struct deed honest_deeds[] = {
	{ "kill", deed_kill },
	{ "segv", deed_segv },
	{ "abort", deed_abort },
	{ "exit", deed_exit },
	{ "bad_json", deed_bad_json },
	{ "push", deed_push },
	{ "reply_twice", deed_reply_twice },
	{ "bad_text", deed_bad_text },
	{ "keep_many", deed_keep_many },
	{ "eat_memory", deed_eat_memory },
	{ "eat_descriptors", deed_eat_descriptors },
	{ "loop", deed_loop },
	{ "deaf_loop", deed_deaf_loop },
	{ "hang", deed_hang },
	{ "sleep", deed_sleep },
	{ "wait_file", deed_wait_file },
	{ "wait_mail", deed_wait_mail },
	{ "sequence", deed_sequence },
	{ NULL, NULL },
};

static void
deed_sequence(struct bennu_socket *socket, const cJSON *what)
{
	const cJSON *deed;

	cJSON_ArrayForEach (deed, cJSON_GetObjectItem(what, "deeds"))
		deed_do(socket, deed);
}

static bool
run_named(const struct deed *deeds, const char *name,
    struct bennu_socket *socket, const cJSON *what)
{
	for (; deeds->name != NULL; deeds++)
		if (strcmp(deeds->name, name) == 0) {
			deeds->run(socket, what);
			return true;
		}
	return false;
}

bool
deed_do(struct bennu_socket *socket, const cJSON *what)
{
	const char *name = member_text(what, "do", "");

	return run_named(honest_deeds, name, socket, what) ||
	    run_named(hostile_deeds, name, socket, what);
}
