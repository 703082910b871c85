/*
 * config_keys.c - what each key of bennu.conf is, where it goes and what it may
 * be: one row of a table for each key, one function for each kind of value.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/config.h"
#include "common/config_keys.h"
#include "common/config_value.h"
#include "common/log.h"
#include "common/xmalloc.h"

#define SECOND 1000LL
#define DAY    (24 * 60 * 60 * SECOND)
#define MB     (1000LL * 1000)
#define GB     (1000LL * MB)

void
config_fail(
    struct config_loader *loader, const char *where, const char *fmt, ...)
{
	char *text;
	va_list ap;

	if (loader->error != NULL)
		return;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) == -1)
		fatal("vasprintf");
	va_end(ap);
	loader->error = xasprintf("%s: %s", where, text);
	free(text);
}

static int
fail_value(const struct config_setting *s, const char *why)
{
	config_fail(s->loader, s->where[0], "%s '%s': %s", s->key->name,
	    s->values[0], why);
	return -1;
}

/* A path that does not begin with / is below directory. */
char *
config_resolve(const char *directory, const char *path)
{
	if (path[0] == '/' || directory == NULL)
		return xstrdup(path);
	while (path[0] == '.' && path[1] == '/') {
		path += 2;
		path += strspn(path, "/");
	}
	if (path[0] == '\0' || strcmp(path, ".") == 0)
		return xstrdup(directory);
	if (strcmp(directory, "/") == 0)
		return xasprintf("/%s", path);
	return xasprintf("%s/%s", directory, path);
}

void
config_replace(char **field, char *value)
{
	free(*field);
	*field = value;
}

static void *
field_of(const struct config_setting *s)
{
	return (char *)s->object + s->key->offset;
}

static int
set_string(const struct config_setting *s)
{
	if (s->values[0][0] == '\0')
		return fail_value(s, "it is empty; leave the key out instead");
	config_replace(field_of(s), xstrdup(s->values[0]));
	return 0;
}

static int
set_path(const struct config_setting *s)
{
	if (s->values[0][0] == '\0')
		return fail_value(s, "it is empty; leave the key out instead");
	config_replace(field_of(s), config_resolve(s->directory, s->values[0]));
	return 0;
}

static int
set_module(const struct config_setting *s)
{
	const char *why = config_value_module(s->values[0]);

	if (why != NULL)
		return fail_value(s, why);
	if (strchr(s->values[0], '/') == NULL)
		config_replace(field_of(s), xstrdup(s->values[0]));
	else
		config_replace(
		    field_of(s), config_resolve(s->directory, s->values[0]));
	return 0;
}

static int
set_bool(const struct config_setting *s)
{
	const char *why = config_value_bool(s->values[0], field_of(s));

	return why == NULL ? 0 : fail_value(s, why);
}

/* A section that may be left out does not know its line: the key does. */
static int
set_endpoint_module(const struct config_setting *s)
{
	struct config *config = s->object;
	const char *colon = strrchr(s->where[0], ':');

	if (set_module(s) == -1)
		return -1;
	config_replace(&config->endpoint.file,
	    xmemdup(s->where[0], (size_t)(colon - s->where[0])));
	config->endpoint.line = atoi(colon + 1);
	return 0;
}

/* A distance that can be read: 1000000 is 1M. */
static void
print_limit(char *buf, size_t size, long long n, const char *unit)
{
	if (strcmp(unit, "ms") == 0 && n != 0 && n % SECOND == 0)
		snprintf(buf, size, "%llds", n / SECOND);
	else if (unit[0] == '\0' && n >= MB && n % MB == 0)
		snprintf(buf, size, "%lld (%lldM)", n, n / MB);
	else
		snprintf(buf, size, "%lld%s", n, n == 0 ? "" : unit);
}

static int
check_range(const struct config_setting *s, long long n, const char *unit)
{
	char min[48], max[48];

	if (n >= s->key->min && n <= s->key->max)
		return 0;
	if (n == 0 && s->key->zero)
		return 0;
	print_limit(min, sizeof min, s->key->min, unit);
	print_limit(max, sizeof max, s->key->max, unit);
	config_fail(s->loader, s->where[0], "%s '%s': it must be %s to %s%s",
	    s->key->name, s->values[0], min, max, s->key->zero ? ", or 0" : "");
	return -1;
}

static int
parse_number(const struct config_setting *s, long long *n,
    const char *(*parse_value)(const char *, long long *), const char *unit)
{
	const char *why = parse_value(s->values[0], n);

	if (why != NULL)
		return fail_value(s, why);
	return check_range(s, *n, unit);
}

