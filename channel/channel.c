/*
 * channel.c - see channel.h. One message at a time: from the mailbox to a
 * callback, and what the callback sent back to the transport.
 */
#include <sys/resource.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/socket.h"
#include "common/exit.h"
#include "common/json.h"
#include "common/log.h"
#include "common/xmalloc.h"

static int
status_of(enum bennu_reason reason)
{
	switch (reason) {
	case BENNU_NORMAL:
		return EXIT_NORMAL;
	case BENNU_SHUTDOWN:
	case BENNU_LEFT:
	case BENNU_CLOSED:
	case BENNU_DRAINING:
		return EXIT_SHUTDOWN;
	case BENNU_ERROR:
		return EXIT_CRASH;
	}
	return EXIT_CRASH;
}

/* The last callback, the last words, the end. */
static _Noreturn void
channel_end(struct bennu_socket *socket, enum bennu_reason reason)
{
	const char *detail = socket->stop_detail == NULL ? ""
							 : socket->stop_detail;
	struct envelope_writer writer = { 0 };

	socket->phase = PHASE_TERMINATE;
	socket->in_hand = NULL;
	tasks_kill(&socket->tasks);
	if (socket->callbacks->terminate != NULL)
		socket->callbacks->terminate(socket, reason, detail);
	if (reason == BENNU_ERROR)
		log_warnx("%s: stopped with an error: %s",
		    socket->start->config->module, detail);
	tally_send(&socket->tally, socket->mailbox);
	envelope_put_u32(&writer, reason);
	envelope_put_string(&writer, detail);
	mailbox_send(socket->mailbox, ENVELOPE_STOP, &writer);
	socket_flush(socket);
	fflush(NULL);
	_exit(status_of(reason));
}

/* After every callback: its words leave, its wish to stop is done. */
static void
callback_done(struct bennu_socket *socket)
{
	socket->in_hand = NULL;
	socket_clear_scratch(socket);
	tally_send(&socket->tally, socket->mailbox);
	socket_flush(socket);
	if (socket->stop != 0)
		channel_end(socket, socket->stop);
}

/*
 * Who stops does not say that it is done: its transport would hand it the next
 * message, and take that for the one that ended it.
 */
static void
message_done(struct bennu_socket *socket, enum envelope_type done)
{
	if (socket->stop == 0)
		mailbox_send(socket->mailbox, done, NULL);
	callback_done(socket);
}

static _Noreturn void
bad_return_value(const struct bennu_socket *socket, const char *callback,
    enum bennu_result result)
{
	socket_mistake(
	    socket, "bad_return_value: %s returned %d", callback, (int)result);
}

static void
check_result(const struct bennu_socket *socket, const char *callback,
    const struct bennu_message *msg, enum bennu_result result)
{
	switch (result) {
	case BENNU_OK:
		return;
	case BENNU_UNHANDLED:
		socket_mistake(
		    socket, "%s does not handle '%s'", callback, msg->event);
	case BENNU_REFUSE:
		break;
	}
	bad_return_value(socket, callback, result);
}

/* ---- join ---- */

static void
send_joined(struct bennu_socket *socket, bool accepted)
{
	struct envelope_writer writer = { 0 };

	envelope_put_u32(&writer, accepted);
	socket_put_payload(socket, &writer, socket->reply);
	mailbox_send(socket->mailbox, ENVELOPE_JOINED, &writer);
}

