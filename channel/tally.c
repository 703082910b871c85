/*
 * tally.c - see tally.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "channel/tally.h"
#include "common/xmalloc.h"

static struct stats_value *
add_value(struct tally *tally, const char *name)
{
	struct stats_value *value;

	if (tally->n == tally->room) {
		tally->room = tally->room == 0 ? 4 : tally->room * 2;
		tally->values = xrealloc(
		    tally->values, tally->room * sizeof *tally->values);
	}
	value = &tally->values[tally->n++];
	memset(value, 0, sizeof *value);
	memcpy(value->name, name, strlen(name));
	return value;
}

/* The value of that name, made when there is none; NULL with *why. */
static struct stats_value *
get_value(struct tally *tally, const char *name, enum stats_kind kind,
    const char **why)
{
	struct stats_value *value;

	for (size_t i = 0; i < tally->n; i++) {
		value = &tally->values[i];
		if (strcmp(value->name, name) != 0)
			continue;
		*why = value->kind == kind ? NULL
					   : "it is counted and observed";
		return value;
	}
	*why = "no name for a metric";
	if (!stats_name_is_good(name, strlen(name)))
		return NULL;
	*why = "too many names in one callback";
	if (tally->n == STATS_NAMES_MAX)
		return NULL;
	*why = NULL;
	value = add_value(tally, name);
	value->kind = kind;
	return value;
}

const char *
tally_count(struct tally *tally, const char *name, uint64_t n)
{
	const char *why;
	struct stats_value *value = get_value(tally, name, STATS_COUNTER, &why);

	if (why == NULL)
		value->n += n;
	return why;
}

const char *
tally_observe(struct tally *tally, const char *name, double observed)
{
	const char *why;
	struct stats_value *value;

	if (!isfinite(observed))
		return "no finite number";
	value = get_value(tally, name, STATS_HISTOGRAM, &why);
	if (why != NULL)
		return why;
	if (!isfinite(value->sum + observed))
		return "beyond all numbers, with those before it";
	value->sum += observed;
	value->buckets[stats_bucket(observed)]++;
	return NULL;
}

static void
put_histogram(struct envelope_writer *writer, const struct stats_value *value)
{
	uint32_t n = 0;
	uint64_t bits;

	memcpy(&bits, &value->sum, sizeof bits);
	envelope_put_u64(writer, bits);
	for (size_t i = 0; i < STATS_BUCKETS; i++)
		n += value->buckets[i] != 0;
	envelope_put_u32(writer, n);
	for (size_t i = 0; i < STATS_BUCKETS; i++)
		if (value->buckets[i] != 0) {
			envelope_put_u32(writer, (uint32_t)i);
			envelope_put_u64(writer, value->buckets[i]);
		}
}

void
tally_send(struct tally *tally, struct mailbox *mailbox)
{
	struct envelope_writer writer = { 0 };

	if (tally->n == 0)
		return;
	envelope_put_u32(&writer, (uint32_t)tally->n);
	for (size_t i = 0; i < tally->n; i++) {
		const struct stats_value *value = &tally->values[i];

		envelope_put_u32(&writer, value->kind);
		envelope_put_string(&writer, value->name);
		if (value->kind == STATS_COUNTER)
			envelope_put_u64(&writer, value->n);
		else
			put_histogram(&writer, value);
	}
	mailbox_send(mailbox, ENVELOPE_TALLY, &writer);
	tally->n = 0;
}
