/*
 * transport.h - the transport role: one process for one connection. It speaks
 * HTTP, then WebSocket and Phoenix's messages, and keeps the channels that its
 * client has joined.
 *
 * Three flows, none of which waits for another in a circle:
 *   in          client -> transport -> channel: a bounded queue for each
 *               channel; when one is full the client is not read any more;
 *   out         channel -> transport -> client: channels are read until the
 *               client's backlog is at its bound;
 *   broadcasts  never wait: beyond the bound comes the policy.
 */
#ifndef TRANSPORT_H
#define TRANSPORT_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "channel/channel.h"
#include "common/config.h"
#include "common/process.h"
#include "common/ready.h"
#include "common/secrets.h"
#include "common/stats.h"
#include "common/supervise.h"
#include "common/token_keys.h"
#include "pubsub/client.h"
#include "transport/http.h"
#include "transport/inspect.h"
#include "transport/outbox.h"
#include "transport/topic.h"
#include "transport/websocket.h"

/* Its descriptors, beside the standard ones. */
#define TRANSPORT_FD_CLIENT   PROCESS_FD       /* the connection */
#define TRANSPORT_FD_SESSION  PROCESS_FD       /* or who opens a session */
#define TRANSPORT_FD_REQUESTS (PROCESS_FD + 1) /* to the supervisor */
#define TRANSPORT_FD_STATIC   (PROCESS_FD + 2) /* directory of files, or -1 */
#define TRANSPORT_NFDS        3

/* sigqueue(3) from the supervisor: kill the channel with this number, or the
 * endpoint. */
#define TRANSPORT_SIGNAL_KILL   SIGUSR2
#define TRANSPORT_KILL_ENDPOINT 0
/* Likewise: who connects to this abstract socket asks something (inspect.h). */
#define TRANSPORT_SIGNAL_INSPECT SIGRTMIN

/*
 * What a transport is born with; it lies in the supervisor's memory, of which
 * the child has its copy.
 */
struct transport_start {
	const struct config *config;
	uint64_t connection;       /* its number, rising */
	const char *peer;          /* "127.0.0.1:50124" */
	const char *pubsub_path;   /* of its worker */
	char *const *pubsub_paths; /* of all of them */
	unsigned npubsub;
	uint32_t slot;                 /* slots.h; or SLOT_NONE */
	struct lane *lane;             /* its own; NULL: none */
	const char *connect_path;      /* NULL: no socket has a connect */
	const char *presence_path;     /* of its socket; NULL: there is none */
	struct secrets *secrets;       /* NULL: there is none */
	struct token_keys *token_keys; /* to read; or NULL */
	struct stats *stats; /* shared with all transports; NULL: no tree */
	struct ready *ready; /* to read; NULL: nobody may ask */
	const char *run_directory;
	const char *session_path; /* a long-poll session: of its socket; NULL */
	pid_t supervisor;
};

/* A request to the supervisor, over the socket that all transports share. */
#define SESSION_NONCE 16 /* bytes that nobody guesses */
struct transport_request {
	uint32_t kind; /* enum request_kind */
	uint32_t number;
	uint64_t connection;
	uint8_t nonce[SESSION_NONCE];
	uint32_t salt_size;
	char salt[TOKEN_KEYS_SALT];
};
enum request_kind {
	REQUEST_KILL_CHANNEL = 1, /* number, of connection; 0: its endpoint */
	REQUEST_KILL_TRANSPORT,   /* connection */
	REQUEST_KILL_PUBSUB,      /* number */
	REQUEST_KILL_CONNECT,     /* number */
	REQUEST_KILL_PRESENCE,    /* number: 1 */
	REQUEST_KILL_FETCH,       /* number: 1 */
	REQUEST_KILL_SERVICE,     /* number: its place in bennu.conf, from 1 */
	REQUEST_INSPECT,   /* number: of a socket, passed on to connection */
	REQUEST_SESSION,   /* nonce; with the new session's end of a mailbox */
	REQUEST_TOKEN_KEY, /* salt: of a key that is missed */
};

enum transport_mode {
	MODE_HTTP,
	MODE_WEBSOCKET,
	MODE_SESSION, /* of long poll: there is no socket; session.h */
	MODE_CLOSING, /* a last word is being written; then SHUT_WR */
	MODE_LINGER,  /* waits for the client's FIN */
	MODE_ENDING,  /* the socket is done; channels end, publishes leave */
};

/* So many in this second. */
struct rate {
	long long second;
	unsigned n;
};

/* Why the client is not read at the moment. */
#define PAUSE_JOIN     1U  /* a join has not been answered */
#define PAUSE_QUEUE    2U  /* a channel's queue is full */
#define PAUSE_RESPONSE 4U  /* a request has not been answered */
#define PAUSE_CONNECT  8U  /* the application's connect is being asked */
#define PAUSE_BACKLOG  16U /* it does not take what is written to it */

