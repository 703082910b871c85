/*
 * mailbox.h - one end of a stream socket over which two processes of the tree
 * exchange envelopes: whole, in order, until one of them is gone.
 *
 * Bodies above MAILBOX_INLINE_MAX travel as a sealed memfd. Reading never
 * depends on writing: what cannot be written yet waits in memory, and the owner
 * bounds it (mailbox_backlog).
 *
 * A mailbox belongs to its owner's poll or event base: mailbox_attach puts it
 * on a libevent base; a channel, which has none, calls mailbox_read and
 * mailbox_flush when poll(2) says so.
 */
#ifndef MAILBOX_H
#define MAILBOX_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/envelope.h"

#define MAILBOX_INLINE_MAX (64U * 1024)

struct event_base;
struct mailbox;
struct process_spec;

/*
 * The envelope is lent until the callback returns; NULL once when the other end
 * is gone or has sent nonsense (mailbox_error says which). The callback may
 * free the mailbox.
 */
typedef void (*mailbox_cb)(struct mailbox *, struct envelope *, void *);

/* socketpair(2) for a parent and its child-to-be, ready for both; -1, errno. */
int mailbox_pair(int fds[2]);

/*
 * Forks a process with the other end of a new mailbox at fds[place] of its
 * spec, and sets *fd to this end. Returns the pid; -1 with errno.
 */
pid_t mailbox_fork(struct process_spec *, size_t place, int *fd);

/*
 * Connects to the socket at a path, for mailbox_new; -1 with errno. The
 * supervisor holds the sockets of the long-lived processes, so it succeeds also
 * while one of them is being restarted; EAGAIN is a full backlog, which has no
 * event: try again later.
 */
int mailbox_connect(const char *path);

struct mailbox *mailbox_new(int fd, mailbox_cb, void *); /* takes fd */
void mailbox_attach(struct mailbox *, struct event_base *);
void mailbox_free(struct mailbox *); /* NULL is fine */

int mailbox_fd(const struct mailbox *);
/* Why the callback got NULL: "end of file", "bad envelope type 77", ... */
const char *mailbox_error(const struct mailbox *);

/* Queue; sent by mailbox_flush, or by the loop. Takes the writer's memory;
 * NULL: no body. */
void mailbox_send(
    struct mailbox *, enum envelope_type, struct envelope_writer *);
/* Likewise, small, with a descriptor: taken, also when it cannot be sent. */
void mailbox_send_fd(
    struct mailbox *, enum envelope_type, struct envelope_writer *, int fd);
/* In the callback: the descriptor that came with the envelope, given away once;
 * -1: none, or lost. */
int mailbox_take_fd(struct mailbox *);
/* One came with the envelope, and this process had no descriptor free. */
bool mailbox_lost_fd(const struct mailbox *);
/* Of one that came: never waits, whatever who sent it has set (SO_LINGER). */
void mailbox_close_fd(int fd);
/*
 * The only envelope over a descriptor that came, perhaps from a process that
 * runs an author's code: it may be anything, and it gets what it takes at once.
 * Takes fd and the writer's memory.
 */
void mailbox_answer(int fd, enum envelope_type, struct envelope_writer *);
/* Writes what it can. False when the other end is gone. */
bool mailbox_flush(struct mailbox *);
/* Bytes that wait to be written. */
size_t mailbox_backlog(const struct mailbox *);
/* Waits until something comes, or a signal; reads once and dispatches. */
void mailbox_wait(struct mailbox *);
/* Reads once and dispatches: for unattached mailboxes, when poll(2) says so. */
void mailbox_read(struct mailbox *);
/*
 * Reads and dispatches all that is there, paused or not: the last words of a
 * process that is known to be dead. Not from inside its own callback.
 */
void mailbox_drain(struct mailbox *);

/* Stop and go on reading (flow control). Envelopes already read stay. */
void mailbox_pause(struct mailbox *);
void mailbox_resume(struct mailbox *);

#endif /* MAILBOX_H */
