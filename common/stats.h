/*
 * stats.h - counters and histograms in memory that the supervisor makes before
 * the first fork and that it and all transports share. Nobody else has it: what
 * an author's code counts comes to its transport as an envelope
 * (channel/tally.h), and is added there.
 *
 * Nobody waits for anybody. A name is written in full before it is published,
 * by one compare-and-swap; who is killed in between leaves an entry unused and
 * nothing else. Whatever is read here may have been written by a transport that
 * was taken over: indices and names are checked by who reads.
 */
#ifndef STATS_H
#define STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATS_NAME_MAX  64  /* bytes of a name */
#define STATS_NAMES_MAX 256 /* names; what comes beyond is dropped, counted */
#define STATS_BUCKETS   23  /* the last one is +Inf */

/* Bennu's own counters: see the table in stats.c. */
enum stats_own {
	STATS_CONNECTIONS,
	STATS_REFUSED,
	STATS_JOINS,
	STATS_JOINS_REFUSED,
	STATS_JOINS_CRASHED,
	STATS_CRASHES,
	STATS_RESTARTS,
	STATS_DROPPED_BROADCASTS,
	STATS_DROPPED_METRICS,
	STATS_OWN_MAX,
};

enum stats_kind {
	STATS_COUNTER = 1,
	STATS_HISTOGRAM,
};

/* What is to be added to one name; or, from stats_get, what there is. */
struct stats_value {
	enum stats_kind kind;
	char name[STATS_NAME_MAX + 1];
	uint64_t n; /* of a counter */
	double sum; /* of a histogram, as what follows */
	uint64_t buckets[STATS_BUCKETS];
};

struct stats;

/* NULL with errno. */
struct stats *stats_map(void);
/* Whether children of this process get it. */
void stats_inherit(struct stats *, bool);

/* All do nothing when there are no stats (NULL). */
void stats_own(struct stats *, enum stats_own);
/* Dropped, and counted, when the name is another kind's or one too many. */
void stats_add(struct stats *, const struct stats_value *);

/* What is under a number from 0 to STATS_NAMES_MAX - 1; false: nothing. */
bool stats_get(const struct stats *, size_t, struct stats_value *);
uint64_t stats_get_own(const struct stats *, enum stats_own, const char **name);

/*
 * [a-zA-Z_][a-zA-Z0-9_]{0,63}; not Bennu's own (bennu_...), and not what a
 * histogram's parts are called (..._bucket, ..._sum, ..._count).
 */
bool stats_name_is_good(const char *, size_t);
/* Finite values only. */
size_t stats_bucket(double);
/* The upper bound of a bucket, as text; "+Inf" of the last one. */
const char *stats_bound(size_t);

#endif /* STATS_H */
