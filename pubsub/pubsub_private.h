/*
 * pubsub_private.h - what the files of the pubsub role share: pubsub.c (the
 * role, and what its peers ask), sockets.c (their clients), subscribers.c (who
 * wants which topic), deliver.c (from the journals to them), catchup.c (those
 * who come again).
 */
#ifndef PUBSUB_PRIVATE_H
#define PUBSUB_PRIVATE_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "common/leaf.h"
#include "common/mailbox.h"
#include "common/message.h"
#include "common/tree.h"
#include "pubsub/encode.h"
#include "pubsub/journal.h"
#include "pubsub/pubsub.h"
#include "pubsub/shared.h"
#include "pubsub/slots.h"

struct adapters;
struct lane;
struct pieces;
struct tap;

/* One connection on one topic: in a list of the topic, in a tree of the peer.
 */
struct subscription {
	struct peer *peer;
	struct topic *topic;
	bool client;  /* frames for the client, ... */
	bool channel; /* ... fields for channels that asked for it */
	/* Of the client's part: events that go to the channel instead. */
	const char *const *intercept;
	/* Entries up to these were before its time. While the peer is not
	 * ready, or behind; else, and when all are for it, NULL. */
	uint64_t *since[PARTS];
	RB_ENTRY(subscription) of_peer;
	TAILQ_ENTRY(subscription) of_topic;
};
TAILQ_HEAD(subscriptions, subscription);
RB_HEAD(subscription_tree, subscription);

struct topic {
	struct text name;
	struct subscriptions subscribers;
	RB_ENTRY(topic) entry;
};
RB_HEAD(topics, topic);

/* A process that talks to us: a transport, nearly always. */
struct peer {
	struct pubsub *pubsub;
	struct mailbox *mailbox;
	uint64_t connection; /* 0: none, e.g. a tool */
	struct slot *slot;   /* NULL: none */
	struct lane *lane;   /* NULL: its frames go by the mailbox */
	uint32_t generation; /* of the lane */
	int fd;              /* the client's socket, for its lane; or -1 */
	enum frame_version version;
	const struct config_socket *mount; /* NULL: no client */
	bool said_hello;
	bool unknown; /* the supervisor does not know it: not yet, or no more */
	bool later;   /* there is no descriptor for it: it comes again */
	bool ready;   /* it has said all that it wants */
	bool missed;  /* it was let go before */
	uint64_t received[PARTS][PUBSUB_MAX]; /* of HELLO */
	size_t largest;        /* broadcast that may wait for it */
	struct pieces *pieces; /* frames of this batch; NULL: none */
	struct subscription_tree topics;
	size_t ntopics;
	TAILQ_ENTRY(peer) entry;
	TAILQ_ENTRY(peer) dirty; /* while it has pieces */
	bool full;               /* more waits for it than may */
	TAILQ_ENTRY(peer) of_full;
	TAILQ_ENTRY(peer) of_sockets; /* while it has fd */
	/* What went into its mailbox in this recovery and was not taken yet, as
	 * far as we know. */
	uint64_t recovery;
	size_t waiting[PARTS]; /* bytes */
	unsigned messages;     /* for its channels */
	struct behind *behind; /* NULL: it gets all at once */
	TAILQ_ENTRY(peer) of_behind;
};
TAILQ_HEAD(peers, peer);

/* Where in the journals a connection is that does not get all at once. */
struct behind {
	struct journal_reader readers[PUBSUB_MAX];
	uint64_t bases[PUBSUB_MAX]; /* of these */
	/* Beyond these, already: it has all entries up to them. */
	uint64_t has[PARTS][PUBSUB_MAX];
	bool asked;  /* whether there is room */
	bool listed; /* it may go on */
};

struct pubsub {
	const struct pubsub_start *start;
	struct shared *shared;
	unsigned self; /* our index among the workers */
	struct leaf leaf;
	struct event *deliver_event;
	struct topics topics;
	struct peers peers;
	struct journal *journal;                   /* ours */
	struct journal_reader readers[PUBSUB_MAX]; /* next: not delivered yet */
	uint64_t bases[PUBSUB_MAX]; /* of these: shared_worker.base */
	uint64_t epoch;             /* ours */
	struct adapters *adapters;
	struct tap *tap;
	struct peers dirty;
	struct peers full;    /* to be let go */
	struct peers sockets; /* that we hold, the newest last */
	bool said_short;      /* of descriptors */
	struct peers behind;  /* those who may go on */
	struct event *behind_event, *tick_event;
	/* It was stopped, or has begun, and gives what has waited. */
	bool recovers;
	uint64_t recovery; /* rises with each */
	long long recovers_until;
	long long tick_ms;  /* when the last tick came */
	size_t undelivered; /* bytes of our own journal */
	struct pieces *spare;
	uint64_t *let_go; /* connections: a ring, 0 is none */
	size_t nlet_go;
};

