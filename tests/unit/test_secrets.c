/*
 * secrets.c, token_keys.c: what a file may hold, who inherits the pages, and
 * that keys are the same from the page and without it.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/secrets.h"
#include "common/token_keys.h"
#include "common/xmalloc.h"
#include "tests/unit/unit.h"

#define SECRET \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct secrets *secrets;
static char path[64];

static void
begin(void)
{
	int fd;

	strcpy(path, "/tmp/test_secrets.XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ne(fd, -1);
	close(fd);
	secrets = secrets_map();
	ck_assert_ptr_nonnull(secrets);
}

static void
put(const char *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
	close(fd);
}

static void
assert_secret(const char *data, size_t size, const char *why)
{
	char *said;

	put(data, size);
	said = secrets_read_secret(secrets, path);
	if (why == NULL) {
		ck_assert_ptr_null(said);
		return;
	}
	ck_assert_ptr_nonnull(said);
	ck_assert_msg(
	    strncmp(said, path, strlen(path)) == 0 && strstr(said, why) != NULL,
	    "%s", said);
	ck_assert_str_eq(secrets->token_secret, "");
	free(said);
}

static void
assert_why(const char *file, const char *why)
{
	char *said = secrets_read_secret(secrets, file);

	ck_assert_ptr_nonnull(said);
	ck_assert_msg(strstr(said, why) != NULL, "%s", said);
	free(said);
}

START_TEST(files)
{
	char long_one[TOKEN_SECRET_MAX + 2];
	struct token_key key;

	begin();
	assert_secret(SECRET "\n", 65, NULL);
	ck_assert_str_eq(secrets->token_secret, SECRET);
	ck_assert_uint_eq(secrets->token_secret_size, 64);
	token_key_derive(&key, SECRET, 64, LONGPOLL_SALT, 14);
	ck_assert_mem_eq(&key, &secrets->longpoll_key, sizeof key);
	assert_secret(SECRET "\r\n\n", 67, NULL);

	assert_secret(SECRET, 63, "of 63 characters can be guessed");
	assert_secret("", 0, "of 0 characters");
	assert_secret(SECRET "\n\na", 67, "one line");
	assert_secret(SECRET " ", 65, "one line");
	assert_secret(SECRET "\xc3\xa9", 66, "one line");
	assert_secret(SECRET "\0", 65, "one line");
	memset(long_one, 'x', sizeof long_one);
	assert_secret(long_one, TOKEN_SECRET_MAX, NULL);
	ck_assert_uint_eq(secrets->token_secret_size, TOKEN_SECRET_MAX);
	assert_secret(long_one, TOKEN_SECRET_MAX + 1, "1000 characters");
	unlink(path);
	assert_why(path, "No such file");
	assert_why("/tmp", "no file");
}
END_TEST

START_TEST(random_secrets)
{
	struct secrets *other = secrets_map();

	begin();
	unlink(path);
	ck_assert(secrets_make_secret(secrets));
	ck_assert(secrets_make_secret(other));
	ck_assert_uint_eq(secrets->token_secret_size, 64);
	ck_assert_int_ne(
	    memcmp(secrets->token_secret, other->token_secret, 64), 0);
	ck_assert_int_ne(memcmp(&secrets->longpoll_key, &other->longpoll_key,
			     sizeof secrets->longpoll_key),
	    0);
}
END_TEST

/* ---- who has them ---- */

