/*
 * tree.h - the process tree below a supervisor, read from /proc: the kernel is
 * the only one who knows all of it, and nobody has to answer for it.
 */
#ifndef TREE_H_PROC
#define TREE_H_PROC

#include <sys/types.h>
#include <stdbool.h>

#include "common/json.h"

/*
 * {"supervisor": {"id", "role", "pid", "title", "children": [...]}, "more": N},
 * where N is the number of transports that were left out.
 */
void tree_append(struct json_buffer *, pid_t supervisor);
/* The pids of its children, oldest first, in digits with spaces between;
 * malloc'd, "" when there are none. */
char *tree_children(pid_t);
/* Is there a worker with this id ("channel/17/3")? */
bool tree_has(pid_t supervisor, const char *id);

#endif /* TREE_H_PROC */
