/*
 * count.h - how many are subscribed to a topic, on all workers: each is asked
 * over a connection of its own, as a tool would.
 */
#ifndef COUNT_H
#define COUNT_H

#include <stdint.h>

#include "common/message.h"

#define COUNT_LIMIT 4000 /* ms */

struct count;
struct event_base;

/* n: -1: not all have answered in time. The count is gone then. */
typedef void (*count_cb)(int64_t n, void *arg);

/* paths: of the sockets of all workers, lent until the callback, which never
 * comes from inside the call. */
void count_ask(struct event_base *, char *const *paths, unsigned n,
    const struct text *topic, count_cb, void *arg);

#endif /* COUNT_H */
