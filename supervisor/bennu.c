/*
 * bennu.c - the command: what one says to a server that runs, and what one
 * hears from it. It is a client of a pubsub worker and of presence, through
 * their sockets in the run directory, and of the server itself, with the token
 * that lies there; who may open these may do all of this.
 */
#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bennu/channel.h>

#include "common/config.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/xmalloc.h"
#include "pubsub/broadcast.h"
#include "pubsub/shared.h"
#include "pubsub/slots.h"
#include "pubsub/tap_reader.h"
#include "supervisor/command.h"
#include "supervisor/inspect.h"
#include "supervisor/rundir.h"
#include "supervisor/token.h"

#define ACCEPT_LIMIT 10   /* s until a broadcast is accepted */
#define LIST_LIMIT   5    /* s until presence has answered */
#define AGAIN        100  /* ms before the next connect */
#define NAMES_MAX    1000 /* of channels and topics */

struct options {
	const char *config;
	struct config_arguments arguments;
};

struct command {
	const struct options *options;
	struct event_base *base;
	char *directory; /* of the run */
	char *socket;    /* of a worker */
	struct mailbox *worker;
	struct event *again;
	int status;

	/* subscribe, presence -f */
	bool ready[PUBSUB_MAX];
	bool listening;

	/* presence */
	struct text topic;
	bool follow;
	struct mailbox *presence; /* NULL: not connected */
	struct event *ask;
	bool listed;
	struct json_buffer diffs; /* that came before the list, as lines */
};

static void
usage(FILE *out)
{
	fputs("usage: bennu [-hV] [-c FILE | -p PORT | -r DIRECTORY] COMMAND\n"
	      "  broadcast TOPIC EVENT JSON   to all who are on the topic\n"
	      "  subscribe TOPIC              show what is broadcast there;\n"
	      "                               room:* is all that begin so\n"
	      "  presence [-f] TOPIC          who is there; -f, --follow: and\n"
	      "                               what becomes of it\n"
	      "  inspect [CHANNEL|TOPIC ...]  what channels are doing\n"
	      "  token sign [-m SECONDS] [-s FILE] SALT JSON\n"
	      "  token verify [-m SECONDS] [-s FILE] SALT TOKEN\n"
	      "                               with the secret of FILE, or the\n"
	      "                               server's; -m, --max-age;\n"
	      "                               -s, --secret-file\n"
	      "  -c, --config FILE     the server's; see bennu.conf(5)\n"
	      "  -p, --port PORT       its first port\n"
	      "  -r, --run DIRECTORY   its run directory\n"
	      "  -V, --version\n"
	      "  -h, --help\n",
	    out);
}

/* ---- which server ---- */

/* The name of a run directory that the server chose: its first port. */
static const char *
server_name(const struct config *config)
{
	const char *address = config->nlisten > 0 ? config->listen[0] : "unix:";
	const char *colon = strrchr(address, ':');

	if (strncmp(address, "unix:", 5) == 0 || colon == NULL)
		return "unix";
	if (strcmp(colon, ":0") == 0)
		errx(STATUS_USAGE,
		    "its port is 0: name its run directory with -r");
	return colon + 1;
}

static void
find_server(struct command *command, const struct options *options)
{
	struct config *config;
	char *error = NULL;

	config = config_load(options->config, &options->arguments, &error);
	if (config == NULL)
		errx(STATUS_USAGE, "%s", error);
	command->directory = rundir_path(config->run_directory,
	    config->run_directory == NULL ? server_name(config) : NULL);
	command->socket = xasprintf("%s/pubsub-1.sock", command->directory);
	config_free(config);
}

/* ---- a worker ---- */

static bool
is_not_there(int error)
{
	return error == ENOENT || error == ECONNREFUSED || error == ENOTDIR;
}

static _Noreturn void
fail_connect(const struct command *command, const char *path)
{
	if (is_not_there(errno))
		errx(STATUS_FAILED, "no server runs in %s", command->directory);
	err(STATUS_FAILED, "%s", path);
}

static void
connect_worker(struct command *command, mailbox_cb callback)
{
	int fd = mailbox_connect(command->socket);

	if (fd == -1)
		fail_connect(command, command->socket);
	command->worker = mailbox_new(fd, callback, command);
	mailbox_attach(command->worker, command->base);
}

static void
finish(struct command *command, int status)
{
	command->status = status;
	event_base_loopbreak(command->base);
}

/* ---- broadcast ---- */

static void
check_name(const char *what, const char *name)
{
	if (name[0] == '\0')
		errx(STATUS_USAGE, "the %s is empty", what);
	if (!json_is_utf8(name, strlen(name)))
		errx(STATUS_USAGE, "the %s is not UTF-8", what);
}

