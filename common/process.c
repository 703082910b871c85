/*
 * process.c - see process.h. The only caller of fork(2).
 */
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/log.h"
#include "common/process.h"
#include "common/xmalloc.h"

/* A title is written over argv and environ; less room than this is too little
 * for a role, a peer and a topic. */
#define TITLE_ROOM 384
#define EXEC_ENV   "BENNU_EXEC" /* holds the room, and says that we have it */

static pid_t process_parent;

static volatile sig_atomic_t term_caught;
static int term_fd = -1;
static unsigned term_alarm;

long long
monotonic_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool
process_parent_alive(void)
{
	return getppid() == process_parent;
}

/* Out of the way of the places, if it lies there. */
static int
lift_descriptor(const struct process_spec *spec, int fd, int above)
{
	int lifted = fd;

	if (fd != -1 && fd < above)
		lifted = fcntl(fd, F_DUPFD_CLOEXEC, above);
	if (fd != -1 && lifted == -1)
		fatal("%s: descriptor %d", spec->name, fd);
	return lifted;
}

/* The kept descriptors move down to their places; the rest is closed. */
static void
keep_descriptors(const struct process_spec *spec)
{
	int above = PROCESS_FD + (int)spec->nfds, tmp[PROCESS_FDS_MAX];

	for (size_t i = 0; i < spec->nfds; i++)
		tmp[i] = lift_descriptor(spec, spec->fds[i], above);
	for (size_t i = 0; i < spec->nfds; i++) {
		int place = PROCESS_FD + (int)i;

		if (tmp[i] == -1)
			close(place);
		else if (dup3(tmp[i], place, O_CLOEXEC) == -1)
			fatal("%s: descriptor %d", spec->name, place);
	}
	if (close_range((unsigned)above, UINT_MAX, 0) == -1)
		fatal("%s: close_range", spec->name);
}

static void
reset_signals(void)
{
	sigset_t term;

	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_IGN);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_SETMASK, &term, NULL);
}

/* SIGTERM when the parent dies, and the check for one that died before. */
static void
bind_to_parent(const struct process_spec *spec, pid_t parent)
{
	process_parent = parent;
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) == -1)
		fatal("%s: PR_SET_PDEATHSIG", spec->name);
	if (!process_parent_alive())
		_exit(EXIT_SHUTDOWN);
}

/*
 * The child's side. A new stack canary, since all workers would share the one
 * they inherit: what leaks from one would open all. No frame that was entered
 * before the change may return after it.
 */
__attribute__((__no_stack_protector__)) static _Noreturn void
child_run(const struct process_spec *spec, pid_t parent)
{
#if defined(__x86_64__)
	uint64_t canary;

	if (getrandom(&canary, sizeof canary, GRND_NONBLOCK) ==
	    (ssize_t)sizeof canary) {
		canary &= ~(uint64_t)0xff;
		__asm__ volatile("movq %0, %%fs:0x28" : : "r"(canary));
	}
#endif
	if (spec->leads_group)
		setpgid(0, 0);
	prctl(PR_SET_NAME, spec->name);
	prctl(PR_SET_DUMPABLE, spec->dumpable ? 1 : 0);
	bind_to_parent(spec, parent);
	keep_descriptors(spec);
	reset_signals();
	spec->run(spec->arg);
}

pid_t
process_fork(const struct process_spec *spec)
{
	pid_t parent = getpid(), pid;
	sigset_t all, old;
	int saved;

	assert(spec->nfds <= PROCESS_FDS_MAX);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid = _Fork();
	if (pid == 0)
		child_run(spec, parent);
	saved = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	errno = saved;
	return pid;
}

/* Where argv and environ lay, side by side on the stack: titles go there. */
static char *title_area;
static size_t title_size;

static void
find_title_area(int argc, char **argv, char **envp)
{
	char *end = argv[0];

	for (int i = 0; i < argc && argv[i] == end; i++)
		end += strlen(argv[i]) + 1;
	for (char **e = envp; *e != NULL && *e == end; e++)
		end += strlen(*e) + 1;
	title_area = argv[0];
	title_size = (size_t)(end - argv[0]);
}

/*
 * Once more from the start, with room for titles, and with all symbols bound:
 * what ld.so binds lazily it binds anew in every worker, each time in a page of
 * its own (20 kB for a transport, as much for a channel).
 */
static void
exec_again(char **argv)
{
	char padding[TITLE_ROOM + 1];

	if (getenv(EXEC_ENV) != NULL)
		return;
	memset(padding, '.', sizeof padding - 1);
	padding[sizeof padding - 1] = '\0';
	setenv(EXEC_ENV, padding, 1);
	setenv("LD_BIND_NOW", "1", 1);
	execv("/proc/self/exe", argv);
	log_warn("workers will be larger, and their titles short: "
		 "/proc/self/exe");
}

/* What lies there is still used: it moves to the heap. */
static void
move_out_of_title_area(int argc, char **argv, char **envp)
{
	size_t n = 0;

	for (int i = 0; i < argc; i++)
		argv[i] = xstrdup(argv[i]);
	program_invocation_name = argv[0];
	program_invocation_short_name = strrchr(argv[0], '/');
	program_invocation_short_name = program_invocation_short_name == NULL
	    ? argv[0]
	    : program_invocation_short_name + 1;
	while (envp[n] != NULL)
		n++;
	environ = xcalloc(n + 1, sizeof *environ);
	for (size_t i = 0; i < n; i++)
		environ[i] = xstrdup(envp[i]);
}

static void
open_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd == -1)
			fatal("/dev/null");
	} while (fd <= STDERR_FILENO);
	close(fd);
}

void
process_init(int argc, char **argv, char **envp)
{
	open_standard_descriptors();
	find_title_area(argc, argv, envp);
	exec_again(argv);
	unsetenv(EXEC_ENV);
	unsetenv("LD_BIND_NOW");
	move_out_of_title_area(argc, argv, envp);
	/* The exec went by way of /proc/self/exe. */
	prctl(PR_SET_NAME, program_invocation_short_name);
	signal(SIGPIPE, SIG_IGN);
	process_parent = getppid();
}

/*
 * The kernel shows the area of argv, and goes on into that of environ when the
 * title reaches so far.
 */
void
process_title(const char *fmt, ...)
{
	char title[TITLE_ROOM];
	va_list ap;
	size_t n;

	n = (size_t)snprintf(title, sizeof title, "bennu: ");
	va_start(ap, fmt);
	vsnprintf(title + n, sizeof title - n, fmt, ap);
	va_end(ap);
	/* A client's topic may hold anything; ps is read by people. */
	for (char *c = title; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	if (title_size == 0)
		return;
	memset(title_area, 0, title_size);
	n = strnlen(title, title_size - 1);
	memcpy(title_area, title, n);
}

static void
on_term(int sig)
{
	int saved = errno;

	(void)sig;
	term_caught = 1;
	if (term_fd != -1)
		shutdown(term_fd, SHUT_RD);
	if (term_alarm > 0)
		alarm(term_alarm);
	errno = saved;
}

void
process_catch_term(int fd, int shutdown_ms)
{
	struct sigaction action = { .sa_handler = on_term };
	sigset_t term;

	term_fd = fd;
	term_alarm = 0;
	if (shutdown_ms >= 0)
		term_alarm = (unsigned)(shutdown_ms + 999) / 1000;
	if (shutdown_ms >= 0 && term_alarm == 0)
		term_alarm = 1;
	sigemptyset(&action.sa_mask);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGALRM, SIG_DFL); /* ignored, if who started us ignored it */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
}

bool
process_term_caught(void)
{
	return term_caught != 0;
}
