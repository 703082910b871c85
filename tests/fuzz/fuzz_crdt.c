/*
 * Messages about who is present, from a node that may say anything: nothing
 * but what is sane is merged, the callbacks tell exactly what changed, and no
 * clock falls back.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/crdt.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define MAGIC 0x42435201U
#define DOTS  64

static const char *const names[] = { "t", "u", "\xc3\xa9", "" };

/* What the callbacks said, by dot, and the bytes that say what to do. */
struct watch {
	unsigned shown[DOTS];
	size_t sum;
	const uint8_t *data;
	size_t size;
};

static unsigned
next(struct watch *watch)
{
	if (watch->size == 0)
		return 0;
	watch->size--;
	return *watch->data++;
}

static void
on_diff(const struct crdt_diff *diff, void *arg)
{
	struct watch *watch = arg;

	assert(diff->njoins + diff->nleaves > 0);
	for (size_t i = 0; i < diff->njoins; i++) {
		assert(text_equal(&diff->joins[i]->topic, diff->topic));
		if (diff->joins[i]->dot < DOTS)
			assert(watch->shown[diff->joins[i]->dot]++ == 0);
	}
	for (size_t i = 0; i < diff->nleaves; i++) {
		assert(text_equal(&diff->leaves[i]->topic, diff->topic));
		if (diff->leaves[i]->dot < DOTS)
			assert(watch->shown[diff->leaves[i]->dot]-- == 1);
	}
	watch->sum += diff->njoins - diff->nleaves;
}

static struct crdt_clock
known(const struct crdt *crdt, const struct text *node)
{
	struct crdt_clock clock;
	bool found = crdt_replica_find(crdt, node, &clock);

	assert(found && clock.clock <= clock.seen);
	return clock;
}

static void
merge(struct crdt *crdt, const struct text *node, struct watch *watch,
    const uint8_t *data, size_t size)
{
	struct crdt_clock before = known(crdt, node), after, of;
	size_t count = crdt_count(crdt);
	enum crdt_merge verdict;

	verdict = crdt_merge(crdt, data, size, on_diff, watch);
	after = known(crdt, node);
	assert(after.seen >= before.seen);
	assert(crdt_count(crdt) == watch->sum);
	if (verdict == CRDT_MERGED) {
		assert(crdt_message_of(data, size, &of));
		assert(of.clock == after.clock && of.seen == after.seen);
		return;
	}
	assert(crdt_count(crdt) == count);
	assert(after.seen == before.seen && after.clock == before.clock);
}

/* Small numbers, so that messages meet; mostly sane. */
static void
put_message(struct envelope_writer *writer, struct watch *watch)
{
	uint64_t from = next(watch) % DOTS, to, dot;
	unsigned removed = next(watch) % 8;

	to = next(watch) % 4 == 0 ? from : from + next(watch) % 16;
	envelope_put_u32(writer, MAGIC);
	envelope_put_string(writer, "a");
	envelope_put_u64(writer, next(watch) % 32 == 1);
	envelope_put_u64(writer, from + next(watch) % 4);
	envelope_put_u64(writer, from);
	envelope_put_u64(writer, to);
	envelope_put_u64(writer, to + next(watch) % 8);
	envelope_put_u32(writer, removed);
	for (; removed > 0; removed--)
		envelope_put_u64(writer, next(watch) % DOTS);
	for (dot = from; dot < to;) {
		dot += 1 + next(watch) % 4;
		envelope_put_u64(writer, dot);
		envelope_put_u64(writer, 1);
		envelope_put_u64(writer, 1);
		envelope_put_string(writer, names[next(watch) % 4]);
		envelope_put_string(writer, names[next(watch) % 4]);
		envelope_put_string(writer, "r");
		envelope_put_string(writer, next(watch) % 2 ? "p" : NULL);
		envelope_put_string(writer, "{}");
	}
	envelope_put_u64(writer, 0);
}

static void
converse(struct crdt *crdt, const struct text *node, struct watch *watch)
{
	struct envelope_writer writer = { 0 };

	switch (next(watch) % 8) {
	case 0:
		crdt_replica_down(crdt, node, 0, on_diff, watch);
		assert(watch->sum == 0);
		return;
	case 1:
		crdt_replica_forget(crdt, node, 0, on_diff, watch);
		assert(watch->sum == 0 && crdt_bytes(crdt) == 0);
		/* FALLTHROUGH */
	case 2:
		assert(crdt_replica_up(crdt, node, 0, on_diff, watch));
		return;
	}
	put_message(&writer, watch);
	if (next(watch) % 8 == 1)
		writer.data[ENVELOPE_HEAD +
		    (next(watch) * 256 + next(watch)) %
			(writer.size - ENVELOPE_HEAD)] ^= (uint8_t)next(watch);
	merge(crdt, node, watch, writer.data + ENVELOPE_HEAD,
	    writer.size - ENVELOPE_HEAD);
	envelope_writer_free(&writer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text node = text_lent("a", 1), other = text_lent("b", 1);
	struct watch watch = { .data = data, .size = size };
	struct crdt *crdt = crdt_new(&other, 1);
	struct envelope envelope = { .data = data, .size = size };
	struct crdt_clock clock;

	assert(crdt_replica_up(crdt, &node, 0, on_diff, &watch));
	/* As they are, and as what to say. */
	merge(crdt, &node, &watch, data, size);
	if (crdt_clock_get(&envelope, &clock))
		assert(clock.clock <= clock.seen);
	while (watch.size > 0)
		converse(crdt, &node, &watch);
	crdt_free(crdt);
	return 0;
}