/* As it travels: without white space. */
static struct text
check_payload(const char *json)
{
	struct json_span span = json_scan_text(json, strlen(json));
	struct json_buffer compact = { 0 };

	if (span.kind == JSON_BAD)
		errx(STATUS_USAGE,
		    "'%.200s' is no JSON; a string needs its quotes: "
		    "'\"text\"'",
		    json);
	json_append_span(&compact, span);
	return (struct text){ .data = compact.data, .size = compact.size };
}

static void
on_accepted(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct command *command = arg;

	if (envelope != NULL && envelope->type == ENVELOPE_PS_ACCEPTED) {
		finish(command, 0);
		return;
	}
	/* To send it again might double it: nobody knows our last one. */
	warnx("the pubsub worker ended: whether the broadcast was accepted is "
	      "unknown");
	mailbox_pause(mailbox);
	finish(command, STATUS_UNKNOWN);
}

static void
on_late(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	warnx("no answer in %d s: whether the broadcast was accepted is "
	      "unknown",
	    ACCEPT_LIMIT);
	finish(arg, STATUS_UNKNOWN);
}

static void
send_broadcast(struct command *command, const struct broadcast *broadcast)
{
	struct envelope_writer hello = { 0 }, publish = { 0 };

	envelope_put_u32(&hello, SLOT_NONE);
	envelope_put_u64(&hello, 0);
	envelope_put_u32(&hello, 0);
	mailbox_send(command->worker, ENVELOPE_PS_HELLO, &hello);
	mailbox_send(command->worker, ENVELOPE_PS_READY, NULL);
	envelope_put_u64(&publish, 1);
	envelope_put_u32(&publish, 0);
	broadcast_put(&publish, broadcast);
	mailbox_send(command->worker, ENVELOPE_PS_PUBLISH, &publish);
}

static void
run_broadcast(struct command *command, int argc, char **argv)
{
	static const struct timeval limit = { .tv_sec = ACCEPT_LIMIT };
	struct broadcast broadcast = {
		.topic = { .data = argv[0], .size = strlen(argv[0]) },
		.event = { .data = argv[1], .size = strlen(argv[1]) },
		.kind = BENNU_JSON,
	};

	(void)argc;
	check_name("topic", argv[0]);
	check_name("event", argv[1]);
	broadcast.payload = check_payload(argv[2]);
	connect_worker(command, on_accepted);
	send_broadcast(command, &broadcast);
	event_base_once(
	    command->base, -1, EV_TIMEOUT, on_late, command, &limit);
	event_base_dispatch(command->base);
	free(broadcast.payload.data);
}

/* ---- subscribe ---- */

/* All workers that there are: then it is said, once. */
static void
on_ready(unsigned worker, void *arg)
{
	struct command *command = arg;
	char *path;
	bool there;

	command->ready[worker - 1] = true;
	if (command->listening)
		return;
	for (unsigned i = 0; i < PUBSUB_MAX; i++) {
		path = xasprintf(
		    "%s/pubsub-%u.sock", command->directory, i + 1);
		there = access(path, F_OK) == 0;
		free(path);
		if (there && !command->ready[i])
			return;
	}
	command->listening = true;
	warnx("listening");
}

static void
fail_print(struct command *command)
{
	if (errno != EPIPE)
		warn("standard output");
	finish(command, errno == EPIPE ? 0 : STATUS_FAILED);
}

static void
print_line(struct command *command, const struct text *line)
{
	if (fwrite(line->data, 1, line->size, stdout) != line->size ||
	    putchar('\n') == EOF || fflush(stdout) != 0)
		fail_print(command);
}

static void
on_entry(unsigned worker, const struct text *object, void *arg)
{
	(void)worker;
	print_line(arg, object);
}

static void
on_missed(unsigned worker, uint64_t n, void *arg)
{
	(void)worker;
	(void)arg;
	warnx("%llu broadcasts, of whatever topics, were missed",
	    (unsigned long long)n);
}

static void
on_interrupt(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	finish(arg, 0);
}

/* Nothing is asked over it: it ends with the worker, and cannot be made again
 * when the server has ended. */
static void
on_worker(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	static const struct timeval pause = { .tv_usec = AGAIN * 1000 };
	struct command *command = arg;

	(void)envelope;
	mailbox_free(mailbox);
	command->worker = NULL;
	event_add(command->again, &pause);
}

static void
on_again(int fd, short what, void *arg)
{
	static const struct timeval pause = { .tv_usec = AGAIN * 1000 };
	struct command *command = arg;

	(void)what;
	fd = mailbox_connect(command->socket);
	if (fd != -1) {
		command->worker = mailbox_new(fd, on_worker, command);
		mailbox_attach(command->worker, command->base);
		return;
	}
	if (!is_not_there(errno)) {
		event_add(command->again, &pause);
		return;
	}
	warnx("the server has ended");
	finish(command, 0);
}

