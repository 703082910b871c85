/*
 * config.c - bennu.conf, the environment and the command line into struct
 * config. What each key may be is in config_keys.c; config_parse.c reads the
 * file.
 */
#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/config.h"
#include "common/config_keys.h"
#include "common/config_parse.h"
#include "common/config_value.h"
#include "common/log.h"
#include "common/xmalloc.h"

#define SECOND 1000LL
#define MB     (1000LL * 1000)

#define ENV_PREFIX   "BENNU_SERVER_"
#define DEFAULT_PORT 4000

#define SERVICES_MAX     256
#define SERVICE_NAME_MAX 32

/* The default; then what the longest shutdown of a channel needs. */
#define SHUTDOWN_UNSET (-1)
#define SHUTDOWN_MIN   (10 * SECOND)
#define SHUTDOWN_SPARE (5 * SECOND)

/* The default; then what the server's shutdown leaves for the intervals. */
#define DRAIN_UNSET (-1)
#define DRAIN_MIN   (30 * SECOND)
#define DRAIN_SPARE (20 * SECOND)

static void
set_defaults(struct config *config)
{
	config->listen = xcalloc(2, sizeof(char *));
	config->listen[0] = xasprintf("127.0.0.1:%d", DEFAULT_PORT);
	config->listen[1] = xasprintf("[::1]:%d", DEFAULT_PORT);
	config->nlisten = 2;
	config->module_directory = xstrdup(MODULE_DIRECTORY);
	config->url_host = xstrdup("localhost");
	config->connect_workers = 1;
	config->max_connections = 10 * 1000;
	config->max_connections_per_address = 1000;
	config->backlog_max = MB;
	config->journal_size = 64 * MB;
	config->backlog_policy = BACKLOG_CLOSE;
	config->queue_max_bytes = MB;
	config->queues_max_bytes = 16 * 1000 * 1000;
	config->queue_max_messages = 1000;
	config->hung_timeout = 20 * SECOND;
	config->send_timeout = 15 * SECOND;
	config->head_timeout = 10 * SECOND;
	config->head_max = 16 * 1000;
	config->headers_max = 100;
	config->affinity = true;
	config->huge_text = true;
	config->body_max = 8 * MB;
	config->endpoint.handler_timeout = 15 * SECOND;
	config->crash_limit = 3;
	config->crash_period = 60 * SECOND;
	config->shutdown = SHUTDOWN_UNSET;
	config->drain_batch = 1000;
	config->drain_interval = SECOND;
	config->drain_limit = DRAIN_UNSET;
	config->ready = true;
	config->log_level = LOG_LEVEL_INFO;
}

static void
set_socket_defaults(struct config_socket *socket)
{
	socket->websocket = true;
	socket->longpoll_window = 10 * SECOND;
	socket->pubsub_timeout = 2 * SECOND;
	socket->idle_timeout = 60 * SECOND;
	socket->join_timeout = 5 * SECOND;
	socket->connect_timeout = 5 * SECOND;
	socket->max_frame = 10 * MB;
	socket->max_message = 8 * MB;
	socket->max_channels = 100;
	socket->max_fragments = 100000;
	socket->message_timeout = 60000;
	socket->control_rate = 100;
}

static void
set_channel_defaults(struct config_channel *channel)
{
	channel->restart = RESTART_TRANSIENT;
	channel->intensity = 3;
	channel->period = 5;
	channel->shutdown = SHUTDOWN_DEFAULT;
	channel->limit_nofile = 64;
}

static void
set_service_defaults(struct config_service *service)
{
	service->shutdown = SHUTDOWN_DEFAULT;
}

/* "bennu.conf:12", where a section begins. */
static char *
place_of_section(const struct config_loader *loader, const cfg_t *cfg)
{
	int line = config_parse_line(cfg);

	if (line == 0)
		return xstrdup(loader->path);
	return xasprintf("%s:%d", loader->path, line);
}

