/*
 * token.c - see token.h.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/secrets.h"
#include "common/token.h"
#include "common/xmalloc.h"
#include "supervisor/command.h"
#include "supervisor/token.h"

struct arguments {
	bool sign;
	int64_t max_age;
	const char *secret_file;
	const char *salt;
	const char *text; /* JSON, or a token; "-": standard input */
};

static int64_t
parse_age(const char *text)
{
	long long age;
	char *end;

	if (strcmp(text, "infinity") == 0)
		return TOKEN_ANY_AGE;
	errno = 0;
	age = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || age < 0)
		errx(STATUS_USAGE,
		    "a token's age is a number of seconds, or infinity: '%s'",
		    text);
	return age;
}

static bool
parse(int argc, char **argv, struct arguments *arguments)
{
	static const struct option longs[] = {
		{ "max-age", required_argument, NULL, 'm' },
		{ "secret-file", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	if (argc < 1)
		return false;
	arguments->sign = strcmp(argv[0], "sign") == 0;
	if (!arguments->sign && strcmp(argv[0], "verify") != 0)
		return false;
	arguments->max_age = arguments->sign ? TOKEN_DAY : TOKEN_OWN_AGE;
	optind = 0; /* again, from the beginning */
	while ((c = getopt_long(argc, argv, "+m:s:", longs, NULL)) != -1) {
		if (c == 'm')
			arguments->max_age = parse_age(optarg);
		else if (c == 's')
			arguments->secret_file = optarg;
		else
			return false;
	}
	if (argc - optind != 2)
		return false;
	arguments->salt = argv[optind];
	arguments->text = argv[optind + 1];
	return true;
}

/* ---- the secret ---- */

static char *
secret_file_of(const char *path, const struct config_arguments *arguments)
{
	char *error = NULL, *file;
	struct config *config = config_load(path, arguments, &error);

	if (config == NULL)
		errx(STATUS_USAGE, "%s", error);
	file = config->secret_file;
	config->secret_file = NULL;
	config_free(config);
	if (file == NULL)
		errx(STATUS_USAGE,
		    "no secret: name the configuration of a server that has an "
		    "endpoint.secret_file with -c, or the file itself with "
		    "--secret-file");
	return file;
}

static void
make_key(struct token_key *key, const char *file, const char *salt)
{
	struct secrets *secrets = secrets_map();
	char *why;

	if (secrets == NULL)
		err(STATUS_FAILED, "memory of the secret");
	why = secrets_read_secret(secrets, file);
	if (why != NULL)
		errx(STATUS_FAILED, "%s", why);
	token_key_derive(key, secrets->token_secret, secrets->token_secret_size,
	    salt, strlen(salt));
	explicit_bzero(secrets, sizeof *secrets);
}

/* ---- the text ---- */

/* Without the line breaks at its end. */
static char *
read_input(void)
{
	const size_t room = TOKEN_MAX + 3;
	char *text = xmalloc(room);
	size_t size = fread(text, 1, room - 1, stdin);

	if (ferror(stdin))
		err(STATUS_FAILED, "standard input");
	while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
		size--;
	text[size] = '\0';
	if (strlen(text) != size)
		errx(STATUS_USAGE, "standard input: a NUL in it");
	return text;
}

/* ---- what is done ---- */

static int
print(const char *text, size_t size)
{
	if (fwrite(text, 1, size, stdout) == size && putchar('\n') != EOF &&
	    fflush(stdout) == 0)
		return 0;
	warn("standard output");
	return STATUS_FAILED;
}

static int
sign(const struct token_key *key, const char *json, int64_t max_age)
{
	char *token = token_sign(key, json, strlen(json), token_now(), max_age);
	int status;

	if (token == NULL && errno == EINVAL)
		errx(STATUS_USAGE,
		    "'%.200s' is no JSON; a string needs its quotes: "
		    "'\"text\"'",
		    json);
	if (token == NULL)
		errx(STATUS_USAGE, "%s",
		    errno == E2BIG ? "that is too large, or too deep"
				   : "a number is too large");
	status = print(token, strlen(token));
	free(token);
	return status;
}

static int
verify(const struct token_key *key, const char *token, int64_t max_age)
{
	char *json;
	size_t size;
	enum token_result result = token_verify(
	    key, token, strlen(token), max_age, token_now(), &json, &size);
	int status;

	if (result != TOKEN_OK) {
		warnx("the token is %s", token_result_name(result));
		return STATUS_FAILED;
	}
	status = print(json, size);
	free(json);
	return status;
}

bool
token_command(const char *config, const struct config_arguments *options,
    int argc, char **argv, int *status)
{
	struct arguments arguments = { 0 };
	struct token_key key;
	char *file, *text;

	if (!parse(argc, argv, &arguments))
		return false;
	file = arguments.secret_file != NULL ? xstrdup(arguments.secret_file)
					     : secret_file_of(config, options);
	text = strcmp(arguments.text, "-") == 0 ? read_input()
						: xstrdup(arguments.text);
	make_key(&key, file, arguments.salt);
	*status = arguments.sign ? sign(&key, text, arguments.max_age)
				 : verify(&key, text, arguments.max_age);
	explicit_bzero(&key, sizeof key);
	free(file);
	free(text);
	return true;
}
