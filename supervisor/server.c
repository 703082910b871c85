/*
 * server.c - see server.h. The tree:
 *
 *   supervisor
 *   +- pubsub 1 ...        permanent, one_for_one
 *   +- presence            permanent
 *   +- fetch               permanent, when a channel has a fetch
 *   +- connect 1 ...       permanent, when a socket has a connect
 *   +- service NAME ...    permanent, the application's
 *   +- transport #1 ...    temporary, one for each connection
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "channel/connector.h"
#include "channel/fetcher.h"
#include "channel/service.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "common/ready.h"
#include "common/reaper.h"
#include "common/secrets.h"
#include "common/stats.h"
#include "common/supervise.h"
#include "common/token_keys.h"
#include "common/xmalloc.h"
#include "presence/presence.h"
#include "pubsub/pubsub.h"
#include "pubsub/slots.h"
#include "supervisor/connections.h"
#include "supervisor/cores.h"
#include "supervisor/drain.h"
#include "supervisor/limits.h"
#include "supervisor/listener.h"
#include "supervisor/pool.h"
#include "supervisor/request.h"
#include "supervisor/rundir.h"
#include "supervisor/server.h"
#include "supervisor/systemd.h"
#include "supervisor/text.h"
#include "transport/session.h"
#include "transport/transport.h"
#include "transport/tree.h"

#define PERMANENT_INTENSITY 10 /* restarts of one of ours in ... */
#define PERMANENT_PERIOD    10 /* s; then it pauses longer each time */
#define OTHER_WORKERS       2  /* presence, fetch */
/* Its number among connections: no other one has it. */
#define PRESENCE_CONNECTION (UINT64_C(1) << 62)
#define SYSTEMD_FDS_MAX     16
#define REQUESTS_PER_TURN   16
#define SESSIONS_RATE       100  /* in a second, of one connection */
#define ORPHANS_LIMIT       2000 /* ms that the last ones have to end */
#define FORK_PAUSE          250  /* ms without accepting when fork fails */

/* A permanent child of ours: the process of a role, and its socket. */
struct worker {
	struct server *server;
	enum request_kind kill; /* what asks for its death */
	unsigned number;
	unsigned intensity; /* restarts, as in child_spec */
	int shutdown;       /* ms */
	struct process_spec spec;
	union {
		struct pubsub_start pubsub;
		struct presence_start presence;
		struct fetcher_start fetcher;
		struct connector_start connector;
		struct service_start service;
	} start;
	int listen_fd; /* stays open while the worker is being restarted */
	char id[64];
	struct mailbox *mailbox;
	bool up; /* it has said that it is ready */
};

struct server {
	const struct config *config;
	struct event_base *base;
	struct reaper *reaper;
	struct listeners *listeners;
	struct limits *limits;
	struct connections *connections;
	char *run_directory;
	bool made_directory; /* it goes with us */
	char *token_path;    /* NULL: there is none */
	char *address_path;  /* likewise */
	struct secrets *secrets;
	struct token_keys *token_keys;
	struct stats *stats; /* NULL: no tree */
	struct ready *ready; /* NULL: nobody asks */
	int static_fd;
	int requests[2]; /* ours, and the one that transports inherit */
	struct event *request_event;
	struct pool *pool; /* of pubsub workers */
	struct event *hang_event;
	char *connect_path; /* NULL: no socket has a connect */
	char *presence_path;
	char *fetch_path; /* NULL: no channel has a fetch */
	int presence_log[PRESENCE_LOG_FILES];
	struct worker *workers;
	unsigned nworkers;
	struct supervisor *permanent;
	struct supervisor *transports;
	uid_t uid;
	gid_t gid;
	struct drain *drain; /* NULL: connections are not asked to end yet */
	struct event *drain_event; /* behind drain_delay */
	bool booted;
	bool stopping;
	int status;
};

/* ---- readiness ---- */

/* Clients do without it while it is away, also one that crashes all the time:
 * what it runs is the application's. */
static bool
is_optional(const struct worker *worker)
{
	return worker->kill == REQUEST_KILL_SERVICE ||
	    worker->kill == REQUEST_KILL_FETCH;
}

/* Can a client be served? Of connect one process will do. */
static bool
is_serving(const struct server *server)
{
	bool has_connect = false, connects = false;

	if (!server->booted)
		return false;
	for (unsigned i = 0; i < server->nworkers; i++) {
		const struct worker *worker = &server->workers[i];

		if (worker->kill == REQUEST_KILL_CONNECT) {
			has_connect = true;
			connects |= worker->up;
		} else if (!worker->up && !is_optional(worker)) {
			return false;
		}
	}
	return connects || !has_connect;
}

static void
tell_readiness(const struct server *server)
{
	if (server->stopping)
		ready_set(server->ready, READY_STOPPING);
	else
		ready_set(server->ready,
		    is_serving(server) ? READY_YES : READY_STARTING);
}

/* ---- permanent workers ---- */

static void
on_worker_envelope(
    struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct child *child = arg;
	struct worker *worker = child_arg(child);

	if (envelope != NULL && envelope->type == ENVELOPE_STARTED) {
		child_ready(child);
		return;
	}
	if (envelope != NULL)
		log_warnx("%s sent an envelope %s; killed", worker->id,
		    envelope_name(envelope->type));
	/* At the end of file it is dead already, or as good as that. */
	child_kill(child);
	mailbox_pause(mailbox);
}