static int
set_key(struct config_setting *s, const cfg_t *cfg, const cfg_opt_t *opt)
{
	struct config_loader *loader = s->loader;
	int rc;

	if (opt->nvalues > CONFIG_LIST_MAX) {
		config_fail(loader, loader->path, "%s has more than %d values",
		    opt->name, CONFIG_LIST_MAX);
		return -1;
	}
	s->where[0] = NULL;
	for (s->n = 0; s->n < opt->nvalues; s->n++) {
		const struct config_parsed *value = config_parse_value(
		    opt, s->n);

		s->values[s->n] = xstrdup(value->text);
		s->where[s->n] = xasprintf("%s:%d", loader->path, value->line);
	}
	if (s->n == 0)
		s->where[0] = place_of_section(loader, cfg);
	rc = s->key->set(s);
	for (size_t i = 0; i < s->n; i++) {
		free(s->values[i]);
		free(s->where[i]);
	}
	if (s->n == 0)
		free(s->where[0]);
	return rc;
}

static int
load_keys(struct config_loader *loader, const cfg_t *cfg,
    const struct config_section *section, void *object)
{
	struct config_setting s = { .loader = loader,
		.object = object,
		.directory = loader->directory };

	for (size_t i = 0; i < section->nkeys; i++) {
		const cfg_opt_t *opt = config_parse_option(
		    cfg, section->keys[i].name);

		/* An empty list was given when it was changed. */
		if (opt->nvalues == 0 &&
		    (!section->keys[i].list ||
			(opt->flags & CFGF_MODIFIED) == 0))
			continue;
		s.key = &section->keys[i];
		if (set_key(&s, cfg, opt) == -1)
			return -1;
	}
	return 0;
}

static struct config_option *
load_options(const cfg_t *cfg, size_t *noptions)
{
	const cfg_opt_t *opt = cfg->opts;
	struct config_option *options;
	size_t n = 0;

	while (opt[n].name != NULL)
		n++;
	options = xcalloc(n + 1, sizeof *options);
	for (size_t i = 0; i < n; i++) {
		assert(opt[i].nvalues == 1);
		options[i].key = xstrdup(opt[i].name);
		options[i].value = xstrdup(opt[i].values[0]->string);
	}
	*noptions = n;
	return options;
}

static int
load_pattern(struct config_loader *loader, struct config_channel *channel,
    const char *where, const char *pattern)
{
	const char *star = strchr(pattern, '*');

	channel->pattern = xstrdup(pattern);
	if (pattern[0] == '\0') {
		config_fail(loader, where,
		    "a channel needs a pattern, as in channel \"room:*\"");
		return -1;
	}
	if (star != NULL && star[1] != '\0') {
		config_fail(loader, where,
		    "pattern '%s': * may only stand at the end", pattern);
		return -1;
	}
	channel->is_prefix = star != NULL;
	channel->prefix = strlen(pattern) - (star != NULL ? 1 : 0);
	return 0;
}

static int
load_channel(
    struct config_loader *loader, struct config_channel *channel, cfg_t *cfg)
{
	char *where = place_of_section(loader, cfg);
	int rc = -1;

	set_channel_defaults(channel);
	channel->line = config_parse_line(cfg);
	channel->file = xstrdup(loader->path);
	if (load_pattern(loader, channel, where, cfg_title(cfg)) == -1 ||
	    load_keys(loader, cfg, &config_section_channel, channel) == -1)
		goto out;
	if (channel->module == NULL) {
		config_fail(loader, where,
		    "channel '%s' has no module; write module = \"file.so:name\"",
		    channel->pattern);
		goto out;
	}
	channel->options = load_options(
	    cfg_getsec(cfg, "options"), &channel->noptions);
	rc = 0;
out:
	free(where);
	return rc;
}

