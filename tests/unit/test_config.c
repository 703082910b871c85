/*
 * config.c: a whole file, its defaults, each way of getting it wrong, the
 * environment and the command line.
 */
#include <sys/stat.h>

#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"
#include "common/log.h"
#include "tests/unit/unit.h"

#define NAME "bennu.conf"

static char directory[64];

/* A text around what a test is about. */
#define IN_SERVER(text) "server {\n" text "\n}\n"
#define IN_SOCKET(text) "socket \"/socket\" {\n" text "\n}\n"
#define IN_CHANNEL(text) \
	IN_SOCKET("channel \"room:*\" {\nmodule = \"a.so:b\"\n" text "\n}")

static void
enter(void)
{
	snprintf(directory, sizeof directory, "/tmp/bennu-test-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_eq(chdir(directory), 0);
	unsetenv("PORT");
	unsetenv("BENNU_SERVER_LISTEN");
}

static void
leave(void)
{
	unlink(NAME);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(directory), 0);
}

static void
write_file(const char *path, const char *text, size_t size)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text, 1, size, f), size);
	ck_assert_int_eq(fclose(f), 0);
}

static struct config *
load_with(const char *text, const struct config_arguments *args)
{
	struct config *config;
	char *error = NULL;

	write_file(NAME, text, strlen(text));
	config = config_load(NAME, args, &error);
	ck_assert_msg(config != NULL, "%s", error);
	ck_assert_ptr_null(error);
	return config;
}

static struct config *
load(const char *text)
{
	return load_with(text, NULL);
}

static void
assert_error(const char *text, size_t size, const char *expected)
{
	struct config *config;
	char *error = NULL;

	write_file(NAME, text, size);
	config = config_load(NAME, NULL, &error);
	ck_assert_msg(config == NULL, "accepted: %s", text);
	ck_assert_ptr_nonnull(error);
	ck_assert_msg(strncmp(error, expected, strlen(expected)) == 0,
	    "'%s' does not begin with '%s'", error, expected);
	free(error);
}

struct wrong {
	const char *text, *error;
};

static void
assert_errors(const struct wrong *wrong, size_t n)
{
	enter();
	for (size_t i = 0; i < n; i++)
		assert_error(
		    wrong[i].text, strlen(wrong[i].text), wrong[i].error);
	leave();
}
#define ASSERT_ERRORS(wrong) \
	assert_errors(wrong, sizeof(wrong) / sizeof((wrong)[0]))

/* The path of name below the directory of the test. */
static const char *
below(const char *name)
{
	static char path[PATH_MAX + 256];
	char real[PATH_MAX];

	ck_assert_ptr_nonnull(realpath(directory, real));
	snprintf(path, sizeof path, "%s/%s", real, name);
	return path;
}

static void
assert_defaults(const struct config *config)
{
	ck_assert_uint_eq(config->nlisten, 2);
	ck_assert_str_eq(config->listen[0], "127.0.0.1:4000");
	ck_assert_str_eq(config->listen[1], "[::1]:4000");
	ck_assert_ptr_null(config->user);
	ck_assert_ptr_null(config->run_directory);
	ck_assert_int_eq(config->module_directory[0], '/');
	ck_assert_uint_eq(config->max_connections, 10000);
	ck_assert_uint_eq(config->max_connections_per_address, 1000);
	ck_assert_uint_eq(config->pubsub_workers, 0);
	ck_assert_uint_eq(config->backlog_max, 1000000);
	ck_assert_int_eq(config->backlog_policy, BACKLOG_CLOSE);
	ck_assert_uint_eq(config->queue_max_bytes, 1000000);
	ck_assert_uint_eq(config->queue_max_messages, 1000);
	ck_assert_int_eq(config->hung_timeout, 20000);
	ck_assert_int_eq(config->send_timeout, 15000);
	ck_assert_int_eq(config->head_timeout, 10000);
	ck_assert_uint_eq(config->head_max, 16000);
	ck_assert_uint_eq(config->headers_max, 100);
	ck_assert_uint_eq(config->body_max, 8000000);
	ck_assert_uint_eq(config->crash_limit, 3);
	ck_assert_int_eq(config->crash_period, 60000);
	ck_assert_int_eq(config->shutdown, 10000);
	ck_assert_int_eq(config->drain_delay, 0);
	ck_assert_uint_eq(config->drain_batch, 1000);
	ck_assert_int_eq(config->drain_interval, 1000);
	ck_assert_int_eq(config->drain_limit, 30000);
	ck_assert(config->ready);
	ck_assert_ptr_null(config->static_directory);
	ck_assert(!config->tree);
	ck_assert_ptr_null(config->broadcast_token_file);
	ck_assert_ptr_null(config->secret_file);
	ck_assert_int_eq(config->log_level, LOG_LEVEL_INFO);
	ck_assert_uint_eq(config->nsockets, 0);
}

START_TEST(defaults)
{
	struct config *config;
	char *error = NULL;

	enter();
	config = config_load(NULL, NULL, &error);
	ck_assert_ptr_nonnull(config);
	assert_defaults(config);
	config_free(config);
	config = load("");
	assert_defaults(config);
	config_free(config);
	config = load("server { }\nendpoint{}\nlog {\n}");
	assert_defaults(config);
	config_free(config);
	config_free(NULL);
	leave();
}
END_TEST

