/*
 * tally.h - what an author's code counts and observes (bennu_count,
 * bennu_observe) until its callback returns; then it goes to the transport in
 * one envelope, and is added to what all others have counted (common/stats.h).
 */
#ifndef TALLY_H
#define TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "common/mailbox.h"
#include "common/stats.h"

/* Zero it to begin. */
struct tally {
	struct stats_value *values;
	size_t n, room;
};

/* NULL, or what is wrong with that: a mistake of the author. */
const char *tally_count(struct tally *, const char *name, uint64_t n);
const char *tally_observe(struct tally *, const char *name, double);
/* Sends what there is, if there is anything, and begins anew. */
void tally_send(struct tally *, struct mailbox *);

#endif /* TALLY_H */
