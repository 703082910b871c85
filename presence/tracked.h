/*
 * tracked.h - what a channel tracks, as it travels between processes.
 */
#ifndef PRESENCE_TRACKED_H
#define PRESENCE_TRACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/envelope.h"
#include "common/message.h"

/* What a channel tracks; its texts are lent. */
struct presence {
	uint64_t channel;  /* PR_TRACK */
	struct text topic; /* UTF-8 */
	struct text key;   /* UTF-8 */
	struct text ref;   /* phx_ref */
	struct text prev;  /* the ref that it replaces; data NULL: none */
	struct text meta;  /* JSON of an object */
};

/* In one block, to be freed; bytes: of it, or NULL. */
struct presence *presence_copy(const struct presence *, size_t *bytes);
/* The order by channel, topic and key. */
int presence_compare(const struct presence *, const struct presence *);

/* The fields of an envelope, in the order above. get: the rest of the envelope;
 * false: bad. */
void presence_put(struct envelope_writer *, const struct presence *);
bool presence_get(struct envelope *, struct presence *);

#endif /* PRESENCE_TRACKED_H */
