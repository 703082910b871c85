/*
 * process.c: what a new process has and what it has not, how it is called, and
 * how it ends with its parent and on SIGTERM.
 */
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/process.h"
#include "common/supervise.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

/* The fork of process_fork, which may fail, or be late in the child. */
pid_t __real__Fork(void);
pid_t __wrap__Fork(void);

static bool fork_fails, late_child;

pid_t
__wrap__Fork(void)
{
	pid_t parent = getpid(), pid;

	if (fork_fails) {
		errno = EAGAIN;
		return -1;
	}
	pid = __real__Fork();
	while (pid == 0 && late_child && getppid() == parent)
		poll(NULL, 0, 1);
	return pid;
}

/* Noted instead of set, where it is only asked for how long. */
unsigned __real_alarm(unsigned);
unsigned __wrap_alarm(unsigned);

static bool alarm_is_noted;
static unsigned noted_alarm;

unsigned
__wrap_alarm(unsigned seconds)
{
	if (!alarm_is_noted)
		return __real_alarm(seconds);
	noted_alarm = seconds;
	return 0;
}

/* What a child says of itself, over its PROCESS_FD. */
struct report {
	pid_t pid, ppid, pgid;
	bool parent_alive;
	int dumpable;
	uint64_t canary;
	sigset_t blocked;
	void (*on_term)(int), (*on_int)(int);
	char comm[16];
	ino_t places[16]; /* 0: closed */
	int cloexec[16];
	unsigned nfds;
};

static int pair[2];

static uint64_t
canary(void)
{
	uint64_t value = 0;

#if defined(__x86_64__)
	__asm__ volatile("movq %%fs:0x28, %0" : "=r"(value));
#endif
	return value;
}

static void (*handler_of(int sig))(int)
{
	struct sigaction action;

	sigaction(sig, NULL, &action);
	return action.sa_handler;
}

static void
fill(struct report *report)
{
	report->pid = getpid();
	report->ppid = getppid();
	report->pgid = getpgid(0);
	report->parent_alive = process_parent_alive();
	report->dumpable = prctl(PR_GET_DUMPABLE);
	report->canary = canary();
	sigprocmask(SIG_SETMASK, NULL, &report->blocked);
	report->on_term = handler_of(SIGTERM);
	report->on_int = handler_of(SIGINT);
	prctl(PR_GET_NAME, report->comm);
	for (int fd = 0; fd < 16; fd++) {
		struct stat st;

		if (fstat(fd, &st) == -1)
			continue;
		report->places[fd] = st.st_ino;
		report->cloexec[fd] = fcntl(fd, F_GETFD) & FD_CLOEXEC;
	}
	report->nfds = tools_count_fds();
}

static void
put(const void *data, size_t size)
{
	if (write(PROCESS_FD, data, size) != (ssize_t)size)
		_exit(99);
}

static _Noreturn void
run_report(void *arg)
{
	struct report report;

	memset(&report, 0, sizeof report);
	fill(&report);
	put(&report, sizeof report);
	_exit(EXIT_NORMAL);
}

/* A child that has one end of the pair; the test keeps the other. */
static pid_t
start(struct process_spec spec)
{
	pid_t pid;

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	spec.fds[0] = pair[1];
	if (spec.nfds == 0)
		spec.nfds = 1;
	pid = process_fork(&spec);
	ck_assert_int_gt(pid, 0);
	close(pair[1]);
	return pid;
}

static void
get(void *data, size_t size)
{
	ck_assert_uint_eq(tools_read_all(pair[0], data, size), size);
}

static struct report
report_of(struct process_spec spec)
{
	struct report report;
	pid_t pid;

	spec.run = run_report;
	pid = start(spec);
	get(&report, sizeof report);
	tools_assert_exit(pid, EXIT_NORMAL);
	close(pair[0]);
	ck_assert_int_eq(report.pid, pid);
	ck_assert_int_eq(report.ppid, getpid());
	ck_assert(report.parent_alive);
	return report;
}