static bool
is_pubsub(const struct worker *worker)
{
	return worker->kill == REQUEST_KILL_PUBSUB;
}

static bool
is_presence(const struct worker *worker)
{
	return worker->kill == REQUEST_KILL_PRESENCE;
}

static bool
is_service(const struct worker *worker)
{
	return worker->kill == REQUEST_KILL_SERVICE;
}

/*
 * To pubsub each process of a service is another one: a connection number of
 * the transports' series, so that none comes twice, and its slot.
 */
static void
service_identify(struct worker *worker)
{
	struct server *server = worker->server;
	struct pubsub_identity *pubsub = &worker->start.service.pubsub;

	pubsub->connection = connections_number(server->connections);
	pubsub->slot = pool_slot(server->pool, pubsub->connection);
	pubsub->path = pool_path_for(server->pool, pubsub->connection);
}

/* pid -1: there is no process with this identity. */
static void
service_is(struct worker *worker, pid_t pid)
{
	struct pubsub_identity *pubsub = &worker->start.service.pubsub;

	if (pid != -1) {
		pool_slot_is(worker->server->pool, pubsub->slot, pid);
		return;
	}
	pool_slot_free(worker->server->pool, pubsub->slot);
	pubsub->slot = SLOT_NONE;
}

/* What goes on beyond the death of a worker, which others must not have. */
static void
worker_inherits(const struct worker *worker, bool inherits)
{
	const struct server *server = worker->server;

	if (is_pubsub(worker))
		pool_worker_forks(server->pool, worker->number, inherits);
	if (is_presence(worker))
		pool_presence_forks(server->pool, inherits);
}

static pid_t
worker_fork(struct child *child, void *arg)
{
	struct worker *worker = arg;
	const struct server *server = worker->server;
	struct process_spec spec = worker->spec;
	pid_t pid;
	int fd;

	/* PUBSUB_FD_LISTEN and _MAILBOX, and those of the connector. */
	spec.fds[0] = worker->listen_fd;
	spec.nfds = 2;
	secrets_inherit(server->secrets, false);
	token_keys_inherit(server->token_keys, false);
	stats_inherit(server->stats, false);
	ready_inherit(server->ready, false);
	if (is_presence(worker)) {
		for (int i = 0; i < PRESENCE_LOG_FILES; i++)
			spec.fds[spec.nfds++] = server->presence_log[i];
	}
	worker_inherits(worker, true);
	if (is_service(worker))
		service_identify(worker);
	pid = mailbox_fork(&spec, 1, &fd);
	worker_inherits(worker, false);
	secrets_inherit(server->secrets, true);
	token_keys_inherit(server->token_keys, true);
	stats_inherit(server->stats, true);
	ready_inherit(server->ready, true);
	if (is_service(worker))
		service_is(worker, pid);
	if (pid == -1)
		return -1;
	if (is_presence(worker))
		pool_slot_is(
		    server->pool, worker->start.presence.pubsub.slot, pid);
	worker->mailbox = mailbox_new(fd, on_worker_envelope, child);
	mailbox_attach(worker->mailbox, worker->server->base);
	return pid;
}

static void
on_worker_ready(struct supervisor *sup, struct child *child, void *arg)
{
	struct worker *worker = child_arg(child);

	(void)sup;
	worker->up = true;
	tell_readiness(arg);
}

static void
on_worker_died(struct supervisor *sup, struct child *child,
    const struct obituary *obituary, void *arg)
{
	struct worker *worker = child_arg(child);

	(void)sup;
	worker->up = false;
	tell_readiness(arg);
	/* What it shares with its successor may be damaged. */
	if (is_pubsub(worker))
		worker->start.pubsub.suspicious = limits_is_crash(
		    obituary->status);
	if (is_service(worker))
		service_is(worker, -1);
	mailbox_free(worker->mailbox);
	worker->mailbox = NULL;
}

static struct worker *
add_worker(struct server *server, const char *role, unsigned number, int fd)
{
	struct worker *worker = &server->workers[server->nworkers++];

	worker->server = server;
	worker->number = number;
	worker->listen_fd = fd;
	worker->shutdown = SHUTDOWN_DEFAULT;
	worker->spec.name = role;
	worker->spec.arg = &worker->start;
	snprintf(worker->id, sizeof worker->id, "%s %u", role, number);
	return worker;
}

static int
listen_for_workers(const struct server *server, const char *path)
{
	int fd = rundir_listen(path, server->uid, server->gid);

	if (fd == -1)
		fatal("%s", path);
	return fd;
}

static void
add_pubsub(struct server *server, unsigned number)
{
	struct worker *worker = add_worker(server, "pubsub", number,
	    listen_for_workers(server, pool_path(server->pool, number)));

	worker->kill = REQUEST_KILL_PUBSUB;
	worker->intensity = PERMANENT_INTENSITY;
	worker->spec.run = pubsub_run;
	pool_start(server->pool, number, &worker->start.pubsub);
}

