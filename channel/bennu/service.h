/*
 * bennu/service.h - what the author of a service needs, beside bennu/channel.h.
 *
 * A service is a process of the application that lasts as long as the server,
 * whoever is connected: it has timers, hears topics and broadcasts. Bennu forks
 * it when the server starts, runs its callbacks one at a time, and forks it
 * again when it dies (more than 10 times in 10 s: with pauses in between).
 * Nothing waits for it, and its crash costs nobody else anything.
 *
 * What others have broadcast on its topics comes to it once, in order, and what
 * it broadcasts reaches everybody once, also when the pubsub worker in between
 * is killed. While the service itself is dead it hears nothing.
 *
 * Ownership: const is lent, for the length of the call. What a function of this
 * header returns is lent until the callback returns.
 *
 * Errors: what only a mistake of the author can cause (a payload that is no
 * JSON, a result that a callback may not return) is logged and ends the process
 * as a crash. So does it when it is so slow that broadcasts had to be dropped:
 * start finds out anew how things are.
 */
#ifndef BENNU_SERVICE_H
#define BENNU_SERVICE_H

#include <bennu/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bennu_service_process; /* the process, in all calls */

/*
 * start or handle_info is required. A module defines one with BENNU_SERVICE;
 * bennu.conf names it as `module` of a service section.
 */
struct bennu_service {
	unsigned abi; /* BENNU_ABI */
	const char *name;

	/*
	 * The process has begun: the place to subscribe, set timers and open
	 * databases (never before a fork). The server takes clients when all
	 * services have returned true and have their subscriptions. False, and
	 * a line in the log, when it cannot: then the server does not start,
	 * or, later, it is tried again.
	 */
	bool (*start)(struct bennu_service_process *);
	/* A timer fired, or a topic brought a broadcast: BENNU_OK or
	 * BENNU_UNHANDLED. */
	enum bennu_result (*handle_info)(
	    struct bennu_service_process *, const struct bennu_message *);
	/*
	 * The last call: BENNU_SHUTDOWN, it is to stop; or BENNU_CLOSED, the
	 * server was killed. Not after a crash. Clients are gone then, other
	 * services may be. Limit: `shutdown` of bennu.conf.
	 */
	void (*terminate)(struct bennu_service_process *, enum bennu_reason);

	void *reserved[4]; /* NULL */
};

#define BENNU_SERVICE(symbol)                               \
	extern BENNU_API const struct bennu_service symbol; \
	BENNU_API const struct bennu_service symbol

/* ---- the process ---- */

/* As bennu_assigns. */
BENNU_API void *bennu_service_assigns(const struct bennu_service_process *);
BENNU_API void bennu_service_assign(struct bennu_service_process *, void *);
/* Its name in bennu.conf. */
BENNU_API const char *bennu_service_name(const struct bennu_service_process *);
/* A key of its options block in bennu.conf, or NULL. */
BENNU_API const char *bennu_service_option(
    const struct bennu_service_process *, const char *key);
/* A line in the server's log. */
BENNU_API void bennu_service_log(
    const struct bennu_service_process *, const char *, ...) BENNU_PRINTF(2, 3);

/* bennu_json and bennu_take; other payloads are made as for a channel. */
BENNU_API const cJSON *bennu_service_json(
    struct bennu_service_process *, const struct bennu_payload *);
BENNU_API struct bennu_payload bennu_service_take(
    struct bennu_service_process *, cJSON *);

/* ---- to everyone ---- */

/*
 * To all others on a topic; not to this service itself. What was called before
 * the callback crashed may be out, or not. Waits when there is much that pubsub
 * has not accepted yet.
 */
BENNU_API void bennu_service_broadcast(struct bennu_service_process *,
    const char *topic, const char *event, struct bennu_payload);
/* The same, but only to those on this node. */
BENNU_API void bennu_service_broadcast_local(struct bennu_service_process *,
    const char *topic, const char *event, struct bennu_payload);
/* bennu_disconnect. */
BENNU_API void bennu_service_disconnect(
    struct bennu_service_process *, const char *id);

/* Have the broadcasts of a topic come to handle_info. Doing either twice
 * changes nothing. More than 100,000 topics are a crash. */
BENNU_API void bennu_service_subscribe(
    struct bennu_service_process *, const char *topic);
BENNU_API void bennu_service_unsubscribe(
    struct bennu_service_process *, const char *topic);

/* ---- presences ---- */

/* As those of bennu/channel.h; lent until the callback returns. */
BENNU_API struct bennu_payload bennu_service_presence_list(
    struct bennu_service_process *, const char *topic);
BENNU_API struct bennu_payload bennu_service_presence_get_by_key(
    struct bennu_service_process *, const char *topic, const char *key);

/* ---- time ---- */

/* bennu_send_after, bennu_timer_left, bennu_cancel_timer. The message has the
 * topic "". */
BENNU_API unsigned bennu_service_send_after(struct bennu_service_process *,
    unsigned milliseconds, const char *event, void *data);
BENNU_API long bennu_service_timer_left(
    const struct bennu_service_process *, unsigned timer);
BENNU_API long bennu_service_cancel_timer(
    struct bennu_service_process *, unsigned timer);

#ifdef __cplusplus
}
#endif

#endif /* BENNU_SERVICE_H */
