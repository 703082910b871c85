/*
 * supervise.h - supervision as OTP does it (supervisor(3) of Erlang): names,
 * defaults and order of events are the same; a process is a fork(2).
 *
 * One process may hold several supervisors. They run on its event base and
 * never block: "synchronous start" means that the next child is not started
 * before this one has said that it is ready, not that the loop stands still.
 *
 * Who uses it: the supervisor process (permanent children; one dynamic
 * supervisor for the transports) and every transport (one dynamic supervisor
 * for its channels).
 */
#ifndef SUPERVISE_H
#define SUPERVISE_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct supervisor;
struct child;

enum restart {
	RESTART_PERMANENT, /* always */
	RESTART_TRANSIENT, /* when it ended abnormally */
	RESTART_TEMPORARY, /* never */
};

enum strategy {
	ONE_FOR_ONE,  /* only the one that died */
	ONE_FOR_ALL,  /* all of them */
	REST_FOR_ONE, /* it and those started after it */
	DYNAMIC,      /* OTP's simple_one_for_one: children come and go, each by
			 itself; all are asked to stop at once */
};

/* Milliseconds that a child is given to end once asked, or one of these. */
#define SHUTDOWN_BRUTAL_KILL 0 /* SIGKILL at once */
#define SHUTDOWN_INFINITY    (-1)
#define SHUTDOWN_DEFAULT     5000

/* A child is not "ready" when it is forked but when it says so. */
#define START_LIMIT_DEFAULT 30000 /* ms */

struct child_spec {
	const char *id; /* unique in its supervisor; lent for its lifetime */

	/*
	 * Forks the child (with process_fork) and returns its pid; -1 with
	 * errno when fork failed: that counts as a failed start, is logged and
	 * tried again under the rules of intensity, after a pause that doubles
	 * from 10 ms up to backoff_max.
	 */
	pid_t (*start)(struct child *, void *arg);

	/*
	 * Asks the child to end. NULL: SIGTERM. Whatever it does, SIGKILL
	 * follows after `shutdown`.
	 */
	void (*ask)(struct child *, void *arg);

	void *arg; /* for both, lent */

	enum restart restart;
	int shutdown;    /* ms, or SHUTDOWN_* */
	int start_limit; /* ms until child_ready(); 0: ready once forked */

	/* Used with INTENSITY_PER_CHILD only. 0 = unlimited. */
	unsigned intensity;
	unsigned period; /* s */
};

enum intensity_scope {
	INTENSITY_PER_SUPERVISOR, /* OTP's: the restarts of all children */
	INTENSITY_PER_CHILD,      /* each child has its own */
};

/* What happens when restarting does not help. */
enum escalation {
	ESCALATE_GIVE_UP,  /* OTP's: stop all children, then gave_up(); with
			      DYNAMIC and per child: only that child is given up */
	ESCALATE_BACK_OFF, /* go on, pausing longer, up to backoff_max */
};

/* What became of a child that died. */
enum verdict {
	VERDICT_RESTART,  /* it will be started again (perhaps after a pause) */
	VERDICT_GONE,     /* it ended as it should, or is temporary */
	VERDICT_GIVEN_UP, /* it should have been restarted, but intensity is
			     exceeded: gone (ESCALATE_GIVE_UP only) */
};

/* A death, as it is told to the owner. Valid during the call. */
struct obituary {
	pid_t pid;
	int status; /* wait(2)'s */
	bool asked; /* we had asked it to end */
	bool hung;  /* we killed it: it did not become ready, or did not end */
	enum verdict verdict;
	unsigned restarts;  /* this one included, within the period */
	unsigned intensity; /* 0 = unlimited */
	unsigned period;    /* s */
};

/* All optional. Called from the event loop, never from inside a call of ours,
 * except that booted/stopped may come from inside when there is nothing to wait
 * for. */
struct supervisor_callbacks {
	/* It is ready (again). */
	void (*ready)(struct supervisor *, struct child *, void *arg);
	/*
	 * It died. With VERDICT_RESTART start() comes after this returns; else
	 * the child is freed when this returns (DYNAMIC), or kept as not
	 * running.
	 */
	void (*died)(struct supervisor *, struct child *,
	    const struct obituary *, void *arg);
	/* All static children are ready. */
	void (*booted)(struct supervisor *, void *arg);
	/* Intensity was exceeded, or boot failed: all children are stopped. */
	void (*gave_up)(struct supervisor *, void *arg);
};

struct supervisor_flags {
	const char *name; /* for the log: "bennu_sup" */
	enum strategy strategy;
	enum intensity_scope scope;
	enum escalation escalation;
	unsigned intensity; /* more than this many restarts; 0 = unlimited */
	unsigned period;    /* within so many seconds */
	unsigned backoff_max; /* ms; 0: 5000 */

	/*
	 * DYNAMIC only: at most so many children; their table lies in memory
	 * that children do not inherit (MADV_DONTFORK), since the size of the
	 * parent is what every fork costs. 0: no limit, on the heap.
	 */
	size_t max_children;
	/* Say nothing at info level of starts and normal ends (transports). */
	bool quiet;
};

/*
 * Makes a supervisor and starts the children in order, each when the one before
 * is ready; specs are copied. Boot failure (a child that cannot start at all)
 * stops those started, in reverse, and calls gave_up.
 */
struct supervisor *supervisor_start(struct event_base *,
    const struct supervisor_flags *, const struct supervisor_callbacks *,
    void *arg, const struct child_spec *, size_t);

/*
 * Stops the children (static ones in reverse order, each awaited; dynamic ones
 * all at once), then calls stopped. Children must be reaped meanwhile. A second
 * call is ignored.
 */
void supervisor_stop(
    struct supervisor *, void (*stopped)(struct supervisor *, void *), void *);

/* Frees a supervisor that has no running child. */
void supervisor_free(struct supervisor *);

/*
 * Adds a child. NULL with errno: EAGAIN/ENOMEM (fork failed: a dynamic child
 * whose *first* fork fails is not tried again), ENOSPC (max_children), ESHUTDOWN
 * (stopping), EEXIST (id; static strategies only).
 */
struct child *supervisor_start_child(
    struct supervisor *, const struct child_spec *);

/* Ends one child and does not restart it; died() follows. */
void supervisor_terminate_child(struct supervisor *, struct child *);

/* A process was reaped. False when it is no child of this supervisor. */
bool supervisor_reap(struct supervisor *, pid_t, int status);

/* The child has said that it is ready. Ignored unless it is starting. */
void child_ready(struct child *);
/*
 * SIGKILL for a child that misbehaves (it sent garbage, it is hung). Its death
 * then counts as any other. Does nothing when it is not running.
 */
void child_kill(struct child *);

pid_t child_pid(const struct child *); /* -1 when it is not running */
const char *child_id(const struct child *);
void *child_arg(const struct child *);
bool child_is_ready(const struct child *);
struct supervisor *child_supervisor(const struct child *);

/* OTP's count_children and which_children. */
struct supervisor_count {
	size_t specs;  /* children known, running or not */
	size_t active; /* running */
};
struct supervisor_count supervisor_count_children(const struct supervisor *);
/* By pid, O(1). */
struct child *supervisor_find_pid(const struct supervisor *, pid_t);
void supervisor_which_children(struct supervisor *,
    void (*each)(struct child *, void *), void *);

#endif /* SUPERVISE_H */
