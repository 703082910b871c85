/*
 * handshake.h - the opening of a WebSocket (RFC 6455, 4.2) as Phoenix does it:
 * is it a proper upgrade, may this origin, which vsn.
 */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/json.h"
#include "common/message.h"
#include "transport/http.h"

/* NULL when it is a proper upgrade; else the text that explains a 400. */
const char *handshake_check(const struct http_request *);
/* Appends the 101 with Sec-WebSocket-Accept. protocol may be NULL. */
void handshake_append_accept(
    struct json_buffer *, const struct http_request *, const char *protocol);

/*
 * check_origin (PROTOCOL.md 1.4). rules are "//host", "//host:port",
 * "scheme://host", "scheme://host:port"; host may begin with "*."; or ":conn":
 * scheme, host and port of the request itself (plain HTTP is what we speak). No
 * Origin header: true. nrules 0: true.
 */
bool handshake_origin_allowed(
    const struct http_request *, char *const *rules, size_t nrules);
/* Is this a rule? For the configuration: NULL, or what is wrong with it. */
const char *handshake_origin_rule_error(const char *rule);

/*
 * Sec-WebSocket-Protocol of a mount with auth_token (PROTOCOL.md 1.5): one
 * entry may bear the token, and "phoenix" is a subprotocol. False: to be
 * refused (no subprotocol that we speak, a token that is no base64). *phoenix:
 * it is to be answered. token->data is malloc'd, or NULL when there is none.
 */
bool handshake_subprotocols(
    const struct http_request *, bool *phoenix, struct text *token);

#endif /* HANDSHAKE_H */
