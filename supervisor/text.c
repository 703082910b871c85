/*
 * text.c - see text.h. The code goes to a memfd, whose pages the kernel
 * collapses to huge ones, and that is mapped in place of the file. It stays a
 * mapping of a file that nobody writes to: a fork copies nothing of it, and
 * debuggers find their symbols at the same addresses.
 */
#include <sys/mman.h>

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "supervisor/text.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define HUGE_SIZE ((size_t)2 << 20)
#define SEALS     (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* Where the code lies: at the beginning of huge pages that hold nothing else,
 * if the program was linked so. */
struct text {
	char *start;
	size_t size;  /* of whole pages */
	size_t whole; /* of huge pages */
};

static size_t
round_up(size_t size, size_t to)
{
	return (size + to - 1) / to * to;
}

/* The first object is the program itself. */
static int
find_text(struct dl_phdr_info *info, size_t size, void *arg)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct text *text = arg;

	(void)size;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type != PT_LOAD ||
		    (segment->p_flags & PF_X) == 0)
			continue;
		text->start = (char *)(uintptr_t)(info->dlpi_addr +
		    segment->p_vaddr);
		text->size = round_up(segment->p_memsz, page);
		text->whole = round_up(text->size, HUGE_SIZE);
	}
	return 1;
}

/* What lies between the code and the end of its huge page must be nothing. */
static bool
reserve_rest(const struct text *text)
{
	char *rest = text->start + text->size;
	size_t size = text->whole - text->size;
	void *map;

	if (size == 0)
		return true;
	map = mmap(rest, size, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
	    -1, 0);
	if (map == MAP_FAILED)
		return false;
	if (map == rest)
		return true;
	munmap(map, size); /* a kernel that took the address for a hint */
	errno = EEXIST;
	return false;
}

/* Fills the descriptor with the code, in huge pages. */
static bool
copy_text(const struct text *text, int fd)
{
	size_t room = text->whole + HUGE_SIZE;
	char *map, *at;
	bool done = false;

	if (ftruncate(fd, (off_t)text->whole) == -1)
		return false;
	map = mmap(NULL, room, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return false;
	at = map + (HUGE_SIZE - (uintptr_t)map % HUGE_SIZE) % HUGE_SIZE;
	if (mmap(at, text->whole, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED) {
		memcpy(at, text->start, text->size);
		done = madvise(at, text->whole, MADV_COLLAPSE) == 0;
	}
	munmap(map, room); /* the seal against writing wants that */
	return done && fcntl(fd, F_ADD_SEALS, SEALS) == 0;
}

static bool
map_text(const struct text *text)
{
	int fd = memfd_create("bennu-text", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	bool done;

	if (fd == -1)
		return false;
	/* The last step is one call: this very code is in there. */
	done = copy_text(text, fd) && reserve_rest(text) &&
	    mmap(text->start, text->whole, PROT_READ | PROT_EXEC,
		MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED;
	close(fd);
	return done;
}

void
text_huge(void)
{
	struct text text = { 0 };

	dl_iterate_phdr(find_text, &text);
	if (text.start == NULL || (uintptr_t)text.start % HUGE_SIZE != 0)
		log_debug("the program is not linked for huge pages");
	else if (!map_text(&text))
		log_debug("no huge page for the program: %s", strerror(errno));
}
