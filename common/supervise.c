/*
 * supervise.c - keeps children alive, as supervisor.erl of OTP does.
 *
 * Everything that happens to a child (it is ready, it was reaped, its fork
 * failed) is queued in events. run() takes one after the other, then what is
 * due, then goes on with the work in hand: starting or stopping a range of
 * children in order, which is what the phase and the cursor stand for.
 * Callbacks are only called by run(), so that what they ask of the supervisor
 * changes nothing under the feet of a caller.
 *
 * ONE_FOR_ONE and DYNAMIC restart each child by itself. The other strategies
 * work as OTP's, on one thing at a time: a child that dies while others are
 * being restarted waits for its turn.
 */
#include <sys/types.h>
#include <sys/wait.h>

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/child.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/process.h"
#include "common/report.h"
#include "common/supervise.h"
#include "common/xmalloc.h"

#define BACKOFF_MIN         10   /* ms */
#define BACKOFF_MAX_DEFAULT 5000 /* ms */

enum phase {
	PHASE_IDLE,
	PHASE_START, /* children from cursor on, each when the last is ready */
	PHASE_STOP,  /* children from cursor back to first, for a restart */
	PHASE_PAUSE, /* they are stopped; waits for resume_at */
	PHASE_END,   /* all children are being stopped, for good */
	PHASE_ENDED,
};

struct supervisor {
	struct supervisor_flags flags;
	struct supervisor_callbacks callbacks;
	supervisor_describe_cb describe;
	void *arg;

	struct child_table table;
	struct child_list events;
	struct restarts restarts;

	enum phase phase;
	struct child *cursor;
	struct child *first; /* of those restarted; NULL: of all */
	long long resume_at; /* ms */
	bool booting;
	bool asked_all; /* PHASE_END of DYNAMIC: they know */

	bool stopping; /* supervisor_stop was called */
	bool giving_up;
	void (*stopped)(struct supervisor *, void *);
	void *stopped_arg;

	struct event timer;
	long long armed; /* ms, when the timer fires; -1 = it does not */
	int depth;       /* > 0: run() is at work, or children are walked */
};

static bool
is_group(const struct supervisor *sup)
{
	switch (sup->flags.strategy) {
	case ONE_FOR_ALL:
	case REST_FOR_ONE:
		return true;
	case ONE_FOR_ONE:
	case DYNAMIC:
		return false;
	}
	assert(!"no such strategy");
	return false;
}

static bool
is_per_child(const struct supervisor *sup)
{
	return sup->flags.scope == INTENSITY_PER_CHILD;
}

static unsigned
intensity_of(const struct child *child)
{
	const struct supervisor *sup = child->supervisor;

	return is_per_child(sup) ? child->spec.intensity : sup->flags.intensity;
}

static unsigned
period_of(const struct child *child)
{
	const struct supervisor *sup = child->supervisor;

	return is_per_child(sup) ? child->spec.period : sup->flags.period;
}

static bool
wants_restart(const struct child *child)
{
	switch (child->spec.restart) {
	case RESTART_PERMANENT:
		return true;
	case RESTART_TRANSIENT:
		return !exit_is_normal(child->status);
	case RESTART_TEMPORARY:
		return false;
	}
	assert(!"no such restart");
	return false;
}

/* Has run() called from the event loop. */
static void
schedule(struct supervisor *sup)
{
	if (sup->depth == 0)
		event_active(&sup->timer, EV_TIMEOUT, 1);
}

static void
queue_event(struct supervisor *sup, struct child *child)
{
	if (child->queued)
		return;
	child->queued = true;
	TAILQ_INSERT_TAIL(&sup->events, child, event);
}

static void
unqueue_event(struct supervisor *sup, struct child *child)
{
	child->queued = false;
	TAILQ_REMOVE(&sup->events, child, event);
}

static void
send_signal(const struct child *child, int sig)
{
	if (kill(child->pid, sig) == -1)
		log_warn("%s: signal %d to %s[%d]",
		    child->supervisor->flags.name, sig, child->spec.id,
		    (int)child->pid);
}

/* --- start and stop of one process -------------------------------------- */

static void
become_ready(struct supervisor *sup, struct child *child)
{
	child->state = CHILD_RUNNING;
	child->ready = true;
	child->untold = true;
	child_set_deadline(&sup->table, child, -1);
	queue_event(sup, child);
}

