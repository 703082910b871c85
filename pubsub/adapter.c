/*
 * adapter.c - see adapter.h.
 */
#include <stdlib.h>

#include "common/xmalloc.h"
#include "pubsub/adapter.h"
#include "pubsub/bus.h"

/* ---- local ---- */

struct local {
	struct adapter_start start;
	struct bus *bus;
};

static void
local_news(unsigned origin, uint64_t number, void *arg)
{
	const struct adapter_start *start = &((struct local *)arg)->start;

	start->callbacks->news(origin, number, start->arg);
}

static void *
local_start(const struct adapter_start *start)
{
	static const struct bus_callbacks callbacks = { .news = local_news };
	struct local *local = xcalloc(1, sizeof *local);

	local->start = *start;
	local->bus = bus_new(start->base, start->directory, start->shared,
	    start->self, &callbacks, local);
	if (local->bus != NULL)
		return local;
	free(local);
	return NULL;
}

static void
local_published(void *state, const struct journal_entry *entry)
{
	bus_published(((struct local *)state)->bus, entry);
}

static void
local_flush(void *state)
{
	bus_flush(((struct local *)state)->bus);
}

static void
local_stop(void *state)
{
	struct local *local = state;

	bus_free(local->bus);
	free(local);
}

static const struct adapter local_adapter = {
	.name = "local",
	.start = local_start,
	.published = local_published,
	.flush = local_flush,
	.stop = local_stop,
};

/* ---- the table ---- */

const struct adapter *const adapters[] = { &local_adapter, NULL };

#define NADAPTERS (sizeof adapters / sizeof adapters[0] - 1)

struct adapters {
	void *states[NADAPTERS];
};

struct adapters *
adapters_start(const struct adapter_start *start)
{
	struct adapters *all = xcalloc(1, sizeof *all);

	for (size_t i = 0; i < NADAPTERS; i++) {
		all->states[i] = adapters[i]->start(start);
		if (all->states[i] != NULL)
			continue;
		log_warnx("the adapter %s did not start", adapters[i]->name);
		adapters_stop(all);
		return NULL;
	}
	return all;
}

void
adapters_published(struct adapters *all, const struct journal_entry *entry)
{
	for (size_t i = 0; i < NADAPTERS; i++)
		adapters[i]->published(all->states[i], entry);
}

void
adapters_flush(struct adapters *all)
{
	for (size_t i = 0; i < NADAPTERS; i++)
		adapters[i]->flush(all->states[i]);
}

void
adapters_stop(struct adapters *all)
{
	if (all == NULL)
		return;
	for (size_t i = NADAPTERS; i-- > 0;)
		if (all->states[i] != NULL)
			adapters[i]->stop(all->states[i]);
	free(all);
}
