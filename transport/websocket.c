/*
 * websocket.c - see websocket.h.
 *
 * Heads are judged here, byte by byte, since wslay shows a frame only with its
 * first byte of payload and refuses lengths that were not written in their
 * shortest form; then the head goes to wslay in that form, which unmasks and
 * counts the payload. wslay's context (4 KiB, all of it written) lives only
 * while a frame is coming in: 10,000 idle connections do without.
 */
#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "transport/utf8.h"
#include "transport/websocket.h"

#define FIN         0x80
#define RESERVED    0x70
#define OPCODE      0x0f
#define MASKED      0x80
#define LENGTH      0x7f
#define LENGTH_16   126 /* the length is in the next 2 bytes */
#define LENGTH_64   127 /* ... 8 bytes */
#define CONTROL_MAX 125 /* bytes of a control frame's payload */
#define MASK_SIZE   4
#define HEAD_MAX    (2 + 8 + MASK_SIZE)

enum {
	CODE_NORMAL = 1000,
	CODE_PROTOCOL = 1002,
	CODE_NOT_TEXT = 1007,
	CODE_TOO_BIG = 1009,
};

/* Bytes that wslay has still to be given. */
struct bytes {
	const uint8_t *data;
	size_t size;
};

struct websocket {
	struct websocket_limits limits;
	struct websocket_callbacks callbacks;
	void *arg;

	/* The frame that is coming in. */
	uint8_t head[HEAD_MAX]; /* as sent, so far */
	size_t head_size;
	uint64_t length;               /* of its payload */
	uint64_t left;                 /* bytes of it that have not come */
	wslay_frame_context_ptr frame; /* NULL: its head is not complete */
	struct bytes input;            /* lent during websocket_feed */

	uint8_t control[CONTROL_MAX]; /* a control frame's payload, so far */
	size_t control_size;

	/* The message that is coming in, perhaps in several frames. */
	struct json_buffer message;
	enum websocket_opcode opcode; /* 0: none has begun */
	unsigned fragments;
	struct utf8 utf8;

	const char *limit; /* that was exceeded, or NULL */
	bool paused, closed;
	bool calling; /* a callback */
};

struct websocket *
websocket_new(const struct websocket_limits *limits,
    const struct websocket_callbacks *callbacks, void *arg)
{
	struct websocket *websocket = xcalloc(1, sizeof *websocket);

	websocket->limits = *limits;
	websocket->callbacks = *callbacks;
	websocket->arg = arg;
	return websocket;
}

static void
frame_free(struct websocket *websocket)
{
	if (websocket->frame != NULL)
		wslay_frame_context_free(websocket->frame);
	websocket->frame = NULL;
}

void
websocket_free(struct websocket *websocket)
{
	if (websocket == NULL)
		return;
	assert(!websocket->calling);
	frame_free(websocket);
	json_buffer_free(&websocket->message);
	free(websocket);
}

bool
websocket_in_message(const struct websocket *websocket)
{
	return websocket->opcode != 0 || websocket->head_size > 0;
}

const char *
websocket_limit(const struct websocket *websocket)
{
	return websocket->limit;
}

void
websocket_pause(struct websocket *websocket)
{
	websocket->paused = true;
}

void
websocket_resume(struct websocket *websocket)
{
	websocket->paused = false;
}

static void
close_with(struct websocket *websocket, unsigned code, bool by_client)
{
	assert(!websocket->closed);
	websocket->closed = true;
	websocket->calling = true;
	websocket->callbacks.closed(websocket, code, by_client, websocket->arg);
	websocket->calling = false;
}

static bool
is_control(const struct websocket *websocket)
{
	return (websocket->head[0] & 0x08) != 0;
}

static bool
is_final(const struct websocket *websocket)
{
	return (websocket->head[0] & FIN) != 0;
}

/* The first byte of a head. 0, or the code to close with. */
static unsigned
judge_opcode(const struct websocket *websocket)
{
	uint8_t first = websocket->head[0];

	if ((first & RESERVED) != 0)
		return CODE_PROTOCOL;
	switch (first & OPCODE) {
	case WSLAY_CONTINUATION_FRAME:
		return websocket->opcode == 0 ? CODE_PROTOCOL : 0;
	case WSLAY_TEXT_FRAME:
	case WSLAY_BINARY_FRAME:
		return websocket->opcode != 0 ? CODE_PROTOCOL : 0;
	case WSLAY_CONNECTION_CLOSE:
	case WSLAY_PING:
	case WSLAY_PONG:
		return is_final(websocket) ? 0 : CODE_PROTOCOL;
	}
	return CODE_PROTOCOL;
}

