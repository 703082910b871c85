/*
 * not_yet.c - calls that are declared, so that the interface can be frozen, and
 * that nobody can serve yet: tokens. All fail with ENOTSUP.
 */
#include <errno.h>

#include <bennu/channel.h>
#include <bennu/endpoint.h>
#include <bennu/socket.h>

static const char *
no_text(void)
{
	errno = ENOTSUP;
	return NULL;
}

static struct bennu_payload
no_payload(void)
{
	errno = ENOTSUP;
	return (struct bennu_payload){ .kind = BENNU_JSON };
}

/* ---- bennu/channel.h ---- */

const char *
bennu_sign(
    struct bennu_socket *socket, const char *salt, struct bennu_payload data)
{
	(void)socket;
	(void)salt;
	(void)data;
	return no_text();
}

struct bennu_payload
bennu_verify(struct bennu_socket *socket, const char *salt, const char *token,
    long max_age)
{
	(void)socket;
	(void)salt;
	(void)token;
	(void)max_age;
	return no_payload();
}

/* ---- bennu/endpoint.h ---- */

const char *
bennu_conn_sign(
    struct bennu_conn *conn, const char *salt, struct bennu_payload data)
{
	(void)conn;
	(void)salt;
	(void)data;
	return no_text();
}

struct bennu_payload
bennu_conn_verify(
    struct bennu_conn *conn, const char *salt, const char *token, long max_age)
{
	(void)conn;
	(void)salt;
	(void)token;
	(void)max_age;
	return no_payload();
}

/* ---- bennu/socket.h ---- */

const char *
bennu_connect_sign(
    struct bennu_connect *c, const char *salt, struct bennu_payload data)
{
	(void)c;
	(void)salt;
	(void)data;
	return no_text();
}

struct bennu_payload
bennu_connect_verify(
    struct bennu_connect *c, const char *salt, const char *token, long max_age)
{
	(void)c;
	(void)salt;
	(void)token;
	(void)max_age;
	return no_payload();
}
