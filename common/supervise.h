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
#define START_LIMIT_DEFAULT  30000 /* ms */
#define START_LIMIT_INFINITY (-1)

struct child_spec {
	const char *id; /* unique in its supervisor; lent for its lifetime */

	/*
	 * Forks the child (with process_fork) and returns its pid; -1 with
	 * errno when fork failed. In the forked process the child pointer is
	 * not readable when max_children > 0: take what you need before the
	 * fork.
	 *
	 * A failed start is one whose fork failed, or that died (other than
	 * with EXIT_NORMAL: OTP's ignore, it is gone and that is well) or was
	 * killed before it was ready. The first one of a child fails the boot,
	 * or ends the child when it came by supervisor_start_child. Later ones
	 * are tried again: each counts as a restart, after a pause that
	 * doubles from 10 ms up to backoff_max until it becomes ready.
	 */
	pid_t (*start)(struct child *, void *arg);

	/*
	 * Asks the child to end. NULL: SIGTERM. Whatever it does, SIGKILL
	 * follows after `shutdown`. A child that is still starting when its
	 * supervisor stops, or stops it to restart it with others, is not
	 * asked but killed.
	 */
	void (*ask)(struct child *, void *arg);

	void *arg; /* for both, lent */

	enum restart restart;
	int shutdown;    /* ms, or SHUTDOWN_* */
	int start_limit; /* ms until child_ready(); 0: ready once forked; or
			    START_LIMIT_INFINITY */

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
			      DYNAMIC and per child: only that child is given up
			    */
	ESCALATE_BACK_OFF, /* go on, with a pause that doubles from 10 ms up to
			      backoff_max, until it has run for a period */
};

/* What became of a child that died. */
enum verdict {
	VERDICT_RESTART,  /* it will be started again (perhaps after a pause) */
	VERDICT_GONE,     /* it ended as it should, or is temporary, or was
			     asked, or its first start failed */
	VERDICT_GIVEN_UP, /* it should have been restarted, but intensity is
			     exceeded: gone (ESCALATE_GIVE_UP only) */
};

/*
 * A death, as it is told to the owner. Valid during the call. pid is -1 when no
 * process died: a restart that had been told will not be, as the child was
 * terminated or all are stopped; or a fork failed for the last time.
 */
struct obituary {
	pid_t pid;
	int status; /* wait(2)'s */
	bool ready; /* it had been ready */
	bool asked; /* we had asked it to end */
	bool hung;  /* we killed it: it did not become ready, or did not end */
	enum verdict verdict;
	unsigned restarts;  /* this one included, within the period; 0 when it
			       is not one */
	unsigned intensity; /* 0 = unlimited */
	unsigned period;    /* s */
};

/*
 * All optional. Called from the event loop and from supervisor_reap, never from
 * inside any other call of ours. They may call everything but supervisor_free,
 * which is for stopped and gave_up.
 */
struct supervisor_callbacks {
	/* It is ready (again). When its pid is -1, died() follows at once. */
	void (*ready)(struct supervisor *, struct child *, void *arg);
	/*
	 * It died. With VERDICT_RESTART start() comes after this returns; who
	 * wants none calls supervisor_terminate_child. Else the child is freed
	 * when this returns (DYNAMIC, temporary, failed first start) or kept as
	 * not running. So each child of a DYNAMIC supervisor has exactly one
	 * last call, with another verdict than VERDICT_RESTART.
	 */
	void (*died)(struct supervisor *, struct child *,
	    const struct obituary *, void *arg);
	/* All static children have been ready. */
	void (*booted)(struct supervisor *, void *arg);
	/*
	 * Intensity was exceeded, or boot failed: all children are stopped. Not
	 * called when supervisor_stop was: stopped says the same.
	 */
	void (*gave_up)(struct supervisor *, void *arg);
};

struct supervisor_flags {
	const char *name; /* for the log: "bennu_sup" */
	enum strategy strategy;
	enum intensity_scope scope;
	enum escalation escalation;
	unsigned intensity;   /* more than this many restarts; 0 = unlimited */
	unsigned period;      /* within so many seconds */
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
 * Makes a supervisor and starts the children in order (from the event loop),
 * each when the one before is ready; specs are copied. Boot failure (a child
 * that cannot start at all) stops those started, in reverse, and calls gave_up.
 * NULL with errno: EEXIST (two specs of one id), ENOMEM.
 */
struct supervisor *supervisor_start(struct event_base *,
    const struct supervisor_flags *, const struct supervisor_callbacks *,
    void *arg, const struct child_spec *, size_t);

/*
 * More words for the log line of a death: ", last event new_msg". The callback
 * gets the arg of supervisor_start.
 */
typedef void (*supervisor_describe_cb)(
    struct child *, char *buf, size_t size, void *arg);
void supervisor_describe(struct supervisor *, supervisor_describe_cb);

/*
 * Stops the children (static ones in reverse order, each awaited; dynamic ones
 * all at once), then calls stopped. Children must be reaped meanwhile. A second
 * call is ignored.
 */
void supervisor_stop(
    struct supervisor *, void (*stopped)(struct supervisor *, void *), void *);

/*
 * Frees a supervisor that has no running child. May be called in stopped and
 * gave_up.
 */
void supervisor_free(struct supervisor *);

/*
 * Adds a child. NULL with errno: EAGAIN/ENOMEM (fork failed: it is not tried
 * again), ENOSPC (max_children), ESHUTDOWN (stopping), EEXIST (id; static
 * strategies only). A static child is forked in its turn, that is later when
 * others are being started: then its pid is -1, and died() tells when the fork
 * failed.
 */
struct child *supervisor_start_child(
    struct supervisor *, const struct child_spec *);

/*
 * Ends one child and does not restart it, not even with its siblings. died()
 * follows if it was running or was going to be.
 */
void supervisor_terminate_child(struct supervisor *, struct child *);

/*
 * A process was reaped. False when it is no child of this supervisor. The
 * supervisor may be freed when this returns (by stopped or gave_up).
 */
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
/* Processes that are reaped meanwhile are dealt with later, no child is freed.
 */
void supervisor_which_children(
    struct supervisor *, void (*each)(struct child *, void *), void *);

#endif /* SUPERVISE_H */
