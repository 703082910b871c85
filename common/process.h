/*
 * process.h - the frame of every process of the tree: its fork, its name, its
 * signals, its end.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * What a new process is. process_fork is the only caller of fork(2).
 *
 * The child keeps stdin, stdout, stderr and the given descriptors, which it
 * finds at PROCESS_FD, PROCESS_FD + 1, ... in this order (-1 leaves a hole); all
 * others are closed, because an inherited descriptor hides a death. No signal
 * is blocked or handled in it, except that SIGINT is ignored (a terminal sends it to the
 * whole group; the supervisor is the one that stops the tree). It gets SIGTERM
 * when its parent dies. Its stack canary is its own.
 */
#define PROCESS_FD       3
#define PROCESS_FDS_MAX  8

struct process_spec {
	const char *name; /* what htop and pstree show: at most 15 bytes */
	_Noreturn void (*run)(void *arg);
	void *arg;
	int fds[PROCESS_FDS_MAX];
	size_t nfds;
	bool leads_group; /* setpgid(0, 0): a transport and its channels */
	bool dumpable;    /* else no core, no ptrace by others of the uid */
};

/* Returns the pid; -1 with errno. Never returns in the child. */
pid_t process_fork(const struct process_spec *);

/*
 * Once, first thing in main(): makes room for titles (by one exec of itself
 * when the space of argv and environ is too small), opens /dev/null for any of
 * stdin, stdout, stderr that is missing, ignores SIGPIPE.
 */
void process_init(int argc, char **argv, char **envp);

/* "bennu: channel #17.3 room:lobby": what ps shows. Also truncates cleanly. */
void process_title(const char *, ...)
    __attribute__((__format__(printf, 1, 2)));

/*
 * For leaves (channels, endpoints): SIGTERM asks them to end. The handler sets
 * the flag and alarm(2)s the process, so that a loop in an author's code ends
 * too. The mask with which to ppoll(2) is filled in: the signal is blocked
 * outside of it. shutdown in ms, rounded up to s; at least 1.
 */
void process_catch_term(int shutdown_ms, void *sigmask_for_poll);
bool process_term_caught(void);

/* Is the process that forked us still our parent? */
bool process_parent_alive(void);

/* Milliseconds of CLOCK_MONOTONIC. */
long long monotonic_ms(void);

#endif /* PROCESS_H */
