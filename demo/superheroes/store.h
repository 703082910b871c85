/*
 * store.h - superheroes in a sqlite database. A handle belongs to the process
 * that opened it: handlers and channels open their own, never across a fork.
 */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stddef.h>

#define STORE_WAIT      2000 /* ms that another process may hold the lock */
#define STORE_POWER_MAX 100
#define STORE_TEXT_MAX  255 /* characters of a name */

struct store;

struct hero {
	long long id;
	char *name;           /* NULL in an update: stays as it is */
	char *location;       /* likewise */
	int power;            /* 0 in an update: stays as it is */
	long long updated_at; /* us since 1970; each write of a hero is later */
};

enum store_status {
	STORE_OK,
	STORE_NONE,   /* no such hero */
	STORE_BUSY,   /* the lock was held for STORE_WAIT */
	STORE_BROKEN, /* store_error says why */
};

/* Makes the file and its tables when they are not there. *store is NULL unless
 * STORE_OK; then error says why. */
enum store_status store_open(
    const char *path, struct store **, char *error, size_t size);
void store_close(struct store *); /* NULL is fine */
const char *store_error(const struct store *);

/* All of them, oldest first; the hero is lent. */
enum store_status store_each(
    struct store *, void (*)(const struct hero *, void *), void *);
/*
 * These fill the hero with what is stored now (deleted: what was stored, and
 * when it was deleted): hero_clear it, whatever they return. What is given of
 * its texts is lent and replaced.
 */
enum store_status store_get(struct store *, struct hero *);
enum store_status store_insert(struct store *, struct hero *);
enum store_status store_update(struct store *, struct hero *);
enum store_status store_delete(struct store *, struct hero *);
void hero_clear(struct hero *);

#endif /* STORE_H */
