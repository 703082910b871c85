/*
 * token.h - tokens as Phoenix.Token makes and reads them (Plug.Crypto.sign):
 * data, the time when it was signed and how long it is good, under an HMAC of a
 * key that is made from the server's secret (secret_key_base) and a salt.
 *
 * What is signed here any Phoenix from 1.5 on verifies, and the other way
 * round, with the same secret and salt and without options for the key. term.h
 * says what becomes of the data. A token is not encrypted: who has it can read
 * it.
 */
#ifndef TOKEN_H
#define TOKEN_H

#include <stdint.h>

#include "common/term.h"

#define TOKEN_KEY_BYTES 32
#define TOKEN_TERM_MAX  (TERM_MAX + 64) /* with all that is signed */
/* "SFMyNTY.", the term, a dot and the signature. */
#define TOKEN_MAX     (8 + (TOKEN_TERM_MAX + 2) / 3 * 4 + 1 + 43)
#define TOKEN_DAY     86400 /* s; as long as Phoenix lets one be good */
#define TOKEN_ANY_AGE (-1)  /* it never gets too old */
#define TOKEN_OWN_AGE (-2)  /* as it says itself; a day when it does not */

/* It takes 1,000 rounds to make one, about half a millisecond: keep it. */
struct token_key {
	uint8_t bytes[TOKEN_KEY_BYTES];
};

enum token_result {
	TOKEN_OK,
	TOKEN_MISSING, /* there is none */
	TOKEN_INVALID, /* forged, of another secret or salt, or no token */
	TOKEN_EXPIRED, /* too old */
	TOKEN_NO_JSON, /* good, but its data has no form in JSON */
};

/* Both leave nothing of the secret or the key but in *key. */
void token_key_derive(struct token_key *, const void *secret,
    size_t secret_size, const void *salt, size_t salt_size);
/*
 * A token for JSON text; malloc'd. max_age in seconds, or TOKEN_ANY_AGE. NULL
 * with errno: EINVAL (it is no JSON), E2BIG, ERANGE; see term_append_json.
 */
char *token_sign(const struct token_key *, const char *json, size_t size,
    int64_t signed_at_ms, int64_t max_age);
/*
 * What was signed: JSON text behind a NUL-terminated malloc'd *json, only after
 * TOKEN_OK. token may be NULL. With max_age 0 everything has expired, as in
 * Phoenix.
 */
enum token_result token_verify(const struct token_key *, const char *token,
    size_t token_size, int64_t max_age, int64_t now_ms, char **json,
    size_t *size);

/* What is signed, once the signature was found good; for token_verify, and for
 * tests. */
enum token_result token_read(const uint8_t *message, size_t message_size,
    int64_t max_age, int64_t now_ms, char **json, size_t *size);
/* The time of day, for them. */
int64_t token_now(void);
/* "expired", for logs and people. */
const char *token_result_name(enum token_result);

#endif /* TOKEN_H */
