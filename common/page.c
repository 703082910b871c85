/*
 * page.c - see page.h.
 *
 * A memfd that is sealed once it can be written in one mapping, which no child
 * inherits: the other one can be read, and mprotect(2) does not change that.
 */
#include <sys/mman.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "common/log.h"
#include "common/page.h"

#define SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static bool
map_both(struct page *page, int fd)
{
	void *map;

	if (ftruncate(fd, (off_t)page->size) == -1)
		return false;
	map = mmap(NULL, page->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return false;
	page->written = map;
	if (madvise(map, page->size, MADV_DONTFORK) == -1 ||
	    fcntl(fd, F_ADD_SEALS, SEALS) == -1)
		return false;
	map = mmap(NULL, page->size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return false;
	page->read = map;
	return true;
}

bool
page_map(struct page *page, const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), saved;

	*page = (struct page){ .size = size };
	if (fd != -1 && map_both(page, fd)) {
		close(fd);
		return true;
	}
	saved = errno;
	if (page->written != NULL)
		munmap(page->written, size);
	if (fd != -1)
		close(fd);
	errno = saved;
	return false;
}

void
page_inherit(const struct page *page, bool inherit)
{
	if (madvise((void *)(uintptr_t)page->read, page->size,
		inherit ? MADV_DOFORK : MADV_DONTFORK) == -1)
		fatal("a page for children");
}