static void
start_process(struct supervisor *sup, struct child *child)
{
	pid_t pid;

	child_set_deadline(&sup->table, child, -1);
	child->ready = child->untold = false;
	child->asked = child->hung = child->killed = false;
	child->dead_pid = -1;
	child->status = 0;
	child->error = 0;

	errno = 0;
	pid = child->spec.start(child, child->spec.arg);
	child->since = monotonic_ms();
	if (pid == -1) {
		child->error = errno != 0 ? errno : EAGAIN;
		child->state = CHILD_DEAD;
		queue_event(sup, child);
		return;
	}
	child_set_pid(&sup->table, child, pid);
	if (child->spec.start_limit == 0) {
		become_ready(sup, child);
		return;
	}
	child->state = CHILD_STARTING;
	if (child->spec.start_limit > 0)
		child_set_deadline(
		    &sup->table, child, child->since + child->spec.start_limit);
}

/* It is to die, and to be forgotten or started again when it has. */
static void
stop_process(struct supervisor *sup, struct child *child, bool at_once)
{
	int shutdown = child->spec.shutdown;

	child->state = CHILD_ENDING;
	child->asked = true;
	child_set_deadline(&sup->table, child, -1);
	if (at_once || shutdown == SHUTDOWN_BRUTAL_KILL) {
		child->killed = true;
		send_signal(child, SIGKILL);
		return;
	}
	if (shutdown > 0)
		child_set_deadline(
		    &sup->table, child, monotonic_ms() + shutdown);
	if (child->spec.ask != NULL)
		child->spec.ask(child, child->spec.arg);
	else
		send_signal(child, SIGTERM);
}

/* What was told to be restarted will not be. */
static void
cancel_restart(struct supervisor *sup, struct child *child)
{
	child_set_deadline(&sup->table, child, -1);
	child->state = CHILD_DEAD;
	child->asked = true;
	child->dead_pid = -1;
	child->status = 0;
	child->error = 0;
	queue_event(sup, child);
}

static void
remove_child(struct supervisor *sup, struct child *child)
{
	if (sup->cursor == child && sup->phase == PHASE_START)
		sup->cursor = TAILQ_NEXT(child, entry);
	else if (sup->cursor == child)
		sup->cursor = TAILQ_PREV(child, child_list, entry);
	assert(sup->first != child);
	child_free(&sup->table, child);
}

/* --- what follows from a death ------------------------------------------ */

/* What follows for others than the child. */
struct outcome {
	long long pause;     /* ms before it is started again */
	const char *give_up; /* why the whole supervisor ends, or NULL */
};

/* Stops all children, for good. */
static void
end_all(struct supervisor *sup)
{
	struct child *child;

	sup->phase = PHASE_END;
	sup->booting = false;
	sup->first = NULL;
	sup->cursor = TAILQ_LAST(&sup->table.children, child_list);
	TAILQ_FOREACH (child, &sup->table.children, entry) {
		if (child->state == CHILD_PAUSED)
			cancel_restart(sup, child);
	}
}

static void
give_up(struct supervisor *sup, const struct child *child, const char *why)
{
	report_shutdown(&sup->flags, child, why);
	sup->giving_up = true;
	end_all(sup);
}

static long long
next_pause(const struct supervisor *sup, struct child *child)
{
	unsigned max = sup->flags.backoff_max;

	if (max == 0)
		max = BACKOFF_MAX_DEFAULT;
	if (child->backoff == 0)
		child->backoff = BACKOFF_MIN;
	else if (child->backoff < max / 2)
		child->backoff *= 2;
	else
		child->backoff = max;
	if (child->backoff > max)
		child->backoff = max;
	return child->backoff;
}

/* It, and those that must not run without it, are stopped and start again. */
static void
restart_group(struct supervisor *sup, struct child *child, long long when)
{
	sup->first = sup->flags.strategy == REST_FOR_ONE ? child : NULL;
	sup->phase = PHASE_STOP;
	sup->cursor = TAILQ_LAST(&sup->table.children, child_list);
	if (when > sup->resume_at)
		sup->resume_at = when;
}

static enum verdict
restart(struct supervisor *sup, struct child *child, struct obituary *o,
    struct outcome *outcome)
{
	long long now = monotonic_ms();
	bool exceeded;