static int
set_unsigned(const struct config_setting *s)
{
	long long n;

	if (parse_number(s, &n, config_value_number, "") == -1)
		return -1;
	*(unsigned *)field_of(s) = (unsigned)n;
	return 0;
}

static int
set_int(const struct config_setting *s)
{
	long long n;

	if (parse_number(s, &n, config_value_number, "") == -1)
		return -1;
	*(int *)field_of(s) = (int)n;
	return 0;
}

static int
set_size(const struct config_setting *s)
{
	long long n;

	if (parse_number(s, &n, config_value_size, "") == -1)
		return -1;
	*(size_t *)field_of(s) = (size_t)n;
	return 0;
}

static int
set_memory(const struct config_setting *s)
{
	return parse_number(s, field_of(s), config_value_size, "");
}

static int
set_time(const struct config_setting *s)
{
	return parse_number(s, field_of(s), config_value_time, "ms");
}

static int
set_seconds(const struct config_setting *s)
{
	long long n;

	if (parse_number(s, &n, config_value_time, "ms") == -1)
		return -1;
	if (n % SECOND != 0)
		return fail_value(s, "whole seconds are expected");
	*(unsigned *)field_of(s) = (unsigned)(n / SECOND);
	return 0;
}

static int
set_server_shutdown(const struct config_setting *s)
{
	config_replace(&s->loader->shutdown_where, xstrdup(s->where[0]));
	return set_time(s);
}

static int
set_drain_limit(const struct config_setting *s)
{
	config_replace(&s->loader->drain_where, xstrdup(s->where[0]));
	return set_time(s);
}

static int
set_service_shutdown(const struct config_setting *s)
{
	long long n;

	if (parse_number(s, &n, config_value_time, "ms") == -1)
		return -1;
	*(int *)field_of(s) = (int)n;
	return 0;
}

static int
set_channel_shutdown(const struct config_setting *s)
{
	long long n = SHUTDOWN_BRUTAL_KILL;

	if (strcmp(s->values[0], "brutal_kill") != 0 &&
	    parse_number(s, &n, config_value_time, "ms") == -1)
		return -1;
	*(int *)field_of(s) = (int)n;
	return 0;
}

/* "'x': it is one of a, b, c; did you mean a?" */
static void
fail_choice(const struct config_setting *s, size_t i)
{
	const char *written = s->values[i];
	struct config_guess guess = { .written = written };
	char names[256] = "";

	for (const struct config_choice *c = s->key->choices; c->name != NULL;
	     c++) {
		if (names[0] != '\0')
			strlcat(names, ", ", sizeof names);
		strlcat(names, c->name, sizeof names);
		config_guess(&guess, c->name);
	}
	if (guess.best != NULL)
		config_fail(s->loader, s->where[i],
		    "%s '%s' is none of %s; did you mean %s?", s->key->name,
		    written, names, guess.best);
	else
		config_fail(s->loader, s->where[i], "%s '%s' is none of %s",
		    s->key->name, written, names);
}

static const struct config_choice *
find_choice(const struct config_setting *s, size_t i)
{
	for (const struct config_choice *c = s->key->choices; c->name != NULL;
	     c++)
		if (strcmp(c->name, s->values[i]) == 0)
			return c;
	fail_choice(s, i);
	return NULL;
}

static int
set_restart(const struct config_setting *s)
{
	const struct config_choice *choice = find_choice(s, 0);

	if (choice == NULL)
		return -1;
	*(enum restart *)field_of(s) = (enum restart)choice->value;
	return 0;
}

static int
set_backlog_policy(const struct config_setting *s)
{
	const struct config_choice *choice = find_choice(s, 0);

	if (choice == NULL)
		return -1;
	*(enum backlog_policy *)field_of(
	    s) = (enum backlog_policy)choice->value;
	return 0;
}

static int
set_log_level(const struct config_setting *s)
{
	const struct config_choice *choice = find_choice(s, 0);

	if (choice == NULL)
		return -1;
	*(int *)field_of(s) = choice->value;
	return 0;
}

static int
check_list(const struct config_setting *s, const char *advice)
{
	if (s->n > 0)
		return 0;
	config_fail(s->loader, s->where[0], "%s is an empty list; %s",
	    s->key->name, advice);
	return -1;
}

void
config_free_list(char ***list, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free((*list)[i]);
	free(*list);
	*list = NULL;
	*n = 0;
}

