/*
 * child.h - what a supervisor knows of a child, and the tables that it keeps
 * them in. Private to supervise.c: everybody else sees supervise.h.
 *
 * All is O(1) or O(log n) and nothing but these tables grows with the number of
 * children, since a transport supervisor has 10,000 of them.
 */
#ifndef CHILD_H
#define CHILD_H

#include <sys/types.h>
#include <sys/queue.h>
#include <sys/tree.h>

#include <stdbool.h>
#include <stddef.h>

#include "common/supervise.h"

/*
 * The restarts within the last period, a ring that grows to intensity + 1 at
 * most. Without a limit (intensity 0) only a streak is counted.
 */
struct restarts {
	long long *times; /* ms */
	size_t size, first, n;
	unsigned
	    streak; /* restarts none of which came a period after another */
	long long last;
};

/* Counts a restart and returns how many there were within the period. */
unsigned restarts_add(
    struct restarts *, unsigned intensity, unsigned period, long long now);

enum child_state {
	CHILD_DOWN,     /* not running, and nothing is to follow */
	CHILD_PAUSED,   /* not running, will be started */
	CHILD_STARTING, /* forked, has not said that it is ready */
	CHILD_RUNNING,
	CHILD_ENDING, /* asked or killed: it has to die */
	CHILD_DEAD,   /* its death waits to be handled */
};

struct child {
	struct child_spec spec;
	struct supervisor *supervisor;
	enum child_state state;
	pid_t pid; /* -1 when it is not running */

	/* Of the process that runs, or ran last. */
	long long since; /* ms, when it was forked */
	bool ready;
	bool untold; /* ready() has not been called yet */
	bool asked;
	bool hung;
	bool killed; /* asked by SIGKILL */

	/* Of the death that waits to be handled. */
	pid_t dead_pid; /* -1: a restart that will not be, or a failed fork */
	int status;
	int error; /* errno of the failed fork, or 0 */

	bool fresh;  /* from supervisor_start_child, was never ready */
	bool doomed; /* supervisor_terminate_child */

	struct restarts restarts;
	unsigned backoff; /* ms, the last pause; 0 = none yet */
	bool backing_off; /* intensity was exceeded, and it has not run since */

	long long deadline; /* ms, meaning depends on state; -1 = none */

	TAILQ_ENTRY(child) entry; /* in the order they are started */
	TAILQ_ENTRY(child) event;
	bool queued; /* event is linked */
	RB_ENTRY(child) waiting;
	LIST_ENTRY(child) by_pid; /* next free slot while unused */
};

TAILQ_HEAD(child_list, child);
LIST_HEAD(child_chain, child);
RB_HEAD(child_deadlines, child);

struct child_table {
	struct child_list children;
	size_t n;
	size_t nrunning; /* those with a pid */

	struct child_chain *chains; /* by pid */
	size_t nchains;             /* a power of two */

	struct child_deadlines deadlines;

	/* With a limit: one mapping, slots first, then chains. */
	size_t max;
	struct child *slots;
	size_t nused; /* slots never used so far begin here */
	struct child_chain unused;
	size_t mapped; /* bytes */
};

/* max 0: no limit, on the heap. -1 with errno when there is no memory. */
int child_table_init(struct child_table *, size_t max);
/* Frees the children, too. None may be running. */
void child_table_free(struct child_table *);

/* NULL with errno ENOSPC at the limit. */
struct child *child_new(struct child_table *, const struct child_spec *);
void child_free(struct child_table *, struct child *);

void child_set_pid(struct child_table *, struct child *, pid_t);
void child_clear_pid(struct child_table *, struct child *);
struct child *child_find_pid(const struct child_table *, pid_t);

/* At when (ms) something is to be done about it; -1: nothing. */
void child_set_deadline(struct child_table *, struct child *, long long when);
/* The one that is due first, or NULL. */
struct child *child_first_deadline(struct child_table *);

/* Did it leave before it was ready because it is not needed? OTP's ignore. */
bool child_is_ignore(const struct child *);

#endif /* CHILD_H */
