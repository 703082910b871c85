/*
 * auth.h - /auth_socket and who may open it, after "Real-Time Phoenix"
 * (DEMOS.md 0.3): whoever has a token of POST /api/token.
 */
#ifndef AUTH_H
#define AUTH_H

#include <bennu/endpoint.h>

#define AUTH_SALT    "salt identifier"
#define AUTH_MAX_AGE 86400 /* s */
#define AUTH_ID_MAX  60    /* bytes of a user_id */

/*
 * A user_id as it stands in names: "auth_socket:7", "user:7". It is a string or
 * an integer. False: it is neither, or too long.
 */
bool auth_id_text(const cJSON *, char text[AUTH_ID_MAX + 1]);

/* The route's handler. */
void auth_request(struct bennu_conn *);

#endif /* AUTH_H */