bool
config_list_has(char *const *list, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], text) == 0)
			return true;
	return false;
}

/*
 * An address as it is kept: numbers in their one spelling, a relative path of a
 * unix socket below directory. NULL with *why.
 */
char *
config_normal_address(const char *text, const char *directory, const char **why)
{
	char normal[ADDRESS_TEXT_MAX];
	struct address address;
	char *path, *whole;

	*why = address_parse(text, &address);
	if (*why != NULL)
		return NULL;
	if (address_is_tcp(&address)) {
		address_format(
		    (struct sockaddr *)&address.storage, address.size, normal);
		return xstrdup(normal);
	}
	path = config_resolve(directory, text + strlen("unix:"));
	whole = xasprintf("unix:%s", path);
	free(path);
	*why = address_parse(whole, &address);
	if (*why == NULL)
		return whole;
	free(whole);
	return NULL;
}

static int
add_listener(const struct config_setting *s, size_t i, char **list, size_t *n)
{
	const char *why, *text = s->values[i];
	char *address = config_normal_address(text, s->directory, &why);

	if (address == NULL) {
		config_fail(
		    s->loader, s->where[i], "listen '%s': %s", text, why);
		return -1;
	}
	if (config_list_has(list, *n, address)) {
		config_fail(
		    s->loader, s->where[i], "listen '%s' is given twice", text);
		free(address);
		return -1;
	}
	list[(*n)++] = address;
	return 0;
}

static int
set_listen(const struct config_setting *s)
{
	struct config *config = s->object;
	char **list;
	size_t n = 0;

	if (check_list(s, "leave it out, or name an address") == -1)
		return -1;
	list = xcalloc(s->n, sizeof *list);
	for (size_t i = 0; i < s->n; i++) {
		if (add_listener(s, i, list, &n) == -1) {
			config_free_list(&list, &n);
			return -1;
		}
	}
	config_free_list(&config->listen, &config->nlisten);
	config->listen = list;
	config->nlisten = n;
	return 0;
}

/* As in Phoenix: true is the server's own host, false is no check at all. */
static const char *
check_origin_rule(const struct config_setting *s, size_t i)
{
	if (strcmp(s->values[i], "true") == 0 ||
	    strcmp(s->values[i], ":conn") == 0)
		return NULL;
	if (strcmp(s->values[i], "false") == 0)
		return s->n == 1 ? NULL : "it stands alone or not at all";
	return config_value_origin(s->values[i]);
}

static int
set_origins(const struct config_setting *s)
{
	struct config_socket *socket = s->object;

	if (check_list(s, "leave it out to allow every origin, or name one") ==
	    -1)
		return -1;
	for (size_t i = 0; i < s->n; i++) {
		const char *why = check_origin_rule(s, i);

		if (why != NULL) {
			config_fail(s->loader, s->where[i], "%s '%s': %s",
			    s->key->name, s->values[i], why);
			return -1;
		}
	}
	config_free_list(&socket->check_origin, &socket->norigins);
	if (strcmp(s->values[0], "false") == 0)
		return 0;
	socket->check_origin = xcalloc(s->n, sizeof(char *));
	for (size_t i = 0; i < s->n; i++)
		socket->check_origin[i] = xstrdup(s->values[i]);
	socket->norigins = s->n;
	return 0;
}

static int
set_connect_info(const struct config_setting *s)
{
	unsigned *info = field_of(s);

	*info = 0;
	for (size_t i = 0; i < s->n; i++) {
		const struct config_choice *choice = find_choice(s, i);

		if (choice == NULL)
			return -1;
		*info |= (unsigned)choice->value;
	}
	return 0;
}

static int
set_host(const struct config_setting *s)
{
	const char *why = config_value_host(s->values[0]);

	if (why != NULL)
		return fail_value(s, why);
	config_replace(field_of(s), xstrdup(s->values[0]));
	return 0;
}

static int
set_transports(const struct config_setting *s)
{
	struct config_socket *socket = s->object;

	if (check_list(s, "name \"websocket\", \"longpoll\" or both") == -1)
		return -1;
	for (size_t i = 0; i < s->n; i++)
		if (find_choice(s, i) == NULL)
			return -1;
	socket->websocket = config_list_has(s->values, s->n, "websocket");
	socket->longpoll = config_list_has(s->values, s->n, "longpoll");
	return 0;
}

static const struct config_choice policies[] = {
	{ "close", BACKLOG_CLOSE },
	{ "drop", BACKLOG_DROP },
	{ NULL, 0 },
};