static void
kill_hanging(struct child *child, void *arg)
{
	const struct server *server = arg;
	const struct worker *worker = child_arg(child);

	if (!is_pubsub(worker) || child_pid(child) == -1 ||
	    !pool_worker_hangs(server->pool, worker->number))
		return;
	log_warnx("%s hangs: killed", worker->id);
	child_kill(child);
}

static void
on_hang(int fd, short what, void *arg)
{
	struct server *server = arg;

	(void)fd;
	(void)what;
	supervisor_which_children(server->permanent, kill_hanging, server);
}

/* How many run connect; 0: there is none. */
static unsigned
connectors_needed(const struct config *config)
{
	for (size_t i = 0; i < config->nsockets; i++)
		if (config->sockets[i].callbacks != NULL)
			return config->connect_workers;
	return 0;
}

/*
 * They share one socket: who is free takes the next client. Their restarts have
 * no limit: what crashes is the callback for one client, and a pause would cost
 * all the others.
 */
static void
add_connectors(struct server *server, unsigned n)
{
	int fd;

	if (n == 0)
		return;
	server->connect_path = xasprintf(
	    "%s/connect.sock", server->run_directory);
	fd = listen_for_workers(server, server->connect_path);
	for (unsigned i = 1; i <= n; i++) {
		struct worker *worker = add_worker(server, "connect", i, fd);

		worker->kill = REQUEST_KILL_CONNECT;
		worker->intensity = 0;
		worker->spec.run = connector_run;
		worker->spec.dumpable =
		    true; /* the author's code, as channels */
		worker->start.connector = (struct connector_start){
			.config = server->config,
			.number = i,
		};
	}
}

/*
 * To pubsub it is always the same client, whichever process it is: so nothing
 * that it publishes comes twice.
 */
static void
add_presence(struct server *server)
{
	struct worker *worker;
	const uint64_t connection = PRESENCE_CONNECTION;

	if (presence_log_files(server->presence_log) == -1)
		fatal("presence's log");
	server->presence_path = xasprintf(
	    "%s/presence.sock", server->run_directory);
	worker = add_worker(server, "presence", 1,
	    listen_for_workers(server, server->presence_path));
	snprintf(worker->id, sizeof worker->id, "presence");
	worker->kill = REQUEST_KILL_PRESENCE;
	worker->intensity = PERMANENT_INTENSITY;
	worker->spec.run = presence_run;
	worker->start.presence = (struct presence_start){
		.config = server->config,
		.pubsub = {
			.path = pool_path_for(server->pool, connection),
			.connection = connection,
			.slot = pool_slot(server->pool, connection),
		},
		.shared = pool_shared(server->pool),
		.fetch_path = server->fetch_path,
	};
}

/* Its restarts have no limit: what crashes is one callback of the application.
 */
static void
add_fetcher(struct server *server)
{
	struct worker *worker;

	if (!fetch_is_needed(server->config))
		return;
	server->fetch_path = xasprintf("%s/fetch.sock", server->run_directory);
	worker = add_worker(
	    server, "fetch", 1, listen_for_workers(server, server->fetch_path));
	snprintf(worker->id, sizeof worker->id, "fetch");
	worker->kill = REQUEST_KILL_FETCH;
	worker->intensity = 0;
	worker->spec.run = fetcher_run;
	worker->spec.dumpable = true;
	worker->start.fetcher = (struct fetcher_start){
		.config = server->config,
	};
}

/* Last, so that they end first: what they say then is heard. */
static void
add_services(struct server *server)
{
	const struct config *config = server->config;

	for (unsigned i = 0; i < config->nservices; i++) {
		struct worker *worker = add_worker(
		    server, "service", i + 1, -1);

		snprintf(worker->id, sizeof worker->id, "service %s",
		    config->services[i].name);
		worker->kill = REQUEST_KILL_SERVICE;
		worker->intensity = PERMANENT_INTENSITY;
		worker->shutdown = config->services[i].shutdown;
		worker->spec.run = service_run;
		worker->spec.dumpable = true;
		worker->start.service = (struct service_start){
			.config = &config->services[i],
			.server = config,
			.pubsub.slot = SLOT_NONE,
			.presence_path = server->presence_path,
		};
	}
}

static void
open_workers(struct server *server)
{
	unsigned n = connectors_needed(server->config);

	server->pool = pool_new(server->config, server->run_directory);
	if (server->pool == NULL)
		fatal("memory that pubsub workers share");
	server->workers = xcalloc(pool_workers(server->pool) + OTHER_WORKERS +
		n + server->config->nservices,
	    sizeof *server->workers);
	for (unsigned i = 1; i <= pool_workers(server->pool); i++)
		add_pubsub(server, i);
	add_fetcher(server);
	add_presence(server);
	add_connectors(server, n);
	add_services(server);
}

/* ---- transports ---- */

/* A session has no client's socket, so no lane; nor does it want anything of
 * us or of a directory. */
static void
set_descriptors(const struct connection *connection, struct process_spec *spec)
{
	const struct server *server = connection->server;
	bool session = connection->session[0] != '\0';

	spec->nfds = TRANSPORT_NFDS;
	spec->fds[TRANSPORT_FD_CLIENT - PROCESS_FD] = connection->fd;
	spec->fds[TRANSPORT_FD_REQUESTS - PROCESS_FD] = session
	    ? -1
	    : server->requests[1];
	spec->fds[TRANSPORT_FD_STATIC - PROCESS_FD] = session
	    ? -1
	    : server->static_fd;
}