START_TEST(defaults_of_sockets)
{
	struct config *config;
	const struct config_socket *socket;
	const struct config_channel *channel;

	enter();
	config = load(IN_CHANNEL(""));
	ck_assert_uint_eq(config->nsockets, 1);
	socket = &config->sockets[0];
	ck_assert_str_eq(socket->path, "/socket");
	ck_assert(socket->websocket);
	ck_assert(!socket->longpoll);
	ck_assert_int_eq(socket->longpoll_window, 10000);
	ck_assert_int_eq(socket->pubsub_timeout, 2000);
	ck_assert_ptr_null(socket->check_origin);
	ck_assert_uint_eq(socket->norigins, 0);
	ck_assert_ptr_null(socket->module);
	ck_assert_ptr_null(socket->callbacks);
	ck_assert_int_eq(socket->line, 1);
	ck_assert(!socket->auth_token);
	ck_assert_uint_eq(socket->connect_info, 0);
	ck_assert_int_eq(socket->connect_timeout, 5000);
	ck_assert_int_eq(socket->idle_timeout, 60000);
	ck_assert_int_eq(socket->unjoined_timeout, 0);
	ck_assert_int_eq(socket->join_timeout, 5000);
	ck_assert_uint_eq(socket->max_frame, 10000000);
	ck_assert_uint_eq(socket->max_message, 8000000);
	ck_assert_uint_eq(socket->max_channels, 100);
	ck_assert_uint_eq(socket->max_fragments, 100000);
	ck_assert_int_eq(socket->message_timeout, 60000);
	ck_assert_uint_eq(socket->control_rate, 100);
	ck_assert_uint_eq(socket->event_rate, 0);
	ck_assert_uint_eq(socket->join_rate, 0);
	ck_assert_uint_eq(socket->nchannels, 1);
	channel = &socket->channels[0];
	ck_assert_str_eq(channel->pattern, "room:*");
	ck_assert(channel->is_prefix);
	ck_assert_uint_eq(channel->prefix, 5);
	ck_assert_str_eq(channel->module, "a.so:b");
	ck_assert_int_eq(channel->restart, RESTART_TRANSIENT);
	ck_assert_uint_eq(channel->intensity, 3);
	ck_assert_uint_eq(channel->period, 5);
	ck_assert_int_eq(channel->shutdown, 5000);
	ck_assert_int_eq(channel->memory_max, 0);
	ck_assert_uint_eq(channel->limit_nofile, 64);
	ck_assert_int_eq(channel->nice, 0);
	ck_assert_uint_eq(channel->noptions, 0);
	ck_assert_str_eq(channel->file, NAME);
	ck_assert_int_eq(channel->line, 2);
	config_free(config);
	leave();
}
END_TEST

static const char whole[] =
    "# one comment\n"
    "// another {\n"
    "/* and a \" third\n"
    "   } */ server {\n"
    "	listen = {\"0.0.0.0:80\", # inside a list\n"
    "	    '[::]:80', \"unix:http.sock\", \"unix:/run/x.sock\"}\n"
    "	user = bennu\n"
    "	run_directory = run\n"
    "	module_directory = ./modules\n"
    "	url_host = chat.example.com connect_workers = 2\n"
    "	max_connections = 500\n"
    "	max_connections_per_address = 0\n"
    "	pubsub_workers = 3\n"
    "	backlog_max = 64Ki\n"
    "	backlog_policy = drop\n"
    "	queue_max_bytes = 2k\n"
    "	queue_max_messages = 7\n"
    "	hung_timeout = 1min\n"
    "	send_timeout = 1500ms\n"
    "	head_timeout = 2s\n"
    "	head_max = 4000\n"
    "	headers_max = 20\n"
    "	body_max = 0\n"
    "	crash_limit = 0\n"
    "	crash_period = 1h\n"
    "	shutdown = 20s\n"
    "	drain_delay = 3s drain_batch = 50 drain_interval = 0\n"
    "	drain_limit = 20s\n"
    "}\n"
    "socket '/socket/' {\n"
    "	transports = longpoll longpoll_window = 3s pubsub_timeout = 700ms\n"
    "	auth_token = on connect_timeout = 1s\n"
    "	module = './lib/demo.so:user_socket' connect_info = {uri, x_headers}\n"
    "	check_origin = {\"//localhost\", \"https://*.example.com:8443\"}\n"
    "	check_origin += \"//[::1]:4000\"\n"
    "	idle_timeout = 90s\n"
    "	join_timeout = 300ms\n"
    "	max_frame = 1Mi\n"
    "	max_message = 2M\n"
    "	max_channels = 5\n"
    "	channel \"room:*\" {\n"
    "		module = \"./lib/demo.so:room\"\n"
    "		restart = temporary\n"
    "		intensity = 0\n"
    "		period = 2min\n"
    "		shutdown = 7s\n"
    "		memory_max = 64M\n"
    "		limit_nofile = 0\n"
    "		nice = -5\n"
    "		options { history = \"20\" \"a b\"=c empty=\"\" }\n"
    "	}\n"
    "	channel lobby { module = \"/x/y.so:lobby\" restart=permanent\n"
    "	    shutdown = brutal_kill }\n"
    "}\n"
    "socket \"/two/deep\" {}\n"
    "endpoint { static = \"web/dist\" tree = on ready = off\n"
    "	broadcast_token_file = \"etc/token\" secret_file = \"/etc/secret\"\n"
    "	module = \"lib/demo.so:api\" handler_timeout = 3s\n"
    "	options { database = demo.db } }\n"
    "log { level = debug }\n";

static void
assert_server(const struct config *config)
{
	char path[PATH_MAX];

	ck_assert_uint_eq(config->nlisten, 4);
	ck_assert_str_eq(config->listen[0], "0.0.0.0:80");
	ck_assert_str_eq(config->listen[1], "[::]:80");
	snprintf(path, sizeof path, "unix:%.200s", below("http.sock"));
	ck_assert_str_eq(config->listen[2], path);
	ck_assert_str_eq(config->listen[3], "unix:/run/x.sock");
	ck_assert_str_eq(config->user, "bennu");
	ck_assert_str_eq(config->run_directory, below("run"));
	ck_assert_str_eq(config->module_directory, below("modules"));
	ck_assert_str_eq(config->url_host, "chat.example.com");
	ck_assert_uint_eq(config->connect_workers, 2);
	ck_assert_uint_eq(config->max_connections, 500);
	ck_assert_uint_eq(config->max_connections_per_address, 0);
	ck_assert_uint_eq(config->pubsub_workers, 3);
	ck_assert_uint_eq(config->backlog_max, 65536);
	ck_assert_int_eq(config->backlog_policy, BACKLOG_DROP);
	ck_assert_uint_eq(config->queue_max_bytes, 2000);
	ck_assert_uint_eq(config->queue_max_messages, 7);
	ck_assert_int_eq(config->hung_timeout, 60000);
	ck_assert_int_eq(config->send_timeout, 1500);
	ck_assert_int_eq(config->head_timeout, 2000);
	ck_assert_uint_eq(config->head_max, 4000);
	ck_assert_uint_eq(config->headers_max, 20);
	ck_assert_uint_eq(config->body_max, 0);
	ck_assert_uint_eq(config->crash_limit, 0);
	ck_assert_int_eq(config->crash_period, 3600000);
	ck_assert_int_eq(config->shutdown, 20000);
	ck_assert_int_eq(config->drain_delay, 3000);
	ck_assert_uint_eq(config->drain_batch, 50);
	ck_assert_int_eq(config->drain_interval, 0);
	ck_assert_int_eq(config->drain_limit, 20000);
	ck_assert(!config->ready);
	ck_assert_str_eq(config->static_directory, below("web/dist"));
	ck_assert_str_eq(config->broadcast_token_file, below("etc/token"));
	ck_assert_str_eq(config->secret_file, "/etc/secret");
	ck_assert(config->tree);
	ck_assert_str_eq(config->endpoint.module, below("lib/demo.so:api"));
	ck_assert_str_eq(config->endpoint.file, NAME);
	ck_assert_int_eq(config->endpoint.line, 58);
	ck_assert_int_eq(config->endpoint.handler_timeout, 3000);
	ck_assert_str_eq(
	    config_endpoint_option(&config->endpoint, "database"), "demo.db");
	ck_assert_ptr_null(config_endpoint_option(&config->endpoint, "data"));
	ck_assert_int_eq(config->log_level, LOG_LEVEL_DEBUG);
}

