/*
 * tracked.c - see tracked.h.
 */
#include <string.h>

#include "common/tree.h"
#include "common/xmalloc.h"
#include "presence/tracked.h"

int
presence_compare(const struct presence *p, const struct presence *q)
{
	int order;

	if (p->channel != q->channel)
		return p->channel < q->channel ? -1 : 1;
	order = text_compare(&p->topic, &q->topic);
	return order != 0 ? order : text_compare(&p->key, &q->key);
}

static struct text
copy_text(char **at, const struct text *text)
{
	struct text copy = { 0 };

	if (text->data == NULL)
		return copy;
	copy.data = memcpy(*at, text->data, text->size);
	copy.size = text->size;
	copy.data[copy.size] = '\0';
	*at += copy.size + 1;
	return copy;
}

struct presence *
presence_copy(const struct presence *from, size_t *bytes)
{
	size_t size = sizeof *from + from->topic.size + from->key.size +
	    from->ref.size + from->prev.size + from->meta.size + 5;
	struct presence *copy = xmalloc(size);
	char *at = (char *)(copy + 1);

	copy->channel = from->channel;
	copy->topic = copy_text(&at, &from->topic);
	copy->key = copy_text(&at, &from->key);
	copy->ref = copy_text(&at, &from->ref);
	copy->prev = copy_text(&at, &from->prev);
	copy->meta = copy_text(&at, &from->meta);
	if (bytes != NULL)
		*bytes = size;
	return copy;
}

void
presence_put(struct envelope_writer *writer, const struct presence *presence)
{
	envelope_put_u64(writer, presence->channel);
	envelope_put_text(writer, &presence->topic);
	envelope_put_text(writer, &presence->key);
	envelope_put_text(writer, &presence->ref);
	envelope_put_text(writer, &presence->prev);
	envelope_put_text(writer, &presence->meta);
}

bool
presence_get(struct envelope *envelope, struct presence *presence)
{
	presence->channel = envelope_get_u64(envelope);
	presence->topic = envelope_get_text(envelope);
	presence->key = envelope_get_text(envelope);
	presence->ref = envelope_get_text(envelope);
	presence->prev = envelope_get_optional_text(envelope);
	presence->meta = envelope_get_text(envelope);
	return envelope_end(envelope);
}
