/*
 * bennu/channel.h - what the author of a channel needs, and nothing else.
 *
 * A channel is a set of callbacks. Bennu forks one process for each topic that
 * a client joins and runs the callbacks there, one message at a time: a channel
 * has no locks, and its crash touches nothing else. Then it is forked again and
 * join is called again with what the client sent when it joined (restart =
 * transient, the default), or the client gets phx_error and joins again by
 * itself (restart = temporary, Phoenix's way).
 *
 * Ownership: const is lent, for the length of the call. What a function of this
 * header returns is lent until the callback returns, unless it says otherwise.
 *
 * Errors: no callback can fail to send. When the client's connection is gone
 * the process is told so (terminate, BENNU_CLOSED) or ends. What only a mistake
 * of the author can cause (a payload that is no JSON, a push inside join, a
 * result that a callback may not return) is logged and ends the process as a
 * crash.
 *
 * Where a rule comes from is said beside it: the names are those of
 * Phoenix.Channel.
 */
#ifndef BENNU_CHANNEL_H
#define BENNU_CHANNEL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BENNU_API          __attribute__((__visibility__("default")))
#define BENNU_PRINTF(a, b) __attribute__((__format__(__printf__, a, b)))
#else
#define BENNU_API
#define BENNU_PRINTF(a, b)
#endif

/*
 * A module says which of these it was built for; a server of another one
 * refuses it. The number is frozen: as long as it stays, what stands in
 * bennu/channel.h, bennu/endpoint.h and bennu/socket.h keeps its meaning, its
 * form in memory and its values, and a module needs not be built again. What
 * may come under the same number: new calls; new members of an enum; slots of a
 * module's struct in the place of `reserved`, which older modules leave NULL;
 * fields at the end of struct bennu_message, which only Bennu makes.
 */
#define BENNU_ABI 1

struct bennu_socket; /* this client on this topic: what one process serves */
struct bennu_socket_ref; /* a message that is to be answered later */

/*
 * Payloads are text as it was on the wire: integers keep their digits, strings
 * their U+0000. bennu_json makes a tree of one for who wants it.
 */
enum bennu_kind {
	BENNU_JSON,
	BENNU_BINARY, /* a frame of Phoenix's binary form */
};

struct bennu_payload {
	enum bennu_kind kind;
	const char *data; /* a NUL stands behind it */
	size_t size;      /* bytes, the NUL not counted */
};

/* A message, as the client sent it, as a timer or another topic brings it. */
struct bennu_message {
	const char *topic; /* may hold U+0000: then topic_size tells */
	size_t topic_size;
	const char *event; /* "new_msg" */
	size_t event_size;
	const char *ref; /* JSON text of what a reply repeats; NULL: none */
	struct bennu_payload payload; /* {} from a timer */
	void *data;                   /* of the timer; else NULL */
};

/* What a callback makes of its message. */
enum bennu_result {
	BENNU_OK = 1,    /* done; a join is accepted */
	BENNU_REFUSE,    /* join only: the client may not join */
	BENNU_UNHANDLED, /* no such event: a crash, as a missing clause is in
			    Phoenix */
};

/* Why a channel ends. */
enum bennu_reason {
	BENNU_NORMAL = 1, /* bennu_stop: done; phx_close to the client */
	BENNU_SHUTDOWN,   /* bennu_stop or the server stops; phx_close */
	BENNU_ERROR,      /* bennu_stop: counts as a crash */
	BENNU_LEFT,       /* the client left the topic */
	BENNU_CLOSED,     /* the client's connection is gone */
	BENNU_DRAINING,   /* the server stops and sends its clients away */
};

/*
 * A channel. Only join is required. A module defines one with BENNU_CHANNEL;
 * bennu.conf says which topics it serves. Callbacks run one at a time. What is
 * left out must be NULL, as a designated initializer makes it.
 */
struct bennu_channel {
	unsigned abi; /* BENNU_ABI */
	const char *name;

