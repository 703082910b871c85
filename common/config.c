/*
 * config.c - bennu.conf into struct config.
 *
 * libConfuse parses; every value reaches us as text with its line (struct
 * value), so that each error names the place. What a key is, where it goes and
 * what it may be is in the tables below: one row for each key.
 */
#include <assert.h>
#include <confuse.h>
#include <ctype.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/config.h"
#include "common/config_text.h"
#include "common/config_value.h"
#include "common/log.h"
#include "common/xmalloc.h"

#define SECOND 1000LL
#define DAY    (24 * 60 * 60 * SECOND)
#define MB     (1000LL * 1000)
#define GB     (1000LL * MB)

#define ENV_PREFIX   "BENNU_SERVER_"
#define DEFAULT_PORT 4000
#define LIST_MAX     64 /* values of one list */
#define TABLE_MAX    32 /* keys of one section */

/* Carries the line of a section; "=" keeps it out of a file's reach. */
#define LINE_KEY "line="

/* The default; then what the longest shutdown of a channel needs. */
#define SHUTDOWN_UNSET (-1)
#define SHUTDOWN_MIN   (10 * SECOND)
#define SHUTDOWN_SPARE (5 * SECOND)

/* A value as libConfuse found it. */
struct value {
	int line;
	char text[];
};

struct loader {
	struct config *config;
	const char *path;     /* as it was given, for errors; or NULL */
	char *directory;      /* that relative paths of the file are below */
	char *cwd;            /* likewise, of the environment and arguments */
	char *error;          /* the first one */
	char *shutdown_where; /* "bennu.conf:12", when it was set */
};

/* A key that is being set. */
struct setting {
	struct loader *loader;
	const struct key *key;
	void *object; /* the struct that the key belongs to */
	char *values[LIST_MAX];
	char *where[LIST_MAX]; /* "bennu.conf:12" or "BENNU_SERVER_USER" */
	size_t n;              /* where[0] is there even when it is 0 */
	const char *directory; /* that relative paths are below */
};

struct choice {
	const char *name;
	int value;
};

struct key {
	const char *name;
	int (*set)(const struct setting *);
	size_t offset; /* of the field in the object */
	long long min, max;
	bool zero; /* 0 is allowed too */
	bool list;
	const struct choice *choices;
};

struct section {
	const char *name;
	const struct key *keys;
	size_t nkeys;
};

/* libConfuse's callbacks have no argument of ours. */
static struct {
	const char *path;
	char *error;
	bool running;
} parse;

static void fail(struct loader *, const char *where, const char *, ...)
    printflike(3, 4);

static void
fail(struct loader *loader, const char *where, const char *fmt, ...)
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
fail_value(const struct setting *s, const char *why)
{
	fail(s->loader, s->where[0], "%s '%s': %s", s->key->name, s->values[0],
	    why);
	return -1;
}

/* A path that does not begin with / is below directory. */
static char *
resolve(const char *directory, const char *path)
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

static void
replace(char **field, char *value)
{
	free(*field);
	*field = value;
}

static void *
field_of(const struct setting *s)
{
	return (char *)s->object + s->key->offset;
}

static int
set_string(const struct setting *s)
{
	if (s->values[0][0] == '\0')
		return fail_value(s, "it is empty; leave the key out instead");
	replace(field_of(s), xstrdup(s->values[0]));
	return 0;
}

static int
set_path(const struct setting *s)
{
	if (s->values[0][0] == '\0')
		return fail_value(s, "it is empty; leave the key out instead");
	replace(field_of(s), resolve(s->directory, s->values[0]));
	return 0;
}

static int
set_module(const struct setting *s)
{
	const char *why = config_value_module(s->values[0]);

	if (why != NULL)
		return fail_value(s, why);
	if (strchr(s->values[0], '/') == NULL)
		replace(field_of(s), xstrdup(s->values[0]));
	else
		replace(field_of(s), resolve(s->directory, s->values[0]));
	return 0;
}

