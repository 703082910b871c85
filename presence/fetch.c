/*
 * fetch.c - see fetch.h.
 */
#include <sys/queue.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "common/xmalloc.h"
#include "presence/fetch.h"

#define LIMIT 5000 /* ms until a question is given up */
#define AGAIN 20   /* ms until the process is connected to again */

struct question {
	uint64_t number;
	struct text topic, joins, leaves;
	long long until; /* when it is given up; monotonic ms */
	STAILQ_ENTRY(question) entry;
};

struct fetch {
	struct event_base *base;
	const char *path;
	size_t max;
	fetch_cb callback;
	void *arg;
	struct mailbox *mailbox; /* NULL: not connected */
	struct event timer;      /* the end of the question that was sent,
				    or AGAIN */
	STAILQ_HEAD(, question) questions;
	bool asked; /* the first one has been sent */
	size_t pending;
};

static void ask_first(struct fetch *);

static struct text
copy(const struct text *text)
{
	char *data = xmalloc(text->size + 1);

	memcpy(data, text->data, text->size);
	data[text->size] = '\0';
	return (struct text){ data, text->size };
}

/* What came of the first one. */
static void
finish(struct fetch *fetch, const struct text *joins, const struct text *leaves)
{
	struct question *question = STAILQ_FIRST(&fetch->questions);

	STAILQ_REMOVE_HEAD(&fetch->questions, entry);
	fetch->pending--;
	fetch->asked = false;
	event_del(&fetch->timer);
	fetch->callback(question->number, &question->topic,
	    joins == NULL ? &question->joins : joins,
	    leaves == NULL ? &question->leaves : leaves, fetch->arg);
	free(question->topic.data);
	free(question->joins.data);
	free(question->leaves.data);
	free(question);
}

static void
wait_for(struct fetch *fetch, long long ms)
{
	struct timeval tv = {
		.tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000,
	};

	event_add(&fetch->timer, &tv);
}

/* The question that was asked may be what killed it. */
static void
give_up(struct fetch *fetch, const char *why)
{
	struct question *question = STAILQ_FIRST(&fetch->questions);

	mailbox_free(fetch->mailbox);
	fetch->mailbox = NULL;
	if (!fetch->asked)
		return;
	log_warnx("fetch for a diff of %s: %s; it goes without additions",
	    question->topic.data, why);
	finish(fetch, NULL, NULL);
	if (fetch->pending > 0)
		wait_for(fetch, AGAIN);
}

static bool
take_answer(struct fetch *fetch, struct envelope *envelope)
{
	struct question *question = STAILQ_FIRST(&fetch->questions);
	uint64_t number = envelope_get_u64(envelope);
	struct text joins = envelope_get_text(envelope);
	struct text leaves = envelope_get_text(envelope);

	if (envelope->type != ENVELOPE_FETCHED || !envelope_end(envelope) ||
	    !fetch->asked || question->number != number ||
	    json_scan_text(joins.data, joins.size).kind != JSON_OBJECT ||
	    json_scan_text(leaves.data, leaves.size).kind != JSON_OBJECT)
		return false;
	if (question->topic.size + joins.size + leaves.size <= fetch->max) {
		finish(fetch, &joins, &leaves);
		return true;
	}
	log_warnx("fetch for a diff of %s: it makes that larger than can be "
		  "published; it goes without additions",
	    question->topic.data);
	finish(fetch, NULL, NULL);
	return true;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct fetch *fetch = arg;

	(void)mailbox;
	if (envelope == NULL)
		give_up(fetch, "the process ended");
	else if (take_answer(fetch, envelope))
		ask_first(fetch);
	else
		give_up(fetch, "it answered nonsense");
}

static void
fetch_connect(struct fetch *fetch)
{
	int fd = mailbox_connect(fetch->path);

	if (fd == -1) {
		log_warn("%s; next try in %d ms", fetch->path, AGAIN);
		return;
	}
	fetch->mailbox = mailbox_new(fd, on_envelope, fetch);
	mailbox_attach(fetch->mailbox, fetch->base);
}

/* Those whose time was over while others were being answered. */
static void
give_up_late(struct fetch *fetch)
{
	struct question *question;
	long long now = monotonic_ms();
	size_t n = 0;

	while ((question = STAILQ_FIRST(&fetch->questions)) != NULL &&
	    question->until <= now) {
		finish(fetch, NULL, NULL);
		n++;
	}
	if (n > 0)
		log_warnx("fetch is slow: %zu diffs go without additions", n);
}

static void
ask_first(struct fetch *fetch)
{
	struct question *question;
	struct envelope_writer writer = { 0 };

	give_up_late(fetch);
	question = STAILQ_FIRST(&fetch->questions);
	if (question == NULL)
		return;
	if (fetch->mailbox == NULL)
		fetch_connect(fetch);
	if (fetch->mailbox == NULL) {
		wait_for(fetch, AGAIN);
		return;
	}
	envelope_put_u64(&writer, question->number);
	envelope_put_data(&writer, question->topic.data, question->topic.size);
	envelope_put_data(&writer, question->joins.data, question->joins.size);
	envelope_put_data(
	    &writer, question->leaves.data, question->leaves.size);
	mailbox_send(fetch->mailbox, ENVELOPE_FETCH, &writer);
	fetch->asked = true;
	wait_for(fetch, question->until - monotonic_ms());
}

static void
on_timer(int fd, short what, void *arg)
{
	struct fetch *fetch = arg;

	(void)fd;
	(void)what;
	if (fetch->asked)
		give_up(fetch, "no answer in 5 s");
	else
		ask_first(fetch);
}

struct fetch *
fetch_new(struct event_base *base, const char *path, size_t max,
    fetch_cb callback, void *arg)
{
	struct fetch *fetch = xcalloc(1, sizeof *fetch);

	fetch->base = base;
	fetch->path = path;
	fetch->max = max;
	fetch->callback = callback;
	fetch->arg = arg;
	STAILQ_INIT(&fetch->questions);
	event_assign(&fetch->timer, base, -1, 0, on_timer, fetch);
	return fetch;
}

void
fetch_ask(struct fetch *fetch, uint64_t number, const struct text *topic,
    const struct text *joins, const struct text *leaves)
{
	struct question *question = xcalloc(1, sizeof *question);

	question->number = number;
	question->topic = copy(topic);
	question->joins = copy(joins);
	question->leaves = copy(leaves);
	question->until = monotonic_ms() + LIMIT;
	STAILQ_INSERT_TAIL(&fetch->questions, question, entry);
	if (fetch->pending++ == 0)
		wait_for(fetch, 0); /* never answers from inside */
}

size_t
fetch_pending(const struct fetch *fetch)
{
	return fetch->pending;
}
