/*
 * module.c - see module.h. "demo.so:room" is the file and the symbol that
 * BENNU_CHANNEL defined in it. Modules stay loaded for the life of the server.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <bennu/channel.h>
#include <bennu/service.h>
#include <bennu/socket.h>

#include "channel/module.h"
#include "channel/route.h"
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

/*
 * A module of the block at file:line: the address of its symbol, or NULL and
 * *error. kind and macro are for who reads that.
 */
static const void *
load_symbol(const struct config *config, const char *module, const char *where,
    int line, const char *kind, const char *macro, char **error)
{
	char *file = xstrdup(module), *symbol = strrchr(file, ':'), *path;
	const void *found = NULL;
	void *handle;

	if (symbol == NULL) {
		*error = xasprintf("%s:%d: module '%s': expected "
				   "\"file.so:symbol\"",
		    where, line, module);
		free(file);
		return NULL;
	}
	*symbol++ = '\0';
	path = module_path(config, file);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		*error = xasprintf(
		    "%s:%d: module %s: %s", where, line, module, dlerror());
	else if ((found = dlsym(handle, symbol)) == NULL)
		*error = xasprintf("%s:%d: module %s has no %s '%s'; "
				   "define it with %s(%s)",
		    where, line, path, kind, symbol, macro, symbol);
	free(path);
	free(file);
	return found;
}

static char *
load_channel(const struct config *config, struct config_channel *channel)
{
	char *error = NULL;

	channel->callbacks = load_symbol(config, channel->module, channel->file,
	    channel->line, "channel", "BENNU_CHANNEL", &error);
	return error != NULL ? error : check_channel(channel);
}

/* ---- sockets ---- */

static char *
check_socket(const struct config_socket *socket)
{
	const struct bennu_user_socket *callbacks = socket->callbacks;

	if (callbacks->abi != BENNU_ABI)
		return xasprintf("%s:%d: module %s was built for ABI %u, this "
				 "is %u; build it again",
		    socket->file, socket->line, socket->module, callbacks->abi,
		    BENNU_ABI);
	if (callbacks->connect == NULL)
		return xasprintf("%s:%d: module %s has no connect",
		    socket->file, socket->line, socket->module);
	return NULL;
}

static char *
load_socket(const struct config *config, struct config_socket *socket)
{
	char *error = NULL;

	if (socket->module == NULL)
		return NULL;
	socket->callbacks = load_symbol(config, socket->module, socket->file,
	    socket->line, "socket", "BENNU_SOCKET", &error);
	return error != NULL ? error : check_socket(socket);
}

/* ---- the endpoint ---- */

static char *
check_endpoint(const struct config_endpoint *endpoint)
{
	const struct bennu_endpoint *callbacks = endpoint->callbacks;
	const char *why;

	if (callbacks->abi != BENNU_ABI)
		return xasprintf("%s:%d: module %s was built for ABI %u, this "
				 "is %u; build it again",
		    endpoint->file, endpoint->line, endpoint->module,
		    callbacks->abi, BENNU_ABI);
	if (callbacks->routes == NULL)
		return xasprintf("%s:%d: module %s has no routes",
		    endpoint->file, endpoint->line, endpoint->module);
	for (const struct bennu_route *route = callbacks->routes;
	     route->method != NULL; route++) {
		why = route_error(route);
		if (why != NULL)
			return xasprintf("%s:%d: module %s: route %s %s: %s",
			    endpoint->file, endpoint->line, endpoint->module,
			    route->method,
			    route->path == NULL ? "" : route->path, why);
	}
	return NULL;
}

static char *
load_endpoint(const struct config *config, struct config_endpoint *endpoint)
{
	char *error = NULL;

	if (endpoint->module == NULL)
		return NULL;
	endpoint->callbacks = load_symbol(config, endpoint->module,
	    endpoint->file, endpoint->line, "endpoint", "BENNU_ENDPOINT",
	    &error);
	return error != NULL ? error : check_endpoint(endpoint);
}

/* ---- services ---- */

static char *
check_service(const struct config_service *service)
{
	const struct bennu_service *callbacks = service->callbacks;

	if (callbacks->abi != BENNU_ABI)
		return xasprintf("%s:%d: module %s was built for ABI %u, this "
				 "is %u; build it again",
		    service->file, service->line, service->module,
		    callbacks->abi, BENNU_ABI);
	if (callbacks->start == NULL && callbacks->handle_info == NULL)
		return xasprintf("%s:%d: module %s has neither start nor "
				 "handle_info",
		    service->file, service->line, service->module);
	return NULL;
}

static char *
load_service(const struct config *config, struct config_service *service)
{
	char *error = NULL;

	service->callbacks = load_symbol(config, service->module, service->file,
	    service->line, "service", "BENNU_SERVICE", &error);
	return error != NULL ? error : check_service(service);
}

char *
modules_load(struct config *config)
{
	char *error;

	for (size_t i = 0; i < config->nsockets; i++) {
		error = load_socket(config, &config->sockets[i]);
		if (error != NULL)
			return error;
		for (size_t k = 0; k < config->sockets[i].nchannels; k++) {
			error = load_channel(
			    config, &config->sockets[i].channels[k]);
			if (error != NULL)
				return error;
		}
	}
	for (size_t i = 0; i < config->nservices; i++) {
		error = load_service(config, &config->services[i]);
		if (error != NULL)
			return error;
	}
	return load_endpoint(config, &config->endpoint);
}
