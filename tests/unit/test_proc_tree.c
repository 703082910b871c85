/*
 * transport/tree.c: a tree of processes with titles is forked, and read back
 * from /proc. Titles need process_init, so main is this file's own.
 */
#include <sys/socket.h>

#include <cjson/cJSON.h>
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/process.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"
#include "transport/tree.h"

/* A process and those below it; without a title it is another program. */
struct branch {
	const char *title;
	const struct branch *below; /* ends in one without run */
	bool there;
};

static int pair[2]; /* every process says here that it is there */

/* It says that it is there when it is that program. */
static _Noreturn void
exec_another(void)
{
	dup2(PROCESS_FD, STDOUT_FILENO);
	execl("/bin/sh", "sh", "-c", "printf x; exec sleep 20", (char *)NULL);
	_exit(1);
}

static _Noreturn void
run_branch(void *arg)
{
	const struct branch *branch = arg;
	struct process_spec spec = {
		.name = "branch",
		.run = run_branch,
		.nfds = 1,
		.fds = { PROCESS_FD },
	};

	signal(SIGTERM, SIG_DFL);
	process_catch_term(-1, 1);
	if (branch->title == NULL)
		exec_another();
	process_title("%s", branch->title);
	for (const struct branch *below = branch->below;
	     below != NULL && below->there; below++) {
		spec.arg = (void *)(uintptr_t)below;
		if (process_fork(&spec) == -1)
			_exit(1);
	}
	if (write(PROCESS_FD, "x", 1) != 1)
		_exit(1);
	while (!process_term_caught())
		poll(NULL, 0, 20000);
	_exit(0);
}

/* The whole tree is there when this returns the pid of its root. */
static pid_t
plant(const struct branch *root, size_t n)
{
	struct process_spec spec = {
		.name = "root",
		.run = run_branch,
		.arg = (void *)(uintptr_t)root,
		.nfds = 1,
	};
	char bytes[64];
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	spec.fds[0] = pair[1];
	pid = process_fork(&spec);
	ck_assert_int_gt(pid, 0);
	close(pair[1]);
	ck_assert_uint_eq(tools_read_all(pair[0], bytes, n), n);
	return pid;
}

/* All end by PDEATHSIG; the socket's end is the last one's. */
static void
fell(pid_t pid)
{
	char byte;

	kill(pid, SIGKILL);
	tools_assert_killed(pid, SIGKILL);
	ck_assert_uint_eq(tools_read_all(pair[0], &byte, 1), 0);
	close(pair[0]);
}

static cJSON *
read_tree(pid_t pid)
{
	struct json_buffer out = { 0 };
	cJSON *tree;

	tree_append(&out, pid);
	ck_assert_int_eq(json_scan_text(out.data, out.size).kind, JSON_OBJECT);
	tree = cJSON_ParseWithLength(out.data, out.size);
	ck_assert_ptr_nonnull(tree);
	json_buffer_free(&out);
	return tree;
}

static const cJSON *
child(const cJSON *node, int i)
{
	return cJSON_GetArrayItem(
	    cJSON_GetObjectItemCaseSensitive(node, "children"), i);
}

static int
count(const cJSON *node)
{
	return cJSON_GetArraySize(
	    cJSON_GetObjectItemCaseSensitive(node, "children"));
}

static void
assert_node(const cJSON *node, const char *id, const char *role,
    const char *title, int below)
{
	const cJSON *pid = cJSON_GetObjectItemCaseSensitive(node, "pid");

	ck_assert_ptr_nonnull(node);
	ck_assert_str_eq(
	    cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(node, "id")),
	    id);
	ck_assert_str_eq(cJSON_GetStringValue(
			     cJSON_GetObjectItemCaseSensitive(node, "role")),
	    role);
	ck_assert_str_eq(cJSON_GetStringValue(
			     cJSON_GetObjectItemCaseSensitive(node, "title")),
	    title);
	ck_assert_int_gt(pid->valueint, 0);
	ck_assert_int_eq(kill(pid->valueint, 0), 0);
	ck_assert_int_eq(count(node), below);
}

static void
assert_restarts(const cJSON *node, int n)
{
	const cJSON *restarts = cJSON_GetObjectItemCaseSensitive(
	    node, "restarts");

	ck_assert_ptr_nonnull(restarts);
	ck_assert_int_eq(restarts->valueint, n);
}

