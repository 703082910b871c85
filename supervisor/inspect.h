/*
 * inspect.h - bennu inspect: what channels are doing, as the server says it
 * over HTTP. Where it listens, and the token that it wants, it has written into
 * its run directory.
 */
#ifndef SUPERVISOR_INSPECT_H
#define SUPERVISOR_INSPECT_H

#include <stdbool.h>

/*
 * Prints a line of JSON for each channel that is named: "channel/17/3", or
 * "#17.3" as ps(1) shows it, or a topic, of which all channels are meant; a *
 * at its end stands for anything. No names: all channels. False, and a line on
 * standard error: one is not there, or did not answer. Exits with status
 * `failed` when there is nobody to ask.
 */
bool inspect_channels(
    const char *directory, int n, char *const *names, int failed);

#endif /* SUPERVISOR_INSPECT_H */
