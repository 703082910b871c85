/*
 * token.c - see token.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/token_keys.h"
#include "transport/admin.h"
#include "transport/token.h"
#include "transport/transport.h"

/* What is asked. */
struct question {
	enum envelope_type type;
	struct text salt;
	struct text text; /* JSON, or a token */
	int64_t max_age;
};

/* A token, or JSON; error is 0 then. */
struct answer {
	int error;
	char *text;
	size_t size;
};

static bool
read_question(struct question *question, struct envelope *envelope)
{
	*question = (struct question){ .type = envelope->type };
	question->salt = envelope_get_text(envelope);
	question->text = envelope_get_text(envelope);
	if (envelope->type == ENVELOPE_VERIFY)
		question->max_age = (int64_t)envelope_get_u64(envelope);
	return envelope_end(envelope);
}

/* 0, or what errno will be in the process that asks. */
static int
error_of(enum token_result result)
{
	switch (result) {
	case TOKEN_OK:
		return 0;
	case TOKEN_EXPIRED:
		return ETIME;
	case TOKEN_NO_JSON:
		return ENOTSUP;
	case TOKEN_MISSING:
	case TOKEN_INVALID:
		break;
	}
	return EBADMSG;
}

/* ---- the key ---- */

/* Long poll's: who signs with it says which session is whose. */
static bool
is_reserved(const struct text *salt)
{
	static const char reserved[] = LONGPOLL_SALT;

	return salt->size == sizeof reserved - 1 &&
	    memcmp(salt->data, reserved, salt->size) == 0;
}

/* The next one who needs it finds it. A session has no way to ask. */
static void
ask_for_key(const struct transport_start *start, const struct text *salt)
{
	struct transport_request request = { .kind = REQUEST_TOKEN_KEY };

	if (start->token_keys == NULL || start->session_path != NULL ||
	    !token_keys_has_room(start->token_keys, salt->size))
		return;
	memcpy(request.salt, salt->data, salt->size);
	request.salt_size = (uint32_t)salt->size;
	admin_send_request(&request);
}

/* From the page; or it is *own, which the caller wipes when it is done. */
static const struct token_key *
find_key(const struct transport_start *start, const struct text *salt,
    struct token_key *own)
{
	const struct secrets *secrets = start->secrets;
	const struct token_key *key = NULL;

	if (start->token_keys != NULL)
		key = token_keys_find(
		    start->token_keys, salt->data, salt->size);
	if (key != NULL)
		return key;
	token_key_derive(own, secrets->token_secret, secrets->token_secret_size,
	    salt->data, salt->size);
	ask_for_key(start, salt);
	return own;
}

/* ---- the answer ---- */

static void
find_answer(const struct question *question, const struct token_key *key,
    struct answer *answer)
{
	const struct text *text = &question->text;

	if (question->type == ENVELOPE_VERIFY) {
		answer->error = error_of(
		    token_verify(key, text->data, text->size, question->max_age,
			token_now(), &answer->text, &answer->size));
		return;
	}
	answer->text = token_sign(
	    key, text->data, text->size, token_now(), TOKEN_DAY);
	if (answer->text == NULL)
		answer->error = errno;
	else
		answer->size = strlen(answer->text);
}

static void
send_answer(int fd, const struct answer *answer)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, (uint32_t)answer->error);
	envelope_put_data(
	    &writer, answer->error == 0 ? answer->text : "", answer->size);
	mailbox_answer(fd, ENVELOPE_TOKEN, &writer);
}

bool
token_answer(const struct transport *t, struct mailbox *mailbox,
    struct envelope *envelope)
{
	const struct transport_start *start = t->start;
	struct answer answer = { 0 };
	struct question question;
	struct token_key own;
	bool fine = read_question(&question, envelope);
	int fd = mailbox_take_fd(mailbox);

	if (fd == -1)
		return fine && mailbox_lost_fd(mailbox);
	if (!fine || start->secrets == NULL) {
		mailbox_close_fd(fd);
		return fine;
	}
	if (is_reserved(&question.salt)) {
		answer.error = EPERM;
	} else {
		find_answer(
		    &question, find_key(start, &question.salt, &own), &answer);
		explicit_bzero(&own, sizeof own);
	}
	send_answer(fd, &answer);
	free(answer.text);
	return true;
}