static void
assert_socket(const struct config_socket *socket)
{
	ck_assert_str_eq(socket->path, "/socket");
	ck_assert(!socket->websocket);
	ck_assert(socket->longpoll);
	ck_assert_int_eq(socket->longpoll_window, 3000);
	ck_assert_int_eq(socket->pubsub_timeout, 700);
	ck_assert(socket->auth_token);
	ck_assert_str_eq(socket->module, below("lib/demo.so:user_socket"));
	ck_assert_uint_eq(
	    socket->connect_info, CONNECT_INFO_URI | CONNECT_INFO_X);
	ck_assert_int_eq(socket->connect_timeout, 1000);
	ck_assert_uint_eq(socket->norigins, 3);
	ck_assert_str_eq(socket->check_origin[0], "//localhost");
	ck_assert_str_eq(socket->check_origin[1], "https://*.example.com:8443");
	ck_assert_str_eq(socket->check_origin[2], "//[::1]:4000");
	ck_assert_int_eq(socket->idle_timeout, 90000);
	ck_assert_int_eq(socket->join_timeout, 300);
	ck_assert_uint_eq(socket->max_frame, 1048576);
	ck_assert_uint_eq(socket->max_message, 2000000);
	ck_assert_uint_eq(socket->max_channels, 5);
	ck_assert_uint_eq(socket->nchannels, 2);
}

static void
assert_channel(const struct config_channel *channel)
{
	ck_assert_str_eq(channel->module, below("lib/demo.so:room"));
	ck_assert_int_eq(channel->restart, RESTART_TEMPORARY);
	ck_assert_uint_eq(channel->intensity, 0);
	ck_assert_uint_eq(channel->period, 120);
	ck_assert_int_eq(channel->shutdown, 7000);
	ck_assert_int_eq(channel->memory_max, 64000000);
	ck_assert_uint_eq(channel->limit_nofile, 0);
	ck_assert_int_eq(channel->nice, -5);
	ck_assert_int_eq(channel->line, 41);
	ck_assert_uint_eq(channel->noptions, 3);
	ck_assert_str_eq(config_channel_option(channel, "history"), "20");
	ck_assert_str_eq(config_channel_option(channel, "a b"), "c");
	ck_assert_str_eq(config_channel_option(channel, "empty"), "");
	ck_assert_ptr_null(config_channel_option(channel, "histor"));
}

START_TEST(services)
{
	const struct config_service *service;
	struct config *config;

	enter();
	config = load("service \"one\" { module = \"a.so:b\" }\n"
		      "\n"
		      "service Two_2-x {\n"
		      "	module = lib/app.so:two\n"
		      "	shutdown = 2min\n"
		      "	options { every = 5 }\n"
		      "}\n");
	ck_assert_uint_eq(config->nservices, 2);
	service = &config->services[0];
	ck_assert_str_eq(service->name, "one");
	ck_assert_str_eq(service->module, "a.so:b");
	ck_assert_int_eq(service->shutdown, 5000);
	ck_assert_uint_eq(service->noptions, 0);
	ck_assert_ptr_null(config_service_option(service, "every"));
	service = &config->services[1];
	ck_assert_str_eq(service->name, "Two_2-x");
	ck_assert_str_eq(service->module, below("lib/app.so:two"));
	ck_assert_int_eq(service->shutdown, 120000);
	ck_assert_int_eq(service->line, 3);
	ck_assert_str_eq(config_service_option(service, "every"), "5");
	ck_assert_ptr_null(config_service_option(service, "ever"));
	config_free(config);
	leave();
}
END_TEST

START_TEST(services_that_are_wrong)
{
	static const struct wrong wrong[] = {
		{ "\nservice a { }",
		    "bennu.conf:2: service 'a' has no module; write module" },
		{ "service { module = a.so:b }",
		    "bennu.conf:1: 'service' needs a name" },
		{ "service \"\" { module = a.so:b }",
		    "bennu.conf:1: service '': its name must be 1 to 32 letters" },
		{ "service \"a/b\" { module = a.so:b }",
		    "bennu.conf:1: service 'a/b': its name must be" },
		{ "service \"a b\" { module = a.so:b }",
		    "bennu.conf:1: service 'a b': its name must be" },
		{ "service a23456789012345678901234567890123 {}",
		    "bennu.conf:1: service 'a23456789012345678901234567890123': "
		    "its name must be" },
		{ "service a { module = a.so:b }\n"
		  "service a { module = a.so:c }",
		    "bennu.conf:2: service 'a' is given twice" },
		{ "service a { module = a.so }",
		    "bennu.conf:1: module 'a.so': " },
		{ "service a {\nmodul = a.so:b }",
		    "bennu.conf:2: no key or section 'modul' in service; did "
		    "you mean 'module'?" },
		{ "service a {\nmodule = a.so:b\nshutdown = brutal_kill }",
		    "bennu.conf:3: shutdown 'brutal_kill': " },
		{ "service a {\nmodule = a.so:b\nshutdown = 0 }",
		    "bennu.conf:3: shutdown '0': it must be 1ms to" },
	};

	ASSERT_ERRORS(wrong);
}
END_TEST

START_TEST(whole_file)
{
	struct config *config;
	const struct config_channel *lobby;

	enter();
	config = load(whole);
	assert_server(config);
	ck_assert_uint_eq(config->nsockets, 2);
	assert_socket(&config->sockets[0]);
	assert_channel(&config->sockets[0].channels[0]);
	lobby = &config->sockets[0].channels[1];
	ck_assert_str_eq(lobby->pattern, "lobby");
	ck_assert(!lobby->is_prefix);
	ck_assert_uint_eq(lobby->prefix, 5);
	ck_assert_str_eq(lobby->module, "/x/y.so:lobby");
	ck_assert_int_eq(lobby->restart, RESTART_PERMANENT);
	ck_assert_int_eq(lobby->shutdown, 0);
	ck_assert_str_eq(config->sockets[1].path, "/two/deep");
	config_free(config);
	leave();
}
END_TEST

