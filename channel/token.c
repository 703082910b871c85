/*
 * token.c - see token.h; and the calls of the public headers.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>
#include <bennu/endpoint.h>
#include <bennu/socket.h>

#include "channel/conn.h"
#include "channel/connect.h"
#include "channel/socket.h"
#include "channel/token.h"
#include "common/json.h"
#include "common/mailbox.h"
#include "common/token.h"
#include "common/xmalloc.h"

#define SALT_MAX 1000 /* bytes */

struct answer {
	bool over;
	int error;
	char *text;
	size_t size;
};

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct answer *answer = arg;
	const char *text;

	(void)mailbox;
	answer->over = true;
	if (envelope == NULL || envelope->type != ENVELOPE_TOKEN ||
	    answer->text != NULL)
		return;
	answer->error = (int)envelope_get_u32(envelope);
	text = envelope_get_data(envelope, &answer->size);
	if (!envelope_end(envelope))
		answer->error = EIO;
	else if (answer->error == 0)
		answer->text = xmemdup(text, answer->size);
}

/*
 * As long as it takes: the transport answers as soon as it reads, which a slow
 * client may hold up as it does everything that we send.
 */
static void
wait_for(int fd, struct answer *answer)
{
	struct mailbox *mailbox = mailbox_new(fd, on_envelope, answer);
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	/* mailbox_read would read to where the message in hand lies. */
	while (!answer->over)
		if (poll(&pollfd, 1, -1) == 1)
			mailbox_drain(mailbox);
	mailbox_free(mailbox);
}

/* Takes the writer. NULL, errno. */
static char *
ask(const struct token_way *way, enum envelope_type type,
    struct envelope_writer *writer, size_t *size)
{
	struct answer answer = { .error = EIO };
	int fds[2];

	if (mailbox_pair(fds) == -1) {
		envelope_writer_free(writer);
		return NULL;
	}
	mailbox_send_fd(way->mailbox, type, writer, fds[1]);
	way->flush(way->arg);
	wait_for(fds[0], &answer);
	if (answer.text == NULL)
		errno = answer.error;
	*size = answer.size;
	return answer.text;
}

static bool
can_ask(const struct token_way *way, const char *salt)
{
	if (way->mailbox == NULL)
		errno = ENOTSUP;
	else if (strlen(salt) > SALT_MAX)
		errno = ENAMETOOLONG;
	else
		return true;
	return false;
}

char *
token_ask_sign(
    const struct token_way *way, const char *salt, struct bennu_payload data)
{
	struct envelope_writer writer = { 0 };
	size_t size;

	if (!can_ask(way, salt))
		return NULL;
	if (data.size > TERM_MAX) {
		errno = E2BIG;
		return NULL;
	}
	envelope_put_string(&writer, salt);
	envelope_put_data(&writer, data.data, data.size);
	return ask(way, ENVELOPE_SIGN, &writer, &size);
}

char *
token_ask_verify(const struct token_way *way, const char *salt,
    const char *token, long max_age, size_t *size)
{
	struct envelope_writer writer = { 0 };

	if (!can_ask(way, salt))
		return NULL;
	if (token == NULL) {
		errno = ENOENT;
		return NULL;
	}
	if (strlen(token) > TOKEN_MAX) {
		errno = EBADMSG;
		return NULL;
	}
	envelope_put_string(&writer, salt);
	envelope_put_string(&writer, token);
	envelope_put_u64(&writer, (uint64_t)max_age);
	return ask(way, ENVELOPE_VERIFY, &writer, size);
}

static bool
is_json(struct bennu_payload data)
{
	return data.kind == BENNU_JSON &&
	    json_scan_text(data.data, data.size).kind != JSON_BAD;
}

static struct bennu_payload
payload_of(const char *text, size_t size)
{
	return (struct bennu_payload){
		.kind = BENNU_JSON,
		.data = text,
		.size = text == NULL ? 0 : size,
	};
}

/* ---- bennu/channel.h ---- */

static void
flush_socket(void *arg)
{
	socket_flush(arg);
}

static struct token_way
way_of_socket(struct bennu_socket *socket, const char *call)
{
	if (socket->phase == PHASE_DUMP)
		socket_mistake(socket, "%s inside dump", call);
	return (struct token_way){
		.mailbox = socket->mailbox,
		.flush = flush_socket,
		.arg = socket,
	};
}

const char *
bennu_sign(
    struct bennu_socket *socket, const char *salt, struct bennu_payload data)
{
	const struct token_way way = way_of_socket(socket, "bennu_sign");
	char *token;

	if (!is_json(data))
		socket_mistake(socket, "bennu_sign of what is no JSON");
	token = token_ask_sign(&way, salt, data);
	return token == NULL ? NULL : socket_keep(socket, token);
}

struct bennu_payload
bennu_verify(struct bennu_socket *socket, const char *salt, const char *token,
    long max_age)
{
	const struct token_way way = way_of_socket(socket, "bennu_verify");
	size_t size;
	char *data = token_ask_verify(&way, salt, token, max_age, &size);

	return payload_of(
	    data == NULL ? NULL : socket_keep(socket, data), size);
}

/* ---- bennu/endpoint.h ---- */

static void
flush_conn(void *arg)
{
	conn_flush(arg);
}

static struct token_way
way_of_conn(struct bennu_conn *conn)
{
	return (struct token_way){
		.mailbox = conn->mailbox,
		.flush = flush_conn,
		.arg = conn,
	};
}

const char *
bennu_conn_sign(
    struct bennu_conn *conn, const char *salt, struct bennu_payload data)
{
	const struct token_way way = way_of_conn(conn);
	char *token;

	if (!is_json(data))
		conn_mistake(conn, "bennu_conn_sign of what is no JSON");
	token = token_ask_sign(&way, salt, data);
	return token == NULL ? NULL : conn_keep(conn, token);
}

struct bennu_payload
bennu_conn_verify(
    struct bennu_conn *conn, const char *salt, const char *token, long max_age)
{
	const struct token_way way = way_of_conn(conn);
	size_t size;
	char *data = token_ask_verify(&way, salt, token, max_age, &size);

	return payload_of(data == NULL ? NULL : conn_keep(conn, data), size);
}

/* ---- bennu/socket.h ---- */

/* When the transport is gone so is the other end of what we wait at. */
static void
flush_connect(void *arg)
{
	struct bennu_connect *c = arg;
	struct pollfd pollfd = {
		.fd = mailbox_fd(c->mailbox),
		.events = POLLOUT,
	};

	while (mailbox_flush(c->mailbox) && mailbox_backlog(c->mailbox) > 0)
		poll(&pollfd, 1, -1);
}

static struct token_way
way_of_connect(struct bennu_connect *c)
{
	return (struct token_way){
		.mailbox = c->mailbox,
		.flush = flush_connect,
		.arg = c,
	};
}

const char *
bennu_connect_sign(
    struct bennu_connect *c, const char *salt, struct bennu_payload data)
{
	const struct token_way way = way_of_connect(c);
	char *token;

	if (!is_json(data))
		connect_mistake(c, "bennu_connect_sign of what is no JSON");
	token = token_ask_sign(&way, salt, data);
	return token == NULL ? NULL : connect_keep(c, token);
}

struct bennu_payload
bennu_connect_verify(
    struct bennu_connect *c, const char *salt, const char *token, long max_age)
{
	const struct token_way way = way_of_connect(c);
	size_t size;
	char *data = token_ask_verify(&way, salt, token, max_age, &size);

	return payload_of(data == NULL ? NULL : connect_keep(c, data), size);
}
