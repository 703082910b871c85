/*
 * log.h - one line for each thing an operator should know.
 *
 * Every process says once who it is (log_init); each line then begins with
 * that name and the pid. Lines go to stderr, with "<N>" priorities in front
 * when systemd reads them (JOURNAL_STREAM is set). One line is one write(2), so
 * that lines of many processes do not mix. errno is left as it was.
 *
 * Control characters of what a client sent are escaped by the logger itself: a
 * client cannot forge a line.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

#define printflike(a, b) __attribute__((__format__(printf, a, b)))

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

void log_init(const char *name);
void log_setlevel(enum log_level);
bool log_enabled(enum log_level);

/* The x variants do not add strerror(errno). fatal ends in EXIT_CRASH. */
_Noreturn void fatal(const char *, ...) printflike(1, 2);
_Noreturn void fatalx(const char *, ...) printflike(1, 2);
void log_warn(const char *, ...) printflike(1, 2);
void log_warnx(const char *, ...) printflike(1, 2);
void log_info(const char *, ...) printflike(1, 2);
void log_debug(const char *, ...) printflike(1, 2);

#endif /* LOG_H */
