/*
 * token_keys.h - keys that were made of the server's secret, so that each is
 * made once, not in each transport that needs it: a page that the supervisor
 * writes and all transports read. None of them can spoil a key of the others.
 * No process of an author has it, as with the secret itself (secrets.h).
 *
 * A transport that misses a key makes its own, and tells the supervisor of the
 * salt.
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
 * In the process that mapped it: from now on there is the key of this salt,
 * while there is room.
 */
void token_keys_add(
    struct token_keys *, const struct secrets *, const char *salt, size_t size);
/* NULL: it is not there. */
const struct token_key *token_keys_find(
    const struct token_keys *, const char *salt, size_t size);
/* Would token_keys_add keep one? */
bool token_keys_has_room(const struct token_keys *, size_t salt_size);

#endif /* TOKEN_KEYS_H */
