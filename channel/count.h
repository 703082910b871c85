/*
 * count.h - asks the transport how many are subscribed to a topic, and waits.
 */
#ifndef CHANNEL_COUNT_H
#define CHANNEL_COUNT_H

struct mailbox;

/* Sends the question; the answer comes at the descriptor that it returns, or
 * -1 with errno. */
int count_send(struct mailbox *, const char *topic);
/* Takes the descriptor. -1 with errno. */
long count_wait(int fd);

#endif /* CHANNEL_COUNT_H */