static void
catch_signals(struct command *command)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		event_add(evsignal_new(
			      command->base, signals[i], on_interrupt, command),
		    NULL);
}

/* Until the server has ended, or somebody interrupts. */
static void
listen_to(struct command *command, const struct tap_reader_topics *topics,
    const struct tap_reader_callbacks *callbacks)
{
	struct tap_reader *reader;

	command->again = event_new(command->base, -1, 0, on_again, command);
	connect_worker(command, on_worker);
	catch_signals(command);
	reader = tap_reader_new(
	    command->base, command->directory, topics, callbacks, command);
	if (reader == NULL)
		exit(STATUS_FAILED);
	event_base_dispatch(command->base);
	tap_reader_free(reader);
}

static void
run_subscribe(struct command *command, int argc, char **argv)
{
	static const struct tap_reader_callbacks callbacks = {
		.ready = on_ready,
		.entry = on_entry,
		.missed = on_missed,
	};
	struct tap_reader_topics topics = {
		.name = { .data = argv[0], .size = strlen(argv[0]) },
	};

	(void)argc;
	check_name("topic", argv[0]);
	topics.is_prefix = argv[0][topics.name.size - 1] == '*';
	if (topics.is_prefix)
		topics.name.size--;
	listen_to(command, &topics, &callbacks);
}

/* ---- presence ---- */

static void
ask_later(struct command *command)
{
	static const struct timeval pause = { .tv_usec = AGAIN * 1000 };

	mailbox_free(command->presence);
	command->presence = NULL;
	event_add(command->ask, &pause);
}

static void
print_listed(struct command *command, struct envelope *envelope)
{
	struct text list = envelope_get_text(envelope);

	if (!envelope_end(envelope))
		return; /* cut off: it will be asked again */
	if (list.size == 0) {
		command->listed = true;
		warnx("the list is too long to be told");
		finish(command, STATUS_FAILED);
		return;
	}
	command->listed = true;
	print_line(command, &list);
	if (command->diffs.size > 0 &&
	    (fwrite(command->diffs.data, 1, command->diffs.size, stdout) !=
		    command->diffs.size ||
		fflush(stdout) != 0))
		fail_print(command);
	json_buffer_free(&command->diffs);
	if (!command->follow)
		finish(command, command->status);
}

/* It has died over the question, or it has answered. */
static void
on_presence(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct command *command = arg;

	(void)mailbox;
	if (envelope != NULL && envelope->type == ENVELOPE_PR_LISTED)
		print_listed(command, envelope);
	if (!command->listed) {
		ask_later(command);
		return;
	}
	mailbox_free(command->presence);
	command->presence = NULL;
}

static void
on_ask(int fd, short what, void *arg)
{
	struct command *command = arg;
	struct envelope_writer hello = { 0 }, list = { 0 };
	char *path = xasprintf("%s/presence.sock", command->directory);

	(void)what;
	fd = mailbox_connect(path);
	if (fd == -1 && errno != EAGAIN)
		fail_connect(command, path);
	free(path);
	if (fd == -1) {
		ask_later(command);
		return;
	}
	command->presence = mailbox_new(fd, on_presence, command);
	mailbox_attach(command->presence, command->base);
	envelope_put_u64(&hello, 0);
	envelope_put_u32(&hello, SLOT_NONE);
	mailbox_send(command->presence, ENVELOPE_PR_HELLO, &hello);
	envelope_put_data(&list, command->topic.data, command->topic.size);
	envelope_put_string(&list, NULL);
	mailbox_send(command->presence, ENVELOPE_PR_LIST, &list);
}

static void
on_no_list(int fd, short what, void *arg)
{
	struct command *command = arg;

	(void)fd;
	(void)what;
	if (command->listed)
		return;
	warnx("presence did not answer in %d s", LIST_LIMIT);
	finish(command, STATUS_FAILED);
}

static void
ask_for_list(struct command *command)
{
	static const struct timeval limit = { .tv_sec = LIST_LIMIT };

	command->ask = event_new(command->base, -1, 0, on_ask, command);
	event_active(command->ask, EV_TIMEOUT, 0);
	event_base_once(
	    command->base, -1, EV_TIMEOUT, on_no_list, command, &limit);
}

/* All that becomes of the list from now on will be heard. */
static void
on_ready_to_follow(unsigned worker, void *arg)
{
	struct command *command = arg;
	bool listening = command->listening;

	on_ready(worker, command);
	if (!listening && command->listening)
		ask_for_list(command);
}

/* A member of an object of a tap, which is JSON without white space. */
static struct json_span
member_of(const struct text *object, const char *name)
{
	const char *at = object->data + 1, *end = object->data + object->size;
	const size_t size = strlen(name);

	while (at < end && *at == '"') {
		struct json_span key = json_scan_value(&at, end), value;

		at++; /* the colon */
		value = json_scan_value(&at, end);
		at++; /* the comma, or the end */
		if (key.size == size + 2 &&
		    memcmp(key.data + 1, name, size) == 0)
			return value;
	}
	return (struct json_span){ .kind = JSON_BAD };
}