static void
run_join(struct bennu_socket *socket)
{
	const struct channel_start *start = socket->start;
	struct bennu_message msg = {
		.topic = start->topic->data,
		.topic_size = start->topic->size,
		.event = "phx_join",
		.event_size = strlen("phx_join"),
		.ref = start->ref,
		.payload = { start->params_kind, start->params->data,
		    start->params->size },
	};
	enum bennu_result result;
	const char *status;

	socket->phase = PHASE_JOIN;
	socket->in_hand = &msg;
	socket->reply = bennu_empty();
	result = socket->callbacks->join(socket, &msg);
	if (result != BENNU_OK && result != BENNU_REFUSE)
		bad_return_value(socket, "join", result);
	status = result == BENNU_OK ? "ok" : "error";
	if (socket->reply_status != NULL &&
	    strcmp(socket->reply_status, status) != 0)
		socket_mistake(socket, "join replied '%s' and returned '%s'",
		    socket->reply_status, status);
	free(socket->reply_status);
	socket->reply_status = NULL;

	send_joined(socket, result == BENNU_OK);
	if (result == BENNU_REFUSE) {
		tally_send(&socket->tally, socket->mailbox);
		socket_flush(socket);
		_exit(EXIT_NORMAL);
	}
	callback_done(socket);
}

/* ---- messages ---- */

static struct bennu_payload
get_payload(struct envelope *envelope)
{
	struct bennu_payload payload;

	payload.kind = (enum bennu_kind)envelope_get_u32(envelope);
	payload.data = envelope_get_data(envelope, &payload.size);
	return payload;
}

static void
run_in(struct bennu_socket *socket, struct envelope *envelope)
{
	struct bennu_message msg = {
		.topic = socket->start->topic->data,
		.topic_size = socket->start->topic->size,
	};
	enum bennu_result result = BENNU_UNHANDLED;
	size_t size;

	msg.event = envelope_get_data(envelope, &msg.event_size);
	msg.ref = envelope_get_optional(envelope, &size);
	msg.payload = get_payload(envelope);
	if (!envelope_end(envelope))
		fatalx("bad IN envelope from the transport");

	socket->phase = PHASE_IN;
	socket->in_hand = &msg;
	socket->replied = false;
	if (socket->callbacks->handle_in != NULL)
		result = socket->callbacks->handle_in(socket, &msg);
	check_result(socket, "handle_in", &msg, result);
	message_done(socket, ENVELOPE_DONE);
}

static void
handle_info(struct bennu_socket *socket, const struct bennu_message *msg)
{
	enum bennu_result result = BENNU_OK;

	socket->phase = PHASE_INFO;
	if (socket->callbacks->handle_info != NULL)
		result = socket->callbacks->handle_info(socket, msg);
	else
		log_warnx("%s has no handle_info: '%s' ignored",
		    socket->start->config->module, msg->event);
	check_result(socket, "handle_info", msg, result);
}

static void
run_info(struct bennu_socket *socket, struct envelope *envelope)
{
	struct bennu_message msg = { 0 };

	msg.topic = envelope_get_data(envelope, &msg.topic_size);
	msg.event = envelope_get_data(envelope, &msg.event_size);
	msg.payload = get_payload(envelope);
	if (!envelope_end(envelope))
		fatalx("bad INFO envelope from the transport");
	handle_info(socket, &msg);
	message_done(socket, ENVELOPE_DONE);
}

static void
run_out(struct bennu_socket *socket, struct envelope *envelope)
{
	struct bennu_message msg = {
		.topic = socket->start->topic->data,
		.topic_size = socket->start->topic->size,
	};
	enum bennu_result result;

	msg.event = envelope_get_data(envelope, &msg.event_size);
	msg.payload = get_payload(envelope);
	if (!envelope_end(envelope))
		fatalx("bad OUT envelope from the transport");
	socket->phase = PHASE_INFO;
	result = socket->callbacks->handle_out(socket, &msg);
	check_result(socket, "handle_out", &msg, result);
	message_done(socket, ENVELOPE_DONE);
}

/*
 * What comes from inside, from a timer or a task. The transport hears of it
 * before, so that a crash in it is not laid at the door of the message that
 * came meanwhile.
 */
static void
begin_info(struct bennu_socket *socket, const char *event)
{
	struct envelope_writer writer = { 0 };

	envelope_put_string(&writer, event);
	mailbox_send(socket->mailbox, ENVELOPE_WAKE, &writer);
	socket_flush(socket);
}

