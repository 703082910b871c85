/*
 * upgrade.c - see upgrade.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xmalloc.h"
#include "transport/connect.h"
#include "transport/frame.h"
#include "transport/handshake.h"
#include "transport/query.h"
#include "transport/transport.h"
#include "transport/upgrade.h"

/* The one that waits for the application. A process has one client. */
static struct upgrade {
	const struct config_socket *socket;
	enum frame_version version;
	const char *wrong;         /* with the request; NULL: nothing */
	struct json_buffer accept; /* the 101 */
} upgrade;

/* <mount><tail>, a slash at the end tolerated. */
const struct config_socket *
upgrade_find_mount(
    const struct config *config, const char *path, const char *tail)
{
	for (size_t i = 0; i < config->nsockets; i++) {
		const struct config_socket *socket = &config->sockets[i];
		size_t n = strlen(socket->path);

		if (strncmp(path, socket->path, n) != 0 ||
		    strncmp(path + n, tail, strlen(tail)) != 0)
			continue;
		path += n + strlen(tail);
		if (strcmp(path, "") == 0 || strcmp(path, "/") == 0)
			return socket;
		return NULL;
	}
	return NULL;
}

const struct config_socket *
upgrade_find(const struct config *config, const char *path)
{
	const struct config_socket *socket = upgrade_find_mount(
	    config, path, "/websocket");

	return socket != NULL && socket->websocket ? socket : NULL;
}

/* ---- vsn ---- */

/* "2.0.7": "~> 2.0.0" takes any patch version of it. */
static bool
vsn_is(const char *vsn, const char *minor)
{
	size_t n = strlen(minor), digits;

	if (strncmp(vsn, minor, n) != 0)
		return false;
	digits = strspn(vsn + n, "0123456789");
	return digits > 0 && vsn[n + digits] == '\0' &&
	    (digits == 1 || vsn[n] != '0');
}

/* The serializer that the client asks for; 0: none that is served. */
enum frame_version
upgrade_version(const char *query)
{
	enum frame_version version = 0;
	char *vsn;

	errno = 0;
	vsn = query_get(query, "vsn");
	if (vsn == NULL && errno == ENOENT)
		return FRAME_V1; /* absent means 1.0.0 */
	if (vsn != NULL && vsn_is(vsn, "1.0."))
		version = FRAME_V1;
	else if (vsn != NULL && vsn_is(vsn, "2.0."))
		version = FRAME_V2;
	free(vsn);
	return version;
}

/* ---- answers ---- */

static void
respond(struct transport *t, int status, const char *text)
{
	struct json_buffer buffer = { 0 };
	const char *type = text[0] == '\0' ? NULL : "text/plain; charset=utf-8";

	http_append_response(&buffer, status, t->keep_alive, false, type, NULL,
	    text, strlen(text));
	outbox_add(&t->outbox, buffer.data, buffer.size);
	json_buffer_free(&buffer);
	transport_pause(t, PAUSE_RESPONSE);
}

/* The client is let in. */
static void
complete(struct transport *t)
{
	if (upgrade.wrong != NULL) {
		respond(t, 400, upgrade.wrong);
	} else {
		frame_speak(upgrade.version);
		outbox_add(
		    &t->outbox, upgrade.accept.data, upgrade.accept.size);
		transport_upgrade(t, upgrade.socket);
	}
	json_buffer_free(&upgrade.accept);
}

/* From the event loop, so HTTP's parser does not run. */
static void
on_connected(struct transport *t, int status)
{
	if (status != 0) {
		json_buffer_free(&upgrade.accept);
		respond(t, status, "");
		return;
	}
	complete(t);
	if (t->mode != MODE_WEBSOCKET)
		return;
	http_free(t->http);
	t->http = NULL;
}

/* ---- the request ---- */

void
upgrade_begin(struct transport *t, const char *transport)
{
	struct connected *connected = &t->connected;

	free(connected->params.data);
	free(connected->id.data);
	free(connected->assigns.data);
	*connected = (struct connected){
		.transport = transport,
		.assigns = { xstrdup("{}"), 2 },
	};
}

/* What can be said without the application; 0: nothing is against it. */
static int
check(struct transport *t, const struct http_request *req,
    const struct config_socket *socket, bool *phoenix, struct text *token)
{
	struct text *params = &t->connected.params;

	if (strcmp(req->method, "GET") != 0)
		return 400;
	params->data = query_to_json(req->query, &params->size);
	if (params->data == NULL)
		return 400;
	if (!handshake_origin_allowed(
		req, socket->check_origin, socket->norigins))
		return 403;
	if (socket->auth_token && !handshake_subprotocols(req, phoenix, token))
		return 403;
	upgrade.version = upgrade_version(req->query);
	return upgrade.version == 0 ? 403 : 0;
}

/* The order of the checks is Phoenix's (PROTOCOL.md 1.1). */
void
upgrade_request(struct transport *t, const struct http_request *req,
    const struct config_socket *socket)
{
	struct text token = { 0 };
	struct connect_question question = {
		.socket = socket,
		.request = req,
		.token = &token,
	};
	bool phoenix = false;
	int status;

	upgrade_begin(t, "websocket");
	status = check(t, req, socket, &phoenix, &token);
	if (status != 0) {
		respond(t, status, "");
		goto out;
	}
	upgrade.socket = socket;
	upgrade.wrong = handshake_check(req);
	if (upgrade.wrong == NULL)
		handshake_append_accept(
		    &upgrade.accept, req, phoenix ? "phoenix" : NULL);
	question.subscribe = upgrade.wrong == NULL;
	if (socket->callbacks == NULL)
		complete(t);
	else
		connect_ask(t, &question, on_connected);
out:
	free(token.data);
}
