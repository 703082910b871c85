/*
 * text.c - see text.h. The code goes to a memfd, whose pages the kernel
 * collapses to huge ones, and that is mapped in place of the files. It stays a
 * mapping of a file that nobody writes to: a fork copies nothing of it, and
 * debuggers find their symbols at the same addresses.
 */
#include <sys/auxv.h>
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
#define PARTS_MAX 64

/* A segment of code, and where it goes. */
struct part {
	char *start;
	size_t size; /* of whole pages */
	size_t offset;
};

struct text {
	size_t page;
	struct part parts[PARTS_MAX]; /* the first one is the program's own */
	size_t n;
	size_t size; /* of whole huge pages, in the end */
};

static size_t
round_up(size_t size, size_t to)
{
	return (size + to - 1) / to * to;
}

static void
add_part(struct text *text, uintptr_t start, size_t size)
{
	uintptr_t first = start / text->page * text->page;
	struct part *part = &text->parts[text->n++];

	part->start = (char *)first;
	part->size = round_up(start + size - first, text->page);
	part->offset = text->size;
	text->size += part->size;
}

/* The kernel's own object is no file; the loader has done its work. */
static bool
is_wanted(const struct dl_phdr_info *info)
{
	return info->dlpi_addr != getauxval(AT_SYSINFO_EHDR) &&
	    info->dlpi_addr != getauxval(AT_BASE);
}

/* For each object; the first one is the program itself. */
static int
find_parts(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct text *text = arg;

	(void)size;
	if (!is_wanted(info))
		return 0;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type == PT_LOAD &&
		    (segment->p_flags & (PF_R | PF_W | PF_X)) ==
			(PF_R | PF_X) &&
		    text->n < PARTS_MAX)
			add_part(text, info->dlpi_addr + segment->p_vaddr,
			    segment->p_memsz);
	}
	return 0;
}

/* Fills the descriptor with the code, in huge pages. */
static bool
copy_text(const struct text *text, int fd)
{
	size_t room = text->size + HUGE_SIZE;
	char *map, *at;
	bool done = false;

	if (ftruncate(fd, (off_t)text->size) == -1)
		return false;
	map = mmap(NULL, room, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return false;
	at = map + (HUGE_SIZE - (uintptr_t)map % HUGE_SIZE) % HUGE_SIZE;
	if (mmap(at, text->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		fd, 0) != MAP_FAILED) {
		for (size_t i = 0; i < text->n; i++)
			memcpy(at + text->parts[i].offset, text->parts[i].start,
			    text->parts[i].size);
		done = madvise(at, text->size, MADV_COLLAPSE) == 0;
	}
	munmap(map, room); /* the seal against writing wants that */
	return done && fcntl(fd, F_ADD_SEALS, SEALS) == 0;
}

/*
 * The program's own code is to be one entry in the page table, so that its
 * mapping takes a whole huge page. What lies behind it must be nothing.
 */
static bool
widen_first(struct part *part)
{
	char *rest = part->start + part->size;
	size_t size = round_up(part->size, HUGE_SIZE) - part->size;
	void *map;

	if (size == 0)
		return true;
	map = mmap(rest, size, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
	    -1, 0);
	if (map == MAP_FAILED)
		return false;
	if (map == rest) {
		part->size += size;
		return true;
	}
	munmap(map, size); /* a kernel that took the address for a hint */
	errno = EEXIST;
	return false;
}

/* Each is one call, which replaces what it returns to by the same. */
static bool
map_parts(const struct text *text, int fd)
{
	for (size_t i = 0; i < text->n; i++) {
		const struct part *part = &text->parts[i];

		if (mmap(part->start, part->size, PROT_READ | PROT_EXEC,
			MAP_PRIVATE | MAP_FIXED, fd,
			(off_t)part->offset) == MAP_FAILED)
			return false;
	}
	return true;
}

void
text_huge(void)
{
	struct text text = { .page = (size_t)sysconf(_SC_PAGESIZE) };
	bool done;
	int fd;

	dl_iterate_phdr(find_parts, &text);
	if (text.n == 0 || (uintptr_t)text.parts[0].start % HUGE_SIZE != 0) {
		log_debug("the program is not linked for huge pages");
		return;
	}
	text.size = round_up(text.size, HUGE_SIZE);
	fd = memfd_create("bennu-text", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	done = fd != -1 && copy_text(&text, fd) &&
	    widen_first(&text.parts[0]) && map_parts(&text, fd);
	if (!done)
		log_debug("no huge pages for the program's code: %s",
		    strerror(errno));
	if (fd != -1)
		close(fd);
}
