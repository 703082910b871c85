/*
 * Any bytes from the other end of a mailbox: envelopes are whole, their fields
 * lie inside of them, and what comes does not depend on how it was cut.
 */
#include <sys/socket.h>

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mailbox.h"
#include "common/xmalloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* What came, as a sum of all that could be read. */
struct transcript {
	uint64_t sum;
	unsigned envelopes;
	bool gone;
};

static void
add(struct transcript *transcript, const void *data, size_t size)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < size; i++)
		transcript->sum = transcript->sum * 31 + bytes[i];
}

/* The first byte of the body says which fields are read, in which order. */
static void
read_fields(struct transcript *transcript, struct envelope *envelope)
{
	unsigned order = envelope->size > 0 ? envelope->data[0] : 0;

	for (int i = 0; i < 4; i++, order >>= 2) {
		const char *data = NULL;
		uint64_t number = 0;
		size_t size = 0;

		if ((order & 3) == 0)
			number = envelope_get_u32(envelope);
		else if ((order & 3) == 1)
			number = envelope_get_u64(envelope);
		else if ((order & 3) == 2)
			data = envelope_get_data(envelope, &size);
		else
			data = envelope_get_optional(envelope, &size);
		assert(envelope->at <= envelope->size);
		assert(data == NULL || data[size] == '\0');
		add(transcript, &number, sizeof number);
		add(transcript, data, data == NULL ? 0 : size);
	}
	add(transcript, &(bool){ envelope_end(envelope) }, 1);
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct transcript *transcript = arg;

	assert(!transcript->gone);
	if (envelope == NULL) {
		assert(*mailbox_error(mailbox) != '\0');
		transcript->gone = true;
		return;
	}
	assert(*envelope_name(envelope->type) != '?');
	add(transcript, &envelope->type, sizeof envelope->type);
	transcript->envelopes++;
	read_fields(transcript, envelope);
}

static struct transcript
converse(const uint8_t *data, size_t size, size_t piece)
{
	struct transcript transcript = { 0 };
	struct mailbox *mailbox;
	int fds[2];

	if (mailbox_pair(fds) == -1)
		abort();
	mailbox = mailbox_new(fds[0], on_envelope, &transcript);
	while (size > 0 && !transcript.gone) {
		size_t n = size < piece ? size : piece;

		if (send(fds[1], data, n, MSG_NOSIGNAL) != (ssize_t)n)
			abort();
		data += n;
		size -= n;
		mailbox_read(mailbox);
	}
	close(fds[1]);
	mailbox_drain(mailbox);
	assert(transcript.gone);
	mailbox_free(mailbox);
	return transcript;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct transcript whole, cut;

	if (size > 65536)
		return -1;
	whole = converse(data, size, 65536);
	cut = converse(data, size, 7);
	assert(whole.sum == cut.sum && whole.envelopes == cut.envelopes);
	return 0;
}
