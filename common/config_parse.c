/*
 * config_parse.c - libConfuse with our tables, and its errors in our words.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/config_keys.h"
#include "common/config_parse.h"
#include "common/config_text.h"
#include "common/config_value.h"
#include "common/log.h"
#include "common/xmalloc.h"

#define TABLE_MAX 40 /* keys of one section */

/*
 * A key whose default is "parsed" where a section begins, which so tells its
 * line. The "=" keeps it out of a file's reach.
 */
#define LINE_KEY "line="

/* libConfuse's callbacks have no argument of ours. */
static struct {
	const char *path;
	char *error;
	bool running;
} parse;

static int
parse_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
	size_t size = strlen(text) + 1;
	struct config_parsed *value = xmalloc(sizeof *value + size);

	value->line = cfg->line;
	memcpy(value->text, text, size);
	*(struct config_parsed **)result = value;
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
	struct config_parsed *value = ptr;

	if (parse.running)
		parse_fail(value->line,
		    xasprintf(
			"the key with '%s' is given twice in its section; leave one",
			value->text));
	free(value);
}

static char *
explain_unknown(const cfg_t *cfg, const char *name)
{
	struct config_guess guess = { .written = name };
	const char *section = config_section_of(name);
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

/* At the top sockets and services have titles; those of sockets are paths. */
static char *
explain_twice(const cfg_t *cfg, const char *title)
{
	const char *kind = "channel";

	if (strcmp(cfg->name, "root") == 0)
		kind = title[0] == '/' ? "socket" : "service";
	return xasprintf("%s '%s' is given twice", kind, title);
}

static char *explain(const cfg_t *, const char *, va_list)
    __attribute__((__format__(printf, 2, 0)));

static char *
explain(const cfg_t *cfg, const char *fmt, va_list ap)
{
	char *text;

	/* The second: a name with | or =, which it takes for a path. */
	if (strcmp(fmt, "no such option '%s'") == 0 ||
	    strcmp(fmt, "no sub-section title/index for '%s'") == 0)
		return explain_unknown(cfg, va_arg(ap, const char *));
	if (strcmp(fmt, "found duplicate title '%s'") == 0)
		return explain_twice(cfg, va_arg(ap, const char *));
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
make_options(const struct config_section *section, cfg_opt_t *opts)
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
	cfg_opt_t service[TABLE_MAX] = { CFG_END() };
	cfg_opt_t logs[TABLE_MAX] = { CFG_END() };
	cfg_opt_t options[] = { CFG_END() };
	cfg_opt_t root[] = {
		CFG_SEC("server", server, CFGF_NONE),
		CFG_SEC("socket", socket, named),
		CFG_SEC("endpoint", endpoint, CFGF_NONE),
		CFG_SEC("service", service, named),
		CFG_SEC("log", logs, CFGF_NONE),
		CFG_END(),
	};
	size_t n;
	cfg_t *cfg;

	make_options(&config_section_server, server);
	n = make_options(&config_section_endpoint, endpoint);
	endpoint[n] = (cfg_opt_t)CFG_SEC("options", options, CFGF_KEYSTRVAL);
	n = make_options(&config_section_service, service);
	service[n] = (cfg_opt_t)CFG_SEC("options", options, CFGF_KEYSTRVAL);
	make_options(&config_section_log, logs);
	n = make_options(&config_section_channel, channel);
	channel[n] = (cfg_opt_t)CFG_SEC("options", options, CFGF_KEYSTRVAL);
	n = make_options(&config_section_socket, socket);
	socket[n] = (cfg_opt_t)CFG_SEC("channel", channel, named);
	cfg = cfg_init(root, CFGF_NONE);
	if (cfg == NULL)
		fatal("cfg_init");
	cfg_set_error_function(cfg, parse_error);
	return cfg;
}

cfg_t *
config_parse(const char *path, char **error)
{
	char *text = config_text_read(path, error);
	cfg_t *cfg;
	int rc;

	if (text == NULL)
		return NULL;
	cfg = make_parser();
	parse.path = path;
	parse.error = NULL;
	parse.running = true;
	rc = cfg_parse_buf(cfg, text);
	parse.running = false;
	free(text);
	if (rc == CFG_SUCCESS && parse.error == NULL)
		return cfg;
	*error = parse.error != NULL
	    ? parse.error
	    : xasprintf("%s: it cannot be parsed", path);
	cfg_free(cfg);
	return NULL;
}

const cfg_opt_t *
config_parse_option(const cfg_t *cfg, const char *name)
{
	for (const cfg_opt_t *opt = cfg->opts; opt->name != NULL; opt++)
		if (strcmp(opt->name, name) == 0)
			return opt;
	return NULL;
}

const struct config_parsed *
config_parse_value(const cfg_opt_t *opt, size_t i)
{
	assert(i < opt->nvalues);
	return opt->values[i]->ptr;
}

int
config_parse_line(const cfg_t *cfg)
{
	return config_parse_value(config_parse_option(cfg, LINE_KEY), 0)->line;
}
