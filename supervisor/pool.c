/*
 * pool.c - see pool.h.
 */
#include <sys/resource.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/reaper.h"
#include "common/xmalloc.h"
#include "pubsub/bus.h"
#include "pubsub/shared.h"
#include "pubsub/slots.h"
#include "pubsub/tap.h"
#include "supervisor/pool.h"

#define HANG        15000 /* ms without a beat: a hang is a crash */
#define SPARE_SLOTS 64    /* of connections on their way out, and of presence */
#define OTHER_FILES 100   /* that a worker needs, beside its connections */
#define FILES_EACH  2     /* of a connection, in its worker */

struct pool {
	const struct config *config;
	const char *directory;
	unsigned nworkers;
	char *paths[PUBSUB_MAX];
	struct shared *shared;
	struct slots *slots;
};

/* Files that a worker may open for connections: the limit will be raised. */
static unsigned long long
files_for_connections(void)
{
	struct rlimit limit = { 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_max > OTHER_FILES ? limit.rlim_max - OTHER_FILES : 0;
}

static unsigned long long
files_needed(const struct config *config)
{
	return FILES_EACH * (unsigned long long)config->max_connections;
}

/* As many as there are processors, or as connections need descriptors. */
static unsigned
reckon_workers(const struct config *config)
{
	unsigned long long files = files_for_connections(), n = 1;
	cpu_set_t cpus;

	if (config->pubsub_workers > 0)
		return config->pubsub_workers;
	if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
		n = (unsigned)CPU_COUNT(&cpus);
	if (files < OTHER_FILES)
		files = OTHER_FILES;
	if (n * files < files_needed(config))
		n = (files_needed(config) + files - 1) / files;
	return n > PUBSUB_MAX ? PUBSUB_MAX : (unsigned)n;
}

static void
warn_of_few_files(const struct config *config, unsigned workers)
{
	unsigned long long files = workers * files_for_connections();

	if (files >= files_needed(config))
		return;
	log_warnx("%u pubsub workers may open files for about %llu "
		  "connections and max_connections is %u: beyond that they are "
		  "served without a lane, which is slower, and from %llu on "
		  "they wait; raise the limit of open files (RLIMIT_NOFILE) "
		  "or server.pubsub_workers, or lower server.max_connections",
	    workers, files / FILES_EACH, config->max_connections, files);
}

static size_t
power_of_two(size_t size)
{
	size_t power = 1;

	while (power < size)
		power *= 2;
	return power;
}

struct pool *
pool_new(const struct config *config, const char *directory)
{
	struct pool *pool = xcalloc(1, sizeof *pool);

	pool->config = config;
	pool->directory = directory;
	pool->nworkers = reckon_workers(config);
	warn_of_few_files(config, pool->nworkers);
	for (unsigned i = 0; i < pool->nworkers; i++)
		pool->paths[i] = xasprintf(
		    "%s/pubsub-%u.sock", directory, i + 1);
	pool->shared = shared_new(pool->nworkers,
	    (size_t)config->max_connections + config->nservices + SPARE_SLOTS,
	    power_of_two(config->journal_size));
	if (pool->shared == NULL)
		return NULL;
	pool->slots = slots_new(pool->shared);
	return pool->slots == NULL ? NULL : pool;
}

void
pool_remove_files(const struct pool *pool)
{
	for (unsigned i = 0; i < pool->nworkers; i++)
		unlink(pool->paths[i]);
	bus_remove(pool->directory);
	tap_remove(pool->directory);
}

unsigned
pool_workers(const struct pool *pool)
{
	return pool->nworkers;
}

const char *
pool_path(const struct pool *pool, unsigned number)
{
	return pool->paths[number - 1];
}

char *const *
pool_paths(const struct pool *pool)
{
	return pool->paths;
}

const char *
pool_path_for(const struct pool *pool, uint64_t connection)
{
	return pool->paths[connection % pool->nworkers];
}

void
pool_start(const struct pool *pool, unsigned number, struct pubsub_start *start)
{
	*start = (struct pubsub_start){
		.number = number,
		/* Far above a client's own bound: see pubsub.c. */
		.backlog_max = pool->config->backlog_max * 8,
		.config = pool->config,
		.shared = pool->shared,
		.run_directory = pool->directory,
	};
}

static _Atomic uint64_t *
beat_of(const struct pool *pool, unsigned number)
{
	return &pool->shared->workers[number - 1].beat_ms;
}

void
pool_worker_forks(struct pool *pool, unsigned number, bool forks)
{
	shared_inherit(pool->shared, forks);
	if (forks)
		atomic_store(beat_of(pool, number), (uint64_t)monotonic_ms());
}

void
pool_presence_forks(struct pool *pool, bool forks)
{
	shared_inherit_slots(pool->shared, forks);
}

const struct shared *
pool_shared(const struct pool *pool)
{
	return pool->shared;
}

bool
pool_worker_hangs(const struct pool *pool, unsigned number)
{
	return monotonic_ms() - (long long)atomic_load(beat_of(pool, number)) >
	    HANG;
}

uint32_t
pool_slot(struct pool *pool, uint64_t connection)
{
	return slot_take(pool->slots, connection);
}

struct lane *
pool_lane(const struct pool *pool, uint32_t slot)
{
	return slot == SLOT_NONE ? NULL : shared_lane(pool->shared, slot);
}

void
pool_transport_forks(struct pool *pool, uint32_t slot, bool forks)
{
	if (slot != SLOT_NONE)
		shared_inherit_lane(pool->shared, slot, forks);
}

void
pool_slot_is(struct pool *pool, uint32_t slot, pid_t pid)
{
	if (slot != SLOT_NONE)
		atomic_store(&pool->shared->slots[slot].pid, pid);
}

void
pool_slot_free(struct pool *pool, uint32_t slot)
{
	if (slot != SLOT_NONE)
		slot_free(pool->slots, slot);
}