START_TEST(origins_in_words)
{
	struct config *config;

	enter();
	config = load("socket \"/a\" { check_origin = {true, \":conn\"} }\n"
		      "socket \"/b\" { check_origin = true }\n"
		      "socket \"/c\" { check_origin = false }\n"
		      "server { url_host = chat.example.com }\n");
	ck_assert_uint_eq(config->sockets[0].norigins, 2);
	ck_assert_str_eq(
	    config->sockets[0].check_origin[0], "//chat.example.com");
	ck_assert_str_eq(config->sockets[0].check_origin[1], ":conn");
	ck_assert_uint_eq(config->sockets[1].norigins, 1);
	ck_assert_str_eq(
	    config->sockets[1].check_origin[0], "//chat.example.com");
	ck_assert_uint_eq(config->sockets[2].norigins, 0);
	config_free(config);
	config = load("socket \"/b\" { check_origin = true }\n");
	ck_assert_str_eq(config->sockets[0].check_origin[0], "//localhost");
	config_free(config);
	leave();
}
END_TEST

START_TEST(words_of_the_file)
{
	static const struct wrong wrong[] = {
		{ IN_SERVER("lisen = {\"127.0.0.1:1\"}"),
		    "bennu.conf:2: no key or section 'lisen' in server; did you mean 'listen'?" },
		{ IN_SERVER("\nmax_frame = 1"),
		    "bennu.conf:3: no key 'max_frame' in server; it belongs in socket" },
		{ "listen = 1\n",
		    "bennu.conf:1: no key 'listen' at the top; it belongs in server" },
		{ "\n\nsockt \"/a\" {}",
		    "bennu.conf:3: no key or section 'sockt' at the top; did you mean 'socket'?" },
		{ "server {\n}\nfrobnicate { a = b }",
		    "bennu.conf:3: no key or section 'frobnicate' at the top; see" },
		{ IN_CHANNEL("modul = x"),
		    "bennu.conf:4: no key or section 'modul' in channel; did you mean 'module'?" },
		{ IN_SERVER("\"user=\" = x"),
		    "bennu.conf:2: no key or section 'user' in server" },
		{ IN_SERVER("user bennu"), "bennu.conf:2: no = behind 'user'" },
		{ IN_SERVER("user { a = b }"),
		    "bennu.conf:2: no = behind 'user'" },
		{ IN_SERVER("user += bennu"),
		    "bennu.conf:2: 'user' is no list" },
		{ IN_SERVER("user = {a, b}"),
		    "bennu.conf:2: '{' cannot stand here" },
		{ IN_SERVER("user ="), "bennu.conf:3: '}' cannot stand here" },
		{ IN_SERVER("listen = {\"a\" \"b\"}"),
		    "bennu.conf:2: 'b' cannot stand here" },
		{ "server = 1", "bennu.conf:1: 'server' is a section" },
		{ "socket { }", "bennu.conf:1: 'socket' needs a name" },
		{ "server \"x\" { }", "bennu.conf:1: 'server' is a section" },
		{ IN_SERVER("user = a\n\nuser = b"),
		    "bennu.conf:2: the key with 'a' is given twice" },
		{ "log { level = info }\nlog { level = debug }",
		    "bennu.conf:1: the key with 'info' is given twice" },
		{ IN_CHANNEL("options { a }"),
		    "bennu.conf:4: no = behind 'a'" },
		{ IN_CHANNEL("options { a = {b} }"),
		    "bennu.conf:4: '{' cannot stand here" },
		{ IN_CHANNEL("options { a {} }"),
		    "bennu.conf:4: no = behind 'a'" },
	};

	ASSERT_ERRORS(wrong);
}
END_TEST

START_TEST(characters_of_the_file)
{
	static const struct wrong wrong[] = {
		{ "server {\nuser = a\n",
		    "bennu.conf:1: this { is not closed" },
		{ "server {\nuser = a }\n\n}",
		    "bennu.conf:4: a } without a {" },
		{ "socket \"/a\" {\nchannel \"b\" {\n}\n",
		    "bennu.conf:1: this { is not closed" },
		{ "{{{{{{{{{{{{{{{{{", "bennu.conf:1: too many {" },
		{ "server {\nuser = \"a\n}",
		    "bennu.conf:2: this string does not" },
		{ "server {\nuser = 'a", "bennu.conf:2: this string does not" },
		{ "server {\nuser = \"a\\",
		    "bennu.conf:2: this string does not" },
		{ "server {\nuser = \"\\x41\"\n}",
		    "bennu.conf:2: numbered esc" },
		{ "server {\nuser = \"\\0\"\n}", "bennu.conf:2: numbered esc" },
		{ "server {}\n/* never\n closed *",
		    "bennu.conf:2: this comment" },
		{ "socket /a {\nchannel room:* {",
		    "bennu.conf:2: a value with *" },
		{ "socket /a {\nchannel a+b {",
		    "bennu.conf:2: a value with *" },
		{ IN_SOCKET("check_origin = http://a"),
		    "bennu.conf:2: a value with // or" },
		{ "endpoint { static = a/*b",
		    "bennu.conf:1: a value with // or" },
		{ "endpoint { static = ${A} }", "bennu.conf:1: ${NAME} needs" },
		{ "endpoint { static = \"${BENNU_NO}\" }",
		    "bennu.conf:1: this environment variable is not set" },
		{ "endpoint { static = \"${NO\" }",
		    "bennu.conf:1: \"${\" without" },
		{ "log(1)", "bennu.conf:1: a parenthesis" },
		{ "log {\n\x01 }", "bennu.conf:2: a control character" },
		{ "log { level = \"\x1b[1m\" }",
		    "bennu.conf:1: a control character in a" },
	};

	ASSERT_ERRORS(wrong);
}
END_TEST

