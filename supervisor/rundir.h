/*
 * rundir.h - the run directory: where the sockets of one server lie, and the
 * lock that keeps a second one out.
 */
#ifndef RUNDIR_H
#define RUNDIR_H

#include <sys/types.h>

#include <stdbool.h>

/*
 * Its path, malloc'd. path NULL: bennu-<name> in the runtime directory, which
 * is $XDG_RUNTIME_DIR, /run for root, else one of our own below /tmp.
 */
char *rundir_path(const char *path, const char *name);

/*
 * Makes the directory (0700, for uid and gid) and locks it for the life of the
 * process. Returns the path, malloc'd, and whether the directory was not there
 * before; NULL with *error (malloc'd).
 */
char *rundir_make(
    const char *path, const char *name, uid_t, gid_t, bool *made, char **error);

/*
 * The last that is done there: another server may have the directory at once.
 * What was made in it is gone already; it is removed itself if it was made.
 */
void rundir_remove(const char *path, bool made);

/* Removes the files whose names begin so: of processes that were killed. */
void rundir_clean(const char *path, const char *prefix);

/* A listening stream socket, 0600, in the directory; -1, errno. */
int rundir_listen(const char *path, uid_t, gid_t);

#endif /* RUNDIR_H */