static inline int
topic_compare(const struct topic *a, const struct topic *b)
{
	return text_compare(&a->name, &b->name);
}

TREE_GENERATE(topics, topic, entry, topic_compare)

static inline int
subscription_compare(const struct subscription *a, const struct subscription *b)
{
	return text_compare(&a->topic->name, &b->topic->name);
}

TREE_GENERATE(subscription_tree, subscription, of_peer, subscription_compare)

/* All that its journal holds up to this was delivered. */
static inline uint64_t
pubsub_position(const struct pubsub *pubsub, unsigned origin)
{
	return pubsub->bases[origin] + pubsub->readers[origin].next - 1;
}

/* ---- pubsub.c ---- */

void peer_free(struct peer *);
/* It does not take what it gets: it must come again, and hear of it. */
void peer_let_go(struct peer *);
/* Whether more waits for it than may; more: what is allowed beyond. */
bool peer_is_full(const struct peer *, size_t more);

/* ---- sockets.c ---- */

/* The client's socket came with the envelope in hand. False: it did not. */
bool socket_take(struct peer *);
/* Its last registration is over: it does without when descriptors are short. */
void socket_spare(struct peer *);
/* Nobody writes to the client from here any more. */
void socket_close(struct peer *);
/* arg: struct pubsub. Closes one that can be done without. */
bool socket_make_room(void *arg);

/* ---- subscribers.c ---- */

struct topic *subscribers_of(struct pubsub *, const struct text *name);
struct subscription *subscription_find(struct peer *, const struct text *name);
struct subscription *subscription_add(struct peer *, const struct text *name);
void subscription_free(struct subscription *);
/* What comes from now on is for it, and nothing before. */
void subscription_begins(struct subscription *, enum part);
void subscriptions_forget_since(struct peer *);
bool subscription_intercepts(
    const struct subscription *, const struct text *event);

/* ---- deliver.c ---- */

/* Goes on reading a journal behind a position, or where it begins anew. */
void deliver_behind(struct pubsub *, unsigned origin, uint64_t position);

/* What a copy of an entry goes to, and how: made when first needed. */
struct outgoing_broadcast {
	unsigned origin;
	struct journal_entry entry;
	const char *frames[FRAME_V2 + 1]; /* by version */
	size_t sizes[FRAME_V2 + 1];
	bool encoded[FRAME_V2 + 1];
};

/* All that the journals hold and was not delivered yet. */
void deliver_all(struct pubsub *);
/* One entry to one subscription, as far as it wants its parts. */
void deliver_to(struct subscription *, struct outgoing_broadcast *, bool client,
    bool channel);
void deliver_flush_peer(struct peer *);
/* Bytes of its pieces. */
size_t deliver_collected(const struct peer *);
/* Its pieces are forgotten. */
void deliver_forget(struct peer *);
void outgoing_begin(
    struct outgoing_broadcast *, unsigned origin, const struct journal_entry *);
void outgoing_end(struct outgoing_broadcast *);
/* In the socket, or passed on: bytes that are the rest of a write. */
void deliver_rest(struct peer *, unsigned origin, uint64_t last,
    const char *data, size_t size);

/* ---- behind.c ---- */

void behind_start(struct pubsub *);
/* Before what the journals hold is delivered. */
void behind_round(struct pubsub *);
/*
 * Whether it does not get what has just been read from this journal, since it
 * is behind, or is from now on: then it gets it in its own time.
 */
bool behind_falls(struct peer *, unsigned origin);
/* It is, from now on, at the worker's positions; to be set back, and then
 * behind_go_on. */
struct behind *behind_new(struct peer *);
void behind_free(struct peer *);
/* Gives it as much as may be given at once. */
void behind_go_on(struct peer *);
/* It has taken what it got. False: nobody had asked. */
bool behind_has_room(struct peer *);

/* ---- catchup.c ---- */

/* It has said what it wants: it gets what it missed. False: it is gone. */
bool catch_up(struct peer *);

#endif /* PUBSUB_PRIVATE_H */
