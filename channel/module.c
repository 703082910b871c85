/*
 * module.c - see module.h. "demo.so:room" is the file and the symbol that
 * BENNU_CHANNEL defined in it. Modules stay loaded for the life of the server.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>

#include "channel/module.h"
#include "common/xmalloc.h"

/* Names without a / are looked up in module_directory. */
static char *
module_path(const struct config *config, const char *file)
{
	if (strchr(file, '/') != NULL || config->module_directory == NULL)
		return xstrdup(file);
	return xasprintf("%s/%s", config->module_directory, file);
}

static char *
check_channel(const struct config_channel *channel)
{
	const struct bennu_channel *callbacks = channel->callbacks;

	if (callbacks->abi != BENNU_ABI)
		return xasprintf("%s:%d: module %s was built for ABI %u, this "
				 "is %u; build it again",
		    channel->file, channel->line, channel->module,
		    callbacks->abi, BENNU_ABI);
	if (callbacks->join == NULL)
		return xasprintf("%s:%d: module %s has no join", channel->file,
		    channel->line, channel->module);
	if (callbacks->intercept != NULL && callbacks->handle_out == NULL)
		return xasprintf("%s:%d: module %s intercepts, but has no "
				 "handle_out",
		    channel->file, channel->line, channel->module);
	return NULL;
}

static char *
load_channel(const struct config *config, struct config_channel *channel)
{
	char *file = xstrdup(channel->module), *symbol, *path, *error = NULL;
	void *handle;

	symbol = strrchr(file, ':');
	if (symbol == NULL) {
		error = xasprintf("%s:%d: module '%s': expected "
				  "\"file.so:symbol\"",
		    channel->file, channel->line, channel->module);
		free(file);
		return error;
	}
	*symbol++ = '\0';
	path = module_path(config, file);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		error = xasprintf("%s:%d: module %s: %s", channel->file,
		    channel->line, channel->module, dlerror());
		goto out;
	}
	channel->callbacks = dlsym(handle, symbol);
	if (channel->callbacks == NULL)
		error = xasprintf("%s:%d: module %s has no channel '%s'; "
				  "define it with BENNU_CHANNEL(%s)",
		    channel->file, channel->line, path, symbol, symbol);
	else
		error = check_channel(channel);
out:
	free(path);
	free(file);
	return error;
}

char *
modules_load(struct config *config)
{
	char *error;

	for (size_t i = 0; i < config->nsockets; i++)
		for (size_t k = 0; k < config->sockets[i].nchannels; k++) {
			error = load_channel(
			    config, &config->sockets[i].channels[k]);
			if (error != NULL)
				return error;
		}
	return NULL;
}
