/*
 * sockets.c - the clients' sockets that transports hand over, for their lanes,
 * and what becomes of them when this process has no descriptors to spare.
 *
 * A connection without its socket here gets its frames by the mailbox: slower,
 * and in the same order. Its transport need not know: it gives the lane back
 * only when it has received as much as was counted, and what comes so is not
 * counted. So a lane can be left at any time between two writes.
 */
#include <sys/queue.h>

#include <inttypes.h>

#include "common/log.h"
#include "pubsub/lane.h"
#include "pubsub/pubsub_private.h"

void
socket_close(struct peer *peer)
{
	if (peer->fd == -1)
		return;
	TAILQ_REMOVE(&peer->pubsub->sockets, peer, of_sockets);
	mailbox_close_fd(peer->fd);
	peer->fd = -1;
}

static void
say_short(struct pubsub *pubsub)
{
	if (pubsub->said_short)
		return;
	pubsub->said_short = true;
	log_warnx("descriptors are short (RLIMIT_NOFILE): some connections are "
		  "served without a lane, which is slower");
}

bool
socket_make_room(void *arg)
{
	struct pubsub *pubsub = arg;
	struct peer *peer;

	TAILQ_FOREACH_REVERSE(peer, &pubsub->sockets, peers, of_sockets)
	if (peer->ready)
		break;
	if (peer == NULL)
		return false;
	say_short(pubsub);
	log_debug(
	    "connection #%" PRIu64 " has no lane any more", peer->connection);
	socket_close(peer);
	return true;
}

void
socket_spare(struct peer *peer)
{
	if (peer->fd == -1 || !leaf_is_spare(&peer->pubsub->leaf, peer->fd))
		return;
	say_short(peer->pubsub);
	socket_close(peer);
}

bool
socket_take(struct peer *peer)
{
	struct pubsub *pubsub = peer->pubsub;

	peer->fd = mailbox_take_fd(peer->mailbox);
	if (peer->fd != -1) {
		TAILQ_INSERT_TAIL(&pubsub->sockets, peer, of_sockets);
		if (peer->ready)
			socket_spare(peer);
		return true;
	}
	if (!mailbox_lost_fd(peer->mailbox))
		return false;
	say_short(pubsub);
	/* What is owed cannot be told without it, so it comes again. */
	peer->later = lane_is_owed(peer->lane);
	if (peer->later)
		socket_make_room(pubsub);
	return !peer->later;
}
