/*
 * socket.h - struct bennu_socket, private to the channel role: what the public
 * calls (socket.c) and the loop (channel.c) share.
 */
#ifndef SOCKET_H
#define SOCKET_H

#include <stdbool.h>

#include <bennu/channel.h>

#include "channel/ack.h"
#include "channel/channel.h"
#include "channel/presence.h"
#include "channel/tally.h"
#include "channel/task.h"
#include "channel/timer.h"
#include "common/mailbox.h"

/* More than this that the transport has not taken yet makes the author wait. */
#define SOCKET_BACKLOG_MAX (256U * 1024)

/* What runs. Says what a call may do. */
enum socket_phase {
	PHASE_JOIN,
	PHASE_IN,   /* a message is in hand and may be answered */
	PHASE_INFO, /* a timer's, a topic's, a task's, an intercepted one */
	PHASE_TERMINATE,
	PHASE_DUMP,
};

/* Memory that lives until the callback returns. */
struct scratch {
	struct scratch *next;
	void *memory;
	cJSON *tree;
	const char *text; /* the payload that tree was made of */
};

struct bennu_socket {
	const struct channel_start *start;
	const struct bennu_channel *callbacks;
	struct mailbox *mailbox;
	struct timers timers;
	struct acks acks;
	struct tasks tasks;
	struct tally tally;
	struct tracking tracking;
	void *assigns;
	struct scratch *scratch;

	enum socket_phase phase;
	const struct bennu_message *in_hand;
	bool replied;
	char *reply_status; /* of a join, until it returns */
	struct bennu_payload reply;
	uint32_t handles; /* given out for kept messages */

	enum bennu_reason stop; /* asked for by the author; 0: none */
	char *stop_detail;
};

/* The author made a mistake: a line in the log, and a crash. */
_Noreturn void socket_mistake(const struct bennu_socket *, const char *, ...)
    __attribute__((__format__(printf, 2, 3)));
/* It has not joined yet: then that call is a mistake. */
void socket_not_in_join(const struct bennu_socket *, const char *call);
/* Takes malloc'd memory, which then lives until the callback returns. */
char *socket_keep(struct bennu_socket *, char *);
/* Frees what lived until the callback returned. */
void socket_clear_scratch(struct bennu_socket *);
/* To the transport; it leaves when the callback returns, or before. */
void socket_send(
    struct bennu_socket *, enum envelope_type, struct envelope_writer *);
/* Sends all that waits; ends the process when the transport is gone, unless it
 * is in terminate. */
void socket_flush(struct bennu_socket *);
/* An envelope's kind and payload. The author's JSON is checked. */
void socket_put_payload(
    struct bennu_socket *, struct envelope_writer *, struct bennu_payload);

#endif /* SOCKET_H */
