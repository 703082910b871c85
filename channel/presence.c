/*
 * presence.c - see presence.h: the calls of bennu/channel.h and of
 * bennu/endpoint.h.
 */
#include <bennu/channel.h>
#include <bennu/endpoint.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "channel/conn.h"
#include "channel/fetcher.h"
#include "channel/presence.h"
#include "channel/socket.h"
#include "common/json.h"
#include "common/tree.h"
#include "common/xmalloc.h"

#define OVERHEAD 100 /* bytes that one takes in a diff, beside its texts */
/* All of a channel go in one diff, which must fit a journal (a quarter of it at
 * most); a key may grow as it is escaped, and an update names two metas. */
#define JOURNAL_PART 32

static int
tracked_compare(const struct tracked *a, const struct tracked *b)
{
	int order = text_compare(&a->topic, &b->topic);

	return order != 0 ? order : text_compare(&a->key, &b->key);
}

TREE_GENERATE(tracked_tree, tracked, entry, tracked_compare)

/* ---- what is tracked ---- */

static struct tracked *
find(struct tracking *tracking, const struct presence_question *what)
{
	struct tracked wanted = { .topic = what->topic, .key = what->key };

	return RB_FIND(tracked_tree, &tracking->all, &wanted);
}

static struct tracked *
add(struct tracking *tracking, const struct presence_question *what)
{
	struct tracked *tracked = xcalloc(1, sizeof *tracked);

	tracked->topic.data = xmemdup(what->topic.data, what->topic.size);
	tracked->topic.size = what->topic.size;
	tracked->key.data = xmemdup(what->key.data, what->key.size);
	tracked->key.size = what->key.size;
	RB_INSERT(tracked_tree, &tracking->all, tracked);
	tracking->n++;
	return tracked;
}

static void delete (struct tracking *tracking, struct tracked *tracked)
{
	RB_REMOVE(tracked_tree, &tracking->all, tracked);
	tracking->n--;
	tracking->bytes -= tracked->bytes;
	free(tracked->topic.data);
	free(tracked->key.data);
	free(tracked);
}

/* The kernel's random bytes: no fork repeats them, and nobody is asked. */
static void
make_ref(char ref[PRESENCE_REF + 1])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789-_";
	uint8_t random[PRESENCE_REF];

	arc4random_buf(random, sizeof random);
	for (size_t i = 0; i < sizeof random; i++)
		ref[i] = digits[random[i] % 64];
	ref[PRESENCE_REF] = '\0';
}

/* ---- track, update, untrack ---- */

/* topic NULL: the channel's own. False, errno: there cannot be such a one. */
static bool
name(struct bennu_socket *socket, struct presence_question *what,
    const char *topic, const char *key)
{
	struct text other = { .data = (char *)(uintptr_t)topic };

	if (topic == NULL)
		return presence_question_make(what, socket->start->topic, key);
	other.size = strlen(topic);
	return presence_question_make(what, &other, key);
}

/* As it travels: without white space. False, errno: no object. */
static bool
make_meta(struct bennu_socket *socket, struct bennu_payload meta,
    struct json_buffer *compact)
{
	struct json_span span;

	errno = EINVAL;
	if (meta.kind != BENNU_JSON)
		return false;
	span = json_scan_text(meta.data, meta.size);
	if (span.kind == JSON_BAD)
		socket_mistake(socket, "a meta is no JSON: %.200s", meta.data);
	if (span.kind != JSON_OBJECT)
		return false;
	json_append_span(compact, span);
	return true;
}

/* False: it would be more than one channel may track. */
static bool
fits(const struct bennu_socket *socket, const struct tracked *old, size_t bytes)
{
	const struct tracking *tracking = &socket->tracking;
	size_t max = socket->start->server->journal_size / JOURNAL_PART;
	unsigned n = tracking->n + (old == NULL);
	size_t all = tracking->bytes + bytes - (old == NULL ? 0 : old->bytes);

	errno = EDQUOT;
	if (max > PRESENCES_BYTES_MAX)
		max = PRESENCES_BYTES_MAX;
	return n <= PRESENCES_MAX && all <= max;
}

static void
send_track(struct bennu_socket *socket, const struct tracked *tracked,
    const char *prev, const struct json_buffer *meta)
{
	struct envelope_writer writer = { 0 };

	envelope_put_data(&writer, tracked->topic.data, tracked->topic.size);
	envelope_put_data(&writer, tracked->key.data, tracked->key.size);
	envelope_put_string(&writer, tracked->ref);
	envelope_put_string(&writer, prev);
	envelope_put_data(&writer, meta->data, meta->size);
	socket_send(socket, ENVELOPE_TRACK, &writer);
}

/* Its ref, lent until the callback returns; or NULL, errno. */
static const char *
set(struct bennu_socket *socket, const struct presence_question *what,
    struct tracked *tracked, struct bennu_payload payload)
{
	struct tracking *tracking = &socket->tracking;
	char prev[PRESENCE_REF + 1] = "";
	struct json_buffer meta = { 0 };
	size_t bytes;

	if (!make_meta(socket, payload, &meta))
		return NULL;
	bytes = what->topic.size + what->key.size + meta.size + OVERHEAD;
	if (!fits(socket, tracked, bytes)) {
		json_buffer_free(&meta);
		return NULL;
	}
	if (tracked == NULL)
		tracked = add(tracking, what);
	else
		memcpy(prev, tracked->ref, sizeof prev);
	tracking->bytes += bytes - tracked->bytes;
	tracked->bytes = bytes;
	make_ref(tracked->ref);
	send_track(socket, tracked, prev[0] == '\0' ? NULL : prev, &meta);
	json_buffer_free(&meta);
	return socket_keep(socket, xstrdup(tracked->ref));
}

