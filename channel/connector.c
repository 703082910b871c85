/*
 * connector.c - see connector.h.
 */
#include <sys/queue.h>
#include <sys/socket.h>

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/connect.h"
#include "channel/connector.h"
#include "common/exit.h"
#include "common/leaf.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/xmalloc.h"

#define PAUSE 100 /* ms before the next transport is let in anyway */

/* A transport. */
struct peer {
	struct connector *connector;
	struct mailbox *mailbox;
};

struct connector {
	const struct connector_start *start;
	struct leaf leaf;
	struct event *listen_event;
	struct event *retry_event;
};

/* Ready for the next transport. */
static void
take_next(struct connector *connector)
{
	event_del(connector->retry_event);
	event_add(connector->listen_event, NULL);
}

static void
peer_free(struct peer *peer)
{
	take_next(peer->connector);
	mailbox_free(peer->mailbox);
	free(peer);
}

/* False: it is no question that one of our transports would ask. */
static bool
serve(struct peer *peer, struct envelope *envelope)
{
	struct envelope_writer writer = { 0 };
	struct bennu_connect c;
	bool fine;

	fine = connect_read(&c, peer->connector->start->config, envelope);
	if (fine) {
		mailbox_send(peer->mailbox, ENVELOPE_CONNECT_BEGUN, NULL);
		/* Who does not wait any more costs no callback. */
		if (mailbox_flush(peer->mailbox)) {
			connect_run(&c, &writer);
			tally_send(&c.tally, peer->mailbox);
			mailbox_send(
			    peer->mailbox, ENVELOPE_CONNECTED, &writer);
			if (process_term_caught())
				_exit(EXIT_SHUTDOWN);
		}
	}
	connect_clear(&c);
	take_next(peer->connector);
	return fine;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct peer *peer = arg;

	(void)mailbox;
	if (envelope == NULL) {
		peer_free(peer);
		return;
	}
	if (envelope->type == ENVELOPE_CONNECT && serve(peer, envelope))
		return;
	log_warnx("a transport sent a bad %s envelope; let go",
	    envelope_name(envelope->type));
	peer_free(peer);
}

/* ---- the role ---- */

static void
peer_new(struct connector *connector, int fd)
{
	struct peer *peer = xcalloc(1, sizeof *peer);

	peer->connector = connector;
	peer->mailbox = mailbox_new(fd, on_envelope, peer);
	mailbox_attach(peer->mailbox, connector->leaf.base);
}

static void
on_retry(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	take_next(arg);
}

/*
 * One, until it is served: the others are there for whichever worker is free
 * first. They do not wait for one that says nothing.
 */
static void
on_connect(int fd, short what, void *arg)
{
	static const struct timeval pause = { .tv_usec = PAUSE * 1000 };
	struct connector *connector = arg;
	int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (peer != -1)
		peer_new(connector, peer);
	else if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	else /* out of descriptors: they wait in the backlog meanwhile */
		log_warn("accept of a transport; next try in %d ms", PAUSE);
	event_del(connector->listen_event);
	event_add(connector->retry_event, &pause);
}

static void
listen_to_all(struct connector *connector)
{
	connector->listen_event = event_new(connector->leaf.base,
	    CONNECTOR_FD_LISTEN, EV_READ | EV_PERSIST, on_connect, connector);
	connector->retry_event = event_new(
	    connector->leaf.base, -1, 0, on_retry, connector);
	if (connector->listen_event == NULL || connector->retry_event == NULL)
		fatalx("event_new");
	event_add(connector->listen_event, NULL);
}

void
connector_run(void *arg)
{
	struct connector connector = { .start = arg };
	char name[32];

	snprintf(name, sizeof name, "connect %u", connector.start->number);
	secrets_wipe(connector.start->secrets);
	leaf_begin(&connector.leaf, name, CONNECTOR_FD_MAILBOX);
	listen_to_all(&connector);
	leaf_started(&connector.leaf);
	event_base_dispatch(connector.leaf.base);
	fatalx("the event loop ended");
}
