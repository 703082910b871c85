/*
 * task.c - see task.h.
 */
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/socket.h"
#include "channel/task.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/process.h"
#include "common/xmalloc.h"

#define TASK_FD    PROCESS_FD
#define RESULT_MAX (64U << 20) /* bytes; more is a task gone wild */

struct bennu_task {
	struct bennu_payload result; /* owned */
	bool has_result;
};

/* In the child, by way of its copy of the channel's stack. */
struct task_start {
	void (*run)(struct bennu_task *, void *);
	void *data;
	const char *event;
	const struct channel_start *channel;
};

/* ---- in the task ---- */

void
bennu_task_result(struct bennu_task *task, struct bennu_payload payload)
{
	if (task->has_result)
		free((void *)(uintptr_t)task->result.data);
	task->result = payload;
	task->result.data = xmemdup(payload.data, payload.size);
	task->has_result = true;
}

static void
write_all(const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t n = write(TASK_FD, at, size);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			_exit(EXIT_SHUTDOWN); /* the channel is gone */
		at += n;
		size -= (size_t)n;
	}
}

static _Noreturn void
task_run(void *arg)
{
	const struct task_start *start = arg;
	struct bennu_task task = { .has_result = false };
	sigset_t none;
	uint32_t kind;

	/* Nothing to tidy up: SIGTERM ends it. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	process_title("task #%llu.%u %s %s",
	    (unsigned long long)start->channel->connection,
	    start->channel->number, start->channel->topic->data, start->event);
	start->run(&task, start->data);
	if (task.has_result) {
		kind = task.result.kind;
		write_all(&kind, sizeof kind);
		write_all(task.result.data, task.result.size);
	}
	fflush(NULL);
	_exit(EXIT_NORMAL);
}

/* ---- in the channel ---- */

int
bennu_task(struct bennu_socket *socket, const char *event,
    void (*run)(struct bennu_task *, void *), void *data)
{
	struct task_start start = { run, data, event, socket->start };
	struct process_spec spec = {
		.name = "task",
		.run = task_run,
		.arg = &start,
		.nfds = 1,
		.dumpable = true,
	};
	struct task *task;
	unsigned running = 0;
	int fds[2], saved;
	pid_t pid;

	LIST_FOREACH (task, &socket->tasks, entry)
		if (++running == TASKS_MAX) {
			errno = EAGAIN;
			return -1;
		}
	if (pipe2(fds, O_CLOEXEC) == -1)
		return -1;
	spec.fds[0] = fds[1];
	pid = process_fork(&spec);
	saved = errno;
	close(fds[1]);
	if (pid == -1) {
		close(fds[0]);
		errno = saved;
		return -1;
	}
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	task = xcalloc(1, sizeof *task);
	task->pid = pid;
	task->fd = fds[0];
	task->event = xstrdup(event);
	task->data = data;
	LIST_INSERT_HEAD(&socket->tasks, task, entry);
	return (int)pid;
}

/* It has ended, or is as good as that: its pipe is closed. */
static void
bury(struct task *task)
{
	if (task->pid == -1)
		return;
	kill(task->pid, SIGKILL);
	while (waitpid(task->pid, NULL, 0) == -1 && errno == EINTR)
		;
	task->pid = -1;
}

bool
task_read(struct task *task)
{
	uint8_t chunk[16 * 1024];
	ssize_t n;

	n = read(task->fd, chunk, sizeof chunk);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0 && task->size + (size_t)n <= RESULT_MAX) {
		task->body = xrealloc(task->body, task->size + (size_t)n + 1);
		memcpy(task->body + task->size, chunk, (size_t)n);
		task->size += (size_t)n;
		task->body[task->size] = '\0';
		return false;
	}
	if (n > 0) {
		log_warnx("task %s: a result of more than %u bytes; killed",
		    task->event, RESULT_MAX);
		task->size = 0;
	}
	bury(task);
	return true;
}

struct bennu_payload
task_payload(const struct task *task)
{
	struct bennu_payload payload;
	uint32_t kind;

	if (task->size < sizeof kind)
		return bennu_text("{\"error\":\"killed\"}");
	memcpy(&kind, task->body, sizeof kind);
	payload.kind = kind == BENNU_BINARY ? BENNU_BINARY : BENNU_JSON;
	payload.data = (const char *)task->body + sizeof kind;
	payload.size = task->size - sizeof kind;
	return payload;
}

void
task_free(struct task *task)
{
	LIST_REMOVE(task, entry);
	close(task->fd);
	free(task->event);
	free(task->body);
	free(task);
}

void
tasks_kill(struct tasks *tasks)
{
	struct task *task;

	LIST_FOREACH (task, tasks, entry)
		bury(task);
}
