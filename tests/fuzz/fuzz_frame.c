/*
 * Any bytes as a message of a client, in each form of it: what is taken has all
 * its parts, and a reply can be made to it.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "transport/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_reply(struct frame *frame, const struct message *msg)
{
	frame_protocol_reply(frame, msg->join_ref.data, msg->ref.data,
	    msg->topic_json.data, "ok", "{}");
	assert(json_scan_text(frame->body.data, frame->body.size).kind >=
	    JSON_ARRAY);
}

static void
check(struct frame *frame, enum websocket_opcode opcode, const char *data,
    size_t size)
{
	struct text payload = { NULL, 0 };
	struct message msg;
	enum bennu_kind kind;

	if (!frame_parse(&msg, opcode, data, size, &kind, &payload))
		return;
	assert(payload.data != NULL);
	if (kind == BENNU_BINARY)
		assert(payload.data >= data &&
		    payload.data + payload.size == data + size);
	check_reply(frame, &msg);
	message_clear(&msg);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of exactly this size, so that nothing is read behind it. */
	char *copy = malloc(size == 0 ? 1 : size);
	struct frame frame = { 0 };

	if (copy == NULL)
		abort();
	if (size > 0)
		memcpy(copy, data, size);
	frame_speak(FRAME_V1);
	check(&frame, WEBSOCKET_TEXT, copy, size);
	frame_speak(FRAME_V2);
	check(&frame, WEBSOCKET_TEXT, copy, size);
	check(&frame, WEBSOCKET_BINARY, copy, size);
	json_buffer_free(&frame.body);
	free(copy);
	return 0;
}
