/*
 * connect.c - see connect.h; and the calls of bennu/socket.h.
 */
#include <sys/time.h>

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "channel/connect.h"
#include "common/json.h"
#include "common/log.h"
#include "common/process.h"
#include "common/xmalloc.h"

/* ---- the question ---- */

static bool
read_headers(struct bennu_connect *c, struct envelope *envelope)
{
	uint32_t n = envelope_get_u32(envelope);
	size_t size;

	if (n > CONNECT_HEADERS_MAX)
		return false;
	c->headers = xcalloc(n + 1, sizeof *c->headers);
	for (c->nheaders = 0; c->nheaders < n; c->nheaders++) {
		struct connect_header *header = &c->headers[c->nheaders];

		header->name = envelope_get_data(envelope, &size);
		header->value = envelope_get_data(envelope, &size);
	}
	return true;
}

bool
connect_read(struct bennu_connect *c, const struct config *config,
    struct envelope *envelope)
{
	uint32_t mount = envelope_get_u32(envelope);
	size_t size;

	*c = (struct bennu_connect){ 0 };
	if (mount >= config->nsockets ||
	    config->sockets[mount].callbacks == NULL)
		return false;
	c->config = &config->sockets[mount];
	c->params.kind = BENNU_JSON;
	c->params.data = envelope_get_data(envelope, &c->params.size);
	c->transport = envelope_get_data(envelope, &size);
	c->token = envelope_get_optional(envelope, &c->token_size);
	c->peer = envelope_get_optional(envelope, &size);
	c->uri = envelope_get_optional(envelope, &size);
	return read_headers(c, envelope) && envelope_end(envelope) &&
	    json_scan_text(c->params.data, c->params.size).kind == JSON_OBJECT;
}

void
connect_clear(struct bennu_connect *c)
{
	for (size_t i = 0; i < c->nstrings; i++)
		free(c->strings[i]);
	free(c->strings);
	free(c->headers);
	free(c->id);
	free(c->tally.values);
	cJSON_Delete(c->tree);
	cJSON_Delete(c->assigns);
}

/* ---- the answer ---- */

void
connect_mistake(const struct bennu_connect *c, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fatalx("%s: %s", c->config->module, text);
}

/* Bytes of the character at the front; 0: it is none. */
static size_t
utf8_size(const char *text, size_t size)
{
	for (size_t n = 1; n <= 4 && n <= size; n++)
		if (json_is_utf8(text, n))
			return n;
	return 0;
}

/*
 * What a client sent may have found its way into a string; only there can such
 * bytes be.
 */
static void
append_repaired(struct json_buffer *out, const char *text, size_t size)
{
	for (size_t at = 0; at < size;) {
		size_t n = utf8_size(text + at, size - at);

		if (n > 0)
			json_append(out, text + at, n);
		else
			json_append_text(out, "\xef\xbf\xbd");
		at += n > 0 ? n : 1;
	}
}

static void
put_assigns(struct bennu_connect *c, struct envelope_writer *writer)
{
	struct json_buffer out = { 0 };
	char *text;

	if (c->assigns == NULL) {
		envelope_put_string(writer, "{}");
		return;
	}
	text = cJSON_PrintUnformatted(c->assigns);
	if (text == NULL)
		connect_mistake(c, "the assigns cannot be printed");
	append_repaired(&out, text, strlen(text));
	free(text);
	if (json_scan_text(out.data, out.size).kind != JSON_OBJECT)
		connect_mistake(c, "the assigns are no JSON: %.200s", out.data);
	if (out.size > CONNECT_ASSIGNS_MAX)
		connect_mistake(c, "%zu bytes of assigns; at most %u", out.size,
		    CONNECT_ASSIGNS_MAX);
	envelope_put_data(writer, out.data, out.size);
	json_buffer_free(&out);
}

static void
mask(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(how, &set, NULL);
}

