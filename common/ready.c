/*
 * ready.c - see ready.h.
 *
 * A memfd that is sealed once it can be written in one mapping, which no child
 * inherits: the other one can be read, and mprotect(2) does not change that.
 */
#include <sys/mman.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/ready.h"
#include "common/xmalloc.h"

#define SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct page {
	_Atomic int state;
};

struct ready {
	struct page *written; /* in the supervisor only */
	const struct page *read;
};

static bool
map_both(struct ready *ready, int fd)
{
	void *map;

	if (ftruncate(fd, sizeof(struct page)) == -1)
		return false;
	map = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE,
	    MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return false;
	ready->written = map;
	if (madvise(map, sizeof(struct page), MADV_DONTFORK) == -1 ||
	    fcntl(fd, F_ADD_SEALS, SEALS) == -1)
		return false;
	map = mmap(NULL, sizeof(struct page), PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return false;
	ready->read = map;
	return true;
}

struct ready *
ready_map(void)
{
	struct ready *ready = xcalloc(1, sizeof *ready);
	int fd = memfd_create("ready", MFD_CLOEXEC | MFD_ALLOW_SEALING), saved;

	if (fd != -1 && map_both(ready, fd)) {
		close(fd);
		return ready;
	}
	saved = errno;
	if (ready->written != NULL)
		munmap(ready->written, sizeof(struct page));
	if (fd != -1)
		close(fd);
	free(ready);
	errno = saved;
	return NULL;
}

void
ready_inherit(struct ready *ready, bool inherit)
{
	if (ready != NULL &&
	    madvise((void *)(uintptr_t)ready->read, sizeof(struct page),
		inherit ? MADV_DOFORK : MADV_DONTFORK) == -1)
		fatal("the page of readiness");
}

void
ready_set(struct ready *ready, enum ready_state what)
{
	if (ready != NULL)
		atomic_store(&ready->written->state, what);
}

enum ready_state
ready_get(const struct ready *ready)
{
	return (enum ready_state)atomic_load(&ready->read->state);
}
