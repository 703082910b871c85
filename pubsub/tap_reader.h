/*
 * tap_reader.h - listens to the taps of all pubsub workers: for tools.
 *
 * It takes all entries, whatever the topic, since only so it can tell from
 * their numbers how many were dropped on the way; nanomsg would filter here,
 * too. In a process that forks no more.
 */
#ifndef TAP_READER_H
#define TAP_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/message.h"

struct event_base;
struct tap_reader;

/* worker: its number, from 1. They may not free the reader. */
struct tap_reader_callbacks {
	/* It is heard: from here on entries come, or are counted as missed. */
	void (*ready)(unsigned worker, void *arg);
	/* An entry of one of the topics; the object of tap.h, lent. */
	void (*entry)(unsigned worker, const struct text *object, void *arg);
	/* So many entries of any topics did not come. */
	void (*missed)(unsigned worker, uint64_t n, void *arg);
};

struct tap_reader_topics {
	struct text name;
	bool is_prefix; /* all that begin with it; an empty one: all */
};

/* directory: the run directory. NULL: no nanomsg; said in the log. */
struct tap_reader *tap_reader_new(struct event_base *, const char *directory,
    const struct tap_reader_topics *, const struct tap_reader_callbacks *,
    void *arg);
void tap_reader_free(struct tap_reader *); /* NULL is fine */
/* Messages that were none of a tap. */
uint64_t tap_reader_bad(const struct tap_reader *);

#endif /* TAP_READER_H */