static ino_t
inode(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

/* ---- descriptors ---- */

/*
 * Places and sources overlap: what is at 3 goes to 5, what is at 5 to 4, and
 * one is wanted twice.
 */
START_TEST(descriptors_at_their_places)
{
	struct process_spec spec = { .name = "test", .nfds = 6 };
	int fds[40];
	struct report report;

	for (size_t i = 0; i < 40; i += 2)
		ck_assert_int_eq(pipe(fds + i), 0);
	ck_assert_int_le(fds[0], 5);
	spec.fds[1] = fds[4];
	spec.fds[2] = fds[0];
	spec.fds[3] = -1;
	spec.fds[4] = fds[39];
	spec.fds[5] = fds[39];
	report = report_of(spec);
	ck_assert_uint_eq(report.places[4], inode(fds[4]));
	ck_assert_uint_eq(report.places[5], inode(fds[0]));
	ck_assert_uint_eq(report.places[6], 0);
	ck_assert_uint_eq(report.places[7], inode(fds[39]));
	ck_assert_uint_eq(report.places[8], inode(fds[39]));
	ck_assert_uint_eq(report.places[9], 0);
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		ck_assert_uint_eq(report.places[fd], inode(fd));
	for (int fd = PROCESS_FD; fd < 9; fd++)
		ck_assert(fd == 6 || report.cloexec[fd] != 0);
	ck_assert_uint_eq(report.nfds, 3 + 5);
}
END_TEST

START_TEST(all_other_descriptors_are_closed)
{
	struct process_spec spec = { .name = "test" };

	for (int i = 0; i < 300; i++)
		ck_assert_int_ne(dup(STDERR_FILENO), -1);
	ck_assert_uint_eq(report_of(spec).nfds, 3 + 1);
}
END_TEST

START_TEST(as_many_descriptors_as_there_may_be)
{
	struct process_spec spec = {
		.name = "test",
		.nfds = PROCESS_FDS_MAX,
	};
	struct report report;

	for (size_t i = 1; i < PROCESS_FDS_MAX; i++)
		spec.fds[i] = STDIN_FILENO;
	report = report_of(spec);
	for (size_t i = 1; i < PROCESS_FDS_MAX; i++)
		ck_assert_uint_eq(
		    report.places[PROCESS_FD + i], inode(STDIN_FILENO));
	ck_assert_uint_eq(report.nfds, 3 + PROCESS_FDS_MAX);
}
END_TEST

START_TEST(a_descriptor_that_is_none)
{
	struct process_spec spec = {
		.name = "test",
		.run = run_report,
		.nfds = 2,
		.fds = { -1, 999 },
	};
	pid_t pid = start(spec);

	tools_assert_exit(pid, EXIT_CRASH);
}
END_TEST

/* ---- what else it is born with ---- */

START_TEST(names)
{
	ck_assert_str_eq(
	    report_of((struct process_spec){ .name = "bennu-channel" }).comm,
	    "bennu-channel");
	ck_assert_str_eq(
	    report_of((struct process_spec){ .name = "0123456789abcdefgh" })
		.comm,
	    "0123456789abcde");
}
END_TEST

static void
on_signal(int sig)
{
}

static void
assert_blocked(const sigset_t *blocked, int only)
{
	for (int sig = 1; sig < 32; sig++)
		ck_assert_msg(sigismember(blocked, sig) == (sig == only),
		    "signal %d: blocked %d", sig, sigismember(blocked, sig));
}

START_TEST(signals)
{
	struct report report;
	sigset_t mine, after;

	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	sigemptyset(&mine);
	sigaddset(&mine, SIGUSR2);
	sigprocmask(SIG_SETMASK, &mine, NULL);
	report = report_of((struct process_spec){ .name = "test" });
	assert_blocked(&report.blocked, SIGTERM);
	ck_assert(report.on_term == SIG_DFL);
	ck_assert(report.on_int == SIG_IGN);
	/* The parent's are as before. */
	sigprocmask(SIG_SETMASK, NULL, &after);
	assert_blocked(&after, SIGUSR2);
	ck_assert(handler_of(SIGTERM) == on_signal);
	ck_assert(handler_of(SIGINT) == on_signal);
}
END_TEST

START_TEST(a_fork_that_fails)
{
	struct process_spec spec = { .name = "test", .run = run_report };
	sigset_t after;

	fork_fails = true;
	errno = 0;
	ck_assert_int_eq(process_fork(&spec), -1);
	ck_assert_int_eq(errno, EAGAIN);
	sigprocmask(SIG_SETMASK, NULL, &after);
	assert_blocked(&after, 0);
}
END_TEST

START_TEST(groups)
{
	struct report report;

	report = report_of((struct process_spec){ .name = "test" });
	ck_assert_int_eq(report.pgid, getpgid(0));
	report = report_of(
	    (struct process_spec){ .name = "test", .leads_group = true });
	ck_assert_int_eq(report.pgid, report.pid);
}
END_TEST

START_TEST(cores)
{
	ck_assert_int_eq(
	    report_of((struct process_spec){ .name = "test" }).dumpable, 0);
	ck_assert_int_eq(
	    report_of((struct process_spec){ .name = "t", .dumpable = true })
		.dumpable,
	    1);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1); /* not the parent's */
}
END_TEST

