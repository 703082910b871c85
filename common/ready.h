/*
 * ready.h - may clients be sent to this server? The supervisor says so in a
 * page that transports read, for GET /ready: no transport can write there.
 */
#ifndef READY_H
#define READY_H

#include <stdbool.h>

enum ready_state {
	READY_STARTING, /* a worker that all need is not there (yet) */
	READY_YES,
	READY_STOPPING,
};

struct ready;

/* READY_STARTING. NULL with errno. */
struct ready *ready_map(void);
/* Whether children of this process get it, to read. NULL is fine. */
void ready_inherit(struct ready *, bool);
/* In the process that mapped it. NULL is fine. */
void ready_set(struct ready *, enum ready_state);
enum ready_state ready_get(const struct ready *);

#endif /* READY_H */
