/*
 * pool.h - what the supervisor keeps for its pubsub workers: the memory that
 * they share, the slots of connections, and who has stopped beating.
 */
#ifndef POOL_H
#define POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "pubsub/pubsub.h"

struct lane;
struct pool;

/* Before the first fork. directory: of the run, lent. NULL, errno. */
struct pool *pool_new(const struct config *, const char *directory);
/* When all workers are gone: their sockets. */
void pool_remove_files(const struct pool *);
/* How many workers there are to be. */
unsigned pool_workers(const struct pool *);
/* The listening socket of worker `number`, from 1; of a connection's worker. */
const char *pool_path(const struct pool *, unsigned number);
/* Of all of them. */
char *const *pool_paths(const struct pool *);
const char *pool_path_for(const struct pool *, uint64_t connection);
void pool_start(const struct pool *, unsigned number, struct pubsub_start *);

/* Around the fork of a worker: it has what they share. */
void pool_worker_forks(struct pool *, unsigned number, bool);
/* Around the fork of presence: it has the slots. */
void pool_presence_forks(struct pool *, bool);
const struct shared *pool_shared(const struct pool *);
/* Has it not beaten for too long? */
bool pool_worker_hangs(const struct pool *, unsigned number);

/*
 * A connection: its slot. Around the fork of its transport: it has its lane.
 * SLOT_NONE, and no lane: there is none left; it gets its broadcasts by the
 * mailbox.
 */
uint32_t pool_slot(struct pool *, uint64_t connection);
struct lane *pool_lane(const struct pool *, uint32_t slot);
void pool_transport_forks(struct pool *, uint32_t slot, bool);
void pool_slot_is(struct pool *, uint32_t slot, pid_t);
void pool_slot_free(struct pool *, uint32_t slot);

#endif /* POOL_H */
