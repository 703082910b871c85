/*
 * fetcher.h - the fetch role: a process that lasts and runs the fetch callbacks
 * of the application's channels for what presence is about to tell.
 *
 * Presence asks (ENVELOPE_FETCH) and is answered in the same order (FETCHED).
 * What crashes here, or takes too long, costs the additions to one diff.
 */
#ifndef FETCHER_H
#define FETCHER_H

#include <bennu/channel.h>

#include "common/config.h"
#include "common/json.h"
#include "common/message.h"
#include "common/process.h"

/* Its descriptors, beside the standard ones. */
#define FETCHER_FD_LISTEN  PROCESS_FD       /* presence connects here */
#define FETCHER_FD_MAILBOX (PROCESS_FD + 1) /* to the supervisor */

#define FETCH_LIMIT 5000 /* ms that a callback may take */

struct fetcher_start {
	const struct config *config;
};

/* arg: struct fetcher_start. For process_fork. */
_Noreturn void fetcher_run(void *arg);

/* Whose fetch it is: that of the first socket with a channel for the topic that
 * has one. NULL: nobody's. */
const struct bennu_channel *fetch_of(
    const struct config *, const struct text *topic);
/* Does any channel have one? */
bool fetch_is_needed(const struct config *);
/*
 * Runs it on the JSON of an object of presences: malloc'd JSON, to be freed;
 * NULL when that is no object, or there is no memory.
 */
char *fetch_apply(const struct bennu_channel *, const char *topic,
    const struct text *presences);

#endif /* FETCHER_H */