#if defined(__x86_64__)
START_TEST(stack_canaries_differ)
{
	struct process_spec spec = { .name = "test" };
	uint64_t seen[6] = { canary() };

	for (size_t i = 1; i < 6; i++) {
		seen[i] = report_of(spec).canary;
		ck_assert_uint_eq(seen[i] & 0xff, 0); /* stops strcpy */
		ck_assert_uint_ne(seen[i], 0);
		for (size_t k = 0; k < i; k++)
			ck_assert_uint_ne(seen[i], seen[k]);
	}
	ck_assert_uint_eq(canary(), seen[0]);
}
END_TEST
#else
START_TEST(stack_canaries_differ)
{
	ck_assert_uint_eq(canary(), 0);
}
END_TEST
#endif

/* ---- the death of the parent ---- */

struct end {
	bool caught, alive;
};

/* Says that it is there, waits for the end and says what it saw. */
static _Noreturn void
run_until_term(void *arg)
{
	struct pollfd pollfd = { .fd = PROCESS_FD + 1, .events = POLLIN };
	struct end end;
	char byte = 1;

	process_catch_term(PROCESS_FD + 1, 20000);
	put(&byte, 1);
	while (poll(&pollfd, 1, -1) == -1)
		;
	memset(&end, 0, sizeof end);
	end.caught = process_term_caught();
	end.alive = process_parent_alive();
	if (read(PROCESS_FD + 1, &byte, 1) != 0)
		_exit(98);
	put(&end, sizeof end);
	_exit(EXIT_SHUTDOWN);
}

static _Noreturn void
run_parent(void *arg)
{
	struct process_spec spec = {
		.name = "grandchild",
		.run = run_until_term,
		.nfds = 2,
		.fds = { PROCESS_FD, PROCESS_FD + 1 },
	};

	put(&(pid_t){ process_fork(&spec) }, sizeof(pid_t));
	for (;;)
		pause();
}

START_TEST(ends_with_its_parent)
{
	struct process_spec spec = {
		.name = "parent",
		.run = run_parent,
		.nfds = 2,
	};
	pid_t parent, grandchild;
	struct end end;
	char bytes[sizeof grandchild + 1];
	int fds[2];

	/* So that the orphan is ours to wait for. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	spec.fds[1] = fds[0];
	parent = start(spec);
	get(bytes, sizeof bytes); /* in either order */
	kill(parent, SIGKILL);
	tools_assert_killed(parent, SIGKILL);
	get(&end, sizeof end);
	ck_assert(end.caught);
	ck_assert(!end.alive);
	grandchild = waitpid(-1, NULL, 0);
	ck_assert_int_gt(grandchild, 0);
	ck_assert(memcmp(bytes, &grandchild, sizeof grandchild) == 0 ||
	    memcmp(bytes + 1, &grandchild, sizeof grandchild) == 0);
	tools_assert_no_children();
	close(pair[0]);
}
END_TEST

static _Noreturn void
run_dying_parent(void *arg)
{
	struct process_spec spec = {
		.name = "orphan",
		.run = run_report,
		.nfds = 1,
		.fds = { PROCESS_FD },
	};

	late_child = true;
	process_fork(&spec);
	_exit(EXIT_NORMAL);
}

/* The parent is gone before the child could ask for its signal. */
START_TEST(born_as_an_orphan)
{
	struct process_spec spec = { .name = "p", .run = run_dying_parent };
	pid_t parent, orphan;
	int status;
	char byte;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	parent = start(spec);
	tools_assert_exit(parent, EXIT_NORMAL);
	orphan = waitpid(-1, &status, 0);
	ck_assert_int_gt(orphan, 0);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), EXIT_SHUTDOWN);
	ck_assert_uint_eq(tools_read_all(pair[0], &byte, 1), 0);
	close(pair[0]);
}
END_TEST

/* ---- SIGTERM ---- */

static pid_t
start_until_term(int fd)
{
	struct process_spec spec = {
		.name = "leaf",
		.run = run_until_term,
		.nfds = 2,
		.fds = { -1, fd },
	};
	pid_t pid = start(spec);
	char byte;

	get(&byte, 1);
	return pid;
}

