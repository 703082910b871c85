/*
 * broadcast.h - a broadcast, as it travels between processes.
 */
#ifndef BROADCAST_H
#define BROADCAST_H

#include <stdbool.h>
#include <stddef.h>
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

/* A broadcast must not take more than that part of a journal. */
#define BROADCAST_SHARE 4

/* Bytes of topic, event and payload: of one, and as many as every journal can
 * hold, and the envelopes on their way. */
size_t broadcast_size(const struct broadcast *);
size_t broadcast_max(size_t journal_size);

/* The fields of an envelope: topic, event, u32 kind, payload. get: the rest of
 * the envelope; false: bad. */
bool broadcast_get(struct envelope *, struct broadcast *);
void broadcast_put(struct envelope_writer *, const struct broadcast *);

#endif /* BROADCAST_H */