/* The signal that reading a byte costs a child; 0: it has it. */
static int
signal_of_child(const void *page)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(*(const volatile char *)page == 0 ? 0 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void
assert_key(const struct token_key *key, const char *salt, size_t size)
{
	struct token_key good;

	token_key_derive(&good, SECRET, 64, salt, size);
	ck_assert_mem_eq(key, &good, sizeof good);
}

static struct token_keys *
begin_keys(void)
{
	static struct token_keys *keys; /* stays reachable: no leak */

	begin();
	assert_secret(SECRET, 64, NULL);
	unlink(path);
	keys = token_keys_map();
	ck_assert_ptr_nonnull(keys);
	return keys;
}

START_TEST(children)
{
	struct token_keys *keys = begin_keys();
	const struct token_key *key;

	token_keys_add(keys, secrets, "one", 3);
	key = token_keys_find(keys, "one", 3);
	ck_assert_int_eq(signal_of_child(secrets), 0);
	ck_assert_int_eq(signal_of_child(key), 0);
	secrets_inherit(secrets, false);
	token_keys_inherit(keys, false);
	ck_assert_int_eq(signal_of_child(secrets), SIGSEGV);
	ck_assert_int_eq(signal_of_child(key), SIGSEGV);
	secrets_inherit(secrets, true);
	token_keys_inherit(keys, true);
	ck_assert_int_eq(signal_of_child(secrets), 0);
	ck_assert_int_eq(signal_of_child(key), 0);
	secrets_inherit(NULL, false);
	token_keys_inherit(NULL, false);
}
END_TEST

/* ---- keys ---- */

START_TEST(keys_are_kept)
{
	struct token_keys *keys = begin_keys();
	char salt[TOKEN_KEYS_SALT + 1];

	ck_assert_ptr_null(token_keys_find(keys, "one", 3));
	token_keys_add(keys, secrets, "one", 3);
	assert_key(token_keys_find(keys, "one", 3), "one", 3);
	ck_assert_ptr_null(token_keys_find(keys, "on", 2));
	ck_assert_ptr_null(token_keys_find(keys, "", 0));
	token_keys_add(keys, secrets, "", 0);
	assert_key(token_keys_find(keys, "", 0), "", 0);

	memset(salt, 's', sizeof salt);
	ck_assert(!token_keys_has_room(keys, sizeof salt));
	token_keys_add(keys, secrets, salt, sizeof salt);
	ck_assert_ptr_null(token_keys_find(keys, salt, sizeof salt));
	ck_assert(token_keys_has_room(keys, TOKEN_KEYS_SALT));
	token_keys_add(keys, secrets, salt, TOKEN_KEYS_SALT);
	assert_key(token_keys_find(keys, salt, TOKEN_KEYS_SALT), salt,
	    TOKEN_KEYS_SALT);
	assert_key(token_keys_find(keys, "one", 3), "one", 3);
}
END_TEST

START_TEST(too_many_keys)
{
	struct token_keys *keys = begin_keys();
	unsigned kept = 0;
	char salt[16];

	for (int i = 0; i < TOKEN_KEYS_MAX + 3; i++) {
		ck_assert_int_eq(
		    token_keys_has_room(keys, 1), i < TOKEN_KEYS_MAX);
		snprintf(salt, sizeof salt, "salt %d", i);
		/* Of one that is there, there is no second. */
		for (int again = 0; again < 2; again++)
			token_keys_add(keys, secrets, salt, strlen(salt));
	}
	for (int i = 0; i < TOKEN_KEYS_MAX + 3; i++) {
		const struct token_key *key;

		snprintf(salt, sizeof salt, "salt %d", i);
		key = token_keys_find(keys, salt, strlen(salt));
		if (key == NULL)
			continue;
		kept++;
		assert_key(key, salt, strlen(salt));
	}
	ck_assert_uint_eq(kept, TOKEN_KEYS_MAX);
}
END_TEST

/* 0: it has the key, and cannot write where that lies. */
static int
try_to_spoil(const struct token_keys *keys)
{
	const struct token_key *key = token_keys_find(keys, "one", 3);
	uintptr_t at = (uintptr_t)key;

	if (key == NULL)
		return 1;
	at -= at % (uintptr_t)sysconf(_SC_PAGESIZE);
	if (mprotect((void *)at, 1, PROT_READ | PROT_WRITE) != -1 ||
	    errno != EACCES)
		return 2;
	signal(SIGSEGV, SIG_DFL);
	*(volatile uint8_t *)(uintptr_t)key->bytes = 0;
	return 3;
}

/* Who was forked before sees it, too. */
START_TEST(children_cannot_write_keys)
{
	struct token_keys *keys = begin_keys();
	int go[2], status;
	char byte = 0;
	pid_t pid;

	ck_assert_int_eq(pipe(go), 0);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0)
		_exit(read(go[0], &byte, 1) == 1 ? try_to_spoil(keys) : 4);
	token_keys_add(keys, secrets, "one", 3);
	ck_assert_int_eq(write(go[1], &byte, 1), 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
	assert_key(token_keys_find(keys, "one", 3), "one", 3);
	close(go[0]);
	close(go[1]);
}
END_TEST

UNIT_MAIN("secrets", files, random_secrets, children, keys_are_kept,
    too_many_keys, children_cannot_write_keys)
