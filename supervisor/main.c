/*
 * main.c - the program: options, configuration, modules; then the supervisor.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel/module.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/process.h"
#include "supervisor/server.h"

static void
usage(FILE *out)
{
	fputs("usage: supervisor [-htV] [-b ADDRESS] [-c FILE] [-p PORT]"
	      " [-r DIRECTORY]\n"
	      "  -b, --bind ADDRESS    listen there, and nowhere else\n"
	      "  -c, --config FILE     the configuration; see bennu.conf(5)\n"
	      "  -p, --port PORT       in place of the port of each listener\n"
	      "  -r, --run DIRECTORY   where the sockets of this server lie\n"
	      "  -t, --test            only look at configuration and modules\n"
	      "  -V, --version\n"
	      "  -h, --help\n",
	    out);
}

struct options {
	const char *config;
	struct config_arguments arguments;
	bool test;
};

static void
parse_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{ "bind", required_argument, NULL, 'b' },
		{ "config", required_argument, NULL, 'c' },
		{ "port", required_argument, NULL, 'p' },
		{ "run", required_argument, NULL, 'r' },
		{ "test", no_argument, NULL, 't' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while (
	    (c = getopt_long(argc, argv, "b:c:p:r:tVh", longs, NULL)) != -1) {
		if (c == 'b')
			options->arguments.address = optarg;
		else if (c == 'c')
			options->config = optarg;
		else if (c == 'p')
			options->arguments.port = optarg;
		else if (c == 'r')
			options->arguments.run_directory = optarg;
		else if (c == 't')
			options->test = true;
		else if (c == 'V') {
			puts("bennu " BENNU_VERSION);
			exit(EXIT_NORMAL);
		} else {
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? EXIT_NORMAL : EXIT_START);
		}
	}
	if (optind == argc)
		return;
	fprintf(stderr, "supervisor: what is '%s'?\n", argv[optind]);
	usage(stderr);
	exit(EXIT_START);
}

int
main(int argc, char **argv, char **envp)
{
	struct options options = { 0 };
	struct config *config;
	char *error;

	process_init(argc, argv, envp);
	parse_options(argc, argv, &options);
	config = config_load(options.config, &options.arguments, &error);
	if (config != NULL) {
		log_setlevel((enum log_level)config->log_level);
		error = modules_load(config);
	}
	if (error != NULL) {
		log_warnx("%s", error);
		return EXIT_START;
	}
	if (!options.test)
		return server_run(config);
	puts("the configuration is fine");
	return EXIT_NORMAL;
}
