/*
 * address.h - where the server listens and who calls, as text and as a
 * sockaddr: "127.0.0.1:4000", "[::1]:4000", "unix:/run/bennu/http.sock". Only
 * numbers: a name server has no say in where a server listens.
 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <sys/socket.h>
#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_TEXT_MAX 128 /* bytes of any text, its NUL included */

struct address {
	struct sockaddr_storage storage;
	socklen_t size;
};

/* NULL, or what is wrong with the text and what to write instead. */
const char *address_parse(const char *text, struct address *);

/* A port in digits, 0 to 65535 (0: the kernel picks one); -1: it is none. */
int address_parse_port(const char *text);

/*
 * The text of an address; what it gives for an address that was parsed parses
 * to the same. IPv4 in IPv6 is written as IPv4, a unix socket without a name as
 * "unix".
 */
void address_format(
    const struct sockaddr *, socklen_t, char text[ADDRESS_TEXT_MAX]);

bool address_is_tcp(const struct address *);
/* Only of a TCP address. */
void address_set_port(struct address *, int port);

#endif /* ADDRESS_H */
