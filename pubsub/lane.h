/*
 * lane.h - the right to write to a client's socket, which its transport and its
 * pubsub worker both hold open.
 *
 * One 64-bit word says who writes; every transition is one compare-and-swap,
 * and nobody waits: who finds the lane taken passes on what it has, the worker
 * by the transport's mailbox, the transport by keeping it until it is told.
 *
 *   state FAST    nothing waits in the transport: the worker may write
 *         QUEUED  the transport must write first (or nothing at all yet)
 *         OWED    the worker's write was short: its rest, in the mailbox, is
 *                 the next that may be written
 *         CLOSED  a Close frame was written, or an error: nobody writes
 *   holder        who is writing just now
 *   passed        frames that the worker has passed on by the mailbox in this
 *                 generation; the transport gives the lane back only when it
 *                 has received as many
 *   generation    rises when the transport registers at a worker: a
 *                 predecessor's compare-and-swap fails
 *
 * In the word, from the top: generation 12 bits, passed 48, holder 2, state 2.
 *
 *                  nobody          pubsub              transport
 *   FAST     take: pubsub    give: nobody, or    take: QUEUED, passed
 *            hold: transport  OWED when short    release: nobody, FAST
 *            queue: QUEUED   hold, queue:         or QUEUED
 *                             QUEUED, pubsub     queue: QUEUED
 *   QUEUED   take: passed    give: nobody, or    take: passed
 *            hold: transport  OWED when short    release: as above
 *            release: FAST
 *   OWED     take: passed    -                   -
 *            rest: QUEUED
 *   CLOSED   for ever        give: nobody        for ever: it may still
 *                                               write (lane_close)
 *
 * Invariants, of which all else follows:
 *   - Bytes go into the socket only from the holder. FAST and not held: the
 *     client's stream is between two frames, the transport has nothing that
 *     waits, and has received all that was passed.
 *   - OWED is never held, passed counts the rest, and the write is in `origin`,
 *     `last`, `start`, `size`. These mean something while the worker holds the
 *     lane or it is OWED, and at no other time.
 *   - Between two holders base + total is the socket's account. start is total
 *     before the worker's write, so account - base - start is what of it the
 *     kernel has, at whatever instruction the worker died. Its order: take,
 *     intend (size last), send, total, written, size 0, the word.
 *   - The transport was answered false by lane_hold or lane_queue: the holder
 *     was pubsub and the state is QUEUED, or it is OWED. The worker finds that
 *     when it gives the lane back, so it says YOURS, or REST, exactly once.
 *   - No transition of a connection leads out of CLOSED, in no generation.
 *   - Generations begin with 1: a page that was never registered lets no worker
 *     in. A page is not cleaned between two connections, so that a worker that
 *     still serves the last one fails (if not 4095 registrations have passed).
 *
 * The page is the transport's own: a transport maps its own lane and no other,
 * the worker maps all, and takes nothing in it for granted. What is impossible
 * it answers with GONE or BROKEN, and so it does when the page changes faster
 * than a transport can change it. It never loops on it, nor indexes by it; a
 * transport that lies spoils the stream of its own client and nothing else.
 */
#ifndef LANE_H
#define LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pubsub/shared.h"

#define LANE_SIZE       4096  /* bytes: a page */
#define LANE_GENERATION 4095U /* the last one; 1 follows */

enum lane_state { LANE_FAST, LANE_OWED, LANE_QUEUED, LANE_CLOSED };
enum lane_holder { LANE_NOBODY, LANE_PUBSUB, LANE_TRANSPORT };

struct lane {
	_Atomic uint64_t word;

	/* For the account of bytes, by whoever holds it. */
	_Atomic uint64_t base;  /* lane_account at the first registration */
	_Atomic uint64_t total; /* bytes written since then */

	/*
	 * The worker's write under way, or owed: entries of the journal of
	 * worker `origin` up to number `last`, as `size` bytes, begun at
	 * `start` of total. size 0: none.
	 */
	_Atomic uint64_t origin, last, start, size;
	/* The last entry of each journal that was written here, or is in the
	 * transport's hands as the rest of a write. */
	_Atomic uint64_t written[PUBSUB_MAX];
};