static int
load_mount(struct config_loader *loader, struct config_socket *socket,
    const char *where, const char *title)
{
	const char *why;
	size_t size = strlen(title);

	while (size > 1 && title[size - 1] == '/')
		size--;
	socket->path = xmemdup(title, size);
	why = config_value_mount(socket->path);
	if (why != NULL) {
		config_fail(loader, where, "socket '%s': %s", title, why);
		return -1;
	}
	for (const struct config_socket *other = loader->config->sockets;
	     other < socket; other++) {
		if (strcmp(other->path, socket->path) == 0) {
			config_fail(loader, where, "socket '%s' is given twice",
			    socket->path);
			return -1;
		}
	}
	return 0;
}

static int
load_socket(
    struct config_loader *loader, struct config_socket *socket, cfg_t *cfg)
{
	char *where = place_of_section(loader, cfg);
	size_t n = cfg_size(cfg, "channel");
	int rc;

	set_socket_defaults(socket);
	socket->line = config_parse_line(cfg);
	socket->file = xstrdup(loader->path);
	rc = load_mount(loader, socket, where, cfg_title(cfg));
	free(where);
	if (rc == -1 ||
	    load_keys(loader, cfg, &config_section_socket, socket) == -1)
		return -1;
	socket->channels = xcalloc(n + 1, sizeof *socket->channels);
	for (size_t i = 0; i < n; i++) {
		socket->nchannels = i + 1;
		if (load_channel(loader, &socket->channels[i],
			cfg_getnsec(cfg, "channel", (unsigned)i)) == -1)
			return -1;
	}
	return 0;
}

static int
load_endpoint(struct config_loader *loader, cfg_t *cfg)
{
	struct config_endpoint *endpoint = &loader->config->endpoint;

	if (load_keys(loader, cfg, &config_section_endpoint, loader->config) ==
	    -1)
		return -1;
	endpoint->options = load_options(
	    cfg_getsec(cfg, "options"), &endpoint->noptions);
	return 0;
}

/* It stands in titles and in ids of the tree. */
static int
load_service_name(struct config_loader *loader, struct config_service *service,
    const char *where, const char *name)
{
	size_t n = strspn(name,
	    "abcdefghijklmnopqrstuvwxyz"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "0123456789_-");

	service->name = xstrdup(name);
	if (n > 0 && n <= SERVICE_NAME_MAX && name[n] == '\0')
		return 0;
	config_fail(loader, where,
	    "service '%s': its name must be 1 to %d letters, digits, _ or -",
	    name, SERVICE_NAME_MAX);
	return -1;
}

static int
load_service(
    struct config_loader *loader, struct config_service *service, cfg_t *cfg)
{
	char *where = place_of_section(loader, cfg);
	int rc = -1;

	set_service_defaults(service);
	service->line = config_parse_line(cfg);
	service->file = xstrdup(loader->path);
	if (load_service_name(loader, service, where, cfg_title(cfg)) == -1 ||
	    load_keys(loader, cfg, &config_section_service, service) == -1)
		goto out;
	if (service->module == NULL) {
		config_fail(loader, where,
		    "service '%s' has no module; write module = \"file.so:name\"",
		    service->name);
		goto out;
	}
	service->options = load_options(
	    cfg_getsec(cfg, "options"), &service->noptions);
	rc = 0;
out:
	free(where);
	return rc;
}

static int
load_services(struct config_loader *loader, cfg_t *cfg)
{
	struct config *config = loader->config;
	size_t n = cfg_size(cfg, "service");

	if (n > SERVICES_MAX) {
		config_fail(loader, loader->path, "more than %d services",
		    SERVICES_MAX);
		return -1;
	}
	config->services = xcalloc(n + 1, sizeof *config->services);
	for (size_t i = 0; i < n; i++) {
		config->nservices = i + 1;
		if (load_service(loader, &config->services[i],
			cfg_getnsec(cfg, "service", (unsigned)i)) == -1)
			return -1;
	}
	return 0;
}

