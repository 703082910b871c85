/*
 * secrets.h - what people show to the server, and what it signs with. It lies
 * in a page of the supervisor's, of which its transports have their copy, and
 * no other process.
 */
#ifndef SECRETS_H
#define SECRETS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/token.h"

#define KILL_TOKEN_BYTES    16
#define BROADCAST_TOKEN_MIN 16
#define BROADCAST_TOKEN_MAX 1000
#define TOKEN_SECRET_MIN    64 /* as Phoenix demands of a secret_key_base */
#define TOKEN_SECRET_MAX    1000
#define LONGPOLL_SALT       "bennu longpoll"

struct secrets {
	/* What a kill must show; "": there is no such route. */
	char kill_token[2 * KILL_TOKEN_BYTES + 1];
	/* What a broadcast over HTTP must show; likewise. */
	char broadcast_token[BROADCAST_TOKEN_MAX + 1];
	/* What keys are made of (token.h). */
	char token_secret[TOKEN_SECRET_MAX + 1];
	size_t token_secret_size;
	/* What the tokens of long-poll sessions are signed with. */
	struct token_key longpoll_key;
};

/* In a page of their own, all empty. NULL, errno. */
struct secrets *secrets_map(void);
/* Whether children that are forked from now on have it. NULL is fine. */
void secrets_inherit(struct secrets *, bool);

/* All bytes are compared, however early they differ; given may be NULL. */
bool secret_is(const char *given, const char *secret);
/*
 * The broadcast token of a file: its only line. What is wrong with it, as
 * malloc'd text; NULL: nothing. It touches no memory but the page.
 */
char *secrets_read_token(struct secrets *, const char *path);
/* Likewise the secret of tokens, and makes the keys above of it. */
char *secrets_read_secret(struct secrets *, const char *path);
/* Or of a random one. False, errno. */
bool secrets_make_secret(struct secrets *);

#endif /* SECRETS_H */
