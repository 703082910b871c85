/*
 * request.h - what transports want of the supervisor: fixed-size requests over
 * one socket that all of them share. A transport that was taken over may send
 * anything; who it is says the kernel.
 */
#ifndef SUPERVISOR_REQUEST_H
#define SUPERVISOR_REQUEST_H

#include <sys/types.h>
#include <stdbool.h>

#include "transport/transport.h"

struct received_request {
	struct transport_request request;
	pid_t sender;
	int fd; /* that came with it, to be closed; -1: none */
};

/* The two ends: ours, and the one that transports inherit. False, errno. */
bool request_pair(int fds[2]);
/* 1: there is one; 0: that was none; -1: there are no more. */
int request_receive(int fd, struct received_request *);

#endif /* SUPERVISOR_REQUEST_H */