struct client_link;
struct connect;
struct endpoint;
struct longpoll;
struct publishing;
struct session;

struct transport {
	const struct transport_start *start;
	const struct config *config;
	const struct config_socket *socket; /* the mount, once upgraded */
	struct event_base *base;
	int fd; /* -1 when done, and of a session */
	enum transport_mode mode;
	const struct client_link *link; /* NULL: no messages go, or any more */
	struct event readable;
	struct event deadline; /* head, idle, linger: as mode says */
	struct event hung;     /* looks after full queues */
	long long hung_at;     /* when it fires; 0: it is not set */
	long long received;    /* when the client last sent something; ms */
	long long
	    request_since; /* when the unfinished request began; 0: none */
	unsigned paused;   /* PAUSE_*: why the client is not read */
	char *in;          /* read and not parsed */
	size_t in_size;

	struct http_connection *http;
	struct websocket *websocket;
	bool keep_alive;    /* another request may follow the answer */
	long long drain_by; /* when a request must be whole; 0: no drain */
	bool eof;           /* the client has sent its FIN */
	struct outbox outbox;
	long long
	    message_since; /* when the unfinished message began; 0: none */
	long long unjoined_since; /* when it was opened; 0: it has joined */
	struct rate controls, events, joins;
	unsigned long long dropped; /* broadcasts, under BACKLOG_DROP */

	struct event ahead;         /* ahead.h */
	struct connect *connect;    /* the question that is open, or NULL */
	struct connected connected; /* what came of it: for channels */

	struct supervisor *channels;
	struct topics topics;
	unsigned ntopics;      /* joined or being joined */
	size_t queued;         /* bytes that wait for all of them */
	size_t kept_bytes;     /* params, refs: as long as the topics live */
	unsigned last_channel; /* number of the last channel */
	struct endpoint *endpoint;      /* NULL: no request needed it yet */
	struct inspect *inspect;        /* what the client waits for; or NULL */
	struct longpoll *longpoll;      /* likewise */
	struct session *session;        /* NULL: it is none */
	struct inspections inspections; /* what others ask of us */
	struct publishing *publishing;  /* waits for pubsub; or NULL */
	unsigned ncounts;               /* under way: count.h */
	struct presence_client *presence; /* NULL: nobody needed it yet */
	struct pubsub_client *pubsub;
	struct lane *lane;            /* once it speaks WebSocket; or NULL */
	unsigned unconfirmed;         /* requests to pubsub, for subscriber.c */
	struct topic_list all_topics; /* also those on their way out */
	enum bennu_reason end_reason; /* of all channels; 0: they go on */
	bool stopped;                 /* all channels have ended */
};

/* Once, in the process that forks transports. */
void transport_prepare(void);
/* arg: struct transport_start. For process_fork. */
_Noreturn void transport_run(void *arg);

/* ---- for the modules of the transport ---- */

void transport_pause(struct transport *, unsigned why);
void transport_resume(struct transport *, unsigned why);
/* What was read while nobody parses: it comes first behind the resume. */
void transport_keep_input(struct transport *, const char *, size_t);
/* A message to the client. */
void transport_send(
    struct transport *, enum websocket_opcode, const char *, size_t size);
/* The end, behind what waits; a WebSocket tells the code. */
void transport_close(struct transport *, unsigned code, const char *why);
/* The connection is lost or not worth a word: the end. */
void transport_abort(struct transport *, const char *why);
/* What lies in the outbox is the last word: then the end. */
void transport_finish(struct transport *);
void transport_stop_channels(struct transport *, enum bennu_reason);
/* One of its children that it waits for has ended. */
void transport_ended(struct transport *);
/* Sets the timer whose meaning depends on the mode. */
void transport_deadline(struct transport *, long long ms);
/* The handshake's answer lies in the outbox: WebSocket from here on. */
void transport_upgrade(struct transport *, const struct config_socket *);
/* Does this broadcast close the connection (PROTOCOL.md 1.7)? Then it does. */
bool transport_disconnects(struct transport *, const struct broadcast *);
/* The title of who has a client. */
void transport_name(const struct transport *);
/* Messages to the client: whole WebSocket frames, made before. */
void transport_send_frames(struct transport *, const char *, size_t);
/* The client has taken some of what waits. */
void transport_took(struct transport *);
/* Is the client's backlog at its bound? */
bool transport_is_slow(const struct transport *);
/* Must the channels wait, for the client or for pubsub? */
bool transport_is_full(const struct transport *);
/* A broadcast does not fit into `what`: the policy is applied. */
void transport_overrun(struct transport *, const char *what);
/*
 * Counts one more of what is limited to so many a second (0: unlimited). False:
 * it was too much, and the connection is being closed.
 */
bool transport_rate(
    struct transport *, struct rate *, unsigned limit, const char *name);
/* Somebody may be hung: look after it in time. */
void transport_watch_hung(struct transport *);

#endif /* TRANSPORT_H */
