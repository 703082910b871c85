/*
 * query.c - see query.h. Names are decoded first and taken apart then, so that
 * encoded brackets count, as the JavaScript client sends them.
 */
#include <sys/queue.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "common/json.h"
#include "common/message.h"
#include "common/xmalloc.h"
#include "transport/query.h"

/*
 * A client chose the query: these bound the work (a name is looked for among at
 * most so many) and the depth of the recursions below.
 */
#define QUERY_NAMES_MAX 1000
#define QUERY_DEPTH_MAX 32

enum param_kind {
	PARAM_TEXT,
	PARAM_OBJECT,
	PARAM_LIST,
};

TAILQ_HEAD(params, param);

struct param {
	TAILQ_ENTRY(param) entry;
	enum param_kind kind;
	struct text name; /* in an object; lent by struct query */
	struct text text; /* lent likewise */
	struct params members;
};

struct query {
	struct param root;
	char *decoded; /* all names and values, one behind another */
};

static struct param *
param_add(struct param *parent, struct text name)
{
	struct param *param = xcalloc(1, sizeof *param);

	param->name = name;
	TAILQ_INIT(&param->members);
	TAILQ_INSERT_TAIL(&parent->members, param, entry);
	return param;
}

/* Recursion goes no deeper than QUERY_DEPTH_MAX. */
static void
param_clear(struct param *param)
{
	struct param *member;

	while ((member = TAILQ_FIRST(&param->members)) != NULL) {
		TAILQ_REMOVE(&param->members, member, entry);
		param_clear(member);
		free(member);
	}
}

/* The last use of a name decides what it is. */
static void
param_become(struct param *param, enum param_kind kind)
{
	if (param->kind == kind)
		return;
	param_clear(param);
	param->kind = kind;
}

static struct param *
param_find(const struct param *parent, struct text name)
{
	struct param *param;

	TAILQ_FOREACH (param, &parent->members, entry)
		if (text_equal(&param->name, &name))
			return param;
	return NULL;
}

/* Where a[segment] goes: an empty segment is the next place of a list. */
static struct param *
param_enter(struct param *parent, struct text segment, bool list)
{
	struct param *param = NULL;

	param_become(parent, list ? PARAM_LIST : PARAM_OBJECT);
	if (!list)
		param = param_find(parent, segment);
	return param != NULL ? param : param_add(parent, segment);
}

/* Behind "name[": segments with "][" between them. NULL: too deep. */
static struct param *
param_descend(struct param *param, char *p, const char *end)
{
	struct text segment;
	char *next;

	for (unsigned depth = 0; depth < QUERY_DEPTH_MAX; depth++) {
		next = memmem(p, end - p, "][", 2);
		segment = (struct text){ p, (next ? next : end) - p };
		param = param_enter(param, segment, segment.size == 0);
		if (next == NULL)
			return param;
		p = next + 2;
	}
	return NULL;
}

/* Only a name that ends with a bracket has segments, as in Plug. */
static bool
query_assign(struct query *query, struct text name, struct text value)
{
	struct param *param;
	char *end = name.data + name.size, *open = NULL;

	if (name.size > 0 && end[-1] == ']') {
		end--;
		name.size--;
		open = memchr(name.data, '[', name.size);
	}
	if (open != NULL)
		name.size = open - name.data;
	param = param_enter(&query->root, name, false);
	if (open != NULL)
		param = param_descend(param, open + 1, end);
	if (param == NULL)
		return false;
	param_become(param, PARAM_TEXT);
	param->text = value;
	return true;
}

/* A byte behind a %; -1 when it is none. */
static int
hex_byte(const char *p, const char *end)
{
	int high, low;

	if (end - p < 2)
		return -1;
	high = hex_digit(p[0]);
	low = hex_digit(p[1]);
	return high == -1 || low == -1 ? -1 : high << 4 | low;
}

