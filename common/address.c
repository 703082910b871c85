/*
 * address.c - addresses as text and back.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <arpa/inet.h>
#include <netinet/in.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/address.h"

#define UNIX_PREFIX "unix:"

static const char *const advice =
    "an address is \"127.0.0.1:4000\", \"[::1]:4000\" or \"unix:/path\"";

int
address_parse_port(const char *text)
{
	int port = 0;

	if (*text == '\0' || strlen(text) > 5)
		return -1;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		port = port * 10 + (*text - '0');
	}
	return port <= 65535 ? port : -1;
}

static const char *
parse_unix(const char *path, struct address *address)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&address->storage;

	if (*path == '\0')
		return "a path must follow \"unix:\"";
	if (strlen(path) >= sizeof un->sun_path)
		return "the path of a unix socket has at most 107 bytes";
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	address->size = sizeof *un;
	return NULL;
}

static const char *
parse_ipv4(const char *host, int port, struct address *address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&address->storage;

	if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
		return "the host must be a number such as 127.0.0.1, or 0.0.0.0 for all";
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	address->size = sizeof *in;
	return NULL;
}

static const char *
parse_ipv6(const char *host, int port, struct address *address)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->storage;

	if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
		return "between [ and ] must be an IPv6 address such as ::1, or :: for all";
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons((uint16_t)port);
	address->size = sizeof *in6;
	return NULL;
}

const char *
address_parse(const char *text, struct address *address)
{
	char host[ADDRESS_TEXT_MAX];
	const char *colon;
	size_t size;
	int port;

	memset(address, 0, sizeof *address);
	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return parse_unix(text + strlen(UNIX_PREFIX), address);
	colon = strrchr(text, ':');
	if (colon == NULL || colon == text)
		return advice;
	port = address_parse_port(colon + 1);
	if (port == -1)
		return "behind the last : must be a port, 0 to 65535";
	size = (size_t)(colon - text);
	if (size >= sizeof host)
		return advice;
	memcpy(host, text, size);
	host[size] = '\0';
	if (host[0] == '[' && host[size - 1] == ']') {
		host[size - 1] = '\0';
		return parse_ipv6(host + 1, port, address);
	}
	if (strchr(host, ':') != NULL)
		return "an IPv6 address stands in brackets: \"[::1]:4000\"";
	return parse_ipv4(host, port, address);
}

static void
format_ipv6(const struct sockaddr_in6 *in6, char text[ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN];
	int port = ntohs(in6->sin6_port);

	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		inet_ntop(
		    AF_INET, &in6->sin6_addr.s6_addr[12], host, sizeof host);
		snprintf(text, ADDRESS_TEXT_MAX, "%s:%d", host, port);
		return;
	}
	inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
	snprintf(text, ADDRESS_TEXT_MAX, "[%s]:%d", host, port);
}

static void
format_unix(
    const struct sockaddr_un *un, socklen_t size, char text[ADDRESS_TEXT_MAX])
{
	size_t max = 0;

	if (size > offsetof(struct sockaddr_un, sun_path))
		max = size - offsetof(struct sockaddr_un, sun_path);
	if (max > sizeof un->sun_path)
		max = sizeof un->sun_path;
	/* An abstract name begins with a NUL and is not ours to show. */
	if (max == 0 || un->sun_path[0] == '\0')
		snprintf(text, ADDRESS_TEXT_MAX, "unix");
	else
		snprintf(text, ADDRESS_TEXT_MAX, "unix:%.*s",
		    (int)strnlen(un->sun_path, max), un->sun_path);
}

void
address_format(
    const struct sockaddr *sa, socklen_t size, char text[ADDRESS_TEXT_MAX])
{
	char host[INET_ADDRSTRLEN];

	if (sa->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
		snprintf(
		    text, ADDRESS_TEXT_MAX, "%s:%d", host, ntohs(in->sin_port));
	} else if (sa->sa_family == AF_INET6 &&
	    size >= sizeof(struct sockaddr_in6)) {
		format_ipv6((const struct sockaddr_in6 *)sa, text);
	} else if (sa->sa_family == AF_UNIX) {
		format_unix((const struct sockaddr_un *)sa, size, text);
	} else {
		snprintf(text, ADDRESS_TEXT_MAX, "unknown");
	}
}

bool
address_is_tcp(const struct address *address)
{
	return address->storage.ss_family == AF_INET ||
	    address->storage.ss_family == AF_INET6;
}

void
address_set_port(struct address *address, int port)
{
	assert(address_is_tcp(address));
	if (address->storage.ss_family == AF_INET)
		((struct sockaddr_in *)&address->storage)->sin_port = htons(
		    (uint16_t)port);
	else
		((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(
		    (uint16_t)port);
}