	o->restarts = restarts_add(
	    is_per_child(sup) ? &child->restarts : &sup->restarts, o->intensity,
	    o->period, now);
	exceeded = o->intensity != 0 && o->restarts > o->intensity;
	if (exceeded && sup->flags.escalation == ESCALATE_GIVE_UP) {
		if (sup->flags.strategy != DYNAMIC || !is_per_child(sup))
			outcome->give_up = "reached_max_restart_intensity";
		return VERDICT_GIVEN_UP;
	}
	if (exceeded)
		child->backing_off = true;
	if (!child->ready || child->backing_off)
		outcome->pause = next_pause(sup, child);

	child->state = CHILD_PAUSED;
	if (is_group(sup))
		restart_group(sup, child, now + outcome->pause);
	else
		child_set_deadline(&sup->table, child, now + outcome->pause);
	return VERDICT_RESTART;
}

/* It died, or could not be forked, before it was ready. */
static enum verdict
judge_start(struct supervisor *sup, struct child *child, struct obituary *o,
    struct outcome *outcome)
{
	bool current = sup->phase == PHASE_START && child == sup->cursor;

	if (child_is_ignore(child)) {
		child->fresh = false;
		if (current)
			sup->cursor = TAILQ_NEXT(child, entry);
		return VERDICT_GONE;
	}
	if (child->fresh)
		return VERDICT_GONE;
	if (sup->booting && current) {
		outcome->give_up = "failed_to_start_child";
		return VERDICT_GONE;
	}
	return restart(sup, child, o, outcome);
}

/* Decides what follows, and begins it. */
static enum verdict
judge(struct supervisor *sup, struct child *child, struct obituary *o,
    struct outcome *outcome)
{
	if (sup->phase == PHASE_END || child->doomed)
		return VERDICT_GONE;
	if (sup->phase == PHASE_STOP && child == sup->cursor) {
		if (child->spec.restart == RESTART_TEMPORARY)
			return VERDICT_GONE;
		child->state = CHILD_PAUSED;
		return VERDICT_RESTART;
	}
	if (!child->ready)
		return judge_start(sup, child, o, outcome);
	if (!wants_restart(child))
		return VERDICT_GONE;
	return restart(sup, child, o, outcome);
}

/* Nobody needs to know it any longer. */
static bool
is_done_with(const struct supervisor *sup, const struct child *child)
{
	return sup->flags.strategy == DYNAMIC ||
	    child->spec.restart == RESTART_TEMPORARY || child->fresh;
}

static void
handle_death(struct supervisor *sup, struct child *child)
{
	char more[256] = "";
	struct outcome outcome = { 0 };
	struct obituary o = {
		.pid = child->dead_pid,
		.status = child->status,
		.asked = child->asked,
		.hung = child->hung,
		.ready = child->ready,
		.intensity = intensity_of(child),
		.period = period_of(child),
	};

	child->state = CHILD_DOWN;
	if (child->ready && monotonic_ms() - child->since > o.period * 1000LL) {
		child->backing_off = false;
		child->backoff = 0;
	}
	o.verdict = judge(sup, child, &o, &outcome);
	if (sup->describe != NULL)
		sup->describe(child, more, sizeof more, sup->arg);
	report_death(&sup->flags, child, &o, outcome.pause, more);
	if (outcome.give_up != NULL)
		give_up(sup, child, outcome.give_up);

	/* A fork that failed and will be tried again is nobody's death. */
	if (sup->callbacks.died != NULL &&
	    (o.pid != -1 || o.verdict != VERDICT_RESTART))
		sup->callbacks.died(sup, child, &o, sup->arg);
	if (o.verdict != VERDICT_RESTART && is_done_with(sup, child))
		remove_child(sup, child);
}

static void
handle_ready(struct supervisor *sup, struct child *child)
{
	child->untold = false;
	child->fresh = false;
	if (!child->backing_off)
		child->backoff = 0;
	if (sup->phase == PHASE_START && child == sup->cursor)
		sup->cursor = TAILQ_NEXT(child, entry);
	if (child->state != CHILD_DEAD)
		report_ready(&sup->flags, child);
	if (sup->callbacks.ready != NULL && sup->phase != PHASE_END)
		sup->callbacks.ready(sup, child, sup->arg);
}

/* --- the work in hand --------------------------------------------------- */

