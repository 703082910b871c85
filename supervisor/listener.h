/*
 * listener.h - the listening sockets: opened before privileges are dropped,
 * adopted from systemd, accepted from on the event loop.
 *
 * What an accepted TCP connection inherits is set here, once (ARCHITECTURE.md
 * 5): no delay, a fixed send buffer; a connection that sends nothing is kept by
 * the kernel for some seconds (TCP_DEFER_ACCEPT), so that it costs no process.
 */
#ifndef LISTENER_H
#define LISTENER_H

#include <sys/socket.h>
#include <stddef.h>

struct event_base;
struct listeners;

/*
 * Opens all addresses ("127.0.0.1:4000", "[::1]:4000", "unix:/path") or none:
 * NULL with *error "listen 127.0.0.1:4000: Address already in use; ..."
 * (malloc'd). No address at all is fine.
 *
 * An IPv6 loopback address is left out, with a warning, where the kernel has no
 * IPv6 and another address is there. A unix socket is made with mode 0666, as a
 * port of this machine is open to all of its users; who wants less restricts
 * the directory. One that a dead server left is replaced, a live one is an
 * error.
 */
struct listeners *listeners_open(
    char *const *addresses, size_t n, char **error);

/*
 * Adds a stream socket that listens already, and owns it from then on. -1 with
 * *error (malloc'd) when it is none; then the caller still owns it.
 */
int listeners_adopt(struct listeners *, int fd, char **error);

size_t listeners_count(const struct listeners *);
/* The address, with the port that the kernel chose for 0. */
const char *listeners_address(const struct listeners *, size_t i);
/* The descriptor, owned by listeners; -1 when they are stopped. */
int listeners_fd(const struct listeners *, size_t i);

/*
 * A connection: non-blocking, close on exec, owned by the callee. peer is
 * "127.0.0.1:50124", "[::1]:4" or "unix". The callback may pause, resume and
 * stop, not free.
 */
typedef void (*listeners_cb)(
    int fd, const struct sockaddr *, socklen_t, const char *peer, void *arg);

/*
 * Accepts, at most 64 connections of one socket in one turn of the loop. When
 * descriptors or memory are short all sockets rest for 100 ms, then longer, up
 * to 1 s, until one was accepted again; clients wait in the backlog.
 */
void listeners_start(
    struct listeners *, struct event_base *, listeners_cb, void *arg);

/* Accepts nothing for ms, or until listeners_resume when it is 0. */
void listeners_pause(struct listeners *, unsigned ms);
void listeners_resume(struct listeners *);

/*
 * Closes the sockets and removes the files of those that it made. In a process
 * that was forked it removes nothing.
 */
void listeners_stop(struct listeners *);
/* Stops, and frees. */
void listeners_free(struct listeners *);

#endif /* LISTENER_H */
