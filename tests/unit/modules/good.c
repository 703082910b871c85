/*
 * good.c - a module with a channel and a service that are well, and others that
 * are not.
 */
#include <bennu/channel.h>
#include <bennu/service.h>

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

static bool
start(struct bennu_service_process *service)
{
	return true;
}

BENNU_SERVICE(service) = { .abi = BENNU_ABI, .name = "s", .start = start };
BENNU_SERVICE(service_wrong_abi) = { .abi = BENNU_ABI + 1, .start = start };
BENNU_SERVICE(service_empty) = { .abi = BENNU_ABI };
