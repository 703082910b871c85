/*
 * limits.c - a hash table of counts and a small table of crashes.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <arpa/inet.h>
#include <netinet/in.h>

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/log.h"
#include "common/xmalloc.h"
#include "supervisor/limits.h"

/* Addresses whose crashes are remembered; the one longest quiet makes room. */
#define CULPRITS_MAX 1024

#define LOG_INTERVAL 1000 /* ms between two lines of one kind */

#define KEY_TEXT_MAX 64

/* Open addressing, linear; count 0 is a free slot. */
struct slot {
	uint64_t address;
	uint32_t family;
	uint32_t count;
};

/* The last crash_limit times, behind each other; next is the oldest. */
struct culprit {
	struct limits_key key;
	unsigned ntimes, next;
	long long last;
	long long times[];
};

/* Lines of one kind: at most one in LOG_INTERVAL. */
struct lines {
	long long logged; /* when the last one was written */
	unsigned silent;  /* what had none since */
	bool any;
};

struct limits {
	unsigned max, max_per_address;
	unsigned crash_limit;
	long long crash_period;
	uint64_t seed; /* clients choose addresses, not where they land */
	unsigned count;
	struct slot *slots;
	size_t nslots; /* a power of two, at least twice max */
	char *culprits;
	size_t nculprits;
	long long pruned; /* when old crashes were last forgotten */
	struct lines refusals[LIMITS_PENALTY + 1];
	struct lines penalties;
};

static void *
map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || madvise(p, size, MADV_DONTFORK) == -1)
		fatal("memory for limits");
	return p;
}

static size_t
culprit_size(const struct limits *limits)
{
	return sizeof(struct culprit) + limits->crash_limit * sizeof(long long);
}

struct limits *
limits_new(const struct config *config)
{
	struct limits *limits = xcalloc(1, sizeof *limits);

	limits->max = config->max_connections;
	limits->max_per_address = config->max_connections_per_address;
	limits->crash_limit = config->crash_limit;
	limits->crash_period = config->crash_period;
	arc4random_buf(&limits->seed, sizeof limits->seed);
	limits->nslots = 16;
	while (limits->nslots < 2 * (size_t)limits->max)
		limits->nslots *= 2;
	limits->slots = map(limits->nslots * sizeof *limits->slots);
	if (limits->crash_limit > 0)
		limits->culprits = map(CULPRITS_MAX * culprit_size(limits));
	return limits;
}

void
limits_free(struct limits *limits)
{
	if (limits == NULL)
		return;
	munmap(limits->slots, limits->nslots * sizeof *limits->slots);
	if (limits->culprits != NULL)
		munmap(limits->culprits, CULPRITS_MAX * culprit_size(limits));
	free(limits);
}

static struct limits_key
key_of_ipv6(const struct in6_addr *address)
{
	struct limits_key key = { .family = AF_INET6 };
	uint32_t ipv4;

	if (IN6_IS_ADDR_V4MAPPED(address)) {
		memcpy(&ipv4, &address->s6_addr[12], sizeof ipv4);
		return (
		    struct limits_key){ .address = ipv4, .family = AF_INET };
	}
	memcpy(&key.address, address, sizeof key.address);
	return key;
}

struct limits_key
limits_key(const struct sockaddr *sa, socklen_t size)
{
	if (sa->sa_family == AF_INET && size >= sizeof(struct sockaddr_in))
		return (struct limits_key){
			.address =
			    ((const struct sockaddr_in *)sa)->sin_addr.s_addr,
			.family = AF_INET,
		};
	if (sa->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6))
		return key_of_ipv6(
		    &((const struct sockaddr_in6 *)sa)->sin6_addr);
	return (struct limits_key){ .family = 0 };
}

static void
format_key(const struct limits_key *key, char text[KEY_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN];
	struct in6_addr in6 = { .s6_addr = { 0 } };
	struct in_addr in;

	if (key->family == AF_INET) {
		in.s_addr = (in_addr_t)key->address;
		inet_ntop(AF_INET, &in, text, KEY_TEXT_MAX);
	} else if (key->family == AF_INET6) {
		memcpy(&in6, &key->address, sizeof key->address);
		inet_ntop(AF_INET6, &in6, host, sizeof host);
		snprintf(text, KEY_TEXT_MAX, "%s/64", host);
	} else {
		snprintf(text, KEY_TEXT_MAX, "unix");
	}
}

