/*
 * stats.c - see stats.h. A hash table of numbers, each of which is 0 or that of
 * an entry, and the entries in the order in which they were taken.
 */
#include <sys/mman.h>

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/stats.h"

#define PLACES (2 * STATS_NAMES_MAX) /* so that a search is short */

struct entry {
	char name[STATS_NAME_MAX]; /* padded with NULs; constant once published
				    */
	uint32_t kind;             /* likewise */
	_Atomic uint64_t n;
	_Atomic uint64_t sum; /* the bits of a double */
	_Atomic uint64_t buckets[STATS_BUCKETS];
};

struct stats {
	_Atomic uint64_t own[STATS_OWN_MAX];
	_Atomic uint32_t taken;          /* entries */
	_Atomic uint32_t places[PLACES]; /* number of an entry + 1 */
	struct entry entries[STATS_NAMES_MAX];
};

static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock would be left held");

static const char *const own_names[STATS_OWN_MAX] = {
	[STATS_CONNECTIONS] = "bennu_connections_total",
	[STATS_REFUSED] = "bennu_connections_refused_total",
	[STATS_JOINS] = "bennu_joins_total",
	[STATS_JOINS_REFUSED] = "bennu_joins_refused_total",
	[STATS_JOINS_CRASHED] = "bennu_joins_crashed_total",
	[STATS_CRASHES] = "bennu_channel_crashes_total",
	[STATS_RESTARTS] = "bennu_channel_restarts_total",
	[STATS_DROPPED_BROADCASTS] = "bennu_broadcasts_dropped_total",
	[STATS_DROPPED_METRICS] = "bennu_metrics_dropped_total",
};

static const struct {
	double value;
	const char *text;
} bounds[STATS_BUCKETS - 1] = {
	{ 0.001, "0.001" },
	{ 0.0025, "0.0025" },
	{ 0.005, "0.005" },
	{ 0.01, "0.01" },
	{ 0.025, "0.025" },
	{ 0.05, "0.05" },
	{ 0.1, "0.1" },
	{ 0.25, "0.25" },
	{ 0.5, "0.5" },
	{ 1, "1" },
	{ 2.5, "2.5" },
	{ 5, "5" },
	{ 10, "10" },
	{ 25, "25" },
	{ 50, "50" },
	{ 100, "100" },
	{ 250, "250" },
	{ 500, "500" },
	{ 1000, "1000" },
	{ 2500, "2500" },
	{ 5000, "5000" },
	{ 10000, "10000" },
};

/* An entry that was taken and that another process was quicker to publish:
 * the next new name of this process gets it. */
static uint32_t spare;

