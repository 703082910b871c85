/*
 * fetcher.c - see fetcher.h.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "channel/fetcher.h"
#include "common/leaf.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/xmalloc.h"

#define GRACE 1 /* s: presence's own clock comes first */

struct fetcher {
	const struct fetcher_start *start;
	struct leaf leaf;
};

/* ---- what it does ---- */

const struct bennu_channel *
fetch_of(const struct config *config, const struct text *topic)
{
	for (size_t i = 0; i < config->nsockets; i++) {
		const struct config_channel *channel = config_find_channel(
		    &config->sockets[i], topic->data, topic->size);

		if (channel != NULL && channel->callbacks->fetch != NULL)
			return channel->callbacks;
	}
	return NULL;
}

bool
fetch_is_needed(const struct config *config)
{
	for (size_t i = 0; i < config->nsockets; i++)
		for (size_t k = 0; k < config->sockets[i].nchannels; k++)
			if (config->sockets[i].channels[k].callbacks->fetch !=
			    NULL)
				return true;
	return false;
}

char *
fetch_apply(const struct bennu_channel *channel, const char *topic,
    const struct text *presences)
{
	cJSON *tree = cJSON_ParseWithLength(presences->data, presences->size);
	char *text = NULL;

	if (cJSON_IsObject(tree)) {
		channel->fetch(topic, tree);
		text = cJSON_PrintUnformatted(tree);
	}
	cJSON_Delete(tree);
	return text;
}

/* Nobody's presences ask nobody. */
static char *
apply_to(const struct bennu_channel *channel, const char *topic,
    const struct text *presences)
{
	if (presences->size == 2)
		return xstrdup("{}");
	return fetch_apply(channel, topic, presences);
}

static bool
serve(
    struct fetcher *fetcher, struct mailbox *mailbox, struct envelope *envelope)
{
	uint64_t number = envelope_get_u64(envelope);
	struct text topic = envelope_get_text(envelope);
	struct text joins = envelope_get_text(envelope);
	struct text leaves = envelope_get_text(envelope);
	const struct bennu_channel *channel;
	struct envelope_writer writer = { 0 };
	char *joined = NULL, *left = NULL;

	if (!envelope_end(envelope))
		return false;
	channel = fetch_of(fetcher->start->config, &topic);
	if (channel == NULL)
		return false;
	/* A callback that loops ends as a crash does. */
	alarm(FETCH_LIMIT / 1000 + GRACE);
	joined = apply_to(channel, topic.data, &joins);
	left = apply_to(channel, topic.data, &leaves);
	alarm(0);
	envelope_put_u64(&writer, number);
	envelope_put_string(&writer, joined == NULL ? joins.data : joined);
	envelope_put_string(&writer, left == NULL ? leaves.data : left);
	mailbox_send(mailbox, ENVELOPE_FETCHED, &writer);
	free(joined);
	free(left);
	return true;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	if (envelope != NULL && envelope->type == ENVELOPE_FETCH &&
	    serve(arg, mailbox, envelope))
		return;
	if (envelope != NULL)
		log_warnx("presence sent a bad %s envelope; let go",
		    envelope_name(envelope->type));
	mailbox_free(mailbox);
}

/* ---- the role ---- */

static void
on_presence(int fd, void *arg)
{
	struct fetcher *fetcher = arg;

	mailbox_attach(
	    mailbox_new(fd, on_envelope, fetcher), fetcher->leaf.base);
}

void
fetcher_run(void *arg)
{
	struct fetcher fetcher = { .start = arg };

	fetcher.leaf.arg = &fetcher;
	leaf_begin(&fetcher.leaf, "fetch", FETCHER_FD_MAILBOX);
	leaf_listen(&fetcher.leaf, FETCHER_FD_LISTEN, on_presence);
	leaf_started(&fetcher.leaf);
	event_base_dispatch(fetcher.leaf.base);
	fatalx("the event loop ended");
}