/* While a group is being restarted, the deaths of others wait. */
static bool
must_wait(const struct supervisor *sup, const struct child *child)
{
	if (!is_group(sup) || child->doomed || child == sup->cursor)
		return false;
	return sup->phase == PHASE_START || sup->phase == PHASE_STOP;
}

static bool
handle_event(struct supervisor *sup)
{
	struct child *child;

	TAILQ_FOREACH (child, &sup->events, event) {
		if (!must_wait(sup, child))
			break;
	}
	if (child == NULL)
		return false;
	unqueue_event(sup, child);
	if (child->untold) {
		handle_ready(sup, child);
		if (child->state == CHILD_DEAD)
			queue_event(sup, child);
		return true;
	}
	assert(child->state == CHILD_DEAD);
	handle_death(sup, child);
	return true;
}

static bool
handle_deadline(struct supervisor *sup)
{
	struct child *child = child_first_deadline(&sup->table);

	if (child == NULL || child->deadline > monotonic_ms())
		return false;
	child_set_deadline(&sup->table, child, -1);
	switch (child->state) {
	case CHILD_PAUSED:
		start_process(sup, child);
		break;
	case CHILD_STARTING:
	case CHILD_ENDING:
		child->state = CHILD_ENDING;
		child->hung = true;
		send_signal(child, SIGKILL);
		break;
	case CHILD_DOWN:
	case CHILD_RUNNING:
	case CHILD_DEAD:
		break;
	}
	return true;
}

static bool
advance_start(struct supervisor *sup)
{
	struct child *child = sup->cursor;

	if (child == NULL) {
		bool booted = sup->booting;

		sup->phase = PHASE_IDLE;
		sup->booting = false;
		sup->first = NULL;
		if (booted && sup->callbacks.booted != NULL)
			sup->callbacks.booted(sup, sup->arg);
		return true;
	}
	switch (child->state) {
	case CHILD_DOWN:
	case CHILD_PAUSED:
		if (child->doomed)
			sup->cursor = TAILQ_NEXT(child, entry);
		else
			start_process(sup, child);
		return true;
	case CHILD_RUNNING:
		sup->cursor = TAILQ_NEXT(child, entry);
		return true;
	case CHILD_STARTING:
	case CHILD_ENDING:
	case CHILD_DEAD:
		return false;
	}
	return false;
}

/* Goes back over children, stopping one at a time. */
static bool
stop_backwards(struct supervisor *sup)
{
	struct child *child = sup->cursor;

	switch (child->state) {
	case CHILD_DOWN:
	case CHILD_PAUSED:
		sup->cursor = child == sup->first
		    ? NULL
		    : TAILQ_PREV(child, child_list, entry);
		return true;
	case CHILD_STARTING:
	case CHILD_RUNNING:
		stop_process(sup, child, child->state == CHILD_STARTING);
		return true;
	case CHILD_ENDING:
	case CHILD_DEAD:
		return false;
	}
	return false;
}

static bool
advance_stop(struct supervisor *sup)
{
	if (sup->cursor != NULL)
		return stop_backwards(sup);
	sup->phase = PHASE_PAUSE;
	return true;
}

static bool
advance_pause(struct supervisor *sup)
{
	if (sup->resume_at > monotonic_ms())
		return false;
	sup->resume_at = 0;
	sup->phase = PHASE_START;
	sup->cursor = sup->first != NULL ? sup->first
					 : TAILQ_FIRST(&sup->table.children);
	return true;
}

static void
stop_all(struct supervisor *sup)
{
	struct child *child;

	TAILQ_FOREACH (child, &sup->table.children, entry) {
		if (child->state == CHILD_STARTING ||
		    child->state == CHILD_RUNNING)
			stop_process(
			    sup, child, child->state == CHILD_STARTING);
	}
}

static bool
advance_end(struct supervisor *sup)
{
	if (sup->flags.strategy == DYNAMIC) {
		if (!sup->asked_all) {
			sup->asked_all = true;
			stop_all(sup);
			return true;
		}
		if (sup->table.n > 0)
			return false;
	} else if (sup->cursor != NULL) {
		return stop_backwards(sup);
	}
	sup->phase = PHASE_ENDED;
	return true;
}

