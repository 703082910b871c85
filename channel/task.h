/*
 * task.h - processes that a channel forks for work that would hold it up: see
 * bennu_task in bennu/channel.h. The result comes over a pipe of their own.
 */
#ifndef TASK_H
#define TASK_H

#include <sys/queue.h>
#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <bennu/channel.h>

#define TASKS_MAX 64 /* of one channel, at a time */

struct task {
	pid_t pid;
	int fd; /* its result, then its end */
	char *event;
	void *data;    /* the author's */
	uint8_t *body; /* u32 kind, then the payload, as far as it came */
	size_t size;
	LIST_ENTRY(task) entry;
};
LIST_HEAD(tasks, task);

/* Reads what is there. True: it has ended, and nothing of it is left. */
bool task_read(struct task *);
/* What handle_info gets of a task that has ended. */
struct bennu_payload task_payload(const struct task *);
void task_free(struct task *);
/* kill -9 of all: the channel ends. */
void tasks_kill(struct tasks *);

#endif /* TASK_H */
