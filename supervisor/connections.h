/*
 * connections.h - what the supervisor knows of each connection. The table is
 * not inherited by children (MADV_DONTFORK): its size would be the cost of
 * every fork.
 */
#ifndef CONNECTIONS_H
#define CONNECTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "supervisor/limits.h"
#include "transport/session.h"

struct server;

struct connection {
	struct server *server;
	uint64_t number; /* rising, never reused; 0: the place is free */
	struct limits_key key;
	uint32_t slot; /* pubsub/slots.h */
	int fd;        /* until its transport is forked, then -1 */
	char peer[64];
	/* Of a long-poll session: its socket in the run directory; else "". */
	char session[SESSION_NAME_SIZE];
	long long asked_second; /* so many sessions were asked for in it */
	unsigned asked;
	struct child *child;
	struct connection *next_free;
};

struct connections;

struct connections *connections_new(size_t max); /* NULL, errno */
void connections_free(struct connections *);
/* The next number, for another client of pubsub than a connection. */
uint64_t connections_number(struct connections *);
/* NULL: there are max. */
struct connection *connections_add(struct connections *);
void connections_remove(struct connections *, struct connection *);
/* By number; walks the table. */
struct connection *connections_find(struct connections *, uint64_t number);

#endif /* CONNECTIONS_H */
