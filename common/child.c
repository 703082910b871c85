/*
 * child.c - see child.h.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/child.h"
#include "common/exit.h"
#include "common/xmalloc.h"

#define CHAINS_MIN 16

/* Makes room for one more; the ring then begins at index 0. */
static void
restarts_grow(struct restarts *r, size_t most)
{
	size_t size = r->size == 0 ? 4 : r->size * 2;
	long long *times;

	if (size > most)
		size = most;
	times = xcalloc(size, sizeof *times);
	for (size_t i = 0; i < r->n; i++)
		times[i] = r->times[(r->first + i) % r->size];
	free(r->times);
	r->times = times;
	r->size = size;
	r->first = 0;
}

static void
restarts_drop_oldest(struct restarts *r)
{
	r->first = (r->first + 1) % r->size;
	r->n--;
}

static unsigned
restarts_add_streak(struct restarts *r, long long period, long long now)
{
	if (now - r->last > period)
		r->streak = 0;
	r->last = now;
	return ++r->streak;
}

unsigned
restarts_add(
    struct restarts *r, unsigned intensity, unsigned period, long long now)
{
	long long ms = period * 1000LL;
	size_t most = (size_t)intensity + 1;

	if (intensity == 0)
		return restarts_add_streak(r, ms, now);
	while (r->n > 0 && now - r->times[r->first] > ms)
		restarts_drop_oldest(r);
	if (r->n == most)
		restarts_drop_oldest(r);
	if (r->n == r->size)
		restarts_grow(r, most);
	r->times[(r->first + r->n++) % r->size] = now;
	return (unsigned)r->n;
}

static int
deadline_compare(const struct child *a, const struct child *b)
{
	if (a->deadline != b->deadline)
		return a->deadline < b->deadline ? -1 : 1;
	if (a != b)
		return a < b ? -1 : 1;
	return 0;
}

RB_PROTOTYPE(child_deadlines, child, waiting, deadline_compare)
RB_GENERATE(child_deadlines, child, waiting, deadline_compare)

static size_t
chains_for(size_t children)
{
	size_t n = CHAINS_MIN;

	while (n < children)
		n *= 2;
	return n;
}

/*
 * A table of 10,000 children is 3 MB that each fork would copy the page tables
 * of, and no child has any use for it. Pages come when they are used.
 */
static int
map_slots(struct child_table *table)
{
	size_t slots = table->max * sizeof *table->slots;
	size_t chains = table->nchains * sizeof *table->chains;
	char *map;

	if (table->max > (SIZE_MAX / 4) / sizeof *table->slots) {
		errno = ENOMEM;
		return -1;
	}
	table->mapped = slots + chains;
	map = mmap(NULL, table->mapped, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -1;
	if (madvise(map, table->mapped, MADV_DONTFORK) == -1) {
		munmap(map, table->mapped);
		return -1;
	}
	table->slots = (struct child *)map;
	table->chains = (struct child_chain *)(map + slots);
	return 0;
}

int
child_table_init(struct child_table *table, size_t max)
{
	memset(table, 0, sizeof *table);
	TAILQ_INIT(&table->children);
	RB_INIT(&table->deadlines);
	LIST_INIT(&table->unused);
	table->max = max;
	table->nchains = chains_for(max);
	if (max > 0)
		return map_slots(table);
	table->chains = xcalloc(table->nchains, sizeof *table->chains);
	return 0;
}

void
child_table_free(struct child_table *table)
{
	struct child *child, *next;

	assert(table->nrunning == 0);
	TAILQ_FOREACH_SAFE (child, &table->children, entry, next)
		child_free(table, child);
	if (table->max > 0)
		munmap(table->slots, table->mapped);
	else
		free(table->chains);
}

static struct child *
take_slot(struct child_table *table)
{
	struct child *child;

	if (table->max == 0)
		return xmalloc(sizeof *child);
	if (table->n == table->max) {
		errno = ENOSPC;
		return NULL;
	}
	child = LIST_FIRST(&table->unused);
	if (child != NULL)
		LIST_REMOVE(child, by_pid);
	else
		child = &table->slots[table->nused++];
	return child;
}

struct child *
child_new(struct child_table *table, const struct child_spec *spec)
{
	struct child *child = take_slot(table);

	if (child == NULL)
		return NULL;
	memset(child, 0, sizeof *child);
	child->spec = *spec;
	child->state = CHILD_DOWN;
	child->pid = -1;
	child->dead_pid = -1;
	child->deadline = -1;
	TAILQ_INSERT_TAIL(&table->children, child, entry);
	table->n++;
	return child;
}

void
child_free(struct child_table *table, struct child *child)
{
	assert(child->pid == -1 && !child->queued);
	child_set_deadline(table, child, -1);
	TAILQ_REMOVE(&table->children, child, entry);
	table->n--;
	free(child->restarts.times);
	if (table->max > 0)
		LIST_INSERT_HEAD(&table->unused, child, by_pid);
	else
		free(child);
}

static struct child_chain *
chain_of(const struct child_table *table, pid_t pid)
{
	return &table->chains[(size_t)pid & (table->nchains - 1)];
}

static void
grow_chains(struct child_table *table)
{
	struct child *child;

	table->nchains *= 2;
	free(table->chains);
	table->chains = xcalloc(table->nchains, sizeof *table->chains);
	TAILQ_FOREACH (child, &table->children, entry) {
		if (child->pid != -1)
			LIST_INSERT_HEAD(
			    chain_of(table, child->pid), child, by_pid);
	}
}

void
child_set_pid(struct child_table *table, struct child *child, pid_t pid)
{
	assert(child->pid == -1 && pid > 0);
	assert(child_find_pid(table, pid) == NULL);
	if (table->max == 0 && table->nrunning == table->nchains)
		grow_chains(table);
	child->pid = pid;
	LIST_INSERT_HEAD(chain_of(table, pid), child, by_pid);
	table->nrunning++;
}

void
child_clear_pid(struct child_table *table, struct child *child)
{
	assert(child->pid != -1);
	LIST_REMOVE(child, by_pid);
	child->pid = -1;
	table->nrunning--;
}

struct child *
child_find_pid(const struct child_table *table, pid_t pid)
{
	struct child *child;

	if (pid <= 0)
		return NULL;
	LIST_FOREACH (child, chain_of(table, pid), by_pid) {
		if (child->pid == pid)
			return child;
	}
	return NULL;
}

void
child_set_deadline(
    struct child_table *table, struct child *child, long long when)
{
	if (child->deadline != -1)
		RB_REMOVE(child_deadlines, &table->deadlines, child);
	child->deadline = when;
	if (when != -1)
		RB_INSERT(child_deadlines, &table->deadlines, child);
}

struct child *
child_first_deadline(struct child_table *table)
{
	return RB_MIN(child_deadlines, &table->deadlines);
}

bool
child_is_ignore(const struct child *child)
{
	return !child->ready && child->dead_pid != -1 && !child->hung &&
	    WIFEXITED(child->status) &&
	    WEXITSTATUS(child->status) == EXIT_NORMAL;
}
