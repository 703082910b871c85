/*
 * inspect.c - see inspect.h.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include <cjson/cJSON.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/json.h"
#include "common/xmalloc.h"
#include "supervisor/inspect.h"

#define LIMIT      10 /* s without a byte of an answer */
#define ANSWER_MAX (256U << 20)
#define ID_MAX     64

struct server {
	const char *directory;
	int failed; /* the status of an exit */
	struct address address;
	char *token;
};

struct answer {
	int status;
	char *body;
	struct json_buffer all;
};

/* ---- which server ---- */

/* A short file of its run directory: its only line. */
static char *
read_line(const struct server *server, const char *name)
{
	char *path = xasprintf("%s/%s", server->directory, name);
	char line[ADDRESS_TEXT_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd == -1 && (errno == ENOENT || errno == ENOTDIR))
		errx(server->failed,
		    "no server runs in %s, or it has no endpoint.tree; see "
		    "bennu.conf(5)",
		    server->directory);
	n = fd == -1 ? -1 : read(fd, line, sizeof line - 1);
	if (n == -1)
		err(server->failed, "%s", path);
	close(fd);
	free(path);
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return xstrdup(line);
}

/* Who listens on all addresses is reached by this machine's own. */
static void
localize(struct address *address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&address->storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->storage;

	if (address->storage.ss_family == AF_INET &&
	    in->sin_addr.s_addr == htonl(INADDR_ANY))
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (address->storage.ss_family == AF_INET6 &&
	    IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
		in6->sin6_addr = in6addr_loopback;
}

static void
find_server(struct server *server)
{
	char *text = read_line(server, "address");
	const char *wrong = address_parse(text, &server->address);

	if (wrong != NULL)
		errx(
		    server->failed, "%s/address: %s", server->directory, wrong);
	free(text);
	localize(&server->address);
	server->token = read_line(server, "token");
}

/* ---- HTTP ---- */

static int
connect_to(const struct server *server)
{
	static const struct timeval limit = { .tv_sec = LIMIT };
	const struct address *address = &server->address;
	int fd = socket(
	    address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1)
		err(server->failed, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	if (connect(fd, (const struct sockaddr *)&address->storage,
		address->size) == -1) {
		if (errno == ECONNREFUSED || errno == ENOENT)
			errx(server->failed, "no server runs in %s",
			    server->directory);
		err(server->failed, "connect");
	}
	return fd;
}

static void
send_all(const struct server *server, int fd, const struct json_buffer *request)
{
	size_t sent = 0;

	while (sent < request->size) {
		ssize_t n = send(fd, request->data + sent, request->size - sent,
		    MSG_NOSIGNAL);

		if (n == -1)
			err(server->failed, "the server takes no request");
		sent += (size_t)n;
	}
}

static void
read_all(const struct server *server, int fd, struct json_buffer *all)
{
	char part[16384];
	ssize_t n;

	while ((n = recv(fd, part, sizeof part, 0)) > 0) {
		json_append(all, part, (size_t)n);
		if (all->size > ANSWER_MAX)
			errx(server->failed, "the answer is too long");
	}
	if (n == -1)
		err(server->failed, "the server does not answer");
}

/* A server that dies in the middle has said only half of it. */
static bool
is_whole(const struct answer *answer)
{
	static const char name[] = "\r\nContent-Length: ";
	const char *length = strstr(answer->all.data, name);
	const char *end = answer->all.data + answer->all.size;

	return length != NULL && length < answer->body &&
	    strtoull(length + strlen(name), NULL, 10) ==
	    (size_t)(end - answer->body);
}

/* One request, and its connection. */
static void
ask(const struct server *server, const char *method, const char *path,
    const char *body, struct answer *answer)
{
	struct json_buffer request = { 0 };
	int fd = connect_to(server);
	char *head = xasprintf("%s %s HTTP/1.1\r\n"
			       "Host: localhost\r\n"
			       "Connection: close\r\n"
			       "X-Bennu-Token: %s\r\n"
			       "Content-Type: application/json\r\n"
			       "Content-Length: %zu\r\n\r\n",
	    method, path, server->token, strlen(body));

	memset(answer, 0, sizeof *answer);
	json_append_text(&request, head);
	json_append_text(&request, body);
	free(head);
	send_all(server, fd, &request);
	json_buffer_free(&request);
	read_all(server, fd, &answer->all);
	close(fd);
	if (answer->all.size > 0)
		answer->body = strstr(answer->all.data, "\r\n\r\n");
	if (answer->body == NULL ||
	    sscanf(answer->all.data, "HTTP/1.1 %3d ", &answer->status) != 1)
		errx(server->failed, "the server does not speak HTTP");
	answer->body += strlen("\r\n\r\n");
	if (!is_whole(answer))
		errx(server->failed, "the server did not answer to the end");
}

static _Noreturn void
refused(const struct server *server, const struct answer *answer)
{
	cJSON *body = cJSON_Parse(answer->body);
	const char *why = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(body, "error"));

	errx(server->failed, "the server refuses: status %d%s%s",
	    answer->status, why == NULL ? "" : ": ", why == NULL ? "" : why);
}

/* ---- one channel ---- */

/* named: the user meant it, and no other. */
static bool
inspect(const struct server *server, const char *id, bool named)
{
	struct answer answer;
	char *body = xasprintf("{\"id\":\"%s\"}", id);
	bool fine;

	ask(server, "POST", "/bennu/inspect", body, &answer);
	free(body);
	fine = answer.status == 200 || (answer.status == 404 && !named);
	if (answer.status == 404) {
		if (named)
			warnx("%s: there is no such channel", id);
	} else if (answer.body[0] == '\0' ||
	    (!fine && (answer.status < 502 || answer.status > 504))) {
		refused(server, &answer);
	} else {
		/* With what is known nevertheless, and why it is no more: it
		 * or its transport did not answer, and others may. */
		puts(answer.body);
		if (!fine)
			warnx("%s: it did not answer", id);
	}
	json_buffer_free(&answer.all);
	return fine;
}

/* "channel/17/3" or "#17.3", as the first of them. */
static bool
is_id(const char *name, char id[ID_MAX])
{
	unsigned long long connection;
	unsigned number;
	int end = -1;

	if (sscanf(name, "channel/%llu/%u%n", &connection, &number, &end) !=
		2 &&
	    sscanf(name, "#%llu.%u%n", &connection, &number, &end) != 2)
		return false;
	snprintf(id, ID_MAX, "channel/%llu/%u", connection, number);
	return end != -1 && name[end] == '\0';
}

/* ---- all of a topic ---- */

static bool
fits(const char *topic, const char *name)
{
	size_t size = strlen(name);

	if (size > 0 && name[size - 1] == '*')
		return strncmp(topic, name, size - 1) == 0;
	return strcmp(topic, name) == 0;
}

/* Those below a node of the tree; how many there were. */
static unsigned
inspect_below(const struct server *server, const cJSON *node, const char *name,
    bool *fine)
{
	const cJSON *child;
	unsigned n = 0;

	cJSON_ArrayForEach (
	    child, cJSON_GetObjectItemCaseSensitive(node, "children")) {
		const char *role = cJSON_GetStringValue(
		    cJSON_GetObjectItemCaseSensitive(child, "role"));
		const char *id = cJSON_GetStringValue(
		    cJSON_GetObjectItemCaseSensitive(child, "id"));
		const char *title = cJSON_GetStringValue(
		    cJSON_GetObjectItemCaseSensitive(child, "title"));
		char same[ID_MAX];

		if (role != NULL && strcmp(role, "channel") == 0 &&
		    id != NULL && is_id(id, same) && title != NULL &&
		    fits(title, name)) {
			n++;
			*fine = inspect(server, same, false) && *fine;
		}
		n += inspect_below(server, child, name, fine);
	}
	return n;
}

static bool
inspect_topic(const struct server *server, const char *name, bool named)
{
	struct answer answer;
	bool fine = true;
	unsigned n;
	double more;
	cJSON *tree;

	ask(server, "GET", "/bennu/tree", "", &answer);
	if (answer.status != 200)
		refused(server, &answer);
	tree = cJSON_Parse(answer.body);
	json_buffer_free(&answer.all);
	if (tree == NULL)
		errx(server->failed, "the tree is no JSON");
	n = inspect_below(server,
	    cJSON_GetObjectItemCaseSensitive(tree, "supervisor"), name, &fine);
	more = cJSON_GetNumberValue(
	    cJSON_GetObjectItemCaseSensitive(tree, "more"));
	cJSON_Delete(tree);
	if (more > 0)
		warnx("%.0f processes were not looked at: the tree is too "
		      "large; name a channel",
		    more);
	else if (n == 0 && named)
		warnx("%s: there is no such channel", name);
	return fine && more == 0 && (n > 0 || !named);
}

bool
inspect_channels(const char *directory, int n, char *const *names, int failed)
{
	struct server server = { .directory = directory, .failed = failed };
	char id[ID_MAX];
	bool fine = true;

	find_server(&server);
	if (n == 0)
		fine = inspect_topic(&server, "*", false);
	for (int i = 0; i < n; i++)
		fine = (is_id(names[i], id)
			       ? inspect(&server, id, true)
			       : inspect_topic(&server, names[i], true)) &&
		    fine;
	explicit_bzero(server.token, strlen(server.token));
	free(server.token);
	return fine;
}
