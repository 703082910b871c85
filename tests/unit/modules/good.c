/*
 * good.c - a module with one channel that is well, and others that are not.
 */
#include <bennu/channel.h>

static enum bennu_result
join(struct bennu_socket *socket, const struct bennu_message *msg)
{
	return BENNU_OK;
}

static const char *const events[] = { "event", NULL };

BENNU_CHANNEL(good) = { .abi = BENNU_ABI, .name = "good", .join = join };
BENNU_CHANNEL(other) = { .abi = BENNU_ABI, .name = "other", .join = join };
BENNU_CHANNEL(wrong_abi) = {
	.abi = BENNU_ABI + 1,
	.name = "wrong_abi",
	.join = join,
};
BENNU_CHANNEL(no_join) = { .abi = BENNU_ABI, .name = "no_join" };
BENNU_CHANNEL(no_handle_out) = {
	.abi = BENNU_ABI,
	.name = "no_handle_out",
	.intercept = events,
	.join = join,
};
