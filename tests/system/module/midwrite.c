/*
 * midwrite.c - a library to be preloaded: who sends a magic word over a socket
 * is stopped (SIGSTOP) in the middle of that write, once. The server knows
 * nothing of it.
 */
#include <sys/socket.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

static const char magic[] = "stop in the middle of this write";

__attribute__((visibility("default"))) ssize_t
send(int fd, const void *data, size_t size, int flags)
{
	static ssize_t (*next)(int, const void *, size_t, int);
	static bool stopped;
	ssize_t n;

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "send");
	if (stopped || memmem(data, size, magic, sizeof magic - 1) == NULL)
		return next(fd, data, size, flags);
	stopped = true;
	n = next(fd, data, size / 2, flags);
	raise(SIGSTOP);
	return n;
}
