/*
 * fetch.h - presence's way to the process that runs the application's fetch:
 * one question after the other, each answered or given up.
 */
#ifndef PRESENCE_FETCH_H
#define PRESENCE_FETCH_H

#include <stddef.h>
#include <stdint.h>

#include "common/message.h"

struct event_base;
struct fetch;

/* joins and leaves as they came back, or as they were when the process crashed
 * or did not answer in 5 s after fetch_ask. Lent. In the order of the
 * questions. */
typedef void (*fetch_cb)(uint64_t number, const struct text *topic,
    const struct text *joins, const struct text *leaves, void *arg);

/* path: of its socket, lent. max: bytes of topic, joins and leaves; what is
 * larger goes without additions. */
struct fetch *fetch_new(
    struct event_base *, const char *path, size_t max, fetch_cb, void *arg);
/* Copies. Never answers from inside. */
void fetch_ask(struct fetch *, uint64_t number, const struct text *topic,
    const struct text *joins, const struct text *leaves);
/* Questions that wait. */
size_t fetch_pending(const struct fetch *);

#endif /* PRESENCE_FETCH_H */
