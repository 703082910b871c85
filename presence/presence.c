/*
 * presence.c - see presence.h.
 */
#include <sys/queue.h>
#include <sys/socket.h>

#include <event2/event.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/fetcher.h"
#include "common/exit.h"
#include "common/leaf.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/fetch.h"
#include "presence/presence.h"
#include "presence/state.h"
#include "pubsub/journal.h"
#include "pubsub/slots.h"

#define LOOK        50  /* ms between looks who of a predecessor's is alive */
#define LOOK_UNSEEN 300 /* ms that all have to come again */
/* Bytes of diffs that may wait for pubsub until nobody is read any more. */
#define UNACCEPTED_MAX (32UL << 20)
#define DIFF_HEADS     64 /* bytes of a diff beside topic, joins and leaves */

/* What a transport has told since its HELLO. It counts when all has come: what
 * is not there any more leaves first. */
struct told {
	struct presence *presence;
	RB_ENTRY(told) entry;
	STAILQ_ENTRY(told) next; /* in its order */
};
RB_HEAD(told_tree, told);

/* A transport, or a tool that asks. */
struct peer {
	struct role *role;
	struct mailbox *mailbox;
	uint64_t connection; /* 0: a tool */
	bool syncing;        /* between HELLO and COMPLETE */
	struct told_tree told;
	STAILQ_HEAD(, told) told_order;
	RB_ENTRY(peer) entry; /* unless it is a tool */
	TAILQ_ENTRY(peer) of_all;
};
RB_HEAD(peers, peer);

struct role {
	const struct presence_start *start;
	struct leaf leaf;
	struct state *state;
	struct pubsub_client *pubsub;
	struct fetch *fetch; /* NULL: none is needed */
	struct peers peers;
	TAILQ_HEAD(, peer) all;
	bool paused; /* nobody is read */
	struct event *look;
	long long begun; /* ms */
};

static int
peer_compare(const struct peer *a, const struct peer *b)
{
	return a->connection < b->connection ? -1
					     : a->connection > b->connection;
}

TREE_GENERATE(peers, peer, entry, peer_compare)

static int
told_compare(const struct told *a, const struct told *b)
{
	return presence_compare(a->presence, b->presence);
}

TREE_GENERATE(told_tree, told, entry, told_compare)

/* ---- what leaves ---- */

static bool
on_fetches(const struct text *topic, void *arg)
{
	const struct role *role = arg;

	return role->fetch != NULL &&
	    fetch_of(role->start->config, topic) != NULL;
}

static void
on_fetch(uint64_t diff, const struct text *topic, const struct text *joins,
    const struct text *leaves, void *arg)
{
	struct role *role = arg;

	fetch_ask(role->fetch, diff, topic, joins, leaves);
}

/* Each node tells its own clients. */
static void
on_publish(uint64_t number, const struct text *topic,
    const struct text *payload, void *arg)
{
	struct role *role = arg;
	const struct broadcast broadcast = {
		.topic = *topic,
		.event = text_lent("presence_diff", 13),
		.kind = BENNU_JSON,
		.payload = *payload,
	};

	pubsub_publish_as(role->pubsub, number, &broadcast, JOURNAL_LOCAL);
}

static bool
is_quiet(const struct role *role)
{
	return pubsub_unaccepted(role->pubsub) == 0 &&
	    (role->fetch == NULL || fetch_pending(role->fetch) == 0);
}

static void
pause_all(struct role *role, bool pause)
{
	struct peer *peer;

	role->paused = pause;
	TAILQ_FOREACH (peer, &role->all, of_all)
		if (pause)
			mailbox_pause(peer->mailbox);
		else
			mailbox_resume(peer->mailbox);
}

/* After each change, and when something was accepted. */
static void
check_bounds(struct role *role)
{
	bool full;

	if (state_is_long(role->state) && is_quiet(role))
		state_compact(role->state);
	full = state_is_too_long(role->state) ||
	    pubsub_unaccepted(role->pubsub) > UNACCEPTED_MAX;
	if (full && !role->paused) {
		log_warnx("pubsub is slow: nobody is heard until it has "
			  "accepted what waits");
		pause_all(role, true);
	} else if (role->paused && is_quiet(role)) {
		pause_all(role, false);
	}
}

static void
on_fetched(uint64_t diff, const struct text *topic, const struct text *joins,
    const struct text *leaves, void *arg)
{
	struct role *role = arg;

	state_fetched(role->state, diff, topic, joins, leaves);
	check_bounds(role);
}