/* NULL: it is no session. */
static const char *
session_path(const struct connection *connection, char *path, size_t size)
{
	if (connection->session[0] == '\0')
		return NULL;
	snprintf(path, size, "%s/%s", connection->server->run_directory,
	    connection->session);
	return path;
}

/* The kernel's copy of the stack is all that the child gets of a connection. */
static pid_t
transport_fork(struct child *child, void *arg)
{
	struct connection *connection = arg;
	struct server *server = connection->server;
	char peer[sizeof connection->peer], path[SESSION_PATH_SIZE];
	const char *session = session_path(connection, path, sizeof path);
	uint32_t lane = session == NULL ? connection->slot : SLOT_NONE;
	struct transport_start start = {
		.config = server->config,
		.connection = connection->number,
		.peer = peer,
		.pubsub_path = pool_path_for(server->pool, connection->number),
		.pubsub_paths = pool_paths(server->pool),
		.npubsub = pool_workers(server->pool),
		.slot = connection->slot,
		.lane = pool_lane(server->pool, lane),
		.connect_path = server->connect_path,
		.presence_path = server->presence_path,
		.secrets = server->secrets,
		.token_keys = server->token_keys,
		.stats = server->stats,
		.ready = server->ready,
		.run_directory = server->run_directory,
		.session_path = session,
		.supervisor = getpid(),
	};
	struct process_spec spec = {
		.name = "transport",
		.run = transport_run,
		.arg = &start,
		.leads_group = true,
	};
	pid_t pid;

	memcpy(peer, connection->peer, sizeof peer);
	set_descriptors(connection, &spec);
	connection->child = child;
	pool_transport_forks(server->pool, lane, true);
	pid = process_fork(&spec);
	pool_transport_forks(server->pool, lane, false);
	if (pid == -1)
		return -1;
	pool_slot_is(server->pool, connection->slot, pid);
	if (server->config->affinity)
		cores_pin(pid, connection->number);
	return pid;
}

static void
describe_transport(struct child *child, char *buf, size_t size, void *arg)
{
	const struct connection *connection = child_arg(child);

	(void)arg;
	snprintf(buf, size, ", #%llu %s",
	    (unsigned long long)connection->number, connection->peer);
}

static void
forget_connection(struct server *server, struct connection *connection)
{
	char path[SESSION_PATH_SIZE];

	/* One that was killed has left it. */
	if (session_path(connection, path, sizeof path) != NULL)
		unlink(path);
	limits_release(server->limits, &connection->key);
	pool_slot_free(server->pool, connection->slot);
	connections_remove(server->connections, connection);
}

static void
on_transport_died(struct supervisor *sup, struct child *child,
    const struct obituary *obituary, void *arg)
{
	struct server *server = arg;
	struct connection *connection = child_arg(child);

	(void)sup;
	/* Its channels have got SIGTERM; one that is stopped must hear it. */
	if (obituary->pid != -1)
		kill(-obituary->pid, SIGCONT);
	if (obituary->pid != -1 && limits_is_crash(obituary->status))
		limits_crashed(
		    server->limits, &connection->key, monotonic_ms());
	forget_connection(server, connection);
	if (server->drain != NULL)
		drain_died(server->drain);
}

/* A constant answer to a request that nobody reads. */
static void
refuse(int fd)
{
	static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\n"
				   "Retry-After: 1\r\n"
				   "Content-Length: 0\r\n"
				   "Connection: close\r\n\r\n";

	/* What was sent is thrown away unread: else the close is a reset,
	 * which may overtake the answer. */
	recv(fd, NULL, 64 * 1024, MSG_TRUNC | MSG_DONTWAIT);
	if (send(fd, busy, sizeof busy - 1, MSG_DONTWAIT | MSG_NOSIGNAL) == -1)
		log_debug("refused without a word");
	close(fd);
}

/* It counts, from here on. NULL: it is one too many. */
static struct connection *
admit(struct server *server, const struct limits_key *key, const char *peer,
    int fd)
{
	struct connection *connection;

	if (limits_admit(server->limits, key, monotonic_ms()) != LIMITS_OK) {
		stats_own(server->stats, STATS_REFUSED);
		return NULL;
	}
	connection = connections_add(server->connections);
	if (connection == NULL) {
		limits_release(server->limits, key);
		return NULL;
	}
	connection->server = server;
	connection->slot = pool_slot(server->pool, connection->number);
	connection->key = *key;
	connection->fd = fd;
	snprintf(connection->peer, sizeof connection->peer, "%s", peer);
	return connection;
}

/* The descriptor stays with the caller. */
static bool
start_transport(struct server *server, struct connection *connection)
{
	static const struct child_spec transport = {
		.id = "transport",
		.start = transport_fork,
		.restart = RESTART_TEMPORARY,
	};
	struct child_spec spec = transport;

	spec.arg = connection;
	spec.shutdown = (int)server->config->shutdown;
	if (supervisor_start_child(server->transports, &spec) != NULL) {
		stats_own(server->stats, STATS_CONNECTIONS);
		connection->fd = -1;
		return true;
	}
	log_warn("no transport for %s; accepting again in %d ms",
	    connection->peer, FORK_PAUSE);
	forget_connection(server, connection);
	listeners_pause(server->listeners, FORK_PAUSE);
	return false;
}

