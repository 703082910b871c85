/*
 * inspect.h - what a channel is doing, for POST /bennu/inspect.
 *
 * The transport that is asked over HTTP opens a socket of the unix domain to
 * which the kernel gives a number, and sends that number to the supervisor,
 * which signals it to the channel's transport, as with a kill. That one
 * connects to the socket, is told there which channel is meant, asks it for its
 * state and answers. The socket is an abstract one: no file is left behind,
 * whoever dies. Both ends look whether the other one is of the same user.
 */
#ifndef INSPECT_H
#define INSPECT_H

#include <sys/queue.h>
#include <stdint.h>

#include "common/envelope.h"

struct inspect;    /* what this connection's client asks */
struct inspection; /* what another connection's client asks of us */
struct topic;
struct transport;

LIST_HEAD(inspections, inspection);

#define INSPECT_CHANNEL_LIMIT   1000 /* ms that a channel has for its answer */
#define INSPECT_TRANSPORT_LIMIT 3000 /* ms that its transport has */
#define INSPECTIONS_MAX         16   /* at a time, of one transport */

/* ---- who asks ---- */

/* Answers the request in hand: from the event loop, or at once. */
void inspect_ask(struct transport *, uint64_t connection, uint32_t channel);
/* The connection ends: nobody wants to know any more. NULL-safe. */
void inspect_cancel(struct transport *);

/* ---- who is asked ---- */

/* The supervisor has passed on a number. */
void inspect_signalled(struct transport *, uint32_t socket);
/* ENVELOPE_DUMPED of a channel. False: nonsense. */
bool inspect_dumped(struct topic *, struct envelope *);
/* Its process died; it will be started again. */
void inspect_crashed(struct topic *);
/* It is about to be freed. */
void inspect_gone(struct topic *);

#endif /* INSPECT_H */
