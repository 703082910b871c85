/*
 * option.h - times that the options of a channel in bennu.conf set.
 */
#ifndef OPTION_H
#define OPTION_H

#include <bennu/channel.h>

/* Milliseconds, a day at most. What is no such number crashes the channel. */
unsigned option_ms(
    const struct bennu_socket *, const char *key, unsigned otherwise);

#endif /* OPTION_H */
