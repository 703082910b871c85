/*
 * config_value.h - single values of bennu.conf: numbers, sizes, times, names.
 */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>

/* NULL, or what is wrong with the text and what to write instead. */
const char *config_value_number(const char *, long long *);
/* Bytes: plain, k M G T (powers of 1000), Ki Mi Gi Ti (powers of 1024). */
const char *config_value_size(const char *, long long *);
/* Milliseconds: ms, s, min, h; only 0 needs no unit. */
const char *config_value_time(const char *, long long *);
const char *config_value_bool(const char *, bool *);
/* A rule of check_origin: scheme://host[:port] or //host[:port]. */
const char *config_value_origin(const char *);
/* The host of an origin, without a *. */
const char *config_value_host(const char *);
/* The path of a socket, without its trailing slash: "/socket". */
const char *config_value_mount(const char *);
/* "file.so:name". */
const char *config_value_module(const char *);

/*
 * Which of two is more like what was written? The best of names so far: keeps
 * candidate in *best when it is nearer than what is there, and near enough to
 * be a slip of the hand.
 */
struct config_guess {
	const char *written;
	const char *best; /* NULL: none is near */
	size_t distance;
};
void config_guess(struct config_guess *, const char *candidate);

#endif /* CONFIG_VALUE_H */
