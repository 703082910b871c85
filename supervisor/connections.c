/*
 * connections.c - see connections.h.
 */
#include <sys/mman.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/xmalloc.h"
#include "supervisor/connections.h"

struct connections {
	struct connection *table;
	size_t max;
	size_t used; /* places ever used; those behind are untouched */
	struct connection *free;
	uint64_t last_number;
};

struct connections *
connections_new(size_t max)
{
	struct connections *all = xcalloc(1, sizeof *all);
	size_t size = max * sizeof *all->table;
	void *table = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (table == MAP_FAILED) {
		free(all);
		return NULL;
	}
	if (madvise(table, size, MADV_DONTFORK) == -1)
		fatal("MADV_DONTFORK");
	all->table = table;
	all->max = max;
	return all;
}

void
connections_free(struct connections *all)
{
	munmap(all->table, all->max * sizeof *all->table);
	free(all);
}

uint64_t
connections_number(struct connections *all)
{
	return ++all->last_number;
}

struct connection *
connections_add(struct connections *all)
{
	struct connection *connection = all->free;

	if (connection != NULL)
		all->free = connection->next_free;
	else if (all->used < all->max)
		connection = &all->table[all->used++];
	else
		return NULL;
	memset(connection, 0, sizeof *connection);
	connection->number = connections_number(all);
	connection->fd = -1;
	return connection;
}

void
connections_remove(struct connections *all, struct connection *connection)
{
	assert(connection->number != 0);
	connection->number = 0;
	connection->next_free = all->free;
	all->free = connection;
}

struct connection *
connections_find(struct connections *all, uint64_t number)
{
	for (size_t i = 0; number != 0 && i < all->used; i++)
		if (all->table[i].number == number)
			return &all->table[i];
	return NULL;
}
