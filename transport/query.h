/*
 * query.h - query parameters as the JSON object that an application's connect
 * sees (Plug's rules; PROTOCOL.md 1.1): percent and + decoding, a repeated name
 * counts the last time, a[b]=1 gives an object, a[]=1 a list.
 */
#ifndef QUERY_H
#define QUERY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The parameters as JSON text, malloc'd; NULL when they are malformed (bad
 * escapes, not UTF-8, more than 1,000 names, a name with more than 32 pairs of
 * brackets). A name used both as a value and as an object or list is what it
 * was last, as in Plug.
 */
char *query_to_json(const char *query, size_t *size);

/*
 * The plain string under a top-level name: malloc'd; NULL when it is absent
 * (errno is ENOENT), or when it is no string, has a NUL inside or the
 * parameters are malformed (EINVAL).
 */
char *query_get(const char *query, const char *name);

#endif /* QUERY_H */
