/*
 * ack.h - pushes that wait for their acknowledgment: a set of ids, each with a
 * timer of the channel.
 */
#ifndef ACK_H
#define ACK_H

#include <sys/queue.h>
#include <stdbool.h>

#include <bennu/channel.h>

struct ack {
	char *id;
	unsigned timer;
	enum bennu_ack_policy policy;
	LIST_ENTRY(ack) entry;
};
LIST_HEAD(acks, ack);

/* The timer is the one of a pending acknowledgment: does what its policy says
 * and returns true. */
bool ack_expired(struct bennu_socket *, unsigned timer);

#endif /* ACK_H */
