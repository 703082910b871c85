/*
 * bennu/socket.h - what the author of a socket needs, beside bennu/channel.h:
 * who may connect, and as whom.
 *
 * A socket is one callback, connect. It runs when a client opens a connection
 * at the path where bennu.conf mounts the socket, before anything else of the
 * application sees that client. It says yes or no; with a yes it may give the
 * connection an id, under which all connections of a user can be closed at
 * once, and assigns, which every channel of the connection can read.
 *
 * It runs in a process of its own (connect_workers of bennu.conf says how many)
 * that serves one connect after another and lasts: what is kept in static
 * variables, such as a handle to a database opened at the first call, is there
 * at the next one. For the same reason nothing of it is there in a channel, but
 * for the id and the assigns, which are copied.
 *
 * A crash costs the connect in hand (500) and a line in the log. So does a
 * callback that takes longer than connect_timeout: its client gets 403, and the
 * process is killed and started again. Other clients wait meanwhile and are
 * served then.
 *
 * Ownership: const is lent, for the length of the call. What a function of this
 * header returns is lent until connect returns.
 *
 * Errors: what only a mistake of the author can cause (a result that connect
 * may not return) is logged and ends the process as a crash.
 */
#ifndef BENNU_SOCKET_H
#define BENNU_SOCKET_H

#include <bennu/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bennu_connect; /* a client that wants to connect */

/*
 * A module defines one with BENNU_SOCKET; bennu.conf names it as `module` of a
 * socket section.
 */
struct bennu_user_socket {
	unsigned abi; /* BENNU_ABI */
	const char *name;

	/*
	 * BENNU_OK: the client is let in. BENNU_REFUSE: 403, with an empty
	 * body. Required.
	 */
	enum bennu_result (*connect)(struct bennu_connect *);

	void *reserved[4]; /* NULL */
};

#define BENNU_SOCKET(symbol)                                    \
	extern BENNU_API const struct bennu_user_socket symbol; \
	BENNU_API const struct bennu_user_socket symbol

/* ---- what is known of the client ---- */

/*
 * All parameters of the query, decoded, as JSON text: {"vsn":"2.0.0", ...}.
 * a[b]=1 is an object, a[]=1 a list, everything else a string.
 */
BENNU_API struct bennu_payload bennu_connect_params(
    const struct bennu_connect *);
/* The same as a tree, made at the first call. */
BENNU_API const cJSON *bennu_connect_json(struct bennu_connect *);
/* The string under a name; NULL when it is absent, is an object or a list, or
 * holds U+0000. */
BENNU_API const char *bennu_connect_param(
    struct bennu_connect *, const char *name);
/* "websocket" or "longpoll" */
BENNU_API const char *bennu_connect_transport(const struct bennu_connect *);
/* Where bennu.conf mounts the socket: "/socket". */
BENNU_API const char *bennu_connect_mount(const struct bennu_connect *);
/*
 * The token that the client sent (auth_token of bennu.conf must be on), or
 * NULL. Any bytes; a NUL stands behind them. size may be NULL.
 */
BENNU_API const char *bennu_connect_auth_token(
    const struct bennu_connect *, size_t *size);

/* What follows is there when connect_info of bennu.conf names it. */

/* peer_data: "127.0.0.1:50124"; else NULL. */
BENNU_API const char *bennu_connect_peer(const struct bennu_connect *);
/* uri: "http://example.com/socket/websocket?vsn=2.0.0"; else NULL. */
BENNU_API const char *bennu_connect_uri(const struct bennu_connect *);
/*
 * user_agent, trace_context_headers, x_headers, sec_websocket_headers: the
 * first header of that name, in any case; NULL when there is none, or
 * connect_info does not name it.
 */
BENNU_API const char *bennu_connect_header(
    const struct bennu_connect *, const char *name);
/* All of them, from 0 on; false when there is none with that number. */
BENNU_API bool bennu_connect_header_at(const struct bennu_connect *,
    size_t number, const char **name, const char **value);

/* ---- what becomes of it ---- */

/*
 * The id of the connection, as in "users:42"; NULL, the default, for none.
 * bennu_disconnect(id) closes all connections with this id, with code 1001; so
 * does a broadcast of the event "disconnect" on the topic of that name. An id
 * that is not UTF-8 is refused: the client gets 403.
 */
BENNU_API void bennu_connect_id(struct bennu_connect *, const char *id);
/*
 * What channels see as bennu_connect_assigns: an object with this value under
 * this key. The tree is freed (given, not lent). Strings that are not UTF-8
 * are repaired with U+FFFD.
 */
BENNU_API void bennu_connect_assign(
    struct bennu_connect *, const char *key, cJSON *value);

/* A line in the server's log. */
BENNU_API void bennu_connect_log(
    const struct bennu_connect *, const char *, ...) BENNU_PRINTF(2, 3);

/* As those of bennu/channel.h; lent until connect returns. */
BENNU_API const char *bennu_connect_sign(
    struct bennu_connect *, const char *salt, struct bennu_payload data);
BENNU_API struct bennu_payload bennu_connect_verify(
    struct bennu_connect *, const char *salt, const char *token, long max_age);
BENNU_API void bennu_connect_count(
    struct bennu_connect *, const char *name, uint64_t n);
BENNU_API void bennu_connect_observe(
    struct bennu_connect *, const char *name, double value);

#ifdef __cplusplus
}
#endif

#endif /* BENNU_SOCKET_H */
