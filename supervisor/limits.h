/*
 * limits.h - how many connections there may be, in all and from one address,
 * and which addresses wait because their transports crashed.
 *
 * An address is an IPv4 address or an IPv6 /64 (whoever has one has all of
 * them). Who comes over a unix socket has none: a proxy stands there, which
 * limits its own clients.
 *
 * The tables do not exist in children (MADV_DONTFORK): the size of the
 * supervisor is what every fork costs.
 */
#ifndef LIMITS_H
#define LIMITS_H

#include <sys/socket.h>
#include <stdbool.h>
#include <stdint.h>

struct config;
struct limits;

enum limits_verdict {
	LIMITS_OK,
	LIMITS_TOO_MANY,              /* max_connections */
	LIMITS_TOO_MANY_FROM_ADDRESS, /* max_connections_per_address */
	LIMITS_PENALTY,               /* it crashed crash_limit transports */
};

/* What a peer counts as; kept with its connection and given back. */
struct limits_key {
	uint64_t address;
	uint32_t family; /* 0: has no address */
};

/* max_connections, max_connections_per_address, crash_limit, crash_period. */
struct limits *limits_new(const struct config *);
void limits_free(struct limits *);

struct limits_key limits_key(const struct sockaddr *, socklen_t);

/*
 * May this one have a connection? LIMITS_OK counts it; each such call is
 * followed by one limits_release. A refusal is logged: the first at once, then
 * one line a second at most, with the number of those that had none. now is in
 * ms of CLOCK_MONOTONIC.
 */
enum limits_verdict limits_admit(
    struct limits *, const struct limits_key *, long long now);
void limits_release(struct limits *, const struct limits_key *);

/* Is it a signal that an attack on memory would end in? */
bool limits_is_crash(int wait_status);
/*
 * A transport of this address died so. From crash_limit deaths within
 * crash_period on the address is refused until the first of them is older.
 */
void limits_crashed(struct limits *, const struct limits_key *, long long now);

/* How many are admitted now. */
unsigned limits_count(const struct limits *);

#endif /* LIMITS_H */
