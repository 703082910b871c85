/*
 * option.h - times that options in bennu.conf set.
 */
#ifndef OPTION_H
#define OPTION_H

#include <bennu/channel.h>

/* Milliseconds, a day at most. False: the text is no such number. */
bool option_parse_ms(const char *text, unsigned *ms);

/* Those of a channel. What is no such number crashes it. */
unsigned option_ms(
    const struct bennu_socket *, const char *key, unsigned otherwise);

#endif /* OPTION_H */
