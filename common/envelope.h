/*
 * envelope.h - messages between processes of the tree.
 *
 * An envelope is a type and a body of fields. Both ends run the same binary, so
 * integers are in host order; but the end that reads checks every size, since
 * the other may be an author's code gone wild: envelope_get_* never reads
 * outside the body, and envelope_end tells whether all of it was read and sane.
 */
#ifndef ENVELOPE_H
#define ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/message.h"

/* Larger bodies are a protocol error. A frame may be 10 MB; JSON grows a bit.
 */
#define ENVELOPE_MAX (64U << 20)

enum envelope_type {
	/* transport -> channel; the join itself is inherited memory */
	ENVELOPE_IN = 1, /* event, ref or none, u32 kind, payload: handle_in */
	ENVELOPE_OUT,    /* event, u32 kind, payload: handle_out */
	ENVELOPE_INFO,   /* topic, event, u32 kind, payload: handle_info */
	ENVELOPE_END,    /* u32 enum bennu_reason: terminate and exit; to an
			    endpoint: nothing, stop and exit */
	ENVELOPE_DUMP,   /* tell what you are doing; nobody asks again before
			    the answer */

	/* transport -> who has asked, over the socket that came along */
	ENVELOPE_TOKEN = 40, /* u32 errno or 0, text: a token, or JSON */

	/* transport -> endpoint */
	ENVELOPE_REQUEST = 50, /* u32 number, u32 route, method, path, query
				  (JSON), u32 n and n times name, value: of the
				  path; likewise headers; body */

	/* channel -> transport */
	ENVELOPE_JOINED = 100, /* u32 accepted, u32 kind, payload */
	ENVELOPE_DONE,         /* the message in hand is done */
	ENVELOPE_WAKE,         /* event: a timer's handle_info begins */
	ENVELOPE_SLEEP,        /* ... is over */
	ENVELOPE_REPLY,       /* u32 handle, status, u32 kind, payload; handle 0
				 is the message in hand */
	ENVELOPE_KEEP,        /* u32 handle: the message in hand will be
				 answered later under this number */
	ENVELOPE_FORGET,      /* u32 handle: no (more) answers will come */
	ENVELOPE_PUSH,        /* event, u32 kind, payload */
	ENVELOPE_BROADCAST,   /* u32 flags, topic, event, u32 kind, payload */
	ENVELOPE_SUBSCRIBE,   /* topic */
	ENVELOPE_UNSUBSCRIBE, /* topic */
	ENVELOPE_CLOSE,       /* the client's connection is to be closed */
	ENVELOPE_STOP,        /* u32 enum bennu_reason, detail: it will exit */
	ENVELOPE_DUMPED,      /* u32 timers, u32 ms to the next one, u32 tasks,
				 u32 unacknowledged, JSON of the dump slot */
	ENVELOPE_TALLY,       /* u32 n and n times u32 kind, name and, of a
				 counter, u64; of a histogram u64 sum (bits of a
				 double), u32 n and n times u32 bucket, u64 */
	ENVELOPE_SUBSCRIBERS, /* topic, and a socket: how many? int64 */
	ENVELOPE_SIGN,        /* salt, JSON, and a socket, over which TOKEN
				 comes */
	ENVELOPE_VERIFY,      /* salt, token, u64 max_age, and a socket */
	ENVELOPE_TRACK,       /* topic, key, ref, the ref it replaces or none,
				 meta: JSON of an object */
	ENVELOPE_UNTRACK,     /* topic, key */
	ENVELOPE_PRESENCES,   /* topic, key or none, and a socket, over which
				 PR_LISTED comes */

	/* endpoint -> transport; it may send BROADCAST, TALLY, SUBSCRIBERS,
	   PRESENCES, SIGN and VERIFY, too */
	ENVELOPE_RESPONSE = 150, /* u32 status, type or none, u32 n and n times
				    name, value: headers; body */

	/* transport, tool -> pubsub; a subscription belongs to the connection.
	   "origin" is the index of a worker, "number" that of an entry in its
	   journal, "part" an enum part. */
	ENVELOPE_PS_HELLO = 200, /* u32 slot, u64 connection, u32 n and n times
				    for each part u64: number received */
	ENVELOPE_PS_SERVES,      /* u32 mount, u32 version, u32 generation: it
				    has a client; with the client's socket,
				    unless generation is 0 */
	ENVELOPE_PS_SUBSCRIBE,   /* u32 part, topic, u32 n and n times u64:
				    what was before; n is 0 at first; confirmed
				  */
	ENVELOPE_PS_UNSUBSCRIBE, /* u32 part, topic; confirmed */
	ENVELOPE_PS_READY,       /* behind HELLO and all SUBSCRIBEs of before */
	ENVELOPE_PS_PUBLISH,     /* u64 publish, u32 flags, topic, event, u32
				    kind, payload: to all but the sending
				    connection */
	ENVELOPE_PS_COUNT,       /* topic: how many subscribe to it here? */
	ENVELOPE_PS_ROOM,        /* what came before ENOUGH was taken */

