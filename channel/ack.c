/*
 * ack.c - see ack.h, and bennu_push_acked in bennu/channel.h.
 */
#include <stdlib.h>
#include <string.h>

#include "channel/ack.h"
#include "channel/socket.h"
#include "common/log.h"
#include "common/xmalloc.h"

static struct ack *
find(struct bennu_socket *socket, const char *id)
{
	struct ack *ack;

	LIST_FOREACH (ack, &socket->acks, entry)
		if (strcmp(ack->id, id) == 0)
			return ack;
	return NULL;
}

static void
forget(struct ack *ack)
{
	LIST_REMOVE(ack, entry);
	free(ack->id);
	free(ack);
}

void
bennu_push_acked(struct bennu_socket *socket, const char *event,
    struct bennu_payload payload, const char *id, unsigned timeout,
    enum bennu_ack_policy policy)
{
	struct ack *ack = find(socket, id);

	if (policy < BENNU_ACK_CRASH || policy > BENNU_ACK_LOG)
		socket_mistake(
		    socket, "bennu_push_acked: policy %d is none", (int)policy);
	bennu_push(socket, event, payload);
	if (ack != NULL) {
		timers_cancel(&socket->timers, ack->timer);
	} else {
		ack = xcalloc(1, sizeof *ack);
		ack->id = xstrdup(id);
		LIST_INSERT_HEAD(&socket->acks, ack, entry);
	}
	ack->policy = policy;
	ack->timer = bennu_send_after(socket, timeout, event, NULL);
}

bool
bennu_acked(struct bennu_socket *socket, const char *id)
{
	struct ack *ack = find(socket, id);

	if (ack == NULL)
		return false;
	timers_cancel(&socket->timers, ack->timer);
	forget(ack);
	return true;
}

static void
apply(struct bennu_socket *socket, const struct ack *ack)
{
	log_warnx("no acknowledgment received for message %s", ack->id);
	switch (ack->policy) {
	case BENNU_ACK_CRASH:
		bennu_stop(socket, BENNU_ERROR, "no acknowledgment");
		break;
	case BENNU_ACK_CLOSE:
		bennu_close(socket);
		break;
	case BENNU_ACK_LOG:
		break;
	}
}

bool
ack_expired(struct bennu_socket *socket, unsigned timer)
{
	struct ack *ack;

	LIST_FOREACH (ack, &socket->acks, entry)
		if (ack->timer == timer) {
			apply(socket, ack);
			forget(ack);
			return true;
		}
	return false;
}
