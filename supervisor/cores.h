/*
 * cores.h - which core a connection has.
 */
#ifndef CORES_H
#define CORES_H

#include <sys/types.h>

#include <stdint.h>

/*
 * A transport and its channels stay on one core, each connection on the next
 * one of those that we may use: a hop between two processes that would wake
 * another core costs twice (28 us against 44 us for a push and its reply).
 */
void cores_pin(pid_t transport, uint64_t connection);

#endif /* CORES_H */
