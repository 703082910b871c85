/*
 * upgrade.h - from a request to a WebSocket: who may, which serializer, and the
 * 101 (PROTOCOL.md 1).
 */
#ifndef UPGRADE_H
#define UPGRADE_H

#include "common/config.h"
#include "pubsub/encode.h"
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

/* ---- what long poll has in common with it ---- */

/* The mount that has this path behind it, whatever it offers; or NULL. */
const struct config_socket *upgrade_find_mount(
    const struct config *, const char *path, const char *tail);
/* The serializer that vsn asks for; 0: none that is served. */
enum frame_version upgrade_version(const char *query);
/* t->connected as it is before anybody was asked. */
void upgrade_begin(struct transport *, const char *transport);

#endif /* UPGRADE_H */