static void
on_accepted(void *arg)
{
	struct role *role = arg;

	state_accepted(role->state);
	check_bounds(role);
}

/* ---- peers ---- */

static void
forget_told(struct peer *peer)
{
	struct told *told;

	while ((told = STAILQ_FIRST(&peer->told_order)) != NULL) {
		STAILQ_REMOVE_HEAD(&peer->told_order, next);
		free(told->presence);
		free(told);
	}
	RB_INIT(&peer->told);
}

/* What it tracked stays. */
static void
peer_forget(struct peer *peer)
{
	struct role *role = peer->role;

	forget_told(peer);
	if (peer->connection != 0)
		RB_REMOVE(peers, &role->peers, peer);
	TAILQ_REMOVE(&role->all, peer, of_all);
	mailbox_free(peer->mailbox);
	free(peer);
}

/* A transport is gone, and so is all that it tracked. */
static void
peer_gone(struct peer *peer)
{
	struct role *role = peer->role;
	uint64_t connection = peer->connection;

	peer_forget(peer);
	if (connection == 0)
		return;
	state_drop_owner(role->state, connection);
	check_bounds(role);
}

static const struct slot *
slot_of(const struct role *role, uint32_t number)
{
	if (number >= role->start->shared->nslots)
		return NULL;
	return &role->start->shared->slots[number];
}

static bool
has_slot(const struct role *role, uint64_t connection)
{
	const struct shared *shared = role->start->shared;

	for (size_t i = 0; i < shared->nslots; i++)
		if (atomic_load(&shared->slots[i].connection) == connection)
			return true;
	return false;
}

/* Is it the process that the supervisor forked for this connection? A transport
 * for which there was no slot is believed. */
static bool
is_genuine(
    const struct role *role, int fd, uint64_t connection, uint32_t number)
{
	const struct slot *slot = slot_of(role, number);
	struct ucred peer;
	socklen_t size = sizeof peer;
	pid_t pid;

	if (number == SLOT_NONE)
		return !has_slot(role, connection);
	if (slot == NULL || atomic_load(&slot->connection) != connection ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == -1)
		return false;
	pid = atomic_load(&slot->pid);
	return pid == 0 || pid == peer.pid;
}

static bool
on_hello(struct peer *peer, struct envelope *envelope)
{
	struct role *role = peer->role;
	uint64_t connection = envelope_get_u64(envelope);
	uint32_t slot = envelope_get_u32(envelope);
	struct peer *before;

	if (!envelope_end(envelope))
		return false;
	if (connection == 0)
		return peer->connection == 0;
	if (peer->connection == 0) {
		if (!is_genuine(
			role, mailbox_fd(peer->mailbox), connection, slot))
			return false;
		peer->connection = connection;
		before = RB_INSERT(peers, &role->peers, peer);
		/* Its end has not been read yet. */
		if (before != NULL) {
			peer_forget(before);
			RB_INSERT(peers, &role->peers, peer);
		}
	}
	forget_told(peer);
	peer->syncing = true;
	return peer->connection == connection;
}

/* False: twice the same. */
static bool
remember(struct peer *peer, const struct presence *presence)
{
	struct told *told = xcalloc(1, sizeof *told);

	told->presence = presence_copy(presence, NULL);
	STAILQ_INSERT_TAIL(&peer->told_order, told, next);
	return RB_INSERT(told_tree, &peer->told, told) == NULL;
}

static bool
on_track(struct peer *peer, struct envelope *envelope)
{
	struct presence presence;

	if (!presence_get(envelope, &presence))
		return false;
	if (peer->syncing)
		return remember(peer, &presence);
	return state_track(peer->role->state, peer->connection, &presence);
}

static bool
on_untrack(struct peer *peer, struct envelope *envelope)
{
	uint64_t channel = envelope_get_u64(envelope);
	struct text topic = envelope_get_text(envelope);
	struct text key = envelope_get_text(envelope);

	if (!envelope_end(envelope) || peer->syncing)
		return false;
	state_untrack(
	    peer->role->state, peer->connection, channel, &topic, &key);
	return true;
}

static bool
on_drop(struct peer *peer, struct envelope *envelope)
{
	uint64_t channel = envelope_get_u64(envelope);

	if (!envelope_end(envelope) || peer->syncing)
		return false;
	state_drop(peer->role->state, peer->connection, channel);
	return true;
}