START_TEST(values_of_the_server)
{
	static const struct wrong wrong[] = {
		{ IN_SERVER("max_connections = 0"),
		    "bennu.conf:2: max_connections '0': it must be 1 to 1000000 (1M)" },
		{ IN_SERVER("max_connections = -1"),
		    "bennu.conf:2: max_connections '-1': it must be 1 to" },
		{ IN_SERVER("max_connections = 1000001"),
		    "bennu.conf:2: max_connections '1000001': it must" },
		{ IN_SERVER("max_connections = 99999999999999999999"),
		    "bennu.conf:2: max_connections '99999999999999999999': this number is too large" },
		{ IN_SERVER("max_connections = 9223372036854775808"),
		    "bennu.conf:2: max_connections '9223372036854775808': this number is too large" },
		{ IN_SERVER("max_connections = many"),
		    "bennu.conf:2: max_connections 'many': a number is expected" },
		{ IN_SERVER("max_connections = \"\""),
		    "bennu.conf:2: max_connections '': a number is expected" },
		{ IN_SERVER("max_connections = 10k"),
		    "bennu.conf:2: max_connections '10k': a whole number without a unit" },
		{ IN_SERVER("max_connections = 1.5"),
		    "bennu.conf:2: max_connections '1.5': a whole number" },
		{ IN_SERVER("backlog_max = 1m"),
		    "bennu.conf:2: backlog_max '1m': a size is" },
		{ IN_SERVER("backlog_max = -1k"),
		    "bennu.conf:2: backlog_max '-1k': a negative" },
		{ IN_SERVER("backlog_max = 9223372036854775807k"),
		    "bennu.conf:2: backlog_max '9223372036854775807k': this number is too large" },
		{ IN_SERVER("backlog_max = 999"),
		    "bennu.conf:2: backlog_max '999': it must be 1000 to 1000000000 (1000M)" },
		{ IN_SERVER("backlog_max = 2G"),
		    "bennu.conf:2: backlog_max '2G'" },
		{ IN_SERVER("backlog_policy = dropp"),
		    "bennu.conf:2: backlog_policy 'dropp' is none of close, drop; did you mean drop?" },
		{ IN_SERVER("backlog_policy = wait"),
		    "bennu.conf:2: backlog_policy 'wait' is none of close, drop" },
		{ IN_SERVER("hung_timeout = 20"),
		    "bennu.conf:2: hung_timeout '20': a time needs a unit: ms, s, min or h" },
		{ IN_SERVER("hung_timeout = 20m"),
		    "bennu.conf:2: hung_timeout '20m': a time is" },
		{ IN_SERVER("hung_timeout = 0"),
		    "bennu.conf:2: hung_timeout '0': it must be 1ms to 86400s" },
		{ IN_SERVER("hung_timeout = 25h"),
		    "bennu.conf:2: hung_timeout '25h': it must" },
		{ IN_SERVER("hung_timeout = 9223372036854775807h"),
		    "bennu.conf:2: hung_timeout '9223372036854775807h': this number" },
		{ IN_SERVER("body_max = 2G"),
		    "bennu.conf:2: body_max '2G': it must be 1 to 1000000000 (1000M), or 0" },
		{ IN_SERVER("user = \"\""),
		    "bennu.conf:2: user '': it is empty" },
		{ IN_SERVER("run_directory = ''"),
		    "bennu.conf:2: run_directory '': it is empty" },
		{ IN_SERVER("\nshutdown = 5s") IN_CHANNEL("shutdown = 5s"),
		    "bennu.conf:3: shutdown of the server must be longer than that of channel 'room:*', 5000 ms" },
		{ IN_SERVER("shutdown = 9s\ndrain_limit = 8s"),
		    "bennu.conf:3: drain_limit must not be shorter than shutdown, 9000 ms" },
		{ IN_SERVER("drain_limit = 9999ms"),
		    "bennu.conf:2: drain_limit must not be shorter than shutdown, 10000 ms" },
		{ IN_SERVER("drain_batch = 0"),
		    "bennu.conf:2: drain_batch '0': it must be 1 to 1000000 (1M)" },
	};

	ASSERT_ERRORS(wrong);
}
END_TEST

START_TEST(values_of_listen)
{
	static const struct wrong wrong[] = {
		{ IN_SERVER("listen = {}"),
		    "bennu.conf: listen is an empty list" },
		{ IN_SERVER("listen = 4000"),
		    "bennu.conf:2: listen '4000': an address is" },
		{ IN_SERVER("listen = \":4000\""),
		    "bennu.conf:2: listen ':4000': an address is" },
		{ IN_SERVER("listen = \"localhost:4000\""),
		    "bennu.conf:2: listen 'localhost:4000': the host must be a number" },
		{ IN_SERVER("listen = \"*:4000\""),
		    "bennu.conf:2: listen '*:4000': the host must be a number" },
		{ IN_SERVER("listen = \"127.0.0.1:65536\""),
		    "bennu.conf:2: listen '127.0.0.1:65536': behind the last :" },
		{ IN_SERVER("listen = \"127.0.0.1:http\""),
		    "bennu.conf:2: listen '127.0.0.1:http': behind the last :" },
		{ IN_SERVER("listen = \"127.0.0.1:\""),
		    "bennu.conf:2: listen '127.0.0.1:': behind the last :" },
		{ IN_SERVER("listen = \"127.0.0.1:-1\""),
		    "bennu.conf:2: listen '127.0.0.1:-1': behind the last :" },
		{ IN_SERVER("listen = \"::1:4000\""),
		    "bennu.conf:2: listen '::1:4000': an IPv6 address stands in brackets" },
		{ IN_SERVER("listen = \"[::g]:4000\""),
		    "bennu.conf:2: listen '[::g]:4000': between [ and ]" },
		{ IN_SERVER("listen = \"[]:4000\""),
		    "bennu.conf:2: listen '[]:4000': between [ and ]" },
		{ IN_SERVER("listen = \"unix:\""),
		    "bennu.conf:2: listen 'unix:': a path must follow" },
		{ IN_SERVER(
		      "listen = {\"127.0.0.1:1\",\n\"[::1]:1\",\n\"[0:0::1]:1\"}"),
		    "bennu.conf:4: listen '[0:0::1]:1' is given twice" },
		{ IN_SERVER("listen = \"unix:/"
			    "0123456789012345678901234567890123456789"
			    "0123456789012345678901234567890123456789"
			    "01234567890123456789012345678901\""),
		    "bennu.conf:2: listen 'unix:/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901': the path" },
	};

	ASSERT_ERRORS(wrong);
}
END_TEST