static bool
advance(struct supervisor *sup)
{
	switch (sup->phase) {
	case PHASE_IDLE:
	case PHASE_ENDED:
		return false;
	case PHASE_START:
		return advance_start(sup);
	case PHASE_STOP:
		return advance_stop(sup);
	case PHASE_PAUSE:
		return advance_pause(sup);
	case PHASE_END:
		return advance_end(sup);
	}
	return false;
}

/* The owner may free the supervisor in these: they come last. */
static void
tell_end(struct supervisor *sup)
{
	void (*stopped)(struct supervisor *, void *) = sup->stopped;
	bool gave_up = sup->giving_up;

	sup->stopped = NULL;
	sup->giving_up = false;
	if (stopped != NULL)
		stopped(sup, sup->stopped_arg);
	else if (gave_up && !sup->stopping && sup->callbacks.gave_up != NULL)
		sup->callbacks.gave_up(sup, sup->arg);
}

static void
set_timer(struct supervisor *sup)
{
	struct child *child = child_first_deadline(&sup->table);
	long long when = child != NULL ? child->deadline : -1, in;
	struct timeval tv;

	if (sup->phase == PHASE_PAUSE && (when == -1 || when > sup->resume_at))
		when = sup->resume_at;
	if (when == sup->armed)
		return;
	sup->armed = when;
	if (when == -1) {
		evtimer_del(&sup->timer);
		return;
	}
	in = when - monotonic_ms();
	if (in < 0)
		in = 0;
	tv.tv_sec = (time_t)(in / 1000);
	tv.tv_usec = (suseconds_t)(in % 1000 * 1000);
	if (evtimer_add(&sup->timer, &tv) == -1)
		fatalx("%s: no timer", sup->flags.name);
}

static void
run(struct supervisor *sup)
{
	if (sup->depth > 0)
		return;
	sup->depth++;
	while (handle_event(sup) || handle_deadline(sup) || advance(sup))
		;
	sup->depth--;
	set_timer(sup);
	if (sup->phase == PHASE_ENDED)
		tell_end(sup);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *sup = arg;

	sup->armed = -1;
	run(sup);
}

/* --- for the owner ------------------------------------------------------ */

static struct child *
find_id(struct supervisor *sup, const char *id)
{
	struct child *child;

	TAILQ_FOREACH (child, &sup->table.children, entry) {
		if (strcmp(child->spec.id, id) == 0)
			return child;
	}
	return NULL;
}

static struct child *
add_child(struct supervisor *sup, const struct child_spec *spec)
{
	struct child *child;

	assert(spec->id != NULL && spec->start != NULL);
	if (sup->flags.strategy != DYNAMIC && find_id(sup, spec->id) != NULL) {
		errno = EEXIST;
		return NULL;
	}
	child = child_new(&sup->table, spec);
	if (child != NULL)
		child->supervisor = sup;
	return child;
}

struct supervisor *
supervisor_start(struct event_base *base, const struct supervisor_flags *flags,
    const struct supervisor_callbacks *callbacks, void *arg,
    const struct child_spec *specs, size_t n)
{
	struct supervisor *sup = xcalloc(1, sizeof *sup);
	size_t max = flags->strategy == DYNAMIC ? flags->max_children : 0;

	assert(flags->strategy != DYNAMIC || n == 0);
	sup->flags = *flags;
	sup->callbacks = *callbacks;
	sup->arg = arg;
	sup->armed = -1;
	TAILQ_INIT(&sup->events);
	if (child_table_init(&sup->table, max) == -1) {
		free(sup);
		return NULL;
	}
	if (evtimer_assign(&sup->timer, base, on_timer, sup) == -1)
		fatalx("%s: no timer", flags->name);
	for (size_t i = 0; i < n; i++) {
		if (add_child(sup, &specs[i]) == NULL) {
			int error = errno;

			supervisor_free(sup);
			errno = error;
			return NULL;
		}
	}
	sup->booting = true;
	sup->phase = PHASE_START;
	sup->cursor = TAILQ_FIRST(&sup->table.children);
	schedule(sup);
	return sup;
}

void
supervisor_stop(struct supervisor *sup,
    void (*stopped)(struct supervisor *, void *), void *arg)
{
	if (sup->stopping)
		return;
	sup->stopping = true;
	sup->stopped = stopped;
	sup->stopped_arg = arg;
	if (sup->phase != PHASE_END && sup->phase != PHASE_ENDED)
		end_all(sup);
	schedule(sup);
}