/* A mixing of bits that nobody can aim at without the seed. */
static size_t
slot_of(const struct limits *limits, const struct limits_key *key)
{
	uint64_t h = (key->address ^ limits->seed) + key->family;

	h = (h ^ (h >> 32)) * (limits->seed | 1);
	h = (h ^ (h >> 29)) * 0x9e3779b97f4a7c15;
	return (h ^ (h >> 32)) & (limits->nslots - 1);
}

/* The slot of the address, or the free one where it would go. */
static struct slot *
find_slot(const struct limits *limits, const struct limits_key *key)
{
	size_t i = slot_of(limits, key);

	for (;; i = (i + 1) & (limits->nslots - 1)) {
		struct slot *slot = &limits->slots[i];

		if (slot->count == 0 ||
		    (slot->address == key->address &&
			slot->family == key->family))
			return slot;
	}
}

/* Closes the hole at i: what would have stood there moves up. */
static void
remove_slot(struct limits *limits, size_t i)
{
	size_t mask = limits->nslots - 1;
	size_t j = i;

	for (;;) {
		struct limits_key key;
		size_t home;

		limits->slots[i].count = 0;
		do {
			j = (j + 1) & mask;
			if (limits->slots[j].count == 0)
				return;
			key.address = limits->slots[j].address;
			key.family = limits->slots[j].family;
			home = slot_of(limits, &key);
			/* It stays when its home is behind the hole. */
		} while (((j - home) & mask) < ((j - i) & mask));
		limits->slots[i] = limits->slots[j];
		i = j;
	}
}

static struct culprit *
culprit_at(const struct limits *limits, size_t i)
{
	return (struct culprit *)(limits->culprits + i * culprit_size(limits));
}

static struct culprit *
find_culprit(const struct limits *limits, const struct limits_key *key)
{
	for (size_t i = 0; i < limits->nculprits; i++) {
		struct culprit *culprit = culprit_at(limits, i);

		if (culprit->key.address == key->address &&
		    culprit->key.family == key->family)
			return culprit;
	}
	return NULL;
}

static struct culprit *
add_culprit(struct limits *limits, const struct limits_key *key)
{
	struct culprit *culprit = culprit_at(limits, 0);

	if (limits->nculprits < CULPRITS_MAX) {
		culprit = culprit_at(limits, limits->nculprits++);
	} else {
		for (size_t i = 1; i < CULPRITS_MAX; i++)
			if (culprit_at(limits, i)->last < culprit->last)
				culprit = culprit_at(limits, i);
	}
	culprit->key = *key;
	culprit->ntimes = 0;
	culprit->next = 0;
	return culprit;
}

/* Forgets who has been quiet for crash_period, once in such a time. */
static void
prune_culprits(struct limits *limits, long long now)
{
	if (limits->nculprits == 0 ||
	    now - limits->pruned < limits->crash_period)
		return;
	limits->pruned = now;
	for (size_t i = limits->nculprits; i-- > 0;) {
		if (now - culprit_at(limits, i)->last < limits->crash_period)
			continue;
		limits->nculprits--;
		memmove(culprit_at(limits, i),
		    culprit_at(limits, limits->nculprits),
		    culprit_size(limits));
	}
}

static bool
is_punished(
    const struct limits *limits, const struct limits_key *key, long long now)
{
	const struct culprit *culprit;

	if (limits->nculprits == 0 || key->family == 0)
		return false;
	culprit = find_culprit(limits, key);
	return culprit != NULL && culprit->ntimes == limits->crash_limit &&
	    now - culprit->times[culprit->next] < limits->crash_period;
}

bool
limits_is_crash(int status)
{
	if (!WIFSIGNALED(status))
		return false;
	return WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS ||
	    WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGFPE ||
	    WTERMSIG(status) == SIGABRT;
}

static bool
may_log(struct lines *lines, long long now)
{
	if (lines->any && now - lines->logged < LOG_INTERVAL) {
		lines->silent++;
		return false;
	}
	lines->any = true;
	lines->logged = now;
	return true;
}