START_TEST(values_of_sockets)
{
	static const struct wrong wrong[] = {
		{ IN_SOCKET("longpoll_window = 9ms"),
		    "bennu.conf:2: longpoll_window '9ms': it must be 10ms to 86400s" },
		{ IN_SOCKET("pubsub_timeout = 2"),
		    "bennu.conf:2: pubsub_timeout '2': " },
		{ IN_SOCKET("transports = {}"),
		    "bennu.conf:1: transports is an empty list" },
		{ IN_SOCKET("transports = websockets"),
		    "bennu.conf:2: transports 'websockets' is none of websocket, longpoll; did you mean websocket?" },
		{ IN_SOCKET("check_origin = {}"),
		    "bennu.conf:1: check_origin is an empty list" },
		{ IN_SOCKET("check_origin = {\"//a\", false}"),
		    "bennu.conf:2: check_origin 'false': it stands alone" },
		{ IN_SOCKET("check_origin = \"False\""),
		    "bennu.conf:2: check_origin 'False': a rule is //host" },
		{ IN_SERVER("url_host = \"*.example.com\""),
		    "bennu.conf:2: url_host '*.example.com': a host is" },
		{ IN_SERVER("url_host = \"a:80\""),
		    "bennu.conf:2: url_host 'a:80': a host has" },
		{ IN_SERVER("connect_workers = 0"),
		    "bennu.conf:2: connect_workers '0': it must be 1 to 256" },
		{ IN_SOCKET("connect_info = {uri, session}"),
		    "bennu.conf:2: connect_info 'session' is none of" },
		{ IN_SOCKET("connect_info = users_agent"),
		    "bennu.conf:2: connect_info 'users_agent' is none of peer_data, trace_context_headers, x_headers, uri, user_agent, sec_websocket_headers; did you mean user_agent?" },
		{ IN_SOCKET("module = \"a.so\""),
		    "bennu.conf:2: module 'a.so': a module is a file" },
		{ IN_SOCKET("check_origin = localhost"),
		    "bennu.conf:2: check_origin 'localhost': a rule is //host" },
		{ IN_SOCKET("check_origin = {\n\"//a\",\n\"//\"}"),
		    "bennu.conf:4: check_origin '//': a host is missing" },
		{ IN_SOCKET("check_origin = \"https:example.com\""),
		    "bennu.conf:2: check_origin 'https:example.com': a rule" },
		{ IN_SOCKET("check_origin = \"https//example.com\""),
		    "bennu.conf:2: check_origin 'https//example.com': a rule" },
		{ IN_SOCKET("check_origin = \"://example.com\""),
		    "bennu.conf:2: check_origin '://example.com': a rule" },
		{ IN_SOCKET("check_origin = \"HTTPS://example.com\""),
		    "bennu.conf:2: check_origin 'HTTPS://example.com': the scheme" },
		{ IN_SOCKET("check_origin = \"//Example.com\""),
		    "bennu.conf:2: check_origin '//Example.com': origins are" },
		{ IN_SOCKET("check_origin = \"//example.com/\""),
		    "bennu.conf:2: check_origin '//example.com/': an origin has no path" },
		{ IN_SOCKET("check_origin = \"//*\""),
		    "bennu.conf:2: check_origin '//*': a * may only" },
		{ IN_SOCKET("check_origin = \"//*.\""),
		    "bennu.conf:2: check_origin '//*.': a * may only" },
		{ IN_SOCKET("check_origin = \"//a.*.com\""),
		    "bennu.conf:2: check_origin '//a.*.com': a * may only" },
		{ IN_SOCKET("check_origin = \"//a:0\""),
		    "bennu.conf:2: check_origin '//a:0': behind : must be" },
		{ IN_SOCKET("check_origin = \"//a:x\""),
		    "bennu.conf:2: check_origin '//a:x': behind : must be" },
		{ IN_SOCKET("check_origin = \"//a:\""),
		    "bennu.conf:2: check_origin '//a:': behind : must be" },
		{ IN_SOCKET("check_origin = \"//[x]\""),
		    "bennu.conf:2: check_origin '//[x]': between [ and ]" },
		{ IN_SOCKET("check_origin = \"//[]\""),
		    "bennu.conf:2: check_origin '//[]': an address" },
		{ IN_SOCKET("check_origin = \"//b\xc3\xbc.de\""),
		    "bennu.conf:2: check_origin '//b\xc3\xbc.de': a host has" },
		{ IN_SOCKET("max_frame = 1"),
		    "bennu.conf:2: max_frame '1': it" },
		{ "socket \"\" {}", "bennu.conf:1: socket '': it must begin" },
		{ "socket \"/\" {}",
		    "bennu.conf:1: socket '/': a path such as" },
		{ "socket \"a\" {}",
		    "bennu.conf:1: socket 'a': it must begin" },
		{ "socket \"/a//b\" {}",
		    "bennu.conf:1: socket '/a//b': a path" },
		{ "socket \"/a/../b\" {}",
		    "bennu.conf:1: socket '/a/../b': it may not" },
		{ "socket \"/a/:id\" {}",
		    "bennu.conf:1: socket '/a/:id': it may only" },
		{ "socket \"/a\" {}\nsocket \"/a\" {}",
		    "bennu.conf:2: socket '/a' is given twice" },
		{ "socket \"/a\" {}\n\nsocket \"/a/\" {}",
		    "bennu.conf:3: socket '/a' is given twice" },
	};

	ASSERT_ERRORS(wrong);
}
END_TEST

START_TEST(values_of_channels)
{
	static const struct wrong wrong[] = {
		{ IN_SOCKET("\nchannel \"a\" {\n\n}"),
		    "bennu.conf:3: channel 'a' has no module" },
		{ IN_SOCKET("channel \"\" {}"),
		    "bennu.conf:2: a channel needs a pattern" },
		{ IN_SOCKET("channel \"a*b\" {}"),
		    "bennu.conf:2: pattern 'a*b': * may only stand at the end" },
		{ IN_SOCKET("channel \"a**\" {}"),
		    "bennu.conf:2: pattern 'a**': * may only stand at the end" },
		{ IN_SOCKET("channel \"*a\" {}"),
		    "bennu.conf:2: pattern '*a': * may only stand at the end" },
		{ IN_SOCKET("channel a { module = \"a.so:b\" }\nchannel a {}"),
		    "bennu.conf:3: channel 'a' is given twice" },
		{ IN_SOCKET("channel a { module = \"\" }"),
		    "bennu.conf:2: module '': a module is a file and a name" },
		{ IN_SOCKET("channel a { module = \"a.so\" }"),
		    "bennu.conf:2: module 'a.so': a module is" },
		{ IN_SOCKET("channel a { module = \":b\" }"),
		    "bennu.conf:2: module ':b': a module is" },
		{ IN_SOCKET("channel a { module = \"a.so:\" }"),
		    "bennu.conf:2: module 'a.so:': a module is" },
		{ IN_SOCKET("channel a { module = \"x/:b\" }"),
		    "bennu.conf:2: module 'x/:b': a module is" },
		{ IN_SOCKET("channel a { module = \"a.so:b-c\" }"),
		    "bennu.conf:2: module 'a.so:b-c': behind the last :" },
		{ IN_CHANNEL("restart = permanant"),
		    "bennu.conf:4: restart 'permanant' is none of permanent, transient, temporary; did you mean permanent?" },
		{ IN_CHANNEL("intensity = 10001"),
		    "bennu.conf:4: intensity '10001'" },
		{ IN_CHANNEL("period = 1500ms"),
		    "bennu.conf:4: period '1500ms': whole seconds" },
		{ IN_CHANNEL("period = 0"),
		    "bennu.conf:4: period '0': it must" },
		{ IN_CHANNEL("shutdown = brutal"),
		    "bennu.conf:4: shutdown 'brutal': a number is expected" },
		{ IN_CHANNEL("shutdown = 0"),
		    "bennu.conf:4: shutdown '0': it" },
		{ IN_CHANNEL("limit_nofile = 3"),
		    "bennu.conf:4: limit_nofile '3': it must be 8 to 1048576, or 0" },
		{ IN_CHANNEL("memory_max = 1k"),
		    "bennu.conf:4: memory_max '1k': it must be 1000000 (1M) to" },
		{ IN_CHANNEL("nice = 20"),
		    "bennu.conf:4: nice '20': it must be -20 to 19" },
		{ IN_CHANNEL("nice = -21"),
		    "bennu.conf:4: nice '-21': it must" },
		{ "endpoint { tree = maybe }",
		    "bennu.conf:1: tree 'maybe': it is either on or off" },
		{ "endpoint { module = api }", "bennu.conf:1: module 'api': " },
		{ "endpoint { handler_timeout = 0 }",
		    "bennu.conf:1: handler_timeout '0': it" },
		{ "endpoint { static = '' }",
		    "bennu.conf:1: static '': it is empty" },
		{ "log { level = warning }",
		    "bennu.conf:1: level 'warning' is none of error, warn, info, debug" },
		{ "log { level = inf }",
		    "bennu.conf:1: level 'inf' is none of error, warn, info, debug; did you mean info?" },
	};

	ASSERT_ERRORS(wrong);
}
END_TEST

