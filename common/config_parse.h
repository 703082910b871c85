/*
 * config_parse.h - the file as libConfuse's tree of sections. Each value of a
 * key is a struct config_parsed; only options blocks hold plain strings.
 */
#ifndef CONFIG_PARSE_H
#define CONFIG_PARSE_H

#include <confuse.h>
#include <stddef.h>

/* A value as it was found. */
struct config_parsed {
	int line;
	char text[];
};

/* To be freed with cfg_free; NULL with *error (malloc'd). */
cfg_t *config_parse(const char *path, char **error);

/* By the plain name, where cfg_getopt would take it for a path. */
const cfg_opt_t *config_parse_option(const cfg_t *, const char *name);
const struct config_parsed *config_parse_value(const cfg_opt_t *, size_t);
/* Where a section begins; 0 when it may stand in several places. */
int config_parse_line(const cfg_t *);

#endif /* CONFIG_PARSE_H */
