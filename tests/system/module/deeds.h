/*
 * deeds.h - what a channel of the tests does to itself, and to those around it.
 */
#ifndef DEEDS_H
#define DEEDS_H

#include <bennu/channel.h>

/*
 * what: {"do": NAME, ...}. Most deeds do not return. False: there is no such
 * deed.
 */
bool deed_do(struct bennu_socket *, const cJSON *what);

/* A member as text or number; the default when it is not there. */
const char *member_text(const cJSON *, const char *name, const char *other);
double member_number(const cJSON *, const char *name, double other);

/* Deeds against the mailbox and the parent: hostile.c. */
struct deed {
	const char *name;
	void (*run)(struct bennu_socket *, const cJSON *what);
};
extern const struct deed hostile_deeds[]; /* ends with a NULL name */

#endif /* DEEDS_H */