	/*
	 * Events of broadcasts on the channel's topic that go to handle_out
	 * instead of straight to the client; NULL-terminated, or NULL.
	 */
	const char *const *intercept;

	/*
	 * A client wants to join; message->payload is its params. bennu_reply
	 * makes the response ({} without), before returning BENNU_OK or
	 * BENNU_REFUSE. Nothing else may be sent yet: bennu_send_after(socket,
	 * 0, ...) runs right after the client has its answer.
	 */
	enum bennu_result (*join)(
	    struct bennu_socket *, const struct bennu_message *);
	/* The client pushed an event. */
	enum bennu_result (*handle_in)(
	    struct bennu_socket *, const struct bennu_message *);
	/*
	 * An intercepted broadcast: push it, changed or not, or let it be.
	 * Required with intercept.
	 */
	enum bennu_result (*handle_out)(
	    struct bennu_socket *, const struct bennu_message *);
	/* A timer fired, or another topic brought a broadcast, or a task ended.
	 */
	enum bennu_result (*handle_info)(
	    struct bennu_socket *, const struct bennu_message *);
	/*
	 * The last call: not after a crash, nor when the client joins the topic
	 * a second time. detail is bennu_stop's or "". Broadcasts made here go
	 * out. Limit: `shutdown` of bennu.conf.
	 */
	void (*terminate)(
	    struct bennu_socket *, enum bennu_reason, const char *detail);
	/*
	 * Somebody wants to know what the channel is doing (POST
	 * /bennu/inspect, bennu.conf(5)): its state as JSON, in whatever form;
	 * lent until the next callback, so bennu_take and bennu_format make it.
	 * Runs between two messages. It may look, count and log; what sends is
	 * a mistake here. At most 1 MiB; who asks does not get more.
	 */
	struct bennu_payload (*dump)(struct bennu_socket *);
	/*
	 * Adds to what presences say (Phoenix.Presence.fetch). presences is the
	 * object of bennu_presence_list, or the joins or leaves of a diff;
	 * members may be added to each key's object, beside "metas". The tree
	 * is lent, and what is added to it belongs to it. For lists it runs in
	 * the process that asked, for diffs in one of its own, which has 5 s:
	 * then, and when it crashes, the diff leaves without additions.
	 */
	void (*fetch)(const char *topic, cJSON *presences);

	void *reserved[4]; /* NULL */
};

#define BENNU_CHANNEL(symbol)                               \
	extern BENNU_API const struct bennu_channel symbol; \
	BENNU_API const struct bennu_channel symbol

/* ---- who and where ---- */

BENNU_API const char *bennu_topic(const struct bennu_socket *);
/* JSON text of the join_ref under which the client knows this channel. */
BENNU_API const char *bennu_join_ref(const struct bennu_socket *);
/* How often this channel crashed and was started again; 0 in a first join. */
BENNU_API unsigned bennu_restarts(const struct bennu_socket *);
/* A key of the options block in bennu.conf, or NULL. */
BENNU_API const char *bennu_option(
    const struct bennu_socket *, const char *key);
/* The name of this node, for bennu_broadcast_direct: "bennu@" and the host's
 * name. */
BENNU_API const char *bennu_node(void);
/* A new random UUID (version 4): "9f1d3c1e-...", 36 characters and a NUL. */
BENNU_API void bennu_uuid(char out[37]);

/* What is known of the client since it connected (bennu/socket.h); JSON. */

/* "websocket" or "longpoll" */
BENNU_API const char *bennu_transport(const struct bennu_socket *);
/* All parameters of the query: {"vsn":"2.0.0"}. */
BENNU_API struct bennu_payload bennu_params(const struct bennu_socket *);
/* What connect assigned: an object; {} when there is no connect. */
BENNU_API struct bennu_payload bennu_connect_assigns(
    const struct bennu_socket *);
/* The id that connect gave, or NULL. */
BENNU_API const char *bennu_socket_id(const struct bennu_socket *);

/*
 * The channel's own state: Bennu keeps the pointer and never looks inside. NULL
 * at first. It goes with the process.
 */
