/*
 * outbox.h - what waits to be written to the client: frames that leave together
 * at the end of a turn of the loop, in as few writes as the socket takes.
 */
#ifndef OUTBOX_H
#define OUTBOX_H

#include <sys/types.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>

struct event_base;

struct outbox_callbacks {
	/*
	 * Others write to the socket, too. 1: it may be written to now, and
	 * wrote follows; 0: outbox_retry will follow; -1: nobody may, for ever:
	 * failed follows. NULL: always.
	 */
	int (*may_write)(void *arg);
	void (*wrote)(size_t, void *arg);
	/* All has been written (after some was added). */
	void (*drained)(void *arg);
	/* Some of what had waited was written: less waits now. */
	void (*progress)(void *arg);
	/* The client is gone, or took nothing for the timeout (ETIMEDOUT). */
	void (*failed)(int error, void *arg);
};

struct outbox {
	int fd; /* lent */
	const struct outbox_callbacks *callbacks;
	void *arg;
	char *data;
	size_t begin, end, room;
	int file; /* follows the data, then is closed; -1: none */
	off_t file_left;
	struct event
	    writable; /* and the timeout of a client that takes nothing */
	struct event flush;
	long long timeout; /* ms */
	bool blocked;      /* may_write said no */
	bool dead;         /* failed, or closed: nothing is taken any more */
};

void outbox_init(struct outbox *, struct event_base *, int fd,
    long long timeout, const struct outbox_callbacks *, void *arg);

/* Copies. Nothing is written before the loop turns. */
void outbox_add(struct outbox *, const void *, size_t);
/* In front of all that waits: the rest of a frame that somebody else began. */
void outbox_add_front(struct outbox *, const void *, size_t);
/* may_write may say yes now. */
void outbox_retry(struct outbox *);
/* A file behind what was added; nothing more may be added until it drained. */
void outbox_add_file(struct outbox *, int fd, off_t size);
/* Bytes that wait. */
size_t outbox_backlog(const struct outbox *);
bool outbox_is_empty(const struct outbox *);
/* Nothing more is written, what waits is dropped. */
void outbox_close(struct outbox *);

#endif /* OUTBOX_H */
