/*
 * topic.h - a topic that the client has joined, and the channel process that
 * serves it: its messages, its crashes, its end.
 *
 * The topic outlives the process: when the channel crashes and is started again
 * the topic keeps the params, the refs, the subscription and what waits.
 */
#ifndef TOPIC_H
#define TOPIC_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include <bennu/channel.h>

#include "common/config.h"
#include "common/mailbox.h"
#include "common/message.h"
#include "common/supervise.h"
#include "common/tree.h"
#include "pubsub/client.h"

struct transport;

/* A message for the channel, kept until the channel has done it. */
struct item {
	enum envelope_type type; /* IN, INFO, END (the client leaves) */
	char *event;             /* for the log */
	char *ref;               /* JSON text of what a reply repeats */
	bool wants_reply;        /* ref is not null */
	struct envelope_writer body;
	STAILQ_ENTRY(item) entry;
};

/* A message that the channel keeps to answer later. */
struct kept {
	uint32_t handle;
	char *ref;
	bool wants_reply; /* ref is not null */
	RB_ENTRY(kept) entry;
};
RB_HEAD(kept_tree, kept);

/* Another topic whose broadcasts go to handle_info. */
struct extra {
	struct text name;
	unsigned times; /* it asked for it so often */
	LIST_ENTRY(extra) entry;
};

enum topic_state {
	TOPIC_JOINING, /* its first join runs */
	TOPIC_JOINED,
	TOPIC_REJOINING, /* it crashed; its join runs again */
	TOPIC_ENDED,     /* no longer joined: last words are being sent */
};

struct topic {
	struct transport *transport;
	const struct config_channel *config;
	struct text name;
	char *name_json;
	char *join_ref; /* JSON text, as the client sent it */
	char *ref;      /* JSON text, of the phx_join */
	char *push_ref; /* join_ref, or ref when that is null (lent) */
	struct text params;
	enum bennu_kind params_kind;
	unsigned number; /* in its transport: channel #17.3 */
	unsigned restarts;
	enum topic_state state;
	RB_ENTRY(topic) entry; /* unless ended or replaced */
	LIST_ENTRY(topic) of_all;
	bool listed;

	struct child *child;     /* NULL: no process */
	struct mailbox *mailbox; /* NULL: no process */
	long long rejoin_by;     /* monotonic ms by which a join run again must
				    have answered */
	long long
	    end_by;      /* monotonic ms by which it must have ended; 0: none */
	bool subscribed; /* its client is, or will be when pubsub says so */
	bool confirmed;  /* pubsub has said so */
	bool join_pending; /* the client has no answer to its phx_join yet */
	bool refused;      /* its join said no */
	bool replaced;     /* the client joined again */
	bool mute;         /* whatever the process says is void */
	bool dead;         /* the process was reaped: nothing is sent to it */
	bool dumping;      /* it was asked for its state (inspect.h) */
	bool leaving;      /* phx_leave is in the queue, or done */
	char *leave_join_ref, *leave_ref;
	enum bennu_reason stop; /* it announced its end; 0: it did not */
	char *old_join_ref;     /* of the incarnation that this one replaced */

	STAILQ_HEAD(, item) queue;
	size_t queue_bytes;
	unsigned queue_messages;
	long long full_since; /* monotonic ms; 0: not full */
	struct item *in_hand;
	bool replied;     /* to in_hand */
	char *waking;     /* event of the timer or task that runs, or NULL */
	char *last_event; /* for the log */
	struct kept_tree kept;
	unsigned nkept;
	uint32_t last_handle; /* handles rise */
	LIST_HEAD(, extra) extras;
	unsigned nextras;

	/*
	 * While pubsub has not confirmed something, what the channel says waits
	 * here: whole WebSocket frames.
	 */
	unsigned holding;
	struct json_buffer held;

	/* See presence.h. */
	STAILQ_HEAD(, deferred) deferred;
	bool holds_frames;
	struct json_buffer frames; /* of broadcasts, for the client */
};

RB_HEAD(topics, topic);
LIST_HEAD(topic_list, topic);

struct topic *topic_find(struct transport *, const struct text *name);

/* phx_join. A topic that is joined already is replaced. */
void topic_join(struct transport *, const struct config_channel *,
    const struct message *, enum bennu_kind, const struct text *params);
/* phx_leave, with the refs of the message. */
void topic_leave(struct topic *, const struct message *);
/* An event of the client. */
void topic_push(struct topic *, const struct message *, enum bennu_kind,
    const struct text *payload);
/* May pubsub send more for channels, so that no queue becomes full of it? */
bool topic_queues_have_room(struct transport *);
/* A broadcast of somebody else, for channels: PS_DELIVER_*. */
void topic_deliver(struct transport *, const struct broadcast *, uint32_t what);
/* The same, for the client: a whole WebSocket frame. */
void topic_deliver_frame(struct transport *, const struct text *topic,
    const char *frame, size_t size);
/*
 * A process of this connection broadcasts: a channel, or the endpoint (NULL).
 * False: nonsense.
 */
bool topic_broadcast(
    struct transport *, struct envelope *, const struct topic *sender);
/* Every journal can hold it, and the envelopes on its way; else said in the
 * log. */
bool topic_broadcast_fits(const struct transport *, const struct broadcast *);
/* kill -9 for the channel with this number, as the page asks for. */
bool topic_kill(struct transport *, unsigned number);

/* For the transport's supervisor of channels. */
extern const struct supervisor_callbacks topic_callbacks;
void topic_describe(struct child *, char *, size_t, void *);
/* A process was reaped: reads its last words first. False: not ours. */
bool topic_reap(struct transport *, pid_t, int status);
/* Kills the channels that are hung. Returns ms until the next look; -1: none.
 */
long long topic_check_hung(struct transport *);
/* The client or pubsub takes again, or is slow: channels are read, or not. */
void topic_pause_channels(struct transport *, bool pause);

#endif /* TOPIC_H */
