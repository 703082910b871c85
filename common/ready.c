/*
 * ready.c - see ready.h.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "common/page.h"
#include "common/ready.h"
#include "common/xmalloc.h"

struct state {
	_Atomic int value;
};

struct ready {
	struct page page; /* of struct state */
};

struct ready *
ready_map(void)
{
	struct ready *ready = xcalloc(1, sizeof *ready);

	if (page_map(&ready->page, "ready", sizeof(struct state)))
		return ready;
	free(ready);
	return NULL;
}

void
ready_inherit(struct ready *ready, bool inherit)
{
	if (ready != NULL)
		page_inherit(&ready->page, inherit);
}

void
ready_set(struct ready *ready, enum ready_state what)
{
	struct state *state;

	if (ready == NULL)
		return;
	state = ready->page.written;
	atomic_store(&state->value, what);
}

enum ready_state
ready_get(const struct ready *ready)
{
	const struct state *state = ready->page.read;

	return (enum ready_state)atomic_load(&state->value);
}