static int
load_sections(struct config_loader *loader, cfg_t *cfg)
{
	struct config *config = loader->config;
	size_t n = cfg_size(cfg, "socket");

	if (load_keys(loader, cfg_getsec(cfg, "server"), &config_section_server,
		config) == -1 ||
	    load_endpoint(loader, cfg_getsec(cfg, "endpoint")) == -1 ||
	    load_keys(loader, cfg_getsec(cfg, "log"), &config_section_log,
		config) == -1)
		return -1;
	config->sockets = xcalloc(n + 1, sizeof *config->sockets);
	for (size_t i = 0; i < n; i++) {
		config->nsockets = i + 1;
		if (load_socket(loader, &config->sockets[i],
			cfg_getnsec(cfg, "socket", (unsigned)i)) == -1)
			return -1;
	}
	return load_services(loader, cfg);
}

/* The directory of the file, as a path that begins with / if it can be had. */
static char *
directory_of(const char *cwd, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *directory, *whole;

	if (slash == NULL)
		return config_resolve(cwd, ".");
	if (slash == path)
		return xstrdup("/");
	directory = xmemdup(path, (size_t)(slash - path));
	whole = config_resolve(cwd, directory);
	free(directory);
	return whole;
}

static int
load_file(struct config_loader *loader)
{
	cfg_t *cfg;
	int rc;

	if (loader->path == NULL)
		return 0;
	loader->directory = directory_of(loader->cwd, loader->path);
	cfg = config_parse(loader->path, &loader->error);
	if (cfg == NULL)
		return -1;
	rc = load_sections(loader, cfg);
	cfg_free(cfg);
	return rc;
}

/* The environment. */

static const struct config_key *
find_server_key(struct config_loader *loader, const char *variable)
{
	char name[64];
	struct config_guess guess = { .written = name };
	size_t n = 0;

	for (const char *p = variable + strlen(ENV_PREFIX);
	     *p != '\0' && n < sizeof name - 1; p++)
		name[n++] = (char)tolower((unsigned char)*p);
	name[n] = '\0';
	for (size_t i = 0; i < config_section_server.nkeys; i++) {
		if (strcmp(config_section_server.keys[i].name, name) == 0)
			return &config_section_server.keys[i];
		config_guess(&guess, config_section_server.keys[i].name);
	}
	config_fail(loader, variable,
	    "no key '%s' in server%s%s; see bennu.conf(5)", name,
	    guess.best != NULL ? ", perhaps " : "",
	    guess.best != NULL ? guess.best : "");
	return NULL;
}

/* A list is split at its commas, in place. */
static int
split_values(struct config_setting *s, char *variable, char *text)
{
	while (text != NULL) {
		char *next = s->key->list ? strchr(text, ',') : NULL;

		if (next != NULL)
			*next++ = '\0';
		if (s->key->list) {
			text += strspn(text, " \t");
			text[strcspn(text, " \t")] = '\0';
		}
		if (s->n == CONFIG_LIST_MAX) {
			config_fail(s->loader, variable, "more than %d values",
			    CONFIG_LIST_MAX);
			return -1;
		}
		s->values[s->n] = text;
		s->where[s->n++] = variable;
		text = next;
	}
	return 0;
}

static int
load_variable(struct config_loader *loader, const char *entry)
{
	struct config_setting s = { .loader = loader,
		.object = loader->config,
		.directory = loader->cwd };
	char *copy = xstrdup(entry), *equal = strchr(copy, '=');
	int rc = 0;

	/* An empty variable is as good as none. */
	if (equal == NULL || equal[1] == '\0')
		goto out;
	*equal = '\0';
	rc = -1;
	s.key = find_server_key(loader, copy);
	if (s.key != NULL && split_values(&s, copy, equal + 1) == 0)
		rc = s.key->set(&s);
out:
	free(copy);
	return rc;
}

static int
load_environment(struct config_loader *loader)
{
	for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
		if (strncmp(*entry, ENV_PREFIX, strlen(ENV_PREFIX)) == 0 &&
		    load_variable(loader, *entry) == -1)
			return -1;
	return 0;
}

/* Arguments, and PORT. */

