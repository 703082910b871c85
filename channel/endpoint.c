/*
 * endpoint.c - see endpoint.h. One request at a time: from the mailbox to its
 * handler, and the answer back.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "channel/conn.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/xmalloc.h"

static void
set_title(const struct bennu_conn *conn)
{
	unsigned long long number = conn->start->connection;

	if (conn->method == NULL)
		process_title("endpoint #%llu idle", number);
	else
		process_title(
		    "endpoint #%llu %s %s", number, conn->method, conn->path);
}

/* The last callback, the last words, the end. */
static _Noreturn void
endpoint_end(struct bennu_conn *conn)
{
	if (conn->callbacks->stop != NULL)
		conn->callbacks->stop(conn);
	tally_send(&conn->tally, conn->mailbox);
	conn_flush(conn);
	fflush(NULL);
	_exit(EXIT_SHUTDOWN);
}

static struct conn_field *
get_fields(struct envelope *envelope, size_t *n)
{
	size_t room = envelope_get_u32(envelope), size;
	struct conn_field *fields;

	if (room > envelope->size)
		fatalx("bad REQUEST envelope from the transport");
	fields = xcalloc(room + 1, sizeof *fields);
	for (*n = 0; *n < room; (*n)++) {
		fields[*n].name = envelope_get_data(envelope, &size);
		fields[*n].value = envelope_get_data(envelope, &size);
	}
	return fields;
}

/* Returns the route's handler. */
static bennu_handler
get_request(struct bennu_conn *conn, struct envelope *envelope)
{
	uint32_t number = envelope_get_u32(envelope);
	uint32_t route = envelope_get_u32(envelope);
	size_t size;

	conn->method = envelope_get_data(envelope, &size);
	conn->path = envelope_get_data(envelope, &size);
	conn->query_text = envelope_get_data(envelope, &size);
	conn->params = get_fields(envelope, &conn->nparams);
	conn->headers = get_fields(envelope, &conn->nheaders);
	conn->body = envelope_get_data(envelope, &conn->body_size);
	if (!envelope_end(envelope))
		fatalx("bad REQUEST envelope from the transport");
	atomic_store(conn->start->begun, number);
	return conn->callbacks->routes[route].handler;
}

static void
run_request(struct bennu_conn *conn, struct envelope *envelope)
{
	bennu_handler handler = get_request(conn, envelope);

	set_title(conn);
	handler(conn);
	if (!conn->answered) {
		log_warnx("%s: %s %s was not answered",
		    conn->start->config->module, conn->method, conn->path);
		bennu_respond_error(conn, 500, NULL);
	}
	/* Who has the answer finds it counted. */
	tally_send(&conn->tally, conn->mailbox);
	mailbox_send(conn->mailbox, ENVELOPE_RESPONSE, &conn->response);
	conn_flush(conn);
	conn_clear(conn);
	set_title(conn);
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct bennu_conn *conn = arg;

	(void)mailbox;
	if (envelope == NULL || envelope->type == ENVELOPE_END)
		endpoint_end(conn);
	if (envelope->type != ENVELOPE_REQUEST)
		fatalx("envelope %s from the transport",
		    envelope_name(envelope->type));
	run_request(conn, envelope);
}

static void
begin(struct bennu_conn *conn)
{
	char name[32];

	snprintf(name, sizeof name, "endpoint #%llu",
	    (unsigned long long)conn->start->connection);
	log_init(name);
	set_title(conn);
	process_catch_term(ENDPOINT_FD_MAILBOX, ENDPOINT_SHUTDOWN);
	if (conn->callbacks->start == NULL || conn->callbacks->start(conn))
		return;
	log_warnx("%s: it could not start", conn->start->config->module);
	_exit(EXIT_START);
}

void
endpoint_run(void *arg)
{
	struct bennu_conn conn = { .start = arg };
	struct pollfd pollfd = {
		.fd = ENDPOINT_FD_MAILBOX,
		.events = POLLIN,
	};

	conn.callbacks = conn.start->config->callbacks;
	conn.mailbox = mailbox_new(ENDPOINT_FD_MAILBOX, on_envelope, &conn);
	begin(&conn);
	for (;;) {
		if (poll(&pollfd, 1, -1) == -1 && errno != EINTR)
			fatal("poll");
		if (pollfd.revents != 0)
			mailbox_read(conn.mailbox);
	}
}
