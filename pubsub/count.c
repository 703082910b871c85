/*
 * count.c - see count.h.
 */
#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "common/mailbox.h"
#include "common/process.h"
#include "common/xmalloc.h"
#include "pubsub/count.h"
#include "pubsub/shared.h"
#include "pubsub/slots.h"

#define AGAIN 20 /* ms until a worker that was lost is asked again */

struct asked {
	struct count *count;
	struct mailbox *mailbox; /* NULL: not connected, or answered */
	bool answered;
};

struct count {
	struct event_base *base;
	char *const *paths;
	unsigned n, missing; /* workers */
	struct text topic;
	count_cb callback;
	void *arg;
	int64_t sum;
	long long until;
	struct event again;
	struct asked asked[PUBSUB_MAX];
};

static void
finish(struct count *count, int64_t n)
{
	count_cb callback = count->callback;
	void *arg = count->arg;

	event_del(&count->again);
	for (unsigned i = 0; i < count->n; i++)
		mailbox_free(count->asked[i].mailbox);
	free(count->topic.data);
	free(count);
	callback(n, arg);
}

static void
ask_later(struct count *count)
{
	static const struct timeval pause = { .tv_usec = AGAIN * 1000 };

	event_add(&count->again, &pause);
}

static void
lost(struct asked *asked)
{
	mailbox_free(asked->mailbox);
	asked->mailbox = NULL;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct asked *asked = arg;
	struct count *count = asked->count;
	uint32_t n;

	(void)mailbox;
	if (envelope == NULL || envelope->type != ENVELOPE_PS_COUNTED) {
		lost(asked);
		return;
	}
	n = envelope_get_u32(envelope);
	lost(asked);
	asked->answered = true;
	count->sum += n;
	if (--count->missing == 0)
		finish(count, count->sum);
}

static void
ask(struct count *count, unsigned i)
{
	struct asked *asked = &count->asked[i];
	struct envelope_writer hello = { 0 }, question = { 0 };
	int fd = mailbox_connect(count->paths[i]);

	if (fd == -1)
		return;
	asked->mailbox = mailbox_new(fd, on_envelope, asked);
	mailbox_attach(asked->mailbox, count->base);
	envelope_put_u32(&hello, SLOT_NONE);
	envelope_put_u64(&hello, 0);
	envelope_put_u32(&hello, 0);
	mailbox_send(asked->mailbox, ENVELOPE_PS_HELLO, &hello);
	envelope_put_data(&question, count->topic.data, count->topic.size);
	mailbox_send(asked->mailbox, ENVELOPE_PS_COUNT, &question);
}

/* Those that have not answered: one that died begins anew meanwhile. */
static void
on_again(int fd, short what, void *arg)
{
	struct count *count = arg;

	(void)fd;
	(void)what;
	if (monotonic_ms() >= count->until) {
		finish(count, -1);
		return;
	}
	for (unsigned i = 0; i < count->n; i++)
		if (!count->asked[i].answered &&
		    count->asked[i].mailbox == NULL)
			ask(count, i);
	ask_later(count);
}

void
count_ask(struct event_base *base, char *const *paths, unsigned n,
    const struct text *topic, count_cb callback, void *arg)
{
	struct count *count = xcalloc(1, sizeof *count);

	assert(n > 0 && n <= PUBSUB_MAX);
	count->base = base;
	count->paths = paths;
	count->n = count->missing = n;
	count->topic.data = xmemdup(topic->data, topic->size);
	count->topic.size = topic->size;
	count->callback = callback;
	count->arg = arg;
	count->until = monotonic_ms() + COUNT_LIMIT;
	event_assign(&count->again, base, -1, 0, on_again, count);
	for (unsigned i = 0; i < n; i++) {
		count->asked[i].count = count;
		ask(count, i);
	}
	ask_later(count);
}
