/*
 * not_yet.c - calls that are declared, so that the interface can be frozen, and
 * that nobody can serve yet: presence and tokens. All fail with ENOTSUP.
 */
#include <errno.h>

#include <bennu/channel.h>
#include <bennu/endpoint.h>
#include <bennu/service.h>
#include <bennu/socket.h>

static int
no_number(void)
{
	errno = ENOTSUP;
	return -1;
}

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
bennu_presence_track(struct bennu_socket *socket, const char *topic,
    const char *key, struct bennu_payload meta)
{
	(void)socket;
	(void)topic;
	(void)key;
	(void)meta;
	return no_text();
}

const char *
bennu_presence_update(struct bennu_socket *socket, const char *topic,
    const char *key, struct bennu_payload meta)
{
	(void)socket;
	(void)topic;
	(void)key;
	(void)meta;
	return no_text();
}

int
bennu_presence_untrack(
    struct bennu_socket *socket, const char *topic, const char *key)
{
	(void)socket;
	(void)topic;
	(void)key;
	return no_number();
}

struct bennu_payload
bennu_presence_list(struct bennu_socket *socket, const char *topic)
{
	(void)socket;
	(void)topic;
	return no_payload();
}

struct bennu_payload
bennu_presence_get_by_key(
    struct bennu_socket *socket, const char *topic, const char *key)
{
	(void)socket;
	(void)topic;
	(void)key;
	return no_payload();
}

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

struct bennu_payload
bennu_conn_presence_list(struct bennu_conn *conn, const char *topic)
{
	(void)conn;
	(void)topic;
	return no_payload();
}

struct bennu_payload
bennu_conn_presence_get_by_key(
    struct bennu_conn *conn, const char *topic, const char *key)
{
	(void)conn;
	(void)topic;
	(void)key;
	return no_payload();
}

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

/* ---- bennu/service.h ---- */

struct bennu_payload
bennu_service_presence_list(
    struct bennu_service_process *service, const char *topic)
{
	(void)service;
	(void)topic;
	return no_payload();
}

struct bennu_payload
bennu_service_presence_get_by_key(
    struct bennu_service_process *service, const char *topic, const char *key)
{
	(void)service;
	(void)topic;
	(void)key;
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