static void
log_penalty(struct limits *limits, const struct limits_key *key, long long now)
{
	char text[KEY_TEXT_MAX];
	unsigned more = limits->penalties.silent;

	if (!may_log(&limits->penalties, now))
		return;
	limits->penalties.silent = 0;
	format_key(key, text);
	log_warnx("%s waits: %u transports of it crashed within %lld ms", text,
	    limits->crash_limit, limits->crash_period);
	if (more > 0)
		log_warnx("%u more such crashes since the last line", more);
}

void
limits_crashed(
    struct limits *limits, const struct limits_key *key, long long now)
{
	struct culprit *culprit;

	if (limits->crash_limit == 0 || key->family == 0)
		return;
	prune_culprits(limits, now);
	culprit = find_culprit(limits, key);
	if (culprit == NULL)
		culprit = add_culprit(limits, key);
	culprit->last = now;
	culprit->times[culprit->next] = now;
	culprit->next = (culprit->next + 1) % limits->crash_limit;
	if (culprit->ntimes < limits->crash_limit)
		culprit->ntimes++;
	if (is_punished(limits, key, now))
		log_penalty(limits, key, now);
}

static const char *
verdict_reason(enum limits_verdict verdict)
{
	switch (verdict) {
	case LIMITS_OK:
		return "";
	case LIMITS_TOO_MANY:
		return "max_connections are there";
	case LIMITS_TOO_MANY_FROM_ADDRESS:
		return "max_connections_per_address are there";
	case LIMITS_PENALTY:
		return "its address waits after crashes";
	}
	return "";
}

static void
log_refusal(struct limits *limits, const struct limits_key *key,
    enum limits_verdict verdict, long long now)
{
	char text[KEY_TEXT_MAX];

	if (!may_log(&limits->refusals[verdict], now))
		return;
	format_key(key, text);
	log_warnx("%s: connection refused: %s", text, verdict_reason(verdict));
}

/* Those without a line get one together, when their second is over. */
static void
log_silent(struct limits *limits, long long now)
{
	for (int verdict = LIMITS_TOO_MANY; verdict <= LIMITS_PENALTY;
	     verdict++) {
		struct lines *refusals = &limits->refusals[verdict];

		if (refusals->silent == 0 ||
		    now - refusals->logged < LOG_INTERVAL)
			continue;
		log_warnx("%u more connections refused: %s", refusals->silent,
		    verdict_reason((enum limits_verdict)verdict));
		refusals->silent = 0;
		refusals->logged = now;
	}
}

static enum limits_verdict
judge(const struct limits *limits, const struct limits_key *key, long long now)
{
	if (is_punished(limits, key, now))
		return LIMITS_PENALTY;
	if (limits->count >= limits->max)
		return LIMITS_TOO_MANY;
	if (key->family != 0 && limits->max_per_address != 0 &&
	    find_slot(limits, key)->count >= limits->max_per_address)
		return LIMITS_TOO_MANY_FROM_ADDRESS;
	return LIMITS_OK;
}

enum limits_verdict
limits_admit(struct limits *limits, const struct limits_key *key, long long now)
{
	enum limits_verdict verdict;
	struct slot *slot;

	prune_culprits(limits, now);
	verdict = judge(limits, key, now);
	log_silent(limits, now);
	if (verdict != LIMITS_OK) {
		log_refusal(limits, key, verdict, now);
		return verdict;
	}
	limits->count++;
	if (key->family == 0)
		return LIMITS_OK;
	slot = find_slot(limits, key);
	slot->address = key->address;
	slot->family = key->family;
	slot->count++;
	return LIMITS_OK;
}

void
limits_release(struct limits *limits, const struct limits_key *key)
{
	struct slot *slot;

	assert(limits->count > 0);
	limits->count--;
	if (key->family == 0)
		return;
	slot = find_slot(limits, key);
	assert(slot->count > 0);
	if (--slot->count == 0)
		remove_slot(limits, (size_t)(slot - limits->slots));
}

unsigned
limits_count(const struct limits *limits)
{
	return limits->count;
}
