/*
 * subscribers.c - who wants which topic, and the interest table by which other
 * workers know of it.
 */
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>

#include "common/xmalloc.h"
#include "pubsub/pubsub_private.h"

struct topic *
subscribers_of(struct pubsub *pubsub, const struct text *name)
{
	struct topic key = { .name = *name };

	return RB_FIND(topics, &pubsub->topics, &key);
}

static struct topic *
topic_find_or_add(struct pubsub *pubsub, const struct text *name)
{
	struct topic *topic = subscribers_of(pubsub, name);

	if (topic != NULL)
		return topic;
	topic = xcalloc(1, sizeof *topic);
	topic->name.data = xmemdup(name->data, name->size);
	topic->name.size = name->size;
	TAILQ_INIT(&topic->subscribers);
	RB_INSERT(topics, &pubsub->topics, topic);
	return topic;
}

/* Sequentially consistent, as the publisher's look at it behind its append: one
 * of the two sees the other. */
static _Atomic uint32_t *
interest(struct pubsub *pubsub, const struct text *name)
{
	return &pubsub->shared->workers[pubsub->self]
		    .interest[interest_bucket(name)];
}

struct subscription *
subscription_find(struct peer *peer, const struct text *name)
{
	struct topic topic = { .name = *name };
	struct subscription key = { .topic = &topic };

	return RB_FIND(subscription_tree, &peer->topics, &key);
}

struct subscription *
subscription_add(struct peer *peer, const struct text *name)
{
	struct subscription *sub = xcalloc(1, sizeof *sub);

	sub->peer = peer;
	sub->topic = topic_find_or_add(peer->pubsub, name);
	RB_INSERT(subscription_tree, &peer->topics, sub);
	peer->ntopics++;
	TAILQ_INSERT_TAIL(&sub->topic->subscribers, sub, of_topic);
	atomic_fetch_add(interest(peer->pubsub, name), 1);
	return sub;
}

/* The last subscriber takes the topic with it. */
void
subscription_free(struct subscription *sub)
{
	struct pubsub *pubsub = sub->peer->pubsub;
	struct topic *topic = sub->topic;

	atomic_fetch_sub(interest(pubsub, &topic->name), 1);
	RB_REMOVE(subscription_tree, &sub->peer->topics, sub);
	sub->peer->ntopics--;
	TAILQ_REMOVE(&topic->subscribers, sub, of_topic);
	for (int part = 0; part < PARTS; part++)
		free(sub->since[part]);
	free(sub);
	if (!TAILQ_EMPTY(&topic->subscribers))
		return;
	RB_REMOVE(topics, &pubsub->topics, topic);
	free(topic->name.data);
	free(topic);
}

void
subscription_begins(struct subscription *sub, enum part part)
{
	const struct pubsub *pubsub = sub->peer->pubsub;

	if (sub->since[part] == NULL)
		sub->since[part] = xcalloc(
		    PUBSUB_MAX, sizeof *sub->since[part]);
	for (unsigned i = 0; i < pubsub->shared->nworkers; i++)
		sub->since[part][i] = pubsub_position(pubsub, i);
}

void
subscriptions_forget_since(struct peer *peer)
{
	struct subscription *sub;

	RB_FOREACH (sub, subscription_tree, &peer->topics)
		for (int part = 0; part < PARTS; part++) {
			free(sub->since[part]);
			sub->since[part] = NULL;
		}
}

bool
subscription_intercepts(
    const struct subscription *sub, const struct text *event)
{
	const char *const *listed = sub->intercept;

	for (; listed != NULL && *listed != NULL; listed++)
		if (strlen(*listed) == event->size &&
		    memcmp(*listed, event->data, event->size) == 0)
			return true;
	return false;
}
