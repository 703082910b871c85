/*
 * secrets.c - see secrets.h.
 */
#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/secrets.h"
#include "common/xmalloc.h"

struct secrets *
secrets_map(void)
{
	void *page = mmap(NULL, sizeof(struct secrets), PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

void
secrets_inherit(struct secrets *secrets, bool inherit)
{
	if (secrets != NULL &&
	    madvise(secrets, sizeof *secrets,
		inherit ? MADV_DOFORK : MADV_DONTFORK) == -1)
		fatal("the page of secrets");
}

bool
secret_is(const char *given, const char *secret)
{
	size_t n = strlen(secret);
	unsigned char differs = 0;

	if (given == NULL || n == 0 || strlen(given) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		differs |= (unsigned char)(given[i] ^ secret[i]);
	return differs == 0;
}

/* ---- a secret in a file ---- */

/* What a file may hold: its only line. */
struct line {
	const char *what; /* "token" */
	char *to;         /* has room for a NUL more */
	size_t min, max;
};

static ssize_t
read_all(int fd, char *to, size_t max)
{
	size_t size = 0;
	ssize_t n;

	while ((n = read(fd, to + size, max - size)) > 0)
		size += (size_t)n;
	return n == -1 ? -1 : (ssize_t)size;
}

/* Of a header's value, so that it can be shown. */
static bool
is_visible(char c)
{
	return c > ' ' && c < 0x7f;
}

static char *
check_line(const struct line *line, size_t size, const char *path)
{
	char *to = line->to;

	while (size > 0 && (to[size - 1] == '\n' || to[size - 1] == '\r'))
		to[--size] = '\0';
	for (size_t i = 0; i < size; i++)
		if (!is_visible(to[i]))
			return xasprintf(
			    "%s: a %s is one line of visible ASCII characters",
			    path, line->what);
	if (size < line->min)
		return xasprintf("%s: a %s of %zu characters can be guessed; "
				 "make it %zu or more",
		    path, line->what, size, line->min);
	return NULL;
}

/* NULL, or what is wrong with it. It touches no memory but that of the line. */
static char *
read_line(const struct line *line, const char *path)
{
	char *why;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd == -1 || fstat(fd, &st) == -1) {
		why = xasprintf("%s: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		why = xasprintf("%s: it is no file", path);
	} else if (st.st_size > (off_t)line->max) {
		why = xasprintf("%s: a %s has %zu characters at most", path,
		    line->what, line->max);
	} else {
		n = read_all(fd, line->to, line->max);
		why = n == -1 ? xasprintf("%s: %s", path, strerror(errno))
			      : check_line(line, (size_t)n, path);
		if ((st.st_mode & S_IROTH) != 0)
			log_warnx("%s: everybody may read this %s, also the "
				  "application's processes",
			    path, line->what);
	}
	if (why != NULL)
		explicit_bzero(line->to, line->max);
	if (fd != -1)
		close(fd);
	return why;
}

char *
secrets_read_token(struct secrets *secrets, const char *path)
{
	const struct line line = {
		.what = "token",
		.to = secrets->broadcast_token,
		.min = BROADCAST_TOKEN_MIN,
		.max = BROADCAST_TOKEN_MAX,
	};

	return read_line(&line, path);
}

/* ---- the secret of tokens ---- */

static void
make_keys(struct secrets *secrets)
{
	token_key_derive(&secrets->longpoll_key, secrets->token_secret,
	    secrets->token_secret_size, LONGPOLL_SALT, strlen(LONGPOLL_SALT));
}

char *
secrets_read_secret(struct secrets *secrets, const char *path)
{
	const struct line line = {
		.what = "secret",
		.to = secrets->token_secret,
		.min = TOKEN_SECRET_MIN,
		.max = TOKEN_SECRET_MAX,
	};
	char *why = read_line(&line, path);

	if (why != NULL)
		return why;
	secrets->token_secret_size = strlen(secrets->token_secret);
	make_keys(secrets);
	return NULL;
}

bool
secrets_make_secret(struct secrets *secrets)
{
	if (getentropy(secrets->token_secret, TOKEN_SECRET_MIN) == -1)
		return false;
	secrets->token_secret_size = TOKEN_SECRET_MIN;
	make_keys(secrets);
	return true;
}
