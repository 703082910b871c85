/*
 * http_guard.h - which bytes may stand where in a request's head and in the
 * lines of a chunked body. Private to http.c.
 *
 * Debian's http-parser is built without its strict mode: it takes a bare LF for
 * the end of a line, folded fields, white space in names, and any two bytes
 * behind a chunk. Each of these is a way to smuggle a request past a proxy that
 * reads them otherwise. The guard sees every such byte first and only lets pass
 * what RFC 9112 allows a sender to write, but no extensions of chunks, which
 * nobody but a smuggler sends; what it means is http-parser's business.
 */
#ifndef HTTP_GUARD_H
#define HTTP_GUARD_H

enum http_guard_state {
	GUARD_START, /* empty lines before a request are skipped */
	GUARD_START_LF,
	GUARD_METHOD,
	GUARD_TARGET,
	GUARD_VERSION,
	GUARD_LINE_LF,
	GUARD_FIELD, /* the first byte of a line: a field, or the end */
	GUARD_NAME,
	GUARD_VALUE,
	GUARD_END_LF,
	GUARD_DONE, /* behind the empty line */

	GUARD_CHUNK_SIZE, /* the first byte of a chunk's line */
	GUARD_CHUNK_DIGITS,
	GUARD_CHUNK_LF,
	GUARD_CHUNK_DATA, /* not the guard's: the owner counts it, then ... */
	GUARD_CHUNK_DATA_CR, /* ... goes on here */
	GUARD_CHUNK_DATA_LF,
};

struct http_guard {
	enum http_guard_state state;
	unsigned count;  /* of what the state counts: bytes, digits, lines */
	unsigned fields; /* that have begun */
};

/*
 * The next byte. 0, or the status that answers it: 400, or 505 for another
 * major version. Behind the LF of a chunk's line the owner sets the state:
 * GUARD_CHUNK_DATA, or GUARD_FIELD after the last one.
 */
int http_guard_byte(struct http_guard *, unsigned char);

#endif /* HTTP_GUARD_H */
