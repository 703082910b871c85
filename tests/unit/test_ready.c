/*
 * ready.c: what the supervisor says is read by children that may, and written
 * by none of them.
 */
#include <sys/mman.h>

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/ready.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

/* The mappings of it that this process has; the last one is in *page. */
static unsigned
find_mappings(void **page, char mode[5])
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned n = 0;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long from;

		if (strstr(line, "/memfd:ready") == NULL ||
		    sscanf(line, "%lx-%*x %4s", &from, mode) != 2)
			continue;
		*page = (void *)from;
		n++;
	}
	fclose(maps);
	return n;
}

/* In a child: 0 when it sees what is expected and cannot write it. */
static int
look(const struct ready *ready, enum ready_state expected)
{
	void *page = NULL;
	char mode[5] = "";

	if (find_mappings(&page, mode) != 1)
		return 1;
	if (strcmp(mode, "r--s") != 0)
		return 2;
	if (mprotect(page, 1, PROT_READ | PROT_WRITE) != -1 || errno != EACCES)
		return 3;
	return ready_get(ready) == expected ? 0 : 4;
}

START_TEST(children_read_it)
{
	static const enum ready_state states[] = { READY_STARTING, READY_YES,
		READY_STOPPING, READY_STARTING };
	static struct ready *ready; /* stays reachable: no leak */

	ready = ready_map();
	ck_assert_ptr_nonnull(ready);
	ck_assert_int_eq(ready_get(ready), READY_STARTING);
	for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
		pid_t pid;

		ready_set(ready, states[i]);
		ck_assert_int_eq(ready_get(ready), states[i]);
		pid = fork();
		if (pid == 0)
			_exit(look(ready, states[i]));
		tools_assert_exit(pid, 0);
	}
}
END_TEST

/* Who was forked before hears of it, too. */
START_TEST(it_changes_under_a_child)
{
	static struct ready *ready; /* stays reachable: no leak */
	int to[2], from[2];
	pid_t pid;
	char byte = 0;

	ready = ready_map();
	ck_assert_ptr_nonnull(ready);
	ck_assert_int_eq(pipe(to), 0);
	ck_assert_int_eq(pipe(from), 0);
	pid = fork();
	if (pid == 0) {
		if (ready_get(ready) != READY_STARTING ||
		    write(from[1], &byte, 1) != 1 || read(to[0], &byte, 1) != 1)
			_exit(5);
		_exit(look(ready, READY_STOPPING));
	}
	ck_assert_int_eq(read(from[0], &byte, 1), 1);
	ready_set(ready, READY_STOPPING);
	ck_assert_int_eq(write(to[1], &byte, 1), 1);
	tools_assert_exit(pid, 0);
	for (int i = 0; i < 2; i++) {
		close(to[i]);
		close(from[i]);
	}
}
END_TEST

static pid_t
fork_without(struct ready *ready)
{
	pid_t pid;

	ready_inherit(ready, false);
	pid = fork();
	if (pid == 0) {
		void *page;
		char mode[5];

		_exit((int)find_mappings(&page, mode));
	}
	ready_inherit(ready, true);
	return pid;
}

START_TEST(some_children_have_nothing)
{
	static struct ready *ready; /* stays reachable: no leak */
	pid_t pid;

	ready = ready_map();
	ck_assert_ptr_nonnull(ready);
	tools_assert_exit(fork_without(ready), 0);
	pid = fork();
	if (pid == 0)
		_exit(look(ready, READY_STARTING));
	tools_assert_exit(pid, 0);
}
END_TEST

START_TEST(there_may_be_none)
{
	ready_set(NULL, READY_YES);
	ready_inherit(NULL, false);
}
END_TEST

UNIT_MAIN("ready", children_read_it, it_changes_under_a_child,
    some_children_have_nothing, there_may_be_none)