/* False, errno: nothing is tracked now. */
static bool
may_track(struct bennu_socket *socket, const char *call, const char *key)
{
	socket_not_in_join(socket, call);
	if (socket->phase == PHASE_DUMP)
		socket_mistake(socket, "%s inside dump", call);
	if (key == NULL)
		socket_mistake(socket, "%s without a key", call);
	errno = ESHUTDOWN;
	return socket->phase != PHASE_TERMINATE;
}

const char *
bennu_presence_track(struct bennu_socket *socket, const char *topic,
    const char *key, struct bennu_payload meta)
{
	struct presence_question what;

	if (!may_track(socket, "bennu_presence_track", key) ||
	    !name(socket, &what, topic, key))
		return NULL;
	if (find(&socket->tracking, &what) != NULL) {
		errno = EEXIST;
		return NULL;
	}
	return set(socket, &what, NULL, meta);
}

const char *
bennu_presence_update(struct bennu_socket *socket, const char *topic,
    const char *key, struct bennu_payload meta)
{
	struct presence_question what;
	struct tracked *tracked;

	if (!may_track(socket, "bennu_presence_update", key) ||
	    !name(socket, &what, topic, key))
		return NULL;
	tracked = find(&socket->tracking, &what);
	if (tracked == NULL) {
		errno = ENOENT;
		return NULL;
	}
	return set(socket, &what, tracked, meta);
}

int
bennu_presence_untrack(
    struct bennu_socket *socket, const char *topic, const char *key)
{
	struct envelope_writer writer = { 0 };
	struct presence_question what;
	struct tracked *tracked;

	if (!may_track(socket, "bennu_presence_untrack", key) ||
	    !name(socket, &what, topic, key))
		return -1;
	tracked = find(&socket->tracking, &what);
	if (tracked == NULL)
		return 0;
	envelope_put_data(&writer, what.topic.data, what.topic.size);
	envelope_put_data(&writer, what.key.data, what.key.size);
	socket_send(socket, ENVELOPE_UNTRACK, &writer);
	delete (&socket->tracking, tracked);
	return 0;
}

/* ---- lists, to channels ---- */

static const struct bennu_payload none = { .kind = BENNU_JSON };

static void
flush_socket(void *arg)
{
	socket_flush(arg);
}

static const struct bennu_channel *
fetching(const struct bennu_socket *socket, const struct text *topic)
{
	if (text_equal(topic, socket->start->topic))
		return socket->callbacks;
	return fetch_of(socket->start->server, topic);
}

static struct bennu_payload
list(struct bennu_socket *socket, const char *call, const char *topic,
    const char *key)
{
	struct presence_way way = {
		.transport = socket->mailbox,
		.flush = flush_socket,
		.arg = socket,
	};
	struct presence_question question;
	char *answer;

	socket_not_in_join(socket, call);
	if (socket->phase == PHASE_DUMP)
		socket_mistake(socket, "%s inside dump", call);
	if (!name(socket, &question, topic, key))
		return none;
	answer = presence_list_ask(&way, &question);
	if (answer == NULL && errno == ETIMEDOUT)
		socket_mistake(socket, "%s: presence did not answer in %d s",
		    call, PRESENCE_WAIT / 1000);
	if (answer == NULL)
		return none;
	answer = presence_list_fetch(
	    fetching(socket, &question.topic), &question, answer);
	return bennu_text(socket_keep(socket, answer));
}

struct bennu_payload
bennu_presence_list(struct bennu_socket *socket, const char *topic)
{
	return list(socket, "bennu_presence_list", topic, NULL);
}

struct bennu_payload
bennu_presence_get_by_key(
    struct bennu_socket *socket, const char *topic, const char *key)
{
	return list(socket, "bennu_presence_get_by_key", topic, key);
}

/* ---- lists, to endpoints ---- */

static void
flush_conn(void *arg)
{
	conn_flush(arg);
}

static struct bennu_payload
conn_list(struct bennu_conn *conn, const char *call, const char *topic,
    const char *key)
{
	struct presence_way way = {
		.transport = conn->mailbox,
		.flush = flush_conn,
		.arg = conn,
	};
	const struct text of = { (char *)(uintptr_t)topic, strlen(topic) };
	struct presence_question question;
	char *answer;

	if (!presence_question_make(&question, &of, key))
		return none;
	answer = presence_list_ask(&way, &question);
	if (answer == NULL && errno == ETIMEDOUT)
		conn_mistake(conn, "%s: presence did not answer in %d s", call,
		    PRESENCE_WAIT / 1000);
	if (answer == NULL)
		return none;
	answer = presence_list_fetch(
	    fetch_of(conn->start->server, &of), &question, answer);
	return bennu_text(conn_keep(conn, answer));
}

struct bennu_payload
bennu_conn_presence_list(struct bennu_conn *conn, const char *topic)
{
	return conn_list(conn, "bennu_conn_presence_list", topic, NULL);
}

struct bennu_payload
bennu_conn_presence_get_by_key(
    struct bennu_conn *conn, const char *topic, const char *key)
{
	return conn_list(conn, "bennu_conn_presence_get_by_key", topic, key);
}