BENNU_API void *bennu_assigns(const struct bennu_socket *);
BENNU_API void bennu_assign(struct bennu_socket *, void *);

/* ---- payloads ---- */

/* The payload as a tree, made at the first call; NULL when it is binary or
 * cJSON cannot hold it (depth 1,000; it also rounds integers above 2^53 and
 * cuts strings at U+0000). Lent until the callback returns. */
BENNU_API const cJSON *bennu_json(
    struct bennu_socket *, const struct bennu_payload *);

/* {} */
BENNU_API struct bennu_payload bennu_empty(void);
/* JSON text, lent. */
BENNU_API struct bennu_payload bennu_text(const char *);
/* Bytes, lent: they travel as Phoenix's {:binary, data}. */
BENNU_API struct bennu_payload bennu_bytes(const void *, size_t);
/* JSON text from a format; only for values that need no escaping. */
BENNU_API struct bennu_payload bennu_format(
    struct bennu_socket *, const char *, ...) BENNU_PRINTF(2, 3);
/* A tree; it is freed (given, not lent). */
BENNU_API struct bennu_payload bennu_take(struct bennu_socket *, cJSON *);

/* ---- to this client ---- */

/* Push an event. Not inside join. */
BENNU_API void bennu_push(
    struct bennu_socket *, const char *event, struct bennu_payload);

/*
 * Answer the message in hand: join or handle_in. status is "ok", "error" or any
 * other word of the application; in join it must be the one that fits the
 * result. At most once for a message; more answers, and later ones, need
 * bennu_keep.
 */
BENNU_API void bennu_reply(
    struct bennu_socket *, const char *status, struct bennu_payload);

/*
 * Keep the message in hand (handle_in) to answer it later, from anywhere, as
 * often as wished. Free the reference. A reference that is left when the
 * channel crashes is answered {"reason":"channel crashed"} by Bennu.
 */
BENNU_API struct bennu_socket_ref *bennu_keep(struct bennu_socket *);
BENNU_API void bennu_reply_to(
    struct bennu_socket_ref *, const char *status, struct bennu_payload);
BENNU_API void bennu_ref_free(struct bennu_socket_ref *);

/*
 * Push something that the client must acknowledge: its own event does, and
 * handle_in calls bennu_acked with the same id. Without that in `timeout` ms
 * comes the policy. Pending ids are a set: one never covers another. Pushing an
 * id that is pending starts its time again.
 */
enum bennu_ack_policy {
	BENNU_ACK_CRASH = 1, /* as bennu_stop(BENNU_ERROR) */
	BENNU_ACK_CLOSE,     /* close the client's connection */
	BENNU_ACK_LOG,       /* only a line in the log */
};
BENNU_API void bennu_push_acked(struct bennu_socket *, const char *event,
    struct bennu_payload, const char *id, unsigned timeout,
    enum bennu_ack_policy);
/* False: it was not pending (any more). */
BENNU_API bool bennu_acked(struct bennu_socket *, const char *id);

/* Close the client's connection, with all its channels; it may come back. */
BENNU_API void bennu_close(struct bennu_socket *);

/* ---- to everyone ---- */

/* To all on this topic, this client too; _from leaves out this channel. Not
 * inside join. */
BENNU_API void bennu_broadcast(
    struct bennu_socket *, const char *event, struct bennu_payload);
BENNU_API void bennu_broadcast_from(
    struct bennu_socket *, const char *event, struct bennu_payload);
/* To all on another topic. */
BENNU_API void bennu_broadcast_to(struct bennu_socket *, const char *topic,
    const char *event, struct bennu_payload);

/* The same, but only to those on this node. */
BENNU_API void bennu_broadcast_local(struct bennu_socket *, const char *topic,
    const char *event, struct bennu_payload);
/* Only to those on one node. 0; or -1 with errno: EHOSTUNREACH when there is no
 * such node. */
BENNU_API int bennu_broadcast_direct(struct bennu_socket *, const char *node,
    const char *topic, const char *event, struct bennu_payload);

