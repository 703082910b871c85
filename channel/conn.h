/*
 * conn.h - struct bennu_conn, private to the endpoint role: what the public
 * calls (conn.c) and the loop (endpoint.c) share.
 */
#ifndef CONN_H
#define CONN_H

#include <stdbool.h>

#include <bennu/endpoint.h>

#include "channel/endpoint.h"
#include "channel/tally.h"
#include "common/mailbox.h"

/* More than this that the transport has not taken yet makes the author wait. */
#define CONN_BACKLOG_MAX (256U * 1024)

struct conn_field {
	const char *name, *value;
};

/* Memory that lives until the handler returns. */
struct conn_scratch {
	struct conn_scratch *next;
	void *memory;
};

struct bennu_conn {
	const struct endpoint_start *start;
	const struct bennu_endpoint *callbacks;
	struct mailbox *mailbox;
	void *assigns;
	struct tally tally;
	struct conn_scratch *scratch;

	/* The request in hand, which lies in its envelope; method NULL: none */
	const char *method, *path;
	const char *query_text; /* JSON */
	struct conn_field *params, *headers;
	size_t nparams, nheaders;
	const char *body;
	size_t body_size;
	cJSON *query, *json; /* made when asked for */

	/* Its answer. */
	bool answered;
	struct envelope_writer put; /* headers: name and value, each */
	unsigned nput;
	struct envelope_writer response;
};

/* The author made a mistake: a line in the log, and a crash. */
_Noreturn void conn_mistake(const struct bennu_conn *, const char *, ...)
    __attribute__((__format__(printf, 2, 3)));
/* Takes malloc'd memory, which then lives until the handler returns. */
void *conn_keep(struct bennu_conn *, void *);
/* Sends all that waits; ends the process when the transport is gone. */
void conn_flush(struct bennu_conn *);
/* The request is done with: frees what it and its answer had. */
void conn_clear(struct bennu_conn *);

#endif /* CONN_H */
