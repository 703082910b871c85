/*
 * push.h - POST /api/push and the channels it reaches, after PushEx (DEMOS.md
 * 0.4): who pushes needs no socket, only HTTP.
 *
 * What is broadcast is {"data", "event", "at"}; at, in milliseconds since 1970,
 * is when the request came, and goes no further than the channel.
 */
#ifndef PUSH_H
#define PUSH_H

#include <time.h>

#include <bennu/endpoint.h>

#define PUSH_EVENT "msg"

static inline double
push_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* The route's handler. */
void push_request(struct bennu_conn *);

#endif /* PUSH_H */
