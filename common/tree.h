/*
 * tree.h - red-black trees of libbsd, and the order of names in them.
 */
#ifndef TREE_H
#define TREE_H

#include <sys/tree.h>

#include <string.h>

#include "common/message.h"

/* The functions of a tree, static to a file. */
#define TREE_GENERATE(name, type, entry, compare) \
	RB_GENERATE_INTERNAL(                     \
	    name, type, entry, compare, __attribute__((__unused__)) static)

/* By bytes; names may hold NULs. */
static inline int
text_compare(const struct text *a, const struct text *b)
{
	size_t n = a->size < b->size ? a->size : b->size;
	int order = memcmp(a->data, b->data, n);

	if (order != 0)
		return order;
	return a->size < b->size ? -1 : a->size > b->size;
}

/* Bytes that are only looked at, as a text. */
static inline struct text
text_lent(const char *data, size_t size)
{
	return (struct text){ (char *)(uintptr_t)data, size };
}

#endif /* TREE_H */
