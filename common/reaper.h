/*
 * reaper.h - signals of a parent process, and the deaths of its children.
 *
 * All signals that a role listens to are blocked and read from a signalfd: no
 * handler ever runs in a parent. Deaths are collected by pid, since
 * waitpid(-1) walks all children (0.63 ms at 10,000 of them) while waitpid(pid)
 * costs 0.8 us. SIGCHLD is coalesced by the kernel, so si_pid alone loses
 * deaths: a sweep at most every 100 ms, and only while SIGCHLDs came, finds the
 * rest, orphans that were given to us (child subreaper) among them.
 */
#ifndef REAPER_H
#define REAPER_H

#include <sys/types.h>
#include <sys/signalfd.h>
#include <stdbool.h>

struct event_base;
struct reaper;

/* All may call reaper_free. */
struct reaper_callbacks {
	/* A child, or an orphan that fell to us, was reaped. */
	void (*died)(pid_t, int status, void *arg);
	/*
	 * Any other signal of the set. ssi_code is SI_QUEUE and ssi_int the
	 * value for sigqueue(3); ssi_pid says from whom.
	 */
	void (*signalled)(const struct signalfd_siginfo *, void *arg);
	/*
	 * Optional: calls waitpid(pid, WNOHANG) for each own child through
	 * reaper_try(). Used when so many deaths are pending that own pids are
	 * cheaper than walking all children for each.
	 */
	void (*sweep)(struct reaper *, void *arg);
};

/*
 * Blocks SIGCHLD and the given signals (a list that ends in 0) and listens to
 * them, for good: they stay blocked after reaper_free. Call it before the first
 * fork. The child of a fork must close the descriptor and restore the mask:
 * process_fork does both.
 */
struct reaper *reaper_new(struct event_base *, const int *signals,
    const struct reaper_callbacks *, void *arg);
void reaper_free(struct reaper *);

/* waitpid(pid, WNOHANG); tells died() and returns true when it is dead. */
bool reaper_try(struct reaper *, pid_t);

#endif /* REAPER_H */