static void
on_accept(int fd, const struct sockaddr *address, socklen_t size,
    const char *peer, void *arg)
{
	struct server *server = arg;
	struct limits_key key = limits_key(address, size);
	struct connection *connection = admit(server, &key, peer, fd);

	if (connection != NULL && start_transport(server, connection))
		close(fd);
	else
		refuse(fd);
}

/* ---- requests of transports ---- */

/* A proxy has many clients over one connection. */
static bool
may_ask(struct connection *connection)
{
	long long second = monotonic_ms() / 1000;

	if (connection->asked_second != second)
		connection->asked = 0;
	connection->asked_second = second;
	if (connection->asked++ < SESSIONS_RATE)
		return true;
	if (connection->asked == SESSIONS_RATE + 1)
		log_warnx("%s: more than %d long-poll sessions in a second "
			  "over one connection: refused",
		    connection->peer, SESSIONS_RATE);
	return false;
}

/*
 * A long-poll session, for the client of the connection that asks: it costs
 * what a connection costs, and counts as one. When there is none its end of the
 * mailbox is closed, and who asked knows.
 */
static void
start_session(struct server *server, const struct received_request *received)
{
	struct child *child = supervisor_find_pid(
	    server->transports, received->sender);
	struct connection *asks = child == NULL ? NULL : child_arg(child);
	struct connection *connection;

	if (received->fd == -1 || asks == NULL || server->drain != NULL ||
	    !may_ask(asks))
		return;
	connection = admit(server, &asks->key, asks->peer, received->fd);
	if (connection == NULL)
		return;
	session_name(connection->session, received->request.nonce);
	start_transport(server, connection);
}

static void
kill_transport(struct server *server, uint64_t number)
{
	struct connection *connection = connections_find(
	    server->connections, number);

	if (connection == NULL)
		return;
	log_info("kill -9 of transport #%llu, asked for over HTTP",
	    (unsigned long long)number);
	child_kill(connection->child);
}

/* Only a channel's parent knows its pid for sure: it is told the number, or
 * that the endpoint is meant. */
static void
kill_channel(struct server *server, uint64_t number, uint32_t channel)
{
	struct connection *connection = connections_find(
	    server->connections, number);
	union sigval value = { .sival_int = (int)channel };

	if (connection == NULL || child_pid(connection->child) == -1)
		return;
	if (channel == TRANSPORT_KILL_ENDPOINT)
		log_info("kill -9 of endpoint #%llu, asked for over HTTP",
		    (unsigned long long)number);
	else
		log_info("kill -9 of channel #%llu.%u, asked for over HTTP",
		    (unsigned long long)number, channel);
	if (sigqueue(child_pid(connection->child), TRANSPORT_SIGNAL_KILL,
		value) == -1)
		log_warn("sigqueue");
}

/* Who asks waits at that socket; what is asked we do not hear. */
static void
pass_inspection(struct server *server, uint64_t number, uint32_t socket)
{
	struct connection *connection = connections_find(
	    server->connections, number);
	union sigval value = { .sival_int = (int)socket };

	if (connection == NULL || child_pid(connection->child) == -1)
		return;
	if (sigqueue(child_pid(connection->child), TRANSPORT_SIGNAL_INSPECT,
		value) == -1)
		log_warn("sigqueue");
}

static void
kill_worker(struct child *child, void *arg)
{
	const struct worker *worker = child_arg(child);
	const struct transport_request *request = arg;

	if (worker->kill != request->kind || worker->number != request->number)
		return;
	log_info("kill -9 of %s, asked for over HTTP", worker->id);
	child_kill(child);
}

/* Only where there are pages that ask for it. */
static void
on_tree_request(struct server *server, struct transport_request *request)
{
	if (!server->config->tree)
		return;
	if (request->kind == REQUEST_KILL_TRANSPORT)
		kill_transport(server, request->connection);
	else if (request->kind == REQUEST_KILL_CHANNEL)
		kill_channel(server, request->connection, request->number);
	else if (request->kind == REQUEST_INSPECT)
		pass_inspection(server, request->connection, request->number);
	else
		supervisor_which_children(
		    server->permanent, kill_worker, request);
}

/* Of no more salts than the page holds: that is a bounded cost. */
static void
add_token_key(struct server *server, const struct transport_request *request)
{
	if (request->salt_size <= sizeof request->salt)
		token_keys_add(server->token_keys, server->secrets,
		    request->salt, request->salt_size);
}

static void
on_request(int fd, short what, void *arg)
{
	struct server *server = arg;
	struct received_request received;
	int n;

	(void)what;
	for (int i = 0; i < REQUESTS_PER_TURN; i++) {
		n = request_receive(fd, &received);
		if (n == -1)
			return;
		if (n == 0)
			continue;
		if (received.request.kind == REQUEST_SESSION)
			start_session(server, &received);
		else if (received.request.kind == REQUEST_TOKEN_KEY)
			add_token_key(server, &received.request);
		else
			on_tree_request(server, &received.request);
		if (received.fd != -1)
			mailbox_close_fd(received.fd);
	}
}

/* ---- stop ---- */