static int
replace_ports(struct config_loader *loader, const char *where, const char *text)
{
	struct config *config = loader->config;
	char normal[ADDRESS_TEXT_MAX];
	struct address address;
	size_t n = 0;
	int port = address_parse_port(text);

	if (port == -1) {
		config_fail(loader, where,
		    "'%s' is no port; it must be 0 to 65535", text);
		return -1;
	}
	for (size_t i = 0; i < config->nlisten; i++) {
		char *listener = config->listen[i];
		const char *why = address_parse(listener, &address);

		assert(why == NULL);
		if (address_is_tcp(&address)) {
			address_set_port(&address, port);
			address_format((struct sockaddr *)&address.storage,
			    address.size, normal);
			config_replace(&listener, xstrdup(normal));
		}
		/* Two ports of one address become one. */
		if (config_list_has(config->listen, n, listener))
			free(listener);
		else
			config->listen[n++] = listener;
	}
	config->nlisten = n;
	return 0;
}

static char *
complete_address(const struct config_loader *loader, const char *text)
{
	const char *why;
	char *whole, *address;

	if (strchr(text, ':') == NULL || text[0] == '[')
		whole = xasprintf("%s:%d", text, DEFAULT_PORT);
	else
		whole = xasprintf("[%s]:%d", text, DEFAULT_PORT);
	address = config_normal_address(whole, loader->cwd, &why);
	free(whole);
	return address;
}

/* Takes "0.0.0.0" as well as "0.0.0.0:4000". */
static int
replace_listeners(
    struct config_loader *loader, const char *text, bool *has_port)
{
	struct config *config = loader->config;
	const char *why;
	char *address = config_normal_address(text, loader->cwd, &why);

	*has_port = address != NULL;
	if (address == NULL)
		address = complete_address(loader, text);
	if (address == NULL) {
		config_fail(
		    loader, "command line", "address '%s': %s", text, why);
		return -1;
	}
	config_free_list(&config->listen, &config->nlisten);
	config->listen = xcalloc(1, sizeof(char *));
	config->listen[0] = address;
	config->nlisten = 1;
	return 0;
}

static int
load_arguments(
    struct config_loader *loader, const struct config_arguments *args)
{
	static const struct config_arguments none;
	const char *port = getenv("PORT");
	bool has_port = false;

	if (args == NULL)
		args = &none;
	if (args->run_directory != NULL)
		config_replace(&loader->config->run_directory,
		    config_resolve(loader->cwd, args->run_directory));
	if (args->address != NULL &&
	    replace_listeners(loader, args->address, &has_port) == -1)
		return -1;
	if (args->port != NULL)
		return replace_ports(loader, "command line", args->port);
	if (port != NULL && port[0] != '\0' && !has_port)
		return replace_ports(loader, "PORT", port);
	return 0;
}

/* A transport waits for its channels; it must have the time. */
static int
check_shutdown(struct config_loader *loader)
{
	struct config *config = loader->config;
	const struct config_channel *longest = NULL;

	for (size_t i = 0; i < config->nsockets; i++) {
		const struct config_socket *socket = &config->sockets[i];

		for (size_t j = 0; j < socket->nchannels; j++)
			if (longest == NULL ||
			    socket->channels[j].shutdown > longest->shutdown)
				longest = &socket->channels[j];
	}
	if (config->shutdown == SHUTDOWN_UNSET) {
		config->shutdown = SHUTDOWN_MIN;
		if (longest != NULL &&
		    longest->shutdown + SHUTDOWN_SPARE > config->shutdown)
			config->shutdown = longest->shutdown + SHUTDOWN_SPARE;
		return 0;
	}
	if (longest == NULL || config->shutdown > longest->shutdown)
		return 0;
	config_fail(loader, loader->shutdown_where,
	    "shutdown of the server must be longer than that of channel '%s', %d ms",
	    longest->pattern, longest->shutdown);
	return -1;
}

