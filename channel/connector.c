/*
 * connector.c - see connector.h.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
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
};

static void
peer_free(struct peer *peer)
{
	/* Ready for the next transport. */
	leaf_resume(&peer->connector->leaf);
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
	c.mailbox = peer->mailbox;
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
	leaf_resume(&peer->connector->leaf);
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

/*
 * One, until it is served: the others are there for whichever worker is free
 * first. They do not wait for one that says nothing.
 */
static void
on_connect(int fd, void *arg)
{
	struct connector *connector = arg;
	struct peer *peer = xcalloc(1, sizeof *peer);

	peer->connector = connector;
	peer->mailbox = mailbox_new(fd, on_envelope, peer);
	mailbox_attach(peer->mailbox, connector->leaf.base);
	leaf_pause(&connector->leaf, PAUSE);
}

void
connector_run(void *arg)
{
	struct connector connector = { .start = arg };
	char name[32];

	snprintf(name, sizeof name, "connect %u", connector.start->number);
	connector.leaf.arg = &connector;
	leaf_begin(&connector.leaf, name, CONNECTOR_FD_MAILBOX);
	leaf_listen(&connector.leaf, CONNECTOR_FD_LISTEN, on_connect);
	leaf_started(&connector.leaf);
	event_base_dispatch(connector.leaf.base);
	fatalx("the event loop ended");
}
