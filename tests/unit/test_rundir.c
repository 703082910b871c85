/*
 * rundir.c: the directory is ours alone, one server has it, and a socket of a
 * server that was killed is no hindrance.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/rundir.h"
#include "tests/unit/tools.h"
#include "tests/unit/unit.h"

static char top[64];  /* a directory of the test */
static char dir[128]; /* the run directory in it */

static void
set_up(void)
{
	tools_make_directory(top, sizeof top);
	snprintf(dir, sizeof dir, "%s/run", top);
}

static void
tear_down(void)
{
	tools_remove_directory(dir);
	tools_remove_directory(top);
}

static void
assert_made(const char *path, const char *name)
{
	char *error, *done;
	bool new, before = access(dir, F_OK) == 0;

	done = rundir_make(path, name, geteuid(), getegid(), &new, &error);
	ck_assert_ptr_null(error);
	ck_assert_str_eq(done, dir);
	ck_assert(new == !before);
	free(done);
}

static void
assert_refused(const char *path, uid_t uid, const char *part)
{
	char *error, *done;
	bool new;

	done = rundir_make(path, "x", uid, getegid(), &new, &error);
	ck_assert_ptr_null(done);
	ck_assert_ptr_nonnull(error);
	ck_assert_msg(
	    strstr(error, part) != NULL && strstr(error, path) != NULL,
	    "'%s' has no '%s'", error, part);
	free(error);
}

static mode_t
mode_of(const char *path)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_uid, geteuid());
	return st.st_mode & 07777;
}

START_TEST(made)
{
	char lock[160];

	set_up();
	umask(0);
	assert_made(dir, "x");
	ck_assert_uint_eq(mode_of(dir), 0700);
	snprintf(lock, sizeof lock, "%s/lock", dir);
	ck_assert_uint_eq(mode_of(lock), 0600);
	tear_down();
}
END_TEST

/* A directory that is there is brought to its mode. */
START_TEST(made_before)
{
	set_up();
	ck_assert_int_eq(mkdir(dir, 0777), 0);
	ck_assert_int_eq(chmod(dir, 0777), 0);
	assert_made(dir, "x");
	ck_assert_uint_eq(mode_of(dir), 0700);
	tear_down();
}
END_TEST

START_TEST(in_the_runtime_directory)
{
	set_up();
	snprintf(dir, sizeof dir, "%s/bennu-4000", top);
	setenv("XDG_RUNTIME_DIR", top, 1);
	assert_made(NULL, "4000");
	tear_down();
}
END_TEST

