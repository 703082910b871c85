/*
 * exit.h - how a process ends, and what its supervisor makes of it.
 *
 * The names are OTP's exit reasons. A signal, fatal() and every status that is
 * not listed here are a crash.
 */
#ifndef EXIT_H
#define EXIT_H

#include <stdbool.h>
#include <stddef.h>

enum exit_status {
	EXIT_NORMAL = 0,    /* its work is done: OTP's normal */
	EXIT_CRASH = 1,     /* fatal(), or a stop with reason ERROR */
	EXIT_SHUTDOWN = 10, /* its supervisor asked, or is gone */
	EXIT_START = 11,    /* it could not start and has said why */
};

/* Did it end the way it was meant to? status is wait(2)'s. */
bool exit_is_normal(int status);

/*
 * "normal", "shutdown", "could not start", "exit 3", "killed" (SIGKILL),
 * "signal 11 (Segmentation fault)", with ", core dumped" where it was.
 * Returns buf.
 */
const char *exit_string(int status, char *buf, size_t size);

#endif /* EXIT_H */
