/*
 * presence_list.c - see presence_list.h.
 */
#include <bennu/channel.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "channel/fetcher.h"
#include "channel/presence_list.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "common/xmalloc.h"
#include "pubsub/slots.h"

#define AGAIN 50 /* ms before presence, which has died, is asked again */

/* What comes of a question. */
struct answer {
	long long until; /* monotonic ms; 0: nobody has it who could answer */
	char *text;      /* NULL: none yet */
	bool too_long;   /* it cannot be told */
	bool over;       /* nothing more will come */
};

/* ---- the question ---- */

bool
presence_question_make(struct presence_question *question,
    const struct text *topic, const char *key)
{
	*question = (struct presence_question){ .topic = *topic };
	if (key != NULL) {
		question->key.data = (char *)(uintptr_t)key;
		question->key.size = strlen(key);
	}
	errno = ENAMETOOLONG;
	if (topic->size > PRESENCE_NAME_MAX ||
	    question->key.size > PRESENCE_NAME_MAX)
		return false;
	errno = EINVAL;
	return json_is_utf8(topic->data, topic->size) &&
	    json_is_utf8(question->key.data, question->key.size);
}

static void
put_question(
    struct envelope_writer *writer, const struct presence_question *question)
{
	envelope_put_data(writer, question->topic.data, question->topic.size);
	if (question->key.data == NULL)
		envelope_put_string(writer, NULL);
	else
		envelope_put_data(
		    writer, question->key.data, question->key.size);
}

/* The answer comes over a socket of its own. -1, errno. */
static int
ask_transport(
    const struct presence_way *way, const struct presence_question *question)
{
	struct envelope_writer writer = { 0 };
	int fds[2];

	if (mailbox_pair(fds) == -1)
		return -1;
	put_question(&writer, question);
	mailbox_send_fd(way->transport, ENVELOPE_PRESENCES, &writer, fds[1]);
	way->flush(way->arg);
	return fds[0];
}

/* It is small, and the first that is written: it has room. */
static void
ask_presence(struct mailbox *mailbox, const struct presence_question *question)
{
	struct envelope_writer hello = { 0 }, list = { 0 };

	envelope_put_u64(&hello, 0);
	envelope_put_u32(&hello, SLOT_NONE);
	mailbox_send(mailbox, ENVELOPE_PR_HELLO, &hello);
	put_question(&list, question);
	mailbox_send(mailbox, ENVELOPE_PR_LIST, &list);
	mailbox_flush(mailbox);
}

/* ---- the answer ---- */

static void
start_clock(struct answer *answer)
{
	if (answer->until == 0)
		answer->until = monotonic_ms() + PRESENCE_WAIT;
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct answer *answer = arg;
	const char *text;
	size_t size;

	(void)mailbox;
	if (envelope != NULL && envelope->type == ENVELOPE_PRESENCES) {
		/* The transport has passed it on. What it waited before, for a
		 * slow client or for pubsub, is not presence's fault. */
		start_clock(answer);
		return;
	}
	answer->over = true;
	if (envelope == NULL || envelope->type != ENVELOPE_PR_LISTED ||
	    answer->text != NULL)
		return;
	text = envelope_get_data(envelope, &size);
	if (!envelope_end(envelope))
		return;
	answer->too_long = size == 0;
	if (size > 0)
		answer->text = xmemdup(text, size);
}

/* Milliseconds for poll(2); -1: for ever. */
static int
time_left(const struct answer *answer)
{
	long long left;

	if (answer->until == 0)
		return -1;
	left = answer->until - monotonic_ms();
	return left < 0 ? 0 : (int)left;
}

static bool
is_late(const struct answer *answer)
{
	return answer->until != 0 && monotonic_ms() >= answer->until;
}

static void
wait_for(struct mailbox *mailbox, struct answer *answer)
{
	struct pollfd pollfd = {
		.fd = mailbox_fd(mailbox),
		.events = POLLIN,
	};

	/* mailbox_read would read to where the message in hand lies. */
	while (!answer->over && !is_late(answer))
		if (poll(&pollfd, 1, time_left(answer)) == 1)
			mailbox_drain(mailbox);
}

static void
nap(struct answer *answer)
{
	int left;

	start_clock(answer);
	left = time_left(answer);
	poll(NULL, 0, left < AGAIN ? left : AGAIN);
	answer->over = false;
}

/* False, errno: it cannot be asked, now or ever. */
static bool
ask_once(const struct presence_way *way,
    const struct presence_question *question, struct answer *answer)
{
	struct mailbox *mailbox;
	int fd = way->transport != NULL ? ask_transport(way, question)
					: mailbox_connect(way->path);

	if (fd == -1)
		return way->transport == NULL && errno != EMFILE &&
		    errno != ENFILE && errno != ENAMETOOLONG;
	mailbox = mailbox_new(fd, on_envelope, answer);
	if (way->transport == NULL) {
		start_clock(answer);
		ask_presence(mailbox, question);
	}
	wait_for(mailbox, answer);
	mailbox_free(mailbox);
	return true;
}

char *
presence_list_ask(
    const struct presence_way *way, const struct presence_question *question)
{
	struct answer answer = { 0 };

	if (way->transport == NULL && way->path == NULL) {
		errno = ENOTSUP;
		return NULL;
	}
	for (;;) {
		if (!ask_once(way, question, &answer))
			return NULL;
		if (answer.text != NULL)
			return answer.text;
		if (answer.too_long) {
			errno = EMSGSIZE;
			return NULL;
		}
		if (is_late(&answer)) {
			errno = ETIMEDOUT;
			return NULL;
		}
		nap(&answer);
	}
}

/* ---- what the application adds ---- */

/* To a fetch one key is a list of one. */
static char *
wrap(const struct text *key, const char *answer, size_t size)
{
	struct json_buffer list = { 0 };

	json_append_text(&list, "{");
	json_append_string(&list, key->data, key->size);
	json_append_text(&list, ":");
	json_append(&list, answer, size);
	json_append_text(&list, "}");
	return list.data;
}

/* NULL: fetch has taken it away. */
static char *
unwrap(const struct text *key, const char *list)
{
	cJSON *tree = cJSON_Parse(list);
	char *text = cJSON_PrintUnformatted(
	    cJSON_GetObjectItemCaseSensitive(tree, key->data));

	cJSON_Delete(tree);
	return text;
}

static char *
fetch_key(const struct bennu_channel *channel,
    const struct presence_question *question, const char *answer)
{
	char *list = wrap(&question->key, answer, strlen(answer));
	const struct text one = { list, strlen(list) };
	char *fetched = fetch_apply(channel, question->topic.data, &one), *text;

	free(list);
	if (fetched == NULL)
		return NULL;
	text = unwrap(&question->key, fetched);
	free(fetched);
	return text;
}

char *
presence_list_fetch(const struct bennu_channel *channel,
    const struct presence_question *question, char *answer)
{
	const struct text list = { answer, strlen(answer) };
	char *text;

	if (channel == NULL || channel->fetch == NULL || answer[0] != '{')
		return answer;
	if (question->key.data == NULL)
		text = fetch_apply(channel, question->topic.data, &list);
	else
		text = fetch_key(channel, question, answer);
	if (text == NULL) {
		log_warnx("presences of %s are left as they are: cJSON cannot "
			  "hold them, or fetch took them away",
		    question->topic.data);
		return answer;
	}
	free(answer);
	return text;
}
