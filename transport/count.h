/*
 * count.h - a process of the author asks how many are subscribed to a topic,
 * and waits: on a socket that comes with the question, so that nothing else
 * that it is sent comes between.
 */
#ifndef TRANSPORT_COUNT_H
#define TRANSPORT_COUNT_H

#include <stdbool.h>

#include "common/mailbox.h"

#define COUNTS_MAX 100 /* at a time, of one transport */

struct transport;

/* ENVELOPE_SUBSCRIBERS. False: nonsense. */
bool count_answer(struct transport *, struct mailbox *, struct envelope *);

#endif /* TRANSPORT_COUNT_H */
