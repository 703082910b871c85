/*
 * rundir.c - see rundir.h.
 */
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/xmalloc.h"
#include "supervisor/rundir.h"
#include "transport/session.h"

/* Room for the longest name that is made below the directory. */
#define NAME_ROOM (1 + SESSION_NAME_SIZE)
#define TRIES     100 /* each one needs another server that ends just then */

char *
rundir_path(const char *path, const char *name)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (path != NULL)
		return xstrdup(path);
	if (runtime != NULL && *runtime == '/')
		return xasprintf("%s/bennu-%s", runtime, name);
	if (geteuid() == 0)
		return xasprintf("/run/bennu-%s", name);
	return xasprintf("/tmp/bennu-%d-%s", (int)geteuid(), name);
}

/*
 * In a directory that others may write to, only our own one will do. *again:
 * who was there before has just removed it.
 */
static char *
make_directory(const char *path, uid_t uid, gid_t gid, bool *made, bool *again)
{
	struct stat st;

	if (mkdir(path, 0700) == 0)
		*made = true;
	else if (errno != EEXIST)
		return xasprintf("run directory %s: %s; -r names another one",
		    path, strerror(errno));
	if (lstat(path, &st) == -1)
		goto failed;
	if (!S_ISDIR(st.st_mode) ||
	    (st.st_uid != geteuid() && st.st_uid != uid))
		return xasprintf("run directory %s is not ours; -r names "
				 "another one",
		    path);
	if (chown(path, uid, gid) == 0 && chmod(path, 0700) == 0)
		return NULL;
failed:
	*again = errno == ENOENT;
	return xasprintf("run directory %s: %s", path, strerror(errno));
}

/* Else its server has removed it, and this lock keeps nobody out. */
static bool
is_still_there(int fd, const char *file)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 && lstat(file, &there) == 0 &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* Held until the process ends; the kernel lets go of it then, however. */
static char *
lock_directory(const char *path, bool *again)
{
	char *file = xasprintf("%s/lock", path), *error = NULL;
	int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd == -1) {
		*again = errno == ENOENT;
		error = xasprintf("%s: %s", file, strerror(errno));
	} else if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		error = xasprintf("another supervisor runs in %s; stop it, or "
				  "name another run directory with -r",
		    path);
	} else if (!is_still_there(fd, file)) {
		*again = true;
		error = xasprintf("%s: removed again and again", file);
	}
	if (error != NULL && fd != -1)
		close(fd);
	free(file);
	return error;
}

static char *
make_and_lock(const char *path, uid_t uid, gid_t gid, bool *made)
{
	char *error = NULL;
	bool again = true;

	for (int i = 0; again && i < TRIES; i++) {
		free(error);
		again = false;
		error = make_directory(path, uid, gid, made, &again);
		if (error == NULL)
			error = lock_directory(path, &again);
	}
	return error;
}

char *
rundir_make(const char *path, const char *name, uid_t uid, gid_t gid,
    bool *made, char **error)
{
	char *dir = rundir_path(path, name);
	struct sockaddr_un address;

	*made = false;
	if (strlen(dir) + NAME_ROOM > sizeof address.sun_path)
		*error = xasprintf("run directory %s: the path is too long for "
				   "sockets (at most %zu bytes)",
		    dir, sizeof address.sun_path - NAME_ROOM);
	else
		*error = make_and_lock(dir, uid, gid, made);
	if (*error == NULL)
		return dir;
	free(dir);
	return NULL;
}

void
rundir_remove(const char *path, bool made)
{
	char *file = xasprintf("%s/lock", path);

	unlink(file);
	free(file);
	/* From here on it may be another server's, and then not be empty. */
	if (made)
		rmdir(path);
}

void
rundir_clean(const char *path, const char *prefix)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;

	while (directory != NULL && (entry = readdir(directory)) != NULL)
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory != NULL)
		closedir(directory);
}

int
rundir_listen(const char *path, uid_t uid, gid_t gid)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t mask;
	int fd, failed;

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	unlink(path); /* of a server that was killed: we hold the lock */
	mask = umask(0177);
	failed = bind(fd, (struct sockaddr *)&address, sizeof address);
	umask(mask);
	if (failed == 0 && chown(path, uid, gid) == 0 && listen(fd, 4096) == 0)
		return fd;
	failed = errno;
	close(fd);
	errno = failed;
	return -1;
}
