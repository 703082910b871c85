/*
 * unbound.c - a module that calls what nobody has.
 */
#include <bennu/channel.h>

enum bennu_result nobody_has_this(struct bennu_socket *);

static enum bennu_result
join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	return nobody_has_this(socket);
}

BENNU_CHANNEL(good) = { .abi = BENNU_ABI, .name = "good", .join = join };