static bool
was_told(struct peer *peer, const struct crdt_entry *entry)
{
	struct presence wanted = {
		.channel = entry->channel,
		.topic = entry->topic,
		.key = entry->key,
	};

	return RB_FIND(told_tree, &peer->told,
		   &(struct told){ .presence = &wanted }) != NULL;
}

/* What of a channel was not told has gone; all of it at once, if so. Returns
 * the first entry behind the channel. */
static const struct crdt_entry *
settle_channel(struct peer *peer, const struct crdt_entry *entry)
{
	struct state *state = peer->role->state;
	uint64_t owner = entry->owner, channel = entry->channel;
	const struct crdt_entry *at, *next = entry;
	bool any = false;

	for (at = entry; at != NULL && at->channel == channel; at = next) {
		next = crdt_owner_next(at);
		any = any || was_told(peer, at);
	}
	if (!any) {
		state_drop(state, owner, channel);
		return next;
	}
	for (at = entry; at != NULL && at->channel == channel; at = next) {
		next = crdt_owner_next(at);
		if (!was_told(peer, at))
			state_untrack(
			    state, owner, channel, &at->topic, &at->key);
	}
	return next;
}

static bool
on_complete(struct peer *peer, struct envelope *envelope)
{
	const struct crdt_entry *entry = crdt_owner_first(
	    state_set(peer->role->state), peer->connection);
	struct told *told;
	bool sane = true;

	if (!envelope_end(envelope) || !peer->syncing)
		return false;
	while (entry != NULL)
		entry = settle_channel(peer, entry);
	STAILQ_FOREACH (told, &peer->told_order, next)
		sane = state_track(peer->role->state, peer->connection,
			   told->presence) &&
		    sane;
	peer->syncing = false;
	forget_told(peer);
	return sane;
}

/* ---- questions ---- */

static bool
on_list(struct peer *peer, struct envelope *envelope)
{
	struct text topic = envelope_get_text(envelope);
	struct text key = envelope_get_optional_text(envelope);
	struct envelope_writer answer = { 0 };
	struct json_buffer list = { 0 };
	int fd;

	if (!envelope_end(envelope))
		return false;
	/* Nothing is the answer when it is more than can be sent. */
	if (!state_list(peer->role->state, &topic,
		key.data == NULL ? NULL : &key, &list))
		list.size = 0;
	envelope_put_data(&answer, list.data, list.size);
	json_buffer_free(&list);
	fd = mailbox_take_fd(peer->mailbox);
	if (fd == -1)
		mailbox_send(peer->mailbox, ENVELOPE_PR_LISTED, &answer);
	else
		mailbox_answer(fd, ENVELOPE_PR_LISTED, &answer);
	return true;
}

/* ---- the role ---- */

/* False: nonsense. */
static bool
dispatch(struct peer *peer, struct envelope *envelope)
{
	if (envelope->type == ENVELOPE_PR_HELLO)
		return on_hello(peer, envelope);
	if (envelope->type == ENVELOPE_PR_LIST)
		return on_list(peer, envelope);
	if (peer->connection == 0)
		return false; /* a tool only asks */
	if (envelope->type == ENVELOPE_PR_TRACK)
		return on_track(peer, envelope);
	if (envelope->type == ENVELOPE_PR_UNTRACK)
		return on_untrack(peer, envelope);
	if (envelope->type == ENVELOPE_PR_DROP)
		return on_drop(peer, envelope);
	if (envelope->type == ENVELOPE_PR_COMPLETE)
		return on_complete(peer, envelope);
	return false;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct peer *peer = arg;

	(void)mailbox;
	if (envelope == NULL) {
		peer_gone(peer);
		return;
	}
	if (dispatch(peer, envelope)) {
		check_bounds(peer->role);
		return;
	}
	log_warnx("connection #%llu sent a bad %s envelope; let go",
	    (unsigned long long)peer->connection,
	    envelope_name(envelope->type));
	peer_gone(peer);
}

static void
on_peer(int fd, void *arg)
{
	struct role *role = arg;
	struct peer *peer = xcalloc(1, sizeof *peer);

	peer->role = role;
	RB_INIT(&peer->told);
	STAILQ_INIT(&peer->told_order);
	peer->mailbox = mailbox_new(fd, on_envelope, peer);
	TAILQ_INSERT_TAIL(&role->all, peer, of_all);
	mailbox_attach(peer->mailbox, role->leaf.base);
	if (role->paused)
		mailbox_pause(peer->mailbox);
}

