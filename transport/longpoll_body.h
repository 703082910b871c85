/*
 * longpoll_body.h - the messages in the body of a long-poll POST (PROTOCOL.md
 * 6): with the one content type they are lines, of which those that begin with
 * [ are texts and all others base64 of binary messages; with any other the body
 * is one text.
 */
#ifndef LONGPOLL_BODY_H
#define LONGPOLL_BODY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/websocket_head.h"

#define LONGPOLL_BODY_MAX  8000000 /* bytes */
#define LONGPOLL_LINES_MAX 100     /* further ones are not looked at */
#define LONGPOLL_LINES     "application/x-ndjson"

/* A message, lent during the call. */
typedef void (*longpoll_message_cb)(
    enum websocket_opcode, const char *, size_t, void *arg);

/* Lines. A last one that is empty is none. False: there is one that is no
 * base64; messages of before may have been told of. */
bool longpoll_body_lines(
    const char *body, size_t size, longpoll_message_cb, void *arg);

#endif /* LONGPOLL_BODY_H */