struct stats *
stats_map(void)
{
	void *map = mmap(NULL, sizeof(struct stats), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

void
stats_inherit(struct stats *stats, bool inherit)
{
	if (stats != NULL &&
	    madvise(stats, sizeof *stats,
		inherit ? MADV_DOFORK : MADV_DONTFORK) == -1)
		fatal("the memory of the counters");
}

/* ---- names and buckets ---- */

static bool
ends_with(const char *name, size_t size, const char *end)
{
	size_t n = strlen(end);

	return size >= n && memcmp(name + size - n, end, n) == 0;
}

bool
stats_name_is_good(const char *name, size_t size)
{
	static const char own[] = "bennu_";
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

	if (size == 0 || size > STATS_NAME_MAX || memchr(name, '\0', size) ||
	    (name[0] >= '0' && name[0] <= '9'))
		return false;
	for (size_t i = 0; i < size; i++)
		if (strchr(letters, name[i]) == NULL)
			return false;
	return !(size >= strlen(own) && memcmp(name, own, strlen(own)) == 0) &&
	    !ends_with(name, size, "_bucket") &&
	    !ends_with(name, size, "_sum") && !ends_with(name, size, "_count");
}

size_t
stats_bucket(double value)
{
	size_t i = 0;

	while (i < STATS_BUCKETS - 1 && value > bounds[i].value)
		i++;
	return i;
}

const char *
stats_bound(size_t i)
{
	assert(i < STATS_BUCKETS);
	return i == STATS_BUCKETS - 1 ? "+Inf" : bounds[i].text;
}

/* ---- the table ---- */

static uint32_t
hash(const char *name)
{
	uint32_t h = 2166136261U; /* FNV-1a */

	for (size_t i = 0; i < STATS_NAME_MAX && name[i] != '\0'; i++)
		h = (h ^ (unsigned char)name[i]) * 16777619U;
	return h;
}

/* An entry that nobody else has, as its number + 1; 0: all are taken. */
static uint32_t
take_entry(struct stats *stats)
{
	uint32_t number;

	if (spare != 0) {
		number = spare;
		spare = 0;
		return number;
	}
	/* Looked at first: a counter that only rises would wrap one day. */
	if (atomic_load(&stats->taken) >= STATS_NAMES_MAX)
		return 0;
	number = atomic_fetch_add(&stats->taken, 1) + 1;
	return number > STATS_NAMES_MAX ? 0 : number;
}

static bool
fits(const struct entry *entry, const struct stats_value *value)
{
	return memcmp(entry->name, value->name, STATS_NAME_MAX) == 0;
}

/*
 * The entry of a name that is not there yet, published at an empty place; or
 * what another process has published there meanwhile. NULL: no entry is left.
 */
static struct entry *
publish(struct stats *stats, _Atomic uint32_t *place,
    const struct stats_value *value)
{
	uint32_t number = take_entry(stats), there = 0;
	struct entry *entry;

	if (number == 0)
		return NULL;
	entry = &stats->entries[number - 1];
	memcpy(entry->name, value->name, STATS_NAME_MAX);
	entry->kind = value->kind;
	if (atomic_compare_exchange_strong(place, &there, number))
		return entry;
	spare = number;
	return there > STATS_NAMES_MAX ? NULL : &stats->entries[there - 1];
}

/* NULL: there is no room for it. */
static struct entry *
find(struct stats *stats, const struct stats_value *value)
{
	uint32_t at = hash(value->name);

	for (size_t i = 0; i < PLACES; i++, at++) {
		_Atomic uint32_t *place = &stats->places[at % PLACES];
		uint32_t number = atomic_load(place);
		struct entry *entry;

		if (number > STATS_NAMES_MAX)
			return NULL; /* somebody wrote nonsense */
		entry = number == 0 ? publish(stats, place, value)
				    : &stats->entries[number - 1];
		if (entry == NULL || fits(entry, value))
			return entry;
	}
	return NULL;
}

static void
add_double(_Atomic uint64_t *bits, double value)
{
	uint64_t old = atomic_load(bits), new;
	double sum;

	do {
		memcpy(&sum, &old, sizeof sum);
		sum += value;
		memcpy(&new, &sum, sizeof new);
	} while (!atomic_compare_exchange_weak(bits, &old, new));
}

void
stats_add(struct stats *stats, const struct stats_value *value)
{
	struct entry *entry;

	if (stats == NULL)
		return;
	entry = find(stats, value);
	if (entry == NULL || entry->kind != value->kind) {
		stats_own(stats, STATS_DROPPED_METRICS);
		return;
	}
	if (value->kind == STATS_COUNTER) {
		atomic_fetch_add(&entry->n, value->n);
		return;
	}
	add_double(&entry->sum, value->sum);
	for (size_t i = 0; i < STATS_BUCKETS; i++)
		if (value->buckets[i] != 0)
			atomic_fetch_add(&entry->buckets[i], value->buckets[i]);
}

void
stats_own(struct stats *stats, enum stats_own own)
{
	if (stats != NULL)
		atomic_fetch_add(&stats->own[own], 1);
}

/* ---- reading ---- */

static bool
is_published(const struct stats *stats, size_t number)
{
	for (size_t i = 0; i < PLACES; i++)
		if (atomic_load(&stats->places[i]) == number + 1)
			return true;
	return false;
}

bool
stats_get(const struct stats *stats, size_t number, struct stats_value *value)
{
	const struct entry *entry = &stats->entries[number];
	uint64_t sum;

	assert(number < STATS_NAMES_MAX);
	if (number >= atomic_load(&stats->taken) ||
	    !is_published(stats, number))
		return false;
	memset(value, 0, sizeof *value);
	memcpy(value->name, entry->name, STATS_NAME_MAX);
	value->kind = entry->kind;
	value->n = atomic_load(&entry->n);
	sum = atomic_load(&entry->sum);
	memcpy(&value->sum, &sum, sizeof sum);
	for (size_t i = 0; i < STATS_BUCKETS; i++)
		value->buckets[i] = atomic_load(&entry->buckets[i]);
	return stats_name_is_good(value->name, strlen(value->name)) &&
	    (value->kind == STATS_COUNTER || value->kind == STATS_HISTOGRAM);
}

uint64_t
stats_get_own(const struct stats *stats, enum stats_own own, const char **name)
{
	*name = own_names[own];
	return atomic_load(&stats->own[own]);
}
