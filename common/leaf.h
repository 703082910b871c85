/*
 * leaf.h - the frame of a permanent child of the supervisor that forks nothing
 * itself: its name, its loop, its end.
 */
#ifndef LEAF_H
#define LEAF_H

struct event_base;
struct mailbox;

struct leaf {
	/* It is to end: SIGTERM, or the supervisor is gone. NULL: at once.
	 * Perhaps more than once. */
	void (*end)(void *arg);
	void *arg;

	struct event_base *base;
	struct mailbox *supervisor;
};

/* In the child. name: in its title and its log. fd: its end of the mailbox. */
void leaf_begin(struct leaf *, const char *name, int fd);
/* The supervisor may go on: it serves. */
void leaf_started(struct leaf *);

#endif /* LEAF_H */
