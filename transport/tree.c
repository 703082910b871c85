/*
 * tree.c - see tree.h. What a process is, it says in its title
 * (process_title): "bennu: channel #17.3 room:lobby join_ref=3 restarts=0".
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/xmalloc.h"
#include "transport/tree.h"

#define TRANSPORTS_MAX 200 /* in one answer; a page shows no more */

/* What is known of one process. */
struct node {
	pid_t pid;
	char title[512]; /* without "bennu: " */
	char role[16];
	char id[64];
	char *rest; /* of the title, behind role and number */
};

static ssize_t
read_proc(pid_t pid, const char *what, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

/* "#17.3" or "1" behind the role: "channel/17/3", "pubsub/1"; a service's is
 * its name. */
static void
parse_number(struct node *node, char *number)
{
	size_t n;
	char *dot;

	if (*number == '#')
		number++;
	n = strspn(number, "0123456789.");
	if (number[n] != ' ' && number[n] != '\0')
		n = 0; /* an address */
	if (strcmp(node->role, "service") == 0)
		n = strcspn(number, " ");
	node->rest = number + n + (number[n] == ' ');
	snprintf(node->id, sizeof node->id, "%s%s%.*s", node->role,
	    n > 0 ? "/" : "", (int)n, number);
	dot = strchr(node->id, '.');
	if (dot != NULL)
		*dot = '/';
}

/* False: it is gone, or none of ours. */
static bool
read_node(struct node *node, pid_t pid)
{
	static const char prefix[] = "bennu: ";
	char cmdline[sizeof node->title];
	size_t n;

	if (read_proc(pid, "cmdline", cmdline, sizeof cmdline) <= 0 ||
	    strncmp(cmdline, prefix, strlen(prefix)) != 0)
		return false;
	node->pid = pid;
	snprintf(
	    node->title, sizeof node->title, "%s", cmdline + strlen(prefix));
	n = strcspn(node->title, " ");
	snprintf(node->role, sizeof node->role, "%.*s", (int)n, node->title);
	parse_number(node, node->title + n + (node->title[n] == ' '));
	return true;
}

char *
tree_children(pid_t pid)
{
	char path[64];
	size_t size = 0, room = 4096;
	char *pids = xmalloc(room);
	ssize_t n = 0;
	int fd;

	snprintf(
	    path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd != -1 && (n = read(fd, pids + size, room - size - 1)) > 0) {
		size += (size_t)n;
		if (room - size < 1024)
			pids = xrealloc(pids, room *= 2);
	}
	if (fd != -1)
		close(fd);
	pids[size] = '\0';
	return pids;
}

static void
append_member(struct json_buffer *out, const char *name, const char *value)
{
	json_append_text(out, "\"");
	json_append_text(out, name);
	json_append_text(out, "\":");
	json_append_string(out, value, strlen(value));
	json_append_text(out, ",");
}

/* The last place of s in text: a topic may hold anything. */
static char *
find_last(char *text, const char *s)
{
	char *at = strstr(text, s), *next;

	while (at != NULL && (next = strstr(at + 1, s)) != NULL)
		at = next;
	return at;
}

/* "room:lobby join_ref=3 restarts=0": the topic and the number of restarts. */
static void
append_channel(struct json_buffer *out, struct node *node)
{
	char *restarts = find_last(node->rest, " restarts=");
	char *join_ref = find_last(node->rest, " join_ref=");
	char member[48];

	if (restarts != NULL) {
		snprintf(member, sizeof member, "\"restarts\":%u,",
		    (unsigned)strtoul(
			restarts + strlen(" restarts="), NULL, 10));
		json_append_text(out, member);
	}
	if (join_ref != NULL)
		*join_ref = '\0';
}

static void append_node(struct json_buffer *, pid_t, unsigned *, bool *);

static void
append_children(struct json_buffer *out, pid_t pid, unsigned *more)
{
	char *pids = tree_children(pid), *at = pids, *end;
	unsigned n = 0;
	bool first = true;

	json_append_text(out, "\"children\":[");
	for (;;) {
		pid_t child = (pid_t)strtol(at, &end, 10);

		if (end == at)
			break;
		at = end;
		if (n++ < TRANSPORTS_MAX)
			append_node(out, child, more, &first);
		else
			(*more)++;
	}
	json_append_text(out, "]");
	free(pids);
}

static void
append_node(struct json_buffer *out, pid_t pid, unsigned *more, bool *first)
{
	struct node node;
	char member[32];

	if (!read_node(&node, pid))
		return;
	json_append_text(out, *first ? "{" : ",{");
	*first = false;
	append_member(out, "id", node.id);
	append_member(out, "role", node.role);
	if (strcmp(node.role, "channel") == 0)
		append_channel(out, &node);
	append_member(out, "title", node.rest);
	snprintf(member, sizeof member, "\"pid\":%d,", (int)pid);
	json_append_text(out, member);
	append_children(out, pid, more);
	json_append_text(out, "}");
}

void
tree_append(struct json_buffer *out, pid_t supervisor)
{
	unsigned more = 0;
	bool first = true;
	char member[32];

	json_append_text(out, "{\"supervisor\":");
	append_node(out, supervisor, &more, &first);
	if (first)
		json_append_text(out, "null");
	snprintf(member, sizeof member, ",\"more\":%u}", more);
	json_append_text(out, member);
}

static bool
below(pid_t pid, const char *id)
{
	char *pids = tree_children(pid), *at = pids, *end;
	bool found = false;
	struct node node;

	while (!found) {
		pid_t child = (pid_t)strtol(at, &end, 10);

		if (end == at)
			break;
		at = end;
		if (!read_node(&node, child))
			continue;
		found = strcmp(node.id, id) == 0 || below(child, id);
	}
	free(pids);
	return found;
}

bool
tree_has(pid_t supervisor, const char *id)
{
	return below(supervisor, id);
}
