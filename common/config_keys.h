/*
 * config_keys.h - the keys of bennu.conf as tables, and what their setters
 * share. Used by config.c, which loads, and config_parse.c, which asks what
 * there is.
 */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/log.h"

#define CONFIG_LIST_MAX 64 /* values of one list */

struct config;

/* One config_load. */
struct config_loader {
	struct config *config;
	const char *path;     /* as it was given, for errors; or NULL */
	char *directory;      /* that relative paths of the file are below */
	char *cwd;            /* likewise, of the environment and arguments */
	char *error;          /* the first one */
	char *shutdown_where; /* "bennu.conf:12", when it was set */
	char *drain_where;    /* likewise, of drain_limit */
};

/* A key that is being set. */
struct config_setting {
	struct config_loader *loader;
	const struct config_key *key;
	void *object; /* the struct that the key belongs to */
	char *values[CONFIG_LIST_MAX];
	/* "bennu.conf:12" or "BENNU_SERVER_USER" */
	char *where[CONFIG_LIST_MAX];
	size_t n;              /* where[0] is there even when it is 0 */
	const char *directory; /* that relative paths are below */
};

struct config_choice {
	const char *name;
	int value;
};

struct config_key {
	const char *name;
	/* -1: refused, with config_fail. */
	int (*set)(const struct config_setting *);
	size_t offset; /* of the field in the object */
	long long min, max;
	bool zero; /* 0 is allowed too */
	bool list;
	const struct config_choice *choices;
};

struct config_section {
	const char *name;
	const struct config_key *keys;
	size_t nkeys;
};

extern const struct config_section config_section_server;
extern const struct config_section config_section_socket;
extern const struct config_section config_section_channel;
extern const struct config_section config_section_endpoint;
extern const struct config_section config_section_service;
extern const struct config_section config_section_log;

/* The section that a key belongs to, or NULL. */
const char *config_section_of(const char *key);

/* Keeps "where: text" as the error, unless there is one. */
void config_fail(struct config_loader *, const char *where, const char *, ...)
    printflike(3, 4);

/* A path that does not begin with / is below directory. */
char *config_resolve(const char *directory, const char *path);

/*
 * An address as it is kept: numbers in their one spelling, a relative path of a
 * unix socket below directory. NULL with *why.
 */
char *config_normal_address(
    const char *text, const char *directory, const char **why);

/* Frees the field's value and sets it. */
void config_replace(char **field, char *value);

bool config_list_has(char *const *list, size_t n, const char *text);
void config_free_list(char ***list, size_t *n);

#endif /* CONFIG_KEYS_H */