static void
end_info(struct bennu_socket *socket)
{
	message_done(socket, ENVELOPE_SLEEP);
}

static struct bennu_message
inside_message(const struct bennu_socket *socket, const char *event,
    struct bennu_payload payload, void *data)
{
	return (struct bennu_message){
		.topic = socket->start->topic->data,
		.topic_size = socket->start->topic->size,
		.event = event,
		.event_size = strlen(event),
		.payload = payload,
		.data = data,
	};
}

static void
run_timer(struct bennu_socket *socket)
{
	struct timer timer = timers_pop(&socket->timers);
	struct bennu_message msg = inside_message(
	    socket, timer.event, bennu_empty(), timer.data);

	begin_info(socket, timer.event);
	if (!ack_expired(socket, timer.id))
		handle_info(socket, &msg);
	free(timer.event);
	end_info(socket);
}

static void
run_task_end(struct bennu_socket *socket, struct task *task)
{
	struct bennu_message msg = inside_message(
	    socket, task->event, task_payload(task), task->data);

	begin_info(socket, task->event);
	handle_info(socket, &msg);
	task_free(task);
	end_info(socket);
}

/* ---- inspection ---- */

/* The dump slot's answer, JSON without white space. */
static void
put_dump(struct bennu_socket *socket, struct envelope_writer *writer)
{
	struct bennu_payload payload;
	struct json_buffer compact = { 0 };
	struct json_span span;

	if (socket->callbacks->dump == NULL) {
		envelope_put_string(writer, "null");
		return;
	}
	payload = socket->callbacks->dump(socket);
	span = json_scan_text(payload.data, payload.size);
	if (payload.kind != BENNU_JSON || span.kind == JSON_BAD)
		socket_mistake(socket, "the dump is no JSON");
	json_append_span(&compact, span);
	if (compact.size > CHANNEL_DUMP_MAX)
		envelope_put_string(writer, "\"larger than 1 MiB\"");
	else
		envelope_put_data(writer, compact.data, compact.size);
	json_buffer_free(&compact);
}

static void
put_state(struct bennu_socket *socket, struct envelope_writer *writer)
{
	long long next = timers_next(&socket->timers);
	const struct task *task;
	const struct ack *ack;
	uint32_t tasks = 0, unacknowledged = 0;

	LIST_FOREACH (task, &socket->tasks, entry)
		tasks++;
	LIST_FOREACH (ack, &socket->acks, entry)
		unacknowledged++;
	next = next == -1 ? 0 : next - monotonic_ms();
	envelope_put_u32(writer, (uint32_t)socket->timers.n);
	envelope_put_u32(writer, next < 0 ? 0 : (uint32_t)next);
	envelope_put_u32(writer, tasks);
	envelope_put_u32(writer, unacknowledged);
}

/* A crash in it is not laid at the door of a message: see begin_info. */
static void
run_dump(struct bennu_socket *socket)
{
	struct envelope_writer writer = { 0 };

	begin_info(socket, "dump");
	socket->phase = PHASE_DUMP;
	put_state(socket, &writer);
	put_dump(socket, &writer);
	mailbox_send(socket->mailbox, ENVELOPE_DUMPED, &writer);
	end_info(socket);
}

static void
on_envelope(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct bennu_socket *socket = arg;

	(void)mailbox;
	if (envelope == NULL)
		channel_end(socket,
		    process_term_caught() && process_parent_alive()
			? BENNU_SHUTDOWN
			: BENNU_CLOSED);
	if (envelope->type == ENVELOPE_IN)
		run_in(socket, envelope);
	else if (envelope->type == ENVELOPE_OUT)
		run_out(socket, envelope);
	else if (envelope->type == ENVELOPE_INFO)
		run_info(socket, envelope);
	else if (envelope->type == ENVELOPE_DUMP)
		run_dump(socket);
	else if (envelope->type == ENVELOPE_END)
		channel_end(
		    socket, (enum bennu_reason)envelope_get_u32(envelope));
	else
		fatalx("envelope %s from the transport",
		    envelope_name(envelope->type));
}

