/*
 * What an author's code counts, on its way to the table and out of it as text:
 * channel/tally.c, transport/metrics.c.
 */
#include <check.h>
#include <event2/event.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel/tally.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"
#include "transport/metrics.h"

static struct stats *stats;
static unsigned envelopes;
static bool good;

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	if (envelope == NULL)
		return;
	ck_assert_int_eq(envelope->type, ENVELOPE_TALLY);
	good = metrics_take(stats, envelope);
	envelopes++;
}

/* Through a mailbox, as between two processes. */
static void
deliver(struct tally *tally, struct envelope_writer *writer)
{
	struct event_base *base = event_base_new();
	struct mailbox *from, *to;
	unsigned before = envelopes;
	int fds[2];

	ck_assert_int_eq(mailbox_pair(fds), 0);
	from = mailbox_new(fds[0], on_envelope, NULL);
	to = mailbox_new(fds[1], on_envelope, NULL);
	mailbox_attach(to, base);
	if (tally != NULL)
		tally_send(tally, from);
	else
		mailbox_send(from, ENVELOPE_TALLY, writer);
	ck_assert(mailbox_flush(from));
	UNTIL(base, envelopes > before);
	mailbox_free(from);
	mailbox_free(to);
	event_base_free(base);
}

static char *
text(void)
{
	struct json_buffer out = { 0 };

	metrics_append(&out, stats);
	return out.data;
}

static void
assert_line(const char *line)
{
	char *all = text(), *with_end;

	ck_assert_int_ne(asprintf(&with_end, "%s\n", line), -1);
	ck_assert_msg(strstr(all, with_end) != NULL, "no %s in\n%s", line, all);
	free(with_end);
	free(all);
}

static void
set_up(void)
{
	stats = stats_map();
	ck_assert_ptr_nonnull(stats);
}

START_TEST(there_and_back)
{
	struct tally tally = { 0 };

	set_up();
	ck_assert_ptr_null(tally_count(&tally, "visits", 3));
	ck_assert_ptr_null(tally_count(&tally, "visits", 4));
	ck_assert_ptr_null(tally_observe(&tally, "delay", 0.2));
	ck_assert_ptr_null(tally_observe(&tally, "delay", 30000));
	deliver(&tally, NULL);
	ck_assert(good);
	ck_assert_uint_eq(tally.n, 0);
	assert_line("# TYPE visits counter\nvisits 7");
	assert_line("# TYPE delay histogram\ndelay_bucket{le=\"0.001\"} 0");
	assert_line("delay_bucket{le=\"0.1\"} 0");
	assert_line("delay_bucket{le=\"0.25\"} 1");
	assert_line("delay_bucket{le=\"10000\"} 1");
	assert_line("delay_bucket{le=\"+Inf\"} 2\ndelay_sum 30000.2"
		    "00000000001\ndelay_count 2");
	assert_line("# TYPE bennu_joins_total counter\nbennu_joins_total 0");

	/* Only what is new is sent. */
	ck_assert_ptr_null(tally_count(&tally, "visits", 1));
	deliver(&tally, NULL);
	assert_line("visits 8");
	assert_line("delay_count 2");
	free(tally.values);
}
END_TEST

/* Nothing counted, nothing sent. */
START_TEST(nothing)
{
	struct tally tally = { 0 };
	int fds[2];
	struct mailbox *mailbox;

	ck_assert_int_eq(mailbox_pair(fds), 0);
	mailbox = mailbox_new(fds[0], on_envelope, NULL);
	tally_send(&tally, mailbox);
	ck_assert_uint_eq(mailbox_backlog(mailbox), 0);
	mailbox_free(mailbox);
	close(fds[1]);
}
END_TEST

START_TEST(mistakes)
{
	struct tally tally = { 0 };
	char name[16];

	ck_assert_ptr_nonnull(tally_count(&tally, "", 1));
	ck_assert_ptr_nonnull(tally_count(&tally, "a b", 1));
	ck_assert_ptr_nonnull(tally_count(&tally, "bennu_x", 1));
	ck_assert_ptr_nonnull(tally_observe(&tally, "a", NAN));
	ck_assert_ptr_nonnull(tally_observe(&tally, "a", INFINITY));
	ck_assert_ptr_null(tally_count(&tally, "a", 1));
	ck_assert_ptr_nonnull(tally_observe(&tally, "a", 1));
	for (int i = 1; i < STATS_NAMES_MAX; i++) {
		snprintf(name, sizeof name, "n%d", i);
		ck_assert_ptr_null(tally_observe(&tally, name, i));
	}
	ck_assert_ptr_nonnull(tally_count(&tally, "one_more", 1));
	set_up();
	deliver(&tally, NULL); /* the largest there is */
	ck_assert(good);
	assert_line("n255_sum 255");
	free(tally.values);
}
END_TEST

/* ---- nonsense ---- */

static void
put_double(struct envelope_writer *writer, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof bits);
	envelope_put_u64(writer, bits);
}

static void
put_head(
    struct envelope_writer *writer, uint32_t n, uint32_t kind, const char *name)
{
	memset(writer, 0, sizeof *writer);
	envelope_put_u32(writer, n);
	envelope_put_u32(writer, kind);
	envelope_put_string(writer, name);
}

static void
assert_nonsense(struct envelope_writer *writer)
{
	good = true;
	deliver(NULL, writer);
	ck_assert(!good);
}

START_TEST(nonsense)
{
	struct envelope_writer writer = { 0 };

	set_up();
	assert_nonsense(&writer);
	put_head(&writer, STATS_NAMES_MAX + 1, STATS_COUNTER, "a");
	assert_nonsense(&writer);
	put_head(&writer, 1, 0, "a");
	envelope_put_u64(&writer, 1);
	assert_nonsense(&writer);
	put_head(&writer, 1, 3, "a");
	envelope_put_u64(&writer, 1);
	assert_nonsense(&writer);
	put_head(&writer, 1, STATS_COUNTER, "a b");
	envelope_put_u64(&writer, 1);
	assert_nonsense(&writer);
	put_head(&writer, 1, STATS_COUNTER, "bennu_joins_total");
	envelope_put_u64(&writer, 1);
	assert_nonsense(&writer);
	put_head(&writer, 1, STATS_COUNTER, NULL);
	envelope_put_u64(&writer, 1);
	assert_nonsense(&writer);
	put_head(&writer, 1, STATS_COUNTER, "short");
	envelope_put_u32(&writer, 1);
	assert_nonsense(&writer);
	put_head(&writer, 1, STATS_COUNTER, "long");
	envelope_put_u64(&writer, 1);
	envelope_put_u32(&writer, 1);
	assert_nonsense(&writer);
	put_head(&writer, 2, STATS_COUNTER, "one");
	envelope_put_u64(&writer, 1);
	assert_nonsense(&writer);
	put_head(&writer, 1, STATS_HISTOGRAM, "nan");
	put_double(&writer, NAN);
	envelope_put_u32(&writer, 0);
	assert_nonsense(&writer);
	put_head(&writer, 1, STATS_HISTOGRAM, "many");
	put_double(&writer, 1);
	envelope_put_u32(&writer, STATS_BUCKETS + 1);
	assert_nonsense(&writer);
	put_head(&writer, 1, STATS_HISTOGRAM, "which");
	put_double(&writer, 1);
	envelope_put_u32(&writer, 1);
	envelope_put_u32(&writer, STATS_BUCKETS);
	envelope_put_u64(&writer, 1);
	assert_nonsense(&writer);
}
END_TEST

UNIT_MAIN("metrics", there_and_back, nothing, mistakes, nonsense)