START_TEST(no_text)
{
	static const char nul[] = "log {\n}\0\n";
	char *error = NULL, *large;

	enter();
	ck_assert_ptr_null(config_load("absent.conf", NULL, &error));
	ck_assert_str_eq(error, "absent.conf: No such file or directory");
	free(error);
	ck_assert_ptr_null(config_load(".", NULL, &error));
	ck_assert_str_eq(error, ".: not a regular file");
	free(error);
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	ck_assert_ptr_null(config_load("fifo", NULL, &error));
	ck_assert_str_eq(error, "fifo: not a regular file");
	free(error);
	unlink("fifo");
	assert_error(nul, sizeof nul - 1, "bennu.conf: holds a NUL");
	large = malloc(1024 * 1024 + 1);
	ck_assert_ptr_nonnull(large);
	memset(large, '\n', 1024 * 1024 + 1);
	assert_error(large, 1024 * 1024 + 1, "bennu.conf: larger than");
	free(large);
	leave();
}
END_TEST

START_TEST(too_many_values)
{
	char text[4096] = "server { listen = {";
	size_t n = strlen(text);

	enter();
	for (int i = 0; i < 65; i++)
		n += (size_t)snprintf(
		    text + n, sizeof text - n, "\"127.0.0.1:%d\",", i + 1);
	snprintf(text + n, sizeof text - n, "} }");
	assert_error(
	    text, strlen(text), "bennu.conf: listen has more than 64 values");
	leave();
}
END_TEST

START_TEST(paths)
{
	struct config *config;
	char *error = NULL;
	const char text[] = "endpoint { static = \"../web\" }"
			    "server { run_directory = \".\" }";

	enter();
	ck_assert_int_eq(mkdir("etc", 0700), 0);
	write_file("etc/x.conf", text, strlen(text));
	config = config_load("etc/x.conf", NULL, &error);
	ck_assert_msg(config != NULL, "%s", error);
	ck_assert_str_eq(config->static_directory, below("etc/../web"));
	ck_assert_str_eq(config->run_directory, below("etc"));
	config_free(config);
	config = config_load(below("etc/x.conf"), NULL, &error);
	ck_assert_msg(config != NULL, "%s", error);
	ck_assert_str_eq(config->run_directory, below("etc"));
	config_free(config);
	unlink("etc/x.conf");
	rmdir("etc");
	leave();
}
END_TEST

START_TEST(variables_in_strings)
{
	struct config *config;

	enter();
	setenv("BENNU_TEST_USER", "some\"one", 1);
	config = load("server { user = \"${BENNU_TEST_USER}\" }\n"
		      "log { level = \"${BENNU_NO:-warn}\" }");
	ck_assert_str_eq(config->user, "some\"one");
	ck_assert_int_eq(config->log_level, LOG_LEVEL_WARN);
	config_free(config);
	leave();
}
END_TEST

/* As config_load in an environment of these variables. */
static struct config *
load_env(const char *text, const char *name, const char *value,
    const struct config_arguments *args)
{
	struct config *config;

	setenv(name, value, 1);
	config = load_with(text, args);
	unsetenv(name);
	return config;
}

static void
assert_env_error(const char *name, const char *value, const char *expected)
{
	setenv(name, value, 1);
	assert_error("", 0, expected);
	unsetenv(name);
}

START_TEST(environment)
{
	struct config *config;

	enter();
	config = load_env(
	    IN_SERVER("user = file"), "BENNU_SERVER_USER", "env", NULL);
	ck_assert_str_eq(config->user, "env");
	config_free(config);
	config = load_env(
	    IN_SERVER("user = file"), "BENNU_SERVER_USER", "", NULL);
	ck_assert_str_eq(config->user, "file");
	config_free(config);
	config = load_env("", "BENNU_SERVER_HUNG_TIMEOUT", "3s", NULL);
	ck_assert_int_eq(config->hung_timeout, 3000);
	config_free(config);
	config = load_env("", "BENNU_SERVER_RUN_DIRECTORY", "x", NULL);
	ck_assert_str_eq(config->run_directory, below("x"));
	config_free(config);
	config = load_env(
	    "", "BENNU_SERVER_LISTEN", "127.0.0.1:1, unix:/a=b ,[::1]:1", NULL);
	ck_assert_uint_eq(config->nlisten, 3);
	ck_assert_str_eq(config->listen[0], "127.0.0.1:1");
	ck_assert_str_eq(config->listen[1], "unix:/a=b");
	ck_assert_str_eq(config->listen[2], "[::1]:1");
	config_free(config);
	assert_env_error("BENNU_SERVER_LISTN", "x",
	    "BENNU_SERVER_LISTN: no key 'listn' in server, perhaps listen;");
	assert_env_error("BENNU_SERVER_LISTEN", "127.0.0.1:1,,",
	    "BENNU_SERVER_LISTEN: listen '': an address is");
	assert_env_error("BENNU_SERVER_MAX_CONNECTIONS", "x",
	    "BENNU_SERVER_MAX_CONNECTIONS: max_connections 'x': a number");
	leave();
}
END_TEST

