/*
 * count.c - see count.h.
 */
#include <sys/socket.h>

#include <stdlib.h>

#include "common/xmalloc.h"
#include "pubsub/count.h"
#include "transport/count.h"
#include "transport/transport.h"

struct question {
	struct transport *transport;
	int fd; /* where the answer goes: the author may have sent anything */
};

static void
on_counted(int64_t n, void *arg)
{
	struct question *question = arg;

	question->transport->ncounts--;
	/* Without an answer it finds the end of the socket. */
	if (n != -1)
		(void)!send(
		    question->fd, &n, sizeof n, MSG_DONTWAIT | MSG_NOSIGNAL);
	mailbox_close_fd(question->fd);
	free(question);
}

bool
count_answer(
    struct transport *t, struct mailbox *mailbox, struct envelope *envelope)
{
	struct text topic = envelope_get_text(envelope);
	int fd = mailbox_take_fd(mailbox);
	struct question *question;

	if (fd == -1)
		return false;
	if (!envelope_end(envelope) || t->ncounts == COUNTS_MAX) {
		mailbox_close_fd(fd);
		return t->ncounts == COUNTS_MAX;
	}
	t->ncounts++;
	question = xcalloc(1, sizeof *question);
	question->transport = t;
	question->fd = fd;
	count_ask(t->base, t->start->pubsub_paths, t->start->npubsub, &topic,
	    on_counted, question);
	return true;
}
