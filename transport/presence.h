/*
 * presence.h - presences, as the transport sees them: what its channels track
 * goes to presence; who asks for a list has its socket passed on.
 *
 * A channel that asks for the list of its own topic will push it, and no newer
 * diff may reach the client before that. So from the question on until its
 * callback is done the frames of broadcasts on the topic are held back here.
 */
#ifndef TRANSPORT_PRESENCE_H
#define TRANSPORT_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/mailbox.h"

struct topic;
struct transport;

/* ENVELOPE_TRACK, UNTRACK and PRESENCES of a channel. False: nonsense. */
bool presence_from_channel(struct topic *, struct envelope *);
/* ENVELOPE_PRESENCES of the endpoint. */
bool presence_from_endpoint(
    struct transport *, struct mailbox *, struct envelope *);
/* pubsub has confirmed all: what waited for that goes on. False: nonsense. */
bool presence_confirmed(struct topic *);

/* A whole frame of a broadcast on its topic. True: it is taken. */
bool presence_holds_frame(struct topic *, const char *frame, size_t size);
/* The channel's callback is over, or the channel: frames are let go. */
void presence_callback_done(struct topic *);

/* The channel's process has ended, and with it all that it tracked. */
void presence_drop(struct topic *);

#endif /* TRANSPORT_PRESENCE_H */
