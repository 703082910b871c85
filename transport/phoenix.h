/*
 * phoenix.h - what the socket does with a message of the client: the rules of
 * Phoenix.Socket (PROTOCOL.md 3).
 */
#ifndef PHOENIX_H
#define PHOENIX_H

#include <stddef.h>

#include "transport/websocket.h"

struct transport;

/* A whole WebSocket message. Malformed: the socket is closed with 1011. */
void phoenix_message(
    struct transport *, enum websocket_opcode, const char *, size_t);

#endif /* PHOENIX_H */