/* The kernel lets go of it with the process, however that ends. */
START_TEST(one_server_at_a_time)
{
	int ready[2];
	pid_t pid;
	char byte;

	set_up();
	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		char *error;
		bool new;

		if (rundir_make(dir, "x", geteuid(), getegid(), &new, &error) ==
		    NULL)
			_exit(1);
		if (write(ready[1], "x", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	ck_assert_uint_eq(tools_read_all(ready[0], &byte, 1), 1);
	assert_refused(dir, geteuid(), "another supervisor runs in");
	kill(pid, SIGKILL);
	tools_assert_killed(pid, SIGKILL);
	assert_made(dir, "x");
	close(ready[0]);
	close(ready[1]);
	tear_down();
}
END_TEST

START_TEST(a_refusal_leaves_nothing_open)
{
	unsigned before;

	set_up();
	assert_made(dir, "x");
	before = tools_count_fds();
	assert_refused(dir, geteuid(), "another supervisor runs in");
	ck_assert_uint_eq(tools_count_fds(), before);
	tear_down();
}
END_TEST

/* Somebody was there first, in a directory where all may write. */
START_TEST(a_foreign_owner)
{
	if (geteuid() != 0) {
		assert_refused("/", geteuid(), "is not ours");
		return;
	}
	set_up();
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	ck_assert_int_eq(chown(dir, 12345, 12345), 0);
	assert_refused(dir, 0, "is not ours");
	assert_refused(dir, 54321, "is not ours");
	/* Of the user that the server becomes. */
	ck_assert_int_eq(chown(dir, geteuid(), getegid()), 0);
	assert_made(dir, "x");
	tear_down();
}
END_TEST

START_TEST(no_directory)
{
	char target[128];
	FILE *file;

	set_up();
	snprintf(target, sizeof target, "%s/target", top);
	ck_assert_int_eq(mkdir(target, 0700), 0);
	ck_assert_int_eq(symlink(target, dir), 0);
	assert_refused(dir, geteuid(), "is not ours");
	unlink(dir);
	rmdir(target);
	file = fopen(dir, "w");
	fclose(file);
	assert_refused(dir, geteuid(), "is not ours");
	unlink(dir);
	snprintf(dir, sizeof dir, "%s/no/where", top);
	assert_refused(dir, geteuid(), strerror(ENOENT));
	tools_remove_directory(top);
}
END_TEST

/* A lock that somebody laid as a link is not followed. */
START_TEST(a_lock_that_is_a_link)
{
	char lock[160], target[128];

	set_up();
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	snprintf(lock, sizeof lock, "%s/lock", dir);
	snprintf(target, sizeof target, "%s/target", top);
	ck_assert_int_eq(symlink(target, lock), 0);
	assert_refused(dir, geteuid(), strerror(ELOOP));
	ck_assert_int_eq(access(target, F_OK), -1);
	tear_down();
}
END_TEST

/* Sockets must fit below it: sun_path holds 107 bytes and a NUL. */
START_TEST(too_long)
{
	const size_t longest = sizeof(((struct sockaddr_un *)0)->sun_path) -
	    sizeof "/lp-0123456789012345678901";
	char path[200], file[240];
	int fd;

	set_up();
	snprintf(path, sizeof path, "%s/", top);
	memset(path + strlen(path), 'd', sizeof path - strlen(path));
	path[longest + 1] = '\0';
	assert_refused(path, geteuid(), "too long for sockets");
	ck_assert_int_eq(access(path, F_OK), -1);

	path[longest] = '\0';
	strcpy(dir, path);
	assert_made(path, "x");
	snprintf(file, sizeof file, "%s/lp-0123456789012345678901", path);
	fd = rundir_listen(file, geteuid(), getegid());
	ck_assert_int_ne(fd, -1);
	close(fd);
	tear_down();
}
END_TEST

/* ---- the end ---- */

START_TEST(removed)
{
	set_up();
	assert_made(dir, "x");
	rundir_remove(dir, true);
	ck_assert_int_eq(access(dir, F_OK), -1);
	/* Its lock still holds the old file, which is nobody's now. */
	assert_made(dir, "x");
	rundir_remove(dir, false);
	ck_assert_int_eq(access(dir, F_OK), 0);
	assert_made(dir, "x");
	tear_down();
}
END_TEST

/* What another one has made there keeps the directory. */
START_TEST(removed_but_not_what_is_in_it)
{
	char path[160];
	FILE *file;

	set_up();
	assert_made(dir, "x");
	snprintf(path, sizeof path, "%s/other", dir);
	file = fopen(path, "w");
	fclose(file);
	rundir_remove(dir, true);
	ck_assert_int_eq(access(path, F_OK), 0);
	tear_down();
}
END_TEST

/* Its end code: 0 it had the directory alone, 1 refused, else a failure. */
static void
be_a_server(void)
{
	char *error, *done, path[160];
	bool new;
	int fd;

	done = rundir_make(dir, "x", geteuid(), getegid(), &new, &error);
	if (done == NULL)
		_exit(strstr(error, "another supervisor") != NULL ? 1 : 2);
	snprintf(path, sizeof path, "%s/mine", dir);
	fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
	if (fd == -1)
		_exit(3);
	if (unlink(path) == -1)
		_exit(4);
	rundir_remove(dir, new);
	_exit(0);
}

/* Many that come and go at once: never two at a time, never another error. */
START_TEST(servers_come_and_go)
{
	unsigned alone = 0, refused = 0;

	set_up();
	for (int i = 0; i < 2000; i++) {
		pid_t pid;
		int status;

		if (i >= 8) {
			ck_assert_int_gt(wait(&status), 0);
			ck_assert_msg(
			    WIFEXITED(status) && WEXITSTATUS(status) <= 1,
			    "status 0x%x", status);
			if (WEXITSTATUS(status) == 0)
				alone++;
			else
				refused++;
		}
		pid = fork();
		ck_assert_int_ne(pid, -1);
		if (pid == 0)
			be_a_server();
	}
	while (wait(NULL) > 0)
		;
	ck_assert_uint_gt(alone, 0);
	ck_assert_uint_gt(refused, 0);
	/* Who did not make it has left it. */
	if (access(dir, F_OK) == 0)
		ck_assert_int_eq(rmdir(dir), 0);
	tools_remove_directory(top);
}
END_TEST

/* ---- sockets ---- */

static int
connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	close(fd);
	return -1;
}

START_TEST(listening)
{
	char path[160];
	int fd, again, client;

	set_up();
	umask(022);
	assert_made(dir, "x");
	snprintf(path, sizeof path, "%s/pubsub-1.sock", dir);
	fd = rundir_listen(path, geteuid(), getegid());
	ck_assert_int_ne(fd, -1);
	ck_assert_uint_eq(mode_of(path), 0600);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_uint_eq(umask(022), 022); /* as it was */
	client = connect_to(path);
	ck_assert_int_ne(client, -1);
	close(client);
	close(fd);

	/* Of a server that was killed. */
	ck_assert_int_eq(connect_to(path), -1);
	again = rundir_listen(path, geteuid(), getegid());
	ck_assert_int_ne(again, -1);
	client = connect_to(path);
	ck_assert_int_ne(client, -1);
	close(client);
	close(again);
	tear_down();
}
END_TEST

START_TEST(not_listening)
{
	char path[300];
	unsigned before = tools_count_fds();

	memset(path, 'p', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	errno = 0;
	ck_assert_int_eq(rundir_listen(path, geteuid(), getegid()), -1);
	ck_assert_int_eq(errno, ENAMETOOLONG);
	path[108] = '\0';
	errno = 0;
	ck_assert_int_eq(rundir_listen(path, geteuid(), getegid()), -1);
	ck_assert_int_eq(errno, ENAMETOOLONG);
	errno = 0;
	ck_assert_int_eq(
	    rundir_listen("/no/where.sock", geteuid(), getegid()), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_uint_eq(tools_count_fds(), before);
}
END_TEST

UNIT_MAIN("rundir", made, made_before, in_the_runtime_directory,
    one_server_at_a_time, a_refusal_leaves_nothing_open, a_foreign_owner,
    no_directory, a_lock_that_is_a_link, too_long, removed,
    removed_but_not_what_is_in_it, servers_come_and_go, listening,
    not_listening)