static int
set_bool(const struct setting *s)
{
	const char *why = config_value_bool(s->values[0], field_of(s));

	return why == NULL ? 0 : fail_value(s, why);
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
check_range(const struct setting *s, long long n, const char *unit)
{
	char min[48], max[48];

	if (n >= s->key->min && n <= s->key->max)
		return 0;
	if (n == 0 && s->key->zero)
		return 0;
	print_limit(min, sizeof min, s->key->min, unit);
	print_limit(max, sizeof max, s->key->max, unit);
	fail(s->loader, s->where[0], "%s '%s': it must be %s to %s%s",
	    s->key->name, s->values[0], min, max, s->key->zero ? ", or 0" : "");
	return -1;
}

static int
parse_number(const struct setting *s, long long *n,
    const char *(*parse_value)(const char *, long long *), const char *unit)
{
	const char *why = parse_value(s->values[0], n);

	if (why != NULL)
		return fail_value(s, why);
	return check_range(s, *n, unit);
}

static int
set_unsigned(const struct setting *s)
{
	long long n;

	if (parse_number(s, &n, config_value_number, "") == -1)
		return -1;
	*(unsigned *)field_of(s) = (unsigned)n;
	return 0;
}

static int
set_int(const struct setting *s)
{
	long long n;

	if (parse_number(s, &n, config_value_number, "") == -1)
		return -1;
	*(int *)field_of(s) = (int)n;
	return 0;
}

static int
set_size(const struct setting *s)
{
	long long n;

	if (parse_number(s, &n, config_value_size, "") == -1)
		return -1;
	*(size_t *)field_of(s) = (size_t)n;
	return 0;
}

static int
set_memory(const struct setting *s)
{
	return parse_number(s, field_of(s), config_value_size, "");
}

static int
set_time(const struct setting *s)
{
	return parse_number(s, field_of(s), config_value_time, "ms");
}

static int
set_seconds(const struct setting *s)
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
set_server_shutdown(const struct setting *s)
{
	replace(&s->loader->shutdown_where, xstrdup(s->where[0]));
	return set_time(s);
}

static int
set_channel_shutdown(const struct setting *s)
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
fail_choice(const struct setting *s, size_t i)
{
	const char *written = s->values[i];
	struct config_guess guess = { .written = written };
	char names[256] = "";

	for (const struct choice *c = s->key->choices; c->name != NULL; c++) {
		if (names[0] != '\0')
			strlcat(names, ", ", sizeof names);
		strlcat(names, c->name, sizeof names);
		config_guess(&guess, c->name);
	}
	if (guess.best != NULL)
		fail(s->loader, s->where[i],
		    "%s '%s' is none of %s; did you mean %s?", s->key->name,
		    written, names, guess.best);
	else
		fail(s->loader, s->where[i], "%s '%s' is none of %s",
		    s->key->name, written, names);
}

static const struct choice *
find_choice(const struct setting *s, size_t i)
{
	for (const struct choice *c = s->key->choices; c->name != NULL; c++)
		if (strcmp(c->name, s->values[i]) == 0)
			return c;
	fail_choice(s, i);
	return NULL;
}

static int
set_restart(const struct setting *s)
{
	const struct choice *choice = find_choice(s, 0);

	if (choice == NULL)
		return -1;
	*(enum restart *)field_of(s) = (enum restart)choice->value;
	return 0;
}

static int
set_backlog_policy(const struct setting *s)
{
	const struct choice *choice = find_choice(s, 0);

	if (choice == NULL)
		return -1;
	*(enum backlog_policy *)field_of(
	    s) = (enum backlog_policy)choice->value;
	return 0;
}

static int
set_log_level(const struct setting *s)
{
	const struct choice *choice = find_choice(s, 0);

	if (choice == NULL)
		return -1;
	*(int *)field_of(s) = choice->value;
	return 0;
}

static int
check_list(const struct setting *s, const char *advice)
{
	if (s->n > 0)
		return 0;
	fail(s->loader, s->where[0], "%s is an empty list; %s", s->key->name,
	    advice);
	return -1;
}

static void
free_list(char ***list, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free((*list)[i]);
	free(*list);
	*list = NULL;
	*n = 0;
}

static bool
list_has(char *const *list, size_t n, const char *text)
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
static char *
normal_address(const char *text, const char *directory, const char **why)
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
	path = resolve(directory, text + strlen("unix:"));
	whole = xasprintf("unix:%s", path);
	free(path);
	*why = address_parse(whole, &address);
	if (*why == NULL)
		return whole;
	free(whole);
	return NULL;
}

static int
add_listener(const struct setting *s, size_t i, char **list, size_t *n)
{
	const char *why, *text = s->values[i];
	char *address = normal_address(text, s->directory, &why);

	if (address == NULL) {
		fail(s->loader, s->where[i], "listen '%s': %s", text, why);
		return -1;
	}
	if (list_has(list, *n, address)) {
		fail(
		    s->loader, s->where[i], "listen '%s' is given twice", text);
		free(address);
		return -1;
	}
	list[(*n)++] = address;
	return 0;
}