/* SIGALRM ends the process when the callback takes too long: 0 is off. */
static void
set_alarm(long long ms)
{
	struct itimerval timer = {
		.it_value = { ms / 1000, ms % 1000 * 1000 },
	};

	/* Whatever the author did to it. */
	signal(SIGALRM, SIG_DFL);
	mask(SIG_UNBLOCK, SIGALRM);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/*
 * While it runs SIGTERM is caught, so that it has CONNECT_SHUTDOWN left;
 * otherwise the event loop reads that signal.
 */
static enum bennu_result
call(struct bennu_connect *c)
{
	enum bennu_result result;

	set_alarm(c->config->connect_timeout + CONNECT_GRACE);
	process_catch_term(-1, CONNECT_SHUTDOWN);
	result = c->config->callbacks->connect(c);
	mask(SIG_BLOCK, SIGTERM);
	set_alarm(0);
	return result;
}

static bool
is_accepted(const struct bennu_connect *c, enum bennu_result result)
{
	switch (result) {
	case BENNU_OK:
		break;
	case BENNU_REFUSE:
		return false;
	case BENNU_UNHANDLED:
	default:
		connect_mistake(
		    c, "bad_return_value: connect returned %d", (int)result);
	}
	if (c->id == NULL || json_is_utf8(c->id, strlen(c->id)))
		return true;
	log_warnx("%s: refused: the id is not UTF-8", c->config->module);
	return false;
}

void
connect_run(struct bennu_connect *c, struct envelope_writer *writer)
{
	bool accepted = is_accepted(c, call(c));

	envelope_put_u32(writer, accepted);
	envelope_put_string(writer, c->id);
	put_assigns(c, writer);
}

/* ---- bennu/socket.h ---- */

struct bennu_payload
bennu_connect_params(const struct bennu_connect *c)
{
	return c->params;
}

const cJSON *
bennu_connect_json(struct bennu_connect *c)
{
	if (c->tree == NULL)
		c->tree = cJSON_ParseWithLength(c->params.data, c->params.size);
	return c->tree;
}

char *
connect_keep(struct bennu_connect *c, char *string)
{
	c->strings = xrealloc(
	    c->strings, (c->nstrings + 1) * sizeof *c->strings);
	c->strings[c->nstrings++] = string;
	return string;
}

static bool
string_is(struct json_span span, const char *text)
{
	size_t size;
	char *decoded = json_decode_string(span, &size);
	bool same = size == strlen(text) && memcmp(decoded, text, size) == 0;

	free(decoded);
	return same;
}

/* A scanned value that must be a string without U+0000. */
static const char *
plain_string(struct bennu_connect *c, struct json_span value)
{
	char *string;
	size_t size;

	if (value.kind != JSON_STRING)
		return NULL;
	string = json_decode_string(value, &size);
	if (strlen(string) == size)
		return connect_keep(c, string);
	free(string);
	return NULL;
}

/* Not from the tree: cJSON would cut strings at U+0000. */
const char *
bennu_connect_param(struct bennu_connect *c, const char *name)
{
	const char *at = c->params.data, *end = at + c->params.size;

	/* An object, as connect_read has seen. */
	json_skip_space(&at, end);
	for (;;) {
		struct json_span key, value;

		at++; /* { or , */
		key = json_scan_value(&at, end);
		if (key.kind != JSON_STRING)
			return NULL; /* {} */
		json_skip_space(&at, end);
		at++; /* : */
		value = json_scan_value(&at, end);
		if (string_is(key, name))
			return plain_string(c, value);
		json_skip_space(&at, end);
		if (*at != ',')
			return NULL;
	}
}

const char *
bennu_connect_transport(const struct bennu_connect *c)
{
	return c->transport;
}

const char *
bennu_connect_mount(const struct bennu_connect *c)
{
	return c->config->path;
}

const char *
bennu_connect_auth_token(const struct bennu_connect *c, size_t *size)
{
	if (size != NULL)
		*size = c->token_size;
	return c->token;
}

const char *
bennu_connect_peer(const struct bennu_connect *c)
{
	return c->peer;
}

const char *
bennu_connect_uri(const struct bennu_connect *c)
{
	return c->uri;
}

const char *
bennu_connect_header(const struct bennu_connect *c, const char *name)
{
	for (size_t i = 0; i < c->nheaders; i++)
		if (strcasecmp(c->headers[i].name, name) == 0)
			return c->headers[i].value;
	return NULL;
}

bool
bennu_connect_header_at(const struct bennu_connect *c, size_t number,
    const char **name, const char **value)
{
	if (number >= c->nheaders)
		return false;
	*name = c->headers[number].name;
	*value = c->headers[number].value;
	return true;
}

void
bennu_connect_id(struct bennu_connect *c, const char *id)
{
	free(c->id);
	c->id = id == NULL ? NULL : xstrdup(id);
}

void
bennu_connect_assign(struct bennu_connect *c, const char *key, cJSON *value)
{
	if (value == NULL)
		connect_mistake(
		    c, "bennu_connect_assign: no value for '%s'", key);
	if (c->assigns == NULL)
		c->assigns = cJSON_CreateObject();
	cJSON_DeleteItemFromObjectCaseSensitive(c->assigns, key);
	if (!cJSON_AddItemToObject(c->assigns, key, value))
		fatalx("bennu_connect_assign: out of memory");
}

void
bennu_connect_count(struct bennu_connect *c, const char *name, uint64_t n)
{
	const char *why = tally_count(&c->tally, name, n);

	if (why != NULL)
		connect_mistake(
		    c, "bennu_connect_count: %.100s: %s", name, why);
}

void
bennu_connect_observe(struct bennu_connect *c, const char *name, double value)
{
	const char *why = tally_observe(&c->tally, name, value);

	if (why != NULL)
		connect_mistake(
		    c, "bennu_connect_observe: %.100s: %s", name, why);
}

void
bennu_connect_log(const struct bennu_connect *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	(void)c;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_info("%s", text);
}