/*
 * How many subscribe to a topic on this node, as pubsub has confirmed: channels
 * of it that are joined, and connections of which channels have subscribed to
 * it by bennu_subscribe. Those of a pubsub worker that is just being started
 * again may be missing. Asks and waits, 5 s at most; not in dump. -1 with
 * errno: ETIMEDOUT; EAGAIN when a worker does not answer; EMFILE.
 */
BENNU_API long bennu_subscribers(struct bennu_socket *, const char *topic);

/* Close all connections whose socket id this is, with code 1001. */
BENNU_API void bennu_disconnect(struct bennu_socket *, const char *id);

/*
 * Have the broadcasts of another topic come to handle_info. Subscribing twice
 * delivers twice; unsubscribing ends all of them.
 */
BENNU_API void bennu_subscribe(struct bennu_socket *, const char *topic);
BENNU_API void bennu_unsubscribe(struct bennu_socket *, const char *topic);

/* ---- Presence: who is where ----
 *
 * A presence is a channel, a topic and a key, with a meta: an object. It ends
 * with the channel's process. Clients of the topic get presence_diff; a channel
 * pushes presence_state itself:
 *
 *   bennu_push(socket, "presence_state", bennu_presence_list(socket, NULL));
 *
 * topic may be NULL: the channel's own. The key is any UTF-8 string. Not inside
 * join, nor dump.
 *
 * What fails says so by errno. EINVAL: topic or key are not UTF-8, the meta is
 * JSON and no object. ENAMETOOLONG: topic or key have more than 16 KiB. EDQUOT:
 * this channel would track more than 1,000 keys, or more than 1 MiB of topics,
 * keys and metas (100 bytes more for each; with a small journal_size: a 32nd of
 * that). EMSGSIZE: a list has more than 64 MiB. ESHUTDOWN: inside terminate,
 * where only lists are served.
 */

/*
 * The phx_ref of the new meta, lent until the callback returns. NULL with
 * errno: EEXIST, this channel tracks that key on that topic already. phx_ref
 * and phx_ref_prev are Bennu's: a meta's own members of these names are left
 * out.
 */
BENNU_API const char *bennu_presence_track(struct bennu_socket *,
    const char *topic, const char *key, struct bennu_payload meta);
/* The new meta takes the old one's place; as above. ENOENT: there is none. */
BENNU_API const char *bennu_presence_update(struct bennu_socket *,
    const char *topic, const char *key, struct bennu_payload meta);
/* 0, also when there was none; -1 with errno. */
BENNU_API int bennu_presence_untrack(
    struct bennu_socket *, const char *topic, const char *key);
/*
 * All presences of a topic: {"key": {"metas": [{"phx_ref": ..., ...}]}, ...};
 * lent until the callback returns. Asks and waits: presence has 5 s, or the
 * caller crashes. data is NULL: errno, also EMFILE. Of the channel's own topic:
 * what is broadcast there reaches the client only behind this callback, so that
 * no diff is older than the list it belongs to.
 */
BENNU_API struct bennu_payload bennu_presence_list(
    struct bennu_socket *, const char *topic);
/* Those of one key: {"metas": [...]}; [] when there are none. */
BENNU_API struct bennu_payload bennu_presence_get_by_key(
    struct bennu_socket *, const char *topic, const char *key);

/* ---- tokens ----
 *
 * As Phoenix.Token makes and reads them, with the same secret
 * (endpoint.secret_file of bennu.conf) and the same salt; bennu.conf(5) says
 * what becomes of Erlang's terms. A token is signed, not encrypted: its data
 * can be read by who has it. The secret is the transport's, which is asked; it
 * is never in this process. Not in dump.
 */

/*
 * max_age: it is never too old; or as the token says itself, a day in those of
 * bennu_sign and, unless they say otherwise, of Phoenix.
 */
#define BENNU_ANY_AGE (-1)
#define BENNU_OWN_AGE (-2)