/*
 * Bytes that the kernel ever took for this TCP socket, but for a constant
 * (tcpi_bytes_acked + SIOCOUTQ). While nobody writes and before its end was
 * sent (shutdown). False, errno.
 */
bool lane_account(int fd, uint64_t *);

/* ---- the transport ---- */

/*
 * A new generation, when it registers (again). To be called when the last
 * worker can write no more and all that it sent has been read, so at the end of
 * file of its mailbox (then the lane is of use at once) or later. The lane is
 * CLOSED as it was, or QUEUED, or OWED: the last worker died inside a write or
 * owed its rest, and some of that write is in the socket, but not all.
 *
 * account: of the socket. first: the connection was never registered: the page
 * is begun anew. Returns the generation, for the worker; received begins with 0
 * (and the rest, when it is OWED, counts as a frame passed).
 */
uint32_t lane_register(struct lane *, bool first, uint64_t account);

/*
 * Before it writes: true: held, and lane_release follows. False: the worker
 * writes or owes; it will say so by an envelope (YOURS or REST), or die. Or it
 * has closed the lane, because the socket is broken: lane_is_closed.
 */
bool lane_hold(struct lane *);
/*
 * It has written `bytes`. idle: nothing of its own waits any more; received:
 * frames that came passed in this generation. The lane is FAST again when both
 * allow it. Also without lane_hold before it, with bytes 0: "I may be done".
 */
void lane_release(struct lane *, size_t bytes, bool idle, uint64_t received);
/* The rest of an owed write has come, and is the next that will be written. */
void lane_rest(struct lane *);
/* The worker must not write until lane_release says idle. False: it is writing
 * just now, and will say YOURS. */
bool lane_queue(struct lane *);
/*
 * A Close frame is to be written, or the connection is lost: no worker writes
 * any more. True: the lane stays the transport's for ever: lane_hold is true,
 * lane_release gives nothing back, and it may write what it has and a Close
 * frame. That is so when it is held (by the transport). False: the worker was
 * inside a write, or owes its rest: nothing may be written behind it.
 */
bool lane_close(struct lane *);
bool lane_is_closed(const struct lane *);

/* ---- the worker ---- */

enum lane_take {
	LANE_TAKEN = 1, /* write; lane_give follows */
	LANE_PASSED,    /* counted: pass `frames` on by the mailbox */
	LANE_GONE,      /* closed, of another generation, or nonsense */
};

/* It has so many frames to write. */
enum lane_take lane_take(struct lane *, uint32_t generation, uint64_t frames);
/* What it is going to write, for the account: origin < PUBSUB_MAX, size > 0. */
void lane_intend(struct lane *, unsigned origin, uint64_t last, size_t size);
/*
 * It has written `bytes` of what it intended. Less than all: the rest must go
 * by the mailbox, as one frame passed. error: the socket is broken, CLOSED.
 * How long the rest is, the worker knows by itself: the page may lie.
 */
enum lane_given {
	LANE_FREE = 1, /* nothing to do */
	LANE_YOURS,    /* the transport waits: tell it */
	LANE_REST,     /* send the rest */
	LANE_BROKEN,   /* closed, or nonsense */
};
enum lane_given lane_give(
    struct lane *, uint32_t generation, size_t bytes, bool error);

/*
 * At a registration, what a dead predecessor left: entries of `origin` behind
 * `written` up to `last`, `size` bytes of frames, of which `in` are in the
 * socket. False: none. account: lane_account of the socket. The rest is to be
 * sent by the mailbox, before anything else; that it has come, the transport
 * notes (lane_rest), so that a successor that dies before leaves it to the
 * next. Nonsense: size and in do not fit: *in > *size.
 */
bool lane_interrupted(const struct lane *, uint64_t account, unsigned *origin,
    uint64_t *last, size_t *size, size_t *in);
/* Whether there is such a write: without the socket. */
bool lane_is_owed(const struct lane *);
uint64_t lane_written(const struct lane *, unsigned origin);

#endif /* LANE_H */