/* Who is asked last must have its time, too. */
static int
check_drain(struct config_loader *loader)
{
	struct config *config = loader->config;

	if (config->drain_limit == DRAIN_UNSET) {
		config->drain_limit = DRAIN_MIN;
		if (config->shutdown + DRAIN_SPARE > DRAIN_MIN)
			config->drain_limit = config->shutdown + DRAIN_SPARE;
		return 0;
	}
	if (config->drain_limit >= config->shutdown)
		return 0;
	config_fail(loader, loader->drain_where,
	    "drain_limit must not be shorter than shutdown, %lld ms",
	    config->shutdown);
	return -1;
}

/* check_origin = true is known once the host is. */
static void
resolve_origins(struct config *config)
{
	for (size_t i = 0; i < config->nsockets; i++) {
		struct config_socket *socket = &config->sockets[i];

		for (size_t j = 0; j < socket->norigins; j++)
			if (strcmp(socket->check_origin[j], "true") == 0)
				config_replace(&socket->check_origin[j],
				    xasprintf("//%s", config->url_host));
	}
}

struct config *
config_load(const char *path, const struct config_arguments *args, char **error)
{
	struct config_loader loader = { .config = xcalloc(
					    1, sizeof(struct config)),
		.path = path,
		.cwd = getcwd(NULL, 0) };

	set_defaults(loader.config);
	if (load_file(&loader) == -1 || load_environment(&loader) == -1 ||
	    load_arguments(&loader, args) == -1 ||
	    check_shutdown(&loader) == -1 || check_drain(&loader) == -1) {
		assert(loader.error != NULL);
		config_free(loader.config);
		loader.config = NULL;
		*error = loader.error;
	} else {
		resolve_origins(loader.config);
	}
	free(loader.directory);
	free(loader.cwd);
	free(loader.shutdown_where);
	free(loader.drain_where);
	return loader.config;
}

static void
free_options(struct config_option *options, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(options[i].key);
		free(options[i].value);
	}
	free(options);
}

static void
free_channel(struct config_channel *channel)
{
	free_options(channel->options, channel->noptions);
	free(channel->pattern);
	free(channel->module);
	free(channel->file);
}

static void
free_socket(struct config_socket *socket)
{
	for (size_t i = 0; i < socket->nchannels; i++)
		free_channel(&socket->channels[i]);
	free(socket->channels);
	config_free_list(&socket->check_origin, &socket->norigins);
	free(socket->path);
	free(socket->module);
	free(socket->file);
}

static void
free_service(struct config_service *service)
{
	free_options(service->options, service->noptions);
	free(service->name);
	free(service->module);
	free(service->file);
}

void
config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->nsockets; i++)
		free_socket(&config->sockets[i]);
	free(config->sockets);
	for (size_t i = 0; i < config->nservices; i++)
		free_service(&config->services[i]);
	free(config->services);
	config_free_list(&config->listen, &config->nlisten);
	free(config->user);
	free(config->run_directory);
	free(config->module_directory);
	free(config->url_host);
	free_options(config->endpoint.options, config->endpoint.noptions);
	free(config->endpoint.module);
	free(config->endpoint.file);
	free(config->static_directory);
	free(config->broadcast_token_file);
	free(config->secret_file);
	free(config);
}

const struct config_channel *
config_find_channel(
    const struct config_socket *socket, const char *topic, size_t size)
{
	for (size_t i = 0; i < socket->nchannels; i++) {
		const struct config_channel *channel = &socket->channels[i];

		if (channel->is_prefix ? size < channel->prefix
				       : size != channel->prefix)
			continue;
		if (memcmp(topic, channel->pattern, channel->prefix) == 0)
			return channel;
	}
	return NULL;
}

static const char *
find_option(const struct config_option *options, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(options[i].key, key) == 0)
			return options[i].value;
	return NULL;
}

const char *
config_channel_option(const struct config_channel *channel, const char *key)
{
	return find_option(channel->options, channel->noptions, key);
}

const char *
config_endpoint_option(const struct config_endpoint *endpoint, const char *key)
{
	return find_option(endpoint->options, endpoint->noptions, key);
}

const char *
config_service_option(const struct config_service *service, const char *key)
{
	return find_option(service->options, service->noptions, key);
}