/* The second byte. */
static unsigned
judge_mask(const struct websocket *websocket)
{
	uint8_t second = websocket->head[1];

	if ((second & MASKED) == 0 ||
	    (is_control(websocket) && (second & LENGTH) > CONTROL_MAX))
		return CODE_PROTOCOL;
	return 0;
}

/* The length, which is known before the mask is. */
static unsigned
judge_length(struct websocket *websocket)
{
	uint64_t length = websocket->length;

	if (length > INT64_MAX)
		return CODE_PROTOCOL;
	if (is_control(websocket))
		return 0;
	if (length > websocket->limits.max_frame) {
		websocket->limit = "max_frame";
		return CODE_TOO_BIG;
	}
	if (websocket->opcode == 0 && is_final(websocket))
		return 0; /* not put together */
	/* size is below max_message as long as there was a frame before. */
	if (length > websocket->limits.max_message - websocket->message.size)
		websocket->limit = "max_message";
	else if (websocket->fragments >= websocket->limits.max_fragments)
		websocket->limit = "max_fragments";
	return websocket->limit == NULL ? 0 : CODE_TOO_BIG;
}

/* Bytes of a head up to its mask, as its second byte says. */
static size_t
unmasked_size(uint8_t second)
{
	switch (second & LENGTH) {
	case LENGTH_16:
		return 2 + 2;
	case LENGTH_64:
		return 2 + 8;
	}
	return 2;
}

static uint64_t
length_of(const uint8_t *head)
{
	uint64_t length = 0;
	size_t size = unmasked_size(head[1]);

	if (size == 2)
		return head[1] & LENGTH;
	for (size_t i = 2; i < size; i++)
		length = length << 8 | head[i];
	return length;
}

/* wslay asks for bytes of the frame; it never gets one of the next frame. */
static ssize_t
on_recv(uint8_t *out, size_t room, int flags, void *arg)
{
	struct bytes *input = arg;

	if (input->size == 0)
		return -1;
	if (room > input->size)
		room = input->size;
	memcpy(out, input->data, room);
	input->data += room;
	input->size -= room;
	return (ssize_t)room;
}

/* The next part of the payload, unmasked; false: there is none yet. */
static bool
frame_recv(struct websocket *websocket, struct bytes *payload)
{
	struct wslay_frame_iocb frame;
	ssize_t n = wslay_frame_recv(websocket->frame, &frame);

	if (n < 0) {
		/* All that it refuses was refused before. */
		assert(n == WSLAY_ERR_WANT_READ);
		return false;
	}
	assert(frame.payload_length == websocket->length);
	payload->data = frame.data;
	payload->size = frame.data_length;
	return true;
}

/* The head is complete and in order: wslay gets it in its shortest form. */
static void
frame_begin(struct websocket *websocket)
{
	static const struct wslay_frame_callbacks callbacks = {
		.recv_callback = on_recv,
	};
	uint8_t head[HEAD_MAX];
	struct bytes none;
	size_t n;

	if (wslay_frame_context_init(
		&websocket->frame, &callbacks, &websocket->input) != 0)
		fatalx("no memory for a frame");
	n = websocket_head(head, WEBSOCKET_TEXT, websocket->length);
	head[0] = websocket->head[0];
	head[1] |= MASKED;
	memcpy(head + n, websocket->head + websocket->head_size - MASK_SIZE,
	    MASK_SIZE);
	websocket->input = (struct bytes){ head, n + MASK_SIZE };
	frame_recv(websocket, &none);
	assert(websocket->input.size == 0);

	websocket->left = websocket->length;
	websocket->control_size = 0;
	if (!is_control(websocket) && websocket->opcode == 0) {
		websocket->opcode = websocket->head[0] & OPCODE;
		websocket->utf8 = (struct utf8){ 0 };
	}
}

/* Takes one byte of a head. */
static void
feed_head(struct websocket *websocket, uint8_t byte)
{
	size_t at = websocket->head_size++, unmasked;
	unsigned code = 0;

	websocket->head[at] = byte;
	if (at == 0) {
		code = judge_opcode(websocket);
	} else {
		unmasked = unmasked_size(websocket->head[1]);
		if (at == 1)
			code = judge_mask(websocket);
		if (code == 0 && at == unmasked - 1) {
			websocket->length = length_of(websocket->head);
			code = judge_length(websocket);
		}
		if (code == 0 && at == unmasked + MASK_SIZE - 1)
			frame_begin(websocket);
	}
	if (code != 0)
		close_with(websocket, code, false);
}