static const struct branch channels[] = {
	{ "channel #17.3 room:lobby join_ref=\"5\" restarts=2", NULL, true },
	/* What a client may call a topic. */
	{ "channel #17.4 a restarts=9 join_ref=1 \"\\ \xff join_ref=\"6\" "
	  "restarts=0",
	    NULL, true },
	{ "channel #17.5 ", NULL, true },
	{ NULL, NULL, true }, /* a program that is none of ours */
	{ NULL, NULL, false },
};
static const struct branch workers[] = {
	{ "pubsub 1", NULL, true },
	{ "transport #17 127.0.0.1:50124", channels, true },
	{ "transport #18 [::1]:50126", NULL, true },
	{ NULL, NULL, false },
};
static const struct branch root = { "supervisor 127.0.0.1:4000", workers,
	true };
#define PROCESSES 8

START_TEST(a_tree)
{
	pid_t pid = plant(&root, PROCESSES);
	cJSON *tree = read_tree(pid);
	const cJSON *top, *transport;

	ck_assert_int_eq(
	    cJSON_GetObjectItemCaseSensitive(tree, "more")->valueint, 0);
	top = cJSON_GetObjectItemCaseSensitive(tree, "supervisor");
	assert_node(top, "supervisor", "supervisor", "127.0.0.1:4000", 3);
	ck_assert_int_eq(
	    cJSON_GetObjectItemCaseSensitive(top, "pid")->valueint, pid);
	assert_node(child(top, 0), "pubsub/1", "pubsub", "", 0);
	transport = child(top, 1);
	assert_node(
	    transport, "transport/17", "transport", "127.0.0.1:50124", 3);
	assert_node(
	    child(top, 2), "transport/18", "transport", "[::1]:50126", 0);
	assert_node(
	    child(transport, 0), "channel/17/3", "channel", "room:lobby", 0);
	assert_restarts(child(transport, 0), 2);
	assert_node(child(transport, 1), "channel/17/4", "channel",
	    "a restarts=9 join_ref=1 \"\\ \xef\xbf\xbd", 0);
	assert_restarts(child(transport, 1), 0);
	assert_node(child(transport, 2), "channel/17/5", "channel", "", 0);
	cJSON_Delete(tree);
	fell(pid);
}
END_TEST

START_TEST(whether_it_has)
{
	pid_t pid = plant(&root, PROCESSES);

	ck_assert(tree_has(pid, "pubsub/1"));
	ck_assert(tree_has(pid, "transport/17"));
	ck_assert(tree_has(pid, "channel/17/3"));
	ck_assert(tree_has(pid, "channel/17/4"));
	ck_assert(!tree_has(pid, "channel/17/6"));
	ck_assert(!tree_has(pid, "channel/17"));
	ck_assert(!tree_has(pid, "channel"));
	ck_assert(!tree_has(pid, ""));
	ck_assert(!tree_has(pid, "supervisor")); /* not below itself */
	fell(pid);
	ck_assert(!tree_has(pid, "pubsub/1"));
}
END_TEST

START_TEST(none)
{
	struct json_buffer out = { 0 };
	pid_t pid = fork();
	char *pids;

	ck_assert_int_ne(pid, -1);
	if (pid == 0)
		_exit(0);
	tools_assert_exit(pid, 0);
	pids = tree_children(pid);
	ck_assert_str_eq(pids, "");
	free(pids);
	tree_append(&out, pid);
	ck_assert_str_eq(out.data, "{\"supervisor\":null,\"more\":0}");
	json_buffer_free(&out);
}
END_TEST

#define MANY 205 /* 5 more than are shown */

/* What is left out is counted. */
START_TEST(too_many_to_show)
{
	static struct branch many[MANY + 1];
	struct branch wide = { "supervisor", many, true };
	pid_t pid;
	cJSON *tree;
	const char *at;
	char *pids;
	int n = 0;

	for (size_t i = 0; i < MANY; i++)
		many[i] = (struct branch){ "transport #1 x", NULL, true };
	pid = plant(&wide, 1);
	for (size_t left = MANY; left > 0;) {
		char bytes[MANY];

		left -= tools_read_all(pair[0], bytes, left);
	}
	tree = read_tree(pid);
	ck_assert_int_eq(
	    cJSON_GetObjectItemCaseSensitive(tree, "more")->valueint, 5);
	ck_assert_int_eq(
	    count(cJSON_GetObjectItemCaseSensitive(tree, "supervisor")),
	    MANY - 5);
	cJSON_Delete(tree);
	pids = tree_children(pid);
	for (at = pids; (at = strchr(at, ' ')) != NULL; at++)
		n++;
	ck_assert_int_ge(n, MANY - 1);
	free(pids);
	fell(pid);
}
END_TEST

int
main(int argc, char **argv, char **envp)
{
	const TTest *const tests[] = { a_tree, whether_it_has, none,
		too_many_to_show };

	process_init(argc, argv, envp);
	return unit_main("proc_tree", tests, sizeof tests / sizeof tests[0]);
}
