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
 * finds at PROCESS_FD, PROCESS_FD + 1, ... in this order (-1 leaves a hole);
 * all others are closed, because an inherited descriptor hides a death. No
 * signal is handled in it; SIGINT is ignored (a terminal sends it to the whole
 * group, and it is the supervisor that stops the tree); SIGTERM stays blocked
 * until the role listens to it (reaper_new, process_catch_term), so that none
 * is lost in between. It gets SIGTERM when its parent dies. Its stack canary is
 * its own.
 */
#define PROCESS_FD      3
#define PROCESS_FDS_MAX 8

struct process_spec {
	const char *name; /* what htop and pstree show: at most 15 bytes */
	void (*run)(void *arg) __attribute__((__noreturn__));
	void *arg;
	int fds[PROCESS_FDS_MAX];
	size_t nfds;
	bool leads_group; /* setpgid(0, 0): a transport and its channels */
	bool dumpable;    /* else no core, no ptrace by others of the uid */
};

/* Returns the pid; -1 with errno. Never returns in the child. */
pid_t process_fork(const struct process_spec *);

/*
 * Once, first thing in main(): makes room for titles and binds all
 * symbols (by one exec of itself), opens /dev/null for any of
 * stdin, stdout, stderr that is missing, ignores SIGPIPE.
 */
void process_init(int argc, char **argv, char **envp);

/* What ps shows: "bennu: " and this. Truncated to the room there is. */
void process_title(const char *, ...) __attribute__((__format__(printf, 1, 2)));

/*
 * For leaves (channels, endpoints): SIGTERM asks them to end. The handler sets
 * the flag, shuts fd down for reading, so that whoever waits for it wakes up
 * (no race with poll(2)), and sets alarm(2), so that a loop in an author's code
 * ends too. shutdown in ms, rounded up to s, at least 1; SHUTDOWN_INFINITY: no
 * alarm.
 */
void process_catch_term(int fd, int shutdown_ms);
bool process_term_caught(void);

/* Is the process that forked us still our parent? */
bool process_parent_alive(void);

/* Milliseconds of CLOCK_MONOTONIC. */
long long monotonic_ms(void);

#endif /* PROCESS_H */
