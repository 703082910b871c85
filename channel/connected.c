/*
 * connected.c - what connect made of a client, for its channels: the calls of
 * bennu/channel.h that read it.
 */
#include "channel/socket.h"

static struct bennu_payload
lend(const struct text *text)
{
	return (struct bennu_payload){
		.kind = BENNU_JSON,
		.data = text->data,
		.size = text->size,
	};
}

const char *
bennu_transport(const struct bennu_socket *socket)
{
	return socket->start->connected->transport;
}

struct bennu_payload
bennu_params(const struct bennu_socket *socket)
{
	return lend(&socket->start->connected->params);
}

const char *
bennu_socket_id(const struct bennu_socket *socket)
{
	return socket->start->connected->id.data;
}

struct bennu_payload
bennu_connect_assigns(const struct bennu_socket *socket)
{
	return lend(&socket->start->connected->assigns);
}

void
bennu_disconnect(struct bennu_socket *socket, const char *id)
{
	bennu_broadcast_to(socket, id, "disconnect", bennu_empty());
}
