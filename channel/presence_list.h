/*
 * presence_list.h - asks presence who is on a topic, and waits: for channels
 * and endpoints by way of their transport, for services at its socket.
 */
#ifndef CHANNEL_PRESENCE_LIST_H
#define CHANNEL_PRESENCE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/message.h"

struct bennu_channel;
struct mailbox;

#define PRESENCE_WAIT     5000        /* ms that presence has for an answer */
#define PRESENCE_NAME_MAX (16 * 1024) /* bytes of a topic, and of a key */

struct presence_question {
	struct text topic;
	struct text key; /* data NULL: all of them */
};

/* How presence is reached. */
struct presence_way {
	struct mailbox *transport; /* by way of it; NULL: at path */
	void (*flush)(void *);     /* sends what waits for the transport */
	void *arg;
	const char *path; /* presence's socket; NULL: there is none */
};

/* A question about these; "key" NULL: all. False, errno: there is no such
 * topic or key. */
bool presence_question_make(
    struct presence_question *, const struct text *topic, const char *key);

/*
 * The answer: JSON, malloc'd. NULL, errno: ETIMEDOUT: presence did not answer
 * in PRESENCE_WAIT, from when it could have; EMFILE; EMSGSIZE: it is too long.
 */
char *presence_list_ask(
    const struct presence_way *, const struct presence_question *);

/* The answer, which it takes, with what the channel's fetch adds; channel may
 * be NULL. */
char *presence_list_fetch(const struct bennu_channel *,
    const struct presence_question *, char *answer);

#endif /* CHANNEL_PRESENCE_LIST_H */
