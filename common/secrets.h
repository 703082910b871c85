/*
 * secrets.h - tokens that people show to the server. They lie in a page of the
 * supervisor, which keeps it from the processes that run an author's code.
 */
#ifndef SECRETS_H
#define SECRETS_H

#include <stdbool.h>
#include <stddef.h>

#define KILL_TOKEN_BYTES    16
#define BROADCAST_TOKEN_MIN 16
#define BROADCAST_TOKEN_MAX 1000

struct secrets {
	/* What a kill must show; "": there is no such route. */
	char kill_token[2 * KILL_TOKEN_BYTES + 1];
	/* What a broadcast over HTTP must show; likewise. */
	char broadcast_token[BROADCAST_TOKEN_MAX + 1];
};

/* In a page of their own, all empty. NULL, errno. */
struct secrets *secrets_map(void);
/* Children that are forked from now on do not have it. False, errno. */
bool secrets_keep(struct secrets *);
/* In a process that was born with it. NULL is fine. */
void secrets_wipe(struct secrets *);

/* All bytes are compared, however early they differ; given may be NULL. */
bool secret_is(const char *given, const char *secret);
/*
 * The broadcast token of a file: its only line. What is wrong with it, as
 * malloc'd text; NULL: nothing. It touches no memory but the page.
 */
char *secrets_read_token(struct secrets *, const char *path);

#endif /* SECRETS_H */
