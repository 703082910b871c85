/*
 * metrics.c - see metrics.h.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "transport/metrics.h"

/* ---- in ---- */

static bool
get_histogram(struct envelope *envelope, struct stats_value *value)
{
	uint64_t bits = envelope_get_u64(envelope);
	uint32_t n = envelope_get_u32(envelope);

	memcpy(&value->sum, &bits, sizeof value->sum);
	if (!isfinite(value->sum) || n > STATS_BUCKETS)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t bucket = envelope_get_u32(envelope);

		if (bucket >= STATS_BUCKETS)
			return false;
		value->buckets[bucket] += envelope_get_u64(envelope);
	}
	return true;
}

static bool
get_value(struct envelope *envelope, struct stats_value *value)
{
	const char *name;
	size_t size;

	memset(value, 0, sizeof *value);
	value->kind = envelope_get_u32(envelope);
	name = envelope_get_data(envelope, &size);
	if (!stats_name_is_good(name, size))
		return false;
	memcpy(value->name, name, size);
	if (value->kind == STATS_COUNTER)
		value->n = envelope_get_u64(envelope);
	else if (value->kind != STATS_HISTOGRAM ||
	    !get_histogram(envelope, value))
		return false;
	return !envelope->bad;
}

bool
metrics_take(struct stats *stats, struct envelope *envelope)
{
	uint32_t n = envelope_get_u32(envelope);
	struct stats_value value;

	if (n > STATS_NAMES_MAX)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (!get_value(envelope, &value))
			return false;
		stats_add(stats, &value);
	}
	return envelope_end(envelope);
}

/* ---- out ---- */

static void
append_type(struct json_buffer *out, const char *name, const char *type)
{
	json_append_text(out, "# TYPE ");
	json_append_text(out, name);
	json_append_text(out, type);
}

static void
append_number(struct json_buffer *out, const char *name, const char *rest,
    uint64_t number)
{
	char text[24];

	snprintf(text, sizeof text, " %" PRIu64 "\n", number);
	json_append_text(out, name);
	json_append_text(out, rest);
	json_append_text(out, text);
}

/* The buckets of Prometheus hold what is below their bound, all of it. */
static void
append_histogram(struct json_buffer *out, const struct stats_value *value)
{
	char text[40];
	uint64_t n = 0;

	append_type(out, value->name, " histogram\n");
	for (size_t i = 0; i < STATS_BUCKETS; i++) {
		n += value->buckets[i];
		snprintf(
		    text, sizeof text, "_bucket{le=\"%s\"}", stats_bound(i));
		append_number(out, value->name, text, n);
	}
	json_append_text(out, value->name);
	snprintf(text, sizeof text, "_sum %.17g\n", value->sum);
	json_append_text(out, text);
	append_number(out, value->name, "_count", n);
}

static void
append_counter(struct json_buffer *out, const char *name, uint64_t n)
{
	append_type(out, name, " counter\n");
	append_number(out, name, "", n);
}

void
metrics_append(struct json_buffer *out, const struct stats *stats)
{
	struct stats_value value;
	const char *name;

	for (unsigned i = 0; i < STATS_OWN_MAX; i++) {
		uint64_t n = stats_get_own(stats, i, &name);

		append_counter(out, name, n);
	}
	for (size_t i = 0; i < STATS_NAMES_MAX; i++) {
		if (!stats_get(stats, i, &value))
			continue;
		if (value.kind == STATS_COUNTER)
			append_counter(out, value.name, value.n);
		else
			append_histogram(out, &value);
	}
}