/* Puts the characters at *at, which is moved behind them. */
static bool
decode(struct text *text, char **at, const char *p, const char *end)
{
	int byte;
	char *out = *at;

	while (p < end) {
		byte = *p++;
		if (byte == '+') {
			byte = ' ';
		} else if (byte == '%') {
			byte = hex_byte(p, end);
			if (byte == -1)
				return false;
			p += 2;
		}
		*out++ = byte;
	}
	*text = (struct text){ *at, out - *at };
	*at = out;
	return json_is_utf8(text->data, text->size);
}

/* "name=value" or "name". */
static bool
query_add(struct query *query, char **at, const char *part, const char *end)
{
	const char *equals = memchr(part, '=', end - part);
	const char *name_end = equals == NULL ? end : equals;
	struct text name, value;

	if (!decode(&name, at, part, name_end))
		return false;
	if (!decode(&value, at, equals == NULL ? end : equals + 1, end))
		return false;
	return query_assign(query, name, value);
}

/* query_clear is due whatever it returns. */
static bool
query_parse(struct query *query, const char *text)
{
	const char *p = text, *end;
	unsigned names = 0;
	char *at;

	query->root = (struct param){ .kind = PARAM_OBJECT };
	TAILQ_INIT(&query->root.members);
	at = query->decoded = xmalloc(strlen(text));
	for (;;) {
		end = p + strcspn(p, "&");
		if (end > p) {
			if (++names > QUERY_NAMES_MAX)
				return false;
			if (!query_add(query, &at, p, end))
				return false;
		}
		if (*end == '\0')
			return true;
		p = end + 1;
	}
}

static void
query_clear(struct query *query)
{
	param_clear(&query->root);
	free(query->decoded);
}

static void param_append(struct json_buffer *, const struct param *);

static void
members_append(struct json_buffer *buffer, const struct param *param)
{
	const struct param *member;
	bool first = true;

	TAILQ_FOREACH (member, &param->members, entry) {
		if (!first)
			json_append_text(buffer, ",");
		first = false;
		if (param->kind == PARAM_OBJECT) {
			json_append_string(
			    buffer, member->name.data, member->name.size);
			json_append_text(buffer, ":");
		}
		param_append(buffer, member);
	}
}

/* Recursion goes no deeper than QUERY_DEPTH_MAX. */
static void
param_append(struct json_buffer *buffer, const struct param *param)
{
	switch (param->kind) {
	case PARAM_TEXT:
		json_append_string(buffer, param->text.data, param->text.size);
		return;
	case PARAM_OBJECT:
		json_append_text(buffer, "{");
		members_append(buffer, param);
		json_append_text(buffer, "}");
		return;
	case PARAM_LIST:
		json_append_text(buffer, "[");
		members_append(buffer, param);
		json_append_text(buffer, "]");
		return;
	}
}

char *
query_to_json(const char *text, size_t *size)
{
	struct json_buffer buffer = { 0 };
	struct query query;

	if (query_parse(&query, text)) {
		param_append(&buffer, &query.root);
		*size = buffer.size;
	} else {
		errno = EINVAL;
	}
	query_clear(&query);
	return buffer.data;
}

static char *
text_dup(const struct text *text)
{
	if (memchr(text->data, '\0', text->size) != NULL) {
		errno = EINVAL;
		return NULL;
	}
	return xmemdup(text->data, text->size);
}

char *
query_get(const char *text, const char *name)
{
	struct text wanted = { (char *)name, strlen(name) };
	struct query query;
	struct param *param;
	char *value = NULL;

	if (!query_parse(&query, text)) {
		errno = EINVAL;
	} else if ((param = param_find(&query.root, wanted)) == NULL) {
		errno = ENOENT;
	} else if (param->kind != PARAM_TEXT) {
		errno = EINVAL;
	} else {
		value = text_dup(&param->text);
	}
	query_clear(&query); /* free keeps errno */
	return value;
}