START_TEST(ports)
{
	static const char file[] = IN_SERVER(
	    "listen = {\"127.0.0.1:1\",\"127.0.0.1:2\","
	    "\"[::1]:3\",\"unix:/x\"}");
	struct config_arguments args = { .port = "81" };
	struct config *config;

	enter();
	config = load_env(file, "PORT", "80", NULL);
	ck_assert_uint_eq(config->nlisten, 3);
	ck_assert_str_eq(config->listen[0], "127.0.0.1:80");
	ck_assert_str_eq(config->listen[1], "[::1]:80");
	ck_assert_str_eq(config->listen[2], "unix:/x");
	config_free(config);
	config = load_env(file, "PORT", "80", &args);
	ck_assert_str_eq(config->listen[0], "127.0.0.1:81");
	config_free(config);
	config = load_env(file, "PORT", "", NULL);
	ck_assert_str_eq(config->listen[0], "127.0.0.1:1");
	config_free(config);
	assert_env_error("PORT", "80x", "PORT: '80x' is no port");
	assert_env_error("PORT", "65536", "PORT: '65536' is no port");
	assert_env_error("PORT", "-1", "PORT: '-1' is no port");
	leave();
}
END_TEST

static void
assert_address(const char *address, const char *port, const char *expected)
{
	struct config_arguments args = { .address = address, .port = port };
	struct config *config = load_with(
	    IN_SERVER("listen = \"127.0.0.1:1\""), &args);

	ck_assert_uint_eq(config->nlisten, 1);
	ck_assert_str_eq(config->listen[0], expected);
	config_free(config);
}

START_TEST(arguments)
{
	struct config_arguments args = { .run_directory = "run" };
	struct config *config;
	char *error = NULL;
	char path[PATH_MAX];

	enter();
	assert_address("0.0.0.0", NULL, "0.0.0.0:4000");
	assert_address("0.0.0.0:5", NULL, "0.0.0.0:5");
	assert_address("0.0.0.0:5", "6", "0.0.0.0:6");
	assert_address("::", NULL, "[::]:4000");
	assert_address("[::1]", "7", "[::1]:7");
	assert_address("::1", NULL, "[::1]:4000");
	snprintf(path, sizeof path, "unix:%.200s", below("s"));
	assert_address("unix:s", "7", path);
	setenv("PORT", "9", 1);
	assert_address("0.0.0.0", NULL, "0.0.0.0:9");
	assert_address("0.0.0.0:5", NULL, "0.0.0.0:5");
	unsetenv("PORT");
	config = load_env(IN_SERVER("run_directory = /a"),
	    "BENNU_SERVER_RUN_DIRECTORY", "/b", &args);
	ck_assert_str_eq(config->run_directory, below("run"));
	config_free(config);
	args = (struct config_arguments){ .address = "example.com" };
	ck_assert_ptr_null(config_load(NULL, &args, &error));
	ck_assert_msg(
	    strncmp(error, "command line: address 'example.com': ", 37) == 0,
	    "%s", error);
	free(error);
	args = (struct config_arguments){ .port = "" };
	ck_assert_ptr_null(config_load(NULL, &args, &error));
	ck_assert_str_eq(
	    error, "command line: '' is no port; it must be 0 to 65535");
	free(error);
	leave();
}
END_TEST

START_TEST(shutdown_outlives_channels)
{
	struct config *config;

	enter();
	config = load(IN_CHANNEL("shutdown = 30s"));
	ck_assert_int_eq(config->shutdown, 35000);
	ck_assert_int_eq(config->drain_limit, 55000);
	config_free(config);
	config = load(IN_CHANNEL("shutdown = 1s"));
	ck_assert_int_eq(config->shutdown, 10000);
	ck_assert_int_eq(config->drain_limit, 30000);
	config_free(config);
	config = load(IN_SERVER("shutdown = 2s") IN_CHANNEL("shutdown = 1s"));
	ck_assert_int_eq(config->shutdown, 2000);
	config_free(config);
	leave();
}
END_TEST

static void
assert_found(const struct config_socket *socket, const char *topic, size_t size,
    const char *pattern)
{
	const struct config_channel *channel = config_find_channel(
	    socket, topic, size);

	if (pattern == NULL) {
		ck_assert_ptr_null(channel);
	} else {
		ck_assert_ptr_nonnull(channel);
		ck_assert_str_eq(channel->pattern, pattern);
	}
}
#define ASSERT_FOUND(socket, topic, pattern) \
	assert_found(socket, topic, sizeof(topic) - 1, pattern)

START_TEST(patterns)
{
	struct config *config;
	const struct config_socket *socket;

	enter();
	config = load(IN_SOCKET("channel \"room:vip:*\" {module=\"a.so:b\"}"
				"channel \"room:lobby\" {module=\"a.so:b\"}"
				"channel \"room:*\" {module=\"a.so:b\"}"
				"channel \"x*\" {module=\"a.so:b\"}"));
	socket = &config->sockets[0];
	ASSERT_FOUND(socket, "room:lobby", "room:lobby");
	ASSERT_FOUND(socket, "room:lobb", "room:*");
	ASSERT_FOUND(socket, "room:lobby2", "room:*");
	ASSERT_FOUND(socket, "room:lobby\0", "room:*");
	ASSERT_FOUND(socket, "room:", "room:*");
	ASSERT_FOUND(socket, "room:*", "room:*");
	ASSERT_FOUND(socket, "room:vip:1", "room:vip:*");
	ASSERT_FOUND(socket, "room", NULL);
	ASSERT_FOUND(socket, "Room:1", NULL);
	ASSERT_FOUND(socket, "", NULL);
	ASSERT_FOUND(socket, "xyz", "x*");
	ASSERT_FOUND(socket, "\0room:1", NULL);
	config_free(config);
	config = load(IN_SOCKET("channel '*' {module=\"a.so:b\"}"));
	ASSERT_FOUND(&config->sockets[0], "", "*");
	ASSERT_FOUND(&config->sockets[0], "a", "*");
	config_free(config);
	leave();
}
END_TEST

UNIT_MAIN("config", defaults, defaults_of_sockets, services,
    services_that_are_wrong, whole_file, origins_in_words, words_of_the_file,
    characters_of_the_file, values_of_the_server, values_of_listen,
    values_of_sockets, values_of_channels, no_text, too_many_values, paths,
    variables_in_strings, environment, ports, arguments,
    shutdown_outlives_channels, patterns)