static void
kill_children(void)
{
	char *pids = tree_children(getpid()), *at = pids, *end;
	long pid;

	while ((pid = strtol(at, &end, 10)) > 0 && end != at) {
		kill((pid_t)pid, SIGKILL);
		at = end;
	}
	free(pids);
}

/*
 * Channels of transports that had to be killed fell to us; when they end their
 * tasks do so, too. Without /proc nobody says who they are: then there is only
 * the hope that they end.
 */
static void
kill_orphans(void)
{
	const struct timespec nap = { .tv_nsec = 10000000 };
	long long until = monotonic_ms() + ORPHANS_LIMIT;
	pid_t pid;

	do {
		kill_children();
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid == -1)
			return; /* there are no more */
		nanosleep(&nap, NULL);
	} while (monotonic_ms() < until);
	log_warnx("orphans are left behind: they could not be killed");
}

static void
on_permanent_stopped(struct supervisor *sup, void *arg)
{
	struct server *server = arg;

	(void)sup;
	event_base_loopbreak(server->base);
}

static void
on_transports_stopped(struct supervisor *sup, void *arg)
{
	struct server *server = arg;

	(void)sup;
	supervisor_stop(server->permanent, on_permanent_stopped, server);
}

static void
on_all_asked(void *arg)
{
	struct server *server = arg;

	supervisor_stop(server->transports, on_transports_stopped, server);
}

/* Who is asked last has its whole `shutdown` before drain_limit. */
static void
drain(struct server *server)
{
	const struct config *config = server->config;
	const struct drain_settings settings = {
		.batch = config->drain_batch,
		.interval = config->drain_interval,
		.span = config->drain_limit - config->shutdown,
	};

	event_del(server->drain_event);
	listeners_stop(server->listeners);
	server->drain = drain_start(
	    server->base, server->transports, &settings, on_all_asked, server);
}

static void
on_drain_delay(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drain(arg);
}

/* systemd's limit for a stop may be shorter than ours. */
static void
tell_systemd(const struct server *server)
{
	const struct config *config = server->config;
	long long ms = config->drain_delay + config->drain_limit +
	    ORPHANS_LIMIT;
	char text[96];

	for (unsigned i = 0; i < server->nworkers; i++)
		ms += server->workers[i].shutdown;
	snprintf(text, sizeof text, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld",
	    ms * 1000);
	systemd_notify(text);
}

/* Load balancers look at GET /ready before clients stop coming. */
static void
stop(struct server *server, const char *why)
{
	long long delay = server->booted ? server->config->drain_delay : 0;
	struct timeval tv = { delay / 1000, delay % 1000 * 1000 };

	if (server->stopping) {
		log_info("%s: no more intervals", why);
		if (server->drain == NULL)
			drain(server);
		drain_hurry(server->drain);
		return;
	}
	server->stopping = true;
	log_info("%s: stopping", why);
	tell_readiness(server);
	tell_systemd(server);
	if (delay > 0)
		event_add(server->drain_event, &tv);
	else
		drain(server);
}

/* ---- start ---- */

static void
on_gave_up(struct supervisor *sup, void *arg)
{
	struct server *server = arg;

	(void)sup;
	server->status = EXIT_START;
	event_base_loopbreak(server->base);
}

/* What lies below us on the stack would be in every child: the token, too. */
__attribute__((__noinline__)) static void
wipe_stack(void)
{
	char below[16 * 1024];

	explicit_bzero(below, sizeof below);
}

static void
announce(const struct server *server)
{
	for (size_t i = 0; i < listeners_count(server->listeners); i++) {
		const char *address = listeners_address(server->listeners, i);

		if (strncmp(address, "unix:", 5) == 0)
			log_info("listening on %s", address);
		else if (server->config->tree)
			log_info("listening on http://%s/#token=%s", address,
			    server->secrets->kill_token);
		else
			log_info("listening on http://%s/", address);
	}
}

static void
on_booted(struct supervisor *sup, void *arg)
{
	struct server *server = arg;

	(void)sup;
	if (server->stopping)
		return;
	server->booted = true;
	tell_readiness(server);
	listeners_start(server->listeners, server->base, on_accept, server);
	announce(server);
	wipe_stack();
	systemd_notify("READY=1");
}

static void
on_died(pid_t pid, int status, void *arg)
{
	struct server *server = arg;

	if (!supervisor_reap(server->transports, pid, status) &&
	    !supervisor_reap(server->permanent, pid, status))
		log_debug("orphan %d reaped", (int)pid);
}

static void
on_signal(const struct signalfd_siginfo *info, void *arg)
{
	stop(arg, strsignal((int)info->ssi_signo));
}

static void
try_transport(struct child *child, void *arg)
{
	if (child_pid(child) != -1)
		reaper_try(arg, child_pid(child));
}

/* So many died at once that own pids are cheaper than the kernel's walk. */
static void
on_sweep(struct reaper *reaper, void *arg)
{
	struct server *server = arg;

	supervisor_which_children(server->transports, try_transport, reaper);
}