void
supervisor_free(struct supervisor *sup)
{
	struct child *child;

	if (sup == NULL)
		return;
	assert(sup->depth == 0);
	while ((child = TAILQ_FIRST(&sup->events)) != NULL)
		unqueue_event(sup, child);
	event_del(&sup->timer);
	child_table_free(&sup->table);
	free(sup->restarts.times);
	free(sup);
}

/* It is started when its turn comes: after those that are being started. */
static struct child *
start_in_turn(struct supervisor *sup, struct child *child)
{
	child->state = CHILD_PAUSED;
	if (sup->phase == PHASE_START && sup->cursor == NULL)
		sup->cursor = child;
	return child;
}

struct child *
supervisor_start_child(struct supervisor *sup, const struct child_spec *spec)
{
	struct child *child;
	int error;

	if (sup->phase == PHASE_END || sup->phase == PHASE_ENDED) {
		errno = ESHUTDOWN;
		return NULL;
	}
	child = add_child(sup, spec);
	if (child == NULL)
		return NULL;
	child->fresh = true;
	if (sup->flags.strategy != DYNAMIC) {
		if (sup->phase != PHASE_IDLE)
			return start_in_turn(sup, child);
		sup->phase = PHASE_START;
		sup->cursor = child;
	}
	start_process(sup, child);
	if (child->state == CHILD_DEAD) {
		error = child->error;
		unqueue_event(sup, child);
		remove_child(sup, child);
		if (sup->flags.strategy != DYNAMIC)
			sup->phase = PHASE_IDLE;
		errno = error;
		child = NULL;
	}
	schedule(sup);
	return child;
}

void
supervisor_terminate_child(struct supervisor *sup, struct child *child)
{
	child->doomed = true;
	switch (child->state) {
	case CHILD_PAUSED:
		cancel_restart(sup, child);
		break;
	case CHILD_STARTING:
	case CHILD_RUNNING:
		stop_process(sup, child, false);
		break;
	case CHILD_DOWN:
	case CHILD_ENDING:
	case CHILD_DEAD:
		break;
	}
	schedule(sup);
}

void
supervisor_describe(struct supervisor *sup, supervisor_describe_cb describe)
{
	sup->describe = describe;
}

bool
supervisor_reap(struct supervisor *sup, pid_t pid, int status)
{
	struct child *child = child_find_pid(&sup->table, pid);

	if (child == NULL)
		return false;
	child_clear_pid(&sup->table, child);
	child_set_deadline(&sup->table, child, -1);
	child->state = CHILD_DEAD;
	child->dead_pid = pid;
	child->status = status;
	queue_event(sup, child);
	run(sup);
	return true;
}

void
child_ready(struct child *child)
{
	if (child->state != CHILD_STARTING)
		return;
	become_ready(child->supervisor, child);
	schedule(child->supervisor);
}

void
child_kill(struct child *child)
{
	if (child->pid == -1)
		return;
	/* SIGKILL needs no help: nothing is to be found hung. */
	child_set_deadline(&child->supervisor->table, child, -1);
	send_signal(child, SIGKILL);
}

pid_t
child_pid(const struct child *child)
{
	return child->pid;
}

const char *
child_id(const struct child *child)
{
	return child->spec.id;
}

void *
child_arg(const struct child *child)
{
	return child->spec.arg;
}

bool
child_is_ready(const struct child *child)
{
	return child->state == CHILD_RUNNING;
}

struct supervisor *
child_supervisor(const struct child *child)
{
	return child->supervisor;
}

struct supervisor_count
supervisor_count_children(const struct supervisor *sup)
{
	struct supervisor_count count = {
		.specs = sup->table.n,
		.active = sup->table.nrunning,
	};

	return count;
}

struct child *
supervisor_find_pid(const struct supervisor *sup, pid_t pid)
{
	return child_find_pid(&sup->table, pid);
}

void
supervisor_which_children(
    struct supervisor *sup, void (*each)(struct child *, void *), void *arg)
{
	struct child *child;

	/* What each() reaps is handled later, so that no child is freed. */
	sup->depth++;
	TAILQ_FOREACH (child, &sup->table.children, entry)
		each(child, arg);
	sup->depth--;
	schedule(sup);
}
