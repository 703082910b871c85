/*
 * log.h - what presence did, in memory that outlives it: two files without a
 * name (memfd), made by the supervisor before its first fork.
 *
 * A record is written before what it says is told to anybody, so a successor
 * knows what clients have heard. One of the files is in use; a snapshot goes
 * into the other one, which takes its place when it is whole.
 */
#ifndef PRESENCE_LOG_H
#define PRESENCE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/envelope.h"

#define PRESENCE_LOG_FILES 2

/*
 * publish: the number under which pubsub gets the diff that follows from a
 * record; 0: fetch is asked before, and a RECORD_PUBLISH says what came
 * of it. diff: diffs count from 0 behind a RECORD_BASE.
 */
enum presence_record {
	RECORD_BASE = 1, /* u64 epoch, u64 clock, u64 last publish: the first */
	RECORD_ENTRY,    /* u64 owner, u64 dot, then as RECORD_TRACK from
			    channel on: nothing is told */
	RECORD_TRACK,    /* u64 publish, u64 owner, u64 channel, topic, key,
			    ref, prev or none, meta */
	RECORD_UNTRACK,  /* u64 publish, u64 owner, u64 channel, topic, key */
	RECORD_DROP,     /* u64 publish, u64 owner, u64 channel, topic */
	RECORD_PUBLISH,  /* u64 publish, u64 diff, joins, leaves */
};

struct presence_log;

/* The supervisor's: -1 with errno. */
int presence_log_files(int fds[PRESENCE_LOG_FILES]);

/*
 * A record as it was written: read it with envelope_get_*. False: it makes no
 * sense, and neither does what follows.
 */
typedef bool (*presence_log_cb)(
    enum presence_record, struct envelope *, void *arg);
/* Replays what there is. The descriptors are lent. */
struct presence_log *presence_log_open(
    const int fds[PRESENCE_LOG_FILES], presence_log_cb, void *arg);
void presence_log_free(struct presence_log *);

/* Takes the writer's memory. */
void presence_log_append(
    struct presence_log *, enum presence_record, struct envelope_writer *);
/* Records from here to the end of the snapshot go into the other file. */
void presence_log_begin(struct presence_log *);
void presence_log_end(struct presence_log *);
size_t presence_log_size(const struct presence_log *); /* bytes */

#endif /* PRESENCE_LOG_H */