static int
set_listen(const struct setting *s)
{
	struct config *config = s->object;
	char **list;
	size_t n = 0;

	if (check_list(s, "leave it out, or name an address") == -1)
		return -1;
	list = xcalloc(s->n, sizeof *list);
	for (size_t i = 0; i < s->n; i++) {
		if (add_listener(s, i, list, &n) == -1) {
			free_list(&list, &n);
			return -1;
		}
	}
	free_list(&config->listen, &config->nlisten);
	config->listen = list;
	config->nlisten = n;
	return 0;
}

static int
set_origins(const struct setting *s)
{
	struct config_socket *socket = s->object;

	if (check_list(s, "leave it out to allow every origin, or name one") ==
	    -1)
		return -1;
	for (size_t i = 0; i < s->n; i++) {
		const char *why = config_value_origin(s->values[i]);

		if (why != NULL) {
			fail(s->loader, s->where[i], "%s '%s': %s",
			    s->key->name, s->values[i], why);
			return -1;
		}
	}
	free_list(&socket->check_origin, &socket->norigins);
	socket->check_origin = xcalloc(s->n, sizeof(char *));
	for (size_t i = 0; i < s->n; i++)
		socket->check_origin[i] = xstrdup(s->values[i]);
	socket->norigins = s->n;
	return 0;
}

static int
set_transports(const struct setting *s)
{
	struct config_socket *socket = s->object;

	if (check_list(s, "name \"websocket\"") == -1)
		return -1;
	for (size_t i = 0; i < s->n; i++) {
		if (strcmp(s->values[i], "longpoll") == 0) {
			fail(s->loader, s->where[i],
			    "transports: longpoll is not available yet; use {\"websocket\"}");
			return -1;
		}
		if (find_choice(s, i) == NULL)
			return -1;
	}
	socket->websocket = true;
	return 0;
}

static const struct choice policies[] = {
	{ "close", BACKLOG_CLOSE },
	{ "drop", BACKLOG_DROP },
	{ NULL, 0 },
};

static const struct choice restarts[] = {
	{ "permanent", RESTART_PERMANENT },
	{ "transient", RESTART_TRANSIENT },
	{ "temporary", RESTART_TEMPORARY },
	{ NULL, 0 },
};

static const struct choice levels[] = {
	{ "error", LOG_LEVEL_ERROR },
	{ "warn", LOG_LEVEL_WARN },
	{ "info", LOG_LEVEL_INFO },
	{ "debug", LOG_LEVEL_DEBUG },
	{ NULL, 0 },
};

static const struct choice transports[] = {
	{ "websocket", 0 },
	{ NULL, 0 },
};

#define FIELD(type, name) #name, .offset = offsetof(struct type, name)
#define SERVER(name)      FIELD(config, name)
#define SOCKET(name)      FIELD(config_socket, name)
#define CHANNEL(name)     FIELD(config_channel, name)

