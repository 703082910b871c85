/*
 * module.h - the author's shared objects: loaded and checked before the first
 * fork, so that every worker shares their pages.
 */
#ifndef MODULE_H
#define MODULE_H

#include "common/config.h"

/*
 * Loads the module of every channel of the configuration and fills in its
 * callbacks. NULL, or what is wrong with which and where (malloc'd).
 */
char *modules_load(struct config *);

#endif /* MODULE_H */
