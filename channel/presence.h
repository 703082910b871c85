/*
 * presence.h - what a channel tracks. It alone can touch that, so it knows by
 * itself what there is, and nobody has to be asked; its transport and presence
 * are told.
 */
#ifndef CHANNEL_PRESENCE_H
#define CHANNEL_PRESENCE_H

#include <sys/tree.h>
#include <stddef.h>

#include "channel/presence_list.h"
#include "common/message.h"

/* Of one channel. */
#define PRESENCES_MAX       1000
#define PRESENCES_BYTES_MAX (1024 * 1024) /* topics, keys and metas */
#define PRESENCE_REF        16            /* characters of a phx_ref */

struct tracked {
	struct text topic, key;
	char ref[PRESENCE_REF + 1];
	size_t bytes; /* that count */
	RB_ENTRY(tracked) entry;
};
RB_HEAD(tracked_tree, tracked);

/* Zero it to begin. It goes with the process. */
struct tracking {
	struct tracked_tree all;
	unsigned n;
	size_t bytes;
};

#endif /* CHANNEL_PRESENCE_H */
