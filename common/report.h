/*
 * report.h - what a supervisor says of its children, one line each. Private to
 * supervise.c.
 *
 *     bennu_sup: started: pubsub 1[4711] permanent
 *     bennu_sup: child_terminated: pubsub 1[4711] permanent: signal 11
 *         (Segmentation fault), restart 1 of 10 in 10 s
 *     bennu_sup: start_error: pubsub 1 permanent: fork: Resource temporarily
 *         unavailable, restart 11 of 10 in 10 s, after 20 ms
 *     bennu_sup: shutdown_error: pubsub 1[4711] permanent: killed, did not end
 *         in 5000 ms
 *     bennu_sup: shutdown: reached_max_restart_intensity: pubsub 1
 *
 * What ended as it should is "ended", at info level, or debug when quiet.
 */
#ifndef REPORT_H
#define REPORT_H

#include "common/supervise.h"

void report_ready(const struct supervisor_flags *, const struct child *);
/* pause: ms before it is started again. more: words of the owner, or "". */
void report_death(const struct supervisor_flags *, const struct child *,
    const struct obituary *, long long pause, const char *more);
void report_shutdown(
    const struct supervisor_flags *, const struct child *, const char *why);

#endif /* REPORT_H */