static const struct config_choice restarts[] = {
	{ "permanent", RESTART_PERMANENT },
	{ "transient", RESTART_TRANSIENT },
	{ "temporary", RESTART_TEMPORARY },
	{ NULL, 0 },
};

static const struct config_choice levels[] = {
	{ "error", LOG_LEVEL_ERROR },
	{ "warn", LOG_LEVEL_WARN },
	{ "info", LOG_LEVEL_INFO },
	{ "debug", LOG_LEVEL_DEBUG },
	{ NULL, 0 },
};

static const struct config_choice infos[] = {
	{ "peer_data", CONNECT_INFO_PEER },
	{ "trace_context_headers", CONNECT_INFO_TRACE },
	{ "x_headers", CONNECT_INFO_X },
	{ "uri", CONNECT_INFO_URI },
	{ "user_agent", CONNECT_INFO_USER_AGENT },
	{ "sec_websocket_headers", CONNECT_INFO_WEBSOCKET },
	{ NULL, 0 },
};

static const struct config_choice transports[] = {
	{ "websocket", 0 },
	{ "longpoll", 0 },
	{ NULL, 0 },
};

#define FIELD(type, name) #name, .offset = offsetof(struct type, name)
#define SERVER(name)      FIELD(config, name)
#define SOCKET(name)      FIELD(config_socket, name)
#define CHANNEL(name)     FIELD(config_channel, name)
#define SERVICE(name)     FIELD(config_service, name)

