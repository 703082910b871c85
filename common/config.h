/*
 * config.h - bennu.conf as a struct. Parsed once, before the first fork; never
 * changed afterwards, so that all processes share its pages.
 *
 * Precedence: command line > environment (PORT, BENNU_SERVER_<KEY>) > file >
 * default. Every key, its unit and its default are in bennu.conf(5).
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/supervise.h"

struct bennu_channel;
struct bennu_endpoint;
struct bennu_service;
struct bennu_user_socket;

/* A key of a free-form options block. */
struct config_option {
	char *key, *value;
};

struct config_channel {
	char *pattern; /* "room:*", or an exact topic */
	size_t prefix; /* bytes before the *, or of the whole when exact */
	bool is_prefix;
	char *module; /* "demo.so:room" */
	enum restart restart;
	unsigned intensity;   /* 0 = unlimited */
	unsigned period;      /* s */
	int shutdown;         /* ms; 0: SIGKILL at once (brutal_kill) */
	long long memory_max; /* bytes of address space growth; 0 = unlimited */
	unsigned limit_nofile; /* descriptors; 0 = unlimited */
	int nice;
	struct config_option *options;
	size_t noptions;
	/* Filled in by channel/module.c. */
	const struct bennu_channel *callbacks;
	char *file; /* where the block stands, for errors */
	int line;
};

/* What connect may see beside the parameters: Phoenix's connect_info. */
enum connect_info {
	CONNECT_INFO_PEER = 1,
	CONNECT_INFO_TRACE = 2, /* traceparent, tracestate */
	CONNECT_INFO_X = 4,     /* x-... */
	CONNECT_INFO_URI = 8,
	CONNECT_INFO_USER_AGENT = 16,
	CONNECT_INFO_WEBSOCKET = 32, /* sec-websocket-... */
};

struct config_socket {
	char *path;   /* "/socket", without trailing slash */
	char *module; /* "app.so:user_socket"; NULL: all may connect */
	/* Filled in by channel/module.c. */
	const struct bennu_user_socket *callbacks;
	char *file; /* where the block stands, for errors */
	int line;
	/* Rules, ":conn" among them; NULL = no check. */
	char **check_origin;
	size_t norigins;
	bool auth_token;           /* taken from Sec-WebSocket-Protocol */
	unsigned connect_info;     /* enum connect_info, added */
	long long connect_timeout; /* ms that a connect callback may take */
	bool websocket;            /* "transports" */
	bool longpoll;             /* likewise */
	long long longpoll_window; /* ms that a poll waits for a message */
	long long pubsub_timeout;  /* ms that a poll's session may take to say
				      that it is there */
	long long idle_timeout;    /* ms */
	long long
	    unjoined_timeout; /* ms until something is joined; 0 = unlimited */
	long long join_timeout; /* ms a join may take when it is run again */
	size_t max_frame;       /* bytes of one frame's payload */
	size_t max_message;     /* bytes of a message put together */
	unsigned max_channels;
	unsigned max_fragments;    /* frames of one message */
	long long message_timeout; /* ms for the whole of a message */
	unsigned control_rate;     /* pings and pongs a second; 0 = unlimited */
	unsigned event_rate;       /* messages a second; 0 = unlimited */
	unsigned join_rate;        /* joins a second; 0 = unlimited */
	struct config_channel *channels;
	size_t nchannels;
};

/* The application's HTTP handlers. */
struct config_endpoint {
	char *module; /* "app.so:api"; NULL: none */
	/* Filled in by channel/module.c. */
	const struct bennu_endpoint *callbacks;
	char *file; /* where the module is named, for errors */
	int line;
	long long handler_timeout; /* ms that a handler may take */
	struct config_option *options;
	size_t noptions;
};

/* A process of the application that lasts. */
struct config_service {
	char *name;   /* "notifications" */
	char *module; /* "app.so:notifications" */
	int shutdown; /* ms */
	struct config_option *options;
	size_t noptions;
	/* Filled in by channel/module.c. */
	const struct bennu_service *callbacks;
	char *file; /* where the block stands, for errors */
	int line;
};

enum backlog_policy {
	BACKLOG_CLOSE,
	BACKLOG_DROP,
};

struct config {
	/* server */
	char **listen; /* "127.0.0.1:4000", "[::1]:4000", "unix:/path" */
	size_t nlisten;
	char *user; /* or NULL */
	char
	    *run_directory; /* or NULL: bennu-<port> in the runtime directory */
	char *module_directory; /* where modules without a / are */
	char *url_host;         /* what the world calls this server */
	unsigned max_connections;
	unsigned max_connections_per_address; /* 0 = unlimited */
	unsigned pubsub_workers;              /* 0 = by formula */
	size_t journal_size;                  /* bytes of each one's journal */
	unsigned connect_workers;             /* processes that run connect */
	bool affinity;      /* a transport and its channels stay on one core */
	bool huge_text;     /* the program's code lies in a huge page */
	size_t backlog_max; /* bytes that may wait for one slow client */
	enum backlog_policy backlog_policy;
	size_t queue_max_bytes; /* that may wait for one channel */
	size_t
	    queues_max_bytes; /* that may wait for all channels of one client */
	unsigned queue_max_messages; /* likewise */
	long long hung_timeout;      /* ms a channel may leave its queue full */
	long long send_timeout;      /* ms a client may take nothing */
	long long
	    head_timeout;     /* ms for a request head, and between requests */
	size_t head_max;      /* bytes of a request head */
	unsigned headers_max; /* number of header fields */
	size_t body_max;      /* bytes of a request body */
	unsigned crash_limit; /* transport crashes of one address ... */
	long long crash_period; /* ... in so many ms; 0 crashes = off */
	long long shutdown;     /* ms that a transport may take to end */
	long long drain_delay;  /* ms that clients still come, when it stops */
	unsigned drain_batch;   /* connections that are asked to end ... */
	long long drain_interval; /* ... in so many ms */
	long long drain_limit;    /* ms until all of them have ended */

	/* endpoint */
	struct config_endpoint endpoint;
	char *static_directory;     /* or NULL */
	bool ready;                 /* the route that load balancers ask */
	bool tree;                  /* the routes that show and kill workers */
	char *broadcast_token_file; /* or NULL: no route to broadcast */
	char *secret_file;          /* or NULL: a random one */

	/* log */
	int log_level; /* enum log_level */

	struct config_socket *sockets;
	size_t nsockets;
	struct config_service *services;
	size_t nservices;
};

/* What the command line says. Fields that are NULL say nothing. */
struct config_arguments {
	const char *port; /* replaces the port of every TCP listener */
	const char
	    *address; /* replaces all listeners; its port may be left out */
	const char *run_directory;
};

/*
 * Reads the file (NULL: defaults only) and returns the configuration, or NULL
 * with *error "bennu.conf:12: no key 'lisen' in server; did you mean
 * 'listen'?" (malloc'd). Never prints.
 */
struct config *config_load(
    const char *path, const struct config_arguments *, char **error);
void config_free(struct config *);

/* First declared match wins; NULL: no pattern matches (Phoenix's rule). */
const struct config_channel *config_find_channel(
    const struct config_socket *, const char *topic, size_t size);
/* The value of an option of a channel's options block, or NULL. */
const char *config_channel_option(
    const struct config_channel *, const char *key);
/* Likewise, of the endpoint; of a service. */
const char *config_endpoint_option(
    const struct config_endpoint *, const char *key);
const char *config_service_option(
    const struct config_service *, const char *key);

#endif /* CONFIG_H */
