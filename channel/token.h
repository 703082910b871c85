/*
 * token.h - has the transport sign and verify, and waits: processes that run an
 * author's code do not have the secret. For those of a channel, an endpoint and
 * a connector alike.
 */
#ifndef CHANNEL_TOKEN_H
#define CHANNEL_TOKEN_H

#include <bennu/channel.h>

struct mailbox;

/* Whose transport is asked. */
struct token_way {
	struct mailbox *mailbox; /* NULL: there is nobody to ask */
	/* Sends all that waits there. */
	void (*flush)(void *);
	void *arg;
};

/* What the calls of the public headers return; malloc'd. NULL with errno. */
char *token_ask_sign(
    const struct token_way *, const char *salt, struct bennu_payload);
char *token_ask_verify(const struct token_way *, const char *salt,
    const char *token, long max_age, size_t *size);

#endif /* CHANNEL_TOKEN_H */