static void
start_supervisors(struct server *server)
{
	const struct supervisor_flags permanent = {
		.name = "bennu_sup",
		.strategy = ONE_FOR_ONE,
		.scope = INTENSITY_PER_CHILD,
		.escalation = ESCALATE_BACK_OFF,
	};
	const struct supervisor_flags transports = {
		.name = "transport_sup",
		.strategy = DYNAMIC,
		.max_children = server->config->max_connections,
		.quiet = true,
	};
	static const struct supervisor_callbacks on_permanent = {
		.ready = on_worker_ready,
		.died = on_worker_died,
		.booted = on_booted,
		.gave_up = on_gave_up,
	};
	static const struct supervisor_callbacks on_transports = {
		.died = on_transport_died,
	};
	struct child_spec *specs = xcalloc(server->nworkers, sizeof *specs);

	for (unsigned i = 0; i < server->nworkers; i++)
		specs[i] = (struct child_spec){
			.id = server->workers[i].id,
			.start = worker_fork,
			.arg = &server->workers[i],
			.restart = RESTART_PERMANENT,
			.shutdown = server->workers[i].shutdown,
			.start_limit = START_LIMIT_DEFAULT,
			.intensity = server->workers[i].intensity,
			.period = PERMANENT_PERIOD,
		};
	server->transports = supervisor_start(
	    server->base, &transports, &on_transports, server, NULL, 0);
	server->permanent = supervisor_start(server->base, &permanent,
	    &on_permanent, server, specs, server->nworkers);
	if (server->transports == NULL || server->permanent == NULL)
		fatal("supervisors");
	supervisor_describe(server->transports, describe_transport);
	free(specs);
}

static void
open_listeners(struct server *server)
{
	const struct config *config = server->config;
	int fds[SYSTEMD_FDS_MAX], n;
	char *error;

	n = systemd_listen_fds(fds, SYSTEMD_FDS_MAX);
	if (n == -1)
		_exit(EXIT_START);
	/* What systemd has opened takes the place of the configured ones. */
	server->listeners = listeners_open(
	    config->listen, n > 0 ? 0 : config->nlisten, &error);
	for (int i = 0; server->listeners != NULL && i < n; i++)
		if (listeners_adopt(server->listeners, fds[i], &error) == -1)
			fatalx("%s", error);
	if (server->listeners == NULL) {
		log_warnx("%s", error);
		_exit(EXIT_START);
	}
	if (listeners_count(server->listeners) == 0)
		fatalx("nothing to listen on");
}

/* What the run directory is called by: the first listener's port. */
static const char *
server_name(const struct server *server)
{
	const char *address = listeners_address(server->listeners, 0);
	const char *colon = strrchr(address, ':');

	if (strncmp(address, "unix:", 5) == 0 || colon == NULL)
		return "unix";
	return colon + 1;
}

/* Who we shall be: looked up while we still may change it. */
static void
find_user(struct server *server)
{
	const char *name = server->config->user;
	const struct passwd *user;

	server->uid = geteuid();
	server->gid = getegid();
	if (name == NULL || server->uid != 0)
		return;
	user = getpwnam(name);
	if (user == NULL) {
		log_warnx("user '%s' does not exist; create it or change "
			  "server.user",
		    name);
		_exit(EXIT_START);
	}
	server->uid = user->pw_uid;
	server->gid = user->pw_gid;
}

static void
drop_privileges(const struct server *server)
{
	if (server->uid == geteuid())
		return;
	if (initgroups(server->config->user, server->gid) == -1 ||
	    setresgid(server->gid, server->gid, server->gid) == -1 ||
	    setresuid(server->uid, server->uid, server->uid) == -1)
		fatal("becoming user %s", server->config->user);
	log_info("running as user %s", server->config->user);
}

/* In the run directory, for this user only. Its path, malloc'd. */
static char *
write_run_file(const struct server *server, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", server->run_directory, name);
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1 || write(fd, text, strlen(text)) == -1 ||
	    fchown(fd, server->uid, server->gid) == -1)
		fatal("%s", path);
	close(fd);
	return path;
}

/* The token of the kill route, also in a file that only this user reads. */
static void
make_kill_token(struct server *server)
{
	unsigned char random[KILL_TOKEN_BYTES];
	char *token = server->secrets->kill_token;

	if (getentropy(random, sizeof random) == -1)
		fatal("getentropy");
	for (size_t i = 0; i < sizeof random; i++)
		snprintf(token + 2 * i, 3, "%02x", random[i]);
	explicit_bzero(random, sizeof random);
	server->token_path = write_run_file(server, "token", token);
}

/* With the rights of who started us: the user that we become, and so the
 * application, need not be able to read it. */
static void
read_broadcast_token(struct server *server)
{
	char *why = secrets_read_token(
	    server->secrets, server->config->broadcast_token_file);

	if (why == NULL)
		return;
	log_warnx("endpoint.broadcast_token_file %s", why);
	_exit(EXIT_START);
}

/* Likewise. */
static void
make_token_secret(struct server *server)
{
	const char *path = server->config->secret_file;
	char *why = NULL;

	if (path != NULL)
		why = secrets_read_secret(server->secrets, path);
	else if (!secrets_make_secret(server->secrets))
		fatal("getentropy");
	if (path == NULL)
		log_info("tokens do not outlive this server: no "
			 "endpoint.secret_file");
	if (why == NULL)
		return;
	log_warnx("endpoint.secret_file %s", why);
	_exit(EXIT_START);
}

