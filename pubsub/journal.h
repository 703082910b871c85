/*
 * journal.h - what a pubsub worker has accepted: a ring in shared memory.
 *
 * A broadcast is accepted when it is in the journal of its publisher's worker.
 * The worker alone writes; all workers read, each at its own pace. An entry has
 * a number: from 1 in each epoch, without gaps. The ring never waits for a
 * reader: who is too slow is overrun, and told so.
 *
 * When a worker dies its successor goes on where it ended: what was being
 * appended is not there, what was appended is. After a death that may have
 * damaged memory (SIGSEGV, ...) it is verified first: a damaged journal begins
 * a new epoch, empty.
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pubsub/broadcast.h"

struct journal;

#define JOURNAL_LOCAL 1U /* flags: for this node only */

struct journal_entry {
	uint64_t number;     /* set by journal_append */
	uint64_t connection; /* the publisher's; 0: none, e.g. a tool */
	uint64_t publish;    /* number that the publisher gave it */
	uint32_t slot;       /* the publisher's, or SLOT_NONE */
	uint32_t flags;
	uint32_t ticket; /* its place among the entries of all journals */
	struct broadcast broadcast; /* reading: lent from the ring */
};

/* Tickets go round; they are compared among entries that are there. */
static inline bool
ticket_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

#define JOURNAL_SIZE_MIN (64U << 10)
#define JOURNAL_SIZE_MAX (UINT64_C(1) << 32)

/*
 * Of the supervisor, before its first fork: the handle is ordinary memory that
 * each process has for itself, the ring is shared, empty, in epoch 1, and no
 * child has it. size: bytes, a power of two. NULL, errno.
 */
struct journal *journal_map(size_t size);
void journal_unmap(struct journal *);
size_t journal_map_size(const struct journal *); /* as it was given */
/* Whether children that are forked from now on have it. */
void journal_inherit(struct journal *, bool inherit);
/* This process can only read it from now on. */
void journal_protect(struct journal *);

/* ---- the writer ---- */

/*
 * In a worker that begins: makes it fit to be appended to. False: it was
 * damaged and begins a new epoch (always looked at as far as appending needs;
 * verify: every entry).
 */
bool journal_open(struct journal *, bool verify);
/* Topic, event and payload together: about a quarter of the ring. */
size_t journal_entry_max(const struct journal *);
/* Returns its number; 0: too large. */
uint64_t journal_append(struct journal *, const struct journal_entry *);

/* ---- readers ---- */

/* Rises, by more than 1. */
uint64_t journal_epoch(const struct journal *);
/* Number of the last entry; 0: none yet. */
uint64_t journal_head(const struct journal *);

enum journal_result {
	JOURNAL_OK = 1,
	JOURNAL_END,     /* it is not there yet */
	JOURNAL_OVERRUN, /* it is not there any more, or damaged, or another
			    epoch has begun: and so it stays */
};

/* Where a reader is. To begin: zeroed, with next = 1 or any other number. */
struct journal_reader {
	const struct journal *journal;
	uint64_t epoch;  /* 0: that of its first read */
	uint64_t next;   /* number of the entry to be read */
	uint64_t offset; /* of the last one that was read: journal_is_valid */
};

/* The ticket of the entry `next`, which is only believed when it is read. */
enum journal_result journal_peek(
    const struct journal_reader *, uint32_t *ticket);
/* The entry `next`, and moves on. */
enum journal_result journal_read(
    struct journal_reader *, struct journal_entry *);
/* Whether what was lent by the last journal_read is still what it was: to be
 * asked when it has been used (copied, encoded). */
bool journal_is_valid(const struct journal_reader *);

#endif /* JOURNAL_H */
