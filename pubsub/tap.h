/*
 * tap.h - what a pubsub worker accepts, for whoever wants to look: a PUB
 * endpoint, tap-<n>.ipc in the run directory.
 *
 *	nanocat --sub --connect ipc:///run/bennu-4000/tap-1.ipc \
 *	    --subscribe 'room:lobby' --ascii
 *
 * A message is a topic, a TAB and an object:
 *
 *	room:lobby	{"number":17,"topic":"room:lobby","event":"shout",
 *	    "payload":{"body":"hi"}}
 *
 * In front stands the topic as it stands between the quotes of a JSON string,
 * so that no topic holds the TAB. The payload is JSON as it was published;
 * what is none is {"binary": base64}. A payload for which TAP_MAX, the most
 * that nanocat takes, has no room is left out, and so is a name of more than
 * 16 KiB with all that follows it; "omitted" says how many bytes.
 *
 * Nothing is formatted unless somebody is connected. Then, every TAP_BEAT and
 * when the first one comes: a TAB and {"worker":1,"number":17}, the last entry
 * so far. nanomsg drops what a listener has no room for; numbers have no gaps,
 * so that a listener to all can tell (tap_reader.h).
 */
#ifndef TAP_H
#define TAP_H

#include <stdint.h>

#include "pubsub/journal.h"

#define TAP_BEAT 1000       /* ms */
#define TAP_MAX  (1U << 20) /* bytes of a message */

struct event_base;
struct tap;

/*
 * In a leaf that forks no more. directory: the run directory. self: index of
 * this worker, from 0. last: number of the last entry of its journal. NULL: no
 * nanomsg, or no endpoint; said in the log, why.
 */
struct tap *tap_new(
    struct event_base *, const char *directory, unsigned self, uint64_t last);
void tap_free(struct tap *); /* NULL is fine */
/* An entry of the worker's journal; each, in their order. */
void tap_published(struct tap *, const struct journal_entry *);
/* Entries that were made into text. */
uint64_t tap_formatted(const struct tap *);

char *tap_path(const char *directory, unsigned self); /* malloc'd */
/* By the supervisor, when all workers are gone: their files. */
void tap_remove(const char *directory);

#endif /* TAP_H */
