/*
 * roster.c - see roster.h.
 */
#include <sys/mman.h>

#include <stdlib.h>
#include <string.h>

#include "common/xmalloc.h"
#include "pubsub/roster.h"

uint64_t *
roster_map(size_t max)
{
	void *map = mmap(NULL, max * sizeof(uint64_t), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	roster_inherit(map, max, false);
	return map;
}

void
roster_inherit(uint64_t *connections, size_t max, bool inherit)
{
	if (madvise(connections, max * sizeof *connections,
		inherit ? MADV_DOFORK : MADV_DONTFORK) == -1)
		fatal("the roster of pubsub");
}

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void
roster_open(struct roster *roster, uint64_t *connections, size_t max)
{
	memset(roster, 0, sizeof *roster);
	roster->max = max;
	roster->connections = connections;
	roster->free = xcalloc(max, sizeof *roster->free);
	roster->missing = xcalloc(max, sizeof *roster->missing);
	for (size_t i = max; i-- > 0;) {
		roster->free[roster->nfree++] = i;
		if (connections[i] == 0)
			continue;
		roster->missing[roster->nmissing++] = connections[i];
		connections[i] = 0;
	}
	qsort(roster->missing, roster->nmissing, sizeof *roster->missing,
	    compare);
}

static void
has_come(struct roster *roster, uint64_t connection)
{
	uint64_t *found = NULL;
	size_t at;

	if (roster->nmissing > 0)
		found = bsearch(&connection, roster->missing, roster->nmissing,
		    sizeof *roster->missing, compare);
	if (found == NULL)
		return;
	at = (size_t)(found - roster->missing);
	memmove(found, found + 1,
	    (roster->nmissing - at - 1) * sizeof *roster->missing);
	roster->nmissing--;
}

size_t
roster_add(struct roster *roster, uint64_t connection)
{
	size_t place;

	has_come(roster, connection);
	if (roster->nfree == 0)
		return ROSTER_NONE;
	place = roster->free[--roster->nfree];
	roster->connections[place] = connection;
	return place;
}

void
roster_remove(struct roster *roster, size_t place)
{
	if (place == ROSTER_NONE)
		return;
	roster->connections[place] = 0;
	roster->free[roster->nfree++] = place;
}
