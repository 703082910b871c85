/*
 * page.h - shared memory that one process writes and its children read: they
 * cannot write it, whatever becomes of them.
 */
#ifndef PAGE_H
#define PAGE_H

#include <stdbool.h>
#include <stddef.h>

struct page {
	void *written; /* in the process that mapped it only */
	const void *read;
	size_t size;
};

/* All zero; name is for people who look. False, errno. */
bool page_map(struct page *, const char *name, size_t);
/* Whether children of this process get it, to read. */
void page_inherit(const struct page *, bool);

#endif /* PAGE_H */
