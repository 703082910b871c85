/*
 * broadcast.c - see broadcast.h.
 */
#include "pubsub/broadcast.h"

#define HEADS 1024 /* bytes of an entry or an envelope beside the texts */

size_t
broadcast_size(const struct broadcast *broadcast)
{
	return broadcast->topic.size + broadcast->event.size +
	    broadcast->payload.size;
}

size_t
broadcast_max(size_t journal_size)
{
	size_t max = journal_size / BROADCAST_SHARE;

	if (max > ENVELOPE_MAX)
		max = ENVELOPE_MAX;
	return max - HEADS;
}

bool
broadcast_get(struct envelope *envelope, struct broadcast *broadcast)
{
	broadcast->topic = envelope_get_text(envelope);
	broadcast->event = envelope_get_text(envelope);
	broadcast->kind = envelope_get_u32(envelope);
	broadcast->payload = envelope_get_text(envelope);
	return envelope_end(envelope);
}

void
broadcast_put(struct envelope_writer *writer, const struct broadcast *broadcast)
{
	envelope_put_data(writer, broadcast->topic.data, broadcast->topic.size);
	envelope_put_data(writer, broadcast->event.data, broadcast->event.size);
	envelope_put_u32(writer, broadcast->kind);
	envelope_put_data(
	    writer, broadcast->payload.data, broadcast->payload.size);
}
