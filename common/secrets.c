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

bool
secrets_keep(struct secrets *secrets)
{
	return madvise(secrets, sizeof *secrets, MADV_DONTFORK) == 0;
}

void
secrets_wipe(struct secrets *secrets)
{
	if (secrets != NULL)
		explicit_bzero(secrets, sizeof *secrets);
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

/* ---- a token in a file ---- */

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
is_of_a_token(char c)
{
	return c > ' ' && c < 0x7f;
}

static char *
check_token(char *token, size_t size, const char *path)
{
	while (size > 0 && (token[size - 1] == '\n' || token[size - 1] == '\r'))
		token[--size] = '\0';
	for (size_t i = 0; i < size; i++)
		if (!is_of_a_token(token[i]))
			return xasprintf("%s: a token is one line of visible "
					 "ASCII characters",
			    path);
	if (size < BROADCAST_TOKEN_MIN)
		return xasprintf("%s: a token of %zu characters can be "
				 "guessed; make it %d or more",
		    path, size, BROADCAST_TOKEN_MIN);
	return NULL;
}

char *
secrets_read_token(struct secrets *secrets, const char *path)
{
	char *token = secrets->broadcast_token, *why = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd == -1 || fstat(fd, &st) == -1) {
		why = xasprintf("%s: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		why = xasprintf("%s: it is no file", path);
	} else if (st.st_size > BROADCAST_TOKEN_MAX) {
		why = xasprintf("%s: a token has %d characters at most", path,
		    BROADCAST_TOKEN_MAX);
	} else {
		n = read_all(fd, token, BROADCAST_TOKEN_MAX);
		why = n == -1 ? xasprintf("%s: %s", path, strerror(errno))
			      : check_token(token, (size_t)n, path);
		if ((st.st_mode & S_IROTH) != 0)
			log_warnx("%s: everybody may read this token, also "
				  "the application's processes",
			    path);
	}
	if (why != NULL)
		*token = '\0';
	if (fd != -1)
		close(fd);
	return why;
}
