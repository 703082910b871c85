/*
 * handshake.c - see handshake.h.
 */
#include <assert.h>
#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/xmalloc.h"
#include "transport/handshake.h"

#define GUID     "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */
#define KEY_SIZE 16                      /* bytes behind a Sec-WebSocket-Key */
#define BEARER   "base64url.bearer.phx." /* before the token */

/* A string that is not ended. */
struct span {
	const char *data;
	size_t size;
};

/* The parts of an origin or of a rule. */
struct origin {
	struct span scheme, host; /* size 0: none */
	unsigned port;            /* 0: none */
};

static bool
key_is_valid(const char *key)
{
	uint8_t raw[BASE64_DECODE_LENGTH(BASE64_ENCODE_RAW_LENGTH(KEY_SIZE))];
	struct base64_decode_ctx ctx;
	size_t size = sizeof raw;

	if (strlen(key) != BASE64_ENCODE_RAW_LENGTH(KEY_SIZE))
		return false;
	base64_decode_init(&ctx);
	return base64_decode_update(&ctx, &size, raw, strlen(key), key) == 1 &&
	    base64_decode_final(&ctx) == 1 && size == KEY_SIZE;
}

const char *
handshake_check(const struct http_request *request)
{
	const char *key = http_header(request, "sec-websocket-key");
	const char *version = http_header(request, "sec-websocket-version");

	if (strcmp(request->method, "GET") != 0)
		return "the method must be GET";
	if (request->minor == 0)
		return "the version must be HTTP/1.1";
	if (!http_header_has_token(request, "connection", "upgrade"))
		return "the Connection header must contain 'upgrade'";
	if (!http_header_has_token(request, "upgrade", "websocket"))
		return "the Upgrade header must contain 'websocket'";
	if (!request->upgrade)
		return "an upgrade has no body";
	if (key == NULL)
		return "the Sec-WebSocket-Key header is absent";
	if (http_header_count(request, "sec-websocket-key") != 1 ||
	    !key_is_valid(key))
		return "the Sec-WebSocket-Key header must be 16 bytes in base64";
	if (http_header_count(request, "sec-websocket-version") != 1 ||
	    strcmp(version, "13") != 0)
		return "the Sec-WebSocket-Version header must be 13";
	return NULL;
}

void
handshake_append_accept(struct json_buffer *out,
    const struct http_request *request, const char *protocol)
{
	const char *key = http_header(request, "sec-websocket-key");
	char accept[BASE64_ENCODE_RAW_LENGTH(SHA1_DIGEST_SIZE)];
	uint8_t digest[SHA1_DIGEST_SIZE];
	struct sha1_ctx ctx;

	sha1_init(&ctx);
	sha1_update(&ctx, strlen(key), (const uint8_t *)key);
	sha1_update(&ctx, strlen(GUID), (const uint8_t *)GUID);
	sha1_digest(&ctx, sizeof digest, digest);
	base64_encode_raw(accept, sizeof digest, digest);

	json_append_text(out,
	    "HTTP/1.1 101 Switching Protocols\r\n"
	    "Upgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: ");
	json_append(out, accept, sizeof accept);
	if (protocol != NULL) {
		assert(strpbrk(protocol, "\r\n") == NULL);
		json_append_text(out, "\r\nSec-WebSocket-Protocol: ");
		json_append_text(out, protocol);
	}
	json_append_text(out, "\r\n\r\n");
}

static bool
span_is(struct span span, const char *text)
{
	return span.size == strlen(text) &&
	    strncasecmp(span.data, text, span.size) == 0;
}

