/*
 * systemd.h - the two small protocols of systemd that a server needs, without
 * its library: sd_notify(3) and sd_listen_fds(3). Without systemd both do
 * nothing.
 */
#ifndef SYSTEMD_H
#define SYSTEMD_H

#include <stddef.h>

/*
 * Tells systemd what is in the text: "READY=1", "STOPPING=1", "STATUS=...".
 * Nobody listens ($NOTIFY_SOCKET is not set): does nothing. Errors are logged.
 */
void systemd_notify(const char *state);

/*
 * Fills in the sockets that systemd has opened for this process (close on exec)
 * and forgets the variables, so that children do not take them for theirs.
 * Returns their number, 0 without any, or -1 (logged) when there are more than
 * max or the variables make no sense; then nothing is taken.
 */
int systemd_listen_fds(int *fds, size_t max);

#endif /* SYSTEMD_H */