/* Stores a part of the payload. */
static void
take_payload(struct websocket *websocket, struct bytes part)
{
	if (is_control(websocket)) {
		assert(part.size <= CONTROL_MAX - websocket->control_size);
		memcpy(websocket->control + websocket->control_size, part.data,
		    part.size);
		websocket->control_size += part.size;
	} else if (websocket->opcode == WEBSOCKET_TEXT &&
	    !utf8_feed(&websocket->utf8, part.data, part.size)) {
		close_with(websocket, CODE_NOT_TEXT, false);
	} else {
		json_append(
		    &websocket->message, (const char *)part.data, part.size);
	}
}

/* A code that an endpoint may send (RFC 6455, 7.4). */
static bool
is_close_code(unsigned code)
{
	return (code >= 1000 && code <= 1003) ||
	    (code >= 1007 && code <= 1011) || (code >= 3000 && code <= 4999);
}

/* What a Close is answered with. */
static unsigned
judge_close(const struct websocket *websocket)
{
	const uint8_t *payload = websocket->control;
	size_t size = websocket->control_size;
	struct utf8 utf8 = { 0 };

	if (size == 0)
		return CODE_NORMAL;
	if (size == 1 || !is_close_code(payload[0] << 8 | payload[1]))
		return CODE_PROTOCOL;
	if (!utf8_feed(&utf8, payload + 2, size - 2) || !utf8_end(&utf8))
		return CODE_NOT_TEXT;
	return CODE_NORMAL;
}

static void
close_end(struct websocket *websocket)
{
	unsigned code = judge_close(websocket);

	close_with(websocket, code, code == CODE_NORMAL);
}

static void
ping_end(struct websocket *websocket)
{
	uint8_t pong[WEBSOCKET_HEAD_MAX + CONTROL_MAX];
	size_t n = websocket_head(
	    pong, WEBSOCKET_PONG, websocket->control_size);

	memcpy(pong + n, websocket->control, websocket->control_size);
	websocket->calling = true;
	websocket->callbacks.send(
	    websocket, pong, n + websocket->control_size, websocket->arg);
	websocket->calling = false;
}

static void
message_end(struct websocket *websocket)
{
	enum websocket_opcode opcode = websocket->opcode;
	struct json_buffer *message = &websocket->message;

	if (opcode == WEBSOCKET_TEXT && !utf8_end(&websocket->utf8)) {
		close_with(websocket, CODE_NOT_TEXT, false);
		return;
	}
	websocket->opcode = 0;
	websocket->fragments = 0;
	websocket->calling = true;
	websocket->callbacks.message(websocket, opcode,
	    message->data == NULL ? "" : message->data, message->size,
	    websocket->arg);
	websocket->calling = false;
	json_buffer_free(message);
}

static void
tell_control(struct websocket *websocket)
{
	if (websocket->callbacks.control == NULL)
		return;
	websocket->calling = true;
	websocket->callbacks.control(websocket, websocket->arg);
	websocket->calling = false;
}

static void
frame_end(struct websocket *websocket)
{
	frame_free(websocket);
	websocket->head_size = 0;
	switch (websocket->head[0] & OPCODE) {
	case WSLAY_CONNECTION_CLOSE:
		close_end(websocket);
		return;
	case WSLAY_PING:
		ping_end(websocket);
		tell_control(websocket);
		return;
	case WSLAY_PONG:
		tell_control(websocket);
		return;
	}
	if (is_final(websocket))
		message_end(websocket);
	else
		websocket->fragments++;
}

/* Gives wslay what belongs to this frame. Returns how much that was. */
static size_t
feed_payload(struct websocket *websocket, const uint8_t *data, size_t size)
{
	struct bytes part;

	if (size > websocket->left)
		size = websocket->left;
	websocket->input = (struct bytes){ data, size };
	websocket->left -= size;
	while (!websocket->closed && websocket->input.size > 0 &&
	    frame_recv(websocket, &part))
		take_payload(websocket, part);
	return size;
}

size_t
websocket_feed(struct websocket *websocket, const void *input, size_t size)
{
	const uint8_t *data = input;
	size_t n = 0;

	assert(!websocket->calling);
	while (n < size && !websocket->paused && !websocket->closed) {
		if (websocket->frame == NULL)
			feed_head(websocket, data[n++]);
		else
			n += feed_payload(websocket, data + n, size - n);
		if (!websocket->closed && websocket->frame != NULL &&
		    websocket->left == 0)
			frame_end(websocket);
	}
	if (websocket->closed) {
		frame_free(websocket);
		json_buffer_free(&websocket->message);
	}
	return n;
}
