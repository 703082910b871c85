/*
 * leaf.c - see leaf.h.
 */
#include <event2/event.h>
#include <signal.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/leaf.h"
#include "common/log.h"
#include "common/mailbox.h"
#include "common/process.h"
#include "common/reaper.h"

static void
end(struct leaf *leaf)
{
	if (leaf->end == NULL)
		_exit(EXIT_SHUTDOWN);
	leaf->end(leaf->arg);
}

static void
on_supervisor(struct mailbox *mailbox, struct envelope *envelope, void *arg)
{
	struct leaf *leaf = arg;

	if (envelope != NULL)
		fatalx("envelope %s from the supervisor",
		    envelope_name(envelope->type));
	mailbox_free(mailbox);
	leaf->supervisor = NULL;
	end(leaf);
}

/* What an author's code forked. */
static void
on_died(pid_t pid, int status, void *arg)
{
	(void)arg;
	log_debug("a child ended: %d, status %d", (int)pid, status);
}

static void
on_signal(const struct signalfd_siginfo *info, void *arg)
{
	if (info->ssi_signo == SIGTERM)
		end(arg);
}

void
leaf_begin(struct leaf *leaf, const char *name, int fd)
{
	static const int signals[] = { SIGTERM, 0 };
	static const struct reaper_callbacks callbacks = {
		.died = on_died,
		.signalled = on_signal,
	};

	log_init(name);
	process_title("%s", name);
	leaf->base = event_base_new();
	if (leaf->base == NULL)
		fatalx("event_base_new");
	if (reaper_new(leaf->base, signals, &callbacks, leaf) == NULL)
		fatal("signals");
	leaf->supervisor = mailbox_new(fd, on_supervisor, leaf);
	mailbox_attach(leaf->supervisor, leaf->base);
}

void
leaf_started(struct leaf *leaf)
{
	if (leaf->supervisor != NULL)
		mailbox_send(leaf->supervisor, ENVELOPE_STARTED, NULL);
}
