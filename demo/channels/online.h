/*
 * online.h - what channels with presences have in common.
 */
#ifndef ONLINE_H
#define ONLINE_H

#include <bennu/channel.h>

/* {"online_at": "1767225600", name: value}: Unix seconds. The value is given.
 */
cJSON *online_meta(const char *name, cJSON *value);

/*
 * Tracks the key on the channel's topic, from now on; with the list of all to
 * the client (presence_state), and whatever `greet` pushes before it, unless
 * NULL. The meta is given. Where that fails the channel is stopped.
 */
void online_begin(struct bennu_socket *, const char *key, cJSON *meta,
    void (*greet)(struct bennu_socket *));

#endif /* ONLINE_H */