static const struct config_key server_keys[] = {
	{ SERVER(listen), .set = set_listen, .list = true },
	{ SERVER(user), .set = set_string },
	{ SERVER(run_directory), .set = set_path },
	{ SERVER(module_directory), .set = set_path },
	{ SERVER(url_host), .set = set_host },
	{ SERVER(max_connections), .set = set_unsigned, .min = 1,
	    .max = 1000 * 1000 },
	{ SERVER(max_connections_per_address), .set = set_unsigned, .min = 1,
	    .max = 1000 * 1000, .zero = true },
	{ SERVER(pubsub_workers), .set = set_unsigned, .min = 1, .max = 16,
	    .zero = true },
	{ SERVER(journal_size), .set = set_size, .min = 64 * 1000,
	    .max = 4 * GB },
	{ SERVER(connect_workers), .set = set_unsigned, .min = 1, .max = 256 },
	{ SERVER(backlog_max), .set = set_size, .min = 1000, .max = GB },
	{ SERVER(backlog_policy), .set = set_backlog_policy,
	    .choices = policies },
	{ SERVER(queue_max_bytes), .set = set_size, .min = 1000, .max = GB },
	{ SERVER(queues_max_bytes), .set = set_size, .min = 1000, .max = GB },
	{ SERVER(queue_max_messages), .set = set_unsigned, .min = 1,
	    .max = 1000 * 1000 },
	{ SERVER(hung_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SERVER(send_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SERVER(head_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SERVER(head_max), .set = set_size, .min = 1000, .max = MB },
	{ SERVER(affinity), .set = set_bool },
	{ SERVER(huge_text), .set = set_bool },
	{ SERVER(headers_max), .set = set_unsigned, .min = 10, .max = 1000 },
	{ SERVER(body_max), .set = set_size, .min = 1, .max = GB,
	    .zero = true },
	{ SERVER(crash_limit), .set = set_unsigned, .min = 1, .max = 100,
	    .zero = true },
	{ SERVER(crash_period), .set = set_time, .min = 1, .max = DAY },
	{ SERVER(shutdown), .set = set_server_shutdown, .min = 1, .max = DAY },
	{ SERVER(drain_delay), .set = set_time, .min = 1, .max = DAY,
	    .zero = true },
	{ SERVER(drain_batch), .set = set_unsigned, .min = 1,
	    .max = 1000 * 1000 },
	{ SERVER(drain_interval), .set = set_time, .min = 1, .max = DAY,
	    .zero = true },
	{ SERVER(drain_limit), .set = set_drain_limit, .min = 1, .max = DAY },
};

static const struct config_key socket_keys[] = {
	{ "transports", .set = set_transports, .list = true,
	    .choices = transports },
	{ SOCKET(module), .set = set_module },
	{ SOCKET(check_origin), .set = set_origins, .list = true },
	{ SOCKET(auth_token), .set = set_bool },
	{ SOCKET(connect_info), .set = set_connect_info, .list = true,
	    .choices = infos },
	{ SOCKET(connect_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SOCKET(longpoll_window), .set = set_time, .min = 10, .max = DAY },
	{ SOCKET(pubsub_timeout), .set = set_time, .min = 10, .max = DAY },
	{ SOCKET(idle_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SOCKET(unjoined_timeout), .set = set_time, .min = 1, .max = DAY,
	    .zero = true },
	{ SOCKET(join_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SOCKET(max_frame), .set = set_size, .min = 125, .max = 60 * MB },
	{ SOCKET(max_message), .set = set_size, .min = 125, .max = 60 * MB },
	{ SOCKET(max_channels), .set = set_unsigned, .min = 1,
	    .max = 100 * 1000 },
	{ SOCKET(max_fragments), .set = set_unsigned, .min = 1,
	    .max = 100 * 1000 * 1000 },
	{ SOCKET(message_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SOCKET(control_rate), .set = set_unsigned, .min = 1,
	    .max = 1000 * 1000, .zero = true },
	{ SOCKET(event_rate), .set = set_unsigned, .min = 1, .max = 1000 * 1000,
	    .zero = true },
	{ SOCKET(join_rate), .set = set_unsigned, .min = 1, .max = 1000 * 1000,
	    .zero = true },
};

static const struct config_key channel_keys[] = {
	{ CHANNEL(module), .set = set_module },
	{ CHANNEL(restart), .set = set_restart, .choices = restarts },
	{ CHANNEL(intensity), .set = set_unsigned, .min = 1, .max = 10 * 1000,
	    .zero = true },
	{ CHANNEL(period), .set = set_seconds, .min = SECOND, .max = DAY },
	{ CHANNEL(shutdown), .set = set_channel_shutdown, .min = 1,
	    .max = DAY },
	{ CHANNEL(memory_max), .set = set_memory, .min = MB, .max = 1000 * GB,
	    .zero = true },
	{ CHANNEL(limit_nofile), .set = set_unsigned, .min = 8,
	    .max = 1024 * 1024, .zero = true },
	{ CHANNEL(nice), .set = set_int, .min = -20, .max = 19 },
};

static const struct config_key service_keys[] = {
	{ SERVICE(module), .set = set_module },
	{ SERVICE(shutdown), .set = set_service_shutdown, .min = 1,
	    .max = DAY },
};

static const struct config_key endpoint_keys[] = {
	{ "module", .set = set_endpoint_module,
	    .offset = offsetof(struct config, endpoint.module) },
	{ "handler_timeout", .set = set_time,
	    .offset = offsetof(struct config, endpoint.handler_timeout),
	    .min = 1, .max = DAY },
	{ "static", .set = set_path,
	    .offset = offsetof(struct config, static_directory) },
	{ "ready", .set = set_bool, .offset = offsetof(struct config, ready) },
	{ "tree", .set = set_bool, .offset = offsetof(struct config, tree) },
	{ "broadcast_token_file", .set = set_path,
	    .offset = offsetof(struct config, broadcast_token_file) },
	{ "secret_file", .set = set_path,
	    .offset = offsetof(struct config, secret_file) },
};

static const struct config_key log_keys[] = {
	{ "level", .set = set_log_level,
	    .offset = offsetof(struct config, log_level), .choices = levels },
};

#define NKEYS(keys) (sizeof(keys) / sizeof((keys)[0]))

const struct config_section config_section_server = {
	"server",
	server_keys,
	NKEYS(server_keys),
};

const struct config_section config_section_socket = {
	"socket",
	socket_keys,
	NKEYS(socket_keys),
};

const struct config_section config_section_channel = {
	"channel",
	channel_keys,
	NKEYS(channel_keys),
};

const struct config_section config_section_endpoint = {
	"endpoint",
	endpoint_keys,
	NKEYS(endpoint_keys),
};

const struct config_section config_section_service = {
	"service",
	service_keys,
	NKEYS(service_keys),
};

const struct config_section config_section_log = {
	"log",
	log_keys,
	NKEYS(log_keys),
};

const char *
config_section_of(const char *key)
{
	static const struct config_section *const sections[] = {
		&config_section_server,
		&config_section_socket,
		&config_section_channel,
		&config_section_endpoint,
		&config_section_service,
		&config_section_log,
	};

	for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
		for (size_t j = 0; j < sections[i]->nkeys; j++)
			if (strcmp(sections[i]->keys[j].name, key) == 0)
				return sections[i]->name;
	return NULL;
}
