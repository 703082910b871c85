/*
 * connect.h - one question whether a client may connect, from its envelope to
 * its answer; private to the connector role and its tests.
 */
#ifndef CONNECT_H
#define CONNECT_H

#include <stdbool.h>
#include <stddef.h>

#include <bennu/socket.h>

#include "channel/tally.h"
#include "common/config.h"
#include "common/envelope.h"
#include "common/mailbox.h"

#define CONNECT_HEADERS_MAX 1000       /* as many as a request may have */
#define CONNECT_ASSIGNS_MAX (1U << 20) /* bytes; each connection keeps them */
#define CONNECT_GRACE       250  /* ms: the transport's own clock comes first */
#define CONNECT_SHUTDOWN    1000 /* ms that a callback has left after SIGTERM */

struct connect_header {
	const char *name, *value;
};

/* What an envelope lent is good until the callback returns, as the rest is. */
struct bennu_connect {
	const struct config_socket *config;
	struct bennu_payload params;
	const char *transport;
	const char *token; /* or NULL */
	size_t token_size;
	const char *peer; /* or NULL */
	const char *uri;  /* or NULL */
	struct connect_header *headers;
	size_t nheaders;

	cJSON *tree;             /* of params, once asked for */
	struct mailbox *mailbox; /* of the transport that asks; or NULL */
	char **strings;
	size_t nstrings;

	char *id; /* or NULL */
	cJSON *assigns;
	struct tally tally;
};

/* Reads ENVELOPE_CONNECT. connect_clear is due whatever it returns. */
bool connect_read(
    struct bennu_connect *, const struct config *, struct envelope *);
/* Runs the callback and writes the body of ENVELOPE_CONNECTED. */
void connect_run(struct bennu_connect *, struct envelope_writer *);
void connect_clear(struct bennu_connect *);
/* The author made a mistake: a line in the log, and a crash. */
_Noreturn void connect_mistake(const struct bennu_connect *, const char *, ...)
    __attribute__((__format__(printf, 2, 3)));
/* Takes malloc'd text, which then lives until connect returns. */
char *connect_keep(struct bennu_connect *, char *);

#endif /* CONNECT_H */
