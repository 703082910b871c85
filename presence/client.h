/*
 * client.h - a transport's way to presence: what its channels track, and
 * questions for lists.
 *
 * All that is tracked is kept here, too. When presence dies it is connected to
 * again and told everything anew, so that it need not be trusted to remember.
 */
#ifndef PRESENCE_CLIENT_H
#define PRESENCE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/message.h"
#include "presence/tracked.h"

struct event_base;
struct presence_client;

/* path: of presence's socket, lent. It is connected to when first needed. */
struct presence_client *presence_client_new(
    struct event_base *, const char *path, uint64_t connection, uint32_t slot);
void presence_client_free(struct presence_client *);

/*
 * False: nonsense, and nothing happens. prev NULL: this channel must not track
 * that key on that topic; else it must, and prev be the ref that it has there.
 */
bool presence_client_track(struct presence_client *, const struct presence *);
/* Of topic and key; nothing when there is none. */
void presence_client_untrack(struct presence_client *, uint64_t channel,
    const struct text *topic, const struct text *key);
/* All of a channel that has ended. */
void presence_client_drop(struct presence_client *, uint64_t channel);
/* Bytes and number of entries that are kept. */
size_t presence_client_bytes(const struct presence_client *);
size_t presence_client_count(const struct presence_client *);
/*
 * The list of a topic, or of a key (NULL: all), goes as one envelope PR_LISTED
 * over fd, which is taken. When it is closed without that: ask again.
 */
void presence_client_list(struct presence_client *, const struct text *topic,
    const struct text *key, int fd);

#endif /* PRESENCE_CLIENT_H */
