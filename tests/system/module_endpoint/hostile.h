/*
 * hostile.h - what an endpoint gone wild does to its mailbox.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stdbool.h>

/* False: no such deed. */
bool hostile_write(const char *what);

#endif /* HOSTILE_H */