/*
 * A token for data, which is JSON; lent until the callback returns. NULL with
 * errno: E2BIG (more than 32 KiB, or deeper than 100), ERANGE (of a number,
 * which has more than 1,233 digits or is no double), ENAMETOOLONG (a salt of
 * more than 1,000 bytes), EPERM (the salt "bennu longpoll", which is the
 * server's own), EMFILE, EIO (the connection is gone).
 */
BENNU_API const char *bennu_sign(
    struct bennu_socket *, const char *salt, struct bennu_payload data);
/*
 * What was signed; lent until the callback returns. data is NULL: errno is
 * ENOENT (token is NULL), EBADMSG (forged, or of another salt or secret), ETIME
 * (older than max_age seconds; 0 is older than anything), ENOTSUP (good, but
 * Erlang's: a term that JSON has no form for), or as above.
 */
BENNU_API struct bennu_payload bennu_verify(
    struct bennu_socket *, const char *salt, const char *token, long max_age);

/* ---- time ---- */

/*
 * Have a message with this event and data come to handle_info in that many
 * milliseconds. Returns a number for the calls below, never 0. Timers go with
 * the process, also when it is started again.
 */
BENNU_API unsigned bennu_send_after(struct bennu_socket *,
    unsigned milliseconds, const char *event, void *data);
/* Milliseconds left, or -1 when there is no such timer (any more). */
BENNU_API long bennu_timer_left(const struct bennu_socket *, unsigned timer);
/* The same, and it will not fire. */
BENNU_API long bennu_cancel_timer(struct bennu_socket *, unsigned timer);

/* ---- work that would hold up the channel ---- */

struct bennu_task; /* in the task's process */

/*
 * Fork a process that runs `run`; ps shows it, and kill -9 of it costs nothing
 * but its result. When it has ended handle_info gets a message with this event
 * and `data`; its payload is what bennu_task_result made, or, when the task
 * died without one, {"error":"killed"}. Tasks end with their channel. Handles
 * and threads must not be open across it (sqlite's among them). Returns the
 * pid; -1 with errno when it cannot be forked (EAGAIN: 64 run already, or the
 * kernel's limit; EMFILE: limit_nofile).
 */
BENNU_API int bennu_task(struct bennu_socket *, const char *event,
    void (*run)(struct bennu_task *, void *data), void *data);
/* In the task: its result; the last call counts. cJSON trees: print them. */
BENNU_API void bennu_task_result(struct bennu_task *, struct bennu_payload);

/* ---- the end ---- */

/*
 * Stop once the callback returns; terminate is called with the same. The client
 * gets phx_close after NORMAL and SHUTDOWN, phx_error after ERROR (or, with
 * restart = transient, nothing: the channel is started again). detail, for the
 * log and terminate, may be NULL.
 */
BENNU_API void bennu_stop(
    struct bennu_socket *, enum bennu_reason, const char *detail);

/* A line in the server's log, with topic and pid before it. */
BENNU_API void bennu_log(const struct bennu_socket *, const char *, ...)
    BENNU_PRINTF(2, 3);

/*
 * Metrics of the application, over all channels and connections since the
 * server started, for GET /bennu/metrics (bennu.conf(5)). What a callback
 * counts leaves when it returns: it is lost when it crashes, and in a task. A
 * name is [a-zA-Z_][a-zA-Z0-9_]{0,63}, does not begin with bennu_ and does not
 * end in _bucket, _sum or _count; else it is a mistake, as is counting and
 * observing under one name. The server keeps 256 names; what comes under others
 * is dropped, and counted as bennu_metrics_dropped_total.
 */
/* Adds n to a counter. */
BENNU_API void bennu_count(struct bennu_socket *, const char *name, uint64_t n);
/*
 * Adds a finite value to a histogram. Its buckets are 1, 2.5 and 5 times each
 * power of ten from 0.001 to 10000: seconds, milliseconds, or sizes.
 */
BENNU_API void bennu_observe(
    struct bennu_socket *, const char *name, double value);

#ifdef __cplusplus
}
#endif

#endif /* BENNU_CHANNEL_H */
