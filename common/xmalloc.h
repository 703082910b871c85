/*
 * xmalloc.h - allocation that does not fail: out of memory is fatal, and the
 * supervisor of the process is the error handling. Never use it for a size that
 * a client chose without a limit.
 */
#ifndef XMALLOC_H
#define XMALLOC_H

#include <stddef.h>

#include "common/log.h"

void *xmalloc(size_t) __attribute__((__malloc__));
void *xcalloc(size_t, size_t) __attribute__((__malloc__));
void *xrealloc(void *, size_t);
void *xmemdup(const void *, size_t); /* with a NUL behind it */
char *xstrdup(const char *);
char *xasprintf(const char *, ...) printflike(1, 2);

#endif /* XMALLOC_H */