static void
on_diff(unsigned worker, const struct text *object, void *arg)
{
	static const char diff[] = "\"presence_diff\"";
	struct command *command = arg;
	struct json_span event = member_of(object, "event");
	struct json_span payload = member_of(object, "payload");
	struct text line = { (char *)(uintptr_t)payload.data, payload.size };

	(void)worker;
	if (event.size != strlen(diff) ||
	    memcmp(event.data, diff, event.size) != 0)
		return;
	if (payload.kind == JSON_BAD) {
		warnx("a diff that is too large to be shown");
	} else if (command->listed) {
		print_line(command, &line);
	} else {
		json_append(&command->diffs, line.data, line.size);
		json_append_text(&command->diffs, "\n");
	}
}

static bool
is_follow(const char *option)
{
	return strcmp(option, "-f") == 0 || strcmp(option, "--follow") == 0;
}

static void
run_presence(struct command *command, int argc, char **argv)
{
	static const struct tap_reader_callbacks callbacks = {
		.ready = on_ready_to_follow,
		.entry = on_diff,
		.missed = on_missed,
	};
	struct tap_reader_topics topics = { 0 };

	command->follow = argc == 2;
	if (is_follow(argv[0]) != command->follow) {
		usage(stderr);
		exit(STATUS_USAGE);
	}
	check_name("topic", argv[argc - 1]);
	command->topic = (struct text){
		.data = argv[argc - 1],
		.size = strlen(argv[argc - 1]),
	};
	if (command->follow) {
		topics.name = command->topic;
		listen_to(command, &topics, &callbacks);
	} else {
		ask_for_list(command);
		event_base_dispatch(command->base);
	}
	mailbox_free(command->presence);
	json_buffer_free(&command->diffs);
}

/* ---- inspect ---- */

static void
run_inspect(struct command *command, int argc, char **argv)
{
	if (!inspect_channels(command->directory, argc, argv, STATUS_FAILED) ||
	    fflush(stdout) != 0)
		command->status = STATUS_FAILED;
}

/* ---- token ---- */

static void
run_token(struct command *command, int argc, char **argv)
{
	if (token_command(command->options->config,
		&command->options->arguments, argc, argv, &command->status))
		return;
	usage(stderr);
	command->status = STATUS_USAGE;
}

/* ---- the program ---- */

static const struct {
	const char *name;
	int min, max; /* arguments */
	void (*run)(struct command *, int argc, char **argv);
	bool alone; /* it needs no server */
} commands[] = {
	{ "broadcast", 3, 3, run_broadcast, false },
	{ "subscribe", 1, 1, run_subscribe, false },
	{ "presence", 1, 2, run_presence, false },
	{ "inspect", 0, NAMES_MAX, run_inspect, false },
	{ "token", 3, 7, run_token, true },
};

static int
parse_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "port", required_argument, NULL, 'p' },
		{ "run", required_argument, NULL, 'r' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	/* + : what follows the command is its own, -1 for example. */
	while ((c = getopt_long(argc, argv, "+c:p:r:Vh", longs, NULL)) != -1) {
		if (c == 'c')
			options->config = optarg;
		else if (c == 'p')
			options->arguments.port = optarg;
		else if (c == 'r')
			options->arguments.run_directory = optarg;
		else if (c == 'V') {
			puts("bennu " BENNU_VERSION);
			exit(0);
		} else {
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : STATUS_USAGE);
		}
	}
	return optind;
}

static size_t
find_command(int argc, char **argv, int at)
{
	if (at < argc)
		for (size_t i = 0; i < sizeof commands / sizeof commands[0];
		     i++)
			if (strcmp(commands[i].name, argv[at]) == 0 &&
			    commands[i].min <= argc - at - 1 &&
			    commands[i].max >= argc - at - 1)
				return i;
	usage(stderr);
	exit(STATUS_USAGE);
}

int
main(int argc, char **argv)
{
	struct options options = { 0 };
	struct command command = { .options = &options };
	int at = parse_options(argc, argv, &options);
	size_t i = find_command(argc, argv, at);

	log_init("bennu");
	log_setlevel(LOG_LEVEL_WARN);
	signal(SIGPIPE, SIG_IGN);
	if (!commands[i].alone)
		find_server(&command, &options);
	command.base = event_base_new();
	if (command.base == NULL)
		errx(STATUS_FAILED, "event_base_new");
	commands[i].run(&command, argc - at - 1, argv + at + 1);
	mailbox_free(command.worker);
	event_base_free(command.base);
	free(command.directory);
	free(command.socket);
	return command.status;
}
