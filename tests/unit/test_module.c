/*
 * module.c: modules are found and checked; what is wrong with one is said with
 * the place where bennu.conf names it.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bennu/channel.h>
#include <bennu/service.h>

#include "channel/module.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

static char modules[512]; /* the directory they were built in */

/* Beside this program. */
static void
find_modules(void)
{
	char exe[400];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	ck_assert_int_gt(n, 0);
	exe[n] = '\0';
	*strrchr(exe, '/') = '\0';
	snprintf(modules, sizeof modules, "%s/modules", exe);
}

/* Loads up to three channels of one socket; NULL ends. */
static char *
load(struct config_channel *channels, const char *first, const char *second)
{
	static char file[] = "bennu.conf";
	struct config_socket socket = { .channels = channels };
	struct config config = {
		.sockets = &socket,
		.nsockets = 1,
		.module_directory = modules,
	};
	const char *names[] = { first, second };
	char *error;

	if (modules[0] == '\0')
		find_modules();
	for (int i = 0; i < 2 && names[i] != NULL; i++) {
		channels[i] = (struct config_channel){
			.module = strdup(names[i]),
			.file = file,
			.line = 7 + i,
		};
		socket.nchannels++;
	}
	error = modules_load(&config);
	for (size_t i = 0; i < socket.nchannels; i++)
		free(channels[i].module);
	return error;
}

/* The error begins and ends so; what ld.so says lies between. */
static void
assert_error(const char *module, const char *begin, const char *end)
{
	struct config_channel channels[2];
	char *error = load(channels, module, NULL);

	ck_assert_ptr_nonnull(error);
	ck_assert_msg(strncmp(error, begin, strlen(begin)) == 0,
	    "'%s' does not begin with '%s'", error, begin);
	ck_assert_msg(
	    strstr(error, end) != NULL, "'%s' has no '%s'", error, end);
	free(error);
}

START_TEST(nothing_to_load)
{
	struct config config = { 0 };

	ck_assert_ptr_null(modules_load(&config));
}
END_TEST

START_TEST(loaded)
{
	struct config_channel channels[2];

	ck_assert_ptr_null(
	    load(channels, "unit_good.so:good", "unit_good.so:other"));
	ck_assert_str_eq(channels[0].callbacks->name, "good");
	ck_assert_str_eq(channels[1].callbacks->name, "other");
	ck_assert_ptr_nonnull(channels[0].callbacks->join);
}
END_TEST

START_TEST(loaded_by_path)
{
	struct config_channel channels[2];
	char module[600];

	find_modules();
	snprintf(module, sizeof module, "%s/unit_good.so:good", modules);
	modules[0] = '/'; /* not looked at */
	modules[1] = '\0';
	ck_assert_ptr_null(load(channels, module, NULL));
	ck_assert_str_eq(channels[0].callbacks->name, "good");
}
END_TEST

/* The second is at fault; the first was loaded. */
START_TEST(the_place_is_told)
{
	struct config_channel channels[2];
	char *error = load(
	    channels, "unit_good.so:good", "unit_good.so:no_join");

	ck_assert_ptr_nonnull(error);
	ck_assert_str_eq(
	    error, "bennu.conf:8: module unit_good.so:no_join has no join");
	free(error);
}
END_TEST

START_TEST(no_file)
{
	assert_error("missing.so:room",
	    "bennu.conf:7: module missing.so:room: ", "missing.so");
}
END_TEST

START_TEST(no_shared_object)
{
	char path[64], module[128], expected[256];
	FILE *file;

	tools_make_directory(path, sizeof path);
	snprintf(module, sizeof module, "%s/text.so", path);
	file = fopen(module, "w");
	fputs("no object\n", file);
	fclose(file);
	strcat(module, ":room");
	snprintf(
	    expected, sizeof expected, "bennu.conf:7: module %s: ", module);
	assert_error(module, expected, "text.so");
	tools_remove_directory(path);
}
END_TEST

START_TEST(no_symbol)
{
	assert_error("unit_good.so:rooms", "bennu.conf:7: module ",
	    "unit_good.so has no channel 'rooms'; define it with "
	    "BENNU_CHANNEL(rooms)");
	assert_error(
	    "unit_good.so:", "bennu.conf:7: module ", "has no channel ''");
}
END_TEST

START_TEST(no_symbol_named)
{
	assert_error("unit_good.so",
	    "bennu.conf:7: module 'unit_good.so': expected "
	    "\"file.so:symbol\"",
	    "");
}
END_TEST

START_TEST(another_abi)
{
	char expected[128];

	snprintf(expected, sizeof expected,
	    "was built for ABI %d, this is %d; build it again", BENNU_ABI + 1,
	    BENNU_ABI);
	assert_error("unit_good.so:wrong_abi",
	    "bennu.conf:7: module unit_good.so:wrong_abi was", expected);
}
END_TEST

START_TEST(no_join)
{
	assert_error("unit_good.so:no_join",
	    "bennu.conf:7: module unit_good.so:no_join has no join", "");
}
END_TEST

START_TEST(intercept_without_handle_out)
{
	assert_error("unit_good.so:no_handle_out",
	    "bennu.conf:7: module unit_good.so:no_handle_out intercepts, but "
	    "has no handle_out",
	    "");
}
END_TEST

/* Found at the start, not by the client that happens to call it. */
START_TEST(an_unbound_call)
{
	assert_error(
	    "unit_unbound.so:good", "bennu.conf:7: module ", "nobody_has_this");
}
END_TEST

static char *
load_service(struct config_service *service, char *module)
{
	static char file[] = "bennu.conf";
	struct config config = {
		.services = service,
		.nservices = 1,
		.module_directory = modules,
	};

	find_modules();
	*service = (struct config_service){
		.module = module,
		.file = file,
		.line = 9,
	};
	return modules_load(&config);
}

START_TEST(a_service)
{
	static char good[] = "unit_good.so:service";
	struct config_service service;

	ck_assert_ptr_null(load_service(&service, good));
	ck_assert_str_eq(service.callbacks->name, "s");
	ck_assert_ptr_nonnull(service.callbacks->start);
}
END_TEST

START_TEST(services_that_are_refused)
{
	static char wrong_abi[] = "unit_good.so:service_wrong_abi";
	static char empty[] = "unit_good.so:service_empty";
	static char none[] = "unit_good.so:nothing";
	struct config_service service;
	char *error;

	error = load_service(&service, wrong_abi);
	ck_assert_ptr_nonnull(error);
	ck_assert_ptr_nonnull(strstr(error, "was built for ABI"));
	free(error);
	error = load_service(&service, empty);
	ck_assert_str_eq(error,
	    "bennu.conf:9: module unit_good.so:service_empty has neither "
	    "start nor handle_info");
	free(error);
	error = load_service(&service, none);
	ck_assert_ptr_nonnull(error);
	ck_assert_ptr_nonnull(strstr(error,
	    "has no service 'nothing'; define it with "
	    "BENNU_SERVICE(nothing)"));
	free(error);
}
END_TEST

UNIT_MAIN("module", a_service, services_that_are_refused, nothing_to_load,
    loaded, loaded_by_path, the_place_is_told, no_file, no_shared_object,
    no_symbol, no_symbol_named, another_abi, no_join,
    intercept_without_handle_out, an_unbound_call)
