/*
 * leaf.h - the frame of a permanent child of the supervisor that forks nothing
 * itself: its name, its loop, who connects to it, its end.
 */
#ifndef LEAF_H
#define LEAF_H

#include <stdbool.h>

#define LEAF_PAUSE 100 /* ms until the next try, out of descriptors */
#define LEAF_SPARE 16  /* descriptors that are kept for all else */

struct event;
struct event_base;
struct mailbox;

struct leaf {
	/* It is to end: SIGTERM, or the supervisor is gone. NULL: at once.
	 * Perhaps more than once. */
	void (*end)(void *arg);
	void *arg;

	struct event_base *base;
	struct mailbox *supervisor;

	/* Whether it has closed a descriptor, so that one who connects can have
	 * it. NULL: it cannot. */
	bool (*make_room)(void *arg);

	/* Of leaf_listen. */
	void (*connected)(int fd, void *arg);
	struct event *readable;
	struct event *resume;
	int spare; /* the first descriptor that is */
	bool paused;
	bool is_short; /* of descriptors; it was said */
	long long short_since;
};

/* In the child. name: in its title and its log. fd: its end of the mailbox. */
void leaf_begin(struct leaf *, const char *name, int fd);
/* The supervisor may go on: it serves. */
void leaf_started(struct leaf *);

/*
 * Others connect to a listening socket, which is non-blocking: connected is
 * called for each, with arg of the leaf, and has the descriptor. While there
 * are none to spare they wait in the backlog; that is logged once.
 */
void leaf_listen(struct leaf *, int fd, void (*connected)(int fd, void *arg));
/* One of the last that there are? The kernel gives the lowest that is free. */
bool leaf_is_spare(const struct leaf *, int fd);
/* The next one comes after ms, or with leaf_resume. Also from connected. */
void leaf_pause(struct leaf *, unsigned ms);
void leaf_resume(struct leaf *);

#endif /* LEAF_H */