static bool
span_equals(struct span a, struct span b)
{
	return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* The port that a scheme implies; 0: none that we know. */
static unsigned
default_port(struct span scheme)
{
	if (span_is(scheme, "http") || span_is(scheme, "ws"))
		return 80;
	if (span_is(scheme, "https") || span_is(scheme, "wss"))
		return 443;
	return 0;
}

/* Digits up to the end of the text, 1 to 65535; else 0. */
static unsigned
parse_port(const char *text)
{
	unsigned port = 0;

	for (; *text >= '0' && *text <= '9'; text++) {
		port = port * 10 + (unsigned)(*text - '0');
		if (port > 65535)
			return 0;
	}
	return *text == '\0' ? port : 0;
}

/* Bytes of the host at the begin of the text: a name, or [an IPv6 address]. */
static size_t
host_size(const char *text)
{
	size_t size;

	if (*text != '[')
		return strcspn(text, ":/?#@[]\\ \t\"<>");
	size = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
	return text[size] == ']' && size > 1 ? size + 1 : 0;
}

/*
 * "[scheme:]//host[:port]" and nothing behind it (a browser sends no more).
 * Returns what is wrong with it, or NULL.
 */
static const char *
origin_parse(const char *text, struct origin *origin)
{
	static const char scheme_chars[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.";
	const char *end;

	*origin = (struct origin){ 0 };
	origin->scheme = (struct span){ text, strspn(text, scheme_chars) };
	end = text + origin->scheme.size;
	if (origin->scheme.size > 0 && *end++ != ':')
		return "has no // before its host";
	if (strncmp(end, "//", 2) != 0)
		return "has no // before its host";
	end += 2;
	origin->host = (struct span){ end, host_size(end) };
	if (origin->host.size == 0)
		return "has no host";
	end += origin->host.size;
	origin->port = default_port(origin->scheme);
	if (*end == '\0')
		return NULL;
	if (*end != ':')
		return "has more than a scheme, a host and a port";
	origin->port = parse_port(end + 1);
	return origin->port == 0 ? "has no valid port behind its host" : NULL;
}

/* "*.x.com" is x.com and all below it. */
static bool
host_matches(struct span host, struct span rule)
{
	struct span tail;

	if (rule.size < 2 || memcmp(rule.data, "*.", 2) != 0)
		return span_equals(host, rule);
	tail = (struct span){ rule.data + 2, rule.size - 2 };
	if (host.size <= tail.size)
		return span_equals(host, tail);
	host.data += host.size - tail.size - 1;
	return *host.data == '.' &&
	    memcmp(host.data + 1, tail.data, tail.size) == 0;
}

static bool
rule_allows(const struct origin *rule, const struct origin *origin)
{
	if (rule->scheme.size > 0 &&
	    (rule->scheme.size != origin->scheme.size ||
		strncasecmp(rule->scheme.data, origin->scheme.data,
		    rule->scheme.size) != 0))
		return false;
	if (rule->port != 0 && rule->port != origin->port)
		return false;
	return host_matches(origin->host, rule->host);
}

/* Is the origin that of the request itself? */
static bool
conn_allows(const struct http_request *request, const struct origin *origin)
{
	const char *host = http_header(request, "host");
	struct origin own;
	char *text;
	bool same;

	if (host == NULL)
		return false;
	text = xasprintf("http://%s", host);
	same = origin_parse(text, &own) == NULL && own.port == origin->port &&
	    span_equals(own.scheme, origin->scheme) &&
	    span_equals(own.host, origin->host);
	free(text);
	return same;
}

bool
handshake_origin_allowed(
    const struct http_request *request, char *const *rules, size_t nrules)
{
	const char *text = http_header(request, "origin");
	struct origin origin, rule;

	if (text == NULL || nrules == 0)
		return true;
	if (http_header_count(request, "origin") != 1 ||
	    origin_parse(text, &origin) != NULL || origin.scheme.size == 0)
		return false;
	for (size_t i = 0; i < nrules; i++) {
		if (strcmp(rules[i], ":conn") == 0
			? conn_allows(request, &origin)
			: origin_parse(rules[i], &rule) == NULL &&
			    rule_allows(&rule, &origin))
			return true;
	}
	return false;
}

/* ---- subprotocols ---- */

/* The value of a character of the standard alphabet; -1: it is none. */
static int
base64_value(char c)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "abcdefghijklmnopqrstuvwxyz"
				       "0123456789+/";
	const char *at = c == '\0' ? NULL : strchr(alphabet, c);

	return at == NULL ? -1 : (int)(at - alphabet);
}

/*
 * Standard alphabet without padding, as the client sends it (nettle's decoder
 * asks for the padding). Malloc'd; NULL: it is none.
 */
static char *
decode_token(struct span in, size_t *size)
{
	unsigned bits = 0, nbits = 0;
	char *token, *at;

	for (int i = 0; i < 2 && in.size > 0 && in.data[in.size - 1] == '=';
	     i++)
		in.size--;
	if (in.size % 4 == 1)
		return NULL;
	at = token = xmalloc(in.size * 3 / 4 + 1);
	for (size_t i = 0; i < in.size; i++) {
		int value = base64_value(in.data[i]);

		if (value == -1) {
			free(token);
			return NULL;
		}
		bits = bits << 6 | (unsigned)value;
		nbits += 6;
		if (nbits >= 8)
			*at++ = (char)(bits >> (nbits -= 8));
	}
	*at = '\0';
	*size = (size_t)(at - token);
	return token;
}

/* The next entry of a comma list, without white space; false: no more. */
static bool
next_entry(const char **at, struct span *entry)
{
	size_t n;

	*at += strspn(*at, ", \t");
	n = strcspn(*at, ",");
	*entry = (struct span){ *at, n };
	*at += n;
	while (entry->size > 0 && strchr(" \t", entry->data[entry->size - 1]))
		entry->size--;
	return entry->size > 0;
}

struct subprotocols {
	unsigned fields; /* of the header */
	unsigned entries;
	unsigned tokens;
	struct span token; /* the last, without what is before it */
	bool phoenix;
};

/* All fields of the name are one list. Names are compared byte by byte. */
static struct subprotocols
read_subprotocols(const struct http_request *request)
{
	struct subprotocols found = { 0 };
	struct span entry;

	for (size_t i = 0; i < request->nheaders; i++) {
		const char *at = request->headers[i].value;

		if (strcasecmp(request->headers[i].name,
			"sec-websocket-protocol") != 0)
			continue;
		found.fields++;
		while (next_entry(&at, &entry)) {
			if (entry.size >= strlen(BEARER) &&
			    memcmp(entry.data, BEARER, strlen(BEARER)) == 0) {
				found.tokens++;
				found.token.data = entry.data + strlen(BEARER);
				found.token.size = entry.size - strlen(BEARER);
			} else if (entry.size == strlen("phoenix") &&
			    memcmp(entry.data, "phoenix", entry.size) == 0) {
				found.phoenix = true;
			}
			found.entries++;
		}
	}
	return found;
}

bool
handshake_subprotocols(
    const struct http_request *request, bool *phoenix, struct text *token)
{
	struct subprotocols found = read_subprotocols(request);

	*phoenix = found.phoenix;
	*token = (struct text){ 0 };
	if (found.fields == 0)
		return true;
	/* Of two tokens neither is used, and neither is a subprotocol. */
	if (found.tokens == 1) {
		token->data = decode_token(found.token, &token->size);
		if (token->data == NULL)
			return false;
	}
	if (found.phoenix || (found.tokens == 1 && found.entries == 1))
		return true;
	free(token->data);
	token->data = NULL;
	return false;
}

const char *
handshake_origin_rule_error(const char *text)
{
	struct origin rule;
	const char *error = origin_parse(text, &rule);
	const char *star;

	if (error != NULL)
		return error;
	star = memchr(rule.host.data, '*', rule.host.size);
	if (star == NULL)
		return NULL;
	if (star != rule.host.data || rule.host.size < 3 || star[1] != '.' ||
	    memchr(star + 1, '*', rule.host.size - 1) != NULL)
		return "has a * that is not at the begin, as in *.example.com";
	return NULL;
}
