/*
 * topic_private.h - what the files of a topic share: topic.c (its life),
 * topic_queue.c (to the channel), topic_dispatch.c (from the channel),
 * topic_out.c (to the client), topic_broadcast.c (to and from others).
 */
#ifndef TOPIC_PRIVATE_H
#define TOPIC_PRIVATE_H

#include "transport/frame.h"
#include "transport/topic.h"

static inline int
topic_compare(const struct topic *a, const struct topic *b)
{
	return text_compare(&a->name, &b->name);
}

TREE_GENERATE(topics, topic, entry, topic_compare)

static inline int
kept_compare(const struct kept *a, const struct kept *b)
{
	return a->handle < b->handle ? -1 : a->handle > b->handle;
}

TREE_GENERATE(kept_tree, kept, entry, kept_compare)

/* ---- topic.c ---- */

void topic_free(struct topic *);
/* The client has its answer to the phx_join: its next message may come. */
void topic_join_answered(struct topic *);
/* The join was refused (reason NULL: it was told) or crashed. */
void topic_join_failed(struct topic *, const char *reason);
/* The client hears of the replaced incarnation behind the new one's answer. */
void topic_close_replaced(struct topic *);
/* Within its `shutdown`, or it will be killed: see topic_check_hung. */
void topic_must_end(struct topic *);

/* ---- topic_out.c ---- */

/* The frame that is being made, and sent by topic_send. */
extern struct frame topic_frame;
/* At its place in the channel's stream. */
void topic_send(struct topic *);
/* The same, of a whole WebSocket frame that somebody else has made. */
void topic_send_made(struct topic *, const char *frame, size_t size);
void topic_send_reply(struct topic *, const char *join_ref, const char *ref,
    const char *status, const char *response);
void topic_send_end(struct topic *, const char *join_ref, const char *event,
    const char *payload);
/* Nothing of the channel reaches the client before a confirmation more. */
void topic_hold(struct topic *);
/* pubsub has confirmed; arg: struct topic. It may be freed. */
void topic_confirmed(void *arg);
bool topic_holds_too_much(const struct topic *);

/* ---- topic_queue.c ---- */

/* ref: JSON text, or NULL when it is no message of the client. */
struct item *topic_item_new(
    enum envelope_type, const char *event, const struct text *ref);
void topic_item_put_payload(
    struct item *, enum bennu_kind, const struct text *payload);
void topic_item_free(struct item *);
/* Takes the item. */
void topic_queue_add(struct topic *, struct item *);
bool topic_queue_is_full(const struct topic *);
/* It is not full, or of no interest, any more. */
void topic_queue_has_room(struct topic *);
/* The next message goes to the channel when its hands are empty. */
void topic_send_next(struct topic *);

/* ---- topic_broadcast.c ---- */

/* To another topic. False: there are too many. */
bool topic_subscribe(struct topic *, const struct text *name);
void topic_unsubscribe(struct topic *, const struct text *name);
void topic_unsubscribe_extras(struct topic *);
void topic_unsubscribe_all(struct topic *);

/* ---- topic_dispatch.c ---- */

/* For its mailbox; arg: struct topic. */
void topic_on_envelope(struct mailbox *, struct envelope *, void *arg);
void topic_forget_all_kept(struct topic *);
/*
 * The channel is as good as dead. Where death has not come by itself it is
 * helped along; it is settled when the process is reaped. why may be NULL.
 */
#define TOPIC_NONSENSE "it sent nonsense"
void topic_lost(struct topic *, const char *why);

#endif /* TOPIC_PRIVATE_H */
