/*
 * token.h - a process of the author has something signed, or verified: it does
 * not have the secret. The answer goes over a socket that comes with the
 * question, as in count.h.
 */
#ifndef TRANSPORT_TOKEN_H
#define TRANSPORT_TOKEN_H

#include <stdbool.h>

#include "common/mailbox.h"

struct transport;

/* ENVELOPE_SIGN and ENVELOPE_VERIFY. False: nonsense. */
bool token_answer(
    const struct transport *, struct mailbox *, struct envelope *);

#endif /* TRANSPORT_TOKEN_H */
