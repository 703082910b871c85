/*
 * server.h - the supervisor role: it accepts, forks, reaps, restarts and stops.
 * It parses nothing that a client sent.
 */
#ifndef SERVER_H
#define SERVER_H

#include "common/config.h"

/* Runs until SIGTERM or SIGINT. Returns the exit status. */
int server_run(const struct config *);

#endif /* SERVER_H */
