/*
 * upgrade.h - from a request to a WebSocket: who may, which serializer, and the
 * 101 (PROTOCOL.md 1).
 */
#ifndef UPGRADE_H
#define UPGRADE_H

#include "common/config.h"
#include "transport/http.h"

struct transport;

/* The mount whose WebSocket has this path, or NULL. */
const struct config_socket *upgrade_find(
    const struct config *, const char *path);
/*
 * Answers, now or (when the application has a say) later; with a 101 the
 * connection becomes a WebSocket.
 */
void upgrade_request(struct transport *, const struct http_request *,
    const struct config_socket *);

#endif /* UPGRADE_H */