	/* pubsub -> transport, tool */
	ENVELOPE_PS_SUBSCRIBED = 250, /* u32 part, topic, u32 n and n times u64
				       */
	ENVELOPE_PS_UNSUBSCRIBED,     /* u32 part, topic */
	ENVELOPE_PS_ACCEPTED,         /* u64 publish: all up to it */
	ENVELOPE_PS_OVERRUN, /* you were let go before: some were missed */
	ENVELOPE_PS_DELIVER, /* u32 origin, u64 number, u32 what, topic, event,
				u32 kind, payload: for channels */
	ENVELOPE_PS_FRAME,   /* u32 origin, u64 number, topic, frame: for the
				client */
	ENVELOPE_PS_REST,    /* u32 origin, u64 number, bytes: of a write to the
				client's socket that was short */
	ENVELOPE_PS_YOURS,   /* the lane: it is free */
	ENVELOPE_PS_COUNTED, /* u32 n */
	ENVELOPE_PS_ENOUGH,  /* there is more, for who says ROOM */

	/* transport -> connect */
	ENVELOPE_CONNECT = 260, /* u32 mount, params, transport, token or none,
				   peer or none, uri or none, u32 n and n times
				   name, value: headers */

	/* connect -> transport; it may send TALLY, SIGN and VERIFY, too */
	ENVELOPE_CONNECT_BEGUN = 270, /* the callback runs */
	ENVELOPE_CONNECTED,           /* u32 accepted, id or none, assigns */

	/* transport -> transport, for one who asks over HTTP */
	ENVELOPE_INSPECT = 280, /* u32 pid of the supervisor, u64 connection,
				   u32 number of the channel */
	ENVELOPE_INSPECTED,     /* u32 HTTP status, JSON of an object */

	/* transport of a request -> transport of a long-poll session: one of
	   them */
	ENVELOPE_SESSION_OPEN = 284, /* u32 mount, u32 version, params, id or
					none, assigns */
	ENVELOPE_SESSION_POLL,
	ENVELOPE_SESSION_POST, /* at most LONGPOLL_LINES_MAX times u32 opcode,
				  data */

	/* and back */
	ENVELOPE_SESSION_HERE,   /* at once: it lives */
	ENVELOPE_SESSION_ANSWER, /* u32 status, messages: JSON strings, with
				    commas between */

	/* transport, tool -> presence; "channel" is a number that no other
	   process of a channel of this connection has or had */
	ENVELOPE_PR_HELLO = 290, /* u64 connection or 0, u32 slot */
	ENVELOPE_PR_TRACK,       /* u64 channel, topic, key, ref, the ref it
				    replaces or none, meta */
	ENVELOPE_PR_UNTRACK,     /* u64 channel, topic, key */
	ENVELOPE_PR_DROP,        /* u64 channel: all that it tracked */
	ENVELOPE_PR_COMPLETE,    /* behind HELLO and TRACKs of what there was
				    before: there is no more */
	ENVELOPE_PR_LIST,        /* topic, key or none; perhaps with a socket
				    for the answer */

	/* presence -> transport, tool, whoever has the other end of a socket */
	ENVELOPE_PR_LISTED, /* JSON; nothing: it is larger than an envelope */

	/* presence -> fetch, and back */
	ENVELOPE_FETCH,   /* u64 number, topic, joins, leaves */
	ENVELOPE_FETCHED, /* u64 number, joins, leaves */

	/* child of the supervisor -> supervisor */
	ENVELOPE_STARTED = 300, /* the child is ready to serve */
};

/* Of ENVELOPE_BROADCAST. */
#define BROADCAST_FROM  1U /* not to the channel that sends it */
#define BROADCAST_LOCAL 2U /* to this node only */

/* Of ENVELOPE_PS_DELIVER. */
#define PS_DELIVER_OUT  1U /* handle_out: the topic's channel intercepts it */
#define PS_DELIVER_INFO 2U /* handle_info, or the socket's id */

const char *envelope_name(enum envelope_type); /* "?" when there is none */

/* A body to read: cursor over somebody else's memory. */
struct envelope {
	enum envelope_type type;
	const uint8_t *data;
	size_t size;
	size_t at;
	bool bad; /* a field did not fit */
};

/* Zero, or an empty string, when the body is exhausted: then bad is set. */
uint32_t envelope_get_u32(struct envelope *);
uint64_t envelope_get_u64(struct envelope *);
/* Bytes and their number; always followed by a NUL that is not counted. */
const char *envelope_get_data(struct envelope *, size_t *);
struct text envelope_get_text(struct envelope *); /* the same, lent */
/* As above; NULL was sent as NULL. */
const char *envelope_get_optional(struct envelope *, size_t *);
struct text envelope_get_optional_text(struct envelope *); /* lent */
/* Was everything read, and nothing beyond? */
bool envelope_end(const struct envelope *);

/*
 * A body being written: zero it to begin. Taken by mailbox_send. The head of
 * the envelope has its place in front of the body, so that both leave in one
 * write.
 */
#define ENVELOPE_HEAD 8 /* bytes: u32 type, u32 size of the body */
struct envelope_writer {
	uint8_t *data;
	size_t size; /* with the head; 0 when nothing was put yet */
	size_t room;
};
void envelope_put_u32(struct envelope_writer *, uint32_t);
void envelope_put_u64(struct envelope_writer *, uint64_t);
void envelope_put_data(struct envelope_writer *, const void *, size_t);
void envelope_put_string(struct envelope_writer *, const char *); /* or NULL */
/* A text, or NULL when it has no data. */
void envelope_put_text(struct envelope_writer *, const struct text *);
/* Fields as another writer made them. */
void envelope_put_raw(struct envelope_writer *, const void *, size_t);
/* Gives back the room that was not needed: for what is kept. */
void envelope_writer_trim(struct envelope_writer *);
void envelope_writer_free(struct envelope_writer *);

#endif /* ENVELOPE_H */
