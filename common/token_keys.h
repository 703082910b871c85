/*
 * token_keys.h - keys that were made of the server's secret, so that each is
 * made once, not in each transport that needs it: a page that the supervisor
 * maps and all transports share. No process of an author has it, as with the
 * secret itself (secrets.h).
 *
 * It is written without locks, and a writer may be killed at any point: what it
 * began is then never used, and its salt's key is made whenever it is needed.
 */
#ifndef TOKEN_KEYS_H
#define TOKEN_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/secrets.h"
#include "common/token.h"

#define TOKEN_KEYS_MAX  32 /* salts; the key of another is made each time */
#define TOKEN_KEYS_SALT 72 /* bytes; likewise */

struct token_keys;

/* Empty. NULL, errno. */
struct token_keys *token_keys_map(void);
/* Whether children that are forked from now on have it. NULL is fine. */
void token_keys_inherit(struct token_keys *, bool);
/*
 * The key of a salt, from the page; or it is *own, which the caller wipes when
 * it is done. The page may be NULL.
 */
const struct token_key *token_keys_get(struct token_keys *,
    const struct secrets *, const char *salt, size_t size,
    struct token_key *own);

#endif /* TOKEN_KEYS_H */