/*
 * Whose presences a predecessor left and who has not come: it died meanwhile,
 * when its slot is free. One that is alive may be stopped.
 */
static void
on_look(int fd, short what, void *arg)
{
	static const struct timeval soon = { .tv_usec = LOOK * 1000 };
	struct role *role = arg;
	const struct crdt_entry *entry;
	uint64_t owner = 0;
	bool missing = false;

	(void)fd;
	(void)what;
	while ((entry = crdt_owner_beyond(state_set(role->state), owner)) !=
	    NULL) {
		struct peer wanted = { .connection = entry->owner };

		owner = entry->owner;
		if (RB_FIND(peers, &role->peers, &wanted) != NULL)
			continue;
		missing = true;
		if (monotonic_ms() - role->begun > LOOK_UNSEEN &&
		    !has_slot(role, owner))
			state_drop_owner(role->state, owner);
	}
	check_bounds(role);
	if (missing)
		event_add(role->look, &soon);
}

static void
ignore_delivery(const struct broadcast *broadcast, uint32_t what, void *arg)
{
	(void)broadcast;
	(void)what;
	(void)arg;
}

static void
ignore_bytes(const char *data, size_t size, void *arg)
{
	(void)data;
	(void)size;
	(void)arg;
}

static void
ignore_frame(
    const struct text *topic, const char *frame, size_t size, void *arg)
{
	(void)topic;
	ignore_bytes(frame, size, arg);
}

static void
ignore(void *arg)
{
	(void)arg;
}

/* It publishes, and subscribes to nothing. */
static void
open_pubsub(struct role *role)
{
	static const struct pubsub_callbacks callbacks = {
		.deliver = ignore_delivery,
		.frame = ignore_frame,
		.rest = ignore_bytes,
		.lane_free = ignore,
		.overrun = ignore,
		.idle = on_accepted,
	};

	role->pubsub = pubsub_client_new(
	    role->leaf.base, &role->start->pubsub, &callbacks, role);
}

/* The name under which other nodes would know this one. */
static struct text
node_name(char *buffer, size_t size)
{
	if (gethostname(buffer, size) == -1)
		fatal("gethostname");
	buffer[size - 1] = '\0';
	return text_lent(buffer, strlen(buffer));
}

/* The last of our predecessors' publishes that is in the journal. */
static uint64_t
last_accepted(const struct role *role)
{
	const struct slot *slot = slot_of(role, role->start->pubsub.slot);
	uint64_t accepted = slot == NULL ? 0 : atomic_load(&slot->accepted);

	pubsub_go_on(role->pubsub, accepted);
	return pubsub_last(role->pubsub);
}

/* What pubsub does not take would come to it again and again. */
static size_t
diff_max(const struct role *role)
{
	return broadcast_max(role->start->config->journal_size) - DIFF_HEADS;
}

static void
open_state(struct role *role)
{
	static struct state_callbacks callbacks = {
		.fetches = on_fetches,
		.fetch = on_fetch,
		.publish = on_publish,
	};
	int files[PRESENCE_LOG_FILES];
	char name[256];
	struct text node = node_name(name, sizeof name);

	callbacks.diff_max = diff_max(role);
	for (int i = 0; i < PRESENCE_LOG_FILES; i++)
		files[i] = PRESENCE_FD_LOG + i;
	role->state = state_open(
	    files, &node, last_accepted(role), &callbacks, role);
}

void
presence_run(void *arg)
{
	static const struct timeval soon = { .tv_usec = LOOK * 1000 };
	struct role role = { .start = arg, .begun = monotonic_ms() };

	RB_INIT(&role.peers);
	TAILQ_INIT(&role.all);
	leaf_begin(&role.leaf, "presence", PRESENCE_FD_MAILBOX);
	shared_protect_slots(role.start->shared);
	role.leaf.arg = &role;
	open_pubsub(&role);
	if (role.start->fetch_path != NULL)
		role.fetch = fetch_new(role.leaf.base, role.start->fetch_path,
		    diff_max(&role), on_fetched, &role);
	open_state(&role);
	role.look = event_new(role.leaf.base, -1, 0, on_look, &role);
	event_add(role.look, &soon);
	leaf_listen(&role.leaf, PRESENCE_FD_LISTEN, on_peer);
	leaf_started(&role.leaf);
	event_base_dispatch(role.leaf.base);
	fatalx("the event loop ended");
}