/* ---- the role ---- */

/* Limits of bennu.conf; memory counts from what the channel is born with. */
static void
set_limits(const struct config_channel *config)
{
	struct rlimit limit;

	if (config->memory_max > 0) {
		unsigned long pages = 0;
		FILE *statm = fopen("/proc/self/statm", "re");

		if (statm == NULL || fscanf(statm, "%lu", &pages) != 1)
			fatalx("memory_max needs /proc/self/statm");
		fclose(statm);
		limit.rlim_cur = limit.rlim_max = pages *
			(rlim_t)sysconf(_SC_PAGESIZE) +
		    (rlim_t)config->memory_max;
		if (setrlimit(RLIMIT_AS, &limit) == -1)
			fatal("memory_max");
	}
	if (config->limit_nofile > 0) {
		limit.rlim_cur = limit.rlim_max = config->limit_nofile;
		if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
			fatal("limit_nofile");
	}
	errno = 0;
	if (config->nice != 0 && nice(config->nice) == -1 && errno != 0)
		log_warn("nice");
}

static void
set_name(const struct channel_start *start)
{
	char name[64];

	snprintf(name, sizeof name, "channel %s", start->topic->data);
	log_init(name);
	process_title("channel #%llu.%u %s join_ref=%s restarts=%u",
	    (unsigned long long)start->connection, start->number,
	    start->topic->data, start->join_ref, start->restarts);
}

/* Milliseconds until the first timer, for poll(2). */
static int
time_to_wait(const struct timers *timers)
{
	long long next = timers_next(timers), left;

	if (next == -1)
		return -1;
	left = next - monotonic_ms();
	if (left <= 0)
		return 0;
	return left > 1000000 ? 1000000 : (int)left;
}

/* Until the transport says something, a timer is due or a task has ended. */
static void
wait_and_read(struct bennu_socket *socket, int wait)
{
	struct pollfd pollfds[1 + TASKS_MAX] = { {
	    .fd = CHANNEL_FD_MAILBOX,
	    .events = POLLIN,
	} };
	struct task *task, *ended = NULL;
	nfds_t n = 1;

	LIST_FOREACH (task, &socket->tasks, entry)
		pollfds[n++] = (struct pollfd){ .fd = task->fd,
			.events = POLLIN };
	if (poll(pollfds, n, wait) == -1) {
		if (errno != EINTR)
			fatal("poll");
		return;
	}
	n = 1;
	LIST_FOREACH (task, &socket->tasks, entry)
		if (pollfds[n++].revents != 0 && task_read(task))
			ended = task;
	/* One at a time: its callback may start others. */
	if (ended != NULL)
		run_task_end(socket, ended);
	if (pollfds[0].revents != 0)
		mailbox_read(socket->mailbox);
}

void
channel_run(void *arg)
{
	struct bennu_socket socket = { .start = arg };

	LIST_INIT(&socket.acks);
	LIST_INIT(&socket.tasks);
	socket.callbacks = socket.start->config->callbacks;
	socket.mailbox = mailbox_new(CHANNEL_FD_MAILBOX, on_envelope, &socket);
	set_name(socket.start);
	set_limits(socket.start->config);
	process_catch_term(CHANNEL_FD_MAILBOX, socket.start->config->shutdown);

	run_join(&socket);
	for (;;) {
		int wait = time_to_wait(&socket.timers);

		if (wait == 0)
			run_timer(&socket);
		/* Most channels wait for nothing else most of the time. */
		if (wait == -1 && LIST_EMPTY(&socket.tasks))
			mailbox_wait(socket.mailbox);
		else
			wait_and_read(&socket, wait);
	}
}
