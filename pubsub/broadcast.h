/*
 * broadcast.h - a broadcast, as it travels between processes.
 */
#ifndef BROADCAST_H
#define BROADCAST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/envelope.h"
#include "common/message.h"

/* Lent during the call. */
struct broadcast {
	struct text topic;
	struct text event;
	uint32_t kind; /* enum bennu_kind */
	struct text payload;
};

/* The fields of an envelope: topic, event, u32 kind, payload. get: the rest of
 * the envelope; false: bad. */
bool broadcast_get(struct envelope *, struct broadcast *);
void broadcast_put(struct envelope_writer *, const struct broadcast *);

#endif /* BROADCAST_H */