static void
make_secrets(struct server *server)
{
	server->secrets = secrets_map();
	server->token_keys = token_keys_map();
	if (server->secrets == NULL || server->token_keys == NULL)
		fatal("memory of secrets");
	make_token_secret(server);
	if (server->config->broadcast_token_file != NULL)
		read_broadcast_token(server);
}

static void
open_tree(struct server *server)
{
	if (!server->config->tree)
		return;
	make_kill_token(server);
	/* Both are for bennu(1). */
	server->address_path = write_run_file(
	    server, "address", listeners_address(server->listeners, 0));
	server->stats = stats_map();
	if (server->stats == NULL)
		fatal("memory of the counters");
}

static void
open_static(struct server *server)
{
	const char *directory = server->config->static_directory;

	server->static_fd = -1;
	if (directory == NULL)
		return;
	server->static_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (server->static_fd == -1) {
		log_warn("endpoint.static %s; build it, or name another "
			 "directory",
		    directory);
		_exit(EXIT_START);
	}
}

static void
open_all(struct server *server)
{
	char *error;

	find_user(server);
	open_listeners(server);
	open_static(server);
	make_secrets(server);
	server->run_directory = rundir_make(server->config->run_directory,
	    server_name(server), server->uid, server->gid,
	    &server->made_directory, &error);
	if (server->run_directory == NULL) {
		log_warnx("%s", error);
		_exit(EXIT_START);
	}
	rundir_clean(server->run_directory, SESSION_PREFIX);
	open_tree(server);
	if (server->config->ready) {
		server->ready = ready_map();
		if (server->ready == NULL)
			fatal("the page of readiness");
	}
	open_workers(server);
	if (!request_pair(server->requests))
		fatal("socketpair");
	drop_privileges(server);
}

/*
 * The heap that loading the configuration left is full of holes. Who fills one
 * after a fork copies its page; so all are filled now, once, and what workers
 * allocate lies side by side, in as few pages as it needs.
 */
static void
fill_heap_holes(void)
{
	malloc_trim(0);
	if (mallinfo2().keepcost == 0)
		return; /* another malloc than glibc's: nothing would change */
	for (size_t size = 4096; size >= 16; size /= 2) {
		size_t top = mallinfo2().keepcost;
		void *hole = malloc(size);

		/* From the top of the heap when no hole is so large. */
		while (hole != NULL && mallinfo2().keepcost == top)
			hole = malloc(size);
		free(hole);
	}
}

/* A pubsub worker holds a mailbox for each connection. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		fatal("RLIMIT_NOFILE");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
		log_warn("RLIMIT_NOFILE");
}

static const int stop_signals[] = { SIGTERM, SIGINT, SIGHUP, 0 };

/* Who stops us while we start is heard behind that: what was made goes again.
 */
static void
hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (const int *signal = stop_signals; *signal != 0; signal++)
		sigaddset(&set, *signal);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		fatal("sigprocmask");
}

/* What may be needed by any worker is there before the first fork. */
static void
prepare(struct server *server)
{
	static const struct reaper_callbacks callbacks = {
		.died = on_died,
		.signalled = on_signal,
		.sweep = on_sweep,
	};

	raise_descriptor_limit();
	if (server->config->huge_text)
		text_huge();
	fill_heap_holes();
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) == -1)
		fatal("PR_SET_CHILD_SUBREAPER");
	prctl(PR_SET_DUMPABLE, 0);
	transport_prepare();
	server->base = event_base_new();
	if (server->base == NULL)
		fatalx("event_base_new");
	server->reaper = reaper_new(
	    server->base, stop_signals, &callbacks, server);
	if (server->reaper == NULL)
		fatal("signals");
	server->limits = limits_new(server->config);
	server->connections = connections_new(server->config->max_connections);
	if (server->limits == NULL || server->connections == NULL)
		fatal("tables of %u connections",
		    server->config->max_connections);
	server->request_event = event_new(server->base, server->requests[0],
	    EV_READ | EV_PERSIST, on_request, server);
	event_add(server->request_event, NULL);
	server->hang_event = event_new(
	    server->base, -1, EV_PERSIST, on_hang, server);
	event_add(server->hang_event, &(struct timeval){ .tv_sec = 1 });
	server->drain_event = event_new(
	    server->base, -1, 0, on_drain_delay, server);
}

/* Nobody is left who needs it. As another user we may not remove it itself. */
static void
remove_run_directory(const struct server *server)
{
	const char *const files[] = {
		server->connect_path,
		server->fetch_path,
		server->presence_path,
		server->token_path,
		server->address_path,
	};

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
		if (files[i] != NULL)
			unlink(files[i]);
	rundir_clean(server->run_directory, SESSION_PREFIX);
	pool_remove_files(server->pool);
	rundir_remove(server->run_directory, server->made_directory);
}

int
server_run(const struct config *config)
{
	struct server server = { .config = config };

	log_init("bennu");
	hold_signals();
	open_all(&server);
	process_title("supervisor %s", listeners_address(server.listeners, 0));
	prepare(&server);
	start_supervisors(&server);
	event_base_dispatch(server.base);
	listeners_stop(server.listeners);
	kill_orphans();
	remove_run_directory(&server);
	log_info("stopped");
	return server.status;
}