START_TEST(term_is_an_end_of_file)
{
	struct end end;
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	pid = start_until_term(fds[0]);
	kill(pid, SIGINT); /* of a terminal: not for it */
	kill(pid, SIGTERM);
	get(&end, sizeof end);
	ck_assert(end.caught);
	ck_assert(end.alive);
	tools_assert_exit(pid, EXIT_SHUTDOWN);
	close(pair[0]);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* What comes before the role listens waits for it. */
static _Noreturn void
run_late_listener(void *arg)
{
	char byte;

	if (read(PROCESS_FD, &byte, 1) != 1 || process_term_caught())
		_exit(96);
	run_until_term(NULL);
}

START_TEST(an_early_term_is_not_lost)
{
	struct process_spec spec = {
		.name = "leaf",
		.run = run_late_listener,
		.nfds = 2,
	};
	char bytes[1 + sizeof(struct end)];
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	spec.fds[1] = fds[0];
	pid = start(spec);
	kill(pid, SIGTERM);
	ck_assert_int_eq(write(pair[0], "x", 1), 1);
	get(bytes, sizeof bytes);
	tools_assert_exit(pid, EXIT_SHUTDOWN);
	close(pair[0]);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* An author's loop that looks at nothing. */
static _Noreturn void
run_loop(void *arg)
{
	volatile unsigned n = 0;

	process_catch_term(-1, 1);
	put("x", 1);
	for (;;)
		n++;
}

START_TEST(alarm_ends_a_loop)
{
	struct process_spec spec = { .name = "leaf", .run = run_loop };
	pid_t pid = start(spec);
	long long begin;
	char byte;

	get(&byte, 1);
	begin = monotonic_ms();
	kill(pid, SIGTERM);
	tools_assert_killed(pid, SIGALRM);
	ck_assert_int_ge(monotonic_ms() - begin, 900);
	close(pair[0]);
}
END_TEST

/* arg: shutdown in ms. Reports the seconds that alarm(2) was set to. */
static _Noreturn void
run_alarm(void *arg)
{
	alarm_is_noted = true;
	process_catch_term(-1, *(int *)arg);
	raise(SIGTERM);
	put(&noted_alarm, sizeof noted_alarm);
	_exit(process_term_caught() ? EXIT_NORMAL : 95);
}

static unsigned
alarm_of(int shutdown_ms)
{
	struct process_spec spec = {
		.name = "leaf",
		.run = run_alarm,
		.arg = &shutdown_ms,
	};
	pid_t pid = start(spec);
	unsigned seconds;

	get(&seconds, sizeof seconds);
	tools_assert_exit(pid, EXIT_NORMAL);
	close(pair[0]);
	return seconds;
}

START_TEST(alarm_is_the_shutdown_rounded_up)
{
	ck_assert_uint_eq(alarm_of(SHUTDOWN_INFINITY), 0);
	ck_assert_uint_eq(alarm_of(SHUTDOWN_BRUTAL_KILL), 1);
	ck_assert_uint_eq(alarm_of(1), 1);
	ck_assert_uint_eq(alarm_of(1000), 1);
	ck_assert_uint_eq(alarm_of(1001), 2);
	ck_assert_uint_eq(alarm_of(SHUTDOWN_DEFAULT), 5);
}
END_TEST

/* ---- the program's start, in a program of its own ---- */

#define TITLED "--titled"

/* Bytes of /proc/<pid>/cmdline, then a size: what ps shows. */
static size_t
read_cmdline(pid_t pid, char *buf, size_t size)
{
	char path[64];
	size_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY);
	if (fd == -1)
		return 0;
	memset(buf, 0, size);
	n = (size_t)read(fd, buf, size - 1);
	close(fd);
	return n;
}

static void
say(const char *what, const char *value)
{
	dprintf(STDOUT_FILENO, "%s=%s\n", what, value);
}

static void
say_title(pid_t pid)
{
	char title[4096];

	if (read_cmdline(pid, title, sizeof title) == 0)
		_exit(94);
	say("title", title);
}

static _Noreturn void
run_titled_child(void *arg)
{
	char byte = 0;

	process_title("child %s", "of room:\n\x01\x7f\xc3\xa4");
	put(&byte, 1);
	for (;;)
		pause();
}

static void
say_title_of_a_child(void)
{
	struct process_spec spec = { .name = "t", .run = run_titled_child };
	pid_t pid;
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1)
		_exit(93);
	spec.nfds = 1;
	spec.fds[0] = pair[1];
	pid = process_fork(&spec);
	if (read(pair[0], &byte, 1) != 1)
		_exit(92);
	say_title(pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(pair[0]);
	close(pair[1]);
}

/* The program that the tests below run: its main, from the beginning. */
static int
titled_main(int argc, char **argv, char **envp)
{
	char words[1000];

	process_init(argc, argv, envp);
	memset(words, 'w', sizeof words - 1);
	words[sizeof words - 1] = '\0';
	process_title("%s", words);
	say_title(getpid());
	process_title("short %d", 1);
	say_title(getpid());
	say_title_of_a_child();
	say_title(getpid());

	say("argv0", argv[0]);
	say("argv2", argv[2]);
	say("invocation", program_invocation_name);
	say("A", getenv("A"));
	for (char **e = environ; *e != NULL; e++)
		say("environ", *e);
	say("pipe", handler_of(SIGPIPE) == SIG_IGN ? "ignored" : "deadly");
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		say("open", fcntl(fd, F_GETFD) == -1 ? "no" : "yes");
	say("fds", tools_count_fds() == 3 ? "no others" : "others");
	return EXIT_SUCCESS;
}

/* Runs it with that environment; without stdin and stderr. */
static char *
output_of_titled(char *const *envp)
{
	char *argv[] = { "x", TITLED, "third", NULL };
	static char output[16384];
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		close_range(STDERR_FILENO, ~0U, 0);
		close(STDIN_FILENO);
		execve("/proc/self/exe", argv, envp);
		_exit(91);
	}
	close(fds[1]);
	output[tools_read_all(fds[0], output, sizeof output - 1)] = '\0';
	close(fds[0]);
	tools_assert_exit(pid, EXIT_SUCCESS);
	return output;
}