static const struct key server_keys[] = {
	{ SERVER(listen), .set = set_listen, .list = true },
	{ SERVER(user), .set = set_string },
	{ SERVER(run_directory), .set = set_path },
	{ SERVER(module_directory), .set = set_path },
	{ SERVER(max_connections), .set = set_unsigned, .min = 1,
	    .max = 1000 * 1000 },
	{ SERVER(max_connections_per_address), .set = set_unsigned, .min = 1,
	    .max = 1000 * 1000, .zero = true },
	{ SERVER(pubsub_workers), .set = set_unsigned, .min = 1, .max = 256,
	    .zero = true },
	{ SERVER(backlog_max), .set = set_size, .min = 1000, .max = GB },
	{ SERVER(backlog_policy), .set = set_backlog_policy,
	    .choices = policies },
	{ SERVER(queue_max_bytes), .set = set_size, .min = 1000, .max = GB },
	{ SERVER(queue_max_messages), .set = set_unsigned, .min = 1,
	    .max = 1000 * 1000 },
	{ SERVER(hung_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SERVER(send_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SERVER(head_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SERVER(head_max), .set = set_size, .min = 1000, .max = MB },
	{ SERVER(headers_max), .set = set_unsigned, .min = 10, .max = 1000 },
	{ SERVER(body_max), .set = set_size, .min = 1, .max = GB,
	    .zero = true },
	{ SERVER(crash_limit), .set = set_unsigned, .min = 1, .max = 100,
	    .zero = true },
	{ SERVER(crash_period), .set = set_time, .min = 1, .max = DAY },
	{ SERVER(shutdown), .set = set_server_shutdown, .min = 1, .max = DAY },
};

static const struct key socket_keys[] = {
	{ "transports", .set = set_transports, .list = true,
	    .choices = transports },
	{ SOCKET(check_origin), .set = set_origins, .list = true },
	{ SOCKET(idle_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SOCKET(join_timeout), .set = set_time, .min = 1, .max = DAY },
	{ SOCKET(max_frame), .set = set_size, .min = 125, .max = GB },
	{ SOCKET(max_message), .set = set_size, .min = 125, .max = GB },
	{ SOCKET(max_channels), .set = set_unsigned, .min = 1,
	    .max = 100 * 1000 },
};

static const struct key channel_keys[] = {
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

static const struct key endpoint_keys[] = {
	{ "static", .set = set_path,
	    .offset = offsetof(struct config, static_directory) },
	{ "tree", .set = set_bool, .offset = offsetof(struct config, tree) },
};

static const struct key log_keys[] = {
	{ "level", .set = set_log_level,
	    .offset = offsetof(struct config, log_level), .choices = levels },
};

#define SECTION(name) \
#name, name##_keys, sizeof name##_keys / sizeof(struct key)

static const struct section section_server = { SECTION(server) };
static const struct section section_socket = { SECTION(socket) };
static const struct section section_channel = { SECTION(channel) };
static const struct section section_endpoint = { SECTION(endpoint) };
static const struct section section_log = { SECTION(log) };

static const struct section *const sections[] = {
	&section_server,
	&section_socket,
	&section_channel,
	&section_endpoint,
	&section_log,
};
#define NSECTIONS (sizeof sections / sizeof sections[0])

static void
set_defaults(struct config *config)
{
	config->listen = xcalloc(2, sizeof(char *));
	config->listen[0] = xasprintf("127.0.0.1:%d", DEFAULT_PORT);
	config->listen[1] = xasprintf("[::1]:%d", DEFAULT_PORT);
	config->nlisten = 2;
	config->module_directory = xstrdup(MODULE_DIRECTORY);
	config->max_connections = 10 * 1000;
	config->max_connections_per_address = 1000;
	config->backlog_max = MB;
	config->backlog_policy = BACKLOG_CLOSE;
	config->queue_max_bytes = MB;
	config->queue_max_messages = 1000;
	config->hung_timeout = 20 * SECOND;
	config->send_timeout = 15 * SECOND;
	config->head_timeout = 10 * SECOND;
	config->head_max = 16 * 1000;
	config->headers_max = 100;
	config->body_max = 8 * MB;
	config->crash_limit = 3;
	config->crash_period = 60 * SECOND;
	config->shutdown = SHUTDOWN_UNSET;
	config->log_level = LOG_LEVEL_INFO;
}

static void
set_socket_defaults(struct config_socket *socket)
{
	socket->websocket = true;
	socket->idle_timeout = 60 * SECOND;
	socket->join_timeout = 5 * SECOND;
	socket->max_frame = 10 * MB;
	socket->max_message = 8 * MB;
	socket->max_channels = 100;
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

/* Parsing: what libConfuse calls. */

static int
parse_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
	size_t size = strlen(text) + 1;
	struct value *value = xmalloc(sizeof *value + size);

	value->line = cfg->line;
	memcpy(value->text, text, size);
	*(struct value **)result = value;
	return 0;
}

static void
parse_fail(int line, char *text)
{
	if (parse.error == NULL)
		parse.error = xasprintf("%s:%d: %s", parse.path, line, text);
	free(text);
}

/* A value that is freed while the file is being read was given again. */
static void
free_value(void *ptr)
{
	struct value *value = ptr;

	if (parse.running)
		parse_fail(value->line,
		    xasprintf(
			"the key with '%s' is given twice in its section; leave one",
			value->text));
	free(value);
}

static const char *
section_of(const char *key)
{
	for (size_t i = 0; i < NSECTIONS; i++)
		for (size_t j = 0; j < sections[i]->nkeys; j++)
			if (strcmp(sections[i]->keys[j].name, key) == 0)
				return sections[i]->name;
	return NULL;
}

static char *
explain_unknown(const cfg_t *cfg, const char *name)
{
	struct config_guess guess = { .written = name };
	const char *section = section_of(name);
	bool top = strcmp(cfg->name, "root") == 0;
	const char *in = top ? "at the top" : "in ", *of = top ? "" : cfg->name;

	for (const cfg_opt_t *opt = cfg->opts; opt->name != NULL; opt++)
		if (strcmp(opt->name, LINE_KEY) != 0)
			config_guess(&guess, opt->name);
	if (guess.best != NULL)
		return xasprintf(
		    "no key or section '%s' %s%s; did you mean '%s'?", name, in,
		    of, guess.best);
	if (section != NULL)
		return xasprintf("no key '%s' %s%s; it belongs in %s", name, in,
		    of, section);
	return xasprintf(
	    "no key or section '%s' %s%s; see bennu.conf(5)", name, in, of);
}

/* libConfuse's words, for those errors that a file can cause. */
static const struct {
	const char *theirs, *before, *behind;
} translations[] = {
	{ "missing equal sign after option '%s'", "no = behind '",
	    "'; write key = value" },
	{ "attempt to append to non-list option '%s'", "'",
	    "' is no list; write = instead of +=" },
	{ "missing opening brace for section '%s'", "'",
	    "' is a section; write { behind it" },
	{ "missing title for section '%s'", "'",
	    "' needs a name in quotes, then {" },
	{ "unexpected token '%s'", "'",
	    "' cannot stand here; a value, a comma or a quote may be missing before it" },
};
#define NTRANSLATIONS (sizeof translations / sizeof translations[0])

static char *explain(const cfg_t *, const char *, va_list)
    __attribute__((__format__(printf, 2, 0)));

static char *
explain(const cfg_t *cfg, const char *fmt, va_list ap)
{
	char *text;

	if (strcmp(fmt, "no such option '%s'") == 0)
		return explain_unknown(cfg, va_arg(ap, const char *));
	if (strcmp(fmt, "found duplicate title '%s'") == 0)
		return xasprintf("%s '%s' is given twice",
		    strcmp(cfg->name, "root") == 0 ? "socket" : "channel",
		    va_arg(ap, const char *));
	for (size_t i = 0; i < NTRANSLATIONS; i++) {
		if (strcmp(fmt, translations[i].theirs) == 0)
			return xasprintf("%s%s%s", translations[i].before,
			    va_arg(ap, const char *), translations[i].behind);
	}
	if (vasprintf(&text, fmt, ap) == -1)
		fatal("vasprintf");
	return text;
}

static void parse_error(cfg_t *, const char *, va_list)
    __attribute__((__format__(printf, 2, 0)));

static void
parse_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	/* libConfuse 3.3 says so of each key of a free-form section. */
	if (strcmp(cfg->name, "options") == 0 && strncmp(fmt, "no s", 4) == 0)
		return;
	parse_fail(cfg->line, explain(cfg, fmt, ap));
}

/* A section's keys as libConfuse wants them; room is left for sections. */
static size_t
make_options(const struct section *section, cfg_opt_t *opts)
{
	static char marker[] = "x";
	size_t n = 0;

	assert(section->nkeys + 3 <= TABLE_MAX);
	for (; n < section->nkeys; n++)
		opts[n] = (cfg_opt_t)CFG_PTR_CB(section->keys[n].name, NULL,
		    section->keys[n].list ? CFGF_LIST : CFGF_NONE, parse_value,
		    free_value);
	opts[n++] = (cfg_opt_t)CFG_PTR_CB(
	    LINE_KEY, marker, CFGF_NONE, parse_value, free_value);
	return n;
}

static cfg_t *
make_parser(void)
{
	const cfg_flag_t named = CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES;
	cfg_opt_t server[TABLE_MAX] = { CFG_END() };
	cfg_opt_t socket[TABLE_MAX] = { CFG_END() };
	cfg_opt_t channel[TABLE_MAX] = { CFG_END() };
	cfg_opt_t endpoint[TABLE_MAX] = { CFG_END() };
	cfg_opt_t logs[TABLE_MAX] = { CFG_END() };
	cfg_opt_t options[] = { CFG_END() };
	cfg_opt_t root[] = {
		CFG_SEC("server", server, CFGF_NONE),
		CFG_SEC("socket", socket, named),
		CFG_SEC("endpoint", endpoint, CFGF_NONE),
		CFG_SEC("log", logs, CFGF_NONE),
		CFG_END(),
	};
	size_t n;
	cfg_t *cfg;

	make_options(&section_server, server);
	make_options(&section_endpoint, endpoint);
	make_options(&section_log, logs);
	n = make_options(&section_channel, channel);
	channel[n] = (cfg_opt_t)CFG_SEC("options", options, CFGF_KEYSTRVAL);
	n = make_options(&section_socket, socket);
	socket[n] = (cfg_opt_t)CFG_SEC("channel", channel, named);
	cfg = cfg_init(root, CFGF_NONE);
	if (cfg == NULL)
		fatal("cfg_init");
	cfg_set_error_function(cfg, parse_error);
	return cfg;
}

static cfg_t *
parse_file(struct loader *loader)
{
	char *text = config_text_read(loader->path, &loader->error);
	cfg_t *cfg;
	int rc;

	if (text == NULL)
		return NULL;
	cfg = make_parser();
	parse.path = loader->path;
	parse.error = NULL;
	parse.running = true;
	rc = cfg_parse_buf(cfg, text);
	parse.running = false;
	free(text);
	if (rc == CFG_SUCCESS && parse.error == NULL)
		return cfg;
	loader->error = parse.error != NULL
	    ? parse.error
	    : xasprintf("%s: it cannot be parsed", loader->path);
	cfg_free(cfg);
	return NULL;
}

/* From what was parsed into the struct. */

/* cfg_getopt would take the "=" of LINE_KEY for a path. */
static const cfg_opt_t *
find_option(const cfg_t *cfg, const char *name)
{
	for (const cfg_opt_t *opt = cfg->opts; opt->name != NULL; opt++)
		if (strcmp(opt->name, name) == 0)
			return opt;
	return NULL;
}

static const struct value *
value_of(const cfg_opt_t *opt, size_t i)
{
	return opt->values[i]->ptr;
}

/* Where a section begins; without a line when it may stand in many places. */
static char *
place_of_section(const struct loader *loader, const cfg_t *cfg)
{
	const cfg_opt_t *opt = find_option(cfg, LINE_KEY);

	assert(opt != NULL && opt->nvalues == 1);
	if (value_of(opt, 0)->line == 0)
		return xstrdup(loader->path);
	return xasprintf("%s:%d", loader->path, value_of(opt, 0)->line);
}

static int
set_key(struct setting *s, const cfg_t *cfg, const cfg_opt_t *opt)
{
	struct loader *loader = s->loader;
	int rc;

	if (opt->nvalues > LIST_MAX) {
		fail(loader, loader->path, "%s has more than %d values",
		    opt->name, LIST_MAX);
		return -1;
	}
	s->where[0] = NULL;
	for (s->n = 0; s->n < opt->nvalues; s->n++) {
		const struct value *value = value_of(opt, s->n);

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
load_keys(struct loader *loader, const cfg_t *cfg,
    const struct section *section, void *object)
{
	struct setting s = { .loader = loader,
		.object = object,
		.directory = loader->directory };

	for (size_t i = 0; i < section->nkeys; i++) {
		const cfg_opt_t *opt = find_option(cfg, section->keys[i].name);

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

static void
load_options(struct config_channel *channel, const cfg_t *cfg)
{
	const cfg_opt_t *opt = cfg->opts;
	size_t n = 0;

	while (opt[n].name != NULL)
		n++;
	channel->options = xcalloc(n + 1, sizeof *channel->options);
	for (size_t i = 0; i < n; i++) {
		assert(opt[i].nvalues == 1);
		channel->options[i].key = xstrdup(opt[i].name);
		channel->options[i].value = xstrdup(opt[i].values[0]->string);
	}
	channel->noptions = n;
}

static int
load_pattern(struct loader *loader, struct config_channel *channel,
    const char *where, const char *pattern)
{
	const char *star = strchr(pattern, '*');

	channel->pattern = xstrdup(pattern);
	if (pattern[0] == '\0') {
		fail(loader, where,
		    "a channel needs a pattern, as in channel \"room:*\"");
		return -1;
	}
	if (star != NULL && star[1] != '\0') {
		fail(loader, where, "pattern '%s': * may only stand at the end",
		    pattern);
		return -1;
	}
	channel->is_prefix = star != NULL;
	channel->prefix = strlen(pattern) - (star != NULL ? 1 : 0);
	return 0;
}

static int
load_channel(struct loader *loader, struct config_channel *channel, cfg_t *cfg)
{
	char *where = place_of_section(loader, cfg);
	int rc = -1;

	set_channel_defaults(channel);
	channel->line = value_of(find_option(cfg, LINE_KEY), 0)->line;
	channel->file = xstrdup(loader->path);
	if (load_pattern(loader, channel, where, cfg_title(cfg)) == -1 ||
	    load_keys(loader, cfg, &section_channel, channel) == -1)
		goto out;
	if (channel->module == NULL) {
		fail(loader, where,
		    "channel '%s' has no module; write module = \"file.so:name\"",
		    channel->pattern);
		goto out;
	}
	load_options(channel, cfg_getsec(cfg, "options"));
	rc = 0;
out:
	free(where);
	return rc;
}

static int
load_mount(struct loader *loader, struct config_socket *socket,
    const char *where, const char *title)
{
	const char *why;
	size_t size = strlen(title);

	while (size > 1 && title[size - 1] == '/')
		size--;
	socket->path = xmemdup(title, size);
	why = config_value_mount(socket->path);
	if (why != NULL) {
		fail(loader, where, "socket '%s': %s", title, why);
		return -1;
	}
	for (const struct config_socket *other = loader->config->sockets;
	     other < socket; other++) {
		if (strcmp(other->path, socket->path) == 0) {
			fail(loader, where, "socket '%s' is given twice",
			    socket->path);
			return -1;
		}
	}
	return 0;
}

static int
load_socket(struct loader *loader, struct config_socket *socket, cfg_t *cfg)
{
	char *where = place_of_section(loader, cfg);
	size_t n = cfg_size(cfg, "channel");
	int rc;

	set_socket_defaults(socket);
	rc = load_mount(loader, socket, where, cfg_title(cfg));
	free(where);
	if (rc == -1 || load_keys(loader, cfg, &section_socket, socket) == -1)
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
load_sections(struct loader *loader, cfg_t *cfg)
{
	struct config *config = loader->config;
	size_t n = cfg_size(cfg, "socket");

	if (load_keys(loader, cfg_getsec(cfg, "server"), &section_server,
		config) == -1 ||
	    load_keys(loader, cfg_getsec(cfg, "endpoint"), &section_endpoint,
		config) == -1 ||
	    load_keys(loader, cfg_getsec(cfg, "log"), &section_log, config) ==
		-1)
		return -1;
	config->sockets = xcalloc(n + 1, sizeof *config->sockets);
	for (size_t i = 0; i < n; i++) {
		config->nsockets = i + 1;
		if (load_socket(loader, &config->sockets[i],
			cfg_getnsec(cfg, "socket", (unsigned)i)) == -1)
			return -1;
	}
	return 0;
}

/* The directory of the file, as a path that begins with / if it can be had. */
static char *
directory_of(const char *cwd, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *directory, *whole;

	if (slash == NULL)
		return resolve(cwd, ".");
	if (slash == path)
		return xstrdup("/");
	directory = xmemdup(path, (size_t)(slash - path));
	whole = resolve(cwd, directory);
	free(directory);
	return whole;
}

static int
load_file(struct loader *loader)
{
	cfg_t *cfg;
	int rc;

	if (loader->path == NULL)
		return 0;
	loader->directory = directory_of(loader->cwd, loader->path);
	cfg = parse_file(loader);
	if (cfg == NULL)
		return -1;
	rc = load_sections(loader, cfg);
	cfg_free(cfg);
	return rc;
}

/* The environment. */

static const struct key *
find_server_key(struct loader *loader, const char *variable)
{
	char name[64];
	struct config_guess guess = { .written = name };
	size_t n = 0;

	for (const char *p = variable + strlen(ENV_PREFIX);
	     *p != '\0' && n < sizeof name - 1; p++)
		name[n++] = (char)tolower((unsigned char)*p);
	name[n] = '\0';
	for (size_t i = 0; i < section_server.nkeys; i++) {
		if (strcmp(section_server.keys[i].name, name) == 0)
			return &section_server.keys[i];
		config_guess(&guess, section_server.keys[i].name);
	}
	fail(loader, variable, "no key '%s' in server%s%s; see bennu.conf(5)",
	    name, guess.best != NULL ? ", perhaps " : "",
	    guess.best != NULL ? guess.best : "");
	return NULL;
}

/* A list is split at its commas, in place. */
static int
split_values(struct setting *s, char *variable, char *text)
{
	while (text != NULL) {
		char *next = s->key->list ? strchr(text, ',') : NULL;

		if (next != NULL)
			*next++ = '\0';
		if (s->key->list) {
			text += strspn(text, " \t");
			text[strcspn(text, " \t")] = '\0';
		}
		if (s->n == LIST_MAX) {
			fail(s->loader, variable, "more than %d values",
			    LIST_MAX);
			return -1;
		}
		s->values[s->n] = text;
		s->where[s->n++] = variable;
		text = next;
	}
	return 0;
}

static int
load_variable(struct loader *loader, const char *entry)
{
	struct setting s = { .loader = loader,
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
load_environment(struct loader *loader)
{
	for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
		if (strncmp(*entry, ENV_PREFIX, strlen(ENV_PREFIX)) == 0 &&
		    load_variable(loader, *entry) == -1)
			return -1;
	return 0;
}

/* Arguments, and PORT. */

static int
replace_ports(struct loader *loader, const char *where, const char *text)
{
	struct config *config = loader->config;
	char normal[ADDRESS_TEXT_MAX];
	struct address address;
	size_t n = 0;
	int port = address_parse_port(text);

	if (port == -1) {
		fail(loader, where, "'%s' is no port; it must be 0 to 65535",
		    text);
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
			replace(&listener, xstrdup(normal));
		}
		/* Two ports of one address become one. */
		if (list_has(config->listen, n, listener))
			free(listener);
		else
			config->listen[n++] = listener;
	}
	config->nlisten = n;
	return 0;
}

static char *
complete_address(const struct loader *loader, const char *text)
{
	const char *why;
	char *whole, *address;

	if (strchr(text, ':') == NULL || text[0] == '[')
		whole = xasprintf("%s:%d", text, DEFAULT_PORT);
	else
		whole = xasprintf("[%s]:%d", text, DEFAULT_PORT);
	address = normal_address(whole, loader->cwd, &why);
	free(whole);
	return address;
}

/* Takes "0.0.0.0" as well as "0.0.0.0:4000". */
static int
replace_listeners(struct loader *loader, const char *text, bool *has_port)
{
	struct config *config = loader->config;
	const char *why;
	char *address = normal_address(text, loader->cwd, &why);

	*has_port = address != NULL;
	if (address == NULL)
		address = complete_address(loader, text);
	if (address == NULL) {
		fail(loader, "command line", "address '%s': %s", text, why);
		return -1;
	}
	free_list(&config->listen, &config->nlisten);
	config->listen = xcalloc(1, sizeof(char *));
	config->listen[0] = address;
	config->nlisten = 1;
	return 0;
}

static int
load_arguments(struct loader *loader, const struct config_arguments *args)
{
	static const struct config_arguments none;
	const char *port = getenv("PORT");
	bool has_port = false;

	if (args == NULL)
		args = &none;
	if (args->run_directory != NULL)
		replace(&loader->config->run_directory,
		    resolve(loader->cwd, args->run_directory));
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
check_shutdown(struct loader *loader)
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
	fail(loader, loader->shutdown_where,
	    "shutdown of the server must be longer than that of channel '%s', %d ms",
	    longest->pattern, longest->shutdown);
	return -1;
}

struct config *
config_load(const char *path, const struct config_arguments *args, char **error)
{
	struct loader loader = { .config = xcalloc(1, sizeof(struct config)),
		.path = path,
		.cwd = getcwd(NULL, 0) };

	set_defaults(loader.config);
	if (load_file(&loader) == -1 || load_environment(&loader) == -1 ||
	    load_arguments(&loader, args) == -1 ||
	    check_shutdown(&loader) == -1) {
		assert(loader.error != NULL);
		config_free(loader.config);
		loader.config = NULL;
		*error = loader.error;
	}
	free(loader.directory);
	free(loader.cwd);
	free(loader.shutdown_where);
	return loader.config;
}

static void
free_channel(struct config_channel *channel)
{
	for (size_t i = 0; i < channel->noptions; i++) {
		free(channel->options[i].key);
		free(channel->options[i].value);
	}
	free(channel->options);
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
	free_list(&socket->check_origin, &socket->norigins);
	free(socket->path);
}

void
config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->nsockets; i++)
		free_socket(&config->sockets[i]);
	free(config->sockets);
	free_list(&config->listen, &config->nlisten);
	free(config->user);
	free(config->run_directory);
	free(config->module_directory);
	free(config->static_directory);
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

const char *
config_channel_option(const struct config_channel *channel, const char *key)
{
	for (size_t i = 0; i < channel->noptions; i++)
		if (strcmp(channel->options[i].key, key) == 0)
			return channel->options[i].value;
	return NULL;
}
