/*
 * slots.h - a slot for each connection: who publishes and subscribes, in memory
 * that outlives pubsub workers (shared.h).
 *
 * The supervisor takes a slot for a transport and frees it when the transport
 * was reaped. Workers check against it who they talk to, and keep there what a
 * successor must know.
 */
#ifndef SLOTS_H
#define SLOTS_H

#include <sys/types.h>
#include <stdatomic.h>
#include <stdint.h>

#include "pubsub/shared.h"

/* What of a broadcast goes to a connection. */
enum part {
	PART_CLIENT,  /* a frame for the client */
	PART_CHANNEL, /* its fields, for channels: handle_out, handle_info */
	PARTS,
};

struct slot {
	/* By the supervisor. */
	_Atomic uint64_t connection; /* its number; 0: free */
	_Atomic pid_t pid;           /* 0: not known yet */

	/* By the connection's worker. */
	_Atomic uint64_t accepted; /* the last of its publishes that is in the
				      worker's journal: its own number */
	_Atomic uint64_t epoch; /* of the worker that it was last ready with */
	/* The last entry of each journal that went into its mailbox. */
	_Atomic uint64_t queued[PARTS][PUBSUB_MAX];
	/* It gets less than the others, whom the progress is of: all entries up
	 * to these were given to it. */
	_Atomic bool is_behind;
	_Atomic uint64_t given[PUBSUB_MAX];
};

#define SLOT_NONE UINT32_MAX
#define SLOTS_MAX (UINT32_C(1) << 24)

/* The supervisor's: which are free. NULL, errno. */
struct slots;
struct slots *slots_new(struct shared *);
void slots_free(struct slots *);
/* Zeroed but for the connection; SLOT_NONE when all are taken. */
uint32_t slot_take(struct slots *, uint64_t connection);
/* Nothing in it is needed any more. */
void slot_free(struct slots *, uint32_t);

#endif /* SLOTS_H */