/* The first lines; what is behind them goes on. */
static void
assert_lines(char **at, const char *expected)
{
	ck_assert_msg(strncmp(*at, expected, strlen(expected)) == 0,
	    "expected\n%s\ngot\n%s", expected, *at);
	*at += strlen(expected);
}

/* ps shows 383 bytes: "bennu: " and what of the words fits. */
static void
assert_long_title(char **at)
{
	assert_lines(at, "title=bennu: ");
	ck_assert_uint_eq(strspn(*at, "w"), 383 - strlen("bennu: "));
	*at += 383 - strlen("bennu: ");
	assert_lines(at, "\n");
}

static void
check_titled(char *const *envp, const char *environment)
{
	char *at = output_of_titled(envp);

	assert_long_title(&at);
	assert_lines(&at, "title=bennu: short 1\n");
	assert_lines(&at, "title=bennu: child of room:???\xc3\xa4\n");
	assert_lines(&at, "title=bennu: short 1\n");
	assert_lines(&at, "argv0=x\nargv2=third\ninvocation=x\nA=1\n");
	assert_lines(&at, environment);
	assert_lines(&at, "pipe=ignored\nopen=yes\nopen=yes\nopen=yes\n");
	assert_lines(&at, "fds=no others\n");
	ck_assert_str_eq(at, "");
}

START_TEST(titles_with_a_small_environment)
{
	char *envp[] = { "A=1", NULL };

	check_titled(envp, "environ=A=1\n");
}
END_TEST

START_TEST(titles_with_a_large_environment)
{
	char large[2000] = "B=", expected[2100];
	char *envp[] = { "A=1", large, NULL };

	memset(large + 2, 'b', sizeof large - 3);
	snprintf(expected, sizeof expected, "environ=A=1\nenviron=%s\n", large);
	check_titled(envp, expected);
}
END_TEST

START_TEST(milliseconds)
{
	long long before = monotonic_ms(), after;

	poll(NULL, 0, 20);
	after = monotonic_ms();
	ck_assert_int_ge(after - before, 19);
	ck_assert_int_lt(after - before, TOOLS_DEADLINE);
}
END_TEST

int
main(int argc, char **argv, char **envp)
{
	const TTest *const tests[] = { descriptors_at_their_places,
		all_other_descriptors_are_closed,
		as_many_descriptors_as_there_may_be, a_descriptor_that_is_none,
		names, signals, a_fork_that_fails, groups, cores,
		stack_canaries_differ, ends_with_its_parent, born_as_an_orphan,
		term_is_an_end_of_file, an_early_term_is_not_lost,
		alarm_ends_a_loop, alarm_is_the_shutdown_rounded_up,
		titles_with_a_small_environment,
		titles_with_a_large_environment, milliseconds };

	if (argc == 3 && strcmp(argv[1], TITLED) == 0)
		return titled_main(argc, argv, envp);
	return unit_main("process", tests, sizeof tests / sizeof tests[0]);
}
